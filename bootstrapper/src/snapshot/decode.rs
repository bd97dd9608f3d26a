//! What an object is wrapped in: told by its first bytes and never by its name, taken off while it comes.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use age::stream::StreamReader;
use age::x25519::Identity;
use age::{DecryptError, Decryptor};
use anyhow::{Context, Result, anyhow};
use flate2::bufread::MultiGzDecoder;
use hyper::body::Bytes;
use plan::spec::Secret;

use super::signature::Signed;
use super::verify::{Inspector, Summary, Unfit};
use crate::exit::Exit;
use crate::sys::partial::Partial;

/// Bytes after which it is clear what an object is wrapped in.
pub const TELLING: usize = 21;

/// age in zstd in gzip; deeper is a mistake or an attack.
const DEEPEST: usize = 3;

/// Pieces that wait to be unwrapped.
const QUEUE: usize = 16;

/// Bytes after which the disk is given what came out, so that it has little left to do at the end.
const FLUSH: u64 = 64 << 20;

/// zstd's own limit for a window, as a power of two: 128 MiB, what `zstd --long` needs.
const WINDOW: u32 = 27;

/// One layer around a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapping {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// age-encryption.org/v1, for X25519 recipients.
    Age,
}

impl Wrapping {
    /// What these first bytes begin; a bolt database begins with eight zeros.
    pub fn of(head: &[u8]) -> Option<Wrapping> {
        match head {
            [0x1f, 0x8b, 8, ..] => Some(Wrapping::Gzip),
            // A frame, or one that is to be skipped, as pzstd and seekable formats begin with.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Wrapping::Zstd),
            head if head.starts_with(b"age-encryption.org/v1") => Some(Wrapping::Age),
            _ => None,
        }
    }

    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Wrapping::Gzip => "gzip",
            Wrapping::Zstd => "zstd",
            Wrapping::Age => "age",
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

/// What it takes to open an object.
#[derive(Clone)]
pub struct Opening {
    /// How much may come out.
    pub most: Most,
    /// What it may be encrypted for.
    pub identities: Vec<Identity>,
    /// Who must have signed it.
    pub signed: Option<Signed>,
}

impl Opening {
    /// Without any key.
    pub fn plain(most: Most) -> Opening {
        Opening { most, identities: Vec::new(), signed: None }
    }
}

/// Identities out of the spec or a file: what `age-keygen` writes, a line each.
///
/// # Errors
/// 65 for anything else; the text is not quoted.
pub fn identities(text: &Secret) -> Result<Vec<Identity>> {
    let lines = text.reveal().lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let read = lines.map(|(i, line)| {
        line.parse().map_err(|_| {
            Exit::BadInput.because(format!(
                "line {} is no age identity, which begins with AGE-SECRET-KEY-1, as `age-keygen` makes it; keys of ssh and \
                 files with a passphrase are not read",
                i + 1
            ))
        })
    });
    let read: Vec<Identity> = read.collect::<Result<_>>()?;
    if read.is_empty() { Err(Exit::BadInput.because("there is no age identity in it")) } else { Ok(read) }
}

/// A thread that is given an object's bytes as they come.
pub struct Alongside<T> {
    pieces: SyncSender<Bytes>,
    thread: JoinHandle<Result<T>>,
}

impl<T: Send + 'static> Alongside<T> {
    /// Begins; the queue ends with the object.
    pub fn begin(work: impl FnOnce(Receiver<Bytes>) -> Result<T> + Send + 'static) -> Alongside<T> {
        let (pieces, queue) = sync_channel(QUEUE);
        Alongside { pieces, thread: std::thread::spawn(move || work(queue)) }
    }

    /// Hands over the next bytes; false when the thread has ended, and [`Alongside::end`] says why.
    pub fn take(&self, piece: Bytes) -> bool {
        self.pieces.send(piece).is_ok()
    }

    /// What came of it, once all bytes were handed over.
    ///
    /// # Errors
    /// Those of the work.
    pub fn end(self) -> Result<T> {
        drop(self.pieces);
        self.thread.join().unwrap_or_else(|_| Err(anyhow!("a thread that looks at the snapshot died")))
    }
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

/// A thread that unwraps what it is given and checks what comes out; the database goes into this file, if any.
pub fn unwrapping(into: Option<PathBuf>, opening: Opening) -> Alongside<Unwrapped> {
    Alongside::begin(move |queue| unwrap(queue, into.as_deref(), &opening))
}

fn unwrap(queue: Receiver<Bytes>, into: Option<&Path>, opening: &Opening) -> Result<Unwrapped> {
    let (mut content, wrappings) = peeled(Box::new(BufReader::new(Pieces { queue, now: Bytes::new() })), opening)?;
    let mut file = into.map(Partial::open).transpose()?;
    if let Some(file) = &mut file {
        file.resume(0, |_| Ok(()))?;
    }
    let mut inspector = Inspector::default();
    let mut buffer = vec![0; 1 << 18];
    let mut flushed = 0;
    loop {
        let read = content.read(&mut buffer).map_err(|error| damaged(&wrappings, &error))?;
        if read == 0 {
            break;
        }
        inspector.take(&buffer[..read])?;
        opening.most.allows(inspector.bytes())?;
        if let (Some(file), Some(path)) = (&mut file, into) {
            file.append(&buffer[..read]).with_context(|| format!("cannot write {}", path.display()))?;
            if inspector.bytes() - flushed >= FLUSH {
                flushed = inspector.bytes();
                file.sync_beside(|| Ok(()))?;
            }
        }
    }
    Ok(Unwrapped { summary: inspector.finish(None)?, file, wrappings })
}

/// Takes off one layer after the other.
fn peeled(mut content: Box<dyn BufRead>, opening: &Opening) -> Result<(Box<dyn BufRead>, Vec<Wrapping>)> {
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
            Wrapping::Age => Box::new(BufReader::new(decrypted(content, &opening.identities, &wrappings)?)),
        };
        wrappings.push(wrapping);
    }
}

fn decrypted(
    content: Box<dyn BufRead>,
    identities: &[Identity],
    wrappings: &[Wrapping],
) -> Result<StreamReader<Box<dyn BufRead>>> {
    let unusable = |what: &str| Unfit::Unusable(format!("it is encrypted with age, {what}"));
    let broken = |error: DecryptError| match error {
        DecryptError::Io(error) => damaged(&[wrappings, &[Wrapping::Age]].concat(), &error),
        DecryptError::NoMatchingKeys => unusable("and for none of the identities that are given here"),
        // In our own words, without which the program carries a library of translations.
        DecryptError::InvalidHeader | DecryptError::InvalidMac | DecryptError::UnknownFormat => {
            Unfit::Broken("it is damaged or was cut: its header is none of age's".into())
        }
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed | DecryptError::ExcessiveWork { .. } => {
            Unfit::Broken("it is damaged or was cut: age cannot decrypt it".into())
        }
    };
    if identities.is_empty() {
        let remedy = "and no identity is given here: write `restore.age_identity`, or give --age-identity to a command";
        return Err(unusable(remedy).into());
    }
    let decryptor = Decryptor::new_buffered(content).map_err(broken)?;
    if decryptor.is_scrypt() {
        let remedy = "with a passphrase, which nobody could type at boot: encrypt it for the recipient of an identity";
        return Err(unusable(remedy).into());
    }
    Ok(decryptor.decrypt(identities.iter().map(|i| i as &dyn age::Identity)).map_err(broken)?)
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
