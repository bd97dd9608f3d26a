//! Block devices, as the kernel lists them, with what is on them.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::libc;
use plan::place::VolumeId;

use super::disk_name::provider_name;
use super::mount::mounts;
use super::probe::{Probe, probe};

pub use super::mount::{Mount, is_mount_point, mount_read_only, mount_replayed, mount_volume, mounted_at, unmount};
pub use super::probe::{GPT, Kind, OURS};

/// A block device with something to hold data in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The kernel's name, such as `vdb`.
    pub name: String,
    /// Its node, below the root.
    pub device: PathBuf,
    /// Major and minor number, as in `254:16`.
    pub number: String,
    /// How it is made.
    pub layer: Layer,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its serial number, or that of the disk it is part of.
    pub serial: Option<String>,
    /// Its World Wide ID, or that of the disk it is part of.
    pub wwid: Option<String>,
    /// What its provider calls it, where a whole disk tells that: EC2's name in the block device mapping, Google's device
    /// name.
    pub provider_name: Option<String>,
    /// Where a SCSI disk is attached.
    pub scsi: Option<Scsi>,
    /// Whether it cannot be written.
    pub read_only: bool,
    /// Whether it is a medium that a person takes out, such as a USB stick or a CD.
    pub removable: bool,
    /// Devices that are made of this one, such as `dm-0`.
    pub holders: Vec<String>,
    /// Where it is mounted.
    pub mounts: Vec<PathBuf>,
    /// Whether the running system lives on the disk that this is, or is part of.
    pub system: bool,
    /// What is on it.
    pub probe: Probe,
}

/// Where a SCSI disk is attached; disks behind SATA and USB are SCSI disks to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scsi {
    /// The kernel's number of the controller.
    pub host: u32,
    /// The Logical Unit Number.
    pub lun: u32,
}

/// How a block device is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layer {
    /// A whole disk.
    Whole,
    /// A partition of the disk with this name.
    Partition(String),
    /// Made of other block devices: device mapper, software RAID.
    Stacked,
    /// Memory or a file behind it: loop, zram, ram.
    Backed,
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.name, Bytes(self.bytes))?;
        self.serial.as_ref().map_or(Ok(()), |s| write!(f, ", serial {s}"))?;
        self.provider_name.as_ref().map_or(Ok(()), |n| write!(f, ", {n} to its provider"))?;
        write!(f, "): {}", self.probe)
    }
}

/// A size for people.
pub struct Bytes(
    /// In bytes.
    pub u64,
);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = if self.0 >= 10 << 30 { (1 << 30, "GiB") } else { (1 << 20, "MiB") };
        write!(f, "{} {name}", self.0 / unit)
    }
}

const CLASS: &str = "sys/class/block";

/// All block devices below this root, ordered by name, each probed; those without a size or a medium are left out.
///
/// # Errors
/// When the kernel's lists cannot be read. A device that cannot be read is listed as unreadable.
pub fn list(root: &Path) -> Result<Vec<Disk>> {
    let class = root.join(CLASS);
    let entries = fs::read_dir(&class).with_context(|| format!("cannot list {}", class.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let sys = entry.with_context(|| format!("cannot list {}", class.display()))?.path();
        found.extend(describe(root, &sys));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    note_mounts(&mut found, &mounts(root)?, root);
    for disk in &mut found {
        disk.probe = match drive(root, &disk.name, &disk.number) {
            Some(Drive::Unasked) => Probe::of(Kind::Unreadable("udev has not looked for a medium yet".into())),
            Some(Drive::Empty | Drive::Loaded) | None => probe(&disk.device),
        };
    }
    Ok(found)
}

/// Those whose file system has this label; a disk once, not also as the partition that a hybrid image makes of itself.
pub fn labelled<'d>(disks: &'d [Disk], label: &str) -> Vec<&'d Disk> {
    let has = |disk: &&Disk| disk.probe.is_labelled(label);
    let inside_another = |disk: &Disk| match &disk.layer {
        Layer::Partition(whole) => disks.iter().filter(has).any(|other| other.name == *whole),
        Layer::Whole | Layer::Stacked | Layer::Backed => false,
    };
    disks.iter().filter(has).filter(|disk| !inside_another(disk)).collect()
}

