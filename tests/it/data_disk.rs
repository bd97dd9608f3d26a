//! Which disk becomes the data volume, and above all which never does.

use bootstrapper::observe::volume::{Choice, Known, choose};
use bootstrapper::sys::disk::{Disk, Kind, Layer};
use bootstrapper::sys::probe::Probe;
use bootstrapper::sys::volume::Remembered;
use plan::document::Device;

const GIB: u64 = 1 << 30;

fn disk(name: &str, kind: Kind) -> Disk {
    let partition = name.ends_with(|c: char| c.is_ascii_digit()) && name.starts_with("vd");
    Disk {
        name: name.into(),
        device: format!("/dev/{name}").into(),
        number: format!("254:{}", name.len()),
        layer: if partition { Layer::Partition(name[..3].into()) } else { Layer::Whole },
        bytes: 20 * GIB,
        serial: Some(format!("S-{}", &name[..3])),
        wwid: Some(format!("naa.50000000000000{}", &name[2..3])),
        read_only: false,
        removable: false,
        holders: Vec::new(),
        mounts: Vec::new(),
        system: false,
        probe: Probe::of(kind),
    }
}

fn xfs(name: &str, label: &str, uuid: &str) -> Disk {
    let probe = Probe { label: Some(label.into()), uuid: Some(uuid.into()), bytes: Some(20 * GIB), kind: Kind::Xfs };
    Disk { probe, ..disk(name, Kind::Xfs) }
}

fn ours(name: &str) -> Disk {
    xfs(name, "etcd-data", &format!("u-{name}"))
}

fn blank(name: &str) -> Disk {
    disk(name, Kind::Blank)
}

const GPT: Kind = Kind::Other("a GPT partition table");

/// The disk that the image boots from.
fn system() -> Vec<Disk> {
    let part = |name, kind, mount: Option<&str>| Disk {
        system: true,
        mounts: mount.map(Into::into).into_iter().collect(),
        ..disk(name, kind)
    };
    vec![part("vda", GPT, None), part("vda1", Kind::Vfat, Some("/efi")), part("vda4", Kind::Ext, Some("/var"))]
}

fn used(uuid: &str) -> Known {
    let remembered = Some(Remembered { uuid: uuid.into(), serial: Some("S-vdb".into()) });
    Known { remembered, ..Known::default() }
}

fn on_var() -> Known {
    Known { lives_on_var: true, ..Known::default() }
}

fn serial(s: &str) -> Device {
    Device::Serial(s.into())
}
fn name(s: &str) -> Device {
    Device::Name(s.into())
}
fn label(s: &str) -> Device {
    Device::Label(s.into())
}

/// A choice in one word, and what it says.
fn brief(choice: &Choice<'_>) -> String {
    match choice {
        Choice::Use(disk) => format!("use {}", disk.name),
        Choice::Format(disk) => format!("format {}", disk.name),
        Choice::Directory => "directory".into(),
        Choice::Missing(what) => format!("missing {what}"),
        Choice::Refuse { found, expected } => format!("refuse {found} | {expected}"),
    }
}

