//! Which volumes are ours; that one is mounted and read is shown by the machines of tests/vm.

use super::super::Sources;
use super::super::nocloud::{self, Form, Layout};
use super::super::volume::carriers;
use super::{GOOD, Host};
use crate::exit::Exit;
use crate::install::tests::table;
use crate::sys::disk;

/// An ISO 9660 image as far as its label: the primary volume descriptor is the 17th sector of 2048 bytes.
pub(super) fn iso9660(label: &str) -> Vec<u8> {
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

pub(super) fn host(disks: &[(&str, Vec<u8>)]) -> Host {
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
    assert_eq!((Exit::of(&error), error.to_string().as_str()), (Exit::Refused, expected));
}

/// A host with a volume labelled `cidata` in the one partition of each of these disks, which has this name in their tables. The
/// first disk is the system's.
fn partitioned(disks: &[(&str, &str)]) -> Host {
    let tables: Vec<(&str, Vec<u8>)> =
        disks.iter().map(|(disk, name)| (*disk, table(&[(name, 34, 200)], 2048))).collect();
    let mut host = host(&tables).with("/proc/self/mountinfo", "20 1 254:0 / / ro - erofs /dev/dm-0 ro\n");
    for (i, (disk, _)) in disks.iter().enumerate() {
        let sys = format!("/sys/class/block/{disk}/{disk}1");
        host = host
            .with(&format!("{sys}/partition"), "1\n")
            .with(&format!("{sys}/size"), "160\n")
            .with(&format!("{sys}/dev"), format!("259:{i}\n"))
            .with(&format!("/dev/{disk}1"), iso9660("cidata"));
        let link = host.paths().host(&format!("/sys/class/block/{disk}1"));
        std::os::unix::fs::symlink(format!("{disk}/{disk}1"), link).unwrap();
    }
    host
}

#[test]
fn what_another_systems_installation_has_left_is_passed_over() {
    let told = " (0 MiB): an ISO 9660 file system labelled `cidata` is passed over: an installation has left it there, and \
                this system was not started from its disk";
    for (other, stick, expected, passed_over) in
        [("etcd-config", false, "vda1", true), ("etcd-config", true, "sr0", true), ("seed", false, "vdb1", false)]
    {
        let mut host = partitioned(&[("vda", "etcd-config"), ("vdb", other)]);
        if stick {
            let sys = "/sys/class/block/sr0";
            host = host.with(&format!("{sys}/size"), "160\n").with(&format!("{sys}/dev"), "11:0\n");
            host = host.with("/dev/sr0", iso9660("cidata"));
        }
        let disks = disk::list(host.paths().root()).unwrap();
        let (volumes, notes) = carriers(&disks, "cidata");
        assert_eq!(volumes.iter().map(|volume| &*volume.name).collect::<Vec<_>>(), [expected], "{other} {stick}");
        assert_eq!(notes, if passed_over { vec![format!("vdb1{told}")] } else { vec![] }, "{other} {stick}");
    }
}

/// What the files of a mounted volume of this form are, as if it were one.
fn mounted(form: Form, files: &[(&str, &str)]) -> (Host, Result<String, String>) {
    let host = files.iter().fold(Host::new(), |host, (path, text)| host.with(path, text));
    let read = nocloud::read(host.paths().root(), "the volume", form, Layout::Volume);
    let content = read.and_then(|seed| seed.unwrap().content());
    let told = content.map(|content| {
        let pieces: Vec<String> = content.pieces.iter().map(|p| format!("{:?} {p}", p.tier)).collect();
        format!("{}; {:?} {:?}", pieces.join(", "), content.instance.id, content.notes)
    });
    let told = told.map_err(|error| host.rootless(&format!("{} {error:#}", Exit::of(&error) as u8)));
    (host, told)
}

#[test]
fn a_configuration_drive_has_user_data_an_instance_and_perhaps_a_file_of_ours() {
    let user_data = format!("#etcd-bootstrapper\n{GOOD}");
    let (user, meta) = ("/openstack/latest/user_data", "/openstack/latest/meta_data.json");
    let json = r#"{"uuid": "83679162-1378-4288-a2d4-70e13ec132aa", "hostname": "etcd-1.novalocal", "name": "x"}"#;
    let own = "/etcd-bootstrapper.yaml";
    let id = r#"Some("83679162-1378-4288-a2d4-70e13ec132aa")"#;
    let remedy = "attach the drive that the platform made for this machine, which has its `uuid` there";
    let on = "on the volume";
    let drive = Form::ConfigDrive;
    for (form, files, expected) in [
        (
            drive,
            vec![(user, user_data.as_str()), (meta, json)],
            Ok(format!("UserData {}{on}; {id} []", "openstack/latest/user_data ")),
        ),
        (drive, vec![(own, GOOD), (meta, json)], Ok(format!("Volume etcd-bootstrapper.yaml {on}; {id} []"))),
        (
            drive,
            vec![(own, GOOD), (user, &user_data), (meta, json)],
            Ok(format!("Volume etcd-bootstrapper.yaml {on}, UserData openstack/latest/user_data {on}; {id} []")),
        ),
        (drive, vec![(meta, json)], Ok(format!("; {id} []"))),
        (
            drive,
            vec![(user, "#cloud-config\n"), (meta, json)],
            Ok(format!(
                "; {id} [\"the volume has no configuration of ours: expected etcd-bootstrapper.yaml, or user-data that \
                 writes /etc/etcd-bootstrapper/config.yaml\"]"
            )),
        ),
        (
            drive,
            vec![(user, &user_data), (meta, "{\"hostname\": \"a\"}")],
            Err(format!("65 openstack/latest/meta_data.json {on}:1:1: uuid is missing: {remedy}")),
        ),
        (
            drive,
            vec![(user, &user_data)],
            Err(format!(
                "65 openstack/latest/meta_data.json {on}:1:1: there is no meta_data.json beside user-data: {remedy}"
            )),
        ),
        (
            Form::Own,
            vec![("/ETCD-BO~1.YAM", ""), (own, GOOD)],
            Ok(format!("Volume etcd-bootstrapper.yaml {on}; None []")),
        ),
        (
            Form::Own,
            vec![("/user-data", &user_data)],
            Ok("; None [\"the volume has no configuration of ours: expected etcd-bootstrapper.yaml or \
                etcd-bootstrapper.json\"]"
                .into()),
        ),
    ] {
        assert_eq!(mounted(form, &files).1, expected, "{files:?}");
    }
}

#[test]
fn nothing_on_a_configuration_drive_leads_elsewhere() {
    let (secret, _) = mounted(Form::Own, &[("/user_data", "#!secret"), ("/latest/user_data", "#!secret")]);
    let outside = secret.paths().root().to_owned();
    let expected = "expected a regular file that no symbolic link leads to: replace it";
    for (link, target) in [
        ("openstack/latest/user_data", outside.join("user_data")),
        ("openstack/latest", outside.join("latest")),
        ("openstack/latest/user_data", "../../meta".into()),
        ("openstack", outside.clone()),
    ] {
        let host = Host::new().with("/meta", "x");
        let link = host.paths().root().join(link);
        crate::sys::fs::create_dir(link.parent().unwrap(), 0o755, None).unwrap();
        std::os::unix::fs::symlink(target, &link).unwrap();
        let read = nocloud::read(host.paths().root(), "the volume", Form::ConfigDrive, Layout::Volume);
        let error = read.map(drop).expect_err("a link");
        assert_eq!(Exit::of(&error), Exit::BadInput);
        assert!(format!("{error:#}").ends_with(expected), "{error:#}");
    }
    let host = Host::new();
    let fifo = host.paths().root().join("openstack/latest/user_data");
    crate::sys::fs::create_dir(fifo.parent().unwrap(), 0o755, None).unwrap();
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let read = nocloud::read(host.paths().root(), "the volume", Form::ConfigDrive, Layout::Volume);
    assert!(format!("{:#}", read.map(drop).expect_err("a pipe")).ends_with(expected));
}

#[test]
fn a_drive_whose_machine_has_a_name_that_no_host_can_bear_is_read_and_that_is_told() {
    let user_data = format!("#etcd-bootstrapper\n{GOOD}");
    let long = format!("{}.example.com", "a".repeat(60));
    let told = |name: &str, instead: &str| {
        format!(
            "openstack/latest/meta_data.json on the volume names this host {name:?}, which Linux does not take: {instead}"
        )
    };
    for (hostname, name, taken, notes) in [
        ("etcd-1.novalocal.", "x", Some("etcd-1.novalocal"), vec![]),
        (&*long, "x", Some(&long[..60]), vec![told(&long, &format!("{} is taken of it", &long[..60]))]),
        ("etcd 1", "etcd-1", Some("etcd-1"), vec![told("etcd 1", "it is passed over")]),
        ("a_b", "\u{e4}", None, vec![told("a_b", "it is passed over"), told("\u{e4}", "it is passed over")]),
    ] {
        let meta_data = serde_json::json!({"uuid": "83679162-1378", "hostname": hostname, "name": name}).to_string();
        let files =
            [("/openstack/latest/user_data", user_data.as_str()), ("/openstack/latest/meta_data.json", &meta_data)];
        let (host, _) = mounted(Form::ConfigDrive, &files);
        let seed =
            nocloud::read(host.paths().root(), "the volume", Form::ConfigDrive, Layout::Volume).unwrap().unwrap();
        let content = seed.content().unwrap();
        assert_eq!((content.instance.hostname.as_deref(), content.notes), (taken, notes), "{hostname}");
        assert_eq!(content.pieces.len(), 1, "{hostname}");
    }
}

#[test]
fn a_volume_that_is_not_ours_to_read_is_passed_over_and_told() {
    let host = host(&[("vda", vec![0; 1 << 20]), ("vdb", ext4("cidata")), ("sr0", iso9660("tools"))]);
    let sources = Sources::new(&host.paths());
    assert!(sources.load().unwrap().is_none());
    let expected = "no configuration in /etc/etcd-bootstrapper, in the credential etcd-bootstrapper.config or on a volume \
                    labelled cidata, config-2 or ETCDBOOT; vdb (1 MiB): an ext2/3/4 file system labelled `cidata` is \
                    passed over: make it ISO 9660 or FAT";
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
