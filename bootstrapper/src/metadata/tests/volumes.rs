//! Which volumes are ours; that one is mounted and read is shown by the machines of tests/vm.

use super::super::Sources;
use super::Host;
use crate::exit::Exit;
use crate::sys::disk;

/// An ISO 9660 image as far as its label: the primary volume descriptor is the 17th sector of 2048 bytes.
fn iso9660(label: &str) -> Vec<u8> {
    let mut image = vec![0; 40 * 2048];
    image[32768..32774].copy_from_slice(b"\x01CD001");
    image[32808..32840].copy_from_slice(format!("{label:<32}").as_bytes());
    image
}

fn ext4(label: &str) -> Vec<u8> {
    let mut image = vec![0; 1 << 20];
    image[1080..1082].copy_from_slice(b"\x53\xef");
    image[1144..1144 + label.len()].copy_from_slice(label.as_bytes());
    image
}

fn host(disks: &[(&str, Vec<u8>)]) -> Host {
    let mut host = Host::new().with("/proc/self/mountinfo", "");
    for (i, (name, image)) in disks.iter().enumerate() {
        let sys = format!("/sys/class/block/{name}");
        host = host
            .with(&format!("{sys}/size"), format!("{}\n", image.len() / 512))
            .with(&format!("{sys}/dev"), format!("254:{i}\n"))
            .with(&format!("/dev/{name}"), image);
    }
    host
}

#[test]
fn two_volumes_that_could_be_meant_are_refused_by_name() {
    let host = host(&[("sr0", iso9660("cidata")), ("vdb", iso9660("CIDATA"))]);
    let error = Sources::new(&host.paths()).load().map(drop).expect_err("two volumes");
    let expected = "two volumes are labelled cidata, and neither counts more: sr0 (0 MiB): an ISO 9660 file system \
                    labelled `cidata`, and vdb (0 MiB): an ISO 9660 file system labelled `CIDATA`: detach one of them";
    assert_eq!((Exit::of(&error), error.to_string().as_str()), (Exit::BadInput, expected));
}

#[test]
fn a_volume_that_is_not_ours_to_read_is_passed_over_and_told() {
    let host = host(&[("vda", vec![0; 1 << 20]), ("vdb", ext4("cidata")), ("sr0", iso9660("config-2"))]);
    let sources = Sources::new(&host.paths());
    assert!(sources.load().unwrap().is_none());
    let expected = "no configuration in /etc/etcd-bootstrapper or on a volume labelled cidata; vdb (1 MiB): an ext2/3/4 \
                    file system labelled `cidata` is passed over: make it ISO 9660 or FAT";
    assert_eq!(host.rootless(&sources.looked_at().to_string()), expected);
}

#[test]
fn a_drive_is_read_once_udev_says_that_there_is_a_medium_and_never_while_it_says_that_there_is_none() {
    for (udev, record, read) in [
        (true, Some("I:1\nE:ID_CDROM=1\nE:ID_CDROM_DVD=1\nG:systemd\n"), false),
        (true, None, false),
        (true, Some("I:1\nE:ID_CDROM=1\nE:ID_CDROM_MEDIA=1\nE:ID_CDROM_MEDIA_CD=1\n"), true),
        (true, Some("I:1\nG:systemd\n"), true),
        (false, None, true),
    ] {
        let mut host = host(&[("sr0", iso9660("cidata"))]);
        if udev {
            host = host.with("/run/udev/control", "");
        }
        if let Some(record) = record {
            host = host.with("/run/udev/data/b254:0", record);
        }
        let listed = disk::list(host.paths().root()).unwrap();
        assert_eq!(listed.iter().any(|d| d.probe.is_labelled("cidata")), read, "{record:?}");
        // Whatever may still turn out to hold our configuration stays on the list.
        assert_eq!(listed.is_empty(), record.is_some_and(|_| !read), "{record:?}");
    }
}

#[test]
fn a_medium_that_udev_tells_of_after_the_kernel_is_still_looked_at() {
    let record = "/run/udev/data/b254:0";
    for before in [None, Some("E:ID_CDROM=1\n")] {
        let mut host = host(&[("sr0", ext4("cidata"))]).with("/run/udev/control", "");
        if let Some(before) = before {
            host = host.with(record, before);
        }
        let sources = Sources::new(&host.paths());
        let passed_over = |host: &Host| {
            assert!(sources.load().unwrap().is_none());
            host.rootless(&sources.looked_at().to_string()).contains("sr0 (1 MiB): an ext2/3/4 file system")
        };
        assert!(!passed_over(&host), "{before:?}");
        let host = host.with(record, "E:ID_CDROM=1\nE:ID_CDROM_MEDIA=1\n");
        assert!(passed_over(&host), "{before:?}");
    }
}
