//! What platforms other than AWS are asked for, where a disk that boots by UEFI depends on it. Their clients are programs that note
//! what they are called with; what Packer's own builders would ask for is read from the templates.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::launch::hcl;
use super::missing::program;
use super::{Published, repository, said};

/// Gives the disk to a platform by its script, and says what its client was called with, a call an entry.
fn calls(target: &str, client: &str, answers: &str, variables: &[(&str, &str)]) -> Vec<Vec<String>> {
    let disk = Published::new();
    let record = disk.directory.join("record");
    let note = format!("printf '%s\\n' \"$@\" '' >>'{}'", record.display());
    let path = program(client, &format!("{note}\ncase \"$*\" in\n{answers}\nesac\n"));
    let mut command = Command::new(repository().join("packer").join(target).join("publish.sh"));
    command.env("PATH", format!("{}:{}", path.path().display(), std::env::var("PATH").expect("a PATH")));
    command.env("IMAGE", &disk.raw).env("ISO", &disk.raw).env("NAME", "etcd").env("VERSION", "0.1.0");
    let output = command.envs(variables.iter().copied()).output().expect("publish.sh runs");
    assert!(output.status.success(), "{target}: {}", said(&output));
    let record = std::fs::read_to_string(&record).expect("a record");
    record.trim_end().split("\n\n").map(|call| call.lines().map(str::to_owned).collect()).collect()
}

/// The only call that has these words, one after the other.
fn call<'a>(calls: &'a [Vec<String>], words: &[&str]) -> &'a [String] {
    let found: Vec<_> = calls.iter().filter(|call| call.windows(words.len()).any(|part| part == words)).collect();
    assert_eq!(found.len(), 1, "{words:?} in {calls:?}");
    found[0]
}

/// What follows an option, each time.
fn values<'a>(call: &'a [String], option: &str) -> Vec<&'a str> {
    call.windows(2).filter(|pair| pair[0] == option).map(|pair| pair[1].as_str()).collect()
}

fn pairs<'a>(call: &'a [String], option: &str) -> BTreeMap<&'a str, &'a str> {
    values(call, option).into_iter().map(|pair| pair.split_once('=').expect("a pair")).collect()
}

#[test]
fn azure_is_asked_for_machines_of_the_second_generation() {
    let answers = [
        "*'image-version show'* | *'image-definition show'*) exit 3 ;;",
        "*'storage account show'*primaryEndpoints*) echo https://a.example/ ;;",
        "*'storage account show'*) echo ID-OF-ACCOUNT ;;",
    ];
    let variables = [
        ("RESOURCE_GROUP", "group"),
        ("LOCATION", "l"),
        ("STORAGE_ACCOUNT", "a"),
        ("CONTAINER", "c"),
        ("GALLERY", "gallery"),
        ("DEFINITION", "etcd"),
    ];
    let calls = calls("azure", "az", &answers.join("\n"), &variables);
    let definition = call(&calls, &["image-definition", "create"]);
    for (option, value) in [
        ("--hyper-v-generation", "V2"),
        ("--architecture", "x64"),
        ("--os-type", "Linux"),
        ("--os-state", "Specialized"),
        ("--features", "SecurityType=TrustedLaunchSupported DiskControllerTypes=SCSI,NVMe"),
    ] {
        assert_eq!(values(definition, option), [value], "{definition:?}");
    }
    let blob = call(&calls, &["blob", "upload"]);
    assert_eq!(values(blob, "--type"), ["page"]);
    let file = values(blob, "--file")[0];
    assert_eq!(Path::new(file).file_name().and_then(|name| name.to_str()), Some("etcd-bootstrapper_0.1.0.vhd"));
    let version = call(&calls, &["image-version", "create"]);
    assert_eq!(values(version, "--os-vhd-uri"), ["https://a.example/c/etcd-bootstrapper_0.1.0.vhd"]);
    assert_eq!(values(version, "--os-vhd-storage-account"), ["ID-OF-ACCOUNT"]);
}

