//! Who launched a machine, by what such machines say of themselves.

use super::super::detect::{Source, detect};
use super::Host;
use crate::exit::Exit;

/// `proc/cmdline`, then fields of the firmware and other files by their paths.
type Files<'a> = &'a [(&'a str, &'a str)];

fn host(cmdline: &str, files: Files<'_>) -> Host {
    let mut host = Host::new().with("/proc/cmdline", format!("BOOT_IMAGE=/vmlinuz root=/dev/vda2 {cmdline}\n"));
    for (path, text) in files {
        let path = if path.contains('/') { (*path).to_owned() } else { format!("/sys/class/dmi/id/{path}") };
        host = host.with(&path, format!("{text}\n"));
    }
    host
}

const QEMU: (&str, &str) = ("sys_vendor", "QEMU");

#[test]
fn a_platform_is_told_by_its_firmware_its_volume_or_somebody_s_word() {
    let (dmi, volume, seed) = (Some(Source::Dmi), Some(Source::Volume), Some(Source::Seed));
    let (cmdline, word) = (Some(Source::Cmdline), Some(Source::Override));
    let cidata = ("/dev/disk/by-label/cidata", "");
    let azure = ("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77");
    let nova = ("product_name", "OpenStack Nova");
    let cases: [(&str, Files<'_>, &str, Option<Source>); 46] = [
        ("", &[], "none", None),
        ("quiet", &[QEMU, ("product_name", "Standard PC (Q35 + ICH9, 2009)")], "none", None),
        ("", &[("sys_vendor", "Amazon EC2"), ("bios_vendor", "Amazon EC2")], "ec2", dmi),
        ("", &[("bios_vendor", "Amazon EC2")], "ec2", dmi),
        ("", &[("sys_vendor", "Xen"), ("product_uuid", "EC2E1916-9099-7CAF-FD21-012345ABCDEF")], "ec2", dmi),
        ("", &[("sys_vendor", "Xen"), ("product_uuid", "45e12aec-dcd1-b213-94ed-012345abcdef")], "ec2", dmi),
        ("", &[("/sys/hypervisor/uuid", "ec2e1916-9099-7caf-fd21-012345abcdef")], "ec2", dmi),
        // One in 4096 random UUIDs begins so.
        ("", &[QEMU, ("product_uuid", "ec2e1916-9099-7caf-fd21-012345abcdef")], "none", None),
        ("", &[("sys_vendor", "e24cloud"), ("product_uuid", "ec2e1916-9099-7caf-fd21-012345abcdef")], "none", None),
        ("", &[("product_name", "3DS Outscale VM"), ("product_uuid", "ec2e1916")], "none", None),
        ("", &[("product_serial", "srv-1.brightbox.com"), ("product_uuid", "ec2e1916")], "none", None),
        ("", &[("chassis_asset_tag", "1.zstack.io"), ("product_uuid", "ec2e1916")], "none", None),
        ("", &[("product_name", "Google Compute Engine")], "gce", dmi),
        ("", &[("product_name", "Google")], "gce", dmi),
        ("", &[("product_name", "Googleplex")], "none", None),
        ("", &[("product_serial", "GoogleCloud-8F2A")], "gce", dmi),
        ("", &[("sys_vendor", "Microsoft Corporation"), azure], "azure", dmi),
        ("", &[("sys_vendor", "Microsoft Corporation"), ("product_name", "Virtual Machine")], "none", None),
        ("", &[nova], "openstack", dmi),
        ("", &[("chassis_asset_tag", "HUAWEICLOUD")], "openstack", dmi),
        ("", &[nova, ("/dev/disk/by-label/config-2", "")], "configdrive", volume),
        ("", &[("/dev/disk/by-label/CONFIG-2", "")], "configdrive", volume),
        ("", &[QEMU, cidata], "nocloud", volume),
        ("", &[("/dev/disk/by-label/CIDATA", "")], "nocloud", volume),
        ("", &[("/dev/disk/by-label/cidata2", ""), ("/dev/disk/by-label/my\\x20cidata", "")], "none", None),
        ("", &[("/var/lib/cloud/seed/nocloud/user-data", "")], "nocloud", seed),
        ("", &[("/var/lib/cloud/seed/nocloud-net/meta-data", "")], "nocloud", seed),
        ("", &[("/var/lib/cloud/seed/nocloud/notes", "")], "none", None),
        ("", &[("product_serial", "ds=nocloud;s=http://10.0.0.1/")], "nocloud", dmi),
        ("", &[("product_serial", "ds=nocloudy")], "none", None),
        ("", &[("product_name", "VMware20,1")], "vmware", dmi),
        ("", &[("sys_vendor", "DigitalOcean")], "digitalocean", dmi),
        ("", &[("sys_vendor", "Hetzner")], "hetzner", dmi),
        ("", &[("sys_vendor", "Vultr")], "vultr", dmi),
        ("vultr", &[], "vultr", cmdline),
        ("", &[("chassis_asset_tag", "OracleCloud.com")], "oracle", dmi),
        ("", &[("sys_vendor", "Linode")], "akamai", dmi),
        ("", &[("sys_vendor", "Akamai")], "akamai", dmi),
        ("", &[("sys_vendor", "Scaleway")], "scaleway", dmi),
        ("ds=nocloud;h=a", &[], "nocloud", cmdline),
        ("ci.ds=Ec2", &[], "ec2", cmdline),
        ("\"ds=nocloud-net;s=http://10.0.0.1/ x\"", &[], "nocloud", cmdline),
        ("ignition.platform.id=gcp ds=nocloud", &[cidata], "gce", cmdline),
        ("etcd_bootstrapper.provider=none", &[("sys_vendor", "Amazon EC2"), cidata], "none", word),
        ("ds=nocloud etcd-bootstrapper.provider=ec2", &[], "ec2", word),
        ("etcd_bootstrapper.provider=auto ds=nothing-we-know", &[azure], "azure", dmi),
    ];
    for (cmdline, files, provider, source) in cases {
        let found = detect(&host(cmdline, files).paths()).expect("detected");
        assert_eq!((found.provider.name(), found.source), (provider, source), "{cmdline} {files:?}: {}", found.why);
    }
}

#[test]
fn what_was_never_set_says_nothing_and_no_secret_is_told() {
    let unset = Host::new().with("/sys/class/dmi/id/sys_vendor", [0xff; 16]);
    let why = detect(&unset.paths()).expect("detected").why;
    assert!(why.ends_with("the firmware says nothing, which is no platform that is known"), "{why}");
    let padded = Host::new().with("/sys/class/dmi/id/sys_vendor", b"Hetzner\0\0 \n");
    assert_eq!(detect(&padded.paths()).expect("detected").provider.name(), "hetzner");
    let seeded = host("ds=nocloud;s=http://user:CANARY@10.0.0.1/", &[]);
    let why = detect(&seeded.paths()).expect("detected").why;
    assert_eq!(why, "the kernel command line has ds=nocloud");
}

#[test]
fn a_word_for_a_platform_that_does_not_exist_is_bad_input() {
    let error = detect(&host("etcd_bootstrapper.provider=ec3", &[]).paths()).expect_err("no such provider");
    assert_eq!(Exit::of(&error), Exit::BadInput);
    assert!(error.to_string().contains("there is no such provider: write auto, ec2, gce, "), "{error}");
}
