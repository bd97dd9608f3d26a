//! A format, and power cuts during it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bootstrapper::sys::format::{Programs, format_xfs};
use bootstrapper::sys::probe::{Kind, OURS, probe};

use super::{MIB, image, programs, tool};
use crate::support::scratch::Scratch;

/// What a power cut leaves is what was durable before plus any part of what was written since the last sync.
#[tokio::test]
async fn a_power_cut_at_any_instant_of_a_format_leaves_blank_unfinished_or_ours() {
    let scratch = Scratch::new();
    let programs = programs(&scratch);
    let fails = || "/bin/false".to_owned();
    let disk = |name| image(&scratch, name, 320 * MIB);

    let (marked, made, done) = (disk("marked"), disk("made"), disk("done"));
    let no_mkfs = Programs { mkfs_xfs: fails(), ..programs.clone() };
    assert!(format_xfs(&marked, OURS, &no_mkfs).await.is_err());
    assert_eq!(probe(&marked).kind, Kind::Unfinished, "before mkfs");
    let no_label = Programs { xfs_db: fails(), ..programs.clone() };
    assert!(format_xfs(&made, OURS, &no_label).await.is_err());
    assert_eq!(probe(&made).kind, Kind::Unfinished, "after mkfs, before the label");
    let finished = format_xfs(&done, OURS, &programs).await.unwrap();
    assert!(finished.is_ours(OURS) && finished.uuid.is_some(), "{finished:?}");
    assert_eq!(probe(&done), finished);
    assert!(format_xfs(&done, OURS, &programs).await.is_err(), "a volume of ours is never formatted");

    let (written, marker) = (sectors(&made), sectors(&marked));
    assert!(written.len() > 20, "mkfs wrote {} sectors", written.len());
    let mut random = 1u64;
    for round in 0..200 {
        let torn = disk("torn");
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
            assert!(format_xfs(&torn, OURS, &programs).await.unwrap().is_ours(OURS), "round {round}");
        }
    }

    // The label alone: one superblock in each allocation group, of which the first decides.
    let labelled = disk("labelled");
    copy(&made, &labelled, &written);
    tool(&format!("xfs_db -x -p xfs_admin -c 'label etcd-data' {}", labelled.display()));
    let superblocks: Vec<u64> = (0..4).map(|group| group * 80 * MIB).collect();
    for subset in 0..16u32 {
        let torn = disk("torn");
        copy(&made, &torn, &written);
        let renamed = superblocks.iter().enumerate().filter(|(i, _)| subset >> i & 1 == 1);
        copy(&labelled, &torn, &renamed.map(|(_, at)| *at).collect::<Vec<_>>());
        let found = probe(&torn);
        let whole = if subset & 1 == 1 { found.is_ours(OURS) } else { found.kind == Kind::Unfinished };
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
    let scratch = Scratch::new();
    let programs = programs(&scratch);
    let with = |name, bytes, at, byte: &[u8]| {
        let disk = image(&scratch, name, bytes);
        File::options().write(true).open(&disk).unwrap().write_all_at(byte, at).unwrap();
        disk
    };
    for (disk, expected) in [
        (with("ext", 320 * MIB, 1080, b"\x53\xef"), "found an ext2/3/4 file system, expected a blank disk"),
        (with("some", 320 * MIB, 5000, b"x"), "found data that no signature names, expected a blank disk"),
        (image(&scratch, "small", 299 * MIB), "XFS needs at least 314572800"),
    ] {
        let before = sectors(&disk);
        let error = format!("{:#}", format_xfs(&disk, OURS, &programs).await.unwrap_err());
        assert!(error.contains(expected), "{error}");
        assert_eq!(sectors(&disk), before, "{error}, and something was written");
    }
}
