//! (r) A root that is not what was built, and one that is not there: nothing of it runs, the machine says why, and tries again.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::lines::Lines;
use crate::qemu::Special;
use crate::suite::Suite;
use crate::tools::Tools;
use crate::world::Seat;

const CORRUPT: Seat = Seat(1);
const ROOTLESS: Seat = Seat(2);
/// From power on, or a restart, until the initrd has found out; minutes on a busy host without acceleration.
const FOUND_OUT: Duration = Duration::from_secs(600);
/// GPT's types of the two partitions.
const ROOT: &str = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709";
const HASHES: &str = "2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5";
/// No partition has this root's hash; the wait for it is shortened; `/dev/console` is the screen, and not what is read here.
const WRONG_HASH: &str = "roothash=5bd3ab1a5f1f4f0ea7a6b8d2c37c0d195bd3ab1a5f1f4f0ea7a6b8d2c37c0d19 \
    systemd.default_device_timeout_sec=10 console=tty0";
const SECTOR: u64 = 512;
const BLOCK: u64 = 4096;

pub fn run(suite: &mut Suite) -> Result<()> {
    suite.stop();
    let place = suite.yard.directory(ROOTLESS)?;
    let disks = suite.yard.blank(&place)?;
    let special = Special { command_line: Some(WRONG_HASH), ..Special::default() };
    let rootless = suite.yard.boot_special(special, ROOTLESS, place, disks, None)?;

    let place = suite.yard.directory(CORRUPT)?;
    let disks = suite.yard.blank_raw(&place)?;
    let disk = disks.system.file.clone();
    // The first kilobyte of an erofs is nobody's: nothing but verity can know of a change. The second block of the hashes
    // is their top.
    let root = partition(&suite.yard.tools, &disk, ROOT)?;
    let top = partition(&suite.yard.tools, &disk, HASHES)? + BLOCK;
    flip(&disk, root)?;
    let mut corrupt = suite.yard.boot(CORRUPT, place, disks, None)?;
    let console = corrupt.console.clone();
    let panics = |from: usize, what: &str| {
        let said =
            wait(&console, from, what).and_then(|at| wait(&console, at, "Kernel panic - not syncing: dm-verity"));
        corrupt.explain(said)
    };
    // It restarts by itself between these.
    let first = panics(0, "data block 0 is corrupted")?;
    flip(&disk, root)?;
    flip(&disk, top)?;
    panics(first, "metadata block 1 is corrupted")?;
    flip(&disk, top)?;
    corrupt.kernel(FOUND_OUT)?;
    println!("        booted {:.1} s after power on, at the third try", corrupt.power_on.elapsed().as_secs_f32());
    drop(corrupt);

    let console = rootless.console.clone();
    let said = wait(&console, 0, "This machine cannot go on booting. What failed:")
        .and_then(|at| wait(&console, at, "It reboots in 30 seconds."))
        .and_then(|at| wait(&console, at, "EFI stub: Loaded initrd"));
    rootless.explain(said)?;
    Ok(())
}

/// The number of the first line from this one on with these words.
fn wait(console: &Lines, from: usize, words: &str) -> Result<usize> {
    let deadline = Instant::now() + FOUND_OUT;
    let what = format!("{words:?} on the console");
    Ok(console.wait(from, deadline, &what, |line| line.text.contains(words).then_some(()))?.0 + 1)
}

/// Changes a byte, or changes it back; a machine that runs sees it where it has not read that block before.
fn flip(disk: &Path, at: u64) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(disk)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[!byte[0]], at)?;
    Ok(())
}

#[derive(Deserialize)]
struct Dump {
    partitiontable: Table,
}

#[derive(Deserialize)]
struct Table {
    partitions: Vec<Partition>,
}

#[derive(Deserialize)]
struct Partition {
    start: u64,
    #[serde(rename = "type")]
    kind: String,
}

/// Where on a raw disk the partition of this type begins.
fn partition(tools: &Tools, disk: &Path, kind: &str) -> Result<u64> {
    let disk = disk.to_string_lossy();
    let dump = tools.run("sfdisk", ["--json", &*disk])?;
    let Dump { partitiontable } =
        serde_json::from_str(&dump).with_context(|| format!("not a dump of sfdisk: {dump}"))?;
    let found = partitiontable.partitions.into_iter().find(|partition| partition.kind == kind);
    Ok(found.with_context(|| format!("{disk} has no partition of the type {kind}"))?.start * SECTOR)
}
