//! Disks: what is on them, which one is the data volume, and what a power cut during a format leaves. The images are made
//! by the mkfs programs of the tool root; the loop devices need root.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use bootstrapper::sys::format::{Programs, format_xfs};
use bootstrapper::sys::probe::{Kind, Probe, probe};

const MIB: u64 = 1 << 20;

/// A directory that the tool root sees too, and that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("volume-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Scratch(dir)
    }

    fn image(&self, name: &str, bytes: u64) -> PathBuf {
        let path = self.0.join(name);
        File::create(&path).unwrap().set_len(bytes).unwrap();
        path
    }

    /// xfsprogs of the tool root.
    fn programs(&self) -> Programs {
        let shim = |name: &str| {
            let path = self.0.join(name);
            fs::write(&path, format!("#!/bin/sh\nexec {} {name} \"$@\"\n", enter())).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path.to_str().unwrap().to_owned()
        };
        Programs { mkfs_xfs: shim("mkfs.xfs"), xfs_db: shim("xfs_db"), xfs_growfs: shim("xfs_growfs") }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn enter() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/enter.sh")
}

/// Runs a shell command in the tool root.
fn tool(command: &str) -> String {
    let output = Command::new(enter()).args(["sh", "-ec", command]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn probed(kind: Kind, label: Option<&str>) -> (Kind, Option<String>) {
    (kind, label.map(str::to_owned))
}

#[test]
fn what_the_mkfs_programs_make_is_told_apart_with_its_label_and_uuid() {
    let scratch = Scratch::new("mkfs");
    let seed = scratch.0.join("seed");
    fs::create_dir(&seed).unwrap();
    fs::write(seed.join("user-data"), "#cloud-config\n").unwrap();
    let other = Kind::Other;
    for (name, mib, command, expected) in [
        ("xfs", 320, "mkfs.xfs -q -L etcd-data $I", probed(Kind::Xfs, Some("etcd-data"))),
        ("ext2", 8, "mkfs.ext2 -q -L small $I", probed(Kind::Ext, Some("small"))),
        ("ext4", 32, "mkfs.ext4 -q -L sixteen-letters- $I", probed(Kind::Ext, Some("sixteen-letters-"))),
        ("fat12", 2, "mkfs.vfat -n CIDATA $I", probed(Kind::Vfat, Some("CIDATA"))),
        ("fat16", 32, "mkfs.vfat -F 16 -n cidata $I", probed(Kind::Vfat, Some("cidata"))),
        ("fat32", 300, "mkfs.vfat -F 32 -n CIDATA $I", probed(Kind::Vfat, Some("CIDATA"))),
        ("bare-fat", 2, "mkfs.vfat $I", probed(Kind::Vfat, None)),
        ("relabelled", 2, "mkfs.vfat -n OLD $I && mlabel -i $I ::NEW", probed(Kind::Vfat, Some("NEW"))),
        ("iso", 2, "xorriso -as mkisofs -quiet -V cidata -J -R -o $I $D/seed", probed(Kind::Iso9660, Some("cidata"))),
        ("gpt", 8, "sgdisk -n 1:0:0 $I", probed(other("a GPT partition table"), None)),
        ("mbr", 8, "echo ',,L' | sfdisk -q $I", probed(other("an MBR partition table"), None)),
        (
            "luks",
            32,
            "echo x | cryptsetup -q luksFormat --pbkdf-force-iterations 4 --pbkdf-memory 32 $I -",
            probed(other("a LUKS volume"), None),
        ),
        ("swap", 8, "mkswap -q -L pages $I", probed(other("a swap area"), Some("pages"))),
        ("btrfs", 128, "mkfs.btrfs -q -L butter $I", probed(other("a btrfs file system"), Some("butter"))),
        ("erofs", 2, "mkfs.erofs -L img $I $D/seed", probed(other("an erofs file system"), Some("img"))),
        ("squashfs", 2, "mksquashfs $D/seed $I -noappend -quiet", probed(other("a squashfs file system"), None)),
    ] {
        let image = scratch.image(name, mib * MIB);
        tool(&format!(
            "I={} D={}; {{ {command}; }} >&2; blkid -p -o value -s UUID $I || true",
            image.display(),
            scratch.0.display()
        ));
        let found = probe(&image);
        assert_eq!((found.kind, found.label), expected, "{name}");
        if matches!(name, "xfs" | "ext4" | "swap" | "btrfs" | "erofs") {
            let uuid = tool(&format!("blkid -p -o value -s UUID {}", image.display()));
            assert_eq!(found.uuid.as_deref(), Some(uuid.trim()), "{name}");
        }
    }
}

#[test]
fn a_disk_is_blank_only_when_both_ends_are_zero_and_can_be_read() {
    let scratch = Scratch::new("blank");
    let v1_at_end = (8 * MIB / 512 - 16) / 8 * 8 * 512;
    let md = 0xa92b_4efc_u32.to_le_bytes();
    let uberblock = 0x00ba_b10c_u64.to_le_bytes();
    let raid = Kind::Other("a member of a Linux software RAID");
    let pool = Kind::Other("a member of a ZFS pool");
    for (name, at, bytes, expected) in [
        ("nothing", 0, &b""[..], Kind::Blank),
        ("a byte in the middle", 4 * MIB, b"x", Kind::Blank),
        ("the first byte", 0, b"x", Kind::Unrecognised),
        ("the end of the first MiB", MIB - 1, b"x", Kind::Unrecognised),
        ("the start of the last MiB", 7 * MIB, b"x", Kind::Unrecognised),
        ("the last byte", 8 * MIB - 1, b"x", Kind::Unrecognised),
        ("a RAID of version 1.2", 4096, &md, raid.clone()),
        ("a RAID of version 1.0", v1_at_end, &md, raid.clone()),
        ("a RAID of version 0.90", 8 * MIB - 65536, &md, raid),
        ("a pool by its first label", 128 << 10, &uberblock, pool.clone()),
        ("a pool by its last label", 8 * MIB - (128 << 10), &uberblock, pool),
        ("a physical volume", 512 + 24, b"LVM2 001", Kind::Other("an LVM2 physical volume")),
        ("Windows", 3, b"NTFS    ", Kind::Other("an NTFS file system")),
    ] {
        let image = scratch.image("disk", 8 * MIB);
        File::options().write(true).open(&image).unwrap().write_all_at(bytes, at).unwrap();
        assert_eq!(probe(&image), Probe::of(expected), "{name}");
    }
    assert!(matches!(probe(&scratch.0).kind, Kind::Unreadable(_)), "a directory");
    assert!(matches!(probe(&scratch.0.join("absent")).kind, Kind::Unreadable(_)));
    assert_eq!(probe(&scratch.image("empty", 0)).kind, Kind::Unrecognised);
}

/// What a power cut leaves is what was durable before plus any part of what was written since the last sync.
#[tokio::test]
async fn a_power_cut_at_any_instant_of_a_format_leaves_blank_unfinished_or_ours() {
    let scratch = Scratch::new("power");
    let programs = scratch.programs();
    let fails = || "/bin/false".to_owned();
    let image = |name| scratch.image(name, 320 * MIB);

    let (marked, made, done) = (image("marked"), image("made"), image("done"));
    let no_mkfs = Programs { mkfs_xfs: fails(), ..programs.clone() };
    assert!(format_xfs(&marked, &no_mkfs).await.is_err());
    assert_eq!(probe(&marked).kind, Kind::Unfinished, "before mkfs");
    let no_label = Programs { xfs_db: fails(), ..programs.clone() };
    assert!(format_xfs(&made, &no_label).await.is_err());
    assert_eq!(probe(&made).kind, Kind::Unfinished, "after mkfs, before the label");
    let finished = format_xfs(&done, &programs).await.unwrap();
    assert!(finished.is_ours() && finished.uuid.is_some(), "{finished:?}");
    assert_eq!(probe(&done), finished);
    assert!(format_xfs(&done, &programs).await.is_err(), "a volume of ours is never formatted");

    let (written, marker) = (sectors(&made), sectors(&marked));
    assert!(written.len() > 20, "mkfs wrote {} sectors", written.len());
    let mut random = 1u64;
    for round in 0..200 {
        let torn = image("torn");
        copy(&marked, &torn, &marker);
        // Without the superblock every second time: then only the marker tells whose this is.
        let kept: Vec<u64> = written
            .iter()
            .copied()
            .filter(|at| {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (round % 2 == 0 || *at != 0) && (random >> 33) % 4 <= round % 5
            })
            .collect();
        copy(&made, &torn, &kept);
        assert_eq!(probe(&torn).kind, Kind::Unfinished, "round {round}");
        if round < 3 {
            assert!(format_xfs(&torn, &programs).await.unwrap().is_ours(), "round {round}");
        }
    }

    // The label alone: one superblock in each allocation group, of which the first decides.
    let labelled = image("labelled");
    copy(&made, &labelled, &written);
    tool(&format!("xfs_db -x -p xfs_admin -c 'label etcd-data' {}", labelled.display()));
    let superblocks: Vec<u64> = (0..4).map(|group| group * 80 * MIB).collect();
    for subset in 0..16u32 {
        let torn = image("torn");
        copy(&made, &torn, &written);
        let renamed = superblocks.iter().enumerate().filter(|(i, _)| subset >> i & 1 == 1);
        copy(&labelled, &torn, &renamed.map(|(_, at)| *at).collect::<Vec<_>>());
        let found = probe(&torn);
        let whole = if subset & 1 == 1 { found.is_ours() } else { found.kind == Kind::Unfinished };
        assert!(whole, "superblocks {subset:04b}: {found}");
    }
}

const SECTOR: usize = 512;

/// Where a file has sectors that are not zero.
fn sectors(path: &Path) -> Vec<u64> {
    let file = File::open(path).unwrap();
    let (mut found, mut chunk) = (Vec::new(), vec![0; MIB as usize]);
    let zero = chunk.clone();
    for start in (0..file.metadata().unwrap().len()).step_by(MIB as usize) {
        file.read_exact_at(&mut chunk, start).unwrap();
        if chunk != zero {
            let set = chunk.chunks(SECTOR).enumerate().filter(|(_, sector)| *sector != &zero[..SECTOR]);
            found.extend(set.map(|(i, _)| start + (i * SECTOR) as u64));
        }
    }
    found
}

fn copy(from: &Path, to: &Path, sectors: &[u64]) {
    let (from, to) = (File::open(from).unwrap(), File::options().write(true).open(to).unwrap());
    let mut sector = [0; SECTOR];
    for at in sectors {
        from.read_exact_at(&mut sector, *at).unwrap();
        to.write_all_at(&sector, *at).unwrap();
    }
}

#[tokio::test]
async fn nothing_but_a_blank_disk_is_formatted() {
    let scratch = Scratch::new("refuse");
    let programs = scratch.programs();
    let with = |name, bytes, at, byte: &[u8]| {
        let image = scratch.image(name, bytes);
        File::options().write(true).open(&image).unwrap().write_all_at(byte, at).unwrap();
        image
    };
    for (image, expected) in [
        (with("ext", 320 * MIB, 1080, b"\x53\xef"), "found an ext2/3/4 file system, expected a blank disk"),
        (with("some", 320 * MIB, 5000, b"x"), "found data that no signature names, expected a blank disk"),
        (scratch.image("small", 299 * MIB), "XFS needs at least 314572800"),
    ] {
        let before = sectors(&image);
        let error = format!("{:#}", format_xfs(&image, &programs).await.unwrap_err());
        assert!(error.contains(expected), "{error}");
        assert_eq!(sectors(&image), before, "{error}, and something was written");
    }
}
