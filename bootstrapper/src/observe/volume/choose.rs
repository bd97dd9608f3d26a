//! The choice, purely: from the spec's word, the disks, and what this host used before.

use std::fmt;

use plan::document::Device;
use plan::installing::plain;

use crate::sys::disk::{self, Disk, Kind, Layer};
use crate::sys::format::SMALLEST;
use crate::sys::volume::{Remembered, Role};

/// What else the choice depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// What the volume is for.
    pub role: Role,
    /// The volume that this host used last.
    pub remembered: Option<Remembered>,
    /// What lies in the directory on `/var`, where a volume would hide it.
    pub directory: Directory,
    /// Whether the kernel or udev are still finding devices.
    pub settling: bool,
    /// Whether a slow bus may have disks that it has not shown yet.
    pub early: bool,
}

/// What an earlier boot without a data disk left in the directory on `/var`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Directory {
    /// Nothing.
    #[default]
    Unused,
    /// A journal: a host that waited, blank.
    Begun,
    /// A member's data.
    Lived,
}

/// What a spec and the disks come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice<'a> {
    /// This one has a data volume of ours.
    Use(&'a Disk),
    /// This one is blank and becomes the data volume.
    Format(&'a Disk),
    /// No disk was named and none offers itself: a directory on `/var`.
    Directory,
    /// See [`Volume::Missing`].
    Missing(String),
    /// See [`Volume::Refused`].
    Refuse {
        /// What was found.
        found: String,
        /// What was expected, and what to do.
        expected: String,
    },
}

/// Chooses the data volume. Not knowing never leads to `/var` or to a format.
pub fn choose<'a>(device: &Device, disks: &'a [Disk], known: &Known) -> Choice<'a> {
    match device {
        Device::Auto => automatic(disks, known),
        Device::Serial(_) | Device::Wwid(_) | Device::Label(_) | Device::Lun(_) | Device::Name(_) => {
            named(device, disks, known)
        }
    }
}

fn automatic<'a>(disks: &'a [Disk], known: &Known) -> Choice<'a> {
    let ours: Vec<&Disk> = disks.iter().filter(|d| is_volume(d, known.role)).collect();
    if let [_, _, ..] = ours[..] {
        return refuse(
            format!("{} data volumes: {}", ours.len(), join(&ours)),
            "one: detach the others, or name it in `data.device` by its serial",
        );
    }
    if let Some(volume) = &known.remembered {
        return match ours.first().filter(|d| d.probe.uuid.as_ref() == Some(&volume.uuid)) {
            Some(disk) => usable(disk, Choice::Use, known.role),
            None => missing_remembered(volume, disks, known.role),
        };
    }
    match (ours.first(), known.directory) {
        (Some(disk), Directory::Lived) => refuse(
            format!("a member's data on /var, and a data volume: {disk}"),
            "one of both: detach the disk, or reimage the system disk to go on with the disk's data",
        ),
        // Begun on /var, it goes on there: a blank disk that came later is not this host's.
        (None, Directory::Lived | Directory::Begun) => Choice::Directory,
        (_, Directory::Unused | Directory::Begun) if known.settling => {
            Choice::Missing("the kernel is still finding disks".into())
        }
        (Some(disk), Directory::Unused | Directory::Begun) => usable(disk, Choice::Use, known.role),
        (None, Directory::Unused) => offered(disks, known.early),
    }
}

/// No volume of ours anywhere: the one blank disk, if there is one.
fn offered(disks: &[Disk], early: bool) -> Choice<'_> {
    let eligible = |d: &&Disk| d.layer == Layer::Whole && obstacle(d).is_none() && partitions(d, disks).is_empty();
    let of =
        |kind: fn(&Kind) -> bool| disks.iter().filter(eligible).filter(|d| kind(&d.probe.kind)).collect::<Vec<_>>();
    let unreadable = of(|k| matches!(k, Kind::Unreadable(_)));
    let unfinished = of(|k| *k == Kind::Unfinished);
    let blank: Vec<_> = of(|k| *k == Kind::Blank).into_iter().filter(|d| d.bytes >= SMALLEST).collect();
    // The disk whose format a power cut ended was the choice then.
    match (&unfinished[..], &unreadable[..], &blank[..]) {
        ([disk], _, _) => Choice::Format(disk),
        ([_, ..], _, _) => ambiguous(&unfinished),
        ([], [_, ..], _) => Choice::Missing(format!("cannot tell what is on {}", join(&unreadable))),
        ([], [], [disk]) => Choice::Format(disk),
        ([], [], [_, ..]) => ambiguous(&blank),
        ([], [], []) if early => Choice::Missing("any, which a slow bus may have and has not shown yet".into()),
        ([], [], []) => Choice::Directory,
    }
}

