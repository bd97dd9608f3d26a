//! Who signed an object: minisign's signatures, checked while the object comes.

use anyhow::Result;
use hyper::body::Bytes;
use minisign_verify::{Error, PublicKey, Signature};
use std::sync::mpsc::Receiver;

use super::decode::Alongside;
use super::verify::Unfit;
use crate::exit::Exit;

/// The largest signature file, bytes; one has four short lines.
pub const LIMIT: usize = 8 << 10;

/// A public key out of the spec or a file: the line that `minisign -G` prints, or all of `minisign.pub`.
///
/// # Errors
/// 65 for anything else.
pub fn key(text: &str) -> Result<PublicKey> {
    let lines = text.lines().map(str::trim);
    let mut keys = lines.filter(|line| line.starts_with("RW")).map(PublicKey::from_base64);
    match keys.next() {
        Some(Ok(key)) => Ok(key),
        Some(Err(_)) | None => Err(Exit::BadInput
            .because("this is no public key of minisign: it is a line that begins with RW, in minisign.pub")),
    }
}

/// A signature and the key that is to have made it.
#[derive(Clone)]
pub struct Signed {
    key: PublicKey,
    signature: Signature,
}

impl Signed {
    /// Reads a signature file.
    ///
    /// # Errors
    /// What is wrong with it, in words that follow its name.
    pub fn parse(key: &PublicKey, file: &[u8]) -> Result<Signed, String> {
        let text = std::str::from_utf8(file).ok();
        let signature = text.and_then(|text| Signature::decode(text).ok()).ok_or("is no signature of minisign")?;
        match key.verify_stream(&signature) {
            Ok(_) => Ok(Signed { key: key.clone(), signature }),
            Err(Error::UnexpectedKeyId) => Err("was made with another key than the one that is asked for".into()),
            Err(Error::UnsupportedLegacyMode) => {
                Err("is of the old kind that needs the whole object in memory: sign again with minisign 0.10 or newer"
                    .into())
            }
            Err(error) => Err(format!("cannot be used: {error}")),
        }
    }

    /// A thread that checks what it is given.
    pub fn begin(&self) -> Alongside<()> {
        let signed = self.clone();
        Alongside::begin(move |queue| signed.check(&queue))
    }

    fn check(&self, queue: &Receiver<Bytes>) -> Result<()> {
        let unfit = |_| Unfit::Unusable("it is not what was signed: its minisign signature does not match".into());
        let mut verifier = self.key.verify_stream(&self.signature).map_err(unfit)?;
        while let Ok(piece) = queue.recv() {
            verifier.update(&piece);
        }
        Ok(verifier.finalize().map_err(unfit)?)
    }
}
