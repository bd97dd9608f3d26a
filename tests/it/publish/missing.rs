//! What lacks is named, and nothing is sent.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use super::{Published, packer_sh, repository, said};
use crate::support::scratch::Scratch;

/// What the scripts themselves use; no cloud's client is among it, whatever this host has.
const BASE: [&str; 14] = [
    "basename",
    "cat",
    "cut",
    "dirname",
    "flock",
    "grep",
    "id",
    "mktemp",
    "python3",
    "realpath",
    "rm",
    "sed",
    "sh",
    "sha256sum",
];

/// A target's script with these variables and no other.
fn publish(target: &str, variables: &[(&str, &str)]) -> Output {
    publish_by(&Scratch::new(), target, variables)
}

/// The same with programs that are in a directory already.
fn publish_by(path: &Scratch, target: &str, variables: &[(&str, &str)]) -> Output {
    for name in BASE {
        let found =
            ["/usr/bin", "/bin"].map(|dir| std::path::Path::new(dir).join(name)).into_iter().find(|p| p.exists());
        std::os::unix::fs::symlink(found.unwrap_or_else(|| panic!("there is no {name}")), path.join(name))
            .expect("a link");
    }
    let script = if target == "gcp" { "pack.sh" } else { "publish.sh" };
    let mut command = Command::new(repository().join("packer").join(target).join(script));
    command.env_clear().env("PATH", path.path()).env("HOME", "/root").envs(variables.iter().copied());
    command.output().expect("the script runs")
}

#[test]
fn all_variables_that_a_target_lacks_are_named_at_once() {
    for (target, names) in [
        ("aws", &["IMAGE", "REGION"][..]),
        ("azure", &["IMAGE", "RESOURCE_GROUP", "LOCATION", "STORAGE_ACCOUNT", "GALLERY"]),
        ("gcp", &["IMAGE"]),
        ("openstack", &["IMAGE"]),
        ("proxmox", &["ISO", "URL", "NODE", "VM_ID", "PROXMOX_TOKEN"]),
    ] {
        let output = publish(target, &[]);
        assert_eq!(output.status.code(), Some(1), "{target}: {}", said(&output));
        for name in names {
            assert!(said(&output).contains(&format!("\n  {name}: ")), "{target}, {name}: {}", said(&output));
        }
    }
}

#[test]
fn packer_names_the_variable_that_was_not_given() {
    for (target, name) in
        [("aws", "region"), ("gcp", "bucket"), ("azure", "gallery"), ("vsphere", "datastore"), ("proxmox", "vm_id")]
    {
        let output = packer_sh().arg(target).output().expect("packer.sh runs");
        assert_eq!(output.status.code(), Some(1), "{target}: {}", said(&output));
        assert!(said(&output).contains(&format!("Unset variable \"{name}\"")), "{target}: {}", said(&output));
    }
}

/// What was built here is what Packer is given unless a person says otherwise, in any of its ways.
#[test]
fn another_disk_of_a_person_s_own_variables_is_the_one_that_is_published() {
    let own = Scratch::new();
    let disk = own.join("other.raw");
    let file = own.join("mine.pkrvars.hcl");
    let lines = format!("project = \"p\"\nbucket = \"b\"\nimage = \"{}\"\n", disk.display());
    std::fs::write(&file, lines).expect("a file of variables");
    let image = format!("image={}", disk.display());
    let common = ["gcp", "-var", "project=p", "-var", "bucket=b"];
    let mut ways = [packer_sh(), packer_sh(), packer_sh()];
    ways[0].arg("gcp").arg(format!("-var-file={}", file.display()));
    ways[1].args(common).args(["-var", &image]);
    ways[2].args(common).env("PKR_VAR_image", &disk);
    for mut way in ways {
        let output = way.output().expect("packer.sh runs");
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(&format!("there is no image {}", disk.display())), "{}", said(&output));
    }
}

