//! `backup:` of the document, when a backup is due, and which ones are not needed any more.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::facts::Seconds;
use crate::spec::{Duration, Problem};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;

/// The shortest time between two backups: each reads the whole database once.
const OFTEN: std::time::Duration = std::time::Duration::from_secs(60);

/// A timer does not fire at the second.
const SLACK: u64 = 30;

/// For how long a leader leaves a backup to a follower, at most: seconds, and a part of the interval.
const DEFERENCE: u64 = 180;

/// `backup:` — snapshots of this cluster into its store.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupEntry {
    /// Time between two backups, of which one without a change is skipped; 15m without it.
    #[serde(default = "every")]
    pub every: Duration,
    /// How many are kept for how long.
    #[serde(default)]
    pub keep: Keep,
    /// For whom they are encrypted: a public key of age, `age1…`.
    #[serde(default)]
    pub age_recipient: Option<String>,
}

fn every() -> Duration {
    Duration(15 * OFTEN)
}

/// `backup.keep:` — the newest of each of so many hours, days and weeks that have any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keep {
    /// Hours; 24 without it.
    pub hourly: u32,
    /// Days; 7 without it.
    pub daily: u32,
    /// Weeks; 4 without it.
    pub weekly: u32,
}

impl Default for Keep {
    fn default() -> Keep {
        Keep { hourly: 24, daily: 7, weekly: 4 }
    }
}

/// What cannot be meant.
pub(crate) fn check(entry: &BackupEntry, has_store: bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |path: &str, message: String| problems.push(Problem { path: path.to_owned(), message });
    if !has_store {
        add("backup", "backups go into the store, and there is none: write `store: {url: …}`".into());
    }
    if entry.every.0 < OFTEN {
        add("backup.every", "a backup reads the whole database, so at most one a minute: write 1m or more".into());
    }
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if let Some(recipient) = &entry.age_recipient
        && !(recipient.starts_with("age1") && recipient.len() == 62 && digits(recipient))
    {
        add("backup.age_recipient", "this is no public key of age, which is `age1` and 58 more of a-z and 0-9".into());
    }
    problems
}

/// Whether a backup is due, for the leader of a cluster of several later than for a follower, which has more time.
pub fn is_due(entry: &BackupEntry, last: Option<Seconds>, now: Seconds, defers: bool) -> bool {
    let Some(last) = last else { return true };
    let every = entry.every.0.as_secs();
    let deference = if defers { DEFERENCE.min(every / 2).max(OFTEN.as_secs()) } else { 0 };
    // A clock that went back must not end the backups for as long.
    now < last || now.0 - last.0 + SLACK >= every + deference
}

/// A snapshot in the store by what its directory's name says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taken {
    /// The generation of the cluster.
    pub generation: u32,
    /// The revision that it holds at least.
    pub revision: u64,
    /// When.
    pub at: Seconds,
    /// By whom.
    pub member: String,
}

impl Taken {
    /// Its directory's name, which sorts as the snapshots of one epoch do.
    pub fn name(&self) -> String {
        format!("{:06}-{:020}-{}-{}", self.generation, self.revision, self.at.0, self.member)
    }

    /// What a directory's name says; none where another hand made it.
    pub fn parse(name: &str) -> Option<Taken> {
        let mut parts = name.splitn(4, '-');
        let mut digits = || parts.next().filter(|part| part.bytes().all(|b| b.is_ascii_digit()));
        let (generation, revision, at) = (digits()?, digits()?, digits()?);
        let (generation, revision, at) = (generation.parse().ok()?, revision.parse().ok()?, at.parse().ok()?);
        Some(Taken { generation, revision, at: Seconds(at), member: parts.next()?.to_owned() })
    }
}

/// Those that are kept neither as the newest nor for their hour, day or week, nor are younger than an hour.
///
/// What was taken in the future by this clock is kept: one of the two clocks is wrong.
pub fn superfluous<'t>(all: &'t [Taken], keep: &Keep, now: Seconds) -> Vec<&'t Taken> {
    let newest = all.iter().max();
    let mut kept: BTreeSet<&Taken> = newest.into_iter().collect();
    kept.extend(all.iter().filter(|t| now.0.saturating_sub(t.at.0) < HOUR));
    for (span, many) in [(HOUR, keep.hourly), (DAY, keep.daily), (WEEK, keep.weekly)] {
        let mut spans: Vec<u64> = all.iter().map(|t| t.at.0 / span).collect();
        spans.sort_unstable();
        spans.dedup();
        for wanted in spans.iter().rev().take(many as usize) {
            kept.extend(all.iter().filter(|t| t.at.0 / span == *wanted).max_by_key(|t| (t.at, t.revision)));
        }
    }
    all.iter().filter(|t| !kept.contains(t)).collect()
}
