//! Installations from a medium onto files that stand for disks, and every moment at which one may be cut short.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::gpt::{SECTOR, Table};
use super::*;
use crate::sys::imaging::{self, TOLD, Told};

const GOOD: &str = include_str!("../../../tests/fixtures/spec/good/three.yaml");
const DISK: u64 = 3 << 30;
/// Of the image: 1 MiB, 2 MiB of ESP, 4 MiB of configuration, and a small `/var`.
const IMAGE: u64 = 10 << 20;

/// A machine whose disks are files, started from a medium.
struct Machine {
    root: tempfile::TempDir,
    medium: Vec<u8>,
}

/// What is changed of a medium that is as it should be.
#[derive(Default)]
struct Change<'c> {
    area: BTreeMap<&'c str, Vec<u8>>,
    image: Option<Vec<u8>>,
    /// The key that the installer knows.
    known: Option<minisign::PublicKey>,
    /// The key that signs.
    signed: Option<minisign::KeyPair>,
}

/// The first MiB of a disk with these partitions: name, first and last sector.
pub(crate) fn table(partitions: &[(&str, u64, u64)], sectors: u64) -> Vec<u8> {
    let mut entries = vec![0; 128 * 128];
    for (i, (name, first, last)) in partitions.iter().enumerate() {
        let entry = &mut entries[i * 128..(i + 1) * 128];
        entry[..16].fill(0xaf);
        entry[16..32].fill(i as u8 + 1);
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&last.to_le_bytes());
        for (j, unit) in name.encode_utf16().enumerate() {
            entry[56 + 2 * j..58 + 2 * j].copy_from_slice(&unit.to_le_bytes());
        }
    }
    let mut header = [0u8; 92];
    header[..8].copy_from_slice(b"EFI PART");
    header[10] = 1;
    header[12] = 92;
    for (at, number) in [(24, 1), (32, sectors - 1), (40, 34), (48, sectors - 34), (72, 2)] {
        header[at..at + 8].copy_from_slice(&u64::to_le_bytes(number));
    }
    header[80] = 128;
    header[84] = 128;
    header[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
    let sum = crc32fast::hash(&header);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    let mut head = vec![0; MIB as usize];
    head[446 + 4] = 0xee;
    head[510..512].copy_from_slice(&[0x55, 0xaa]);
    head[512..604].copy_from_slice(&header);
    head[1024..1024 + entries.len()].copy_from_slice(&entries);
    head
}

const PARTS: [(&str, u64, u64); 3] = [("esp", 2048, 6143), ("etcd-config", 6144, 14335), ("etcd-var", 14336, 18431)];

fn image() -> Vec<u8> {
    let mut image = table(&PARTS, IMAGE / SECTOR);
    image.resize(IMAGE as usize, 0);
    for (i, byte) in image[MIB as usize..3 << 20].iter_mut().enumerate() {
        *byte = (i / 7) as u8;
    }
    // A file system in `/var`, so that its fate is seen.
    image[(7 << 20)..(7 << 20) + 4].copy_from_slice(b"NEW!");
    image
}

fn user_data(install: &str) -> Vec<u8> {
    format!("#etcd-bootstrapper\n{}\ninstall: {install}\n", GOOD.trim_end()).into_bytes()
}

impl Machine {
    fn new(install: &str) -> Machine {
        let area = BTreeMap::from([("user-data", user_data(install))]);
        Machine::with(Change { area, ..Change::default() })
    }

