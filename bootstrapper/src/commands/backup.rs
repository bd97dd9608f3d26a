//! `backup`, `backup list` and `backup verify`: the snapshots of this cluster in its store.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use plan::backup::Taken;
use plan::spec::Timestamp;
use serde_json::json;

use crate::backup::{Backup, Outcome, told};
use crate::exit::Exit;
use crate::paths::Paths;
use crate::secrets;
use crate::snapshot::decode::{self, Most, Opening};
use crate::snapshot::fetch::{Order, Progress, fetch};
use crate::snapshot::origin::Origin;
use crate::store::Store;
use crate::store::manifest::{self, Manifest, SNAPSHOTS, Snapshot};
use crate::sys::output::{complain, say};
use crate::sys::systemd;

/// Silence after which a connection is given up, and after which the store is.
const IDLE: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(60);

const USAGE: &str = "\
usage: etcd-bootstrapper backup [--now] [--json]   make one if it is this member's time and turn; a systemd timer runs this
       etcd-bootstrapper backup list [--json]      what is in the store, the oldest first
       etcd-bootstrapper backup verify [--json] [--age-identity FILE] [NAME]
                                                   fetch one, the newest without a name, and look whether it is whole";

#[derive(Default)]
struct Wanted {
    action: Option<&'static str>,
    name: Option<String>,
    age_identity: Option<PathBuf>,
    now: bool,
    json: bool,
}

/// Runs `backup` with what stands behind that word.
///
/// # Errors
/// 64 for a wrong command line, 65 for a snapshot that is no good or a configuration without a store, 69 when etcd or the
/// store does not answer, 77 when the store does not let this host, 78 when it is another cluster's.
pub async fn run(paths: &Paths, args: Vec<OsString>) -> Result<()> {
    let wanted = parse(args)?;
    let backup = Backup::of(paths)?;
    match wanted.action {
        None => make(&backup, &wanted).await,
        Some("list") => list(&backup, wanted.json).await,
        Some(_) => verify(&backup, &wanted).await,
    }
}

fn parse(args: Vec<OsString>) -> Result<Wanted> {
    let usage = |what: String| Exit::Usage.because(format!("{what}\n{USAGE}"));
    let mut wanted = Wanted::default();
    let mut args = args.into_iter().map(OsString::into_string);
    while let Some(arg) = args.next() {
        let arg = arg.map_err(|a| usage(format!("{} is not UTF-8", a.display())))?;
        match (arg.as_str(), wanted.action) {
            ("--json", _) => wanted.json = true,
            ("--now", None) => wanted.now = true,
            ("--age-identity", Some("verify")) => {
                let value = args.next().and_then(Result::ok).filter(|value| !value.is_empty());
                wanted.age_identity = Some(value.ok_or_else(|| usage(format!("{arg} needs a file")))?.into());
            }
            ("list", None) if !wanted.now => wanted.action = Some("list"),
            ("verify", None) if !wanted.now => wanted.action = Some("verify"),
            (name, Some("verify")) if wanted.name.is_none() && !name.starts_with('-') => wanted.name = Some(arg),
            (other, _) => return Err(usage(format!("unexpected `{other}`"))),
        }
    }
    Ok(wanted)
}

async fn make(backup: &Backup<'_>, wanted: &Wanted) -> Result<()> {
    let outcome = backup.make(wanted.now).await?;
    match outcome {
        Outcome::Nothing(why) if wanted.json => say(&json!({"made": null, "because": why}).to_string()),
        // The timer asks every minute.
        Outcome::Nothing(why) if systemd::is_here() => {
            tracing::debug!("no backup: {why}");
            Ok(())
        }
        Outcome::Nothing(why) => say(&format!("no backup: {why}")),
        Outcome::Made(snapshot, pruned) => {
            if let Some(held) = &pruned.held {
                complain(&format!(
                    "a snapshot that is not needed any more is still there, tried again next time: {held}"
                ));
            }
            let manifest = &snapshot.manifest;
            if wanted.json {
                let made = json!({"directory": snapshot.directory, "manifest": manifest});
                return say(&json!({"made": made, "kept": pruned.kept, "removed": pruned.removed}).to_string());
            }
            say(&format!(
                "backup of revision {}: {} bytes of database in {} bytes at {}; {} snapshots are kept, {} were removed",
                manifest.revision,
                manifest.db_bytes,
                manifest.object_bytes,
                snapshot.directory,
                pruned.kept,
                pruned.removed
            ))
        }
    }
}

