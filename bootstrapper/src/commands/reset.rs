//! `reset`: the operator's word that what lies on this host's data disk is not needed here any more.

use std::ffi::OsString;
use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use anyhow::{Context, Result};
use plan::facts::Identity;
use plan::member::{ClusterName, MemberName};
use plan::progress::{Life, Record};
use serde_json::json;

use crate::apply::journal::{Journal, trash_name};
use crate::exit::Exit;
use crate::metadata::{self, Loaded, Sources};
use crate::observe::data_dir::locked;
use crate::observe::volume::{self, Volume};
use crate::observe::{self};
use crate::paths::Paths;
use crate::sys::fs;
use crate::sys::output::{complain, say};

/// What was typed.
#[derive(Default)]
struct Asked {
    yes: bool,
    json: bool,
    cluster: Option<String>,
}

/// Who is about to lose its place on this disk.
struct Resident {
    cluster: Option<ClusterName>,
    member: Option<MemberName>,
}

/// `etcd-bootstrapper reset [--yes] [--json] [CLUSTER]`: this host's data goes to the trash and the host is blank.
///
/// Nothing is deleted, and on a host that is blank already nothing is done.
///
/// # Errors
/// 64 without a terminal, `--yes` or the cluster's name; 78 while etcd runs, for another cluster's name, or when the
/// data disk is not in its place; 75 while `run` is at work.
pub fn reset(paths: &Paths, args: Vec<OsString>) -> Result<()> {
    let asked = Asked::parse(args)?;
    let loaded = configuration(paths)?;
    in_place(paths, loaded.as_ref())?;
    if !paths.bootstrapper().exists() && is_empty(&paths.data()) {
        return tell(&asked, &Resident { cluster: loaded.map(|l| l.spec.cluster), member: None }, None);
    }
    let journal = Journal::of(paths);
    let _lock = journal.lock().context("stop what works here first: `systemctl stop etcd-bootstrapper.service`")?;
    quiet(paths)?;
    let life = journal.read();
    let resident = Resident::of(paths, life.as_ref().ok(), loaded.as_ref());
    if life.as_ref().is_ok_and(|life| is_blank(paths, life)) {
        return tell(&asked, &resident, None);
    }
    asked.confirm(&resident, paths)?;
    // Etcd's unit must not start on what its last decision was made for: its data is about to go.
    fs::remove(&paths.ready())?;
    fs::remove(&paths.environment())?;
    quiet(paths)?;
    let to = match life {
        Ok(_) => archive(&journal)?,
        // A journal that nobody can read goes the way of the data, and last: without it the data would speak for itself.
        Err(_) => {
            let to = trash_name()?;
            journal.move_away(&to)?;
            fs::remove(&paths.staging())?;
            fs::rename(&paths.journal(), &paths.trash().join(&to).join("journal.jsonl"))?;
            to
        }
    };
    journal.open()?;
    tell(&asked, &resident, Some(paths.trash().join(to)))
}

/// Ends this life of the disk by the journal, so that a crash at any moment is completed by the next boot.
fn archive(journal: &Journal) -> Result<String> {
    // What was begun before is completed first, and a disk without a journal gets one.
    journal.open()?;
    let to = trash_name()?;
    let why = "reset, by the operator's word".to_owned();
    journal.append(&Record::Archived { to: to.clone(), why, lost: false })?;
    Ok(to)
}

impl Asked {
    fn parse(args: Vec<OsString>) -> Result<Asked> {
        let mut asked = Asked::default();
        for arg in args {
            match arg.to_str() {
                Some("--yes") => asked.yes = true,
                Some("--json") => asked.json = true,
                Some(name) if !name.starts_with('-') && asked.cluster.is_none() => asked.cluster = Some(name.into()),
                Some(_) | None => {
                    return Err(Exit::Usage.because(format!(
                        "unexpected argument {}: write `reset [--yes] [--json] [CLUSTER]`",
                        arg.display()
                    )));
                }
            }
        }
        Ok(asked)
    }

