//! What all soaks so far have seen, in `docs/soak.md`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cases::Outcome;
use crate::process;
use crate::soak_table::{self, Document, Table};
use crate::tools::repository;

/// For git's name of a revision.
const QUICK: Duration = Duration::from_secs(10);

/// What was tried.
#[derive(Clone, Debug)]
pub enum Trial {
    /// A power cut.
    Cut {
        /// What the member was doing.
        doing: String,
        /// At which disk's request, or that it had settled.
        at: String,
        /// The very moment.
        moment: String,
        /// Whether the machine was booted from what was left; else its disks were looked at.
        booted: bool,
    },
    /// Members killed or wiped under a write load.
    Chaos {
        /// Which, as [`crate::cases::Chaos::name`] says.
        case: String,
        /// Which image they booted.
        image: String,
        /// What came of it, when it came to an end.
        outcome: Option<Outcome>,
    },
    /// Machines became members.
    Formation {
        /// How, as [`crate::cases::FORMATIONS`] says.
        formation: String,
        /// Which image they booted.
        image: String,
    },
    /// Power cuts of a machine with a service whose fsyncs do nothing.
    Unsynced {
        /// systemd's name of it.
        service: String,
        /// How many power cuts were looked at.
        looks: u64,
        /// How many of them gave it away.
        found: u64,
    },
}

impl std::fmt::Display for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trial::Cut { doing, moment, booted, .. } => {
                write!(f, "power cut while {doing}, {moment}{}", if *booted { ", booted" } else { "" })
            }
            Trial::Chaos { outcome: Some(outcome), image, .. } => write!(f, "{outcome} ({image})"),
            Trial::Chaos { case, image, outcome: None } => write!(f, "{case} ({image})"),
            Trial::Formation { formation, image } => write!(f, "{formation} ({image})"),
            Trial::Unsynced { service, looks, found } => {
                write!(f, "no fsync in {service}: found out by {found} of {looks} power cuts")
            }
        }
    }
}

impl Trial {
    /// What it adds to which table.
    fn row(&self, seconds: f32, failed: bool) -> (Table, Vec<String>) {
        let count = |n: u64| n.to_string();
        let (one, failed) = (count(1), u64::from(failed));
        match self {
            Trial::Cut { doing, at, booted, .. } => {
                let booted = u64::from(*booted);
                let counts = [1 - booted, booted, 1 - failed, failed].map(count);
                let time = soak_table::seconds(Some(seconds));
                let times = if booted == 1 { ["-".to_owned(), time] } else { [time, "-".to_owned()] };
                (Table::Cuts, [&[doing.clone(), at.clone(), one], &counts[..], &times].concat())
            }
            Trial::Unsynced { service, looks, found } => {
                (Table::Unsynced, vec![service.clone(), one, count(*looks), count(*found), count(failed)])
            }
            Trial::Formation { formation, image } => {
                let time = soak_table::seconds(Some(seconds));
                (Table::Formations, vec![formation.clone(), image.clone(), one, count(failed), time])
            }
            Trial::Chaos { case, image, outcome } => {
                let outcome = outcome.as_ref();
                let counts = outcome.map_or([0; 3], |o| [o.acknowledged, o.lost, o.clusters]).map(count);
                let ended = outcome.map_or("-", |o| &o.ended).to_owned();
                let times = [outcome.and_then(|o| o.silent), outcome.and_then(|o| o.healthy)].map(soak_table::seconds);
                let key = [case.clone(), image.clone(), one, count(failed)];
                (Table::Chaos, [&key[..], &counts, &[ended], &times].concat())
            }
        }
    }
}

/// All trials until now.
pub struct Ledger {
    /// What the soaks before this one have come to.
    pub document: Document,
    file: PathBuf,
    repository: PathBuf,
    revision: String,
}

impl Ledger {
    /// Goes on with `docs/soak.md`, and adds what the soaks without machines have noted below `out/`.
    pub fn open() -> Result<Ledger> {
        let repository = repository()?;
        let file = repository.join("docs/soak.md");
        let text = if file.exists() { fs::read_to_string(&file)? } else { String::new() };
        let document = Document::read(&text);
        let back = || format!("{} is not what a soak writes: `git checkout` it, or mend that", file.display());
        let mut document = document.with_context(back)?;
        for (noted, table) in [("model-soak.tsv", Table::Searches), ("catch-up.tsv", Table::Learners)] {
            let path = repository.join("out").join(noted);
            for line in fs::read_to_string(&path).unwrap_or_default().lines() {
                let row = line.split('\t').map(str::to_owned).collect();
                document.add(table, row).with_context(|| format!("a line of {}: {line}", path.display()))?;
            }
        }
        let revision = revision(&repository)?;
        Ok(Ledger { document, file, repository, revision })
    }

    /// Adds a trial, for good.
    pub fn note(&mut self, round: u32, seed: u64, trial: Trial, seconds: f32, failure: Option<String>) -> Result<()> {
        let document = &mut self.document;
        (document.trials, document.rounds) = (document.trials + 1, round);
        document.minutes += seconds / 60.0;
        for (names, name) in [(&mut document.seeds, seed.to_string()), (&mut document.revisions, self.revision.clone())]
        {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let (table, row) = trial.row(seconds, failure.is_some());
        document.add(table, row)?;
        if let Some(why) = failure {
            let which = format!("round {round}, seed {seed}, revision {}: {trial}", self.revision);
            document.add_failure(&which, &why.replace(&format!("{}/", self.repository.display()), ""));
        }
        self.write()
    }

    /// Writes the document, whole or not at all.
    pub fn write(&self) -> Result<()> {
        let new = self.file.with_extension("md.new");
        let mut file = File::create(&new).with_context(|| format!("cannot write {}", new.display()))?;
        file.write_all(self.document.text().as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &self.file).with_context(|| format!("cannot write {}", self.file.display()))
    }
}

/// The commit, with a plus when more than the document differs from it.
fn revision(repository: &Path) -> Result<String> {
    let git = |words: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "safe.directory=*", "-C"]).arg(repository).args(words);
        process::output(&mut command, QUICK)
    };
    let changed = !git(&["status", "--porcelain", "--", ".", ":!docs/soak.md"])?.trim().is_empty();
    Ok(format!("{}{}", git(&["rev-parse", "--short", "HEAD"])?.trim(), if changed { "+" } else { "" }))
}
