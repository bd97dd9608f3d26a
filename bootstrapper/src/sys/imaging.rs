//! Writing an image to a whole disk, so that a power cut at any instant leaves a disk that nothing starts and that is known to
//! be unfinished, or a finished one.
//!
//! The first MiB comes last. Until then it has [`MARKER`] in it, where no partition is, or the table of a disk whose `/var`
//! stays; behind it everything has been read back.

use std::fs::{File, TryLockError};
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{FallocateFlags, OFlag, PosixFadviseAdvice, fallocate, posix_fadvise};

/// Bytes of what is written at once, and before the first partition.
pub const MIB: u64 = 1 << 20;

/// Where the first MiB says that an installation has begun: behind the table and before the first partition.
pub(crate) const MARKER: &[u8; 64] = b"etcd-bootstrapper is installing on this disk, nothing is on it \n";
const MARKER_AT: u64 = MIB / 2;

/// So much is given to the disk before more is written, so that progress is the disk's.
const FLUSH: u64 = 64 << 20;

/// udev holds its lock for as long as its rules for the disk run.
const LOCK: Duration = Duration::from_secs(30);

/// A disk that nothing else uses while this lives.
pub struct Disk {
    file: File,
    path: PathBuf,
    bytes: u64,
}

/// What was written where: the checksum of what must be read back, or nothing for zeros. It is for a disk that fails; whether
/// the image is the right one is another's question.
pub type Written = Vec<(Range<u64>, Option<u32>)>;

impl Disk {
    /// Opens a disk that is not mounted, and of which nothing is made; its sectors are read, not what memory has of them.
    ///
    /// # Errors
    /// When it is in use, or cannot be written.
    pub fn open(path: &Path) -> Result<Disk> {
        let at = path.display();
        let open = File::options().read(true).write(true).custom_flags(OFlag::O_EXCL.bits()).open(path);
        let file = open.with_context(|| format!("cannot open {at} for nobody else to use"))?;
        let since = Instant::now();
        // udev leaves a disk alone while another holds this lock (systemd's "Locking Block Device Access").
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if since.elapsed() < LOCK => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => bail!("{at} is locked by another program, udev perhaps"),
                Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("cannot lock {at}")),
            }
        }
        let bytes = super::probe::size(&file).with_context(|| format!("cannot measure {at}"))?;
        Ok(Disk { file, path: path.to_owned(), bytes })
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// To read from.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Makes it a disk that is known to be unfinished, for ever after.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn begin(&self) -> Result<()> {
        self.put(MARKER_AT, MARKER)?;
        // With the mark, and before the first sector: once that is gone, nothing says what this disk is but the mark alone, whatever
        // else of it a power cut leaves.
        self.put(self.bytes - MIB, &vec![0; MIB as usize])?;
        self.sync()?;
        self.put(0, &[0; 512])?;
        self.sync()?;
        let mut head = vec![0; MIB as usize];
        head[MARKER_AT as usize..][..MARKER.len()].copy_from_slice(MARKER);
        self.put(0, &head)?;
        self.sync()
    }

    /// Writes these bytes.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn put(&self, at: u64, bytes: &[u8]) -> Result<()> {
        #[cfg(test)]
        TOLD.with_borrow_mut(|told| told.push(Told::Write(at, bytes.to_vec())));
        let written = self.file.write_all_at(bytes, at);
        written.with_context(|| format!("cannot write to {} at byte {at}", self.path.display()))
    }

    /// Returns when the disk has it.
    ///
    /// # Errors
    /// When it has not.
    pub fn sync(&self) -> Result<()> {
        #[cfg(test)]
        TOLD.with_borrow_mut(|told| told.push(Told::Flush));
        self.file.sync_all().with_context(|| format!("cannot write to {}", self.path.display()))
    }

    /// Writes what is read, from the first MiB to `end`, without what belongs to `but`. Says how far it is.
    ///
    /// # Errors
    /// What cannot be read or written.
    pub fn copy(
        &self,
        image: &mut impl Read,
        end: u64,
        but: &Range<u64>,
        mut progress: impl FnMut(u64),
    ) -> Result<Written> {
        ensure!(end <= self.bytes, "{} has {} bytes: the image has {end}", self.path.display(), self.bytes);
        let mut written = Vec::new();
        let (mut at, mut flushed) = (MIB, MIB);
        let mut buffer = vec![0; MIB as usize];
        while at < end {
            let limits = [(at / MIB + 1) * MIB, end, but.start, but.end];
            let next = limits.into_iter().filter(|limit| *limit > at).min().unwrap_or(end);
            let piece = &mut buffer[..usize::try_from(next - at)?];
            image.read_exact(piece).with_context(|| format!("cannot read the image at byte {at}"))?;
            if !but.contains(&at) {
                written.push((at..next, self.piece(at, piece)?));
            }
            at = next;
            if at - flushed >= FLUSH {
                self.sync()?;
                flushed = at;
            }
            progress(at);
        }
        Ok(written)
    }

    /// Writes these bytes, and notes what must be read back.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn write(&self, at: u64, bytes: &[u8], written: &mut Written) -> Result<()> {
        for (at, piece) in (at..).step_by(MIB as usize).zip(bytes.chunks(MIB as usize)) {
            written.push((at..at + piece.len() as u64, self.piece(at, piece)?));
        }
        Ok(())
    }

    /// The checksum of what was written; nothing for zeros, which a disk makes by itself, and quicker.
    fn piece(&self, at: u64, piece: &[u8]) -> Result<Option<u32>> {
        if piece.iter().any(|byte| *byte != 0) {
            self.put(at, piece)?;
            return Ok(Some(crc32fast::hash(piece)));
        }
        let (start, length) = (i64::try_from(at)?, i64::try_from(piece.len())?);
        if fallocate(&self.file, FallocateFlags::FALLOC_FL_ZERO_RANGE, start, length).is_err() {
            return self.put(at, piece).map(|()| None);
        }
        #[cfg(test)]
        TOLD.with_borrow_mut(|told| told.push(Told::Write(at, piece.to_vec())));
        Ok(None)
    }

    /// Reads back what was written, from the disk itself.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn verify(&self, written: &Written, mut progress: impl FnMut(u64)) -> Result<()> {
        let name = self.path.display();
        self.sync()?;
        posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
            .with_context(|| format!("cannot read {name} anew"))?;
        let mut buffer = vec![0; MIB as usize];
        for (range, sum) in written {
            let piece = &mut buffer[..usize::try_from(range.end - range.start)?];
            let at = range.start;
            self.file.read_exact_at(piece, at).with_context(|| format!("cannot read {name} at byte {at}"))?;
            let same = match sum {
                Some(sum) => crc32fast::hash(piece) == *sum,
                None => piece.iter().all(|byte| *byte == 0),
            };
            ensure!(
                same,
                "{name} does not read back what was written to it at byte {at}, and nothing starts it: replace the disk"
            );
            progress(range.end);
        }
        Ok(())
    }

    /// Makes the disk one that starts: with this first MiB, whose first sector comes when all else of it is there.
    ///
    /// # Errors
    /// When it cannot be written, or does not read back.
    pub fn finish(&self, head: &[u8]) -> Result<()> {
        let mut marked = head.to_vec();
        marked[MARKER_AT as usize..][..MARKER.len()].copy_from_slice(MARKER);
        for part in [1024..MIB as usize, 512..1024, 0..512] {
            self.put(part.start as u64, &marked[part])?;
            self.sync()?;
        }
        let mut found = vec![0; MIB as usize];
        self.file.read_exact_at(&mut found, 0).with_context(|| format!("cannot read {}", self.path.display()))?;
        ensure!(found == marked, "{} does not read back its partition table: replace the disk", self.path.display());
        self.put(MARKER_AT, &head[MARKER_AT as usize..][..MARKER.len()])?;
        self.sync()
    }
}

