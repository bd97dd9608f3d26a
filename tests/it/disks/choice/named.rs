//! A disk that the spec names.

use bootstrapper::observe::volume::Known;
use bootstrapper::sys::disk::{Disk, Kind, Scsi};
use plan::document::Device;

use super::{GIB, GPT, blank, check, disk, label, name, ours, serial, with, xfs};

fn at(host: u32, lun: u32, disk: Disk) -> Disk {
    with(disk, |d| d.scsi = Some(Scsi { host, lun }))
}

fn to_provider(name: &str, disk: Disk) -> Disk {
    with(disk, |d| d.provider_name = Some(name.into()))
}

fn system_at(host: u32) -> Disk {
    at(host, 0, with(disk("vdx", GPT), |d| d.system = true))
}

#[test]
fn a_named_disk_is_that_disk_or_nothing() {
    let none = Known::default;
    let twin = |n| with(blank(n), |d| d.serial = Some("S-vdb".into()));
    let refused: &[(&'static str, Kind, &'static [&'static str])] = &[
        ("ext4", Kind::Ext, &["refuse vdb", "an ext2/3/4 file system", "wipefs"]),
        ("NTFS", Kind::Other("an NTFS file system"), &["refuse vdb", "an NTFS file system"]),
        ("LVM", Kind::Other("an LVM2 physical volume"), &["refuse vdb", "an LVM2 physical volume"]),
        ("LUKS", Kind::Other("a LUKS volume"), &["refuse vdb", "a LUKS volume"]),
        ("RAID", Kind::Other("a member of a Linux software RAID"), &["refuse vdb", "software RAID"]),
        ("ZFS", Kind::Other("a member of a ZFS pool"), &["refuse vdb", "a ZFS pool"]),
        ("partitions", GPT, &["refuse vdb", "a GPT partition table"]),
        ("no signature", Kind::Unrecognised, &["refuse vdb", "data that no signature names"]),
        ("a configuration volume", Kind::Iso9660, &["refuse vdb", "ISO 9660"]),
    ];
    check(
        refused
            .iter()
            .map(|(why, kind, expected)| {
                (*why, serial("S-vdb"), vec![disk("vdb", kind.clone()), blank("vdc")], none(), *expected)
            })
            .collect(),
    );
    check(vec![
        (
            "absent",
            serial("S-vdz"),
            vec![blank("vdb")],
            none(),
            &["missing the disk with serial S-vdz; there is vdb", "serial S-vdb"],
        ),
        (
            "absent, and ours is there",
            serial("S-vdz"),
            vec![ours("vdb")],
            none(),
            &["missing the disk with serial S-vdz"],
        ),
        ("blank", serial("S-vdb"), vec![blank("vdb"), blank("vdc")], none(), &["format vdb"]),
        ("unfinished", serial("S-vdb"), vec![disk("vdb", Kind::Unfinished)], none(), &["format vdb"]),
        ("ours", serial("S-vdb"), vec![ours("vdb"), ours("vdc")], none(), &["use vdb"]),
        (
            "ours in its partition",
            serial("S-vdb"),
            vec![disk("vdb", GPT), ours("vdb1"), disk("vdb2", Kind::Ext)],
            none(),
            &["use vdb1"],
        ),
        (
            "by World Wide ID, as udev writes it",
            Device::Wwid("wwn-0x50000000000000B".into()),
            vec![blank("vdb")],
            none(),
            &["format vdb"],
        ),
        ("by LUN", Device::Lun(3), vec![at(0, 2, blank("vdb")), at(0, 3, blank("vdc"))], none(), &["format vdc"]),
        (
            "by LUN, beside the system's and the temporary disk at a controller of theirs",
            Device::Lun(1),
            vec![system_at(0), at(0, 1, blank("vdb")), at(1, 1, blank("vdc"))],
            none(),
            &["format vdc"],
        ),
        (
            "by LUN, at the system's only controller",
            Device::Lun(1),
            vec![system_at(0), at(0, 1, blank("vdb"))],
            none(),
            &["format vdb"],
        ),
        (
            "by LUN, the system's own",
            Device::Lun(0),
            vec![system_at(0), at(0, 1, blank("vdb"))],
            none(),
            &["refuse vdx", "GPT"],
        ),
        (
            "two of one LUN",
            Device::Lun(0),
            vec![at(1, 0, blank("vdb")), at(2, 0, blank("vdc"))],
            none(),
            &["refuse 2 of", "LUN 0", "S-vdb", "S-vdc", "serial"],
        ),
        ("no such LUN", Device::Lun(7), vec![at(1, 0, blank("vdb"))], none(), &["missing the SCSI disk with LUN 7"]),
        ("by kernel name", name("vdc"), vec![blank("vdb"), blank("vdc")], none(), &["format vdc"]),
        ("by node", name("/dev/vdc"), vec![blank("vdb"), blank("vdc")], none(), &["format vdc"]),
        (
            "by its provider's name",
            name("/dev/sdf"),
            vec![blank("vdb"), to_provider("sdf", blank("vdc"))],
            none(),
            &["format vdc"],
        ),
        (
            "by its provider's name, which is the kernel's of another",
            name("vdb"),
            vec![blank("vdb"), to_provider("vdb", blank("vdc"))],
            none(),
            &["format vdc"],
        ),
        (
            "two of one provider's name",
            name("sdf"),
            vec![to_provider("sdf", blank("vdb")), to_provider("sdf", blank("vdc"))],
            none(),
            &["refuse 2 of", "S-vdb, sdf to its provider", "S-vdc", "serial"],
        ),
        (
            "no such name",
            name("sdg"),
            vec![to_provider("sdf", blank("vdb"))],
            none(),
            &["missing the disk sdg; there is vdb", "sdf to its provider"],
        ),
        ("by label", label("prod"), vec![xfs("vdb", "prod", "u"), blank("vdc")], none(), &["use vdb"]),
        ("by our label", label("etcd-data"), vec![ours("vdb")], none(), &["use vdb"]),
        ("no such label", label("prod"), vec![blank("vdb")], none(), &["missing the XFS file system labelled `prod`"]),
        (
            "the label of an ext4",
            label("prod"),
            vec![with(xfs("vdb", "prod", "u"), |d| d.probe.kind = Kind::Ext)],
            none(),
            &["refuse vdb", "ext2/3/4"],
        ),
        (
            "two of one label",
            label("prod"),
            vec![xfs("vdb", "prod", "u"), xfs("vdc", "prod", "u")],
            none(),
            &["refuse 2 of", "S-vdb", "S-vdc"],
        ),
        (
            "two paths to one disk",
            serial("S-vdb"),
            vec![twin("vdb"), twin("vdc")],
            none(),
            &["refuse 2 of", "two paths"],
        ),
        ("the system's own disk", serial("S-vda"), vec![], none(), &["refuse vda", "GPT"]),
        (
            "the system's own disk, were it blank",
            name("vdb"),
            vec![with(blank("vdb"), |d| d.system = true)],
            none(),
            &["refuse vdb", "runs from"],
        ),
        ("the system's own partition", name("vda4"), vec![], none(), &["refuse vda4"]),
        (
            "a stick",
            serial("S-vdb"),
            vec![with(blank("vdb"), |d| d.removable = true)],
            none(),
            &["refuse vdb", "removable"],
        ),
        (
            "read-only",
            serial("S-vdb"),
            vec![with(blank("vdb"), |d| d.read_only = true)],
            none(),
            &["refuse vdb", "read-only"],
        ),
        (
            "too small",
            serial("S-vdb"),
            vec![with(blank("vdb"), |d| d.bytes = 256 << 20)],
            none(),
            &["refuse vdb (256 MiB", "at least 300 MiB"],
        ),
        (
            "smaller than its file system",
            serial("S-vdb"),
            vec![with(ours("vdb"), |d| d.bytes = 10 * GIB)],
            none(),
            &["refuse vdb (10 GiB", "file system of 20 GiB", "cut short"],
        ),
        (
            "unreadable",
            serial("S-vdb"),
            vec![disk("vdb", Kind::Unreadable("I/O error".into()))],
            none(),
            &["missing", "I/O error"],
        ),
    ]);
}