/// What udev says of an optical drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drive {
    /// It will look, and has not yet.
    Unasked,
    /// There is no medium in it.
    Empty,
    /// There is one.
    Loaded,
}

/// What udev says of the device, by its name and its number; `None` when it is no optical drive, or udev does not say.
///
/// An empty drive must not be read: each try is an error of the kernel's on the console. Its size does not tell, since
/// sr(4) begins with 1 GiB and keeps the last medium's; opening it without O_NONBLOCK does, and closes an open tray.
/// `ID_CDROM` and `ID_CDROM_MEDIA` are those of systemd's `cdrom_id`.
pub fn drive(root: &Path, name: &str, number: &str) -> Option<Drive> {
    let optical = name.strip_prefix("sr").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    if !optical || !root.join("run/udev/control").exists() {
        return None;
    }
    let Ok(record) = fs::read(root.join("run/udev/data").join(format!("b{number}"))) else {
        return Some(Drive::Unasked);
    };
    let says = |property: &[u8]| record.split(|b| *b == b'\n').any(|line| line == property);
    match (says(b"E:ID_CDROM=1"), says(b"E:ID_CDROM_MEDIA=1")) {
        (_, true) => Some(Drive::Loaded),
        (true, false) => Some(Drive::Empty),
        (false, false) => None,
    }
}

/// After this, counted from the kernel's start, a slow bus such as USB or SAS has shown what was there at power-on. Until then
/// neither the kernel nor udev may say that they are busy.
pub const SHOWN: Duration = Duration::from_secs(8);

/// Whether devices may still turn up by themselves: udev has events in its queue, or an NVMe controller is starting.
pub fn settling(root: &Path) -> bool {
    let starting = |name: String| {
        let state = attribute(&root.join("sys/class/nvme").join(name), "state");
        matches!(state.as_deref(), Some("new" | "connecting" | "resetting"))
    };
    root.join("run/udev/queue").exists() || names(&root.join("sys/class/nvme")).into_iter().any(starting)
}

/// `None` for a device that holds nothing, or went away while it was looked at.
fn describe(root: &Path, sys: &Path) -> Option<Disk> {
    // The link leads to .../block/vda, or .../block/vda/vda1 for a partition.
    let real = fs::canonicalize(sys).ok()?;
    let name = real.file_name()?.to_str()?.to_owned();
    let sectors: u64 = attribute(&real, "size")?.parse().ok()?;
    if sectors == 0 || attribute(&real, "hidden").as_deref() == Some("1") {
        return None;
    }
    let number = attribute(&real, "dev")?;
    if drive(root, &name, &number) == Some(Drive::Empty) {
        return None;
    }
    let partition = real.join("partition").exists();
    let whole = if partition { real.parent()? } else { &real };
    let layer = if partition {
        Layer::Partition(whole.file_name()?.to_str()?.to_owned())
    } else if ["loop", "zram", "ram"].iter().any(|prefix| name.starts_with(prefix)) {
        Layer::Backed
    } else if real.join("dm").exists() || real.join("md").exists() {
        Layer::Stacked
    } else {
        Layer::Whole
    };
    // A `/` in the name of a node is a `!` in sysfs.
    let device = root.join("dev").join(name.replace('!', "/"));
    let provider_name = if partition { None } else { provider_name(&device, whole) };
    Some(Disk {
        device,
        number,
        layer,
        // The kernel's sectors, 512 bytes whatever the disk's are.
        bytes: sectors * 512,
        serial: serial(whole),
        wwid: wwid(whole),
        provider_name,
        scsi: scsi(whole),
        read_only: attribute(&real, "ro").as_deref() == Some("1"),
        removable: attribute(whole, "removable").as_deref() == Some("1"),
        holders: names(&real.join("holders")),
        mounts: Vec::new(),
        system: false,
        probe: Probe::of(Kind::Unreadable("not read yet".into())),
        name,
    })
}

