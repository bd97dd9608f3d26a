//! Packer 1.6.6, the last that Debian has, takes every template.

use std::path::Path;
use std::process::Command;

use super::{packer_sh, repository, said};
use crate::support::scratch::Scratch;

/// The tool root's Packer, without the wrapper.
fn packer() -> Command {
    let root = Command::new(repository().join("tools/toolroot.sh")).output().expect("tools/toolroot.sh runs").stdout;
    let mut packer = Command::new(Path::new(String::from_utf8_lossy(&root).trim()).join("usr/bin/packer"));
    packer.env("CHECKPOINT_DISABLE", "1");
    packer
}

#[test]
fn every_target_is_valid_for_packer_1_6_6_with_its_own_example() {
    assert_eq!(said(&packer().arg("version").output().expect("Packer runs")).trim(), "Packer v1.6.6");
    let output = packer_sh().arg("validate").output().expect("packer.sh runs");
    assert!(output.status.success(), "{}", said(&output));
}

/// What Packer checks is what it will do: an option that a builder does not have is found without a build.
#[test]
fn an_option_that_a_builder_does_not_have_is_found() {
    for (target, file, before) in [
        ("vsphere", "vsphere.pkr.hcl", "  firmware "),
        ("gcp", "gcp.pkr.hcl", "      image_family "),
        ("qemu", "smoke.pkr.hcl", "  machine_type "),
    ] {
        let copy = Scratch::new();
        let from = repository().join("packer").join(target);
        for entry in std::fs::read_dir(from).expect("a target") {
            let entry = entry.expect("an entry");
            if entry.path().is_file() {
                std::fs::copy(entry.path(), copy.join(&entry.file_name().to_string_lossy())).expect("a copy");
            }
        }
        let text = std::fs::read_to_string(copy.join(file)).expect("a template");
        let wrong = text.replacen(before, &format!("  no_such_option = 1\n{before}"), 1);
        assert_ne!(wrong, text, "{file} has no{before}");
        std::fs::write(copy.join(file), wrong).expect("a template");
        let mut command = packer();
        command.arg("validate");
        let variables: &[&str] = match target {
            "qemu" => &["output_dir=/out", "name=x", "bootstrapper_bin=/x"],
            "gcp" => &["version=0.1.0", "image=/x.raw"],
            _ => &["version=0.1.0", "iso=/x.iso"],
        };
        for variable in variables {
            command.args(["-var", variable]);
        }
        if target != "qemu" {
            command.arg(format!("-var-file={}", copy.join("example.pkrvars.hcl").display()));
        }
        let output = command.arg(copy.path()).output().expect("Packer runs");
        assert!(!output.status.success(), "{target}: {}", said(&output));
        assert!(said(&output).contains("no_such_option"), "{target}: {}", said(&output));
    }
}

#[test]
fn each_target_says_what_it_needs_and_what_it_may() {
    for target in ["aws", "azure", "gcp", "openstack", "proxmox", "qemu", "vsphere"] {
        let folder = repository().join("packer").join(target);
        let readme = std::fs::read_to_string(folder.join("README.md")).expect("a README");
        for entry in std::fs::read_dir(&folder).expect("a target") {
            let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
            if let Some(variables) = name.strip_suffix(".json") {
                assert!(readme.contains(&name), "{target}/README.md does not speak of {variables}.json");
                let text = std::fs::read_to_string(folder.join(&name)).expect("a policy");
                serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
            }
        }
        if target != "qemu" {
            assert!(readme.contains("packer/packer.sh"), "{target}/README.md has no command");
            assert!(readme.contains("not applied here"), "{target}/README.md does not say what was not applied here");
        }
    }
}
