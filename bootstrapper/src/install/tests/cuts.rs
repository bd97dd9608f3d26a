//! Power cuts, and what they or others leave of the first sector and of the table.

use super::*;

#[test]
fn a_disk_that_is_only_started_gets_the_sector_back_without_which_nothing_starts_it() {
    let machine = Machine::new("{disk: {serial: S-sda}}");
    let disk = machine.disk("sda", &[], DISK, 1);
    assert_eq!(machine.install(), Ok(Power::Reboot));
    // As another system's tool may have left it: its own disk's size, and another ID.
    let mut theirs = bytes(&disk, 0, 512);
    theirs[440..444].fill(7);
    for (overwritten, expected) in [([0x90; 512].to_vec(), &image()[..512]), (theirs.clone(), &theirs[..])] {
        write(&disk, 0, &overwritten);
        assert!(machine.install().is_ok());
        assert_eq!(bytes(&disk, 0, 512), expected);
        write(&disk, PARTS[1].2 * SECTOR, &[0; 512]);
    }
}

/// Of these requests the first ones; of those that no flush has made safe, each sector or not.
fn cut_short(disk: &Path, told: &[Told], seed: u64) {
    let durable = told.iter().rposition(|one| matches!(one, Told::Flush)).map_or(0, |at| at + 1);
    let mut random = seed | 1;
    for (number, one) in told.iter().enumerate() {
        let Told::Write(at, bytes) = one else { continue };
        if number < durable {
            write(disk, *at, bytes);
            continue;
        }
        for (sector, bytes) in (0..).zip(bytes.chunks(512)) {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if random >> 63 == 0 {
                write(disk, at + sector * 512, bytes);
            }
        }
    }
}

/// Nobody has to say `wipe`, and what is kept is there at every moment.
#[test]
fn a_power_cut_at_any_moment_leaves_a_disk_that_the_next_boot_installs() {
    let (keep, wipe) = ("keep_data: true", "wipe: true, wipe_member: \"0000000000000001\"");
    for (word, overwritten) in [("wipe: false", false), (wipe, false), (keep, false), (keep, true)] {
        let machine = Machine::new(&format!("{{disk: {{serial: S-sda}}, {word}}}"));
        let prepare = || {
            let disk = if word == "wipe: false" { machine.disk("sda", &[], DISK, 1) } else { old(&machine) };
            if overwritten {
                write(&disk, 0, &[0x90; 512]);
            }
            machine.scan(&disk);
            disk
        };
        let keep = word == keep;
        let disk = prepare();
        TOLD.take();
        assert_eq!(machine.install(), Ok(Power::Reboot));
        let (told, done) = (TOLD.take(), bytes(&disk, 0, 3 << 20));
        assert_eq!(done[..512], image()[..512], "{word}: without this sector no firmware reads the table");
        let var = if keep { b"OLD!!" } else { b"NEW!\0" };
        // Most hangs on the first and the last requests: all of them, and some of the many between.
        let last = told.len().saturating_sub(14);
        for moment in (0..8).chain((8..last).step_by(told.len() / 6)).chain(last..=told.len()) {
            for seed in 1..3 {
                prepare();
                cut_short(&disk, &told[..moment], u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
                machine.scan(&disk);
                let at = format!("{word}, {moment} of {} requests, {seed}", told.len());
                if keep {
                    let table = Table::read(&File::open(&disk).unwrap(), DISK).unwrap().expect(&at);
                    let kept = table.named("etcd-var").map(|var| (var.first, var.last));
                    assert_eq!(kept, Some((14336, DISK / SECTOR - 34)), "{at}");
                    assert_eq!(bytes(&disk, 11 << 20, 4), b"DATA", "{at}");
                }
                let begun = imaging::has_begun(&bytes(&disk, 0, MIB as usize));
                let before = machine.on_consoles().len();
                assert_eq!(machine.install(), Ok(Power::Reboot), "{at}");
                let said = machine.on_consoles().split_off(before);
                assert_eq!(said.contains("has an installation that was cut short: it is written anew"), begun, "{at}");
                assert_eq!(bytes(&disk, 0, MIB as usize)[..17 << 10], done[..17 << 10], "{at}");
                assert_eq!(bytes(&disk, MIB, 2 << 20), done[MIB as usize..], "{at}");
                assert_eq!(bytes(&disk, 7 << 20, 5), var, "{at}");
            }
        }
    }
}

#[test]
fn of_a_table_s_two_places_one_is_whole_at_every_moment() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(DISK).unwrap();
    let parsed = |parts: &[(&str, u64, u64)]| Table::parse(&table(parts, DISK / SECTOR)).unwrap();
    let (before, after) = (parsed(&PARTS), parsed(&PARTS[2..]));
    let disk = Disk::open(file.path()).unwrap();
    put_table(&disk, &before).unwrap();
    TOLD.take();
    put_table(&disk, &after).unwrap();
    let told = TOLD.take();
    for moment in 0..=told.len() {
        for seed in 1..64 {
            put_table(&disk, &before).unwrap();
            cut_short(file.path(), &told[..moment], u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
            let found = Table::read(file.as_file(), DISK).unwrap().map(|table| table.partitions());
            let whole = found == Some(before.partitions()) || found == Some(after.partitions());
            assert!(whole, "{moment} of {} requests, {seed}: {found:?}", told.len());
        }
    }
}
