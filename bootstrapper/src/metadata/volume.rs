//! Carriers: attached volumes with a label that is for configuration, ISO 9660 or FAT, found by their superblocks and
//! mounted only to be read.

use anyhow::{Context, Result};

use super::nocloud::{self, Form, Layout, Seed};
use super::providers;
use crate::exit::Exit;
use crate::install::disks::is_of_an_installation;
use crate::paths::Paths;
use crate::sys::disk::{self, Disk, Kind};
use crate::sys::fs;

/// The labels, low to high where two kinds of volumes are attached; FAT and ISO 9660 may make capitals of them.
const LABELS: [(&str, Form); 3] = [
    (providers::nocloud::LABEL, Form::NoCloud),
    (providers::configdrive::LABEL, Form::ConfigDrive),
    ("ETCDBOOT", Form::Own),
];

/// What the last look found, so that a wait for a volume neither reads nor mounts what it has seen already.
#[derive(Default)]
pub struct Seen {
    devices: String,
    seeds: Vec<Seed>,
    notes: Vec<String>,
}

impl Seen {
    /// The files of the volumes that are attached, and what was passed over.
    ///
    /// # Errors
    /// [`Exit::Refused`] when several volumes could be meant; else what the kernel says.
    pub fn look(&mut self, paths: &Paths) -> Result<(Vec<Seed>, Vec<String>)> {
        let devices = devices(paths)?;
        if devices != self.devices {
            *self = if devices.is_empty() { Seen::default() } else { find(paths, devices)? };
        }
        Ok((self.seeds.clone(), self.notes.clone()))
    }
}

/// The block devices in one text that changes when a device or a medium comes or goes.
fn devices(paths: &Paths) -> Result<String> {
    let class = paths.host("/sys/class/block");
    let entries = match std::fs::read_dir(&class) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot list {}", class.display())),
    };
    let mut devices = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", class.display()))?.path();
        let read = |name: &str| std::fs::read_to_string(path.join(name)).unwrap_or_default();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // udev tells of a medium after the kernel has counted it.
        let drive = disk::drive(paths.root(), &name, read("dev").trim());
        // The kernel counts media up in diskseq; partitions have none and come and go with their disk.
        devices.push(format!("{} {} {} {drive:?}", path.display(), read("size").trim(), read("diskseq").trim()));
    }
    devices.sort();
    Ok(devices.join("\n"))
}

fn find(paths: &Paths, devices: String) -> Result<Seen> {
    let disks = disk::list(paths.root())?;
    // A device may be listed before it can be read: then this look is not the last one.
    let unread = disks.iter().any(|disk| matches!(disk.probe.kind, Kind::Unreadable(_)));
    let devices = if unread { String::new() } else { devices };
    let mut seen = Seen { devices, ..Seen::default() };
    for (label, form) in LABELS {
        let (volumes, notes) = carriers(&disks, label);
        seen.notes.extend(notes);
        match volumes.as_slice() {
            [] => {}
            [volume] => seen.seeds.extend(read(paths, volume, label, form)?),
            [one, other, ..] => {
                return Err(Exit::Refused.because(format!(
                    "two volumes are labelled {label}, and neither counts more: {one}, and {other}: detach one of them"
                )));
            }
        }
    }
    Ok(seen)
}

/// The volumes with this label of which one is meant, and what was passed over.
pub(super) fn carriers<'d>(disks: &'d [Disk], label: &str) -> (Vec<&'d Disk>, Vec<String>) {
    let (readable, others): (Vec<&Disk>, Vec<&Disk>) = disk::labelled(disks, label)
        .into_iter()
        .partition(|disk| matches!(disk.probe.kind, Kind::Iso9660 | Kind::Vfat));
    let mut notes: Vec<String> =
        others.iter().map(|disk| format!("{disk} is passed over: make it ISO 9660 or FAT")).collect();
    // What an installation has left beside the system counts less than what a person has plugged in.
    let (own, attached): (Vec<&Disk>, Vec<&Disk>) = readable.into_iter().partition(|disk| disk.system);
    // An old system disk in its bay says nothing about this machine.
    let (left, attached): (Vec<&Disk>, Vec<&Disk>) =
        attached.into_iter().partition(|volume| is_of_an_installation(volume, disks));
    notes.extend(left.iter().map(|disk| {
        format!(
            "{disk} is passed over: an installation has left it there, and this system was not started from its disk"
        )
    }));
    (if attached.is_empty() { own } else { attached }, notes)
}

pub(super) fn read(paths: &Paths, volume: &Disk, label: &str, form: Form) -> Result<Option<Seed>> {
    let Some(fstype) = volume.probe.kind.fstype() else { return Ok(None) };
    let dir = paths.run().join(label);
    fs::create_dir(&dir, 0o700, None)?;
    // An earlier run may have been killed with it mounted.
    disk::unmount(&dir)?;
    disk::mount_read_only(&volume.device, &dir, fstype)?;
    let seed = nocloud::read(&dir, &format!("the {label} volume {}", volume.name), form, Layout::Volume);
    disk::unmount(&dir).and(seed)
}
