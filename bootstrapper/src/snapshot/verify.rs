//! Whether bytes are a whole snapshot, found out in one pass and before anything else sees them.
//!
//! `etcdctl snapshot save` writes bolt's pages and then the sha256 of them. `etcdutl snapshot status` checks neither that
//! nor the length, and dies of SIGBUS on a file that was cut; so the checks are here.

use std::fs::File;

use plan::member::Version;
use plan::spec::Sha256;
use ring::digest;

use super::decode::Wrapping;
use crate::observe::bolt::{self, Bolt, Meta};
use crate::observe::data_dir::version_of;
use crate::observe::unsound::{Unsound, finding};
use crate::store::manifest::Manifest;

/// Bytes of the sha256 that a snapshot ends with.
const TRAILER: u64 = 32;

/// Pages are multiples of this, so 32 bytes beyond one is a trailer.
const SECTOR: u64 = 512;

/// Bytes after which it is clear whether the file begins as a bolt database does.
const TELLING: usize = 20;
const TELLING_BYTES: u64 = TELLING as u64;

/// bolt's magic, which stands at byte 16 of every database.
const MAGIC: [u8; 4] = 0xed0c_daed_u32.to_le_bytes();

/// What a snapshot that checks is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Length of the database with its trailer.
    pub bytes: u64,
    /// Of the database with its trailer, as `sha256sum` prints it.
    pub sha256_db: Sha256,
    /// Length of the object as it lies at the source.
    pub object_bytes: u64,
    /// Of the object; the one of the database, unless that is wrapped in something.
    pub sha256: Sha256,
    /// What the database is wrapped in, the outermost first.
    pub wrappings: Vec<Wrapping>,
    /// What its source says of it; absent when it says nothing, or of another object.
    pub manifest: Option<Box<Manifest>>,
    /// Revision of its last key; absent when there is none, or when the bytes were not kept.
    pub revision: Option<u64>,
    /// Storage or cluster version that the database holds; absent when it holds none, or when the bytes were not kept.
    pub version: Option<Version>,
}

/// Takes a snapshot's bytes in order and says at the end whether they are one.
pub struct Inspector {
    bytes: u64,
    head: Vec<u8>,
    /// The last bytes so far: perhaps the trailer, so not yet hashed.
    tail: Vec<u8>,
    hash: digest::Context,
}

/// Why bytes are not the snapshot that was wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The file says so itself: damaged, cut, or never a snapshot.
    #[error("{0}")]
    Broken(String),
    /// A whole snapshot, and not the one with the sha256 that was asked for.
    #[error("{0}")]
    Another(String),
    /// Perhaps a snapshot, and none that this host can or may restore.
    #[error("{0}")]
    Unusable(String),
}

impl Default for Inspector {
    fn default() -> Inspector {
        Inspector { bytes: 0, head: Vec::new(), tail: Vec::new(), hash: digest::Context::new(&digest::SHA256) }
    }
}

impl Inspector {
    /// How many bytes it has taken.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// As soon as it is clear that this is no snapshot, so that nobody transfers the rest.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), Unfit> {
        let telling = self.head.len() < TELLING;
        self.head.extend_from_slice(&bytes[..bytes.len().min(bolt::HEAD - self.head.len())]);
        self.bytes += bytes.len() as u64;
        // All but the last 32 bytes of what is known goes into the hash.
        let surplus = (self.tail.len() + bytes.len()).saturating_sub(TRAILER as usize);
        let of_tail = surplus.min(self.tail.len());
        self.hash.update(&self.tail[..of_tail]);
        self.tail.drain(..of_tail);
        self.hash.update(&bytes[..surplus - of_tail]);
        self.tail.extend_from_slice(&bytes[surplus - of_tail..]);
        if telling && self.head.len() >= TELLING && self.head[16..20] != MAGIC {
            return Err(Unfit::Broken(format!("it is no snapshot: it begins with {}", beginning(&self.head))));
        }
        Ok(())
    }

    /// The verdict over all bytes.
    ///
    /// # Errors
    /// What is wrong, in words that follow the name of the file.
    pub fn finish(self, expected: Option<&Sha256>) -> Result<Summary, Unfit> {
        let broken = |what: String| Err(Unfit::Broken(what));
        let trailer_matches = self.tail == self.hash.clone().finish().as_ref();
        let mut hash = self.hash;
        hash.update(&self.tail);
        let sha256 = sum(hash);
        match self.bytes {
            0 => return broken("it is empty".into()),
            1..TELLING_BYTES => {
                return broken(format!("it is no snapshot: it is {} and nothing more", beginning(&self.head)));
            }
            TELLING_BYTES.. => {}
        }
        if self.bytes % SECTOR != TRAILER {
            return broken(format!(
                "it has {} bytes and so no sha256 at its end, as `etcdctl snapshot save` writes it: it was cut, or it is \
                 a database copied from a data dir, which is no snapshot",
                self.bytes
            ));
        }
        if !trailer_matches {
            let pinned = match expected {
                Some(expected) if *expected == sha256 => "; the sha256 that was asked for is of this damaged file",
                Some(_) | None => "",
            };
            let what = "it is damaged or was cut: the sha256 at its end is not that of its content";
            return broken(format!("{what}{pinned}"));
        }
        if let Some(expected) = expected
            && *expected != sha256
        {
            let (found, expected) = (sha256.as_str(), expected.as_str());
            return Err(Unfit::Another(format!("it is whole, but its sha256 is {found} and not {expected}")));
        }
        if let Err(what) = Meta::parse(&self.head, self.bytes - TRAILER) {
            return broken(format!("it {what}, whatever the sha256 at its end says"));
        }
        Ok(Summary {
            bytes: self.bytes,
            sha256_db: sha256.clone(),
            object_bytes: self.bytes,
            sha256,
            wrappings: Vec::new(),
            manifest: None,
            revision: None,
            version: None,
        })
    }
}

