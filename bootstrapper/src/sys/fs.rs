//! Files that survive power loss: every write is atomic and fsynced, with its directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::fault;
use crate::exit::Exit;

/// A user and group that a file is to belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Numeric user ID.
    pub uid: u32,
    /// Numeric group ID.
    pub gid: u32,
}

/// Replaces a file so that any reader and any power loss sees the old or the new one, never a part.
///
/// # Errors
/// Any failing system call, with the path.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32, owner: Option<Owner>) -> Result<()> {
    let temporary = sibling(path);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        if let Some(owner) = owner {
            std::os::unix::fs::fchown(&file, Some(owner.uid), Some(owner.gid))?;
        }
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        fault::before_sync(&temporary, &file, 0);
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    sync_parent(path)
}

fn sibling(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

/// Makes a symbolic link in the place of what is there, if anything.
///
/// # Errors
/// Any failing system call, with the path.
pub fn link(path: &Path, target: &Path) -> Result<()> {
    let temporary = sibling(path);
    let make = || -> io::Result<()> {
        fs::remove_file(&temporary).or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })?;
        std::os::unix::fs::symlink(target, &temporary)?;
        fs::rename(&temporary, path)
    };
    make().with_context(|| format!("cannot make the link {} to {}", path.display(), target.display()))?;
    sync_parent(path)
}

/// Appends a line and makes it durable before it returns; what a power cut left of a torn last line is cut off first.
///
/// # Errors
/// Any failing system call, with the path.
pub fn append_line(path: &Path, line: &str) -> Result<()> {
    let append = || -> io::Result<bool> {
        let new = !path.exists();
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let mut whole = Vec::new();
        file.read_to_end(&mut whole)?;
        let end = whole.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        if end < whole.len() {
            file.set_len(end as u64)?;
        }
        file.write_all(format!("{line}\n").as_bytes())?;
        fault::before_sync(path, &file, end as u64);
        file.sync_data()?;
        Ok(new)
    };
    if append().with_context(|| format!("cannot append to {}", path.display()))? { sync_parent(path) } else { Ok(()) }
}

/// The file's text; `None` when there is no such file.
///
/// # Errors
/// When it cannot be read, is not UTF-8, or is larger than `limit` bytes.
pub fn read_text(path: &Path, limit: u64) -> Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let mut text = String::new();
    let read =
        file.take(limit + 1).read_to_string(&mut text).with_context(|| format!("cannot read {}", path.display()))?;
    anyhow::ensure!(read as u64 <= limit, "{} is larger than {limit} bytes", path.display());
    Ok(Some(text))
}

/// The text of a file that holds a secret; `None` when there is no such file.
///
/// # Errors
/// As [`read_text`], and with exit code 77 when group or others may read it or this user may not.
pub fn read_private(path: &Path, limit: u64) -> Result<Option<String>> {
    let mode = match fs::metadata(path) {
        Ok(meta) => meta.permissions().mode() & 0o777,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot look at {}", path.display())),
    };
    if mode & 0o077 != 0 {
        let path = path.display();
        let message = format!("{path} has mode {mode:04o}, so others can use the key in it: run `chmod 0600 {path}`");
        return Err(Exit::Permission.because(message));
    }
    read_text(path, limit)
}

/// Whether a file is there with these bytes, this mode and this owner, so that nothing needs to be written.
pub fn is_already(path: &Path, bytes: &[u8], mode: u32, owner: Option<Owner>) -> bool {
    let Ok(meta) = fs::symlink_metadata(path) else { return false };
    meta.is_file()
        && meta.permissions().mode() & 0o7777 == mode
        && owner.is_none_or(|o| o == Owner { uid: meta.uid(), gid: meta.gid() })
        && fs::read(path).is_ok_and(|there| there == bytes)
}