    fn with(change: Change<'_>) -> Machine {
        let packed = zstd::encode_all(&image()[..], 3).unwrap();
        let manifest = serde_json::json!({"name": "test", "version": "1", "architecture": "x86-64", "files": {
            "image.zst": {"sha256": medium::sum(&packed).as_str(), "bytes": packed.len()},
            "test.raw": {"sha256": medium::sum(&image()).as_str(), "bytes": IMAGE},
        }});
        let manifest = manifest.to_string().into_bytes();
        let sums = format!("{}  manifest.json\n", medium::sum(&manifest).as_str()).into_bytes();
        let mut area = if change.area.is_empty() {
            Vec::new()
        } else {
            let files = change.area.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
            iso9660::make(&files).unwrap()
        };
        area.resize(1 << 20, 0);
        let packed = change.image.unwrap_or(packed);
        let mut files = BTreeMap::from([
            ("manifest.json", &manifest[..]),
            ("image.zst", &packed),
            ("site.img", &area),
            ("sha256sums", &sums),
        ]);
        let root = tempfile::tempdir().unwrap();
        let signature = change.signed.as_ref().map(|pair| {
            let trusted = Some("by the tests");
            minisign::sign(Some(&pair.pk), &pair.sk, Cursor::new(&sums), trusted, None).unwrap().into_string()
        });
        if let Some(signature) = &signature {
            files.insert("sha256sums.sig", signature.as_bytes());
        }
        let mut medium = iso9660::make(&files).unwrap();
        let sum = medium::sum(&manifest).as_str()[..32].to_owned();
        let set = [&sum[..8], &sum[8..12], &sum[12..16], &sum[16..20], &sum[20..]].join("-");
        medium[32768 + 40..32768 + 52].copy_from_slice(b"ETCD_INSTALL");
        medium[32768 + 190..32768 + 190 + set.len()].copy_from_slice(set.as_bytes());
        let machine = Machine { root, medium };
        machine.put("proc/cmdline", format!("quiet etcd_bootstrapper.medium={set}\n").as_bytes());
        machine.put("proc/self/mountinfo", b"");
        machine.put("sys/class/tty/console/active", b"tty0 ttyS0\n");
        machine.put("dev/tty0", b"");
        machine.put("dev/ttyS0", b"");
        if let Some(key) = change.known {
            machine.put("etc/etcd-bootstrapper/minisign.pub", key.to_box().unwrap().to_string().as_bytes());
        }
        machine.disk("sdm", &machine.medium, machine.medium.len() as u64, 8);
        machine
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.root.path().join(path);
        crate::sys::fs::create_dir(path.parent().unwrap(), 0o755, None).unwrap();
        // Without a wait for the disk of this machine.
        let mut file = File::options().write(true).create(true).truncate(true).open(path).unwrap();
        file.write_all(bytes).unwrap();
    }

    fn disk(&self, name: &str, bytes: &[u8], size: u64, minor: u32) -> PathBuf {
        self.put(&format!("dev/{name}"), bytes);
        File::options().write(true).open(self.device(name)).unwrap().set_len(size).unwrap();
        let sys = format!("sys/class/block/{name}");
        self.put(&format!("{sys}/size"), format!("{}\n", size / 512).as_bytes());
        self.put(&format!("{sys}/dev"), format!("8:{minor}\n").as_bytes());
        self.put(&format!("{sys}/serial"), format!("S-{name}\n").as_bytes());
        self.device(name)
    }

    /// Has the kernel list a partition.
    fn partition(&self, disk: &str, number: u32, bytes: &[u8]) {
        let sys = format!("sys/class/block/{disk}/{disk}{number}");
        self.put(&format!("dev/{disk}{number}"), bytes);
        self.put(&format!("{sys}/partition"), format!("{number}\n").as_bytes());
        self.put(&format!("{sys}/size"), format!("{}\n", bytes.len() / 512).as_bytes());
        self.put(&format!("{sys}/dev"), format!("259:{number}\n").as_bytes());
        let link = self.root.path().join(format!("sys/class/block/{disk}{number}"));
        std::os::unix::fs::symlink(format!("{disk}/{disk}{number}"), link).unwrap();
    }

    /// Has the kernel look at the table of `sda` anew; without both it takes none.
    fn scan(&self, disk: &Path) {
        let head = bytes(disk, 0, MIB as usize);
        crate::sys::fs::remove(&self.root.path().join("sys/class/block/sda3")).unwrap();
        let var = Table::parse(&head).filter(|_| gpt::is_protected(&head)).and_then(|table| table.named(gpt::VAR));
        if let Some(var) = var {
            self.partition("sda", var.number, &[0; 1 << 20]);
        }
    }

