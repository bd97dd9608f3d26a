//! What lies on a block device, by reading it: no blkid, no udev, so nothing to race with.
//!
//! Offsets and magic numbers are those of libblkid's superblock probers (util-linux), tried here against what the mkfs
//! programs of Debian 13 write. A device is blank only when it was read and no byte of its first and last MiB is set;
//! what is not recognised is said to be unrecognised, never blank.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

/// Label of a data disk of ours, finished.
pub const OURS: &str = "etcd-data";
/// Label of a disk of ours that the write-ahead log has for itself, finished.
pub const OURS_WAL: &str = "etcd-wal";
/// What a disk with partitions is called.
pub const GPT: &str = "a GPT partition table";
/// Label of a disk of ours while it is being formatted.
pub const UNFINISHED: &str = "etcd-init";
/// Written before mkfs runs and erased before the final label: mkfs syncs only once, at its end, so that a power cut may
/// leave any of its blocks without the superblock that would name them.
pub(super) const MARKER: &[u8; 64] = b"etcd-bootstrapper is formatting this disk, nothing is on it yet\n";
/// Where the marker is, counted from the end: inside the MiB that blank means, before the 128 KiB that mkfs.xfs zeroes.
const MARKER_FROM_END: u64 = 512 << 10;

/// How much of either end must be zero.
const BLANK: usize = 1 << 20;
/// Every fixed signature and its label is inside: btrfs's is the last. No more is read of a disk that has one, since a
/// boot waits for this.
const HEAD: usize = 68 << 10;

/// What a device holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What it is.
    pub kind: Kind,
    /// Its label, without padding.
    pub label: Option<String>,
    /// Its UUID in the form that blkid prints.
    pub uuid: Option<String>,
    /// The size in bytes that the file system says it has, where that is read (XFS).
    pub bytes: Option<u64>,
}

/// The classes of [`Probe`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Provably nothing: both ends were read and are zero.
    Blank,
    /// A format of ours that a power cut ended: nothing of anybody's is on it.
    Unfinished,
    /// Something that no signature names.
    Unrecognised,
    /// Unknown, and why.
    Unreadable(String),
    /// XFS.
    Xfs,
    /// ext2, ext3 or ext4.
    Ext,
    /// FAT12, FAT16 or FAT32.
    Vfat,
    /// ISO 9660.
    Iso9660,
    /// A file system or container that is only named: nothing here reads it.
    Other(&'static str),
}

impl Kind {
    /// The name that mount(2) wants; `None` for what is not a file system that we mount.
    pub fn fstype(&self) -> Option<&'static str> {
        match self {
            Kind::Xfs => Some("xfs"),
            Kind::Ext => Some("ext4"),
            Kind::Vfat => Some("vfat"),
            Kind::Iso9660 => Some("iso9660"),
            Kind::Blank | Kind::Unfinished | Kind::Unrecognised | Kind::Unreadable(_) | Kind::Other(_) => None,
        }
    }
}

impl Probe {
    /// A probe that found no name.
    pub fn of(kind: Kind) -> Probe {
        Probe { kind, label: None, uuid: None, bytes: None }
    }

    /// Whether this is a finished disk of ours with this label.
    pub fn is_ours(&self, label: &str) -> bool {
        self.kind == Kind::Xfs && self.label.as_deref() == Some(label)
    }

    /// Whether the label is this one, whatever the case: FAT and ISO 9660 make `CIDATA` of `cidata`.
    pub fn is_labelled(&self, label: &str) -> bool {
        self.label.as_deref().is_some_and(|l| l.eq_ignore_ascii_case(label))
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Blank => f.write_str("blank")?,
            Kind::Unfinished => f.write_str("blank but for an unfinished format of ours")?,
            Kind::Unrecognised => f.write_str("data that no signature names")?,
            Kind::Unreadable(why) => write!(f, "unreadable ({why})")?,
            Kind::Xfs => f.write_str("an XFS file system")?,
            Kind::Ext => f.write_str("an ext2/3/4 file system")?,
            Kind::Vfat => f.write_str("a FAT file system")?,
            Kind::Iso9660 => f.write_str("an ISO 9660 file system")?,
            Kind::Other(what) => f.write_str(what)?,
        }
        self.label.as_ref().map_or(Ok(()), |l| write!(f, " labelled `{l}`"))?;
        self.uuid.as_ref().map_or(Ok(()), |u| write!(f, ", UUID {u}"))
    }
}

/// What a block device or an image file holds. Never fails: what cannot be read is [`Kind::Unreadable`].
pub fn probe(path: &Path) -> Probe {
    // O_NONBLOCK: opening an optical drive must not close its tray.
    let open = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
    open.and_then(|file| probe_file(&file)).unwrap_or_else(|e| Probe::of(Kind::Unreadable(e.to_string())))
}

