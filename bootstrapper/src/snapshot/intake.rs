//! The receiving end: takes a snapshot's bytes as they come, hashes, checks and keeps them.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hyper::body::Bytes;
use plan::spec::Sha256;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::Receiver;

use super::verify::{self, Inspector, Summary, Unfit};
use crate::sys::fs::{self, Owner};
use crate::sys::partial::Partial;

/// How many bytes may be lost to a power cut, as each sync costs the disk its pace.
const CHECKPOINT: u64 = 64 * 1024 * 1024;

/// Where the bytes go, once they are whole.
#[derive(Clone, Debug)]
pub struct Shelf {
    /// A directory of ours.
    pub directory: PathBuf,
    /// What the snapshot must hash to; it also names the file.
    pub sha256: Sha256,
    /// Who reads it later.
    pub owner: Option<Owner>,
}

impl Shelf {
    /// The whole snapshot's path.
    pub fn path(&self) -> PathBuf {
        self.directory.join(format!("{}.db", self.sha256.as_str()))
    }
    fn part(&self) -> PathBuf {
        self.directory.join(format!("{}.part", self.sha256.as_str()))
    }
    fn sidecar(&self) -> PathBuf {
        self.directory.join(format!("{}.json", self.sha256.as_str()))
    }

    /// How many bytes there are so far.
    pub fn received(&self) -> u64 {
        std::fs::metadata(self.part()).map_or(0, |meta| meta.len())
    }

    /// Removes whatever there is of the snapshot.
    ///
    /// # Errors
    /// Any failing system call, with the path.
    pub fn clear(&self) -> Result<()> {
        fs::remove(&self.path())?;
        fs::remove(&self.sidecar())?;
        fs::remove(&self.part())
    }
}

/// Which version of an object the bytes so far are of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The server's ETag.
    pub etag: Option<String>,
    /// The object's length.
    pub total: Option<u64>,
}

/// What lies beside a part file: durable only up to `written`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Sidecar {
    written: u64,
    version: Version,
}

/// Bytes so far.
pub struct Intake {
    inspector: Inspector,
    kept: Option<Kept>,
    /// Of which object.
    pub version: Version,
}

struct Kept {
    shelf: Shelf,
    part: Partial,
    checkpoint: u64,
}

impl Intake {
    /// An intake that checks and keeps nothing.
    pub fn checking() -> Intake {
        Intake { inspector: Inspector::default(), kept: None, version: Version::default() }
    }

    /// An intake that goes on where an earlier one stopped; reads again what that one left, as nothing else proves it.
    ///
    /// # Errors
    /// Any failing system call, with the path.
    pub fn resume(shelf: Shelf) -> Result<Intake> {
        let sidecar = fs::read_text(&shelf.sidecar(), 1 << 16)?;
        let sidecar: Sidecar = sidecar.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let mut part = Partial::open(&shelf.part())?;
        let mut inspector = Inspector::default();
        let mut fit = Ok(());
        let checkpoint = part.resume(sidecar.written, |bytes| {
            if fit.is_ok() {
                fit = inspector.take(bytes);
            }
            Ok(())
        })?;
        let version = sidecar.version;
        let mut intake = Intake { inspector, version, kept: None };
        intake.kept = Some(Kept { shelf, part, checkpoint });
        if fit.is_err() {
            intake.restart()?;
        }
        Ok(intake)
    }

    /// How many bytes there are.
    pub fn bytes(&self) -> u64 {
        self.inspector.bytes()
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// Any failing system call, with the path.
    pub fn restart(&mut self) -> Result<()> {
        self.inspector = Inspector::default();
        self.version = Version::default();
        if let Some(kept) = &mut self.kept {
            fs::remove(&kept.shelf.sidecar())?;
            kept.checkpoint = kept.part.resume(0, |_| Ok(()))?;
        }
        Ok(())
    }

    /// Takes pieces until no more come; blocks on the disk.
    pub fn drain(mut self, mut pieces: Receiver<Bytes>) -> (Intake, Result<()>) {
        while let Some(piece) = pieces.blocking_recv() {
            if let Err(error) = self.take(&piece) {
                return (self, Err(error));
            }
        }
        let kept = self.checkpoint();
        (self, kept)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        self.inspector.take(bytes)?;
        let Some(kept) = &mut self.kept else { return Ok(()) };
        let path = kept.shelf.part();
        kept.part.append(bytes).map_err(|error| full(error, &path))?;
        if self.inspector.bytes() - kept.checkpoint >= CHECKPOINT { self.checkpoint() } else { Ok(()) }
    }

    /// Makes durable what there is, then says so beside it.
    fn checkpoint(&mut self) -> Result<()> {
        let written = self.inspector.bytes();
        let Some(kept) = self.kept.as_mut().filter(|k| k.checkpoint < written) else { return Ok(()) };
        kept.part.sync().map_err(|error| full(error, &kept.shelf.part()))?;
        let sidecar = serde_json::to_vec(&Sidecar { written, version: self.version.clone() })?;
        fs::write_atomic(&kept.shelf.sidecar(), &sidecar, 0o600, None)?;
        kept.checkpoint = written;
        Ok(())
    }

    /// The verdict; a good snapshot that is kept takes its name, anything else is removed.
    ///
    /// # Errors
    /// [`Unfit`] for what is not the snapshot wanted; any failing system call, with the path.
    pub fn finish(self, expected: Option<&Sha256>) -> Result<Summary> {
        let verdict = self.inspector.finish(expected);
        let Some(kept) = self.kept else { return Ok(verdict?) };
        let summary = match verdict {
            Ok(summary) => summary,
            Err(unfit) => {
                kept.shelf.clear()?;
                return Err(unfit.into());
            }
        };
        // Readable by etcd's group, and owned by us: what is under this name has been checked.
        let owner = kept.shelf.owner.map(|o| Owner { uid: nix::unistd::geteuid().as_raw(), gid: o.gid });
        let file = kept.part.finish(&kept.shelf.path(), 0o640, owner)?;
        fs::remove(&kept.shelf.sidecar())?;
        verify::details(file, summary).map_err(|unfit: Unfit| match kept.shelf.clear() {
            Ok(()) => unfit.into(),
            Err(error) => error,
        })
    }
}

fn full(error: io::Error, path: &Path) -> anyhow::Error {
    anyhow::Error::new(error).context(format!("cannot write {}", path.display()))
}

/// Runs what blocks on the disk where it holds up nobody.
///
/// # Errors
/// Those of the work; when it panicked.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("a thread that reads or writes a snapshot died")?
}
