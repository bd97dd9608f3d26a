//! Files that grow over hours and take their name when they are whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use nix::libc;

use super::fault;
use super::fs::{Owner, sync_dir};

/// A file on its way in; what was written and not synced may be anything after a power loss.
pub struct Partial {
    file: File,
    path: PathBuf,
    beside: Beside,
}

/// What another thread makes durable; waited for before anything else is done to the file.
#[derive(Default)]
struct Beside(Option<JoinHandle<Result<()>>>);

impl Drop for Beside {
    fn drop(&mut self) {
        let _nobody_asks_any_more = self.0.take().map(JoinHandle::join);
    }
}

impl Partial {
    /// Opens what is there or makes an empty file, 0600; never through a symbolic link.
    ///
    /// # Errors
    /// Any failing system call, with the path.
    pub fn open(path: &Path) -> Result<Partial> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Partial { file, path: path.to_owned(), beside: Beside::default() })
    }

    /// Keeps at most the first `length` bytes, hands them to `seen` in order, and goes on behind them.
    ///
    /// # Errors
    /// Any failing system call with the path, and the first error of `seen`.
    pub fn resume(&mut self, length: u64, mut seen: impl FnMut(&[u8]) -> Result<()>) -> Result<u64> {
        self.settle()?;
        let context = || format!("cannot read {}", self.path.display());
        let kept = length.min(self.file.metadata().with_context(context)?.len());
        self.file.set_len(kept).with_context(context)?;
        self.file.seek(SeekFrom::Start(0)).with_context(context)?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            match self.file.read(&mut buffer).with_context(context)? {
                0 => return Ok(kept),
                read => seen(&buffer[..read])?,
            }
        }
    }

    /// Writes behind what is there.
    ///
    /// # Errors
    /// Of the system call; a full disk is [`io::ErrorKind::StorageFull`].
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// Any failing system call, with the path.
    pub fn sync(&mut self) -> Result<()> {
        self.settle()?;
        sync(&self.file, &self.path)
    }

    /// Makes durable what is written until now while more of it comes, then does this; one at a time.
    ///
    /// # Errors
    /// Any failing system call of the one before, with the path.
    pub fn sync_beside(&mut self, then: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
        self.settle()?;
        let file = self.file.try_clone().with_context(|| format!("cannot write {}", self.path.display()))?;
        let path = self.path.clone();
        self.beside.0 = Some(std::thread::spawn(move || sync(&file, &path).and_then(|()| then())));
        Ok(())
    }

    /// Waits until what was begun beside is done.
    ///
    /// # Errors
    /// Its.
    pub fn settle(&mut self) -> Result<()> {
        let Some(beside) = self.beside.0.take() else { return Ok(()) };
        let died = || anyhow!("a thread that writes {} died", self.path.display());
        beside.join().unwrap_or_else(|_| Err(died()))
    }

    /// Gives the file its owner, its mode and its name, durably.
    ///
    /// # Errors
    /// Any failing system call, with the path.
    pub fn finish(mut self, name: &Path, mode: u32, owner: Option<Owner>) -> Result<File> {
        self.settle()?;
        let finish = || -> io::Result<()> {
            if let Some(owner) = owner {
                fchown(&self.file, Some(owner.uid), Some(owner.gid))?;
            }
            self.file.set_permissions(fs::Permissions::from_mode(mode))?;
            fault::before_sync(&self.path, &self.file, 0);
            self.file.sync_all()?;
            fs::rename(&self.path, name)
        };
        finish().with_context(|| format!("cannot make {} of {}", name.display(), self.path.display()))?;
        name.parent().map_or(Ok(()), sync_dir)?;
        Ok(self.file)
    }
}

fn sync(file: &File, path: &Path) -> Result<()> {
    fault::before_sync(path, file, 0);
    file.sync_all().with_context(|| format!("cannot write {}", path.display()))
}
