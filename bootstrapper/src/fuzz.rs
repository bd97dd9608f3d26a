//! What reads the bytes of others, as functions of any bytes: none may panic, hang, or take memory that it was not given.
//!
//! `tests/fuzz` searches for bytes that make one do so, for hours and with a sanitizer; the test below gives each of them
//! the same corpora, and some thousand changes of those, in every run of the tests. Where nobody guesses a checksum, the
//! bytes are given as they are and once more with the checksums that they would need.

use plan::member::ClusterId;
use plan::progress::{Life, Record, whole};
use ring::digest;
use rustls::pki_types::CertificateDer;

use crate::cloud::fuzz as cloud;
use crate::install::gpt::{self, Table};
use crate::install::iso9660;
use crate::metadata::fuzz as metadata;
use crate::observe::bolt::{self, Bolt};
use crate::observe::{inventory, peers, wal};
use crate::snapshot::verify::Inspector;
use crate::store::claim;
use crate::store::manifest::Manifest;
use crate::sys::{imaging, memory, probe};
use crate::tls::certificate::Certificate;
use crate::tls::{pem, verify};

/// One of them.
pub struct Target {
    /// As its corpus is called.
    pub name: &'static str,
    /// Reads these bytes.
    pub read: fn(&[u8]),
    /// The most bytes that are tried: what is longer takes long, and says nothing that a shorter text could not.
    pub most: usize,
    /// Directories of the repository with bytes to begin from, beside the one in `tests/fuzz/corpus`.
    pub seeds: &'static [&'static str],
}

const SPECS: &[&str] = &["tests/fixtures/spec/good", "tests/fixtures/spec/bad", "cloud-init/examples"];

/// A text that a person or a program has written; anchors and packing make more of it than it is.
const TEXT: usize = 4 << 10;
/// Answers of several requests, and what has pages or records.
const LONG: usize = 16 << 10;

/// All of them.
pub static TARGETS: [Target; 20] = [
    Target { name: "user-data", read: metadata::of_user_data, most: TEXT, seeds: SPECS },
    Target { name: "mime", read: metadata::of_mime, most: TEXT, seeds: SPECS },
    Target { name: "yaml", read: metadata::of_yaml, most: TEXT, seeds: SPECS },
    Target { name: "document", read: metadata::of_document, most: TEXT, seeds: SPECS },
    Target { name: "platform", read: metadata::of_platform, most: TEXT, seeds: &[] },
    Target { name: "wal", read: of_wal, most: TEXT, seeds: &[] },
    Target { name: "journal", read: of_journal, most: LONG, seeds: &[] },
    Target { name: "network", read: metadata::of_network, most: TEXT, seeds: &["tests/fixtures/network"] },
    Target { name: "merged", read: metadata::of_merged, most: TEXT, seeds: &[] },
    Target { name: "seed", read: metadata::of_seed, most: TEXT, seeds: &[] },
    Target { name: "words", read: of_words, most: TEXT, seeds: &[] },
    Target { name: "dns", read: cloud::of_dns, most: TEXT, seeds: &[] },
    Target { name: "aws", read: cloud::of_aws, most: TEXT, seeds: &[] },
    Target { name: "rest", read: cloud::of_rest, most: TEXT, seeds: &[] },
    Target { name: "peer", read: of_peer, most: TEXT, seeds: &[] },
    Target { name: "certificate", read: of_certificate, most: TEXT, seeds: &[] },
    Target { name: "disk", read: of_disk, most: TEXT, seeds: &[] },
    Target { name: "bolt", read: of_bolt, most: LONG, seeds: &[] },
    Target { name: "snapshot", read: of_snapshot, most: LONG, seeds: &["tests/fuzz/corpus/bolt"] },
    Target { name: "store", read: of_store, most: TEXT, seeds: &[] },
];

/// A log as it is, and one whose records have their checksums: each a byte of type and a byte of length before its data.
fn of_wal(bytes: &[u8]) {
    wal::of_bytes(bytes).map(drop).ok();
    let (mut records, mut rest) = (Vec::new(), bytes);
    while let [kind, length, behind @ ..] = rest {
        let (data, next) = behind.split_at(behind.len().min(usize::from(*length)));
        records.push((u64::from(kind % 8), data));
        rest = next;
    }
    let log = wal::of_records(records);
    wal::of_bytes(&log).map(drop).ok();
    // Torn, as a power cut leaves it.
    wal::of_bytes(&log[..log.len() - log.len() / 8]).map(drop).ok();
}

