//! The files of `config new`: all of them or none.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use plan::facts::Seconds;
use plan::spec::{Secret, Timestamp};

use super::arguments::{Arguments, usage};
use super::{DAY, Made};
use crate::metadata;
use crate::metadata::validate::{Verdict, validate};
use crate::sys::fs;
use crate::tls::CaMaterial;
use crate::tls::issue::{Request, leaf, new_ca, new_key};

/// Where a member looks for its spec.
const SPEC_PATH: &str = "/etc/etcd-bootstrapper/config.yaml";

/// A file that was written.
pub(super) struct Written {
    pub name: &'static str,
    pub what: &'static str,
    pub secret: bool,
    text: Secret,
}

pub(super) fn make(arguments: &Arguments, now: Seconds) -> Result<Made> {
    let out = &arguments.out;
    let there = std::fs::read_dir(out).map(|mut entries| entries.next().is_some()).unwrap_or(out.exists());
    if there {
        let message =
            format!("{} is there already and nothing is ever overwritten: name another with --out", out.display());
        return Err(usage(&message));
    }
    let made = files(arguments, now)?;
    let staging = staging(out)?;
    fs::remove(&staging)?;
    fs::create_dir(&staging, 0o700, None)?;
    for file in &made.files {
        fs::write_atomic(&staging.join(file.name), file.text.reveal().as_bytes(), 0o600, None)?;
    }
    fs::rename(&staging, out)?;
    Ok(made)
}

/// A sibling of the directory, so that it appears whole or not at all; its parents are made.
fn staging(out: &Path) -> Result<PathBuf> {
    let name = out.file_name().map(|n| n.to_string_lossy().into_owned());
    let name = name.ok_or_else(|| usage(&format!("--out: {} is no name for a new directory", out.display())))?;
    let parent = match out.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    };
    if !parent.is_dir() {
        return Err(usage(&format!("--out: there is no directory {}: make it first", parent.display())));
    }
    Ok(parent.join(format!(".{name}.new")))
}

fn files(arguments: &Arguments, now: Seconds) -> Result<Made> {
    let validity = arguments.days * DAY;
    let (ca_pem, ca_key) = new_ca(&format!("{} etcd CA", arguments.name), validity, now)?;
    let ca_key = Secret::new(ca_key.serialize_pem());
    let ca = CaMaterial::checked(&ca_pem, "the new CA", &ca_key, "its key", Some(now))?;
    let found_until = Seconds(now.0.saturating_add(arguments.found_days * DAY));
    let spec = Secret::new(spec(arguments, &ca_pem, &ca_key, found_until));
    let user_data = Secret::new(user_data(arguments, spec.reveal()));
    check(&spec, &user_data)?;

    let client = |name, organization| -> Result<(Secret, Secret)> {
        let key = new_key()?;
        let request = Request { name: (name, organization), sans: Vec::new(), server: false, validity };
        let pem = leaf(&ca, &key, request, Some(now))?.pem();
        Ok((Secret::new(pem), Secret::new(key.serialize_pem())))
    };
    // etcd takes the CN as the user's name once auth is enabled, and root may do everything.
    let (admin, admin_key) = client("root", Some("etcd-admins"))?;
    let (apiserver, apiserver_key) = client("apiserver-etcd-client", None)?;
    let file = |name, what, secret, text| Written { name, what, secret, text };
    // The URL of a snapshot may carry a signature that lets everybody read it.
    let secret = arguments.secrets.is_secret() || arguments.restore.is_some();
    let files = vec![
        file("user-data", "cloud-config, the same for every member", secret, user_data),
        file("config.yaml", "the bare spec in it, for /etc/etcd-bootstrapper", secret, spec),
        file("ca.crt", "the cluster's CA", false, Secret::new(ca_pem)),
        file("ca.key", "its key: whoever has it can become anybody", true, ca_key),
        file("admin.crt", "client certificate of the user root", false, admin),
        file("admin.key", "its key", true, admin_key),
        file("apiserver-etcd-client.crt", "client certificate of kube-apiserver", false, apiserver),
        file("apiserver-etcd-client.key", "its key", true, apiserver_key),
    ];
    Ok(Made { files, ca_ends: ca.not_after(), found_until })
}

/// The spec as YAML. Every value in it is of a type that YAML takes as it is, or quoted as JSON.
fn spec(arguments: &Arguments, ca: &str, ca_key: &Secret, found_until: Seconds) -> String {
    let Arguments { name, size, peers, discovery, .. } = arguments;
    let mut text = format!(
        "# The etcd cluster {name}: the same on all its members.\n\
         version: 1\n\
         cluster:\n  name: \"{name}\"\n  size: {size}\n\
         \x20 # An empty fleet may found the cluster until then; later, it waits for a person.\n\
         \x20 found_until: {}\n\
         mode: auto\n",
        Timestamp(found_until)
    );
    if let Some(file) = discovery {
        text.push_str(&format!("discovery: {{file: {}}}\n", serde_json::Value::from(file.as_str())));
    } else {
        text.push_str("peers:\n");
    }
    for peer in peers {
        text.push_str(&format!("  - {{name: \"{}\", peer_url: \"{}\"}}\n", peer.name, peer.peer_url));
    }
    if let Some((url, sha256)) = &arguments.restore {
        let url = serde_json::Value::from(url.reveal());
        text.push_str(&format!("restore:\n  url: {url}\n  sha256: \"{}\"\n", sha256.as_str()));
    }
    text.push_str(&format!("tls:\n  ca:\n    cert: |\n{}", indented(ca, 6)));
    match arguments.secrets.written() {
        Some(elsewhere) => text.push_str(&elsewhere),
        None => {
            text.push_str(&format!("    key: |\n{}", indented(ca_key.reveal(), 6)));
            text.push_str(
                "# The CA key stands above, so whoever can read this can join the cluster or impersonate it. Where a metadata\n\
                 # service hands out this text to anything on the host, give the key in one of the other forms of\n\
                 # `config new --secrets` instead.\n\
                 allow_inline_secrets: true\n",
            );
        }
    }
    text
}

fn user_data(arguments: &Arguments, spec: &str) -> String {
    format!(
        "#cloud-config\n\
         # Gives every member of the etcd cluster {} the same spec; made by `etcd-bootstrapper config new`.\n\
         write_files:\n\
         \x20 - path: {SPEC_PATH}\n\
         \x20   permissions: \"0600\"\n\
         \x20   content: |\n{}",
        arguments.name,
        indented(spec, 6)
    )
}

fn indented(text: &str, by: usize) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".into() } else { format!("{:by$}{line}\n", "") }).collect()
}

/// Reads back what is about to be written, with the program's own reader: what is wrong then, the arguments made wrong.
fn check(spec: &Secret, user_data: &Secret) -> Result<()> {
    let document = metadata::document::parse(spec.reveal(), SPEC_PATH).context("the new spec does not parse")?;
    let (spec, _) = document.check().map_err(|problems| {
        let lines: Vec<String> = problems.into_iter().map(|p| format!("{}: {}", p.path, p.message)).collect();
        usage(&lines.join("\n"))
    })?;
    match validate(user_data.reveal().as_bytes(), "user-data").context("the new user-data does not parse")? {
        Verdict::Valid { spec: carried, .. } if *carried == spec => Ok(()),
        Verdict::Valid { .. } | Verdict::Faults(_) => anyhow::bail!("the new user-data does not carry the spec"),
    }
}
