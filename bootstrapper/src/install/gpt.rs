//! The partition table of a disk with sectors of 512 bytes (UEFI 2.10, chapter 5): what is where, and the image's own table
//! around a partition that stays.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};

/// Bytes of a sector.
pub const SECTOR: u64 = 512;

/// Bytes of the table of entries: 128 of 128 bytes each, which every tool makes.
const ENTRIES: usize = 128 * 128;

/// Names of the image's partitions, see `image/mkosi.repart`.
pub const VAR: &str = "etcd-var";
/// The one with the configuration of an installation.
pub const CONFIG: &str = "etcd-config";
/// What the firmware starts.
pub const ESP: &str = "esp";

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Counted from 1.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Its first sector.
    pub first: u64,
    /// Its last sector.
    pub last: u64,
    /// Its own ID, as it lies on the disk.
    pub id: [u8; 16],
}

impl Partition {
    /// Its first byte.
    pub fn start(&self) -> u64 {
        self.first * SECTOR
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        (self.last + 1 - self.first) * SECTOR
    }
}

/// A table whose checksums are right.
#[derive(Clone, PartialEq, Eq)]
pub struct Table {
    header: [u8; 92],
    entries: Vec<u8>,
}

impl Table {
    /// Reads a table from the two places it has on a disk: its beginning, and where that is damaged its end.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn read(disk: &File, bytes: u64) -> io::Result<Option<Table>> {
        Ok(match Table::at(disk, bytes, 1)? {
            Some(table) => Some(table),
            None => Table::last(disk, bytes)?,
        })
    }

    /// Reads the table at the end of a disk.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn last(disk: &File, bytes: u64) -> io::Result<Option<Table>> {
        Table::at(disk, bytes, (bytes / SECTOR).saturating_sub(1))
    }

    fn at(disk: &File, bytes: u64, sector: u64) -> io::Result<Option<Table>> {
        let sectors = bytes / SECTOR;
        if sectors < 70 {
            return Ok(None);
        }
        let mut header = [0; SECTOR as usize];
        disk.read_exact_at(&mut header, sector * SECTOR)?;
        let Some(first) = number64(&header, 72).filter(|first| *first < sectors - 32) else { return Ok(None) };
        let mut entries = vec![0; ENTRIES];
        disk.read_exact_at(&mut entries, first * SECTOR)?;
        Ok(Table::of(&header, entries, sector))
    }

    /// The table at the beginning of these bytes, of which there is a MiB.
    pub fn parse(head: &[u8]) -> Option<Table> {
        let header = head.get(SECTOR as usize..2 * SECTOR as usize)?;
        let first = usize::try_from(number64(header, 72)?.checked_mul(SECTOR)?).ok()?;
        let entries = head.get(first..first.checked_add(ENTRIES)?)?.to_vec();
        Table::of(header, entries, 1)
    }

    fn of(header: &[u8], entries: Vec<u8>, sector: u64) -> Option<Table> {
        let mut plain: [u8; 92] = header.get(..92)?.try_into().ok()?;
        let sum = number32(&plain, 16)?;
        plain[16..20].fill(0);
        let ours = &plain[..8] == b"EFI PART" && number32(&plain, 12)? == 92 && number64(&plain, 24)? == sector;
        let table = number32(&plain, 80)? == 128 && number32(&plain, 84)? == 128;
        let checks = crc32fast::hash(&plain) == sum && Some(crc32fast::hash(&entries)) == number32(&plain, 88);
        (ours && table && checks).then_some(Table { header: plain, entries })
    }

    /// Its partitions, in their order.
    pub fn partitions(&self) -> Vec<Partition> {
        let entries = self.entries.chunks_exact(128).zip(1..);
        let used = entries.filter(|(entry, _)| entry[..16].iter().any(|byte| *byte != 0));
        used.filter_map(|(entry, number)| {
            let units: Vec<u16> = entry[56..].chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
            let name = String::from_utf16_lossy(units.split(|unit| *unit == 0).next().unwrap_or_default());
            let (first, last) = (number64(entry, 32)?, number64(entry, 40)?);
            let id = entry[16..32].try_into().ok()?;
            // Sectors of a disk that nobody has, so that nobody has to count with care.
            (first > 0 && first <= last && last < 1 << 50).then_some(Partition { number, name, first, last, id })
        })
        .collect()
    }

    /// The one partition of this name.
    pub fn named(&self, name: &str) -> Option<Partition> {
        let mut found = self.partitions().into_iter().filter(|partition| partition.name == name);
        let one = found.next()?;
        found.next().is_none().then_some(one)
    }

    /// Why the partition of `/var` that this table has cannot stay where it is beneath the image's table, or another one would be
    /// lost; `None` where it can.
    pub fn in_the_way(&self, image: &Table, bytes: u64) -> Option<String> {
        let Some(var) = self.named(VAR) else { return Some(format!("there is no one partition `{VAR}`")) };
        let last = bytes / SECTOR - 34;
        if var.last > last {
            return Some(format!("`{VAR}` ends behind the end of the disk"));
        }
        let slots: Vec<Partition> = image.partitions().into_iter().filter(|slot| slot.name != VAR).collect();
        if let Some(over) = slots.iter().find(|slot| slot.first <= var.last && var.first <= slot.last) {
            return Some(format!("the image's partition `{}` would lie over `{VAR}`", over.name));
        }
        // The names of slots change with the version that is in them, their places never.
        let place = |partition: &Partition| (partition.number, partition.first, partition.last);
        let lost = self
            .partitions()
            .into_iter()
            .find(|other| other.name != VAR && slots.iter().all(|slot| place(slot) != place(other)))?;
        Some(format!("the image has no place for its partition {} (`{}`)", lost.number, lost.name))
    }

    /// This table with the other one's partition of `/var` in the place of its own, for a disk of so many bytes.
    ///
    /// # Errors
    /// When one of both has no such partition.
    pub fn around(&self, kept: &Table, bytes: u64) -> Result<Table> {
        let entry = |table: &Table| table.named(VAR).map(|var| (var.number as usize - 1) * 128);
        let (to, from) = entry(self).zip(entry(kept)).with_context(|| format!("there is no one partition `{VAR}`"))?;
        let mut entries = self.entries.clone();
        entries[to..to + 128].copy_from_slice(&kept.entries[from..from + 128]);
        Ok(self.with(entries, bytes))
    }

    /// This table with nothing but its partition of `/var`: a disk that nothing starts, and that keeps its data.
    ///
    /// # Errors
    /// When it has no such partition.
    pub fn only_var(&self, bytes: u64) -> Result<Table> {
        let var = self.named(VAR).with_context(|| format!("there is no one partition `{VAR}`"))?;
        let at = (var.number as usize - 1) * 128;
        let mut entries = vec![0; ENTRIES];
        entries[at..at + 128].copy_from_slice(&self.entries[at..at + 128]);
        Ok(self.with(entries, bytes))
    }

    /// This table for a disk of so many bytes, from whichever of its places it was read.
    pub fn anew(&self, bytes: u64) -> Table {
        self.with(self.entries.clone(), bytes)
    }

    fn with(&self, entries: Vec<u8>, bytes: u64) -> Table {
        let mut header = self.header;
        let last = bytes / SECTOR - 1;
        header[24..32].copy_from_slice(&1u64.to_le_bytes());
        header[32..40].copy_from_slice(&last.to_le_bytes());
        header[48..56].copy_from_slice(&(last - 33).to_le_bytes());
        header[72..80].copy_from_slice(&2u64.to_le_bytes());
        header[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
        Table { header, entries }
    }

    /// The sectors behind the protective MBR: header and entries.
    pub fn primary(&self) -> Vec<u8> {
        let mut bytes = sector(self.header);
        bytes.extend_from_slice(&self.entries);
        bytes
    }

    /// The last 33 sectors of the disk: entries and header.
    pub fn backup(&self) -> Vec<u8> {
        let mut header = self.header;
        let (own, other) = (self.header[24..32].to_vec(), self.header[32..40].to_vec());
        header[24..32].copy_from_slice(&other);
        header[32..40].copy_from_slice(&own);
        let last = number64(&self.header, 32).unwrap_or(0);
        header[72..80].copy_from_slice(&(last.saturating_sub(32)).to_le_bytes());
        let mut bytes = self.entries.clone();
        bytes.extend(sector(header));
        bytes
    }
}