/// Makes a directory and those above it, and durable; one that is there gets the mode and the owner.
///
/// # Errors
/// Any failing system call, with the path.
pub fn create_dir(path: &Path, mode: u32, owner: Option<Owner>) -> Result<()> {
    let make = || -> io::Result<()> {
        let new = !path.is_dir();
        DirBuilder::new().recursive(true).mode(mode).create(path)?;
        if let Some(owner) = owner {
            std::os::unix::fs::chown(path, Some(owner.uid), Some(owner.gid))?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        if new && let Some(parent) = path.parent() {
            let parent_dir = File::open(parent)?;
            fault::before_sync(parent, &parent_dir, 0);
            parent_dir.sync_all()?;
        }
        Ok(())
    };
    make().with_context(|| format!("cannot make the directory {}", path.display()))
}

/// Renames durably; both directories are synced. Fails when the target is a directory that is not empty.
///
/// # Errors
/// Any failing system call, with both paths.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))?;
    sync_parent(from)?;
    sync_parent(to)
}

/// Removes a file or a tree of ours; one that is not there is no error. Never for anything of the user's.
///
/// # Errors
/// Any failing system call, with the path.
pub fn remove(path: &Path) -> Result<()> {
    let gone = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match gone {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.with_context(|| format!("cannot remove {}", path.display())),
    }
}

/// Gives a tree to an owner with directories 0700 and files 0600, and makes all of it durable, deepest first.
///
/// # Errors
/// Any failing system call, with the path.
pub fn seal_tree(path: &Path, owner: Option<Owner>) -> Result<()> {
    let meta = fs::symlink_metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    if meta.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))? {
            seal_tree(&entry?.path(), owner)?;
        }
    }
    let seal = || -> io::Result<()> {
        if let Some(owner) = owner {
            std::os::unix::fs::lchown(path, Some(owner.uid), Some(owner.gid))?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(if meta.is_dir() { 0o700 } else { 0o600 }))?;
        let there = File::open(path)?;
        fault::before_sync(path, &there, there.metadata()?.len());
        there.sync_all()
    };
    seal().with_context(|| format!("cannot make {} durable", path.display()))
}

/// Copies a file, sharing its blocks where the filesystem can; the copy is not durable.
///
/// # Errors
/// Any failing system call, with both paths.
pub fn copy(from: &Path, to: &Path, owner: Option<Owner>) -> Result<()> {
    let copy = || -> io::Result<()> {
        fs::copy(from, to)?;
        if let Some(owner) = owner {
            std::os::unix::fs::chown(to, Some(owner.uid), Some(owner.gid))?;
        }
        fs::set_permissions(to, fs::Permissions::from_mode(0o600))
    };
    copy().with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

/// Makes a copy that has these bytes in the place of what is there, 0600; it takes its name when it is whole.
///
/// # Errors
/// Any failing system call, with both paths; when both are one file.
pub fn copy_with(from: &Path, to: &Path, offset: u64, bytes: &[u8]) -> Result<()> {
    let same = fs::metadata(from).and_then(|a| Ok((a, fs::metadata(to)?)));
    if same.is_ok_and(|(a, b)| (a.dev(), a.ino()) == (b.dev(), b.ino())) {
        anyhow::bail!("{} is what is copied: name another file", to.display());
    }
    let temporary = sibling(to);
    copy(from, &temporary, None)?;
    let write = || -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(&temporary)?;
        file.write_all_at(bytes, offset)?;
        file.sync_all()?;
        fs::rename(&temporary, to)
    };
    write().with_context(|| format!("cannot write {}", to.display()))?;
    sync_parent(to)
}

/// Cuts a file of ours at a byte and appends there; not durable.
///
/// # Errors
/// Any failing system call, with the path.
pub fn continue_at(path: &Path, offset: u64, bytes: &[u8]) -> Result<()> {
    let append = || -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).open(path)?;
        file.set_len(offset)?;
        file.write_all(bytes)
    };
    append().with_context(|| format!("cannot write {}", path.display()))
}

/// Makes a directory's entries durable.
///
/// # Errors
/// When the directory cannot be opened or synced.
pub fn sync_dir(path: &Path) -> Result<()> {
    let sync = || -> io::Result<()> {
        let directory = File::open(path)?;
        fault::before_sync(path, &directory, 0);
        directory.sync_all()
    };
    sync().with_context(|| format!("cannot sync the directory {}", path.display()))
}

