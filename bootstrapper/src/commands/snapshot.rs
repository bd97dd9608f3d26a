//! `snapshot verify`: whether a snapshot is whole, before anybody needs it.

use std::ffi::OsString;
use std::fs::File;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use minisign_verify::PublicKey;
use plan::restore::ObjectUrl;
use plan::spec::{Secret, Sha256};
use serde_json::json;

use crate::exit::Exit;
use crate::metadata::Sources;
use crate::paths::Paths;
use crate::secrets::{self, Near};
use crate::snapshot::decode::{self, Most, Opening};
use crate::snapshot::fetch::{Order, Progress, fetch};
use crate::snapshot::origin::Origin;
use crate::snapshot::signature;
use crate::snapshot::source::Access;
use crate::snapshot::verify::{self, Summary};
use crate::sys::output::{complain, say};

/// Silence after which a connection is given up, and after which the source is.
const IDLE: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two lines of progress on a terminal.
const REPORT: Duration = Duration::from_secs(1);

const USAGE: &str = "usage: etcd-bootstrapper snapshot verify [--json] [--sha256 DIGITS] [--age-identity FILE] \
                     [--minisign-key KEY|FILE] FILE|URL";

/// `etcd-bootstrapper snapshot verify FILE|URL`: prints what a whole snapshot is; a URL is read once and not kept.
///
/// # Errors
/// 65 for a snapshot that is no good, 69 for a source that does not deliver, 64 for a wrong command line.
pub async fn run(paths: &Paths, args: Vec<OsString>) -> Result<()> {
    let wanted = parse(args)?;
    let summary = checked(paths, &wanted).await?;
    say(&told(&summary, wanted.json))
}

#[derive(Default)]
struct Wanted {
    subject: String,
    sha256: Option<Sha256>,
    age_identity: Option<PathBuf>,
    minisign_key: Option<String>,
    json: bool,
}

fn parse(args: Vec<OsString>) -> Result<Wanted> {
    let usage = |what: String| Exit::Usage.because(format!("{what}; {USAGE}"));
    let mut wanted = Wanted::default();
    let mut args = args.into_iter().map(OsString::into_string);
    let mut verify = false;
    while let Some(arg) = args.next() {
        let arg = arg.map_err(|a| usage(format!("{} is not UTF-8", a.display())))?;
        let mut value = || {
            let value = args.next().and_then(Result::ok).filter(|value| !value.is_empty());
            value.ok_or_else(|| usage(format!("{arg} needs a value")))
        };
        match arg.as_str() {
            "verify" if !verify => verify = true,
            "--json" => wanted.json = true,
            "--sha256" => wanted.sha256 = Some(value()?.parse().map_err(|e| usage(format!("--sha256: {e}")))?),
            "--age-identity" => wanted.age_identity = Some(value()?.into()),
            "--minisign-key" => wanted.minisign_key = Some(value()?),
            option if option.starts_with('-') => return Err(usage(format!("unknown option {option}"))),
            _ if verify && wanted.subject.is_empty() => wanted.subject = arg,
            _ => return Err(usage("unexpected argument".into())),
        }
    }
    if verify && !wanted.subject.is_empty() { Ok(wanted) } else { Err(usage("nothing to verify".into())) }
}

async fn checked(paths: &Paths, wanted: &Wanted) -> Result<Summary> {
    let file = (!wanted.subject.contains("://")).then(|| PathBuf::from(&wanted.subject));
    let origins = match &file {
        Some(path) => vec![Origin::file(path.clone())],
        None => remote(paths, Secret::new(wanted.subject.clone())).await?,
    };
    let mut opening = Opening::plain(Most::sane());
    if let Some(path) = &wanted.age_identity {
        let text = secrets::read_file(path, "--age-identity", true)?;
        opening.identities = decode::identities(&text).context("--age-identity")?;
    }
    let signer = wanted.minisign_key.as_deref().map(key).transpose()?;
    let order = Order {
        origins: &origins.iter().collect::<Vec<_>>(),
        sha256: wanted.sha256.as_ref(),
        signer: signer.as_ref(),
        accept: Some(&|_| Ok(())),
        shelf: None,
        idle: IDLE,
        patience: PATIENCE,
        admit: &|_| Ok(()),
        opening,
    };
    let terminal = std::io::stderr().is_terminal();
    let mut last: Option<Instant> = None;
    let mut watch = |progress: Progress<'_>| {
        let due = terminal && last.is_none_or(|at| at.elapsed() >= REPORT);
        if let Some(trouble) = progress.trouble {
            complain(&format!("after {} bytes, trying again: {trouble}", progress.bytes));
        } else if due {
            last = Some(Instant::now());
            complain(&format!("{} MiB of {} MiB", progress.bytes >> 20, progress.total.unwrap_or_default() >> 20));
        }
    };
    let summary = fetch(&order, &mut watch).await?;
    match file {
        // What it says of itself is read where it is at hand.
        Some(path) if summary.wrappings.is_empty() => {
            let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(verify::details(file, summary)
                .map_err(|unfit| Exit::BadInput.because(format!("{} cannot be restored: {unfit}", path.display())))?)
        }
        Some(_) | None => Ok(summary),
    }
}