fn ambiguous<'a>(blank: &[&Disk]) -> Choice<'a> {
    refuse(format!("{} blank disks: {}", blank.len(), join(blank)), "one: name it in `data.device` by its serial")
}

fn named<'a>(device: &Device, disks: &'a [Disk], known: &Known) -> Choice<'a> {
    let found: Vec<&Disk> = disks.iter().filter(|d| matches(device, d)).collect();
    let found = match device {
        Device::Lun(_) => beside_the_system(found, disks),
        Device::Name(name) => as_its_provider_says(found, name),
        Device::Auto | Device::Serial(_) | Device::Wwid(_) | Device::Label(_) => found,
    };
    let disk = match found[..] {
        [] => return Choice::Missing(format!("{}; {}", Selector(device), listing(disks))),
        [disk] => disk,
        [_, _, ..] => {
            let more = if matches!(device, Device::Label(_) | Device::Lun(_) | Device::Name(_)) {
                ": name it by its serial"
            } else {
                ": two paths to one disk are not supported"
            };
            return refuse(format!("{} of {}: {}", found.len(), Selector(device), join(&found)), &format!("one{more}"));
        }
    };
    let inside: Vec<&Disk> = partitions(disk, disks).into_iter().filter(|d| is_volume(d, known.role)).collect();
    let labelled = matches!(device, Device::Label(_)) && disk.probe.kind == Kind::Xfs;
    let holds = match inside[..] {
        _ if disk.probe.is_ours(known.role.label()) || labelled => Some(disk),
        [partition] => Some(partition),
        _ => None,
    };
    let choice = match (holds, &disk.probe.kind) {
        (Some(disk), _) => usable(disk, Choice::Use, known.role),
        (None, Kind::Unreadable(_)) => Choice::Missing(format!("cannot tell what is on {disk}")),
        (None, Kind::Blank | Kind::Unfinished) if partitions(disk, disks).is_empty() => {
            usable(disk, Choice::Format, known.role)
        }
        (None, _) => refuse(
            disk.to_string(),
            &format!(
                "{} to be blank or labelled `{}`: name another disk, or erase this one with `wipefs -a` elsewhere",
                Selector(device),
                known.role.label()
            ),
        ),
    };
    match choice {
        Choice::Use(disk) | Choice::Format(disk) => against_memory(device, disk, choice, disks, known),
        Choice::Directory | Choice::Missing(_) | Choice::Refuse { .. } => choice,
    }
}

/// Azure numbers the system's and the temporary disk by a controller of their own, and data disks from 0 by another:
/// <https://learn.microsoft.com/azure/virtual-machines/linux/azure-to-guest-disk-mapping>.
fn beside_the_system<'a>(found: Vec<&'a Disk>, disks: &[Disk]) -> Vec<&'a Disk> {
    let host = |disk: &Disk| disk.scsi.map(|scsi| scsi.host);
    let system = disks.iter().filter(|d| d.system).find_map(host);
    let elsewhere: Vec<&Disk> = found.iter().copied().filter(|d| host(d) != system).collect();
    if elsewhere.is_empty() { found } else { elsewhere }
}

/// EC2's `sdf` may be any of the kernel's names, and the kernel's `sdf` another disk.
fn as_its_provider_says<'a>(found: Vec<&'a Disk>, name: &str) -> Vec<&'a Disk> {
    let called: Vec<&Disk> = found.iter().copied().filter(|disk| called(disk, name)).collect();
    if called.is_empty() { found } else { called }
}

fn called(disk: &Disk, name: &str) -> bool {
    let whole = !matches!(disk.layer, Layer::Partition(_));
    whole && disk.provider_name.as_deref() == Some(name.trim_start_matches("/dev/"))
}

/// Holds a named disk against what this host used last: a kernel name can move from disk to disk, a serial cannot.
fn against_memory<'a>(
    device: &Device,
    disk: &'a Disk,
    choice: Choice<'a>,
    disks: &'a [Disk],
    known: &Known,
) -> Choice<'a> {
    let Some(volume) = &known.remembered else {
        return if known.directory == Directory::Lived {
            refuse(
                format!("a member's data on /var, while `data.device` is {disk}"),
                "no data on /var: set `data.device` to auto, or reimage the system disk",
            )
        } else {
            choice
        };
    };
    if disk.probe.uuid.as_ref() == Some(&volume.uuid) {
        return choice;
    }
    let elsewhere = disks.iter().find(|d| is_volume(d, known.role) && d.probe.uuid.as_ref() == Some(&volume.uuid));
    let by_name = matches!(device, Device::Name(_));
    match (elsewhere, &choice) {
        (Some(other), Choice::Format(_)) => refuse(
            format!("{disk}, while this host's data is on {other}"),
            "the disk with the data: name that one, or detach it to begin anew on the blank one",
        ),
        (Some(other), _) if by_name => refuse(
            format!("{disk}, while this host's data is on {other}"),
            &format!("the disk with this host's data: name it in `{}` by its serial", known.role.key()),
        ),
        (None, _) if by_name => missing_remembered(volume, disks, known.role),
        _ => choice,
    }
}