/// A database as it is, and one whose meta page checks.
fn of_bolt(bytes: &[u8]) {
    look_up(bytes);
    let mut mended = bytes.to_vec();
    bolt::mend(&mut mended);
    look_up(&mended);
}

fn look_up(bytes: &[u8]) {
    let Ok(file) = memory::file(bytes) else { return };
    let Ok(bolt) = Bolt::open(file) else { return };
    for bucket in ["meta", "cluster", "auth"] {
        bolt.get(bucket, "storageVersion").map(drop).ok();
    }
    bolt.last_key("key").map(drop).ok();
    bolt.entries("members", 16).map(drop).ok();
}

/// A snapshot as it is, and one whose meta page and whose trailer check.
fn of_snapshot(bytes: &[u8]) {
    inspect(bytes);
    let mut whole = bytes.to_vec();
    whole.truncate(bytes.len() / 1024 * 1024);
    bolt::mend(&mut whole);
    whole.extend(digest::digest(&digest::SHA256, &whole).as_ref());
    inspect(&whole);
}

fn inspect(bytes: &[u8]) {
    let mut inspector = Inspector::default();
    // In pieces, as they come from the network.
    for piece in bytes.chunks(bytes.len() / 3 + 1) {
        if inspector.take(piece).is_err() {
            return;
        }
    }
    inspector.finish(None).map(drop).ok();
}

/// A journal; what it adds up to is the same when its records are written anew.
fn of_journal(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(life) = Life::replay(text) else { return };
    let record = |line| serde_json::from_str::<Record>(line).ok()?.line().ok();
    let again: Option<String> = whole(text).lines().map(record).collect();
    let again = again.map(|text| Life::replay(&text));
    assert_eq!(again, Some(Ok(life)));
}

/// What lies in a store: a claim, and a snapshot's manifest.
fn of_store(bytes: &[u8]) {
    Manifest::parse(bytes).map(drop).ok();
    if let Ok(cluster) = "prod".parse() {
        claim::parse(bytes, &cluster).map(drop).ok();
    }
}

/// The kernel command line, or a resolv.conf: the first byte says which.
fn of_words(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    // As it is read.
    let text = String::from_utf8_lossy(rest);
    if kind % 2 == 0 { metadata::of_command_line(&text) } else { cloud::of_resolv_conf(&text) }
}

/// What somebody answers on the peer port, a bootstrapper or an etcd, or the file that an agent of the group keeps.
fn of_peer(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    match kind % 3 {
        0 => {
            let Ok(heard) = peers::of_a_bootstrapper(rest) else { return };
            // What it says is told on, to a person and in the journal.
            let again = serde_json::to_vec(&heard).ok().and_then(|text| peers::of_a_bootstrapper(&text).ok());
            assert_eq!(again, Some(heard));
        }
        1 => {
            let mut answers = rest.splitn(2, |byte| *byte == 0).map(<[u8]>::to_vec);
            let (members, versions) = (answers.next().unwrap_or_default(), answers.next().unwrap_or_default());
            peers::of_etcd(ClusterId(1), &members, &versions).map(drop).ok();
        }
        _ => drop(std::str::from_utf8(rest).map(inventory::listed)),
    }
}

/// Certificates and keys, as PEM or as what is in it; each certificate is asked whether it issued itself.
fn of_certificate(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let mut ders = vec![CertificateDer::from(rest.to_vec())];
    if kind % 2 == 1 {
        let Ok(text) = std::str::from_utf8(rest) else { return };
        pem::key(text).map(drop).ok();
        ders = pem::certificates(text).unwrap_or_default();
    }
    for certificate in ders.into_iter().filter_map(|der| Certificate::read(der).ok()) {
        verify::issued_by(&certificate, &certificate).ok();
    }
}

