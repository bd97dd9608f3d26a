//! What the disk below a directory says of itself, by a sysfs that is laid out as the kernel's.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use bootstrapper::sys::disk::beneath;
use nix::libc;
use plan::place::VolumeId;

use crate::support::scratch::Scratch;

/// A file of sysfs with its directories.
fn says(root: &Path, file: &str, text: &[u8]) {
    let path = root.join("sys").join(file);
    fs::create_dir_all(path.parent().expect("it has a directory")).expect("sysfs");
    fs::write(path, text).expect("sysfs");
}

/// What is found when the directory's file system is on this device.
fn found(root: &Path, device: &str) -> VolumeId {
    let number = fs::metadata(root).expect("a root").dev();
    let links = root.join("sys/dev/block");
    fs::create_dir_all(&links).expect("sysfs");
    let link = links.join(format!("{}:{}", libc::major(number), libc::minor(number)));
    let _none_yet = fs::remove_file(&link);
    symlink(root.join("sys/devices").join(device), link).expect("a link");
    beneath(root, root)
}

fn made_of(root: &Path, device: &str, parts: &[&str]) {
    let slaves = root.join("sys/devices").join(device).join("slaves");
    fs::create_dir_all(&slaves).expect("sysfs");
    for part in parts {
        let name = Path::new(part).file_name().expect("a name");
        symlink(root.join("sys/devices").join(part), slaves.join(name)).expect("a link");
    }
}

fn id(serial: Option<&str>, wwid: Option<&str>) -> VolumeId {
    VolumeId { serial: serial.map(Into::into), wwid: wwid.map(Into::into) }
}

#[test]
fn a_disk_is_told_through_partitions_and_what_is_stacked_on_it_alone() {
    let scratch = Scratch::new();
    let root = scratch.path();
    says(root, "devices/pci/virtio1/block/vdb/serial", b"vol-1");
    says(root, "devices/pci/virtio1/block/vdb/vdb1/partition", b"1\n");
    says(root, "devices/pci/nvme0/nvme0n1/wwid", b"nvme.1d0f-766f6c\n");
    says(root, "devices/pci/nvme0/nvme0n1/device/serial", b"vol0abc             \n");
    for path in ["sda", "sdb"] {
        says(root, &format!("devices/pci/{path}/device/wwid"), b"naa.5000c500\n");
        says(root, &format!("devices/pci/{path}/device/vpd_pg80"), b"\0\x80\0\x04SCSI");
    }
    says(root, "devices/virtual/block/loop0/loop/backing_file", b"/some/file\n");
    says(root, "devices/virtual/block/dm-9/dm/name", b"nothing below\n");
    made_of(root, "virtual/block/dm-0", &["pci/virtio1/block/vdb/vdb1"]);
    made_of(root, "virtual/block/dm-1", &["virtual/block/dm-0"]);
    made_of(root, "virtual/block/dm-2", &["pci/sda", "pci/sdb"]);
    made_of(root, "virtual/block/dm-3", &["pci/sda", "pci/virtio1/block/vdb"]);
    for (device, expected) in [
        ("pci/virtio1/block/vdb", id(Some("vol-1"), None)),
        ("pci/virtio1/block/vdb/vdb1", id(Some("vol-1"), None)),
        ("pci/nvme0/nvme0n1", id(Some("vol0abc"), Some("nvme.1d0f-766f6c"))),
        ("pci/sda", id(Some("SCSI"), Some("naa.5000c500"))),
        ("virtual/block/dm-1", id(Some("vol-1"), None)),
        ("virtual/block/dm-2", id(Some("SCSI"), Some("naa.5000c500"))),
        // Of two disks neither is the volume.
        ("virtual/block/dm-3", id(None, None)),
        ("virtual/block/loop0", id(None, None)),
        ("virtual/block/dm-9", id(None, None)),
        ("gone", id(None, None)),
    ] {
        assert_eq!(found(root, device), expected, "{device}");
    }
    assert_eq!(beneath(root, &root.join("no/directory")), id(None, None));
}