#[test]
fn openstack_is_told_that_the_image_boots_by_uefi_and_which_devices_it_has_drivers_for() {
    let wanted = BTreeMap::from([
        ("hw_firmware_type", "uefi"),
        ("hw_machine_type", "q35"),
        ("hw_disk_bus", "scsi"),
        ("hw_scsi_model", "virtio-scsi"),
        ("hw_vif_model", "virtio"),
    ]);
    let tpm = BTreeMap::from([("hw_tpm_version", "2.0"), ("hw_tpm_model", "tpm-crb")]);
    for (vtpm, format) in [("false", "qcow2"), ("true", "raw")] {
        let variables = [("OS_CLOUD", "c"), ("VTPM", vtpm), ("FORMAT", format)];
        let calls = calls("openstack", "openstack", "*'image create'*) echo ID-OF-IT ;;", &variables);
        let image = call(&calls, &["image", "create"]);
        let properties = pairs(image, "--property");
        let among = |those: &BTreeMap<&str, &str>| those.iter().all(|(key, value)| properties.get(key) == Some(value));
        assert!(among(&wanted), "{properties:?}");
        assert_eq!(tpm.keys().any(|key| properties.contains_key(key)), vtpm == "true", "{properties:?}");
        assert!(vtpm == "false" || among(&tpm), "{properties:?}");
        assert_eq!(values(image, "--disk-format"), [format]);
        assert!(values(image, "--file")[0].ends_with(&format!("etcd-bootstrapper_0.1.0.{format}")), "{image:?}");
    }
}

#[test]
fn proxmox_is_asked_for_a_uefi_machine_that_starts_the_disk_and_then_the_medium() {
    let answers = [
        "*'--request GET'*) echo '{\"data\": {\"status\": \"stopped\", \"exitstatus\": \"OK\"}}' ;;",
        "*) echo '{\"data\": \"UPID\"}' ;;",
    ];
    let variables = [
        ("URL", "https://pve"),
        ("NODE", "pve"),
        ("VM_ID", "9"),
        ("STORAGE", "s"),
        ("ISO_STORAGE", "i"),
        ("BRIDGE", "b"),
        ("DISK_GIB", "8"),
        ("TIMEOUT", "9"),
        ("PROXMOX_TOKEN", "t"),
    ];
    let calls = calls("proxmox", "curl", &answers.join("\n"), &variables);
    let asked = |path: &str| {
        let url = format!("https://pve/api2/json/nodes/pve/{path}");
        pairs(call(&calls, &[&url]), "--data-urlencode")
    };
    let machine = asked("qemu");
    for (key, value) in [
        ("bios", "ovmf"),
        ("machine", "q35"),
        ("efidisk0", "s:1,efitype=4m,pre-enrolled-keys=0"),
        ("scsihw", "virtio-scsi-single"),
        ("scsi0", "s:8,discard=on,iothread=1,serial=system"),
        ("net0", "virtio,bridge=b"),
        ("ide2", "i:iso/etcd-bootstrapper_0.1.0.raw,media=cdrom"),
        ("boot", "order=scsi0;ide2"),
    ] {
        assert_eq!(machine.get(key), Some(&value), "{machine:?}");
    }
    assert_eq!(asked("qemu/9/config"), BTreeMap::from([("delete", "ide2"), ("boot", "order=scsi0")]));
    call(&calls, &["https://pve/api2/json/nodes/pve/qemu/9/template"]);
}

#[test]
fn compute_engine_is_told_that_the_image_boots_by_uefi_and_has_the_driver_of_its_card() {
    let template = hcl("gcp/gcp.pkr.hcl");
    let import = &template["build"][0]["post-processors"][0]["post-processor"][1]["googlecompute-import"];
    assert_eq!(import["image_guest_os_features"], json!(["UEFI_COMPATIBLE", "GVNIC", "VIRTIO_SCSI_MULTIQUEUE"]));
}

#[test]
fn vsphere_is_asked_for_a_uefi_machine_with_devices_that_the_image_has_drivers_for() {
    let template = hcl("vsphere/vsphere.pkr.hcl");
    let machine = &template["source"][0]["vsphere-iso"]["etcd"];
    assert_eq!(machine["firmware"], "${var.secure_boot ? \"efi-secure\" : \"efi\"}");
    assert_eq!(machine["disk_controller_type"], json!(["pvscsi"]));
    assert_eq!(machine["network_adapters"][0]["network_card"], "vmxnet3");
    assert_eq!(machine["boot_order"], "disk,cdrom");
    assert_eq!(machine["configuration_parameters"], json!({"disk.EnableUUID": "TRUE"}));
}