#[test]
fn the_program_that_a_target_lacks_is_named_with_where_it_comes_from() {
    let disk = Published::new();
    let raw = disk.raw.to_string_lossy();
    let image: [(&str, &str); 3] = [("IMAGE", &raw), ("NAME", "n"), ("VERSION", "0.1.0")];
    let more = |others: &[(&'static str, &'static str)]| -> Vec<(&str, &str)> {
        image.iter().chain(others).copied().collect()
    };
    let cases = [
        ("aws", more(&[("REGION", "r"), ("PYTHON", "python9")]), "python9: install python3"),
        ("openstack", image.to_vec(), "openstack: install python3-openstackclient"),
        ("openstack", more(&[("OPENSTACK", "cat")]), "no cloud is named: set OS_CLOUD"),
        (
            "azure",
            more(&[
                ("RESOURCE_GROUP", "g"),
                ("LOCATION", "l"),
                ("STORAGE_ACCOUNT", "a"),
                ("CONTAINER", "c"),
                ("GALLERY", "g"),
                ("DEFINITION", "d"),
            ]),
            "az: install the Azure CLI",
        ),
        (
            "proxmox",
            vec![
                ("ISO", &*raw),
                ("NAME", "n"),
                ("URL", "https://pve"),
                ("NODE", "n"),
                ("VM_ID", "9"),
                ("STORAGE", "s"),
                ("ISO_STORAGE", "s"),
                ("BRIDGE", "b"),
                ("DISK_GIB", "8"),
                ("TIMEOUT", "9"),
                ("PROXMOX_TOKEN", "t"),
            ],
            "curl: install curl",
        ),
    ];
    for (target, variables, expected) in cases {
        let output = publish(target, &variables);
        assert_eq!(output.status.code(), Some(1), "{target}: {}", said(&output));
        assert!(said(&output).contains(expected), "{target}: {}", said(&output));
    }
}

/// A platform's client that knows an image of this sum, and would say so if anything were sent.
fn client(name: &str, sha256: &str) -> Scratch {
    let cases = [
        format!("*'image-version show'*tags.sha256*) echo {sha256} ;;"),
        format!("*'image-version show'* | *'image list'*disk_sha256={sha256}*) echo ID-OF-IT ;;"),
        "*'image list'*disk_sha256=*) ;;".to_owned(),
        "*'image list'*) echo ID-OF-IT ;;".to_owned(),
        "'account show '*) ;;".to_owned(),
        "*) echo SENT; exit 9 ;;".to_owned(),
    ];
    program(name, &format!("case \"$*\" in\n{}\nesac\n", cases.join("\n")))
}

/// A directory with a program of this text for the shell.
pub(super) fn program(name: &str, text: &str) -> Scratch {
    let path = Scratch::new();
    std::fs::write(path.join(name), format!("#!/bin/sh\n{text}")).expect("a program");
    std::fs::set_permissions(path.join(name), std::fs::Permissions::from_mode(0o755)).expect("a program");
    path
}

#[test]
fn what_is_there_under_that_name_is_left_alone_and_taken_for_success_only_of_the_same_disk() {
    let disk = Published::new();
    let (raw, sum) = (disk.raw.to_string_lossy().into_owned(), disk.sha256());
    let image: [(&str, &str); 3] = [("IMAGE", &raw), ("NAME", "etcd"), ("VERSION", "0.1.0")];
    let azure = [
        ("RESOURCE_GROUP", "g"),
        ("LOCATION", "l"),
        ("STORAGE_ACCOUNT", "a"),
        ("CONTAINER", "c"),
        ("GALLERY", "g"),
        ("DEFINITION", "etcd"),
    ];
    for (target, program, more) in [("azure", "az", &azure[..]), ("openstack", "openstack", &[("OS_CLOUD", "c")])] {
        let variables: Vec<(&str, &str)> = image.iter().chain(more).copied().collect();
        let same = publish_by(&client(program, &sum), target, &variables);
        assert!(same.status.success() && said(&same).contains("is there already, of the same disk"), "{}", said(&same));
        assert!(String::from_utf8_lossy(&same.stdout).contains("ID-OF-IT"), "{}", said(&same));
        let other = publish_by(&client(program, &"0".repeat(64)), target, &variables);
        assert_eq!(other.status.code(), Some(1), "{target}: {}", said(&other));
        assert!(said(&other).contains("is there already, of another disk: "), "{target}: {}", said(&other));
        assert!(!said(&other).contains("SENT"), "{target}: {}", said(&other));
    }
}