fn missing_remembered<'a>(volume: &Remembered, disks: &[Disk], role: Role) -> Choice<'a> {
    Choice::Missing(format!(
        "{volume}, which this host used last; {}; to go on with another disk name it in `{}` by its serial",
        listing(disks),
        role.key()
    ))
}

/// The disk, unless something is in its way.
pub(super) fn usable<'a>(disk: &'a Disk, choice: fn(&'a Disk) -> Choice<'a>, role: Role) -> Choice<'a> {
    let cut = disk.probe.bytes.filter(|bytes| *bytes > disk.bytes);
    let small = disk.bytes < role.smallest() && disk.probe.kind == Kind::Blank;
    match (obstacle(disk), cut) {
        (Some(why), _) => refuse(format!("{disk}, {why}"), "a writable disk that nothing else uses"),
        (None, Some(bytes)) => refuse(
            format!("{disk}, with a file system of {}", disk::Bytes(bytes)),
            "a disk no smaller than its file system: this one was cut short, attach the whole one",
        ),
        (None, None) if small => refuse(disk.to_string(), &format!("at least {}", disk::Bytes(role.smallest()))),
        (None, None) => choice(disk),
    }
}

/// Why a disk is never a data volume, whatever is on it.
fn obstacle(disk: &Disk) -> Option<String> {
    let Disk { system, read_only, removable, holders, mounts, .. } = disk;
    match (holders.first(), mounts.first()) {
        _ if *system => Some("the disk that this system runs from".into()),
        _ if *read_only => Some("which is read-only".into()),
        _ if *removable => Some("a removable medium".into()),
        (Some(holder), _) => Some(format!("which {holder} is made of")),
        (None, Some(target)) => Some(format!("mounted at {}", target.display())),
        (None, None) => None,
    }
}

/// A finished volume of ours that is not the system's own and not merely seen through what another device is made of.
fn is_volume(disk: &Disk, role: Role) -> bool {
    disk.probe.is_ours(role.label()) && !disk.system && disk.holders.is_empty() && disk.layer != Layer::Backed
}

fn partitions<'a>(whole: &Disk, disks: &'a [Disk]) -> Vec<&'a Disk> {
    disks.iter().filter(|d| d.layer == Layer::Partition(whole.name.clone())).collect()
}

pub(super) fn matches(device: &Device, disk: &Disk) -> bool {
    let whole = !matches!(disk.layer, Layer::Partition(_));
    match device {
        Device::Auto => false,
        Device::Serial(serial) => whole && disk.serial.as_deref() == Some(serial.trim()),
        Device::Wwid(wwid) => whole && disk.wwid.as_deref().is_some_and(|w| plain(w) == plain(wwid)),
        Device::Label(label) => disk.holders.is_empty() && disk.probe.label.as_ref() == Some(label),
        Device::Lun(lun) => whole && disk.scsi.is_some_and(|scsi| scsi.lun == *lun),
        Device::Name(name) => called(disk, name) || disk.name == name.trim_start_matches("/dev/"),
    }
}

/// A selector for people.
pub(super) struct Selector<'a>(pub(super) &'a Device);

impl fmt::Display for Selector<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Device::Auto => f.write_str("any one disk"),
            Device::Serial(serial) => write!(f, "the disk with serial {serial}"),
            Device::Wwid(wwid) => write!(f, "the disk with World Wide ID {wwid}"),
            Device::Label(label) => write!(f, "the XFS file system labelled `{label}`"),
            Device::Lun(lun) => write!(f, "the SCSI disk with LUN {lun}"),
            Device::Name(name) => write!(f, "the disk {name}"),
        }
    }
}

fn refuse<'a>(found: String, expected: &str) -> Choice<'a> {
    Choice::Refuse { found, expected: expected.to_owned() }
}

pub(super) fn join(disks: &[&Disk]) -> String {
    disks.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What is there, without what could never be meant.
pub(super) fn listing(disks: &[Disk]) -> String {
    let there = disks.iter().filter(|d| d.layer != Layer::Backed && !d.system && !d.removable);
    match join(&there.collect::<Vec<_>>()) {
        none if none.is_empty() => "there is no disk but the system's own".into(),
        some => format!("there is {some}"),
    }
}
