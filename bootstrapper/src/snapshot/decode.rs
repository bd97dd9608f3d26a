//! What an object is wrapped in: told by its first bytes and never by its name, taken off while it comes.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use flate2::bufread::MultiGzDecoder;
use hyper::body::Bytes;

use super::verify::{Inspector, Summary, Unfit};
use crate::sys::partial::Partial;

/// Bytes after which it is clear what an object is wrapped in.
pub const TELLING: usize = 21;

/// age in zstd in gzip; deeper is a mistake or an attack.
const DEEPEST: usize = 3;

/// Pieces that wait to be unwrapped.
const QUEUE: usize = 16;

/// zstd's own limit for a window, as a power of two: 128 MiB, what `zstd --long` needs.
const WINDOW: u32 = 27;

/// One layer around a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapping {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Wrapping {
    /// What these first bytes begin; a bolt database begins with eight zeros.
    pub fn of(head: &[u8]) -> Option<Wrapping> {
        match head {
            [0x1f, 0x8b, 8, ..] => Some(Wrapping::Gzip),
            // A frame, or one that is to be skipped, as pzstd and seekable formats begin with.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Wrapping::Zstd),
            _ => None,
        }
    }

    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Wrapping::Gzip => "gzip",
            Wrapping::Zstd => "zstd",
        }
    }
}

/// How much may come out.
#[derive(Clone, Debug)]
pub struct Most {
    /// Bytes of the database at most.
    pub bytes: u64,
    /// Why not more, and what to do: the end of a sentence.
    pub why: String,
}

/// etcd's own advice is a quota of at most 8 GiB; a file far beyond that is a mistake.
const LARGEST: u64 = 64 << 30;

impl Most {
    /// As much as could be a database of etcd at all.
    pub fn sane() -> Most {
        Most { bytes: LARGEST, why: "and no database of etcd is that large".into() }
    }

    /// A quarter more than this quota of etcd's, as a database may be larger than etcd then lets it become.
    pub fn of_quota(quota: Option<u64>) -> Most {
        let Some(quota) = quota else { return Most::sane() };
        let why = format!(
            "a quarter more than etcd's quota of {quota} bytes: raise quota-backend-bytes below `etcd` in the \
             configuration if it is the right one"
        );
        Most { bytes: quota.saturating_add(quota / 4), why }
    }

    /// Whether there are so many.
    ///
    /// # Errors
    /// [`Unfit::Unusable`].
    pub fn allows(&self, bytes: u64) -> Result<(), Unfit> {
        if bytes <= self.bytes {
            return Ok(());
        }
        Err(Unfit::Unusable(format!("it is a database of more than {} bytes, {}", self.bytes, self.why)))
    }
}

/// A thread that unwraps what it is given and checks what comes out.
pub struct Decoding {
    pieces: SyncSender<Bytes>,
    thread: JoinHandle<Result<Unwrapped>>,
}

/// A snapshot that was unwrapped.
pub struct Unwrapped {
    /// What it is; its sha256 is that of the database.
    pub summary: Summary,
    /// Where it was written.
    pub file: Option<Partial>,
    /// What it was wrapped in, the outermost first.
    pub wrappings: Vec<Wrapping>,
}

impl Decoding {
    /// Begins; the database goes into this file, if any.
    pub fn begin(into: Option<PathBuf>, most: Most) -> Decoding {
        let (pieces, queue) = sync_channel(QUEUE);
        let thread = std::thread::spawn(move || unwrap(queue, into.as_deref(), &most));
        Decoding { pieces, thread }
    }

    /// Hands over the next bytes; false when the thread has ended, and [`Decoding::end`] says why.
    pub fn take(&self, piece: Bytes) -> bool {
        self.pieces.send(piece).is_ok()
    }

    /// What came out, once all bytes were handed over.
    ///
    /// # Errors
    /// [`Unfit`] for what is no snapshot inside; any failing system call.
    pub fn end(self) -> Result<Unwrapped> {
        drop(self.pieces);
        self.thread.join().unwrap_or_else(|_| Err(anyhow!("the thread that unwraps the snapshot died")))
    }
}

fn unwrap(queue: Receiver<Bytes>, into: Option<&Path>, most: &Most) -> Result<Unwrapped> {
    let (mut content, wrappings) = peeled(Box::new(BufReader::new(Pieces { queue, now: Bytes::new() })))?;
    let mut file = into.map(Partial::open).transpose()?;
    if let Some(file) = &mut file {
        file.resume(0, |_| Ok(()))?;
    }
    let mut inspector = Inspector::default();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = content.read(&mut buffer).map_err(|error| damaged(&wrappings, &error))?;
        if read == 0 {
            break;
        }
        inspector.take(&buffer[..read])?;
        most.allows(inspector.bytes())?;
        if let (Some(file), Some(path)) = (&mut file, into) {
            file.append(&buffer[..read]).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(Unwrapped { summary: inspector.finish(None)?, file, wrappings })
}

/// Takes off one layer after the other.
fn peeled(mut content: Box<dyn BufRead>) -> Result<(Box<dyn BufRead>, Vec<Wrapping>)> {
    let mut wrappings = Vec::new();
    loop {
        let mut head = Vec::new();
        content.by_ref().take(TELLING as u64).read_to_end(&mut head).map_err(|e| damaged(&wrappings, &e))?;
        let wrapping = Wrapping::of(&head).filter(|_| wrappings.len() < DEEPEST);
        content = Box::new(Cursor::new(head).chain(content));
        let Some(wrapping) = wrapping else { return Ok((content, wrappings)) };
        content = match wrapping {
            Wrapping::Gzip => Box::new(BufReader::new(MultiGzDecoder::new(content))),
            Wrapping::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(content).context("cannot set up zstd")?;
                decoder.window_log_max(WINDOW).context("cannot set up zstd")?;
                Box::new(BufReader::new(decoder))
            }
        };
        wrappings.push(wrapping);
    }
}

fn damaged(wrappings: &[Wrapping], error: &io::Error) -> Unfit {
    let names: Vec<&str> = wrappings.iter().map(|w| w.name()).collect();
    Unfit::Broken(format!("it is damaged or was cut: it does not unpack as {} ({error})", names.join(" of ")))
}

/// The pieces in one stream; when nobody sends any more, it ends.
struct Pieces {
    queue: Receiver<Bytes>,
    now: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.now.is_empty() {
            match self.queue.recv() {
                Ok(piece) => self.now = piece,
                Err(_) => return Ok(0),
            }
        }
        let read = buffer.len().min(self.now.len());
        buffer[..read].copy_from_slice(&self.now.split_to(read));
        Ok(read)
    }
}
