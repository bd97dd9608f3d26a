//! The disk that the write-ahead log has for itself: never one of another kind, and first of all the one that has it.

use bootstrapper::observe::volume::choose_wal;
use bootstrapper::sys::disk::{Disk, Kind};
use plan::document::Device;
use plan::place::VolumeId;
use plan::wal_disk::WalDisk;

use super::{blank, brief, disk, label, name, ours, serial, system, with, xfs};

fn log(name: &str) -> Disk {
    xfs(name, "etcd-wal", &format!("u-{name}"))
}

type Case = (&'static str, Option<Device>, Vec<Disk>, Option<WalDisk>, &'static [&'static str]);

/// The disk that the journal names.
fn kept(name: &str) -> Option<WalDisk> {
    let volume = VolumeId { serial: Some(format!("S-{name}")), wwid: None };
    Some(WalDisk { directory: "a".into(), uuid: Some(format!("u-{name}")), volume })
}

#[test]
fn the_disk_with_the_log_comes_first_and_only_a_named_one_takes_its_place() {
    let copy = || with(log("vdd"), |d| d.probe.uuid = Some("u-vdc".into()));
    let cases: Vec<Case> = vec![
        ("a new one", Some(serial("S-vdc")), vec![blank("vdc")], None, &["format vdc"]),
        ("one of ours", Some(serial("S-vdc")), vec![log("vdc")], None, &["use vdc"]),
        ("a cut format", Some(serial("S-vdc")), vec![disk("vdc", Kind::Unfinished)], None, &["format vdc"]),
        ("none yet", Some(serial("S-vdc")), vec![], None, &["missing the disk with serial S-vdc"]),
        (
            "a data disk",
            Some(serial("S-vdb")),
            vec![ours("vdb")],
            None,
            &["refuse", "etcd-data", "to be blank or labelled `etcd-wal`"],
        ),
        (
            "the data disk in use",
            Some(serial("S-vdb")),
            vec![with(log("vdb"), |d| d.mounts = vec!["/var/lib/etcd".into()])],
            None,
            &["refuse", "mounted at /var/lib/etcd"],
        ),
        ("somebody's", Some(serial("S-vdc")), vec![disk("vdc", Kind::Ext)], None, &["refuse", "ext2/3/4"]),
        ("kept", Some(serial("S-vdc")), vec![log("vdc"), blank("vdd")], kept("vdc"), &["use vdc"]),
        ("kept, another is named", Some(serial("S-vdd")), vec![log("vdc"), blank("vdd")], kept("vdc"), &["use vdc"]),
        ("kept, none is named", None, vec![log("vdc"), blank("vdd")], kept("vdc"), &["use vdc"]),
        ("kept and gone, none is named", None, vec![blank("vdd")], kept("vdc"), &["missing", "S-vdc", "u-vdc"]),
        (
            "kept and gone, a blank one is named",
            Some(serial("S-vdd")),
            vec![blank("vdd")],
            kept("vdc"),
            &["format vdd"],
        ),
        ("kept and gone, by kernel name", Some(name("vdd")), vec![blank("vdd")], kept("vdc"), &["missing", "u-vdc"]),
        (
            "too small",
            Some(serial("S-vdc")),
            vec![with(blank("vdc"), |d| d.bytes = 512 << 20)],
            None,
            &["refuse", "at least 1024 MiB"],
        ),
        ("a copy beside it", Some(serial("S-vdc")), vec![log("vdc"), copy()], kept("vdc"), &["use vdc"]),
        (
            "a copy that cannot be told",
            Some(serial("S-vdc")),
            vec![log("vdc"), with(copy(), |d| d.serial = None)],
            kept("vdc"),
            &["refuse 2 disks", "copies"],
        ),
        (
            "the original may be late",
            Some(serial("S-vdc")),
            vec![copy()],
            kept("vdc"),
            &["missing", "S-vdc", "is a copy of it"],
        ),
        ("the copy alone", Some(label("etcd-wal")), vec![copy()], kept("vdc"), &["use vdd"]),
        ("kept under another label", None, vec![xfs("vdc", "other", "u-vdc")], kept("vdc"), &["use vdc"]),
        ("formatted anew", None, vec![xfs("vdc", "etcd-wal", "u-new")], kept("vdc"), &["missing"]),
    ];
    for (why, device, more, kept, expected) in cases {
        let mut disks = system();
        disks.extend(more);
        let chosen = brief(&choose_wal(device.as_ref(), &disks, kept.as_ref(), false));
        let Some((first, rest)) = expected.split_first() else { panic!("{why}: nothing is expected") };
        assert!(chosen.starts_with(first), "{why}: {chosen}");
        for part in rest {
            assert!(chosen.contains(part), "{why}: {chosen} lacks {part:?}");
        }
    }
}