pub(crate) fn probe_file(file: &File) -> io::Result<Probe> {
    let disk = Disk { file, bytes: size(file)? };
    if let Some(probe) = identify(&disk.read(0, HEAD)?, &disk)? {
        return Ok(probe);
    }
    let ends = [disk.read(0, BLANK)?, disk.read(disk.bytes.saturating_sub(BLANK as u64), BLANK)?];
    if disk.bytes > 0 && ends.iter().flatten().all(|byte| *byte == 0) {
        return Ok(Probe::of(Kind::Blank));
    }
    if ends.iter().any(|end| zfs(end)) {
        return Ok(Probe::of(Kind::Other("a member of a ZFS pool")));
    }
    let marked = match marker_at(disk.bytes) {
        Some(at) => disk.read(at, MARKER.len())? == MARKER,
        None => false,
    };
    Ok(Probe::of(if marked { Kind::Unfinished } else { Kind::Unrecognised }))
}

/// The size of a block device or file in bytes.
pub(super) fn size(mut file: &File) -> io::Result<u64> {
    io::Seek::seek(&mut file, io::SeekFrom::End(0))
}

/// Where the marker belongs on a device of this many bytes; `None` when it has no room.
pub(super) fn marker_at(bytes: u64) -> Option<u64> {
    bytes.checked_sub(MARKER_FROM_END).map(|at| at & !4095)
}

struct Disk<'a> {
    file: &'a File,
    bytes: u64,
}

impl Disk<'_> {
    /// What is there of this range; shorter at the end of the device.
    fn read(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let length = length.min(usize::try_from(self.bytes.saturating_sub(at)).unwrap_or(usize::MAX));
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }
}

/// A fixed signature with where label and UUID stand.
struct Signature {
    kind: Kind,
    magic: &'static [u8],
    at: &'static [usize],
    label: Option<(usize, usize)>,
    uuid: Option<usize>,
}

const fn only(what: &'static str, magic: &'static [u8], at: &'static [usize]) -> Signature {
    Signature { kind: Kind::Other(what), magic, at, label: None, uuid: None }
}

