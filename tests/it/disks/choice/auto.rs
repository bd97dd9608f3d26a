//! `data.device: auto`.

use bootstrapper::observe::volume::{Directory, Known};
use bootstrapper::sys::disk::{Kind, Layer};
use plan::document::Device;

use super::{GPT, blank, check, disk, early, on_var, ours, with, xfs};

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
        ("a bus may be slow", Device::Auto, vec![], early(), &["missing", "not shown yet"]),
        ("a bus may be slow, for one that is there", Device::Auto, vec![blank("vdb")], early(), &["format vdb"]),
        ("a bus may be slow, for ours", Device::Auto, vec![ours("vdb")], early(), &["use vdb"]),
        (
            "a bus may be slow, for what was begun on /var",
            Device::Auto,
            vec![],
            Known { early: true, ..on_var(Directory::Begun) },
            &["directory"],
        ),
    ]);
}