/// Whether the first sector is a protective MBR (5.2.3), without which neither the firmware nor Linux reads the table behind it.
pub fn is_protected(head: &[u8]) -> bool {
    let Some(mbr) = head.get(446..SECTOR as usize) else { return false };
    mbr.ends_with(&[0x55, 0xaa]) && mbr[..64].chunks_exact(16).any(|entry| entry[4] == 0xee)
}

/// Gives a table that somebody has changed the checksums that it needs.
#[cfg(any(test, feature = "fuzzing"))]
pub fn mend(disk: &mut [u8]) {
    let first = number64(disk, 512 + 72).and_then(|first| usize::try_from(first.checked_mul(SECTOR)?).ok());
    let entries = first.and_then(|first| disk.get(first..first.checked_add(ENTRIES)?)).map(crc32fast::hash);
    let Some(header) = disk.get_mut(512..604) else { return };
    header[88..92].copy_from_slice(&entries.unwrap_or(0).to_le_bytes());
    header[16..20].fill(0);
    let sum = crc32fast::hash(header);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
}

fn sector(mut header: [u8; 92]) -> Vec<u8> {
    header[16..20].fill(0);
    let sum = crc32fast::hash(&header);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    let mut bytes = header.to_vec();
    bytes.resize(SECTOR as usize, 0);
    bytes
}

fn number64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn number32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The first MiB of an image must have a table with the partitions that an installation fills.
///
/// # Errors
/// What is missing.
pub fn of_image(head: &[u8]) -> Result<Table> {
    let table = Table::parse(head).context("the image has no partition table")?;
    for name in [ESP, CONFIG, VAR] {
        ensure!(table.named(name).is_some(), "the image has no one partition `{name}`");
    }
    Ok(table)
}
