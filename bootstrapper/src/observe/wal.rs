//! etcd's write-ahead log, read as etcd reads it and never written.
//!
//! Source: etcd 3.5 server/wal (decoder.go, wal.go, repair.go). A file is frames of an 8-byte little-endian length, whose
//! top byte says how many bytes of padding follow, and a `walpb.Record{type, crc, data}`. The checksum is chained over
//! the data of all records of all files. Files are preallocated, so zeros end one.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::Context;
use plan::facts::Wal;
use plan::member::{ClusterId, MemberId};
use serde::{Deserialize, Serialize};

use super::unsound::{Unsound, finding};
use super::{crc32c, protobuf};

/// Bytes read from a file at a time; with the head below, all the memory that reading takes.
const CHUNK: usize = 256 * 1024;

/// Bytes of a record's data that are kept: a raft entry has type, term and index in front of its payload.
const HEAD: usize = 64;

/// Bytes before a record's data at most: two tags with varints of ten bytes, a third tag with a length.
const PREAMBLE: u64 = 33;

/// A torn write leaves whole sectors of zeros.
const SECTOR: u64 = 512;

/// The files of the log in order; files of other names, such as `0.tmp`, are none, as etcd has it.
///
/// # Errors
/// When the directory cannot be listed; one that is not there has no files.
pub fn segments(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot list {}", directory.display())),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.with_context(|| format!("cannot list {}", directory.display()))?.file_name();
        if sequence(&name).is_some() {
            names.push(directory.join(name));
        }
    }
    names.sort();
    Ok(names)
}

/// The number of a log file in the sequence, from `<sequence>-<index>.wal`, each of 16 hexadecimal digits.
fn sequence(name: &OsStr) -> Option<u64> {
    let (sequence, index) = name.to_str()?.strip_suffix(".wal")?.split_once('-')?;
    u64::from_str_radix(index, 16).ok()?;
    u64::from_str_radix(sequence, 16).ok()
}

/// Whose log it is, from the head of its first file only; `None` when that does not check or there is no file.
///
/// # Errors
/// When a file cannot be read.
pub fn identify(directory: &Path) -> anyhow::Result<Option<(ClusterId, MemberId)>> {
    let Some(first) = segments(directory)?.into_iter().next() else { return Ok(None) };
    let mut log = Log::default();
    let read = File::open(&first).map_err(Unsound::from).and_then(|file| log.read(file, false, Log::identified));
    finding(read).with_context(|| format!("cannot read {}", first.display()))?.ok();
    Ok(log.owner)
}

/// Reads the whole log, in constant memory, at the speed of the disk.
///
/// # Errors
/// When a file cannot be read; damage is no error but [`Wal::Broken`].
pub fn read(directory: &Path) -> anyhow::Result<Wal> {
    let files = segments(directory)?;
    let Some(last) = files.last() else { return Ok(Wal::Absent) };
    Ok(match through(directory, &files)? {
        Ok((log, torn)) => log.verdict(last, torn),
        Err(what) => Wal::Broken { what },
    })
}

/// Where a log ends and what it says there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Name of the last file.
    pub file: String,
    /// Byte in it at which the next record goes.
    pub offset: u64,
    /// The checksum over all records so far.
    pub sum: u32,
    /// Of the last hard state.
    pub term: u64,
    /// Of the last hard state.
    pub vote: u64,
    /// Of the last hard state; etcd writes it without a sync of its own, so it may be behind what was acknowledged.
    pub commit: u64,
    /// Index of the entry that was appended last: what came before it at this index and above is overwritten.
    pub entry: u64,
}

/// Where a log ends.
///
/// # Errors
/// When a file cannot be read, or the log is broken or absent, in words.
pub fn end(directory: &Path) -> anyhow::Result<End> {
    let files = segments(directory)?;
    let last = files.last().with_context(|| format!("{} holds no log", directory.display()))?;
    let (log, _) = through(directory, &files)?.map_err(anyhow::Error::msg)?;
    Ok(End {
        file: last.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        offset: log.end,
        sum: log.crc,
        term: log.term,
        vote: log.vote,
        commit: log.commit,
        entry: log.last_entry,
    })
}

