//! The receiving end: takes an object's bytes as they come, hashes, unwraps, checks and keeps them.
//!
//! What lies on the disk while it comes is the object as it lies at the source, so that its sha256 can be held against
//! the one that was asked for and a download goes on where it stopped. A plain snapshot becomes the database by its
//! name; one that was wrapped lies beside the database that came out of it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result};
use hyper::body::Bytes;
use plan::spec::Sha256;
use ring::digest;
use tokio::sync::mpsc::Receiver;

use super::decode::{Alongside, Opening, TELLING, Unwrapped, Wrapping, unwrapping};
use super::shelf::Shelf;
use super::sidecar::{Sidecar, Version};
use super::signature::Signed;
use super::verify::{self, Inspector, Summary, Unfit};
use crate::exit::Exit;
use crate::sys::fs::{self, Owner};
use crate::sys::partial::Partial;

/// How many bytes may come before they are made durable, as each sync costs the disk its pace; a power cut may cost
/// twice as many, those that are being synced and those that came meanwhile.
const CHECKPOINT: u64 = 64 * 1024 * 1024;

/// Bytes of a file that are read at a time; they stay in the processor's cache until they are hashed.
const PIECE: usize = 128 << 10;

/// Bytes so far.
pub struct Intake {
    bytes: u64,
    content: Content,
    opening: Opening,
    signature: Option<Alongside<()>>,
    kept: Option<Kept>,
    /// Of which object.
    pub version: Version,
}

/// What the bytes turned out to be.
enum Content {
    /// Too few to tell.
    Telling(Vec<u8>),
    /// A snapshot as etcd wrote it.
    Plain(Box<Inspector>),
    /// Something with a snapshot inside.
    Wrapped { hash: Box<digest::Context>, inside: Option<Alongside<Unwrapped>> },
}

struct Kept {
    shelf: Shelf,
    part: Partial,
    /// Up to where it is durable, or is being made so beside.
    checkpoint: u64,
}

impl Intake {
    /// An intake that checks and keeps nothing.
    pub fn checking(opening: Opening) -> Intake {
        let signature = opening.signed.as_ref().map(Signed::begin);
        let content = Content::Telling(Vec::new());
        Intake { bytes: 0, content, opening, signature, kept: None, version: Version::default() }
    }

    /// An intake that goes on where an earlier one stopped; reads again what that one left, as nothing else proves it.
    ///
    /// # Errors
    /// Any failing system call, with the path.
    pub fn resume(shelf: Shelf, opening: Opening) -> Result<Intake> {
        let sidecar = Sidecar::read(&shelf.sidecar())?;
        let mut part = Partial::open(&shelf.object())?;
        let mut intake = Intake::checking(opening);
        let inside = shelf.inside();
        let mut fit = Ok(());
        let checkpoint = part.resume(sidecar.written, |bytes| {
            if fit.is_ok() {
                fit = intake.look(&Bytes::copy_from_slice(bytes), Some(&inside));
            }
            Ok(())
        })?;
        intake.version = sidecar.version;
        intake.kept = Some(Kept { shelf, part, checkpoint });
        match fit {
            Ok(()) => {}
            Err(error) if error.is::<Unfit>() => intake.restart()?,
            Err(error) => return Err(error),
        }
        Ok(intake)
    }

