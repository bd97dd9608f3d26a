//! What its provider calls a disk, where the disk itself tells that.

use std::fs::File;
use std::path::Path;

use nvme_amz::Nvme;

use super::disk::{attribute, serial};

/// The device of EC2's block device mapping, such as `sdf` or `xvdf`, or the device name of a persistent disk at Google's
/// SCSI controller; `None` for a disk of anybody else, one without such a name, and one that cannot be asked.
///
/// `device` is the node and `whole` the directory in sysfs of a whole disk. Google's NVMe disks tell it in their namespace's
/// data, which is not read. EC2: "Map Amazon EBS volumes to NVMe device names"; Google: vendor and model of its `udev` rules.
pub fn provider_name(device: &Path, whole: &Path) -> Option<String> {
    let is_nvme = whole.file_name()?.to_str()?.starts_with("nvme");
    if is_nvme { ec2(device) } else { google(whole) }
}

/// The kernel asks every controller the same when it finds it.
///
/// By the crate's `ioctl-nix`: its `ioctl-rustix` tells the compiler that the kernel writes nothing, and in optimised builds it
/// reads the zeros from before, which are no vendor's.
fn ec2(device: &Path) -> Option<String> {
    let names = Nvme::try_from(File::open(device).ok()?).ok()?.names;
    names.device_name.filter(|name| !name.is_empty())
}

fn google(whole: &Path) -> Option<String> {
    let is = |name, what| attribute(whole, name).as_deref() == Some(what);
    (is("device/vendor", "Google") && is("device/model", "PersistentDisk")).then(|| serial(whole)).flatten()
}