    fn device(&self, name: &str) -> PathBuf {
        self.root.path().join("dev").join(name)
    }

    fn install(&self) -> Result<Power, String> {
        let paths = Paths::under(self.root.path());
        installed(&paths, &Consoles::of(&paths)).map_err(|error| format!("{} {error:#}", Exit::of(&error) as u8))
    }

    fn on_consoles(&self) -> String {
        let [one, other] =
            ["dev/tty0", "dev/ttyS0"].map(|name| std::fs::read_to_string(self.root.path().join(name)).unwrap());
        assert_eq!(one, other, "every console says the same");
        one
    }
}

fn bytes(path: &Path, at: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    File::open(path).unwrap().read_exact_at(&mut bytes, at).unwrap();
    bytes
}

#[test]
fn a_blank_disk_has_the_image_the_configuration_and_a_receipt_and_is_not_installed_twice() {
    let machine = Machine::new("{disk: {serial: S-sda}, after: poweroff}");
    let disk = machine.disk("sda", &[], DISK, 1);
    assert_eq!(machine.install(), Ok(Power::Off));
    let image = image();
    assert_eq!(bytes(&disk, 0, 3 << 20), image[..3 << 20]);
    assert_eq!(bytes(&disk, 7 << 20, 3 << 20), image[7 << 20..]);
    let file = File::open(&disk).unwrap();
    let volume = iso9660::read(&file, 3 << 20).unwrap().unwrap();
    assert_eq!(volume.label, "cidata");
    let read = |name: &str| iso9660::file(&file, 3 << 20, &volume, name, MIB).unwrap();
    assert_eq!(read("user-data"), Some(user_data("{disk: {serial: S-sda}, after: poweroff}")));
    assert_eq!(read("meta-data"), Some(b"instance-id: installed\n".to_vec()));
    let said = machine.on_consoles();
    for words in [
        "Installing test 1 from sdm.",
        "Writing to sda",
        "Reading sda back",
        "Installed: test 1 is on sda (3221 MB, serial S-sda)",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }

    let before = bytes(&disk, 0, 3 << 20);
    assert_eq!(machine.install(), Ok(Power::Reboot), "the medium again");
    assert!(machine.on_consoles().contains("already: nothing is written, and it is started"));
    assert_eq!(machine.install(), Ok(Power::Halt), "and again");
    assert!(machine.on_consoles().contains("has led back to this medium"));
    assert_eq!(bytes(&disk, 0, 3 << 20), before);
}

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

#[test]
fn what_is_wrong_with_a_medium_is_said_before_anything_is_written() {
    let area = || BTreeMap::from([("user-data", user_data("{disk: {serial: S-sda}}"))]);
    let packed = zstd::encode_all(&image()[..], 3).unwrap();
    let mut flipped = packed.clone();
    let at = flipped.len() - 20;
    flipped[at] ^= 1;
    let pair = || minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let signed = |known, signed| Change { area: area(), known: Some(known), signed, ..Change::default() };
    let of_area =
        |text: &str| Change { area: BTreeMap::from([("user-data", text.as_bytes().to_vec())]), ..Change::default() };
    for (case, change, expected) in [
        (
            "cut short",
            Change { area: area(), image: Some(packed[..packed.len() - 9].to_vec()), ..Change::default() },
            "65 the medium sdm is not whole: image.zst has",
        ),
        (
            "one bit",
            Change { area: area(), image: Some(flipped), ..Change::default() },
            "65 the medium sdm is not whole: image.zst has the sha256",
        ),
        (
            "another key",
            signed(pair().pk, Some(pair())),
            "65 the medium sdm is not whole: sha256sums is not signed by the key",
        ),
        (
            "no signature",
            signed(pair().pk, None),
            "65 the medium sdm is not whole: it is not signed: it has no sha256sums.sig",
        ),
        (
            "no disk",
            of_area(&format!("#etcd-bootstrapper\n{GOOD}")),
            "78 nothing was written: site.img of the medium names no disk",
        ),
        ("no document", of_area("#cloud-config\n{}\n"), "65 site.img of the medium has no configuration of ours"),
        (
            "two ways",
            of_area(&String::from_utf8(user_data("{disk: {serial: A, wwid: B}}")).unwrap()),
            "65 user-data on site.img of the medium:",
        ),
    ] {
        let machine = Machine::with(change);
        let disk = machine.disk("sda", &[], DISK, 1);
        let said = machine.install().unwrap_err();
        assert!(said.starts_with(expected), "{case}: {said}");
        assert!(bytes(&disk, 0, 12 << 20).iter().all(|byte| *byte == 0), "{case}: something was written");
    }
    let ours = pair();
    let machine = Machine::with(signed(ours.pk.clone(), Some(ours)));
    machine.disk("sda", &[], DISK, 1);
    assert_eq!(machine.install(), Ok(Power::Reboot), "signed by the key that it knows");
}

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