/// A URL; a bucket is asked as this host's configuration says, where there is one.
async fn remote(paths: &Paths, url: Secret) -> Result<Vec<Origin>> {
    let urls = [url];
    if ObjectUrl::parse(urls[0].reveal()).is_some()
        && let Some(loaded) = Sources::new(paths).load()?
    {
        let mut near = Near::once(paths);
        let restore = match loaded.host.restore.as_deref() {
            Some(restore) => Some(near.restore(restore).await?),
            None => None,
        };
        let store = match loaded.host.store.as_deref() {
            Some(store) => Some(near.store(store).await?),
            None => None,
        };
        let access = Access { restore: restore.as_ref(), store: store.as_ref(), ..Access::without(paths) };
        return Origin::open(&urls, &access);
    }
    Origin::open(&urls, &Access::without(paths))
}

/// A public key as it is written, or a file that holds one.
fn key(text: &str) -> Result<PublicKey> {
    if Path::new(text).exists() {
        let file = secrets::read_file(Path::new(text), "--minisign-key", false)?;
        return signature::key(file.reveal()).context("--minisign-key");
    }
    signature::key(text).context("--minisign-key")
}

fn told(summary: &Summary, as_json: bool) -> String {
    let version = summary.version.map(|v| v.to_string());
    if as_json {
        let text = json!({
            "bytes": summary.bytes,
            "object_bytes": summary.object_bytes,
            "sha256": summary.sha256,
            "sha256_db": summary.sha256_db,
            "manifest": summary.manifest,
            "wrapped_in": summary.wrappings.iter().map(|w| w.name()).collect::<Vec<_>>(),
            "revision": summary.revision,
            "etcd": version,
        });
        return text.to_string();
    }
    let mut text = format!("whole     yes\nbytes     {}\nsha256    {}\n", summary.bytes, summary.sha256.as_str());
    if !summary.wrappings.is_empty() {
        let wrappings: Vec<&str> = summary.wrappings.iter().map(|w| w.name()).collect();
        text.push_str(&format!("object    {} bytes, {}\n", summary.object_bytes, wrappings.join(" of ")));
    }
    if let Some(revision) = summary.revision {
        text.push_str(&format!("revision  {revision}\n"));
    }
    if let Some(version) = version {
        text.push_str(&format!("etcd      {version} or newer\n"));
    }
    if let Some(of) = &summary.manifest {
        let (cluster, revision, member) = (&of.cluster_name, of.revision, &of.member);
        text.push_str(&format!("manifest  cluster {cluster}, revision {revision}, by {member} at {}\n", of.created_at));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_command_line_is_64_and_a_right_one_is_taken_in_any_order() {
        let parse = |text: &str| parse(text.split_whitespace().map(OsString::from).collect());
        let digits = "a".repeat(64);
        for line in [format!("verify x --json --sha256 {digits}"), format!("--json verify --sha256 {digits} x")] {
            let wanted = parse(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
            assert_eq!((wanted.subject.as_str(), wanted.json, wanted.sha256.is_some()), ("x", true, true), "{line}");
        }
        for line in [
            "",
            "verify",
            "x",
            "verify x y",
            "verify --sha256 1 x",
            "verify --sha256",
            "verify --nope x",
            "verify --age-identity",
        ] {
            let error = parse(line).err().unwrap_or_else(|| panic!("{line} was taken"));
            assert_eq!(Exit::of(&error), Exit::Usage, "{line}");
        }
    }
}
