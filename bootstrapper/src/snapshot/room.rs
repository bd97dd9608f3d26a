//! Whether a snapshot fits on this disk, and what to say when it does not.

use anyhow::Result;

use super::shelf::Shelf;
use crate::exit::{Exit, Failure};
use crate::paths::Paths;
use crate::sys::fs;

/// Two preallocated log files of 64 MB, and room for etcd to start in.
pub(crate) const BESIDE: u64 = 256 << 20;

/// A restore makes fewer files than this; what failed for the lack of one has given some back by now.
const FILES: u64 = 32;

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

/// A disk that takes nothing more in the words that help; any other error as it is. `bytes` where they are known.
pub fn disk_trouble(error: anyhow::Error, paths: &Paths, bytes: Option<u64>) -> anyhow::Error {
    // What has its exit code already is of a source, which has its own disk.
    if error.chain().any(|cause| cause.is::<Failure>()) {
        return error;
    }
    let said = format!("{error:#}").to_lowercase();
    if said.contains("no space left on device") {
        return full(error, paths, bytes);
    }
    let volume = paths.volume();
    if said.contains("read-only file system") {
        return Exit::Refused.because(format!(
            "nothing can be written to {}, as it is read-only: {error:#}. A kernel makes a file system read-only when its \
             disk has failed: `journalctl -k` says why; attach a sound disk",
            volume.display()
        ));
    }
    if said.contains("input/output error") {
        return Exit::Refused.because(format!(
            "the disk of {} has failed: {error:#}. `journalctl -k` says what the kernel knows; attach a sound disk",
            volume.display()
        ));
    }
    error
}

fn full(error: anyhow::Error, paths: &Paths, bytes: Option<u64>) -> anyhow::Error {
    match (fs::room(&paths.volume()), bytes) {
        (Ok(room), _) if room.files.is_some_and(|files| files < FILES) => Exit::Refused.because(format!(
            "no further file can be made on the disk of {}, though {} bytes are free there: it has hardly an inode left (`df -i`); \
             remove files that do not belong there or attach another one",
            paths.volume().display(),
            room.free
        )),
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
