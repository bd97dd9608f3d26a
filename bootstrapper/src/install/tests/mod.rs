//! Installations from a medium onto files that stand for disks.

mod cuts;
mod over;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::gpt::{SECTOR, Table};
use super::*;
use crate::sys::imaging::{self, TOLD, Told};

const GOOD: &str = include_str!("../../../../tests/fixtures/spec/good/three.yaml");
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