/// Whose credentials are a person's is not asked to be root; a Packer that is named is all that is needed.
#[test]
fn a_platform_is_given_the_disk_without_a_tool_root() {
    let root = Command::new(repository().join("tools/toolroot.sh")).output().expect("tools/toolroot.sh runs").stdout;
    let root = String::from_utf8_lossy(&root).trim().to_owned();
    let empty = Scratch::new();
    let mut command = packer_sh();
    command.arg("aws").env("PACKER", format!("{root}/usr/bin/packer")).env("ETCD_BOOTSTRAPPER_CACHE", empty.path());
    // Whoever makes one after all ends here.
    let output = command.env("DEBIAN_MIRROR", "http://127.0.0.1:9").output().expect("packer.sh runs");
    assert!(said(&output).contains("Unset variable \"region\""), "{}", said(&output));
    let left = std::fs::read_dir(empty.path()).expect("a cache").flatten().map(|entry| entry.file_name());
    let left: Vec<_> = left.filter(|name| name != "packer").collect();
    assert!(left.is_empty(), "{left:?}");
    let output = packer_sh().arg("aws").env("PACKER", "/bin/echo").output().expect("packer.sh runs");
    assert!(said(&output).contains("/bin/echo is not HashiCorp's Packer"), "{}", said(&output));
}

/// The flavours are two images, so neither is taken for the other.
#[test]
fn each_flavour_has_a_name_of_its_own_with_every_platform() {
    let packer = program("packer", "[ \"$*\" = version ] && echo Packer v1.6.6 || printenv\n");
    let asked = |target: &str, flavour: &str| {
        let mut command = packer_sh();
        command.arg(target).env("PACKER", packer.join("packer")).env("IMAGE_FLAVOUR", flavour);
        said(&command.output().expect("packer.sh runs"))
    };
    for (target, name) in [
        ("aws", "PKR_VAR_name=etcd-bootstrapper-cloud-init_"),
        ("azure", "PKR_VAR_definition=etcd-bootstrapper-cloud-init\n"),
        ("gcp", "PKR_VAR_family=etcd-bootstrapper-cloud-init\n"),
        ("gcp", "PKR_VAR_name=etcd-bootstrapper-cloud-init-"),
        ("openstack", "PKR_VAR_name=etcd-bootstrapper-cloud-init_"),
        ("proxmox", "PKR_VAR_name=etcd-bootstrapper-cloud-init-"),
        ("vsphere", "PKR_VAR_name=etcd-bootstrapper-cloud-init_"),
    ] {
        assert!(asked(target, "cloud-init").contains(name), "{target}: {}", asked(target, "cloud-init"));
        assert!(!asked(target, "minimal").contains("cloud-init"), "{target}: {}", asked(target, "minimal"));
    }
}

#[test]
fn only_the_disk_that_passed_the_smoke_test_leaves() {
    let disk = Published::new();
    let (raw, tar) = (disk.raw.to_string_lossy().into_owned(), disk.directory.join("disk.tar.gz"));
    let tar = tar.to_string_lossy();
    let refused = |expected: &str| {
        let output = publish("gcp", &[("IMAGE", &raw), ("TAR", &tar)]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(expected), "{}", said(&output));
    };
    let mut changed = disk.bytes.clone();
    changed[5] ^= 1;
    std::fs::write(&disk.raw, changed).expect("a disk");
    refused("is not what has passed the smoke test: its sha256 is not the one in");
    std::fs::write(disk.directory.join("SHA256SUMS"), "").expect("sums");
    refused("does not list etcd-bootstrapper_0.1.0.raw");
    std::fs::remove_file(disk.directory.join("SHA256SUMS")).expect("sums");
    refused("has not passed the smoke test: there is no");
    std::fs::remove_file(&disk.raw).expect("a disk");
    refused("there is no image");
}

#[test]
fn what_nobody_knows_is_refused_with_what_there_is() {
    let convert = |arguments: &[&str]| {
        Command::new(repository().join("packer/convert.sh")).args(arguments).output().expect("convert.sh runs")
    };
    let output = convert(&["vdi", "/dev/null", "/tmp/x"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(said(&output).contains("no format is called vdi"), "{}", said(&output));
    let disk = Published::new();
    std::fs::write(&disk.raw, "no disk").expect("a file");
    let output = convert(&["vhd", &disk.raw.to_string_lossy(), &disk.directory.join("x").to_string_lossy()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("its 7 bytes are not whole sectors"), "{}", said(&output));

    let output = packer_sh().args(["validate", "nimbus"]).output().expect("packer.sh runs");
    assert!(said(&output).contains("no target is called nimbus; there are: qemu aws azure"), "{}", said(&output));
    let output = packer_sh().arg("nimbus").output().expect("packer.sh runs");
    assert_eq!(output.status.code(), Some(64), "{}", said(&output));
}