    /// How many bytes of the object there are.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the object is here to its last byte.
    pub fn is_whole(&self) -> bool {
        self.bytes > 0 && self.version.total == Some(self.bytes)
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// Any failing system call, with the path.
    pub fn restart(&mut self) -> Result<()> {
        self.bytes = 0;
        self.content = Content::Telling(Vec::new());
        self.signature = self.opening.signed.as_ref().map(Signed::begin);
        self.version = Version::default();
        if let Some(kept) = &mut self.kept {
            kept.part.settle()?;
            fs::remove(&kept.shelf.sidecar())?;
            kept.checkpoint = kept.part.resume(0, |_| Ok(()))?;
        }
        Ok(())
    }

    /// Takes pieces until no more come; blocks on the disk.
    pub fn drain(mut self, mut pieces: Receiver<Bytes>) -> (Intake, Result<()>) {
        while let Some(piece) = pieces.blocking_recv() {
            if let Err(error) = self.take(piece) {
                // Nothing is written any more once this has ended; what went wrong first is what counts.
                let _further = self.kept.as_mut().map(|kept| kept.part.settle());
                return (self, Err(error));
            }
        }
        let kept = self.checkpoint();
        (self, kept)
    }

    /// Takes the next bytes; blocks on the disk.
    ///
    /// # Errors
    /// [`Unfit`] as soon as it is clear that this is no snapshot; any failing system call, with the path.
    pub fn take(&mut self, bytes: Bytes) -> Result<()> {
        let inside = self.kept.as_ref().map(|kept| kept.shelf.inside());
        self.look(&bytes, inside.as_deref())?;
        let Some(kept) = &mut self.kept else { return Ok(()) };
        let path = kept.shelf.object();
        kept.part.append(&bytes).map_err(|error| full(error, &path))?;
        if self.bytes - kept.checkpoint < CHECKPOINT {
            return Ok(());
        }
        kept.checkpoint = self.bytes;
        let note = Sidecar { written: self.bytes, version: self.version.clone() };
        let file = kept.shelf.sidecar();
        kept.part.sync_beside(move || note.write(&file))
    }

    /// Hashes and unwraps the next bytes; what is inside goes into this file.
    fn look(&mut self, bytes: &Bytes, into: Option<&Path>) -> Result<()> {
        if let Some(signature) = &self.signature {
            signature.take(bytes.clone());
        }
        self.content(bytes, into)
    }

    fn content(&mut self, bytes: &Bytes, into: Option<&Path>) -> Result<()> {
        self.bytes += bytes.len() as u64;
        match &mut self.content {
            Content::Telling(head) => {
                head.extend_from_slice(bytes);
                if head.len() < TELLING {
                    return Ok(());
                }
                self.told(into)
            }
            Content::Plain(inspector) => {
                inspector.take(bytes)?;
                Ok(self.opening.most.allows(self.bytes)?)
            }
            Content::Wrapped { hash, inside } => {
                hash.update(bytes);
                match inside.take_if(|inside| !inside.take(bytes.clone())) {
                    None => Ok(()),
                    Some(ended) => ended.end().and(Err(Unfit::Broken("something follows its end".into()).into())),
                }
            }
        }
    }

    /// Decides by the first bytes what the object is, and goes on with them.
    fn told(&mut self, into: Option<&Path>) -> Result<()> {
        let Content::Telling(head) = &mut self.content else { return Ok(()) };
        let head = Bytes::from(std::mem::take(head));
        self.content = match Wrapping::of(&head) {
            None => Content::Plain(Box::default()),
            Some(_) => Content::Wrapped {
                hash: Box::new(digest::Context::new(&digest::SHA256)),
                inside: Some(unwrapping(into.map(Path::to_owned), self.opening.clone())),
            },
        };
        self.bytes -= head.len() as u64;
        self.content(&head, into)
    }

    /// Makes durable what there is, unless it is.
    fn checkpoint(&mut self) -> Result<()> {
        match &mut self.kept {
            Some(kept) if kept.checkpoint < self.bytes => self.note(),
            Some(kept) => kept.part.settle(),
            None => Ok(()),
        }
    }

    /// Makes durable what there is, then says so beside it.
    fn note(&mut self) -> Result<()> {
        let written = self.bytes;
        let Some(kept) = self.kept.as_mut() else { return Ok(()) };
        kept.part.sync()?;
        Sidecar { written, version: self.version.clone() }.write(&kept.shelf.sidecar())?;
        kept.checkpoint = written;
        Ok(())
    }

    /// The verdict over all bytes; a good snapshot that is kept takes its name, anything else is removed.
    ///
    /// # Errors
    /// [`Unfit`] for what is not the snapshot wanted; any failing system call, with the path.
    pub fn finish(self, expected: Option<&Sha256>) -> Result<Summary> {
        let shelf = self.kept.as_ref().map(|kept| kept.shelf.clone());
        let finished = self.named(expected);
        if let (Err(_), Some(shelf)) = (&finished, shelf) {
            shelf.clear()?;
        }
        finished
    }

    fn named(mut self, expected: Option<&Sha256>) -> Result<Summary> {
        let into = self.kept.as_ref().map(|kept| kept.shelf.inside());
        self.told(into.as_deref())?;
        let (summary, inside) = match self.content {
            Content::Telling(_) => anyhow::bail!("nothing was told of the snapshot"),
            Content::Plain(inspector) => (inspector.finish(expected)?, None),
            Content::Wrapped { ref hash, ref mut inside } => {
                let inside = inside.take().context("the snapshot was unwrapped already")?;
                let (summary, file) = unwrapped(hash.as_ref().clone(), self.bytes, inside, expected)?;
                // Before the database has its name, so that the object beside one is always whole.
                self.version.total = Some(self.bytes);
                self.note()?;
                (summary, file)
            }
        };
        if let Some(signature) = self.signature.take() {
            signature.end()?;
        }
        let Some(kept) = self.kept else { return Ok(summary) };
        // Readable by etcd's group, and owned by us: what is under this name has been checked.
        let owner = kept.shelf.owner.map(|o| Owner { uid: nix::unistd::geteuid().as_raw(), gid: o.gid });
        let plain = inside.is_none();
        let file = inside.unwrap_or(kept.part).finish(&kept.shelf.path(), 0o640, owner)?;
        if plain {
            fs::remove(&kept.shelf.sidecar())?;
        }
        Ok(verify::details(file, summary)?)
    }
}

/// What came out, held against what was asked for.
fn unwrapped(
    hash: digest::Context,
    object_bytes: u64,
    inside: Alongside<Unwrapped>,
    expected: Option<&Sha256>,
) -> Result<(Summary, Option<Partial>)> {
    let sha256 = verify::sum(hash);
    let other =
        expected.filter(|e| **e != sha256).map(|e| format!("its sha256 is {} and not {}", sha256.as_str(), e.as_str()));
    let out = match inside.end() {
        Ok(out) => out,
        Err(error) => {
            let Some(Unfit::Broken(what)) = error.downcast_ref() else { return Err(error) };
            let pinned = "the sha256 that was asked for is of this damaged file".to_owned();
            let further = other.or(expected.map(|_| pinned)).map_or(String::new(), |text| format!("; {text}"));
            return Err(Unfit::Broken(format!("{what}{further}")).into());
        }
    };
    match other {
        Some(other) => Err(Unfit::Another(format!("it is whole, but {other}")).into()),
        None => Ok((Summary { sha256, object_bytes, wrappings: out.wrappings, ..out.summary }, out.file)),
    }
}

/// Checks a file; what it is of is looked up when it is a snapshot as etcd wrote it.
///
/// # Errors
/// 65 with the reason for a file that is not a whole snapshot; any failing system call.
pub fn check(path: &Path, expected: Option<&Sha256>, opening: Opening) -> Result<Summary> {
    let unfit = |error: anyhow::Error| match error.downcast_ref::<Unfit>() {
        Some(unfit) => Exit::BadInput.because(format!("{} cannot be restored: {unfit}", path.display())),
        None => error,
    };
    let context = || format!("cannot read {}", path.display());
    let mut intake = Intake::checking(opening);
    let mut file = File::open(path).with_context(context)?;
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        if file.by_ref().take(PIECE as u64).read_to_end(&mut piece).with_context(context)? == 0 {
            break;
        }
        intake.take(piece.into()).map_err(unfit)?;
    }
    let summary = intake.finish(expected).map_err(unfit)?;
    if !summary.wrappings.is_empty() {
        return Ok(summary);
    }
    verify::details(file, summary).map_err(|error| unfit(error.into()))
}

fn full(error: io::Error, path: &Path) -> anyhow::Error {
    anyhow::Error::new(error).context(format!("cannot write {}", path.display()))
}

/// Runs what blocks on the disk where it holds up nobody.
///
/// # Errors
/// Those of the work; when it panicked.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("a thread that reads or writes a snapshot died")?
}
