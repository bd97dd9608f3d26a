//! The raw disk in the forms that platforms take, looked at by QEMU's own tool and byte by byte.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Published, repository, said};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn convert(disk: &Published, format: &str, name: &str) -> PathBuf {
    let to = disk.directory.join(name);
    let output = Command::new(repository().join("packer/convert.sh")).arg(format).args([&disk.raw, &to]).output();
    let output = output.expect("convert.sh runs");
    assert!(output.status.success(), "{}", said(&output));
    to
}

fn qemu_img(arguments: &[&str], files: &[&Path]) -> String {
    let mut command = Command::new(repository().join("tools/enter.sh"));
    let output = command.arg("qemu-img").args(arguments).args(files).output().expect("enter.sh runs");
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).expect("text")
}

fn info(format: &str, file: &Path) -> Value {
    serde_json::from_str(&qemu_img(&["info", "--output=json", "-f", format], &[file])).expect("JSON")
}

/// The same bytes, and zeros where it is longer.
fn same(disk: &Published, format: &str, file: &Path) {
    qemu_img(&["compare", "-q", "-f", format, "-F", "raw"], &[file, &disk.raw]);
}

fn tar(arguments: &[&str], file: &Path) -> Vec<u8> {
    let output = Command::new("tar").arg("-f").arg(file).args(arguments).output().expect("tar runs");
    assert!(output.status.success(), "{}", said(&output));
    output.stdout
}

#[test]
fn qcow2_is_compressed_by_zstd() {
    let disk = Published::new();
    let file = convert(&disk, "qcow2", "disk.qcow2");
    let info = info("qcow2", &file);
    assert_eq!(info["virtual-size"], disk.bytes.len());
    assert_eq!(info["format-specific"]["data"]["compression-type"], "zstd");
    same(&disk, "qcow2", &file);
}

/// Azure takes fixed ones of whole MiB alone; the footer's sum is the complement of its bytes'.
#[test]
fn a_vhd_is_fixed_and_of_whole_mebibytes() {
    let disk = Published::new();
    let file = convert(&disk, "vhd", "disk.vhd");
    let bytes = std::fs::read(&file).expect("a VHD");
    let (content, footer) = bytes.split_at(bytes.len() - 512);
    let size = (disk.bytes.len() as u64).next_multiple_of(MIB);
    assert_eq!(content.len() as u64, size);
    assert_eq!(&footer[..8], b"conectix");
    assert_eq!(footer[60..64], 2_u32.to_be_bytes(), "a fixed disk");
    assert_eq!(footer[40..48], size.to_be_bytes(), "its first size");
    assert_eq!(footer[48..56], size.to_be_bytes(), "its size");
    let sum = footer.iter().enumerate().filter(|(i, _)| !(64..68).contains(i)).map(|(_, byte)| u32::from(*byte));
    assert_eq!(footer[64..68], (!sum.sum::<u32>()).to_be_bytes(), "the footer's sum");
    assert!(content.starts_with(&disk.bytes));
    assert!(content[disk.bytes.len()..].iter().all(|byte| *byte == 0));
    same(&disk, "vpc", &file);
}

/// Compute Engine takes GNU's old format, one file of this name, and whole GiB.
#[test]
fn compute_engine_s_file_has_a_disk_of_whole_gibibytes_in_it() {
    let disk = Published::new();
    let file = convert(&disk, "gcp", "disk.tar.gz");
    let plain = Command::new("gzip").args(["-dc"]).arg(&file).output().expect("gzip runs").stdout;
    assert_eq!(&plain[257..265], b"ustar  \0", "GNU's old format");
    let listed = String::from_utf8(tar(&["-tv"], &file)).expect("text");
    let fields: Vec<&str> = listed.split_whitespace().collect();
    assert_eq!((fields[1], fields[2], fields[5]), ("0/0", GIB.to_string().as_str(), "disk.raw"), "{listed}");
    let out = crate::support::scratch::Scratch::new();
    tar(&["-x", "-S", "-C", &out.path().to_string_lossy()], &file);
    same(&disk, "raw", &out.join("disk.raw"));
    // Nothing of this host or this hour is in it.
    let first = std::fs::read(&file).expect("a file");
    assert!(first == std::fs::read(convert(&disk, "gcp", "again.tar.gz")).expect("a file"), "a second one is another");
}

#[test]
fn a_vmdk_is_optimized_for_streams() {
    let disk = Published::new();
    let file = convert(&disk, "vmdk", "disk.vmdk");
    let info = info("vmdk", &file);
    assert_eq!(info["format-specific"]["data"]["create-type"], "streamOptimized");
    assert_eq!(info["virtual-size"], (disk.bytes.len() as u64).next_multiple_of(MIB));
    same(&disk, "vmdk", &file);
}

#[test]
fn an_ova_describes_a_uefi_machine_and_sums_up_what_is_in_it() {
    let disk = Published::new();
    let file = convert(&disk, "ova", "etcd.ova");
    assert_eq!(tar(&["-t"], &file), b"etcd.ovf\netcd.mf\netcd.vmdk\n");
    let out = crate::support::scratch::Scratch::new();
    tar(&["-x", "-C", &out.path().to_string_lossy()], &file);
    let description = std::fs::read_to_string(out.join("etcd.ovf")).expect("a description");
    let vmdk = std::fs::metadata(out.join("etcd.vmdk")).expect("a disk").len();
    let capacity = (disk.bytes.len() as u64).next_multiple_of(MIB);
    for part in [
        format!("ovf:href=\"etcd.vmdk\" ovf:size=\"{vmdk}\""),
        format!("ovf:capacity=\"{capacity}\" ovf:capacityAllocationUnits=\"byte\""),
        "vmw:key=\"firmware\" vmw:value=\"efi\"".to_owned(),
        "<rasd:ResourceSubType>VirtualSCSI<".to_owned(),
        "<rasd:ResourceSubType>VmxNet3<".to_owned(),
    ] {
        assert!(description.contains(&part), "{part}: {description}");
    }
    assert!(!description.contains('@'), "{description}");
    let mut reader = quick_xml::Reader::from_str(&description);
    while reader.read_event().expect("well-formed XML") != quick_xml::events::Event::Eof {}
    for line in std::fs::read_to_string(out.join("etcd.mf")).expect("a manifest").lines() {
        let (name, sum) = line.strip_prefix("SHA256(").and_then(|l| l.split_once(")= ")).expect("a sum");
        let found = Command::new("sha256sum").arg(out.join(name)).output().expect("sha256sum runs");
        assert!(String::from_utf8_lossy(&found.stdout).starts_with(sum), "{line}");
    }
    same(&disk, "vmdk", &out.join("etcd.vmdk"));
}
