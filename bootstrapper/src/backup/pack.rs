//! A database on its way into the store: checked, packed, perhaps encrypted, cut into parts; nothing of it is kept.

use std::io::{self, Write};

use age::x25519::Recipient;
use anyhow::{Context, Result, anyhow};
use hyper::body::Bytes;
use plan::spec::Sha256;
use ring::digest;
use tokio::sync::mpsc::{Receiver, Sender};

use crate::exit::Exit;
use crate::snapshot::verify::{Inspector, Summary};

/// Bytes of each part but the last: stores want 5 MiB at least and equal ones, and 10 000 of these are 78 GiB.
pub const PART: usize = 8 << 20;

/// zstd's own default: a tenth to a fifth of a Kubernetes database, faster than most networks.
const LEVEL: i32 = 3;

/// What was packed.
pub struct Packed {
    /// What the database is.
    pub summary: Summary,
    /// Bytes of the object.
    pub bytes: u64,
    /// Of the object.
    pub sha256: Sha256,
}

/// Who can open the backups: the text of `backup.age_recipient`.
///
/// # Errors
/// 65 for a text that is none.
pub fn recipient(text: &str) -> Result<Recipient> {
    text.parse().map_err(|why| Exit::BadInput.because(format!("backup.age_recipient: {why}")))
}

/// Packs all pieces into parts. The last part comes before the verdict: whoever takes them must not keep them without it.
///
/// # Errors
/// When the database is not whole, or nobody takes the parts any more.
pub fn pack(pieces: Receiver<Bytes>, parts: Sender<Bytes>, recipient: Option<&Recipient>) -> Result<Packed> {
    let sink = Sink { parts, part: Vec::new(), bytes: 0, hash: digest::Context::new(&digest::SHA256) };
    let (summary, sink) = match recipient {
        None => through(pieces, sink)?,
        Some(recipient) => {
            let recipients = std::iter::once(recipient as &dyn age::Recipient);
            // Without age's own words, which carry a library of translations.
            let encryptor = age::Encryptor::with_recipients(recipients)
                .map_err(|_| anyhow!("cannot set up age for its recipient"))?;
            let encrypted = encryptor.wrap_output(sink).context("cannot encrypt the backup")?;
            let (summary, encrypted) = through(pieces, encrypted)?;
            (summary, encrypted.finish().context("cannot encrypt the backup")?)
        }
    };
    let (bytes, sha256) = sink.end()?;
    Ok(Packed { summary, bytes, sha256 })
}

fn through<W: Write>(mut pieces: Receiver<Bytes>, into: W) -> Result<(Summary, W)> {
    let mut inspector = Inspector::default();
    let mut encoder = zstd::Encoder::new(into, LEVEL).context("cannot set up zstd")?;
    encoder.include_checksum(true).context("cannot set up zstd")?;
    while let Some(piece) = pieces.blocking_recv() {
        inspector.take(&piece)?;
        encoder.write_all(&piece).context("cannot pack the backup")?;
    }
    let into = encoder.finish().context("cannot pack the backup")?;
    Ok((inspector.finish(None)?, into))
}

struct Sink {
    parts: Sender<Bytes>,
    part: Vec<u8>,
    bytes: u64,
    hash: digest::Context,
}

impl Sink {
    fn send(&mut self) -> io::Result<()> {
        let part = Bytes::from(std::mem::take(&mut self.part));
        self.parts.blocking_send(part).map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the upload has ended"))
    }

    fn end(mut self) -> Result<(u64, Sha256)> {
        if !self.part.is_empty() {
            self.send()?;
        }
        let digits: String = self.hash.finish().as_ref().iter().map(|b| format!("{b:02x}")).collect();
        Ok((self.bytes, digits.parse()?))
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PART - self.part.len());
        if self.part.capacity() == 0 {
            self.part.reserve_exact(PART);
        }
        self.part.extend_from_slice(&bytes[..taken]);
        self.hash.update(&bytes[..taken]);
        self.bytes += taken as u64;
        if self.part.len() == PART {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