/// The whole log, and whether its last record is torn; or what is broken.
fn through(directory: &Path, files: &[PathBuf]) -> anyhow::Result<Result<(Log, bool), String>> {
    let numbers: Vec<u64> = files.iter().filter_map(|f| sequence(f.file_name()?)).collect();
    if let Some(gap) = numbers.windows(2).find(|w| w[0].checked_add(1) != Some(w[1])) {
        return Ok(Err(format!("{}: after file {:x} comes {:x}", directory.display(), gap[0], gap[1])));
    }
    let mut log = Log::default();
    let mut torn = false;
    for path in files {
        let file = File::open(path).map_err(Unsound::from);
        let read = file.and_then(|file| log.read(file, Some(path) == files.last(), |_| false));
        match finding(read).with_context(|| format!("cannot read {}", path.display()))? {
            Ok(cut) => torn = cut,
            Err(what) => return Ok(Err(format!("{} {what}", path.display()))),
        }
    }
    Ok(Ok((log, torn)))
}

/// A record of a hard state, framed as etcd's encoder frames it, that follows a log with this checksum.
pub fn hard_state(sum: u32, term: u64, vote: u64, commit: u64) -> Vec<u8> {
    let mut state = Vec::new();
    for (tag, number) in [(0x08, term), (0x10, vote), (0x18, commit)] {
        state.push(tag);
        protobuf::append_number(&mut state, number);
    }
    framed(STATE, crc32c::update(sum, &state), &state)
}

/// A record with the checksum up to and including it, in its frame.
fn framed(kind: u64, sum: u32, data: &[u8]) -> Vec<u8> {
    let mut record = vec![0x08];
    protobuf::append_number(&mut record, kind);
    record.push(0x10);
    protobuf::append_number(&mut record, u64::from(sum));
    record.push(0x1a);
    protobuf::append_number(&mut record, data.len() as u64);
    record.extend(data);
    let length = record.len() as u64;
    let padding = (8 - length % 8) % 8;
    let frame = if padding == 0 { length } else { length | (0x80 | padding) << 56 };
    record.resize((length + padding) as usize, 0);
    [&frame.to_le_bytes()[..], &record].concat()
}

/// A log of these records, each a type and its data, with the checksums that etcd would write.
#[cfg(any(test, feature = "fuzzing"))]
pub fn of_records<'d>(records: impl IntoIterator<Item = (u64, &'d [u8])>) -> Vec<u8> {
    let mut sum = 0;
    let framed = |(kind, data)| {
        sum = crc32c::update(sum, data);
        framed(kind, sum, data)
    };
    records.into_iter().flat_map(framed).collect()
}

/// What a log says that is these bytes alone.
///
/// # Errors
/// None of what a file has.
#[cfg(any(test, feature = "fuzzing"))]
pub fn of_bytes(bytes: &[u8]) -> io::Result<Result<Wal, String>> {
    let mut log = Log::default();
    let read = finding(log.read(io::Cursor::new(bytes), true, |_| false))?;
    Ok(read.map(|torn| log.verdict(Path::new("last.wal"), torn)))
}

/// What the records read so far add up to.
#[derive(Default)]
struct Log {
    crc: u32,
    owner: Option<(ClusterId, MemberId)>,
    last_index: u64,
    last_entry: u64,
    term: u64,
    vote: u64,
    commit: u64,
    /// Byte behind the last whole record of the file read last.
    end: u64,
}

/// A record's fields, its data only as far as it was kept.
struct Record {
    kind: u64,
    crc: u32,
    head: Vec<u8>,
    /// The checksum of the log up to and including this record's data.
    sum: u32,
}

impl Log {
    fn identified(&self) -> bool {
        self.owner.is_some()
    }

    fn verdict(self, last: &Path, torn: bool) -> Wal {
        let Some((cluster_id, member_id)) = self.owner else {
            return Wal::Broken { what: format!("{} holds no metadata record", last.display()) };
        };
        if self.commit > self.last_index {
            // Raft panics on such a log: committed entries are gone.
            let what =
                format!("{} ends at index {} but {} was committed", last.display(), self.last_index, self.commit);
            return Wal::Broken { what };
        }
        Wal::Valid { member_id, cluster_id, last_index: self.last_index, commit: self.commit, torn }
    }

