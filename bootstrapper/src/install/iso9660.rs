//! ISO 9660 (ECMA-119) as far as an installation needs it: where the files of a root directory lie, and a small volume of files.
//!
//! The medium is read so that nothing has to be mounted, and `iso customize` needs neither root nor a tool. The small volume is
//! what NoCloud's own is, labelled `cidata`: it lies in the medium's area, and in the partition of the installed disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};

/// Bytes of a block.
pub const BLOCK: u64 = 2048;

/// Of the primary volume descriptor; 16 blocks before it are the system's.
const DESCRIPTOR: u64 = 16 * BLOCK;

/// A root directory that is larger is none of ours.
const DIRECTORY: u64 = 64 * BLOCK;

/// The label of a volume with the machine's configuration.
pub const CIDATA: &str = "cidata";

/// A volume's names and the files of its root directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its label.
    pub label: String,
    /// Its volume set identifier.
    pub set: String,
    /// Of each file by its name in small letters, without a version: its first byte, counted from where the volume begins, and
    /// its length.
    pub files: BTreeMap<String, (u64, u64)>,
}

/// Reads the volume that begins at a byte of a file or device; `None` where there is none.
///
/// # Errors
/// When it cannot be read, or is damaged.
pub fn read(file: &File, at: u64) -> Result<Option<Volume>> {
    let mut block = [0; BLOCK as usize];
    match file.read_exact_at(&mut block, at + DESCRIPTOR) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other.context("cannot read its volume descriptor")?,
    }
    if &block[..7] != b"\x01CD001\x01" {
        return Ok(None);
    }
    let (start, length) = extent(&block[156..190]).context("its volume descriptor is damaged")?;
    ensure!((1..=DIRECTORY).contains(&length), "its root directory has {length} bytes: it is damaged");
    let mut directory = vec![0; usize::try_from(length)?];
    file.read_exact_at(&mut directory, at.saturating_add(start)).context("cannot read its root directory")?;
    let mut files = BTreeMap::new();
    for block in directory.chunks(BLOCK as usize) {
        let mut rest = block;
        // A record does not go over the end of a block: the rest is zeros.
        while let Some(size) = rest.first().map(|size| usize::from(*size)).filter(|size| *size > 0) {
            let record = rest.get(..size).context("its root directory is damaged")?;
            let length = usize::from(*record.get(32).context("its root directory is damaged")?);
            let name = record.get(33..33 + length).context("its root directory is damaged")?;
            if record[25] & 2 == 0 {
                files.insert(plain(name), extent(record).context("its root directory is damaged")?);
            }
            rest = &rest[size..];
        }
    }
    Ok(Some(Volume { label: text(&block[40..72]), set: text(&block[190..318]), files }))
}

/// Reads a file of a volume that begins at a byte; `None` where it has none of this name.
///
/// # Errors
/// When it is larger than the limit, or cannot be read.
pub fn file(of: &File, at: u64, volume: &Volume, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
    let Some((start, length)) = volume.files.get(name) else { return Ok(None) };
    ensure!(*length <= limit, "{name} has {length} bytes, more than {limit}");
    let mut bytes = vec![0; usize::try_from(*length)?];
    of.read_exact_at(&mut bytes, at.saturating_add(*start)).with_context(|| format!("cannot read {name}"))?;
    Ok(Some(bytes))
}

/// Block and length of a directory record, both in bytes; numbers are written in both orders.
fn extent(record: &[u8]) -> Option<(u64, u64)> {
    let number = |at: usize| Some(u64::from(u32::from_le_bytes(record.get(at..at + 4)?.try_into().ok()?)));
    Some((number(2)? * BLOCK, number(10)?))
}

fn plain(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let name = name.split_once(';').map_or(name.as_str(), |(name, _)| name);
    name.trim_end_matches('.').to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches([' ', '\0']).to_owned()
}