async fn list(backup: &Backup<'_>, as_json: bool) -> Result<()> {
    let store = backup.store().await?;
    let mut rows = Vec::new();
    for name in store.names(SNAPSHOTS).await.map_err(told)? {
        let found = manifest::at(store, &format!("{SNAPSHOTS}/{name}"), &backup.spec().cluster).await;
        rows.push((name, found));
    }
    if as_json {
        let row = |(name, found): &(String, Result<Option<Snapshot>, _>)| match found {
            Ok(Some(snapshot)) => json!({"name": name, "manifest": snapshot.manifest}),
            Ok(None) => json!({"name": name, "manifest": null}),
            Err(trouble) => {
                json!({"name": name, "manifest": null, "problem": crate::store::Trouble::to_string(trouble)})
            }
        };
        return say(&json!({"snapshots": rows.iter().map(row).collect::<Vec<_>>()}).to_string());
    }
    let mut text =
        format!("{:<21} {:>12} {:>12} {:>12} {:<10} {}\n", "TAKEN", "REVISION", "DATABASE", "OBJECT", "BY", "NAME");
    for (name, found) in &rows {
        let line = match found {
            Ok(Some(Snapshot { manifest: m, .. })) => format!(
                "{:<21} {:>12} {:>12} {:>12} {:<10} {name}",
                m.created_at.to_string(),
                m.revision,
                m.db_bytes,
                m.object_bytes,
                m.member.as_str()
            ),
            Ok(None) => format!("{:<71} {name}", unfinished(name)),
            Err(trouble) => format!("{name}: {trouble}"),
        };
        text.push_str(&line);
        text.push('\n');
    }
    say(if rows.is_empty() { "there is no snapshot in the store yet" } else { text.trim_end() })
}

/// A directory without a manifest is being written, or was when its member died.
fn unfinished(name: &str) -> String {
    let since = Taken::parse(name).map_or_else(String::new, |taken| format!("{}, ", Timestamp(taken.at)));
    format!("{since}no manifest: not finished")
}

async fn verify(backup: &Backup<'_>, wanted: &Wanted) -> Result<()> {
    let store = backup.store().await?;
    let snapshot = chosen(store, backup, wanted.name.as_deref()).await?;
    let mut opening = Opening::plain(Most::sane());
    if let Some(path) = &wanted.age_identity {
        let text = secrets::read_file(path, "--age-identity", true)?;
        opening.identities = decode::identities(&text).context("--age-identity")?;
    }
    let origin = Origin::stored(store, &snapshot.key());
    let order = Order {
        origins: &[&origin],
        sha256: Some(&snapshot.manifest.sha256),
        signer: None,
        // The manifest is at hand.
        accept: None,
        shelf: None,
        idle: IDLE,
        patience: PATIENCE,
        admit: &|_| Ok(()),
        opening,
    };
    let mut watch = |progress: Progress<'_>| {
        if let Some(trouble) = progress.trouble {
            complain(&format!("after {} bytes, trying again: {trouble}", progress.bytes));
        }
    };
    let summary = fetch(&order, &mut watch).await?;
    let Manifest { db_bytes, sha256_db, revision, .. } = &snapshot.manifest;
    if (summary.bytes, &summary.sha256_db) != (*db_bytes, sha256_db) {
        let what = "is whole, and its manifest is of another database: somebody has changed one of both";
        return Err(Exit::BadInput.because(format!("{}/{} {what}", store.place(), snapshot.directory)));
    }
    if wanted.json {
        return say(&json!({"whole": true, "directory": snapshot.directory, "manifest": snapshot.manifest}).to_string());
    }
    say(&format!("whole: {} with revision {revision}, {db_bytes} bytes of database", snapshot.directory))
}

async fn chosen(store: &Store, backup: &Backup<'_>, name: Option<&str>) -> Result<Snapshot> {
    let cluster = &backup.spec().cluster;
    let found = match name {
        None => manifest::newest(store, cluster).await,
        Some(name) => manifest::at(store, &format!("{SNAPSHOTS}/{name}"), cluster).await,
    };
    let found = found.map_err(told)?;
    found.ok_or_else(|| {
        let what = name.map_or_else(|| "no snapshot yet".to_owned(), |name| format!("no whole snapshot {name}"));
        Exit::BadInput.because(format!("{} has {what}: `backup list` shows what there is", store.place()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_command_line_is_64_and_says_how_a_right_one_looks() {
        let parse = |line: &str| parse(line.split_whitespace().map(OsString::from).collect());
        for line in ["", "--now --json", "list --json", "--json verify x", "verify --age-identity f x", "verify"] {
            assert!(parse(line).is_ok(), "{line}");
        }
        for line in
            ["make", "list x", "list --now", "--now list", "verify x y", "verify --age-identity", "--age-identity f"]
        {
            let error = parse(line).err().unwrap_or_else(|| panic!("{line} was taken"));
            assert_eq!(Exit::of(&error), Exit::Usage, "{line}");
            assert!(error.to_string().contains("backup list"), "{error}");
        }
    }
}