    /// Reads one file up to its end or until `enough`; true when its last record is incomplete.
    ///
    /// # Errors
    /// `Damaged` says at which byte; a torn record is damage in any file but the last.
    fn read(&mut self, mut file: impl Read + Seek, last: bool, enough: impl Fn(&Log) -> bool) -> Result<bool, Unsound> {
        let size = file.seek(SeekFrom::End(0))?;
        file.rewind()?;
        let mut input = BufReader::with_capacity(chunk(size), &mut file);
        let mut at = 0;
        self.end = 0;
        while at < size && !enough(self) {
            let mut frame = [0; 8];
            if size - at < 8 {
                return torn_only_if(last, at);
            }
            input.read_exact(&mut frame)?;
            let Some((body, padding)) = lengths(frame) else { return Ok(false) };
            if body > size - at - 8 || padding > size - at - 8 - body {
                return torn_only_if(last, at);
            }
            let taken = record(&mut input, body, self.crc).and_then(|record| self.take(&record));
            match finding(taken)? {
                Ok(()) => input.seek_relative(padding as i64)?,
                Err(_) if last && has_zero_sector(input.into_inner(), at + 8, body + padding)? => return Ok(true),
                Err(what) => return Err(Unsound::damaged(format!("at byte {at}: {what}"))),
            }
            at += 8 + body + padding;
            self.end = at;
        }
        Ok(false)
    }

    fn take(&mut self, record: &Record) -> Result<(), Unsound> {
        if record.kind == CRC {
            // The first of a log is not held against anything: the files before it were purged.
            if self.crc != 0 && self.crc != record.crc {
                return Err(Unsound::damaged("the checksum carried over from the file before does not match"));
            }
            self.crc = record.crc;
            return Ok(());
        }
        if record.sum != record.crc {
            return Err(Unsound::damaged("a record does not match its checksum"));
        }
        self.crc = record.sum;
        let field = |field, what: &str| {
            protobuf::number(&record.head, field).ok_or_else(|| Unsound::damaged(format!("a record without {what}")))
        };
        match record.kind {
            METADATA => {
                let owner = (ClusterId(field(2, "a cluster ID")?), MemberId(field(1, "a member ID")?));
                if self.owner.is_some_and(|before| before != owner) {
                    return Err(Unsound::damaged("a second metadata record names another member or cluster"));
                }
                self.owner = Some(owner);
            }
            // An entry overwrites what was appended at its index and above by a leader that lost; the highest
            // that was ever there still says that something was received.
            ENTRY => {
                self.last_entry = field(3, "an entry index")?;
                self.last_index = self.last_index.max(self.last_entry);
            }
            STATE => {
                self.commit = field(3, "a commit index")?;
                (self.term, self.vote) = (field(1, "a term")?, field(2, "a vote")?);
            }
            SNAPSHOT => self.last_index = self.last_index.max(field(1, "a snapshot index")?),
            kind => return Err(Unsound::damaged(format!("a record of the unknown type {kind}"))),
        }
        Ok(())
    }
}

/// Record types of walpb.
const METADATA: u64 = 1;
const ENTRY: u64 = 2;
const STATE: u64 = 3;
const CRC: u64 = 4;
const SNAPSHOT: u64 = 5;

/// Length and padding of a record; `None` for the zeros behind the last one.
fn lengths(frame: [u8; 8]) -> Option<(u64, u64)> {
    let frame = u64::from_le_bytes(frame);
    let padding = if frame >> 63 == 1 { frame >> 56 & 7 } else { 0 };
    (frame != 0).then_some((frame & (u64::MAX >> 8), padding))
}

/// etcd repairs an incomplete end of the last file by itself, and refuses any other.
fn torn_only_if(last: bool, at: u64) -> Result<bool, Unsound> {
    if last { Ok(true) } else { Err(Unsound::damaged(format!("at byte {at}: a record is incomplete"))) }
}

fn record(input: &mut impl BufRead, length: u64, crc: u32) -> Result<Record, Unsound> {
    let mut preamble = Vec::with_capacity(PREAMBLE as usize);
    input.take(length.min(PREAMBLE)).read_to_end(&mut preamble)?;
    let mut record = Record { kind: 0, crc: 0, head: Vec::new(), sum: crc };
    let mut behind = length - preamble.len() as u64;
    for (field, value) in protobuf::Fields(&preamble) {
        match (field, value) {
            (1, protobuf::Value::Number(kind)) => record.kind = kind,
            (2, protobuf::Value::Number(crc)) => record.crc = crc as u32,
            (3, protobuf::Value::Bytes { bytes, length }) => {
                if length != bytes.len() as u64 + behind {
                    return Err(Unsound::damaged("a record whose lengths contradict each other"));
                }
                record.sum = crc32c::update(crc, bytes);
                record.head.extend_from_slice(bytes);
                behind = data(input, &mut record, behind)?;
            }
            (_, protobuf::Value::Number(_) | protobuf::Value::Bytes { .. }) => {
                return Err(Unsound::damaged("a record with an unknown field"));
            }
        }
    }
    if behind > 0 { Err(Unsound::damaged("a record that is not a walpb.Record")) } else { Ok(record) }
}

