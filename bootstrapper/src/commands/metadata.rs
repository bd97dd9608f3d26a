//! `metadata detect`: who launched this machine. `metadata show`: what they say of it.

use std::ffi::OsString;
use std::fmt::Write as _;

use anyhow::Result;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::metadata::Sources;
use crate::metadata::detect::{Detected, detect};
use crate::metadata::platform::{Group, Machine};
use crate::paths::Paths;
use crate::sys::output::{complain, say};

const USAGE: &str = "\
usage: etcd-bootstrapper metadata detect [--root DIR] [--json]   which platform launched this machine, without network
       etcd-bootstrapper metadata show [--root DIR] [--json]     what its metadata service says of this machine";

/// Words in the key of a tag whose value is not for everybody.
const SECRETS: [&str; 6] = ["pass", "secret", "token", "key", "credential", "auth"];

/// Runs `metadata` with what stands behind that word.
///
/// # Errors
/// 64 for a wrong command line, 65 when there is no such root or the kernel command line names a platform that is none;
/// `show` as [`Sources::show`].
pub async fn run(paths: &Paths, args: Vec<OsString>) -> Result<()> {
    let usage = |what: &str| Exit::Usage.because(format!("{what}\n{USAGE}"));
    let mut args = args.into_iter();
    let asks = match args.next() {
        Some(action) if action == "detect" => false,
        Some(action) if action == "show" => true,
        Some(other) => return Err(usage(&format!("unexpected `{}`", other.display()))),
        None => return Err(usage("`metadata` needs to know what to do")),
    };
    let (mut paths, mut as_json) = (paths.clone(), false);
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--json") => as_json = true,
            Some("--root") => {
                let root = args.next().filter(|root| !root.is_empty());
                paths = Paths::of_root(root.ok_or_else(|| usage("--root needs a directory"))?)?;
            }
            Some(_) | None => return Err(usage(&format!("unexpected `{}`", arg.display()))),
        }
    }
    if asks {
        return show(&paths, as_json).await;
    }
    let found = detect(&paths)?;
    if as_json {
        return say(&json!({"provider": found.provider.name(), "source": found.source, "why": found.why}).to_string());
    }
    say(&format!("{}: {}", found.provider, found.why))
}

async fn show(paths: &Paths, as_json: bool) -> Result<()> {
    let mut said = String::new();
    let mut wait = |text: &str| {
        // The seconds that are left change with every try.
        let (_, what) = text.split_once(" s for ").unwrap_or(("", text));
        if what != said {
            said = what.to_owned();
            complain(text);
        }
    };
    let (whom, machine, warning) = Sources::new(paths).show(&mut wait).await?;
    if let Some(warning) = &warning {
        complain(warning);
    }
    let shown = shown(&whom, machine.as_ref());
    if as_json {
        return say(&serde_json::to_string_pretty(&shown)?);
    }
    let mut text = format!("{}: {}\n", whom.provider, whom.why);
    if machine.is_none() {
        text += "this platform has no metadata service on the network; `config explain` shows what its volumes hold\n";
    }
    for (key, value) in shown.as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "provider" | "source" | "why") {
            lines(key, value, &mut text);
        }
    }
    say(text.trim_end())
}

/// What is shown: all but the texts that may hold a secret.
fn shown(whom: &Detected, machine: Option<&Machine>) -> Value {
    let mut shown = json!({"provider": whom.provider.name(), "source": whom.source, "why": whom.why});
    let Some(machine) = machine else { return shown };
    let tags: serde_json::Map<String, Value> = machine
        .tags
        .iter()
        .map(|(key, value)| {
            let secret = SECRETS.iter().any(|word| key.to_ascii_lowercase().contains(word));
            let value = if secret { format!("(redacted, {} bytes)", value.len()) } else { value.clone() };
            (key.clone(), value.into())
        })
        .collect();
    let group = machine.group.as_ref().map(|group| match group {
        Group::AutoScaling(name) => json!({"kind": "auto_scaling", "name": name}),
        Group::ManagedInstances(name) => json!({"kind": "managed_instances", "name": name}),
        Group::ScaleSet { name, resource_group, subscription } => {
            json!({"kind": "scale_set", "name": name, "resource_group": resource_group, "subscription": subscription})
        }
    });
    let machine = json!({
        "instance_id": machine.instance_id,
        "hostname": machine.hostname,
        "addresses": machine.addresses,
        "zone": machine.zone,
        "region": machine.region,
        "group": group,
        "tags": tags,
        "user_data": machine.user_data.as_ref().map(|bytes| payload(&bytes.0)),
        "vendor_data": machine.vendor_data.map(|bytes| json!({"bytes": bytes})),
        "own_key": machine.own.as_ref().map(|(name, bytes)| {
            let mut value = payload(&bytes.0);
            value["name"] = name.as_str().into();
            value
        }),
    });
    if let (Value::Object(all), Value::Object(machine)) = (&mut shown, machine) {
        all.extend(machine);
    }
    shown
}

/// How long it is, what it looks like and which it is, never what it says.
fn payload(bytes: &[u8]) -> Value {
    let hash = digest(&SHA256, bytes);
    let prefix: String = hash.as_ref().iter().take(6).map(|b| format!("{b:02x}")).collect();
    json!({"bytes": bytes.len(), "kind": kind(bytes), "sha256": prefix})
}

fn kind(bytes: &[u8]) -> &'static str {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return "gzip";
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    let begins = |prefix: &str| text.get(..prefix.len()).is_some_and(|b| b.eq_ignore_ascii_case(prefix.as_bytes()));
    let base64 = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=') || b.is_ascii_whitespace();
    match () {
        () if begins("#etcd-bootstrapper") => "etcd-bootstrapper",
        () if begins("#cloud-config") => "cloud-config",
        () if begins("#systemd-userdata") => "systemd-userdata",
        () if begins("#include") => "include",
        () if begins("#!") => "script",
        () if begins("## template:") => "template",
        () if begins("content-type:") || begins("mime-version:") => "mime",
        () if begins("{") => "json",
        () if begins("<") => "markup",
        () if text.iter().all(base64) => "base64",
        () => "other",
    }
}

/// `key: value`, one line each; what is not there is left out.
fn lines(key: &str, value: &Value, text: &mut String) {
    match value {
        Value::Null => {}
        Value::Array(items) if items.is_empty() => {}
        Value::Object(entries) => {
            for (inner, value) in entries {
                lines(&format!("{key}.{inner}"), value, text);
            }
        }
        Value::Array(items) => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            let _infallible = writeln!(text, "{key}: {}", items.join(", "));
        }
        Value::String(value) => {
            let value: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            let _infallible = writeln!(text, "{key}: {value}");
        }
        Value::Bool(_) | Value::Number(_) => {
            let _infallible = writeln!(text, "{key}: {value}");
        }
    }
}
