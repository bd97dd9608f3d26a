//! The command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cases::LANES;
use crate::tools::Tools;

/// What to type.
pub const USAGE: &str = "\
usage: vm run                    boot three members from one user-data; leaves them running on a terminal
       vm test [NAME...]         the cases, in two lanes side by side, or these of them one after the other
       vm soak --minutes N [NAME...]
                                 the long tests until the time is over, or Ctrl-C; the next one goes on from there
       vm bench [ROUNDS]         times from power on to an etcd that serves
       vm clean                  remove what a killed run left behind
options: --image FILE            the raw image of all machines; without it the newest below out/, that without cloud-init first,
                                 and in a soak formations with either in turn
         --seed N                of everything random; printed by every run
         --memory MIB            of each machine, 768 without it
         --within SECONDS        a test begins no case that would end later if it took as long as the longest before it,
                                 and says which it has left out
         --keep                  keep the disks of the run
Needs root. Logs of the last runs are in out/vm/.";

/// Each costs minutes on a host without acceleration.
const ROUNDS: u32 = 3;

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Three members, shown to a person.
    Run,
    /// The cases.
    Test,
    /// Power cuts for this many minutes.
    Soak(u64),
    /// Times, in so many rounds.
    Bench(u32),
    /// Remove leftovers.
    Clean,
}

/// The command line, parsed.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// What is wanted.
    pub job: Job,
    /// Cases or kinds of a soak, by name; all when empty.
    pub names: Vec<String>,
    /// Where every random choice comes from.
    pub seed: u64,
    /// MiB of each machine.
    pub memory: u32,
    /// Whether the disks stay.
    pub keep: bool,
    /// How long cases are begun; all are without it.
    pub within: Option<Duration>,
    image: Option<PathBuf>,
}

impl Arguments {
    /// The arguments of this process; none when its first word is no command of ours.
    ///
    /// Cargo hands filters for other test binaries to this one too: they must not boot machines, and are no mistake.
    pub fn parse() -> Result<Option<Arguments>> {
        use lexopt::prelude::*;
        let mut parser = lexopt::Parser::from_env();
        let mut arguments = Arguments {
            job: Job::Clean,
            names: Vec::new(),
            seed: random_seed()?,
            memory: 768,
            keep: false,
            within: None,
            image: None,
        };
        match parser.next()? {
            Some(Value(word)) => match word.to_str() {
                Some("run") => arguments.job = Job::Run,
                Some("test") => arguments.job = Job::Test,
                Some("soak") => arguments.job = Job::Soak(10),
                Some("bench") => arguments.job = Job::Bench(ROUNDS),
                Some("clean") => arguments.job = Job::Clean,
                Some(_) | None => return Ok(None),
            },
            Some(_) | None => return Ok(None),
        }
        while let Some(argument) = parser.next()? {
            match argument {
                Long("image") => arguments.image = Some(parser.value()?.into()),
                Long("seed") => arguments.seed = parser.value()?.parse()?,
                Long("memory") => arguments.memory = parser.value()?.parse()?,
                Long("keep") => arguments.keep = true,
                Long("within") if arguments.job == Job::Test => {
                    arguments.within = Some(Duration::from_secs(parser.value()?.parse()?));
                }
                Long("minutes") => match arguments.job {
                    Job::Soak(_) => arguments.job = Job::Soak(parser.value()?.parse()?),
                    Job::Run | Job::Test | Job::Bench(_) | Job::Clean => bail!("--minutes is for soak"),
                },
                Value(rounds) if matches!(arguments.job, Job::Bench(_)) => arguments.job = Job::Bench(rounds.parse()?),
                Value(name) if matches!(arguments.job, Job::Test | Job::Soak(_)) => {
                    arguments.names.push(name.string()?)
                }
                other => return Err(other.unexpected()).context(USAGE),
            }
        }
        Ok(Some(arguments))
    }

    /// How many processes do it: all cases are too many for one after the other, since most machines wait most of the time.
    pub fn lanes(&self) -> usize {
        if self.job == Job::Test && self.names.is_empty() { LANES } else { 1 }
    }

    /// The image that a person named, as seen from the repository: this process is in a directory of its own.
    pub fn named_image(&self, tools: &Tools) -> Result<Option<PathBuf>> {
        let Some(image) = &self.image else { return Ok(None) };
        let image = tools.repository.join(image);
        Ok(Some(image.canonicalize().with_context(|| format!("no image at {}", image.display()))?))
    }

    /// The newest one below `out/` whose name begins so.
    pub fn newest_image(&self, tools: &Tools, prefix: &str) -> Result<Option<PathBuf>> {
        newest_image(&tools.repository.join("out"), prefix)
    }
}

fn random_seed() -> Result<u64> {
    let bytes = std::fs::read_to_string("/proc/sys/kernel/random/uuid").context("cannot read a random number")?;
    Ok(u64::from_str_radix(&bytes[..8], 16)?)
}

/// The newest image whose name begins so, in a directory or one below it.
fn newest_image(directory: &Path, prefix: &str) -> Result<Option<PathBuf>> {
    let mut found = None;
    let mut directories = vec![(directory.to_owned(), 0)];
    while let Some((directory, depth)) = directories.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries {
            let entry = entry?;
            let (name, kind) = (entry.file_name(), entry.file_type()?);
            let name = name.to_string_lossy();
            if kind.is_dir() && depth == 0 && name != "vm" {
                directories.push((entry.path(), depth + 1));
            } else if kind.is_file() && name.starts_with(prefix) && name.ends_with(".raw") {
                found = found.max(Some((entry.metadata()?.modified()?, entry.path())));
            }
        }
    }
    Ok(found.map(|(_, path)| path))
}
