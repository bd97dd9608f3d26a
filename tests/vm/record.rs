//! What a disk was told, in order, as QEMU's `blklogwrites` records it, and the disks that a power cut may leave.
//!
//! The format is that of the kernel's dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst): a super
//! block, then for each request a block with its header, followed by its data. All numbers are little-endian.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::{FallocateFlags, fallocate};

use crate::random::Random;

/// Size of a block of the record, and of a sector in it; QEMU's default.
const BLOCK: u64 = 512;
const MAGIC: u64 = 0x6a_7366_7773_6872;
const VERSION: u64 = 1;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
/// Bytes that are copied at once.
const PIECE: u64 = 1 << 20;
/// Bytes of a header that are used: sector, number of sectors, flags, length of a mark.
const HEADER: usize = 32;

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is in the record.
    pub at: u64,
    /// First byte on the disk.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    flags: u64,
}

impl Entry {
    /// Everything before it is on the disk for good.
    pub fn is_flush(&self) -> bool {
        self.flags & FLUSH != 0
    }
    /// It is on the disk for good itself, once it is complete.
    fn is_durable(&self) -> bool {
        self.flags & FUA != 0
    }
    fn is_discard(&self) -> bool {
        self.flags & DISCARD != 0
    }
    /// Where the next one begins in the record.
    pub fn next(&self) -> u64 {
        let data = if self.is_discard() { 0 } else { self.length };
        self.at + BLOCK + data
    }
}

/// A record that may still be growing.
pub struct Record {
    file: File,
    path: PathBuf,
    entries: Vec<Entry>,
    /// Where flushes are that the guest knows nothing of.
    disregarded: Vec<u64>,
}

impl Record {
    /// Opens a record; it may be empty yet.
    pub fn open(path: &Path) -> Result<Record> {
        let file = File::open(path).with_context(|| format!("no record of writes at {}", path.display()))?;
        Ok(Record { file, path: path.to_owned(), entries: Vec::new(), disregarded: Vec::new() })
    }

    /// All requests until now.
    ///
    /// # Errors
    /// When it is no record. QEMU counts the entries in the super block now and then only, so that count is not used.
    pub fn entries(&mut self) -> Result<&[Entry]> {
        let length = self.file.metadata()?.len();
        let mut at = self.entries.last().map_or(BLOCK, Entry::next);
        if at + BLOCK > length {
            return Ok(&self.entries);
        }
        let mut super_block = [0; 28];
        self.file.read_exact_at(&mut super_block, 0)?;
        let (magic, version) = (number(&super_block, 0), number(&super_block, 1));
        // QEMU writes the super block with the first flush.
        if magic != 0 && (magic != MAGIC || version != VERSION) {
            bail!("{} is no record of writes: it starts with {magic:#x}, version {version}", self.path.display());
        }
        while at + BLOCK <= length {
            let mut header = [0; HEADER];
            self.file.read_exact_at(&mut header, at)?;
            let entry = Entry {
                at,
                offset: number(&header, 0) * BLOCK,
                length: number(&header, 1) * BLOCK,
                flags: number(&header, 2),
            };
            if header == [0; HEADER] || entry.next() > length {
                break;
            }
            at = entry.next();
            self.entries.push(entry);
        }
        Ok(&self.entries)
    }

    /// How long it is by now, in bytes.
    pub fn length(&self) -> Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Takes a flush at the end for none, if it came after the record had this length.
    pub fn disregard_flush_since(&mut self, length: u64) {
        self.disregarded.extend(self.entries.last().filter(|e| e.is_flush() && e.at >= length).map(|e| e.at));
    }

    /// How many writes came after the last flush.
    pub fn unflushed(&self) -> usize {
        self.entries[self.durable()..].iter().filter(|e| e.length > 0).count()
    }

    /// How many of the first requests no power cut can undo.
    fn durable(&self) -> usize {
        self.durable_of(&self.entries, None)
    }

    /// The same of these requests, if no flush from here on had been asked for.
    fn durable_of(&self, entries: &[Entry], unflushed_from: Option<u64>) -> usize {
        let asked = |e: &Entry| unflushed_from.is_none_or(|from| e.at < from);
        let flush = |e: &Entry| e.is_flush() && asked(e) && !self.disregarded.contains(&e.at);
        entries.iter().rposition(flush).map_or(0, |at| at + 1)
    }

