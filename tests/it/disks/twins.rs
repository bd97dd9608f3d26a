//! A copy of the disk that the system was started from.

use std::path::Path;

use bootstrapper::sys::disk::{Disk, Layer};
use bootstrapper::sys::probe::probe;
use bootstrapper::system_disk::look;

use super::{MIB, image, tool};
use crate::support::scratch::Scratch;

const HASHES: &str = "e510f9f6-e91e-bc11-d747-2d92782953a3";
const LINE: &str = "ro roothash=e58d768a32dfe577e5fc61987647ee72e510f9f6e91ebc11d7472d92782953a3";

fn disk(path: &Path, layer: Layer) -> Disk {
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    Disk {
        serial: Some(format!("S-{name}")),
        name,
        device: path.to_owned(),
        number: "254:0".into(),
        layer,
        bytes: path.metadata().unwrap().len(),
        wwid: None,
        provider_name: None,
        scsi: None,
        read_only: false,
        removable: false,
        holders: Vec::new(),
        mounts: Vec::new(),
        system: false,
        probe: probe(path),
    }
}

#[test]
fn a_second_disk_with_the_same_hashes_is_a_copy_and_one_of_another_version_is_none() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.join("proc")).unwrap();
    std::fs::write(scratch.join("proc/cmdline"), LINE).unwrap();
    let made = |name: &str, hashes: &str| {
        let path = image(&scratch, name, 16 * MIB);
        let table = format!("sgdisk -n 1:0:+4M -c 1:root -n 2:0:+1M -c 2:hashes -u 2:{hashes} -n 3:0:0 -c 3:etcd-var");
        tool(&format!("{table} {} >&2", path.display()));
        disk(&path, Layer::Whole)
    };
    let (booted, copy) = (made("vda", HASHES), made("sda", HASHES));
    // The image's other IDs are the same in all of its versions.
    let older = made("sdb", "11111111-e91e-bc11-d747-2d92782953a3");
    let blank = disk(&image(&scratch, "sdc", MIB), Layer::Whole);
    let through = disk(&booted.device, Layer::Stacked);
    let others = [older, blank, through];
    let look = |disks: &[&Disk]| {
        let disks: Vec<Disk> = disks.iter().copied().chain(&others).cloned().collect();
        look(scratch.path(), &disks).unwrap()
    };

    assert!(look(&[&booted]).is_none());
    let found = look(&[&booted, &copy]).expect("two of them").found;
    assert!(found.starts_with("this system on 2 disks: vda (16 MiB, serial S-vda)"), "{found}");
    assert!(found.contains("; sda (16 MiB, serial S-sda)") && !found.contains("sdb"), "{found}");

    // Of a disk that was made larger, or whose first table is damaged, the other table counts.
    tool(&format!("dd if=/dev/zero of={} bs=512 seek=1 count=1 conv=notrunc status=none", copy.device.display()));
    assert!(look(&[&booted, &copy]).is_some());
    std::fs::write(scratch.join("proc/cmdline"), "ro").unwrap();
    assert!(look(&[&booted, &copy]).is_none(), "a system that dm-verity does not prove");
}
