//! Which disks are this host's volumes. Nothing here writes: what is to be done is [`Volume::Prepare`]'s.

mod choose;
mod wal;

use std::path::Path;

use anyhow::Result;
use plan::document::Device;

use crate::paths::Paths;
use crate::sys::clock;
use crate::sys::disk::{self, Disk, Layer, OURS};
use crate::sys::volume::{Role, Work, remembered};
use crate::system_disk::{self, Copied};
use choose::{Selector, listing, matches};

pub use choose::{Choice, Directory, Known, choose};
pub use wal::{choose_wal, look_wal};

/// What is known of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Volume {
    /// It is where it belongs.
    Ready {
        /// What it is, for people.
        description: String,
    },
    /// It was chosen and is not mounted yet.
    Prepare(Work),
    /// It is not there, or not known yet; it may come.
    Missing {
        /// What is missed, and what is there instead.
        what: String,
    },
    /// What is there is not what was asked for; a person has to look.
    Refused {
        /// What was found.
        found: String,
        /// What was expected, and what to do.
        expected: String,
    },
}

/// Looks at the disks. With a root other than `/` nothing is ever mounted: the directory is used as it is.
///
/// # Errors
/// When the kernel's lists or the record of the volume used last cannot be read.
pub fn look(paths: &Paths, device: &Device) -> Result<Volume> {
    let directory = |why: &str| Volume::Ready { description: format!("a directory on /var ({why})") };
    if paths.root() != Path::new("/") {
        return Ok(directory("the root is not /"));
    }
    let disks = disk::list(paths.root())?;
    // Again, since a disk may be found late.
    if let Some(Copied { found, expected }) = system_disk::look(paths.root(), &disks)? {
        return Ok(Volume::Refused { found, expected });
    }
    if let Some(mount) = disk::mounted_at(&paths.volume())? {
        return Ok(mounted(device, &mount, &disks, Role::Data));
    }
    let known = Known {
        remembered: remembered(paths)?,
        directory: match (paths.data().join("member").exists(), paths.journal().exists()) {
            (true, _) => Directory::Lived,
            (false, true) => Directory::Begun,
            (false, false) => Directory::Unused,
        },
        settling: disk::settling(paths.root()),
        early: clock::since_boot() < disk::SHOWN,
        role: Role::Data,
    };
    Ok(match choose(device, &disks, &known) {
        Choice::Use(disk) => Volume::Prepare(work(disk, known.role, false)),
        Choice::Format(disk) => Volume::Prepare(work(disk, known.role, true)),
        Choice::Directory if known.directory == Directory::Unused => {
            directory(&format!("no disk is blank or labelled `{OURS}`: {}", listing(&disks)))
        }
        Choice::Directory => directory("what is there was begun there"),
        Choice::Missing(what) => Volume::Missing { what },
        Choice::Refuse { found, expected } => Volume::Refused { found, expected },
    })
}

fn work(disk: &Disk, role: Role, format: bool) -> Work {
    Work { role, device: disk.device.clone(), bytes: disk.bytes, serial: disk.serial.clone(), format }
}

/// Something is mounted already: by an earlier run, or by a person, whose word it is unless the spec names another disk.
fn mounted(device: &Device, mount: &disk::Mount, disks: &[Disk], role: Role) -> Volume {
    let disk = disks.iter().find(|d| d.number == mount.number);
    let whole = |d: &Disk| disks.iter().find(|w| d.layer == Layer::Partition(w.name.clone())).cloned();
    let named = disk.is_some_and(|d| matches(device, d) || whole(d).is_some_and(|w| matches(device, &w)));
    let description = disk.map_or_else(|| format!("{} ({})", mount.source, mount.fstype), Disk::to_string);
    if named || *device == Device::Auto {
        return Volume::Ready { description };
    }
    Volume::Refused {
        found: format!("{description}, mounted at {}", mount.target.display()),
        // Until the platform is asked, what an earlier boot has kept of it names the disk.
        expected: format!(
            "{}: reboot when `{}` has changed; where that leads back here, detach what was found before",
            Selector(device),
            role.key()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_disk_than_the_named_one_is_refused_with_a_way_out_that_does_not_lead_back() {
        let mount = |target: &str| disk::Mount {
            number: "254:16".into(),
            target: target.into(),
            fstype: "xfs".into(),
            source: "/dev/vdb".into(),
        };
        let refused = |key: &str, target: &str| Volume::Refused {
            found: format!("/dev/vdb (xfs), mounted at {target}"),
            expected: format!(
                "the disk with serial B: reboot when `{key}` has changed; where that leads back here, detach what was found \
                 before"
            ),
        };
        for (role, target) in [(Role::Data, "/var/lib/etcd"), (Role::Wal, "/var/lib/etcd-wal")] {
            let named = mounted(&Device::Serial("B".into()), &mount(target), &[], role);
            assert_eq!(named, refused(role.key(), target));
        }
    }
}
