//! What Packer's `publish` sums up of an image that has passed its smoke test, and what it does not.

use std::path::Path;
use std::process::{Command, Output};

use super::{Published, repository, said};

const NAME: &str = "etcd-bootstrapper_0.1.0";

/// A disk with all that is beside one, of this flavour.
fn built(flavour: &str) -> Published {
    let disk = Published::new();
    for end in ["efi", "pcrs.json", "packages", "spdx.json", "cdx.json", "provenance.json"] {
        std::fs::write(disk.directory.join(&format!("{NAME}.{end}")), end).expect("a file");
    }
    std::fs::write(disk.directory.join("manifest.json"), format!("{{\"flavour\": \"{flavour}\"}}"))
        .expect("a manifest");
    std::fs::rename(disk.directory.join("SHA256SUMS"), disk.directory.join("of-disk")).expect("the disk's sum");
    let later =
        std::fs::metadata(&disk.raw).and_then(|m| m.modified()).expect("a date") + std::time::Duration::from_secs(1);
    let evidence = disk.directory.join("smoke-evidence.log");
    std::fs::write(&evidence, "SMOKE-PASS\n").expect("evidence");
    std::fs::File::options().append(true).open(&evidence).and_then(|f| f.set_modified(later)).expect("its date");
    disk
}

fn publish(disk: &Published) -> Output {
    let script = repository().join("packer/qemu/publish.sh");
    Command::new(script).arg(disk.directory.path()).arg(NAME).output().expect("publish.sh runs")
}

/// The files that are summed up; each must be what its sum says.
fn summed(directory: &Path) -> Vec<String> {
    let checked = Command::new("sha256sum").args(["--quiet", "-c", "SHA256SUMS"]).current_dir(directory).output();
    let checked = checked.expect("sha256sum runs");
    assert!(checked.status.success(), "{}", said(&checked));
    let sums = std::fs::read_to_string(directory.join("SHA256SUMS")).expect("sums");
    sums.lines().filter_map(|line| line.split_once("  ")).map(|(_, file)| file.replace(NAME, "NAME")).collect()
}

const FILES: [&str; 9] = [
    "NAME.raw",
    "NAME.efi",
    "NAME.qcow2",
    "NAME.pcrs.json",
    "NAME.packages",
    "NAME.spdx.json",
    "NAME.cdx.json",
    "NAME.provenance.json",
    "manifest.json",
];

#[test]
fn the_medium_of_this_disk_is_summed_up_and_that_of_another_one_refused() {
    let disk = built("minimal");
    let output = publish(&disk);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(summed(disk.directory.path()), FILES);

    let sums = std::fs::read_to_string(disk.directory.join("of-disk")).expect("the disk's sum");
    let iso = disk.directory.join(&format!("{NAME}.iso"));
    std::fs::write(&iso, format!("\0\u{1}{{\"sha256\": \"{}\"}}\0", &sums[..64])).expect("a medium");
    let output = publish(&disk);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(summed(disk.directory.path()), [&FILES[..], &["NAME.iso"]].concat());

    std::fs::remove_file(disk.directory.join("SHA256SUMS")).expect("sums");
    std::fs::write(&iso, format!("{{\"sha256\": \"{}\"}}", sums[..64].replace(|c: char| c.is_ascii_digit(), "f")))
        .expect("a medium");
    let output = publish(&disk);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let words = format!("{NAME}.iso does not install this {NAME}.raw: `make iso` makes one that does, or remove it");
    assert!(said(&output).contains(&words), "{}", said(&output));
    assert!(!disk.directory.join("SHA256SUMS").exists());
}

#[test]
fn what_was_published_without_a_key_is_signed_once_there_is_one() {
    let disk = built("minimal");
    // Nothing is assembled where an image was signed for Secure Boot.
    std::fs::write(disk.directory.join("manifest.json"), r#"{"flavour": "minimal", "secure_boot": {}}"#)
        .expect("a manifest");
    let output = publish(&disk);
    assert!(output.status.success(), "{}", said(&output));
    let key = disk.directory.join("site.key");
    let mut minisign = Command::new(repository().join("tools/enter.sh"));
    minisign.args(["minisign", "-G", "-W", "-s"]).arg(&key).arg("-p").arg(disk.directory.join("site.pub"));
    let made = minisign.output().expect("minisign runs");
    assert!(made.status.success(), "{}", said(&made));
    for _ in ["signed", "as it is"] {
        let build =
            super::packer_sh().arg("build").env("OUT", disk.directory.path()).env("MINISIGN_KEY", &key).output();
        let build = build.expect("packer.sh runs");
        assert!(build.status.success(), "{}", said(&build));
        assert!(disk.directory.join("SHA256SUMS.minisig").exists(), "{}", said(&build));
    }
}

#[test]
fn an_image_for_labs_is_given_to_nobody() {
    let disk = built("debug");
    let output = publish(&disk);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("has a debug image, into which root logs in by ssh"), "{}", said(&output));
    assert!(!disk.directory.join("SHA256SUMS").exists());
    // However it came to be among the sums.
    std::fs::rename(disk.directory.join("of-disk"), disk.directory.join("SHA256SUMS")).expect("sums");
    let mut pack = Command::new(repository().join("packer/gcp/pack.sh"));
    let output = pack.env("IMAGE", &disk.raw).env("TAR", disk.directory.join("disk.tar.gz")).output();
    let output = output.expect("pack.sh runs");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("it is no release, and nothing of it is published"), "{}", said(&output));
    // Nor does the wrapper begin with one.
    let output =
        super::packer_sh().arg("build").env("IMAGE_FLAVOUR", "debug").env("OUT", disk.directory.path()).output();
    let output = output.expect("packer.sh runs");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("a debug image is for labs"), "{}", said(&output));
}