/// Makes a volume labelled `cidata` of files with these names.
///
/// # Errors
/// When there are more files than one block of a directory has room for.
pub fn make(files: &BTreeMap<&str, &[u8]>) -> Result<Vec<u8>> {
    // 16 blocks of the system, two descriptors, two path tables, the directory, and then the files.
    let (directory_at, mut next) = (20u32, 21u32);
    let mut directory = record(directory_at, BLOCK as u32, 2, &[0]);
    directory.extend(record(directory_at, BLOCK as u32, 2, &[1]));
    let mut content = Vec::new();
    for (name, bytes) in files {
        let length = u32::try_from(bytes.len()).context("a file of more than 4 GiB")?;
        directory.extend(record(next, length, 0, format!("{};1", name.to_ascii_uppercase()).as_bytes()));
        content.extend_from_slice(bytes);
        content.resize(content.len().next_multiple_of(BLOCK as usize), 0);
        next += length.div_ceil(BLOCK as u32);
    }
    ensure!(directory.len() <= BLOCK as usize, "{} files are too many for a volume of this kind", files.len());
    directory.resize(BLOCK as usize, 0);

    let mut descriptor = vec![0; BLOCK as usize];
    descriptor[..7].copy_from_slice(b"\x01CD001\x01");
    descriptor[8..72].fill(b' ');
    descriptor[40..40 + CIDATA.len()].copy_from_slice(CIDATA.as_bytes());
    put(&mut descriptor, 80, &both32(next));
    put(&mut descriptor, 120, &both16(1));
    put(&mut descriptor, 124, &both16(1));
    put(&mut descriptor, 128, &both16(BLOCK as u16));
    put(&mut descriptor, 132, &both32(10));
    put(&mut descriptor, 140, &18u32.to_le_bytes());
    put(&mut descriptor, 148, &19u32.to_be_bytes());
    put(&mut descriptor, 156, &record(directory_at, BLOCK as u32, 2, &[0]));
    descriptor[190..813].fill(b' ');
    // Digits and a zone for each of four dates; zeros say that there is none.
    for date in 0..4 {
        descriptor[813 + 17 * date..][..16].fill(b'0');
    }
    descriptor[881] = 1;
    let mut end = vec![0; BLOCK as usize];
    end[..7].copy_from_slice(b"\xffCD001\x01");
    // The root alone: its name's length, where it is, and that it is its own parent.
    let table = |at: [u8; 4], parent: [u8; 2]| {
        let mut table = vec![1, 0];
        table.extend_from_slice(&at);
        table.extend_from_slice(&parent);
        table.resize(BLOCK as usize, 0);
        table
    };
    let (little, big) =
        (table(directory_at.to_le_bytes(), 1u16.to_le_bytes()), table(directory_at.to_be_bytes(), 1u16.to_be_bytes()));
    Ok([vec![0; DESCRIPTOR as usize], descriptor, end, little, big, directory, content].concat())
}

fn record(block: u32, length: u32, flags: u8, name: &[u8]) -> Vec<u8> {
    let size = (33 + name.len()).next_multiple_of(2);
    let mut record = vec![0; size];
    record[0] = size as u8;
    put(&mut record, 2, &both32(block));
    put(&mut record, 10, &both32(length));
    // 1 January 1980: years count from 1900.
    put(&mut record, 18, &[80, 1, 1]);
    record[25] = flags;
    put(&mut record, 28, &both16(1));
    record[32] = name.len() as u8;
    put(&mut record, 33, name);
    record
}

fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    into[at..at + bytes.len()].copy_from_slice(bytes);
}

fn both32(number: u32) -> [u8; 8] {
    let mut both = [0; 8];
    both[..4].copy_from_slice(&number.to_le_bytes());
    both[4..].copy_from_slice(&number.to_be_bytes());
    both
}

fn both16(number: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (number.to_le_bytes(), number.to_be_bytes());
    [a, b, c, d]
}