fn sync_parent(path: &Path) -> Result<()> {
    match path.parent() {
        None => Ok(()),
        // A bare name has an empty parent, which means the current directory and cannot be opened.
        Some(parent) if parent == Path::new("") => sync_dir(Path::new(".")),
        Some(parent) => sync_dir(parent),
    }
}

/// Bytes in the files of a directory and of those below it; what cannot be read counts nothing.
pub fn size_below(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(of) if of.is_dir() => size_below(&entry.path()),
        Ok(of) => of.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

/// Whom a file belongs to; `None` when it cannot be looked at.
pub fn owner_of(path: &Path) -> Option<Owner> {
    fs::symlink_metadata(path).ok().map(|meta| Owner { uid: meta.uid(), gid: meta.gid() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_lies_in_the_current_directory() {
        for path in ["bare", "./here", "/", "/absolute"] {
            assert!(sync_parent(Path::new(path)).is_ok(), "{path}");
        }
    }
}

/// What is left on a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that it has for files, free or not.
    pub bytes: u64,
    /// Bytes that etcd's user may still write.
    pub free: u64,
    /// How many files can still be made, where a file system has places for so many of them, however small they are.
    pub files: Option<u64>,
    /// Whether a copy of a file shares its blocks, as on XFS made with reflink and on btrfs.
    pub shares: bool,
}

/// What XFS and btrfs are called by statfs(2); nix has these two for glibc only.
const XFS_SUPER_MAGIC: i128 = 0x5846_5342;
const BTRFS_SUPER_MAGIC: i128 = 0x9123_683e;

/// What is left on the filesystem of this path.
///
/// # Errors
/// Any failing system call, with the path.
pub fn room(path: &Path) -> Result<Room> {
    let stat =
        nix::sys::statvfs::statvfs(path).with_context(|| format!("cannot ask how much room {} has", path.display()))?;
    let kind =
        nix::sys::statfs::statfs(path).with_context(|| format!("cannot ask how much room {} has", path.display()))?;
    // Signed with glibc, unsigned with musl.
    let kind = i128::from(kind.filesystem_type().0);
    let shares = kind == XFS_SUPER_MAGIC || kind == BTRFS_SUPER_MAGIC;
    // btrfs has no such limit, and says zero of zero.
    let files = (stat.files() > 0).then(|| stat.files_available());
    let bytes = |blocks| blocks * stat.fragment_size();
    Ok(Room { bytes: bytes(stat.blocks()), free: bytes(stat.blocks_available()), files, shares })
}

/// A lock on a file, until it is dropped or its process ends.
pub struct Lock {
    _file: File,
}

/// Takes the lock on a file of its own; `None` while another process holds it.
///
/// # Errors
/// When the file cannot be made or locked.
pub fn lock(path: &Path) -> Result<Option<Lock>> {
    let context = || format!("cannot lock {}", path.display());
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).with_context(context)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock { _file: file })),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(error).with_context(context),
    }
}

/// Who holds the lock on this file, for people: `process 71 (etcd-bootstrapper run)`, from proc_locks(5).
pub fn lock_holder(path: &Path) -> String {
    let find = || {
        let inode = format!(":{}", fs::metadata(path).ok()?.ino());
        let locks = fs::read_to_string("/proc/locks").ok()?;
        let held = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        // `1: FLOCK ADVISORY WRITE 71 fe:00:1234 0 EOF`; one that waits has `->` before FLOCK.
        let pid =
            held.filter(|f| f.get(1) == Some(&"FLOCK")).find(|f| f.get(5).is_some_and(|id| id.ends_with(&inode)))?[4];
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ");
        let (program, arguments) = words.split_once(' ').unwrap_or((&words, ""));
        let name = program.rsplit('/').next().unwrap_or_default();
        Some(format!("process {pid} ({})", format!("{name} {arguments}").trim_end()))
    };
    find().unwrap_or_else(|| "another process".into())
}