/// The system of before on a disk whose `/var` grew to its end.
fn old(machine: &Machine) -> PathBuf {
    let mut parts = PARTS;
    parts[2].2 = DISK / SECTOR - 34;
    let mut head = table(&parts, DISK / SECTOR);
    head.resize(12 << 20, 0);
    head[(7 << 20)..(7 << 20) + 5].copy_from_slice(b"OLD!!");
    head[(11 << 20)..(11 << 20) + 4].copy_from_slice(b"DATA");
    let disk = machine.disk("sda", &head, DISK, 1);
    let backup = Table::parse(&head).unwrap().backup();
    write(&disk, DISK - backup.len() as u64, &backup);
    disk
}

fn write(disk: &Path, at: u64, bytes: &[u8]) {
    File::options().write(true).open(disk).unwrap().write_all_at(bytes, at).unwrap();
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

#[test]
fn a_volume_that_is_attached_counts_more_than_the_area_and_an_installed_one_counts_nothing() {
    let machine = Machine::new("{disk: {serial: S-sda}}");
    machine.disk("sda", &[], DISK, 1);
    let selector = Site::of(
        crate::metadata::Seed::of_files(
            "a stick",
            BTreeMap::from([("user-data", user_data("{disk: {serial: STICK}}"))]),
        ),
        "m",
        Some(plan::install::Selector::parse("serial=AREA").unwrap()),
        false,
    );
    assert_eq!(selector.unwrap().disk.unwrap().to_string(), "serial STICK");
    assert_eq!(machine.install(), Ok(Power::Reboot));
    // What was installed is no stick for the next installation.
    assert!(machine.install().is_ok());
}

#[test]
fn a_volume_is_read_as_it_was_made() {
    let long = vec![5; 5000];
    let files = BTreeMap::from([("user-data", &long[..]), ("meta-data", b"x"), ("network-config", b"")]);
    let made = iso9660::make(&files).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[&[9; 4096][..], &made].concat()).unwrap();
    let volume = iso9660::read(&file, 4096).unwrap().unwrap();
    assert_eq!(volume.files.keys().collect::<Vec<_>>(), ["meta-data", "network-config", "user-data"]);
    for (name, bytes) in files {
        assert_eq!(iso9660::file(&file, 4096, &volume, name, 1 << 20).unwrap().unwrap(), bytes, "{name}");
    }
    assert!(iso9660::file(&file, 4096, &volume, "user-data", 10).is_err());
    assert_eq!(iso9660::read(&file, 0).unwrap(), None);
    let many: Vec<String> = (0..100).map(|n| format!("file-{n}")).collect();
    assert!(iso9660::make(&many.iter().map(|name| (name.as_str(), &b"x"[..])).collect()).is_err());
}
