//! What is on a disk, by reading it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use bootstrapper::sys::probe::{Kind, OURS, Probe, probe};

use super::{MIB, image, tool};
use crate::support::scratch::Scratch;

fn probed(kind: Kind, label: Option<&str>) -> (Kind, Option<String>) {
    (kind, label.map(str::to_owned))
}

#[test]
fn what_the_mkfs_programs_make_is_told_apart_with_its_label_and_uuid() {
    let scratch = Scratch::new();
    let seed = scratch.join("seed");
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
        let disk = image(&scratch, name, mib * MIB);
        tool(&format!(
            "I={} D={}; {{ {command}; }} >&2; blkid -p -o value -s UUID $I || true",
            disk.display(),
            scratch.path().display()
        ));
        let found = probe(&disk);
        assert_eq!((found.kind, found.label), expected, "{name}");
        if matches!(name, "xfs" | "ext4" | "swap" | "btrfs" | "erofs") {
            let uuid = tool(&format!("blkid -p -o value -s UUID {}", disk.display()));
            assert_eq!(found.uuid.as_deref(), Some(uuid.trim()), "{name}");
        }
    }
}

#[test]
fn a_disk_is_blank_only_when_both_ends_are_zero_and_can_be_read() {
    let scratch = Scratch::new();
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
        let disk = image(&scratch, "disk", 8 * MIB);
        File::options().write(true).open(&disk).unwrap().write_all_at(bytes, at).unwrap();
        assert_eq!(probe(&disk), Probe::of(expected), "{name}");
    }
    assert!(matches!(probe(scratch.path()).kind, Kind::Unreadable(_)), "a directory");
    assert!(matches!(probe(&scratch.join("absent")).kind, Kind::Unreadable(_)));
    assert_eq!(probe(&image(&scratch, "empty", 0)).kind, Kind::Unrecognised);
}

/// Whoever writes to etcd chooses bytes on the disk, and must not be able to choose what the disk is taken for.
#[test]
fn bytes_inside_of_our_file_system_are_no_signature_and_behind_it_they_are() {
    let scratch = Scratch::new();
    let md = 0xa92b_4efc_u32.to_le_bytes();
    let at_end = |bytes: u64| (bytes / 512 - 16) / 8 * 8 * 512;
    for (mib, expected) in
        [(320, "an XFS file system labelled `etcd-data`"), (400, "a member of a Linux software RAID")]
    {
        let disk = image(&scratch, "disk", 320 * MIB);
        tool(&format!("mkfs.xfs -q -L etcd-data {}", disk.display()));
        let file = File::options().write(true).open(&disk).unwrap();
        file.set_len(mib * MIB).unwrap();
        file.write_all_at(&md, at_end(mib * MIB)).unwrap();
        file.write_all_at(&0x00ba_b10c_u64.to_le_bytes(), 200 << 10).unwrap();
        let found = probe(&disk);
        assert!(found.to_string().starts_with(expected), "{found}");
        assert_eq!(found.is_ours(OURS), mib == 320);
        fs::remove_file(&disk).unwrap();
    }
}