/// Adds what the database says of itself to a snapshot's summary.
///
/// # Errors
/// When its pages contradict each other although the trailer matches.
pub fn details(file: File, summary: Summary) -> Result<Summary, Unfit> {
    let look = || -> Result<(Option<Version>, Option<u64>), Unsound> {
        let bolt = Bolt::open(file)?;
        let last = bolt.last_key("key")?;
        // A key of etcd's is the revision as eight bytes, `_`, and a counter inside the transaction.
        let revision = last.and_then(|key| key.first_chunk().copied()).map(u64::from_be_bytes);
        Ok((version_of(&bolt)?, revision))
    };
    match finding(look()) {
        Ok(Ok((version, revision))) => Ok(Summary { revision, version, ..summary }),
        Ok(Err(what)) => {
            Err(Unfit::Broken(format!("its pages are broken, whatever the sha256 at its end says: {what}")))
        }
        Err(error) => Err(Unfit::Broken(format!("its pages cannot be read: {error}"))),
    }
}

/// The first bytes in words: formats that people hand us by mistake by name, anything else quoted.
fn beginning(head: &[u8]) -> String {
    let named = [
        (&b"\x1f\x8b"[..], "gzip, once too often: decompress it first"),
        (b"\x28\xb5\x2f\xfd", "zstd, once too often: decompress it first"),
        (b"BZh", "bzip2: decompress it first, or take zstd or gzip"),
        (b"\xfd7zXZ", "xz: decompress it first, or take zstd or gzip"),
        (b"PK\x03\x04", "zip: unpack it first"),
        (b"age-encryption.org", "age: decrypt it first"),
    ];
    if let Some((_, name)) = named.iter().find(|(magic, _)| head.starts_with(magic)) {
        return (*name).to_owned();
    }
    let start: String = String::from_utf8_lossy(&head[..head.len().min(60)]).chars().take(60).collect();
    let what = match start.trim_start() {
        text if text.starts_with("<?xml") || text.starts_with("<Error") => "XML, perhaps a store's error",
        text if text.starts_with('<') => "HTML, perhaps an error or a login page",
        text if text.starts_with('{') => "JSON, perhaps an error",
        // It may be any file of this host, such as one with passwords.
        text if !text
            .contains(|c: char| c == char::REPLACEMENT_CHARACTER || (c.is_control() && !c.is_whitespace())) =>
        {
            return "a text that is not shown here".to_owned();
        }
        _ => return format!("{start:?}"),
    };
    format!("{what}: {start:?}")
}

/// The sum over all that was hashed.
pub fn sum(hash: digest::Context) -> Sha256 {
    let mut sum = [0; 32];
    sum.copy_from_slice(hash.finish().as_ref());
    sum.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(pieces: &[&[u8]], expected: Option<&str>) -> Result<Summary, String> {
        let mut inspector = Inspector::default();
        for piece in pieces {
            inspector.take(piece).map_err(|e| e.to_string())?;
        }
        inspector.finish(expected.map(|e| e.parse().unwrap()).as_ref()).map_err(|e| e.to_string())
    }

    fn database() -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        bytes[16..20].copy_from_slice(&MAGIC);
        bytes
    }

    fn trailed(mut bytes: Vec<u8>) -> Vec<u8> {
        let hash = digest::digest(&digest::SHA256, &bytes);
        bytes.extend_from_slice(hash.as_ref());
        bytes
    }

    #[test]
    fn what_is_no_snapshot_is_told_by_its_first_bytes() {
        for (bytes, expected) in [
            (&b""[..], "it is empty"),
            (b"404", "it is no snapshot: it is a text that is not shown here and nothing more"),
            (
                &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                "gzip, once too often: decompress it first",
            ),
            (b"<!DOCTYPE html><html><body>log in", "HTML, perhaps an error or a login page: \"<!DOCTYPE html>"),
            (b"<?xml version=\"1.0\"?><Error>", "XML, perhaps a store's error: \"<?xml"),
            (b"{\"error\": \"no such object\"}", "JSON, perhaps an error: \"{"),
        ] {
            let found = verdict(&[bytes], None).unwrap_err();
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn a_length_or_a_sum_that_cannot_be_is_told() {
        let whole = trailed(database());
        let mut flipped = whole.clone();
        flipped[2000] ^= 1;
        let mut cut = whole.clone();
        cut.truncate(2048 + 32);
        for (name, bytes, expected) in [
            ("no trailer", &database(), "it has 4096 bytes and so no sha256 at its end"),
            ("one byte short", &whole[..4127].to_vec(), "it has 4127 bytes and so no sha256 at its end"),
            ("flipped", &flipped, "it is damaged or was cut"),
            ("cut by pages", &cut, "it is damaged or was cut"),
            ("no meta page", &whole, "it is no bolt database: no meta page checks, whatever the sha256"),
        ] {
            let found = verdict(&[bytes], None).unwrap_err();
            assert!(found.starts_with(expected), "{name}: {found}");
        }
        let other = "0".repeat(64);
        let found = verdict(&[&whole], Some(&other)).unwrap_err();
        assert!(found.starts_with("it is whole, but its sha256 is ") && found.ends_with(&other), "{found}");
    }

    #[test]
    fn the_hash_does_not_depend_on_how_the_bytes_come() {
        let whole = trailed(database());
        let expected = verdict(&[&whole], None);
        for step in [1, 7, 31, 32, 33, 1000] {
            let pieces: Vec<&[u8]> = whole.chunks(step).collect();
            assert_eq!(verdict(&pieces, None), expected, "in steps of {step}");
        }
    }
}