/// What the one whole disk below a directory's file system says of itself, through partitions, LVM, encryption and
/// multipath; nothing where there is no such disk, such as a file or memory, or several different ones.
///
/// The disk is found by the directory's device number in sysfs below the root; btrfs has a number of its own and is not
/// found.
pub fn beneath(root: &Path, dir: &Path) -> VolumeId {
    let Ok(meta) = fs::metadata(dir) else { return VolumeId::default() };
    let number = format!("{}:{}", libc::major(meta.dev()), libc::minor(meta.dev()));
    let mut wholes = BTreeSet::new();
    whole_disks(&root.join("sys/dev/block").join(number), &mut wholes);
    let mut ids: Vec<VolumeId> =
        wholes.iter().map(|whole| VolumeId { serial: serial(whole), wwid: wwid(whole) }).collect();
    // The paths to one disk say the same.
    ids.dedup();
    if let [id] = &ids[..] { id.clone() } else { VolumeId::default() }
}

/// The whole disks that a device is, is part of, or is made of.
fn whole_disks(sys: &Path, found: &mut BTreeSet<PathBuf>) {
    let Ok(real) = fs::canonicalize(sys) else { return };
    let whole = if real.join("partition").exists() { real.parent().unwrap_or(&real) } else { &real };
    let slaves = names(&whole.join("slaves"));
    if slaves.is_empty() {
        found.insert(whole.to_owned());
    }
    for slave in slaves {
        whole_disks(&whole.join("slaves").join(slave), found);
    }
}

pub(super) fn attribute(sys: &Path, name: &str) -> Option<String> {
    let text = fs::read(sys.join(name)).ok()?;
    let text = String::from_utf8_lossy(&text).trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned();
    (!text.is_empty()).then_some(text)
}

/// virtio has it beside the disk, NVMe at its controller, SCSI and SATA in the page of Vital Product Data with that number.
pub(super) fn serial(whole: &Path) -> Option<String> {
    let page = || {
        let page = fs::read(whole.join("device/vpd_pg80")).ok()?;
        let text = String::from_utf8_lossy(page.get(4..)?).trim_matches([' ', '\0']).to_owned();
        (!text.is_empty()).then_some(text)
    };
    attribute(whole, "serial").or_else(|| attribute(whole, "device/serial")).or_else(page)
}

fn wwid(whole: &Path) -> Option<String> {
    attribute(whole, "wwid").or_else(|| attribute(whole, "device/wwid"))
}

/// `device` leads to the SCSI device, whose directory is named by host, channel, target and LUN.
fn scsi(whole: &Path) -> Option<Scsi> {
    let device = fs::canonicalize(whole.join("device")).ok()?;
    let numbers: Option<Vec<u32>> = device.file_name()?.to_str()?.split(':').map(|n| n.parse().ok()).collect();
    match numbers?[..] {
        [host, _, _, lun] => Some(Scsi { host, lun }),
        _ => None,
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Notes where each device is mounted, and which disks the running system lives on.
fn note_mounts(disks: &mut [Disk], mounts: &[Mount], root: &Path) {
    let class = root.join(CLASS);
    let mut system = BTreeSet::new();
    for mount in mounts {
        // btrfs and overlay have numbers of their own: there the source names the device.
        let source = fs::canonicalize(root.join(mount.source.trim_start_matches('/'))).ok();
        let index = disks.iter().position(|d| d.number == mount.number || Some(&d.device) == source.as_ref());
        if let Some(index) = index {
            disks[index].mounts.push(mount.target.clone());
            if is_system(&mount.target) {
                base(&disks[index].name, &class, &mut system);
            }
        }
    }
    for disk in disks {
        let whole = match &disk.layer {
            Layer::Partition(whole) => whole,
            Layer::Whole | Layer::Stacked | Layer::Backed => &disk.name,
        };
        disk.system = system.contains(whole) || system.contains(&disk.name);
    }
}

fn is_system(target: &Path) -> bool {
    ["/", "/usr", "/var", "/boot", "/boot/efi", "/efi"].iter().any(|path| target == Path::new(path))
}

/// The device, the disk it is part of, and everything that it is made of: root on verity is `dm-0` on `vda2`, `vda3`.
fn base(name: &str, class: &Path, found: &mut BTreeSet<String>) {
    if !found.insert(name.to_owned()) {
        return;
    }
    let sys = class.join(name);
    for slave in names(&sys.join("slaves")) {
        base(&slave, class, found);
    }
    let whole = fs::canonicalize(&sys).ok().filter(|real| real.join("partition").exists());
    if let Some(whole) = whole.as_deref().and_then(Path::parent).and_then(Path::file_name) {
        base(&whole.to_string_lossy(), class, found);
    }
}
