//! Making a blank disk a data disk, so that a power cut at any instant leaves a blank disk, a finished one, or one that
//! is recognisably our own unfinished format.

use std::fs::{File, TryLockError};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::fcntl::OFlag;

use super::probe::{Kind, MARKER, Probe, UNFINISHED, marker_at, probe_file, size};
use super::process::{Program, run};

/// mkfs.xfs of xfsprogs 6.13 makes no smaller file system: 300 MB is what it says, MiB is what it means.
pub const SMALLEST: u64 = 300 << 20;

/// A slow disk that zeroes a log of 2 GiB, the largest that XFS has, needs about a minute.
const MKFS: Duration = Duration::from_secs(300);
/// For programs that write a few sectors.
const QUICK: Duration = Duration::from_secs(60);
/// udev holds its lock for as long as its rules for the disk run.
const LOCK: Duration = Duration::from_secs(30);
/// An allocation group of XFS is no smaller, so that growing by less changes nothing.
const WORTH_GROWING: u64 = 16 << 20;

/// The programs of xfsprogs: names, or paths for tests.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Makes the file system.
    pub mkfs_xfs: String,
    /// Labels it; `xfs_admin` would, and is a shell script around this.
    pub xfs_db: String,
    /// Grows it.
    pub xfs_growfs: String,
}

impl Default for Programs {
    fn default() -> Programs {
        Programs { mkfs_xfs: "mkfs.xfs".into(), xfs_db: "xfs_db".into(), xfs_growfs: "xfs_growfs".into() }
    }
}

/// Makes a provably blank device, or one with an unfinished format of ours, a disk of ours with this label.
///
/// A marker is made durable first, mkfs labels the file system [`UNFINISHED`], then the marker goes, and last the
/// label becomes the one that counts: one sector, so it is there or it is not. Old blocks are not discarded, which would take the
/// marker with them.
///
/// # Errors
/// When anything else is on the device, it is in use, is too small, or one of the programs fails.
pub async fn format_xfs(device: &Path, finished: &str, programs: &Programs) -> Result<Probe> {
    let at = device.display();
    let path = device.to_str().with_context(|| format!("the path {at} is not UTF-8"))?;
    let file = open_unused(device)?;
    lock(&file, device).await?;
    let bytes = size(&file).with_context(|| format!("cannot measure {at}"))?;
    let found = probe_file(&file).with_context(|| format!("cannot read {at}"))?;
    let again = match found.kind {
        Kind::Blank => false,
        Kind::Unfinished => true,
        Kind::Unrecognised
        | Kind::Unreadable(_)
        | Kind::Xfs
        | Kind::Ext
        | Kind::Vfat
        | Kind::Iso9660
        | Kind::Other(_) => {
            bail!("{at} is not formatted: found {found}, expected a blank disk; nothing was written")
        }
    };
    let marker = marker_at(bytes).filter(|_| bytes >= SMALLEST);
    let marker = marker.with_context(|| format!("{at} has {bytes} bytes: XFS needs at least {SMALLEST}"))?;
    let write = |block: &[u8]| file.write_all_at(block, marker).and_then(|()| file.sync_all());
    let mut block = [0; 4096];
    block[..MARKER.len()].copy_from_slice(MARKER);
    write(&block).with_context(|| format!("cannot write to {at}"))?;

    // Without -f, mkfs looks for a second time whether anything is there, with all that libblkid knows.
    let force: &[&str] = if again { &["-f"] } else { &[] };
    let fixed = ["-q", "-K", "-m", "reflink=1", "-L", UNFINISHED, path];
    program(&programs.mkfs_xfs, force.iter().chain(&fixed), MKFS).await?;
    file.sync_all().and_then(|()| write(&[0; 4096])).with_context(|| format!("cannot write to {at}"))?;
    let label = format!("label {finished}");
    program(&programs.xfs_db, ["-x", "-p", "xfs_admin", "-c", &label, path].iter(), QUICK).await?;
    file.sync_all().with_context(|| format!("cannot sync {at}"))?;
    let made = probe_file(&file).with_context(|| format!("cannot read {at}"))?;
    if !made.is_ours(finished) {
        bail!("{at} was formatted and does not read back: found {made}, expected XFS labelled `{finished}`");
    }
    Ok(made)
}

/// Grows a mounted XFS to the end of its device, where that is worth it. Says whether it grew.
///
/// # Errors
/// When xfs_growfs fails.
pub async fn grow(mounted: &Path, file_system: u64, device: u64, programs: &Programs) -> Result<bool> {
    if device.saturating_sub(file_system) < WORTH_GROWING {
        return Ok(false);
    }
    let path = mounted.to_str().with_context(|| format!("the path {} is not UTF-8", mounted.display()))?;
    program(&programs.xfs_growfs, ["-d", path].iter(), MKFS).await?;
    Ok(true)
}

async fn program(program: &str, arguments: impl Iterator<Item = impl AsRef<str>>, timeout: Duration) -> Result<String> {
    let arguments = arguments.map(|a| a.as_ref().to_owned()).collect();
    run(Program { program, arguments, owner: None, timeout }).await
}

/// Opens a device that nothing of the kernel uses: no mount in any namespace, no RAID, no device mapper.
fn open_unused(device: &Path) -> Result<File> {
    let exclusive = File::options().read(true).custom_flags(OFlag::O_EXCL.bits()).open(device);
    // Only asked, not kept: mkfs opens it exclusively too.
    drop(exclusive.with_context(|| format!("{} is in use and is not formatted", device.display()))?);
    let file = File::options().read(true).write(true).open(device);
    file.with_context(|| format!("cannot open {} for writing", device.display()))
}

/// udev leaves a disk alone while another holds this lock (systemd's "Locking Block Device Access").
async fn lock(file: &File, device: &Path) -> Result<()> {
    let attempt = async {
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    };
    let locked = tokio::time::timeout(LOCK, attempt).await;
    let locked = locked.with_context(|| format!("{} is locked by another program, udev perhaps", device.display()))?;
    locked.with_context(|| format!("cannot lock {}", device.display()))
}