    /// The cluster's name is the question, since a person who types it knows where they are.
    fn confirm(&self, resident: &Resident, paths: &Paths) -> Result<()> {
        let typed = match &self.cluster {
            Some(name) => name.clone(),
            None if self.yes => return Ok(()),
            None if std::io::stdin().is_terminal() && resident.cluster.is_some() => resident.ask(paths)?,
            None => {
                return Err(Exit::Usage.because(format!(
                    "reset moves the data of {resident} to the trash: say so with `reset --yes` or `reset {}`",
                    resident.cluster.as_ref().map_or("CLUSTER", ClusterName::as_str)
                )));
            }
        };
        match &resident.cluster {
            Some(cluster) if cluster.as_str() == typed => Ok(()),
            Some(cluster) => Err(Exit::Refused
                .because(format!("nothing was reset: {resident} is of cluster {cluster}, not of {typed:?}"))),
            None => Err(Exit::Refused.because(
                "nothing was reset: nobody knows which cluster this data is of; `reset --yes` moves it anyway",
            )),
        }
    }
}

impl Resident {
    /// By the journal, then by `identity.json`, then by the configuration: the disk knows best.
    fn of(paths: &Paths, life: Option<&Life>, loaded: Option<&Loaded>) -> Resident {
        let recorded = life.and_then(|l| l.lived.clone().or_else(|| l.expected()));
        let identity: Option<Identity> = recorded.or_else(|| observe::identity(paths).ok().flatten());
        Resident {
            member: identity.as_ref().map(|i| i.name.clone()),
            cluster: identity.map(|i| i.cluster).or_else(|| loaded.map(|l| l.spec.cluster.clone())),
        }
    }

    fn ask(&self, paths: &Paths) -> Result<String> {
        complain(&format!("The data of {self} goes to {}.", paths.trash().display()));
        complain("Nothing is deleted; at its next boot this host is blank and joins its cluster anew.");
        complain("Type the cluster's name to go on:");
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).context("cannot read from the terminal")?;
        Ok(line.trim().to_owned())
    }
}

impl std::fmt::Display for Resident {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.member, &self.cluster) {
            (Some(member), Some(cluster)) => write!(f, "{member} of cluster {cluster}"),
            (None, Some(cluster)) => write!(f, "this host (cluster {cluster})"),
            (_, None) => f.write_str("this host"),
        }
    }
}

/// What applies now, or applied at the last boot; only for its words, so a broken one is as good as none.
fn configuration(paths: &Paths) -> Result<Option<Loaded>> {
    match Sources::new(paths).load() {
        Ok(Some(loaded)) => Ok(Some(loaded)),
        Ok(None) | Err(_) => metadata::remembered(paths),
    }
}

/// A data disk that is not mounted must not pass for a host without data.
fn in_place(paths: &Paths, loaded: Option<&Loaded>) -> Result<()> {
    let Some(loaded) = loaded else { return Ok(()) };
    let why = match volume::look(paths, &loaded.host.device)? {
        Volume::Ready { .. } => return Ok(()),
        Volume::Prepare(work) => format!("{work}, which `run` does"),
        Volume::Missing { what } => what,
        Volume::Refused { found, expected } => format!("found {found}, expected {expected}"),
    };
    // A log's disk that is gone is what a reset may be for.
    Err(Exit::Refused.because(format!("nothing was reset: the data disk is not in its place: {why}")))
}

fn quiet(paths: &Paths) -> Result<()> {
    let wal = Journal::of(paths).read().ok().and_then(|life| life.wal);
    if locked(&paths.data(), &paths.wal(wal.as_ref()))? {
        return Err(Exit::Refused.because(format!(
            "nothing was reset: etcd runs on {}; run `systemctl stop etcd.service` first",
            paths.data().display()
        )));
    }
    Ok(())
}

/// Whether a reset would change nothing: no data, no promise, nothing begun.
fn is_blank(paths: &Paths, life: &Life) -> bool {
    let fresh = Life::default();
    let no_past = life.past == plan::facts::Past { epoch: life.past.epoch, ..fresh.past }
        && life.committed.is_none()
        && life.handed_off.is_none()
        && life.removed.is_none()
        && life.archiving.is_none()
        && !life.lost;
    no_past && !paths.identity().exists() && !paths.staging().exists() && is_empty(&paths.data())
}

fn is_empty(directory: &std::path::Path) -> bool {
    match std::fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

fn tell(asked: &Asked, resident: &Resident, trash: Option<PathBuf>) -> Result<()> {
    if asked.json {
        let done = if trash.is_some() { "archived" } else { "nothing" };
        let text = json!({"done": done, "cluster": resident.cluster, "member": resident.member, "trash": trash});
        return say(&serde_json::to_string_pretty(&text)?);
    }
    match trash {
        Some(trash) => say(&format!("this host is blank; the data of {resident} is in {}", trash.display())),
        None => say("this host is blank already: nothing was done"),
    }
}
