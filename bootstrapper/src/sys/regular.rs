//! Reading files that somebody else made, on a medium that somebody else made.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::exit::Exit;

/// A regular file below a directory, such as the root of a mounted volume; no symbolic link leads to it, and nothing
/// outside of that directory is opened, whatever the volume holds.
///
/// # Errors
/// What the system says: `ELOOP` or `ENOTDIR` for a symbolic link, `EXDEV` for a way out, `EINVAL` for what is no file.
pub fn open_below(dir: &Path, path: &Path) -> io::Result<fs::File> {
    let mut file = fs::File::open(dir)?;
    let mut names = path.components().peekable();
    // Name by name: openat2(2) would do it at once, but systemd's RestrictSUIDSGID= cannot look into its argument and takes
    // it from the whole service.
    while let Some(name) = names.next() {
        let Component::Normal(name) = name else { return Err(Errno::EXDEV.into()) };
        let kind = if names.peek().is_some() { OFlag::O_DIRECTORY } else { OFlag::O_NONBLOCK | OFlag::O_NOCTTY };
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | kind;
        file = openat(&file, name, flags, Mode::empty())?.into();
    }
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")),
    }
}

/// [`read_regular`] for a file below a directory, such as the root of a mounted volume; as [`open_below`] opens it.
///
/// # Errors
/// [`Exit::BadInput`] for what is not a regular file or is reached by a symbolic link; else what the system says.
pub fn read_below(dir: &Path, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let at = dir.join(path);
    match open_below(dir, path) {
        Ok(file) => {
            let mut bytes = Vec::new();
            let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
            read.with_context(|| format!("cannot read {}", at.display()))?;
            Ok(Some(bytes))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let errno = error.raw_os_error().map(Errno::from_raw);
            let odd = error.kind() == io::ErrorKind::InvalidInput;
            // A link, a way out, a directory that is none or a link, or a socket.
            let link = matches!(errno, Some(Errno::ELOOP | Errno::EXDEV | Errno::ENOTDIR | Errno::ENXIO));
            if odd || link {
                let why = "expected a regular file that no symbolic link leads to: replace it";
                return Err(Exit::BadInput.because(format!("{}: {why}", at.display())));
            }
            Err(error).with_context(|| format!("cannot read {}", at.display()))
        }
    }
}

/// The bytes of a regular file, at most `limit` and one more; `None` when there is none of that name.
///
/// Nothing else is opened: not a directory, a pipe, a socket or a device, and without `follow` no symbolic link, so that
/// a volume of anybody's cannot make us read, wait for, or touch anything of this host.
///
/// # Errors
/// [`Exit::BadInput`] for what is not a regular file, [`Exit::Permission`] without permission; else what the system says.
pub fn read_regular(path: &Path, limit: u64, follow: bool) -> Result<Option<Vec<u8>>> {
    let look = if follow { fs::metadata(path) } else { fs::symlink_metadata(path) };
    let read = look.and_then(|meta| {
        if !meta.is_file() {
            return Ok(Err(meta.file_type()));
        }
        // O_NONBLOCK and the second look: the name may have come to mean something else since the first.
        let link = if follow { OFlag::empty() } else { OFlag::O_NOFOLLOW };
        let flags = link | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Ok(Err(meta.file_type()));
        }
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(Ok(bytes))
    });
    match read {
        Ok(Ok(bytes)) => Ok(Some(bytes)),
        Ok(Err(found)) => {
            let what = if found.is_symlink() {
                "a symbolic link"
            } else if found.is_dir() {
                "a directory"
            } else {
                "a pipe, a socket or a device"
            };
            Err(Exit::BadInput
                .because(format!("{}: expected a regular file, found {what}: replace it", path.display())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(Exit::Permission.because(format!("cannot read {}: permission denied: run as root", path.display())))
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}
