//! Disks with something on them: what the words of the configuration let be written over, and what they do not.

use super::*;

#[test]
fn a_disk_with_anything_on_it_needs_the_word_and_keeps_its_var_on_request() {
    let machine = Machine::new("{disk: {serial: S-sda}}");
    old(&machine);
    machine.partition("sda", 3, &[0; 1 << 20]);
    let said = machine.install().unwrap_err();
    assert!(
        said.starts_with("78 nothing was written: found sda (3221 MB, serial S-sda), which is not empty"),
        "{said}"
    );

    let machine = Machine::new("{disk: {serial: S-sda}, keep_data: true}");
    let disk = old(&machine);
    assert_eq!(machine.install(), Ok(Power::Reboot));
    assert_eq!(bytes(&disk, MIB, 2 << 20), image()[MIB as usize..3 << 20], "the slots are the image's");
    assert_eq!((bytes(&disk, 7 << 20, 5), bytes(&disk, 11 << 20, 4)), (b"OLD!!".to_vec(), b"DATA".to_vec()));
    let file = File::open(&disk).unwrap();
    let table = Table::read(&file, DISK).unwrap().unwrap();
    let var = table.named("etcd-var").unwrap();
    assert_eq!((var.first, var.last), (14336, DISK / SECTOR - 34), "where it was");
    assert!(table.named("esp").is_some());
    write(&disk, 512, &[0; 512]);
    let other = Table::read(&file, DISK).unwrap().unwrap();
    assert_eq!(other.partitions(), table.partitions(), "its other place holds the same");

    let machine = Machine::new("{disk: {serial: S-sda}, wipe: true}");
    let disk = old(&machine);
    machine.partition("sda", 3, &[0; 1 << 20]);
    assert_eq!(machine.install(), Ok(Power::Reboot));
    assert_eq!(bytes(&disk, 7 << 20, 5), b"NEW!\0");
}

#[test]
fn a_partition_that_an_operator_has_made_is_not_lost_where_the_data_stays() {
    // What an earlier image called its slots, and one that was made behind them; then a slot that lies elsewhere.
    for (parts, refused) in [
        ([("esp", 2048, 6143), ("etcd_1.0", 6144, 14335), ("etcd-var", 14336, 20479)], None),
        ([("esp", 2048, 6143), ("etcd_1.0", 6144, 12287), ("etcd-var", 14336, 20479)], Some("2 (`etcd_1.0`)")),
        ([("esp", 2048, 6143), ("etcd-var", 14336, 20479), ("backups", 20480, 30719)], Some("3 (`backups`)")),
    ] {
        let machine = Machine::new("{disk: {serial: S-sda}, keep_data: true}");
        let head = table(&parts, DISK / SECTOR);
        let disk = machine.disk("sda", &head, DISK, 1);
        let done = machine.install();
        let expected = refused.map(|name| {
            format!(
                "78 nothing was written: found sda (3221 MB, serial S-sda), whose data cannot stay: the image has no place \
                 for its partition {name}; expected the partitions of an installation of this kind: copy the data \
                 elsewhere, and install with `wipe`"
            )
        });
        assert_eq!(done.err(), expected);
        assert!(expected.is_none() || bytes(&disk, 0, MIB as usize) == head, "{parts:?}");
    }
}

/// A table that the kernel does not take, a partition that cannot be read, a file system that it does not mount.
#[test]
fn where_nobody_can_look_for_a_member_nothing_is_written() {
    let mut ext4 = vec![0; 1 << 20];
    ext4[1080..1082].copy_from_slice(b"\x53\xef");
    for (case, listed, expected) in [
        ("not listed", None, "sda3 cannot be looked at: the disk's table has it, and the kernel does not list it; "),
        ("unreadable", Some(&[][..]), "sda3 cannot be looked at: "),
        ("not mounted", Some(&ext4[..]), "sda3 cannot be looked at: cannot mount "),
    ] {
        for (install, written) in [("wipe: true, wipe_member: \"0000000000000001\"", false), ("keep_data: true", true)]
        {
            let machine = Machine::new(&format!("{{disk: {{serial: S-sda}}, {install}}}"));
            let disk = old(&machine);
            if let Some(bytes) = listed {
                machine.partition("sda", 3, if bytes.is_empty() { &ext4 } else { bytes });
            }
            if listed.is_some_and(<[u8]>::is_empty) {
                crate::sys::fs::remove(&machine.device("sda3")).unwrap();
            }
            let before = bytes(&disk, 0, 12 << 20);
            let done = machine.install();
            assert_eq!(done.is_ok(), written, "{case}, {install}: {done:?}");
            if let Err(said) = done {
                assert!(said.contains(expected), "{case}: {said}");
                assert_eq!(bytes(&disk, 0, 12 << 20), before, "{case}");
            }
            assert_eq!(bytes(&disk, 7 << 20, 5), b"OLD!!", "{case}");
        }
    }
}

/// A power cut between an installation's last two writes leaves the mark beside a whole system, and whoever makes something else
/// of the disk may leave it too.
#[test]
fn the_mark_of_an_installation_that_was_cut_short_is_not_believed_beside_what_came_after_it() {
    let mut marked = vec![0; 2 << 20];
    marked[MIB as usize / 2..][..imaging::MARKER.len()].copy_from_slice(imaging::MARKER);
    for (magic, at, what) in [
        (&b"LVM2 001"[..], 536, "an LVM2 physical volume"),
        (b"\xe2\xe1\xf5\xe0", 1024, "an erofs file system"),
        (b"_BHRfS_M", 65600, "a btrfs file system"),
    ] {
        let machine = Machine::new("{disk: {serial: S-sda}}");
        let mut theirs = marked.clone();
        theirs[at..at + magic.len()].copy_from_slice(magic);
        let disk = machine.disk("sda", &theirs, DISK, 1);
        let said = machine.install().unwrap_err();
        assert!(said.contains(&format!("which is not empty: {what};")), "{said}");
        assert_eq!(bytes(&disk, 0, 2 << 20), theirs, "{what}");
    }

    let machine = Machine::new("{disk: {serial: S-sda}}");
    let disk = machine.disk("sda", &marked, DISK, 1);
    assert_eq!(machine.install(), Ok(Power::Reboot), "the mark and nothing else");
    let before = machine.on_consoles();
    // The installed system starts, and grows; years later its first sector is lost.
    let grown = Table::read(&File::open(&disk).unwrap(), DISK).unwrap().unwrap().anew(DISK);
    write(&disk, SECTOR, &grown.primary());
    write(&disk, DISK - grown.backup().len() as u64, &grown.backup());
    write(&disk, MIB / 2, imaging::MARKER);
    write(&disk, 11 << 20, b"DATA");
    for lost in [512, 1024] {
        write(&disk, 0, &vec![0; lost]);
        assert!(machine.install().is_ok());
        assert!(!machine.on_consoles().split_off(before.len()).contains("cut short"), "{lost} bytes");
    }
    assert_eq!(bytes(&disk, 11 << 20, 4), b"DATA");
}
