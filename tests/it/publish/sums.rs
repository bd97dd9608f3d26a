//! What Packer's `publish` sums up of an image that has passed its smoke test, and what it does not.

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
