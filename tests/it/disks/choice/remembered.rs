//! A host that had a volume before.

use bootstrapper::observe::volume::Directory;
use plan::document::Device;

use super::{blank, check, name, on_var, ours, serial, used, with};

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
        (
            "the data is on /var and a blank disk came",
            Device::Auto,
            vec![blank("vdb")],
            on_var(Directory::Lived),
            &["directory"],
        ),
        (
            "the data is on /var and a disk of ours came",
            Device::Auto,
            vec![ours("vdb")],
            on_var(Directory::Lived),
            &["refuse a member's data on /var", "vdb"],
        ),
        (
            "the data is on /var and a blank disk is named",
            serial("S-vdb"),
            vec![blank("vdb")],
            on_var(Directory::Lived),
            &["refuse a member's data on /var"],
        ),
        (
            "the data is on /var and ours is named",
            serial("S-vdb"),
            vec![ours("vdb")],
            on_var(Directory::Lived),
            &["refuse a member's data on /var"],
        ),
        (
            "begun on /var, and a blank disk came",
            Device::Auto,
            vec![blank("vdb")],
            on_var(Directory::Begun),
            &["directory"],
        ),
        ("begun on /var, and ours came", Device::Auto, vec![ours("vdb")], on_var(Directory::Begun), &["use vdb"]),
        (
            "begun on /var, and a disk is named",
            serial("S-vdb"),
            vec![blank("vdb")],
            on_var(Directory::Begun),
            &["format vdb"],
        ),
    ]);
}