    /// Where the first request is that writes these bytes.
    pub fn first_with(&mut self, bytes: &[u8]) -> Result<Option<u64>> {
        for entry in self.entries()?.to_vec() {
            if !entry.is_discard() && entry.length > 0 && contains(&self.data(&entry)?, bytes) {
                return Ok(Some(entry.at));
            }
        }
        Ok(None)
    }

    /// Makes the disk that a power cut leaves: all until the last flush, and of what came after it what `cut` says.
    ///
    /// `disk` holds what the disk was before the record began.
    pub fn replay(&mut self, disk: &Path, mut cut: Cut) -> Result<Outcome> {
        let mut entries = self.entries()?.to_vec();
        entries.retain(|e| cut.at.is_none_or(|at| e.next() <= at));
        let durable = self.durable_of(&entries, cut.unflushed_from);
        let target = OpenOptions::new().write(true).open(disk)?;
        let unflushed = entries[durable..].iter().filter(|e| e.length > 0).count();
        let mut outcome = Outcome { requests: entries.len(), unflushed, dropped: 0 };
        for (number, entry) in entries.iter().enumerate().filter(|(_, e)| e.length > 0) {
            let forced = entry.is_durable() && cut.unflushed_from.is_none_or(|from| entry.at < from);
            if number >= durable && !forced && cut.loss.takes() {
                outcome.dropped += 1;
                continue;
            }
            self.copy(entry, &target)?;
        }
        Ok(outcome)
    }

    fn data(&self, entry: &Entry) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(entry.length)?];
        if !entry.is_discard() {
            self.file.read_exact_at(&mut bytes, entry.at + BLOCK)?;
        }
        Ok(bytes)
    }

    /// Zeros become holes: a disk is told gigabytes of them.
    fn copy(&self, entry: &Entry, target: &File) -> Result<()> {
        let mut buffer = vec![0; usize::try_from(entry.length.min(PIECE))?];
        for start in (0..entry.length).step_by(PIECE as usize) {
            let length = PIECE.min(entry.length - start);
            let piece = &mut buffer[..usize::try_from(length)?];
            if !entry.is_discard() {
                self.file.read_exact_at(piece, entry.at + BLOCK + start)?;
            }
            let at = entry.offset + start;
            if piece.iter().any(|byte| *byte != 0) {
                target.write_all_at(piece, at)?;
            } else {
                let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
                fallocate(target, hole, i64::try_from(at)?, i64::try_from(length)?)?;
            }
        }
        Ok(())
    }
}

/// A power cut, as far as a disk is concerned.
#[derive(Debug)]
pub struct Cut<'a> {
    /// When the record had this length; at its end without it.
    pub at: Option<u64>,
    /// What gets lost of the writes after the last flush.
    pub loss: Loss<'a>,
    /// As if nobody had asked for a flush from here on: what a program would leave that forgets to.
    pub unflushed_from: Option<u64>,
}

impl<'a> Cut<'a> {
    /// At the end of the record.
    pub fn now(loss: Loss<'a>) -> Cut<'a> {
        Cut { at: None, loss, unflushed_from: None }
    }
}

/// What a power cut takes of the writes that no flush has made safe.
#[derive(Debug)]
pub enum Loss<'a> {
    /// Nothing: the disk was quick.
    Nothing,
    /// Each of them or not.
    Some(&'a mut Random),
    /// All: the disk had them in its cache.
    All,
}

impl Loss<'_> {
    fn takes(&mut self) -> bool {
        match self {
            Loss::Nothing => false,
            Loss::Some(random) => random.below(2) == 0,
            Loss::All => true,
        }
    }
}

/// Whether bytes occur in others.
pub fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len().max(1)).any(|window| window == part)
}

/// What became of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How many there were.
    pub requests: usize,
    /// Writes after the last flush.
    pub unflushed: usize,
    /// How many of these did not make it.
    pub dropped: usize,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Outcome { requests, unflushed, dropped } = self;
        write!(f, "{requests} requests, {unflushed} writes after the last flush, {dropped} of these lost")
    }
}

fn number(bytes: &[u8], index: usize) -> u64 {
    let mut number = [0; 8];
    // A header is always whole, so there is nothing that could be missing.
    bytes[index * 8..].take(8).read_exact(&mut number).ok();
    u64::from_le_bytes(number)
}