/// Containers first: a mirror's member shows the file system that is on the mirror.
static SIGNATURES: [Signature; 17] = [
    only("a LUKS volume", b"LUKS\xba\xbe", &[0]),
    only("an LVM2 physical volume", b"LVM2 001", &[24, 536, 1048, 1560]),
    only("a bcache device", b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", &[4120]),
    only("a bcachefs device", b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef", &[4120]),
    Signature { kind: Kind::Xfs, magic: b"XFSB", at: &[0], label: Some((108, 12)), uuid: Some(32) },
    Signature {
        kind: Kind::Other("a btrfs file system"),
        magic: b"_BHRfS_M",
        at: &[65600],
        label: Some((65835, 256)),
        uuid: Some(65568),
    },
    Signature { kind: Kind::Ext, magic: b"\x53\xef", at: &[1080], label: Some((1144, 16)), uuid: Some(1128) },
    Signature {
        kind: Kind::Other("an erofs file system"),
        magic: b"\xe2\xe1\xf5\xe0",
        at: &[1024],
        label: Some((1088, 16)),
        uuid: Some(1072),
    },
    only("a squashfs file system", b"hsqs", &[0]),
    only("an f2fs file system", b"\x10\x20\xf5\xf2", &[1024]),
    Signature {
        kind: Kind::Other("a swap area"),
        magic: b"SWAPSPACE2",
        // The end of the first page, of 4, 8, 16 or 64 KiB.
        at: &[4086, 8182, 16374, 65526],
        label: Some((1052, 16)),
        uuid: Some(1036),
    },
    Signature { kind: Kind::Iso9660, magic: b"CD001", at: &[32769], label: Some((32808, 32)), uuid: None },
    only("an NTFS file system", b"NTFS    ", &[3]),
    only("a BitLocker volume", b"-FVE-FS-", &[3]),
    only("an exFAT file system", b"EXFAT   ", &[3]),
    only("a verity hash tree", b"verity\0\0", &[0]),
    // Behind everything that a hybrid image may carry too; the second place is that of 4 KiB sectors.
    only(GPT, b"EFI PART", &[512, 4096]),
];

fn identify(head: &[u8], disk: &Disk) -> io::Result<Option<Probe>> {
    let fixed = SIGNATURES.iter().find(|s| s.at.iter().any(|at| slice(head, *at, s.magic.len()) == Some(s.magic)));
    let fixed = fixed.map(|s| named(s, head));
    // What is inside of an XFS is its users' bytes, whatever they look like.
    let inside = fixed.as_ref().and_then(|probe| probe.bytes);
    if md_raid(head, disk, inside.unwrap_or(0))? {
        return Ok(Some(Probe::of(Kind::Other("a member of a Linux software RAID"))));
    }
    if fixed.is_some() {
        return Ok(fixed);
    }
    if let Some(label) = vfat(head, disk)? {
        return Ok(Some(Probe { label, ..Probe::of(Kind::Vfat) }));
    }
    Ok(mbr(head).then(|| Probe::of(Kind::Other("an MBR partition table"))))
}

fn named(s: &Signature, head: &[u8]) -> Probe {
    let mut probe = Probe {
        kind: s.kind.clone(),
        label: s.label.and_then(|(at, length)| slice(head, at, length)).and_then(text),
        uuid: s.uuid.and_then(|at| slice(head, at, 16)).and_then(uuid),
        bytes: None,
    };
    if s.kind == Kind::Xfs {
        let block = slice(head, 4, 4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
        let blocks = slice(head, 8, 8).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes);
        probe.bytes = block.zip(blocks).and_then(|(size, count)| count.checked_mul(size.into()));
        if probe.label.as_deref() == Some(UNFINISHED) {
            return Probe { bytes: probe.bytes, ..Probe::of(Kind::Unfinished) };
        }
    }
    probe
}

fn slice(bytes: &[u8], at: usize, length: usize) -> Option<&[u8]> {
    bytes.get(at..at + length)
}

fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(&bytes[..end]).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn uuid(bytes: &[u8]) -> Option<String> {
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let set = bytes.iter().any(|b| *b != 0);
    set.then(|| format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    slice(bytes, at, length).map(|b| b.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
}

/// Superblock versions 1.1 and 1.2 are at the start, 1.0 and 0.90 at the end, where only what is behind `inside` counts.
fn md_raid(head: &[u8], disk: &Disk, inside: u64) -> io::Result<bool> {
    const MAGIC: [u8; 4] = 0xa92b_4efc_u32.to_le_bytes();
    if [0, 4096].iter().any(|at| slice(head, *at, 4) == Some(&MAGIC)) {
        return Ok(true);
    }
    let v1 = (disk.bytes / 512).saturating_sub(16) / 8 * 8 * 512;
    let v0 = (disk.bytes & !0xffff).saturating_sub(0x10000);
    for at in [v1, v0] {
        if at >= inside && disk.read(at, 4)? == MAGIC {
            return Ok(true);
        }
    }
    Ok(false)
}

/// ZFS has no fixed place: its uberblocks, in the byte order of the host, are in the second half of labels of 256 KiB, of
/// which two are at the start and two at the end.
fn zfs(bytes: &[u8]) -> bool {
    const UBERBLOCK: u64 = 0x00ba_b10c;
    let orders = [UBERBLOCK.to_le_bytes(), UBERBLOCK.to_be_bytes()];
    bytes.chunks_exact(512).any(|block| orders.iter().any(|magic| block.starts_with(magic)))
}

/// `Some(label)` when this is FAT; the label of the root directory wins over the boot sector's.
fn vfat(head: &[u8], disk: &Disk) -> io::Result<Option<Option<String>>> {
    let n = |at, length| number(head, at, length).unwrap_or(0);
    let (sector, per_cluster, reserved, fats) = (n(11, 2), n(13, 1), n(14, 2), n(16, 1));
    let sane = n(510, 2) == 0xaa55
        && matches!(n(0, 1), 0xeb | 0xe9)
        && matches!(sector, 512 | 1024 | 2048 | 4096)
        && per_cluster.is_power_of_two()
        && reserved > 0
        && matches!(fats, 1 | 2)
        && (n(21, 1) >= 0xf8 || n(21, 1) == 0xf0);
    if !sane {
        return Ok(None);
    }
    let fat32 = n(22, 2) == 0;
    let fat_sectors = if fat32 { n(36, 4) } else { n(22, 2) };
    let after_fats = reserved + fats * fat_sectors;
    let (at, length) = if fat32 {
        // Only the root directory's first cluster: mkfs and mlabel put the label first.
        (after_fats + n(44, 4).saturating_sub(2) * per_cluster, per_cluster * sector)
    } else {
        (after_fats, n(17, 2) * 32)
    };
    let root = disk.read(at.saturating_mul(sector), usize::try_from(length.min(1 << 20)).unwrap_or(0))?;
    let boot = slice(head, if fat32 { 71 } else { 43 }, 11).and_then(text).filter(|l| l != "NO NAME");
    Ok(Some(volume_entry(&root).or(boot)))
}

/// The directory entry that is a volume label and neither deleted nor part of a long name.
fn volume_entry(root: &[u8]) -> Option<String> {
    let used = root.chunks_exact(32).take_while(|entry| entry[0] != 0);
    let mut labels = used.filter(|entry| entry[0] != 0xe5 && entry[11] & 0x18 == 0x08 && entry[11] & 0x0f != 0x0f);
    labels.next().and_then(|entry| text(&entry[..11]))
}

fn mbr(head: &[u8]) -> bool {
    let Some(entries) = slice(head, 446, 64) else { return false };
    let sane = entries.chunks_exact(16).all(|entry| matches!(entry[0], 0 | 0x80));
    let used = entries.chunks_exact(16).any(|entry| entry[4] != 0);
    number(head, 510, 2) == Some(0xaa55) && sane && used
}
