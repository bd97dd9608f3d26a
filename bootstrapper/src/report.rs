//! What people and machines see: console lines, STATUS= and status.json.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use plan::decision::{Decided, Decision};
use serde::{Deserialize, Serialize};
use tracing::Level;

use crate::paths::Paths;
use crate::sys::{clock, fs, log, systemd};

/// The same wait is repeated on the console this often.
const REPEAT: Duration = Duration::from_secs(10);

/// How many decisions status.json keeps: enough for any start, and bounded for a wait of weeks.
const KEPT: usize = 50;

/// `status.json`, DESIGN section 12: four different things, none of which follows from another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The cluster's name.
    #[serde(default)]
    pub cluster: Option<String>,
    /// This member's name.
    #[serde(default)]
    pub member: Option<String>,
    /// Member ID, hexadecimal, once there is one.
    #[serde(default)]
    pub member_id: Option<String>,
    /// Cluster ID, hexadecimal, once there is one.
    #[serde(default)]
    pub cluster_id: Option<String>,
    /// etcd was handed off to in this boot.
    #[serde(default)]
    pub bootstrapped: bool,
    /// This member answers linearizable reads, or did when `finish` asked.
    #[serde(default)]
    pub serving: bool,
    /// This member votes.
    #[serde(default)]
    pub voter: bool,
    /// All voters answer, so a rollout may go on to the next host.
    #[serde(default)]
    pub safe_to_continue: bool,
    /// What is happening now, in a sentence.
    #[serde(default)]
    pub now: String,
    /// When the last decision's row was first come to without another between, RFC 3339.
    #[serde(default)]
    pub since: Option<String>,
    /// What would end the wait of now, if the last decision was one.
    #[serde(default)]
    pub ends_when: Option<String>,
    /// Where the configuration came from.
    #[serde(default)]
    pub carrier: Option<String>,
    /// The decisions of this boot, oldest first; equal ones in a row once.
    #[serde(default)]
    pub decisions: Vec<Line>,
    /// Milliseconds after the kernel's start at which things were first so.
    #[serde(default)]
    pub reached: BTreeMap<String, u64>,
}

/// One decision of this boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// RFC 3339.
    pub at: String,
    /// Row of the decision table.
    pub row: u8,
    /// start, wait, refuse, found, join, replace, recover or archive.
    pub decision: String,
    /// All of it in words.
    pub text: String,
}

/// Tells everybody what happens.
pub struct Report {
    paths: Paths,
    status: Status,
    said: Option<(String, Instant)>,
}

impl Report {
    /// A report that goes on from this boot's status.json.
    pub fn open(paths: &Paths) -> Report {
        let status = read(paths).ok().flatten().unwrap_or_default();
        Report { paths: paths.clone(), status, said: None }
    }

    /// The status as it stands, for changes that [`Report::save`] makes visible.
    pub fn status(&mut self) -> &mut Status {
        &mut self.status
    }

    /// Writes status.json.
    ///
    /// # Errors
    /// When the run directory cannot be written.
    pub fn save(&self) -> Result<()> {
        fs::create_dir(&self.paths.run(), 0o755, None)?;
        let text = serde_json::to_vec_pretty(&self.status)?;
        fs::write_atomic(&self.paths.status(), &text, 0o644, None)
    }

    /// Says what happens, at once when it is new and every ten seconds while it stays; `STATUS=` always.
    pub fn say(&mut self, text: &str) {
        self.say_with(Level::INFO, text, Vec::new());
    }

    fn say_with(&mut self, level: Level, text: &str, mut fields: Vec<(&'static str, String)>) {
        systemd::status(text.lines().next().unwrap_or_default());
        let repeated = self.said.as_ref().is_some_and(|(said, at)| said == text && at.elapsed() < REPEAT);
        if repeated {
            return;
        }
        self.said = Some((text.to_owned(), Instant::now()));
        self.status.now = text.lines().next().unwrap_or_default().to_owned();
        if let Err(error) = self.save() {
            tracing::warn!(error = format!("{error:#}"), "status.json is not current");
        }
        let who = [
            ("ETCD_CLUSTER", &self.status.cluster),
            ("ETCD_CLUSTER_ID", &self.status.cluster_id),
            ("ETCD_MEMBER", &self.status.member),
            ("ETCD_MEMBER_ID", &self.status.member_id),
        ];
        fields.extend(who.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))));
        log::log(level, text, &fields);
    }

    /// Notes the first time that something is so, in milliseconds of the kernel's clock.
    pub fn reached(&mut self, what: &str) {
        let now = clock::since_boot().as_millis();
        self.status.reached.entry(what.to_owned()).or_insert(u64::try_from(now).unwrap_or(u64::MAX));
    }

    /// Says a decision and keeps it in status.json.
    pub fn decided(&mut self, decided: &Decided) {
        let line = Line {
            at: plan::spec::Timestamp(clock::now()).to_string(),
            row: decided.row,
            decision: decided.decision.word(),
            text: decided.headline(),
        };
        if self.status.since.is_none() || self.status.decisions.last().is_none_or(|last| last.row != decided.row) {
            self.status.since = Some(line.at.clone());
        }
        if self.status.decisions.last().is_none_or(|last| last.text != line.text) {
            self.status.decisions.push(line);
            if self.status.decisions.len() > KEPT {
                self.status.decisions.remove(0);
            }
        }
        let mut fields = vec![("ETCD_ROW", decided.row.to_string()), ("ETCD_DECISION", decided.decision.word())];
        let (level, ends_when) = match &decided.decision {
            Decision::Refuse(refusal) => {
                fields.push(("ETCD_REFUSAL", refusal.code.text()));
                (Level::ERROR, Some(refusal.hint.clone()))
            }
            Decision::Wait(wait) => {
                fields.extend(wait.who.iter().map(|who| ("ETCD_PEER", peer(who).to_owned())));
                (Level::INFO, Some(wait.until.clone()))
            }
            Decision::Start(_) | Decision::Proceed(_) => (Level::INFO, None),
        };
        self.status.ends_when = ends_when;
        let text = match (&decided.decision, &self.status.since) {
            (Decision::Wait(_), Some(since)) => format!("{}\n  since: {since}", decided.explain()),
            (Decision::Wait(_) | Decision::Start(_) | Decision::Refuse(_) | Decision::Proceed(_), _) => {
                decided.explain()
            }
        };
        self.say_with(level, &text, fields);
    }
}

/// The name of somebody who is waited for: `etcd-3 at https://10.0.0.13:2380: no answer` is of `etcd-3`.
fn peer(who: &str) -> &str {
    let whom = who.split_once(": ").map_or(who, |(whom, _)| whom);
    whom.split_once(" at ").map_or(whom, |(name, _)| name)
}

/// This boot's status.json, if there is one.
///
/// # Errors
/// When it is there and cannot be read.
pub fn read(paths: &Paths) -> Result<Option<Status>> {
    let text = fs::read_text(&paths.status(), 1 << 20)?;
    Ok(text.map(|t| serde_json::from_str(&t)).transpose()?)
}

#[cfg(test)]
mod tests {
    use super::peer;

    #[test]
    fn who_is_waited_for_has_a_name_that_can_be_searched_for() {
        for (who, name) in [
            ("etcd-3 at https://10.0.0.13:2380: no answer: the host is down", "etcd-3"),
            ("https://10.0.0.13:2380: connection refused", "https://10.0.0.13:2380"),
            ("etcd-3 (a3)", "etcd-3 (a3)"),
            ("NOSPACE", "NOSPACE"),
        ] {
            assert_eq!(peer(who), name);
        }
    }
}