/// Whether this first MiB says that an installation has begun and has not come to its last sector, the first one.
pub fn has_begun(head: &[u8]) -> bool {
    let marked = head.get(MARKER_AT as usize..).is_some_and(|behind| behind.starts_with(MARKER));
    marked && head[..512].iter().all(|byte| *byte == 0)
}

/// What a disk was told, for a test that takes some of it back.
#[cfg(test)]
#[derive(Clone)]
pub(crate) enum Told {
    /// These bytes, at this one.
    Write(u64, Vec<u8>),
    /// What came before is there for good.
    Flush,
}

#[cfg(test)]
thread_local! {
    pub(crate) static TOLD: std::cell::RefCell<Vec<Told>> = const { std::cell::RefCell::new(Vec::new()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_does_not_keep_what_it_was_told_is_found_out() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(8 << 20).expect("a disk");
        let disk = Disk::open(file.path()).expect("a disk of nobody");
        let mut image = vec![3; 4 << 20];
        image[2 << 20..3 << 20].fill(0);
        let written = disk.copy(&mut &image[..], 5 << 20, &(0..0), |_| {}).expect("room");
        disk.verify(&written, |_| {}).expect("what was written");
        for at in [MIB, (3 << 20) + 7, (5 << 20) - 1] {
            let mut byte = [0];
            disk.file().read_exact_at(&mut byte, at).expect("a byte");
            disk.put(at, &[byte[0] ^ 1]).expect("another one");
            let said = disk.verify(&written, |_| {}).expect_err("it is another one").to_string();
            assert!(said.contains("does not read back what was written to it"), "{said}");
            disk.put(at, &byte).expect("the same again");
        }
        disk.verify(&written, |_| {}).expect("what was written");
    }
}
