//! Metrics of backups, as a file for node_exporter's textfile collector.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::Outcome;
use crate::paths::Paths;
use crate::sys::{clock, fs};

/// Each metric with what it says; all of them are gauges, and what a host has never done is absent.
const METRICS: [(&str, &str); 9] = [
    ("last_attempt_timestamp_seconds", "When this host last looked whether a backup is due."),
    ("last_attempt_success", "Whether that ended well: 1, also when there was nothing to do."),
    ("last_success_timestamp_seconds", "When this host last made a backup."),
    ("last_success_duration_seconds", "How long that took."),
    ("last_success_revision", "The revision that it holds at least."),
    ("last_success_database_bytes", "Bytes of the database."),
    ("last_success_object_bytes", "Bytes in the store."),
    ("snapshots", "How many snapshots the store has since."),
    ("removed_snapshots", "How many were removed then."),
];

const PREFIX: &str = "etcd_bootstrapper_backup_";

/// Writes what came of an attempt beside what was known; a host that cannot write it says so and goes on.
pub(super) fn write(paths: &Paths, outcome: &Result<Outcome>, took: Duration) {
    let path = paths.metrics().join("backup.prom");
    let before = fs::read_text(&path, 1 << 16).ok().flatten().unwrap_or_default();
    let text = render(&merged(&before, outcome, took));
    let written = fs::create_dir(&paths.metrics(), 0o755, None)
        .and_then(|()| fs::write_atomic(&path, text.as_bytes(), 0o644, None));
    if let Err(error) = written {
        tracing::warn!(error = format!("{error:#}"), "the metrics of backups were not written");
    }
}

fn merged(before: &str, outcome: &Result<Outcome>, took: Duration) -> BTreeMap<&'static str, f64> {
    let known = |line: &str| {
        let (name, value) = line.strip_prefix(PREFIX)?.split_once(' ')?;
        Some((METRICS.iter().find(|(known, _)| *known == name)?.0, value.parse().ok()?))
    };
    let mut values: BTreeMap<&str, f64> = before.lines().filter_map(known).collect();
    values.insert("last_attempt_timestamp_seconds", clock::now().0 as f64);
    values.insert("last_attempt_success", f64::from(u8::from(outcome.is_ok())));
    if let Ok(Outcome::Made(snapshot, pruned)) = outcome {
        let manifest = &snapshot.manifest;
        values.extend([
            ("last_success_timestamp_seconds", manifest.created_at.0.0 as f64),
            ("last_success_duration_seconds", took.as_secs_f64()),
            ("last_success_revision", manifest.revision as f64),
            ("last_success_database_bytes", manifest.db_bytes as f64),
            ("last_success_object_bytes", manifest.object_bytes as f64),
            ("removed_snapshots", pruned.removed as f64),
        ]);
        // The one that was made is there, so that none means that nobody could count them.
        if pruned.kept > 0 {
            values.insert("snapshots", pruned.kept as f64);
        }
    }
    values
}

fn render(values: &BTreeMap<&'static str, f64>) -> String {
    let said = METRICS.iter().filter_map(|(name, help)| Some((name, help, values.get(name)?)));
    said.map(|(name, help, value)| {
        format!("# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} gauge\n{PREFIX}{name} {value}\n")
    })
    .collect()
}
