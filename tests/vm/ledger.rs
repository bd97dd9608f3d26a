//! What all soaks so far have seen: one line a trial in `out/`, from which `docs/soak.md` is made anew each time.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::cases::Outcome;
use crate::flavour::Flavour;
use crate::process;
use crate::soak_table;
use crate::tools::repository;

/// For git's name of a revision.
const QUICK: Duration = Duration::from_secs(10);

/// One trial.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Counts the rounds of all soaks; one round may have many power cuts.
    pub round: u32,
    /// Of the soak that made it.
    pub seed: u64,
    /// Of the repository.
    pub revision: String,
    /// What was tried.
    pub trial: Trial,
    /// How long it took.
    pub seconds: f32,
    /// What went wrong.
    pub failure: Option<String>,
}

/// What was tried.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
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
        #[serde(default = "minimal")]
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

/// The image of all trials that were noted without one.
fn minimal() -> String {
    Flavour::Minimal.name().to_owned()
}

/// What the soaks without machines have noted; there is none of what was not run.
pub struct Beside {
    /// The model's.
    pub searches: String,
    /// Of learners that take long.
    pub learners: String,
    /// Of parsers that are given anything.
    pub parsers: String,
}

/// All trials until now.
pub struct Ledger {
    entries: Vec<Entry>,
    file: File,
    document: PathBuf,
    beside: Beside,
    revision: String,
}

impl Ledger {
    /// Goes on with the one in `out/`.
    ///
    /// A line that a killed soak left half written is cut off.
    pub fn open() -> Result<Ledger> {
        let repository = repository()?;
        let path = repository.join("out/soak.jsonl");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let entries = whole.lines().map(serde_json::from_str).collect::<Result<Vec<Entry>, _>>();
        let entries = entries.with_context(|| format!("{} is not what a soak writes: move it away", path.display()))?;
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.set_len(whole.len() as u64)?;
        let noted = |file: &str| fs::read_to_string(repository.join("out").join(file)).unwrap_or_default();
        let beside =
            Beside { searches: noted("model-soak.tsv"), learners: noted("catch-up.tsv"), parsers: noted("fuzz.tsv") };
        let revision = revision(&repository)?;
        Ok(Ledger { entries, file, document: repository.join("docs/soak.md"), beside, revision })
    }

    /// How many rounds there were.
    pub fn rounds(&self) -> u32 {
        self.entries.iter().map(|e| e.round).max().unwrap_or(0)
    }

    /// How many trials there were.
    pub fn trials(&self) -> usize {
        self.entries.len()
    }

    /// How often this was tried with this image: a case of chaos, or a formation.
    pub fn tried(&self, name: &str, flavour: Flavour) -> usize {
        let is = |e: &&Entry| match &e.trial {
            Trial::Chaos { case, image, .. } => case == name && image == flavour.name(),
            Trial::Formation { formation, image } => formation == name && image == flavour.name(),
            Trial::Cut { .. } | Trial::Unsynced { .. } => false,
        };
        self.entries.iter().filter(is).count()
    }

    /// Notes a trial, for good, and makes the document anew.
    pub fn note(&mut self, round: u32, seed: u64, trial: Trial, seconds: f32, failure: Option<String>) -> Result<()> {
        let entry = Entry { round, seed, revision: self.revision.clone(), trial, seconds, failure };
        writeln!(self.file, "{}", serde_json::to_string(&entry)?).context("cannot note the result")?;
        self.file.sync_data()?;
        self.entries.push(entry);
        self.write()
    }

    /// Makes the document anew.
    pub fn write(&self) -> Result<()> {
        let new = self.document.with_extension("md.new");
        fs::create_dir_all(self.document.parent().context("the repository has a directory docs")?)?;
        fs::write(&new, soak_table::document(&self.entries, &self.beside))?;
        fs::rename(&new, &self.document).with_context(|| format!("cannot write {}", self.document.display()))
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
