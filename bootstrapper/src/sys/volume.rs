//! The volumes of this host: the data disk, mounted at `/var/lib/etcd` and remembered on `/var`, and the one that the
//! write-ahead log may have for itself, mounted at `/var/lib/etcd-wal` and remembered by the journal.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use plan::place::VolumeId;
use serde::{Deserialize, Serialize};

use super::disk::{self, Bytes};
use super::format::{Programs, SMALLEST, format_xfs, grow};
use super::fs;
use super::mount::{mount_volume, mounted_at};
use super::probe::{OURS, OURS_WAL, Probe, probe};
use crate::exit::Exit;
use crate::paths::Paths;

/// The volume that this host used last; kept on `/var`, since on the volume itself it could not be missed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remembered {
    /// UUID of its file system.
    pub uuid: String,
    /// Serial number of its disk.
    pub serial: Option<String>,
}

impl fmt::Display for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the XFS with UUID {}", self.uuid)?;
        self.serial.as_ref().map_or(Ok(()), |s| write!(f, " on the disk with serial {s}"))
    }
}

/// What a volume is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Data dir, journal, certificates.
    #[default]
    Data,
    /// The write-ahead log alone.
    Wal,
}

impl Role {
    /// Label of its file system once it is finished.
    pub fn label(self) -> &'static str {
        match self {
            Role::Data => OURS,
            Role::Wal => OURS_WAL,
        }
    }

    /// Bytes that it has at least: etcd keeps up to seven files of 64 MiB of its log.
    pub fn smallest(self) -> u64 {
        match self {
            Role::Data => SMALLEST,
            Role::Wal => 1 << 30,
        }
    }

    /// Where the configuration names its disk.
    pub fn key(self) -> &'static str {
        match self {
            Role::Data => "data.device",
            Role::Wal => "data.wal_device",
        }
    }

    /// Where it is mounted.
    pub fn directory(self, paths: &Paths) -> PathBuf {
        match self {
            Role::Data => paths.volume(),
            Role::Wal => paths.wal_volume(),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Data => "data disk",
            Role::Wal => "WAL disk",
        })
    }
}

/// What is to be done with a disk before it is a volume of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// What it is for.
    pub role: Role,
    /// The device's node.
    pub device: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its serial number.
    pub serial: Option<String>,
    /// Whether it is blank and gets a file system first.
    pub format: bool,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.format { "format and mount" } else { "mount" };
        write!(f, "{what} {} ({}", self.device.display(), Bytes(self.bytes))?;
        self.serial.as_ref().map_or(Ok(()), |s| write!(f, ", serial {s}"))?;
        f.write_str(")")
    }
}

fn record(paths: &Paths) -> PathBuf {
    paths.host("/var/lib/etcd-bootstrapper/volume.json")
}

/// More than the file of [`Remembered`] ever has.
const LIMIT: u64 = 4096;

/// The volume that this host used last; `None` when it never had one of its own.
///
/// # Errors
/// 78 when the record is there and cannot be read: not knowing is not absence.
pub fn remembered(paths: &Paths) -> Result<Option<Remembered>> {
    let path = record(paths);
    let Some(text) = fs::read_text(&path, LIMIT)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        Exit::Refused.because(format!(
            "{} should name the data disk that this host used last and cannot be read ({error}): name the disk in \
             `data.device` by its serial and reimage the system disk",
            path.display()
        ))
    })
}

/// Formats the device where that is to be done, remembers the data disk, mounts it and grows the file system. Doing it
/// again is doing it once.
///
/// # Errors
/// What failed on which device.
pub async fn prepare(paths: &Paths, work: &Work, programs: &Programs) -> Result<()> {
    let at = work.device.display();
    let found =
        if work.format { format_xfs(&work.device, work.role.label(), programs).await? } else { probe(&work.device) };
    let uuid = found.uuid.clone().with_context(|| format!("{at} has no UUID: found {found}"))?;
    // Before the mount: whoever looks after a crash must miss this volume rather than go on without it.
    if work.role == Role::Data {
        remember(paths, &Remembered { uuid, serial: work.serial.clone() })?;
    }
    let dir = work.role.directory(paths);
    if mounted_at(&dir)?.is_none() {
        fs::create_dir(&dir, 0o755, None)?;
        mount_volume(&work.device, work.role, paths).await?;
    }
    own_device(&dir)?;
    // A volume that did not grow serves as before.
    match grow_to(&found, work, &dir, programs).await {
        Ok(true) => tracing::info!("grew the file system of {at} to {}", Bytes(work.bytes)),
        Ok(false) => {}
        Err(error) => tracing::warn!("the file system of {at} was not grown: {error:#}"),
    }
    Ok(())
}

/// The disk that is mounted for logs: UUID of its file system, and what it says of itself. Below another root than `/` a
/// directory is used as it is.
///
/// # Errors
/// When the kernel's lists or the disk cannot be read.
pub fn for_log(paths: &Paths) -> Result<Option<(Option<String>, VolumeId)>> {
    let dir = paths.wal_volume();
    if paths.root() != Path::new("/") {
        return Ok(dir.is_dir().then(|| (None, VolumeId::default())));
    }
    let Some(mount) = mounted_at(&dir)? else { return Ok(None) };
    let disk = disk::list(paths.root())?.into_iter().find(|disk| disk.number == mount.number);
    let uuid = disk.and_then(|disk| disk.probe.uuid);
    let uuid =
        uuid.with_context(|| format!("cannot tell the UUID of {}, mounted at {}", mount.source, dir.display()))?;
    Ok(Some((Some(uuid), disk::beneath(paths.root(), &dir))))
}

async fn grow_to(found: &Probe, work: &Work, dir: &Path, programs: &Programs) -> Result<bool> {
    match found.bytes {
        Some(bytes) => grow(dir, bytes, work.bytes, programs).await,
        None => Ok(false),
    }
}

fn remember(paths: &Paths, volume: &Remembered) -> Result<()> {
    if remembered(paths)?.as_ref() == Some(volume) {
        return Ok(());
    }
    let path = record(paths);
    if let Some(dir) = path.parent() {
        fs::create_dir(dir, 0o700, None)?;
    }
    let text = serde_json::to_string(volume).context("cannot write down the data volume")?;
    fs::write_atomic(&path, format!("{text}\n").as_bytes(), 0o600, None)
}

/// An etcd that starts on the wrong disk starts empty: the directory must be on a file system of its own.
fn own_device(dir: &Path) -> Result<()> {
    let above = dir.parent().unwrap_or(dir);
    let device = |path: &Path| std::fs::metadata(path).map(|meta| meta.dev());
    let (own, outer) = device(dir)
        .and_then(|own| Ok((own, device(above)?)))
        .with_context(|| format!("cannot look at {}", dir.display()))?;
    anyhow::ensure!(
        own != outer,
        "{} is on the file system of {}, not on a disk of its own",
        dir.display(),
        above.display()
    );
    Ok(())
}