type Case = (&'static str, Device, Vec<Disk>, Known, &'static [&'static str]);

fn check(cases: Vec<Case>) {
    for (why, device, more, known, expected) in cases {
        let mut disks = system();
        disks.extend(more);
        let chosen = brief(&choose(&device, &disks, &known));
        let Some((first, rest)) = expected.split_first() else { panic!("{why}: nothing is expected") };
        assert!(chosen.starts_with(first), "{why}: {chosen}");
        for part in rest {
            assert!(chosen.contains(part), "{why}: {chosen} lacks {part:?}");
        }
    }
}

fn with(disk: Disk, change: impl Fn(&mut Disk)) -> Disk {
    let mut disk = disk;
    change(&mut disk);
    disk
}

#[test]
fn auto_takes_ours_else_the_only_blank_disk_else_a_directory() {
    let none = Known::default;
    let held = |d| with(d, |d| d.holders = vec!["dm-1".into()]);
    check(vec![
        ("no disk", Device::Auto, vec![], none(), &["directory"]),
        ("a blank one", Device::Auto, vec![blank("vdb")], none(), &["format vdb"]),
        ("ours", Device::Auto, vec![ours("vdb")], none(), &["use vdb"]),
        ("ours in a partition", Device::Auto, vec![disk("vdb", GPT), ours("vdb1")], none(), &["use vdb1"]),
        ("ours wins over blank", Device::Auto, vec![blank("vdb"), ours("vdc")], none(), &["use vdc"]),
        (
            "ours wins over unfinished",
            Device::Auto,
            vec![disk("vdb", Kind::Unfinished), ours("vdc")],
            none(),
            &["use vdc"],
        ),
        (
            "a format that a power cut ended",
            Device::Auto,
            vec![blank("vdb"), disk("vdc", Kind::Unfinished)],
            none(),
            &["format vdc"],
        ),
        (
            "two of ours",
            Device::Auto,
            vec![ours("vdb"), ours("vdc")],
            none(),
            &["refuse 2 data volumes", "serial S-vdb", "serial S-vdc"],
        ),
        (
            "two blank ones",
            Device::Auto,
            vec![blank("vdb"), blank("vdc")],
            none(),
            &["refuse 2 blank disks", "S-vdb", "S-vdc", "by its serial"],
        ),
        (
            "two unfinished ones",
            Device::Auto,
            vec![disk("vdb", Kind::Unfinished), disk("vdc", Kind::Unfinished)],
            none(),
            &["refuse 2 blank"],
        ),
        (
            "one that is too small",
            Device::Auto,
            vec![with(blank("vdb"), |d| d.bytes = 200 << 20)],
            none(),
            &["directory"],
        ),
        (
            "a small one beside",
            Device::Auto,
            vec![with(blank("vdb"), |d| d.bytes = 200 << 20), blank("vdc")],
            none(),
            &["format vdc"],
        ),
        (
            "a stranger's",
            Device::Auto,
            vec![disk("vdb", Kind::Ext), disk("vdc", Kind::Other("a LUKS volume"))],
            none(),
            &["directory"],
        ),
        ("data without a name", Device::Auto, vec![disk("vdb", Kind::Unrecognised)], none(), &["directory"]),
        ("an XFS of another name", Device::Auto, vec![xfs("vdb", "backup", "u")], none(), &["directory"]),
        (
            "a configuration volume",
            Device::Auto,
            vec![disk("vdb", Kind::Iso9660), blank("vdc")],
            none(),
            &["format vdc"],
        ),
        ("a blank stick", Device::Auto, vec![with(blank("vdb"), |d| d.removable = true)], none(), &["directory"]),
        (
            "a blank read-only one",
            Device::Auto,
            vec![with(blank("vdb"), |d| d.read_only = true)],
            none(),
            &["directory"],
        ),
        (
            "ours, read-only",
            Device::Auto,
            vec![with(ours("vdb"), |d| d.read_only = true)],
            none(),
            &["refuse vdb", "read-only"],
        ),
        (
            "ours, mounted elsewhere",
            Device::Auto,
            vec![with(ours("vdb"), |d| d.mounts = vec!["/mnt".into()])],
            none(),
            &["refuse vdb", "mounted at /mnt"],
        ),
        (
            "ours, seen through what a mapping is made of",
            Device::Auto,
            vec![held(ours("vdb")), with(ours("dm-1"), |d| d.layer = Layer::Stacked)],
            none(),
            &["use dm-1"],
        ),
        (
            "a blank mapping",
            Device::Auto,
            vec![with(blank("dm-1"), |d| d.layer = Layer::Stacked)],
            none(),
            &["directory"],
        ),
        (
            "a blank loop device",
            Device::Auto,
            vec![with(blank("loop0"), |d| d.layer = Layer::Backed)],
            none(),
            &["directory"],
        ),
        (
            "a blank disk that the kernel sees partitions on",
            Device::Auto,
            vec![blank("vdb"), blank("vdb1")],
            none(),
            &["directory"],
        ),
        (
            "the label on the system's own disk",
            Device::Auto,
            vec![with(ours("vda5"), |d| d.system = true)],
            none(),
            &["directory"],
        ),
        (
            "what cannot be read may be ours",
            Device::Auto,
            vec![disk("vdb", Kind::Unreadable("I/O error".into())), blank("vdc")],
            none(),
            &["missing", "vdb", "I/O error"],
        ),
        (
            "more may come",
            Device::Auto,
            vec![blank("vdb")],
            Known { settling: true, ..none() },
            &["missing", "still finding disks"],
        ),
        ("more may come, for nothing yet", Device::Auto, vec![], Known { settling: true, ..none() }, &["missing"]),
    ]);
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
        ("by kernel name", name("vdc"), vec![blank("vdb"), blank("vdc")], none(), &["format vdc"]),
        ("by node", name("/dev/vdc"), vec![blank("vdb"), blank("vdc")], none(), &["format vdc"]),
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

#[test]
fn a_host_that_had_a_data_volume_goes_on_with_that_one() {
    check(vec![
        ("it is there", Device::Auto, vec![ours("vdb")], used("u-vdb"), &["use vdb"]),
        (
            "it is gone",
            Device::Auto,
            vec![],
            used("u-vdb"),
            &["missing the XFS with UUID u-vdb on the disk with serial S-vdb"],
        ),
        (
            "it is gone and a blank one is there",
            Device::Auto,
            vec![blank("vdc")],
            used("u-vdb"),
            &["missing", "u-vdb", "there is vdc", "by its serial"],
        ),
        (
            "it is gone and another of ours is there",
            Device::Auto,
            vec![ours("vdc")],
            used("u-vdb"),
            &["missing", "u-vdb"],
        ),
        (
            "it and another of ours",
            Device::Auto,
            vec![ours("vdb"), ours("vdc")],
            used("u-vdb"),
            &["refuse 2 data volumes"],
        ),
        ("the operator names a blank one instead", serial("S-vdc"), vec![blank("vdc")], used("u-vdb"), &["format vdc"]),
        ("the same disk came back blank", serial("S-vdb"), vec![blank("vdb")], used("u-vdb"), &["format vdb"]),
        (
            "a blank one is named while it is there",
            serial("S-vdc"),
            vec![ours("vdb"), blank("vdc")],
            used("u-vdb"),
            &["refuse vdc", "is on vdb"],
        ),
        (
            "a kernel name now means a blank disk",
            name("vdb"),
            vec![blank("vdb"), with(ours("vdc"), |d| d.probe.uuid = Some("u-vdb".into()))],
            used("u-vdb"),
            &["refuse vdb", "is on vdc"],
        ),
        (
            "a kernel name now means another's disk",
            name("vdc"),
            vec![ours("vdb"), ours("vdc")],
            used("u-vdb"),
            &["refuse vdc", "is on vdb"],
        ),
        (
            "a kernel name, and the disk is not there yet",
            name("vdb"),
            vec![blank("vdb")],
            used("u-old"),
            &["missing", "u-old"],
        ),
        ("another of ours, named by serial", serial("S-vdc"), vec![ours("vdc")], used("u-vdb"), &["use vdc"]),
        ("the data is on /var and a blank disk came", Device::Auto, vec![blank("vdb")], on_var(), &["directory"]),
        (
            "the data is on /var and a disk of ours came",
            Device::Auto,
            vec![ours("vdb")],
            on_var(),
            &["refuse a member's data on /var", "vdb"],
        ),
        (
            "the data is on /var and a blank disk is named",
            serial("S-vdb"),
            vec![blank("vdb")],
            on_var(),
            &["refuse a member's data on /var"],
        ),
        (
            "the data is on /var and ours is named",
            serial("S-vdb"),
            vec![ours("vdb")],
            on_var(),
            &["refuse a member's data on /var"],
        ),
    ]);
}

/// Whatever is there, a disk is formatted only when it is blank and nobody else's, and a named one never becomes `/var`.
#[test]
fn no_mixture_of_disks_formats_what_is_not_blank_or_falls_back_from_a_name() {
    let kinds =
        [Kind::Blank, Kind::Unfinished, Kind::Unrecognised, Kind::Unreadable("EIO".into()), Kind::Xfs, Kind::Ext, GPT];
    let changes: [fn(&mut Disk); 7] = [
        |_| {},
        |d| d.system = true,
        |d| d.read_only = true,
        |d| d.removable = true,
        |d| d.holders = vec!["md0".into()],
        |d| d.mounts = vec!["/mnt".into()],
        |d| d.bytes = 1 << 20,
    ];
    let devices =
        [Device::Auto, serial("S-vdb"), Device::Wwid("50000000000000b".into()), label("etcd-data"), name("vdb")];
    let mut variants = Vec::new();
    for kind in &kinds {
        for change in changes {
            let of = |n: &str| if *kind == Kind::Xfs { ours(n) } else { disk(n, kind.clone()) };
            variants.push((with(of("vdb"), change), with(of("vdc"), change)));
        }
    }
    let mut formats = 0;
    for (first, _) in &variants {
        for (_, second) in &variants {
            let disks = [first.clone(), second.clone()];
            for known in
                [Known::default(), used("u-vdb"), used("u-vdc"), on_var(), Known { settling: true, ..Known::default() }]
            {
                for device in &devices {
                    match choose(device, &disks, &known) {
                        Choice::Format(d) => {
                            formats += 1;
                            assert!(matches!(d.probe.kind, Kind::Blank | Kind::Unfinished), "{d:?}");
                            let free = !d.system
                                && !d.read_only
                                && !d.removable
                                && d.holders.is_empty()
                                && d.mounts.is_empty();
                            assert!(free, "{d:?}");
                            assert!(!known.lives_on_var && !known.settling || *device != Device::Auto, "{disks:?}");
                        }
                        Choice::Use(d) => assert!(d.probe.is_ours() && !d.system && !d.read_only, "{d:?}"),
                        Choice::Directory => {
                            assert!(
                                *device == Device::Auto && known.remembered.is_none(),
                                "{device:?} {known:?} {disks:?}"
                            );
                            assert!(
                                !disks.iter().any(|d| d.probe.is_ours() && !d.system && d.holders.is_empty()),
                                "{disks:?}"
                            );
                        }
                        Choice::Missing(_) | Choice::Refuse { .. } => {}
                    }
                }
            }
        }
    }
    assert!(formats > 100, "{formats}");
}