/// A disk of zeros with these bytes on it: a byte for its size, then pieces, each two bytes for its place in units of eight
/// bytes, one for its length, and itself.
fn of_disk(bytes: &[u8]) {
    const SIZES: [usize; 6] = [0, 512, 4 << 10, 68 << 10, 132 << 10, 640 << 10];
    let Some((size, mut rest)) = bytes.split_first() else { return };
    let mut disk = vec![0; SIZES[usize::from(*size) % SIZES.len()]];
    while let [low, high, length, behind @ ..] = rest {
        let (piece, next) = behind.split_at(behind.len().min(usize::from(*length)));
        let at = 8 * usize::from(u16::from_le_bytes([*low, *high]));
        if let Some(there) = disk.get_mut(at..at + piece.len()) {
            there.copy_from_slice(piece);
        }
        rest = next;
    }
    let Ok(file) = memory::file(&disk) else { return };
    if let Ok(probe) = probe::probe_file(&file) {
        assert!(!probe.to_string().is_empty());
    }
    if let Ok(Some(volume)) = iso9660::read(&file, 0) {
        for name in volume.files.keys() {
            iso9660::file(&file, 0, &volume, name, disk.len() as u64).map(drop).ok();
        }
    }
    gpt::mend(&mut disk);
    let bytes = disk.len() as u64;
    let Some(table) = Table::parse(&disk).filter(|_| bytes >= imaging::MIB / 16) else { return };
    assert!(Table::parse(&[vec![0; 512], table.anew(bytes).primary()].concat()).is_some(), "its own is none");
    for kept in [table.only_var(bytes), table.around(&table, bytes)].into_iter().flatten() {
        kept.in_the_way(&table, bytes);
        kept.backup();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::*;

    /// Changes of the corpus that are tried on each target.
    const CHANGED: usize = 4000;
    /// For one input, on a busy host and without optimisation.
    const LIMIT: Duration = Duration::from_secs(20);

    /// Enough of a generator to choose what is changed; the same in every run.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, end: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % end.max(1) as u64) as usize
        }

        fn changed(&mut self, corpus: &[Vec<u8>], most: usize) -> Vec<u8> {
            let mut bytes = corpus[self.below(corpus.len())].clone();
            for _ in 0..=self.below(6) {
                let at = self.below(bytes.len());
                let other = &corpus[self.below(corpus.len())];
                let from = self.below(other.len());
                let piece = &other[from..(from + 1 + self.below(64)).min(other.len())];
                match self.below(6) {
                    0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                    1 if !bytes.is_empty() => bytes[at] = [0, 0xff, b'\n', b'{', b'&', b'-'][self.below(6)],
                    2 => drop(bytes.drain(at..(at + 1 + self.below(32)).min(bytes.len()))),
                    3 => bytes.truncate(at),
                    4 => drop(bytes.splice(at..at, piece.iter().copied())),
                    _ => drop(bytes.splice(at..(at + piece.len()).min(bytes.len()), piece.iter().copied())),
                }
            }
            bytes.truncate(most);
            bytes
        }
    }

    fn corpus(target: &Target) -> Vec<Vec<u8>> {
        let repository = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let own = format!("tests/fuzz/corpus/{}", target.name);
        let mut corpus = Vec::new();
        for directory in target.seeds.iter().copied().chain([own.as_str()]) {
            let Ok(entries) = std::fs::read_dir(repository.join(directory)) else { continue };
            let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
            paths.sort();
            corpus.extend(paths.iter().map(|path| std::fs::read(path).unwrap()));
        }
        assert!(corpus.len() > 2, "{} has nothing to begin from", target.name);
        corpus
    }

    fn try_out(target: &Target, bytes: &[u8]) {
        let start = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| (target.read)(bytes)));
        let shown = || bytes.escape_ascii().to_string();
        assert!(ended.is_ok(), "{} panics at {}", target.name, shown());
        assert!(start.elapsed() < LIMIT, "{} takes {:?} for {}", target.name, start.elapsed(), shown());
    }

    #[test]
    fn nothing_that_reads_the_bytes_of_others_panics_or_hangs() {
        std::thread::scope(|scope| {
            for (number, target) in TARGETS.iter().enumerate() {
                scope.spawn(move || {
                    let corpus = corpus(target);
                    corpus.iter().for_each(|bytes| try_out(target, bytes));
                    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 + number as u64);
                    for _ in 0..CHANGED {
                        try_out(target, &dice.changed(&corpus, target.most));
                    }
                });
            }
        });
    }
}