/// Sums up the data behind the preamble and keeps its head; returns how much is left, which is nothing.
fn data(input: &mut impl BufRead, record: &mut Record, mut behind: u64) -> io::Result<u64> {
    while behind > 0 {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let piece = &buffer[..buffer.len().min(usize::try_from(behind).unwrap_or(usize::MAX))];
        record.sum = crc32c::update(record.sum, piece);
        let keep = HEAD.saturating_sub(record.head.len()).min(piece.len());
        record.head.extend_from_slice(&piece[..keep]);
        let taken = piece.len();
        input.consume(taken);
        behind -= taken as u64;
    }
    Ok(behind)
}

/// Tests read millions of logs that are shorter than a buffer.
fn chunk(length: u64) -> usize {
    usize::try_from(length).map_or(CHUNK, |length| length.min(CHUNK))
}

/// Whether a record that does not check was only partly written: etcd takes a sector of zeros in it as the proof.
fn has_zero_sector(file: &mut (impl Read + Seek), from: u64, length: u64) -> io::Result<bool> {
    file.seek(SeekFrom::Start(from))?;
    let mut input = BufReader::with_capacity(chunk(length), file.take(length));
    let mut sector = Vec::with_capacity(SECTOR as usize);
    let mut at = from;
    loop {
        sector.clear();
        let read = input.by_ref().take(SECTOR - at % SECTOR).read_to_end(&mut sector)?;
        if read == 0 || sector.iter().all(|b| *b == 0) {
            return Ok(read > 0);
        }
        at += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of these records, each a type and its fields.
    fn log(records: &[(u64, &[u64])]) -> Vec<u8> {
        let data = |fields: &[u64]| -> Vec<u8> {
            fields.iter().enumerate().flat_map(|(i, n)| [(i as u8 + 1) << 3, *n as u8]).collect()
        };
        let records: Vec<(u64, Vec<u8>)> = records.iter().map(|(kind, fields)| (*kind, data(fields))).collect();
        of_records(records.iter().map(|(kind, data)| (*kind, data.as_slice())))
    }

    fn read(records: &[(u64, &[u64])]) -> Result<Wal, String> {
        of_bytes(&log(records)).unwrap()
    }

    #[test]
    fn entries_snapshots_and_hard_states_add_up() {
        let owner: (u64, &[u64]) = (METADATA, &[7, 9]);
        let valid = |last_index, commit| {
            Ok(Wal::Valid { member_id: MemberId(7), cluster_id: ClusterId(9), last_index, commit, torn: false })
        };
        let broken = |what: &str| Ok(Wal::Broken { what: what.into() });
        let none: &[u64] = &[];
        for (name, records, expected) in [
            ("a joiner that heard nothing", vec![owner, (SNAPSHOT, &[0, 0])], valid(0, 0)),
            ("an entry", vec![owner, (ENTRY, &[0, 2, 4])], valid(4, 0)),
            ("an entry that was overwritten", vec![owner, (ENTRY, &[0, 2, 5]), (ENTRY, &[0, 3, 4])], valid(5, 0)),
            ("a snapshot received", vec![owner, (SNAPSHOT, &[90, 3]), (STATE, &[3, 1, 90])], valid(90, 90)),
            ("a vote is no entry", vec![owner, (STATE, &[6, 1, 0])], valid(0, 0)),
            (
                "committed entries that are gone",
                vec![owner, (ENTRY, &[0, 2, 4]), (STATE, &[3, 1, 5])],
                broken("last.wal ends at index 4 but 5 was committed"),
            ),
            ("no metadata", vec![(ENTRY, &[0, 2, 4])], broken("last.wal holds no metadata record")),
            (
                "two owners",
                vec![owner, (METADATA, &[7, 8])],
                Err("at byte 24: a second metadata record names another member or cluster".into()),
            ),
            ("a type of tomorrow", vec![owner, (9, none)], Err("at byte 24: a record of the unknown type 9".into())),
        ] {
            assert_eq!(read(&records), expected, "{name}");
        }
    }

    #[test]
    fn only_names_of_etcds_form_are_files_of_the_log() {
        for (name, expected) in [
            ("0000000000000001-000000000000000a.wal", Some(1)),
            ("0000000000000001-000000000000000a.wal.broken", None),
            ("0.tmp", None),
            ("x-y.wal", None),
        ] {
            assert_eq!(sequence(OsStr::new(name)), expected, "{name}");
        }
    }
}
