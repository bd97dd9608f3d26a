//! Mounting, and what is mounted.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};

use super::volume::Role;
use super::{fs, systemd};
use crate::paths::Paths;

/// A line of mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Major and minor number of the file system's device, as in `254:1`.
    pub number: String,
    /// Where it is mounted.
    pub target: PathBuf,
    /// Such as `xfs`.
    pub fstype: String,
    /// What was mounted, as whoever mounted it wrote it.
    pub source: String,
}

/// Everything that is mounted, in the order of mounting; of two at one place the later one is seen.
///
/// # Errors
/// When the kernel's list cannot be read.
pub fn mounts(root: &Path) -> Result<Vec<Mount>> {
    let path = root.join("proc/self/mountinfo");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.lines().filter_map(parse).collect())
}

/// What is mounted at this very directory.
///
/// # Errors
/// When the kernel's list cannot be read.
pub fn mounted_at(dir: &Path) -> Result<Option<Mount>> {
    // mountinfo has no symbolic links in its paths.
    let dir = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    Ok(mounts(Path::new("/"))?.into_iter().rfind(|m| m.target == dir))
}

/// Whether something is mounted at this very directory.
///
/// # Errors
/// When the kernel's list cannot be read.
pub fn is_mount_point(dir: &Path) -> Result<bool> {
    Ok(mounted_at(dir)?.is_some())
}

/// Mounts a volume of somebody's: read-only, nothing on it is a device or runs, and nothing is written to it, not even
/// what a journal of it holds.
///
/// # Errors
/// When the kernel refuses, with device and directory.
pub fn mount_read_only(device: &Path, dir: &Path, fstype: &str) -> Result<()> {
    // ext4(5) and xfs(5): without these a volume that was not unmounted is repaired, read-only or not.
    let data = match fstype {
        "ext4" => Some("noload"),
        "xfs" => Some("norecovery,nouuid"),
        _ => None,
    };
    mount(device, dir, fstype, MsFlags::MS_RDONLY | NOTHING_RUNS, data)
}

/// The same after the kernel has put in order what a power cut has left in its journal, as with any mount: what was made
/// durable last may be nowhere else.
///
/// # Errors
/// When the kernel refuses, with device and directory.
pub fn mount_replayed(device: &Path, dir: &Path, fstype: &str) -> Result<()> {
    let data = (fstype == "xfs").then_some("nouuid");
    mount(device, dir, fstype, MsFlags::MS_RDONLY | NOTHING_RUNS, data)
}

/// Mounts a volume's XFS where it belongs, for everybody: nothing on it is a device or runs, reading writes no times.
///
/// # Errors
/// When the kernel refuses, with device and directory; when systemd does.
pub async fn mount_volume(device: &Path, role: Role, paths: &Paths) -> Result<()> {
    let dir = role.directory(paths);
    mount(device, &dir, "xfs", MsFlags::MS_NOATIME | NOTHING_RUNS, None)?;
    if !systemd::is_here() {
        return Ok(());
    }
    // In a service of systemd's that was this service's own, and it has said why, if the kernel refuses: systemd tells only
    // the journal.
    unmount(&dir)?;
    match role {
        Role::Data => fs::link(&paths.data_device(), device)?,
        Role::Wal => fs::link(&paths.wal_device(), device)?,
    }
    systemd::mount(role).await
}

/// Mounts the firmware's variables.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn mount_efivars(dir: &Path) -> Result<()> {
    mount(Path::new("efivarfs"), dir, "efivarfs", NOTHING_RUNS, None)
}

/// Unmounts; what is not mounted is no error. A file system in use goes away when its last user does.
///
/// # Errors
/// When the kernel refuses.
pub fn unmount(dir: &Path) -> Result<()> {
    match nix::mount::umount2(dir, MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(Errno::EINVAL) => Ok(()),
        Err(Errno::EBUSY) => nix::mount::umount2(dir, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
            .with_context(|| format!("cannot unmount {}", dir.display())),
        Err(error) => Err(error).with_context(|| format!("cannot unmount {}", dir.display())),
    }
}

const NOTHING_RUNS: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

fn mount(device: &Path, dir: &Path, fstype: &str, flags: MsFlags, data: Option<&str>) -> Result<()> {
    nix::mount::mount(Some(device), dir, Some(fstype), flags, data)
        .with_context(|| format!("cannot mount {} ({fstype}) at {}", device.display(), dir.display()))
}

/// proc_pid_mountinfo(5): `36 35 98:0 /root /target options optional... - fstype source super-options`.
fn parse(line: &str) -> Option<Mount> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(2);
    let (number, target) = (mount.next()?, mount.nth(1)?);
    let mut file_system = file_system.split(' ');
    Some(Mount {
        number: number.to_owned(),
        target: PathBuf::from(unescape(target)),
        fstype: file_system.next()?.to_owned(),
        source: unescape(file_system.next()?),
    })
}

/// The kernel writes blank, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_has_optional_fields_and_escapes() {
        for (line, expected) in [
            ("27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard", ("254:0", "/", "ext4", "/dev/vda")),
            (
                "36 35 8:17 /sub /mnt/my\\040disk rw,noatime shared:1 master:2 - xfs /dev/sdb\\0401 rw",
                ("8:17", "/mnt/my disk", "xfs", "/dev/sdb 1"),
            ),
        ] {
            let (number, target, fstype, source) = expected;
            let mount =
                Mount { number: number.into(), target: target.into(), fstype: fstype.into(), source: source.into() };
            assert_eq!(parse(line), Some(mount), "{line}");
        }
        assert_eq!(parse("not a mount"), None);
    }
}
