//! The disk that this system was started from: where a copy of it is attached as well, `/var` could be the copy's.
//!
//! All IDs of a copy are the same, those of the partitions in the firmware's variables too, so that nothing says which of both
//! was started. The root is no danger, since dm-verity proves what it reads; a member's data on the copy's `/var` is.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::libc::O_NONBLOCK;

use crate::exit::Exit;
use crate::install::gpt::Table;
use crate::paths::Paths;
use crate::sys::disk::{self, Disk, Layer};

/// What was found, and what was expected.
pub struct Copied {
    /// The disks.
    pub found: String,
    /// One, and what to do.
    pub expected: String,
}

/// Runs `system-disk`: before `/var` is looked at, let alone written to.
///
/// # Errors
/// 64 for a wrong command line, 78 where there are copies.
pub fn run(paths: &Paths, args: &[OsString]) -> Result<()> {
    if let Some(first) = args.first() {
        return Err(Exit::Usage.because(format!("`system-disk` takes no argument, and there is {}", first.display())));
    }
    match look(paths.root(), &disk::list(paths.root())?)? {
        None => Ok(()),
        Some(Copied { found, expected }) => {
            Err(Exit::Refused.because(format!("nothing of /var is used: found {found}, expected {expected}")))
        }
    }
}

/// Whether this system, by the root hash that it was started with, is on more than one of the disks.
///
/// # Errors
/// When the kernel's command line cannot be read.
pub fn look(root: &Path, disks: &[Disk]) -> Result<Option<Copied>> {
    let line = root.join("proc/cmdline");
    let line = fs::read_to_string(&line).with_context(|| format!("cannot read {}", line.display()))?;
    Ok(hashes(&line).and_then(|id| copied(id, disks)))
}

/// Whether the partition with this ID is on more than one of the disks.
pub fn copied(id: [u8; 16], disks: &[Disk]) -> Option<Copied> {
    let found: Vec<String> = disks.iter().filter(|disk| has(disk, id)).map(ToString::to_string).collect();
    (found.len() > 1).then(|| Copied {
        found: format!("this system on {} disks: {}", found.len(), found.join("; ")),
        expected:
            "one: a copy has the same IDs, so that nothing tells whose /var is this machine's; detach the copy, or \
                   erase it elsewhere with `wipefs -a`"
                .to_owned(),
    })
}

/// A disk that cannot be read, or has no table, has nothing.
fn has(disk: &Disk, id: [u8; 16]) -> bool {
    if disk.layer != Layer::Whole {
        return false;
    }
    // O_NONBLOCK: opening an optical drive must not close its tray.
    let file = File::options().read(true).custom_flags(O_NONBLOCK).open(&disk.device);
    let table = file.and_then(|file| Table::read(&file, disk.bytes)).ok().flatten();
    table.is_some_and(|table| table.partitions().iter().any(|partition| partition.id == id))
}

/// The ID of the partition with dm-verity's hashes, as it lies in a table; `None` where the kernel was given no root hash.
///
/// It is the last half of the root hash (systemd-veritysetup-generator(8)); the first three fields of an ID lie on disks with
/// their last byte first.
fn hashes(command_line: &str) -> Option<[u8; 16]> {
    let hash = command_line.split_whitespace().rev().find_map(|word| word.strip_prefix("roothash="))?;
    let half = hash.is_ascii().then(|| hash.len().checked_sub(32)).flatten()?;
    let mut id = u128::from_str_radix(&hash[half..], 16).ok()?.to_be_bytes();
    id[..4].reverse();
    id[4..6].reverse();
    id[6..8].reverse();
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_half_of_the_root_hash_is_the_id_as_it_lies_on_the_disk() {
        let line = "ro roothash=e58d768a32dfe577e5fc61987647ee72e510f9f6e91ebc11d7472d92782953a3 quiet";
        let id = [0xf6, 0xf9, 0x10, 0xe5, 0x1e, 0xe9, 0x11, 0xbc, 0xd7, 0x47, 0x2d, 0x92, 0x78, 0x29, 0x53, 0xa3];
        assert_eq!(hashes(line), Some(id));
        // The last word counts, as for systemd.
        assert_eq!(hashes(&format!("roothash=00 {line}")), Some(id));
        for none in ["ro quiet", "roothash=", "roothash=12", &format!("roothash={}", "ä".repeat(32))] {
            assert_eq!(hashes(none), None, "{none}");
        }
    }
}
