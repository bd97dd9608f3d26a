//! Which disk is the one that the write-ahead log has for itself.

use std::path::Path;

use anyhow::Result;
use plan::document::Device;
use plan::place::VolumeId;
use plan::progress::Life;
use plan::wal_disk::WalDisk;

use super::choose::{join, listing, matches, usable};
use super::{Choice, Known, Volume, choose, mounted, work};
use crate::paths::Paths;
use crate::sys::disk::{self, Disk, Kind};
use crate::sys::volume::{Remembered, Role};

/// Looks for the disk; `None` where no disk is named and none is needed. With a root other than `/` nothing is ever
/// mounted: the directory is used as it is.
///
/// # Errors
/// When the kernel's lists cannot be read.
pub fn look_wal(paths: &Paths, device: Option<&Device>, life: &Life) -> Result<Option<Volume>> {
    let kept = needed(life);
    if device.is_none() && kept.is_none() {
        return Ok(None);
    }
    if paths.root() != Path::new("/") {
        return Ok(Some(Volume::Ready { description: "a directory (the root is not /)".into() }));
    }
    let disks = disk::list(paths.root())?;
    if let Some(mount) = disk::mounted_at(&paths.wal_volume())? {
        let here = disks.iter().find(|d| d.number == mount.number);
        return Ok(Some(match (device, here.filter(|disk| kept.is_some_and(|kept| is(disk, kept)))) {
            (_, Some(disk)) => Volume::Ready { description: disk.to_string() },
            (Some(device), None) => mounted(device, &mount, &disks, Role::Wal),
            (None, None) => Volume::Ready { description: mount.source },
        }));
    }
    Ok(Some(match choose_wal(device, &disks, kept, disk::settling(paths.root())) {
        Choice::Use(disk) => Volume::Prepare(work(disk, Role::Wal, false)),
        Choice::Format(disk) => Volume::Prepare(work(disk, Role::Wal, true)),
        Choice::Missing(what) => Volume::Missing { what },
        Choice::Refuse { found, expected } => Volume::Refused { found, expected },
        Choice::Directory => Volume::Missing { what: "no disk is named".into() },
    }))
}

/// The disk that this life's log is on, where it cannot be another any more.
pub fn needed(life: &Life) -> Option<&WalDisk> {
    life.wal.as_ref().filter(|_| life.is_bound() && life.archiving.is_none())
}

/// The disk that has the log, whatever the configuration says today; where that is nowhere, the one that is named.
pub fn choose_wal<'a>(
    device: Option<&Device>,
    disks: &'a [Disk],
    kept: Option<&WalDisk>,
    settling: bool,
) -> Choice<'a> {
    let remembered =
        kept.and_then(|kept| Some(Remembered { uuid: kept.uuid.clone()?, serial: kept.volume.serial.clone() }));
    let known = Known { role: Role::Wal, remembered, settling, ..Known::default() };
    let there = disks.iter().filter(|disk| kept.is_some_and(|kept| is(disk, kept)));
    let (copies, there): (Vec<&Disk>, Vec<&Disk>) =
        there.partition(|disk| kept.is_some_and(|kept| is_copy(disk, kept)));
    let named = |copy: &&Disk| device.is_some_and(|device| matches(device, copy));
    match (&there[..], kept, device) {
        ([disk], _, _) => usable(disk, Choice::Use, Role::Wal),
        ([_, _, ..], _, _) => Choice::Refuse {
            found: format!("{} disks with the file system of this member's log: {}", there.len(), join(&there)),
            expected: "the one that was written last: detach its copies".into(),
        },
        // The original may be a moment late.
        ([], Some(kept), _) if !copies.is_empty() && !copies.iter().any(named) => {
            Choice::Missing(format!("{kept}, which has this member's log; {} is a copy of it", join(&copies)))
        }
        ([], _, Some(device)) => choose(device, disks, &known),
        ([], Some(kept), None) => Choice::Missing(format!("{kept}, which has this member's log; {}", listing(disks))),
        ([], None, None) => Choice::Directory,
    }
}

fn is(disk: &Disk, kept: &WalDisk) -> bool {
    disk.probe.kind == Kind::Xfs && disk.holders.is_empty() && kept.uuid.is_some() && disk.probe.uuid == kept.uuid
}

fn is_copy(disk: &Disk, kept: &WalDisk) -> bool {
    kept.is_copied_to(&VolumeId { serial: disk.serial.clone(), wwid: disk.wwid.clone() })
}
