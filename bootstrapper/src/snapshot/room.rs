//! Whether a snapshot fits on this disk, and what to say when it does not.

use anyhow::Result;

use super::shelf::Shelf;
use crate::exit::Exit;
use crate::paths::Paths;
use crate::sys::fs;

/// Two preallocated log files of 64 MB, and room for etcd to start in.
pub(crate) const BESIDE: u64 = 256 << 20;

/// Whether an object of so many bytes can be fetched and restored on this disk; one that is wrapped needs more.
///
/// # Errors
/// 78 with both numbers.
pub fn admit(paths: &Paths, shelf: &Shelf, bytes: u64) -> Result<()> {
    let room = fs::room(&shelf.directory)?;
    let (needed, free) = (needed(bytes, room.shares), room.free + shelf.received());
    if needed <= free { Ok(()) } else { Err(too_small(paths, bytes, needed, free)) }
}

/// Whether a snapshot of so many bytes that is here can be restored on this disk.
///
/// # Errors
/// 78 with both numbers.
pub fn restorable(paths: &Paths, bytes: u64) -> Result<()> {
    let room = fs::room(&paths.volume())?;
    let needed = needed(bytes, room.shares) - bytes;
    if needed <= room.free { Ok(()) } else { Err(too_small(paths, bytes, needed, room.free)) }
}

/// A full disk in the words that help; any other error as it is. `bytes` where they are known.
pub fn lack_of_space(error: anyhow::Error, paths: &Paths, bytes: Option<u64>) -> anyhow::Error {
    if !format!("{error:#}").to_lowercase().contains("no space left on device") {
        return error;
    }
    match (fs::room(&paths.volume()), bytes) {
        (Ok(room), Some(bytes)) => too_small(paths, bytes, needed(bytes, room.shares) - bytes, room.free),
        (Ok(room), None) => Exit::Refused.because(format!(
            "the disk of {} is too small: {} bytes are free there, and the snapshot that was unpacked needs more; attach \
             a larger one or make room",
            paths.volume().display(),
            room.free
        )),
        (Err(_), _) => error,
    }
}

pub(crate) fn too_small(paths: &Paths, bytes: u64, needed: u64, free: u64) -> anyhow::Error {
    Exit::Refused.because(format!(
        "the disk of {} is too small: a snapshot of {bytes} bytes needs {needed} bytes free there to be fetched and \
         restored, and {free} are; attach a larger one or make room",
        paths.volume().display()
    ))
}

fn needed(bytes: u64, shares: bool) -> u64 {
    bytes.saturating_mul(if shares { 1 } else { 2 }).saturating_add(BESIDE)
}
