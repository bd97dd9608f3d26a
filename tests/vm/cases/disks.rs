//! (v) Wrong disks: of each nothing is written to and no etcd starts beside it, and the console says what it is; the right one
//! is taken when it comes, and is as it was when it comes back.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::cluster::Cluster;
use crate::disk::{self, Disk};
use crate::machine::Machine;
use crate::process::{self, until};
use crate::qemu::{Parts, Special};
use crate::set::SETTLE;
use crate::suite::{AGREE, Suite};
use crate::tools::Tools;
use crate::world::Seat;

/// Its disk is named by its serial.
const NAMED: Seat = Seat(1);
/// By its label.
const LABELLED: Seat = Seat(2);
/// A copy of its system disk is attached.
const COPIED: Seat = Seat(3);
/// For a word on the console: a boot, beside two others.
const SAYS: Duration = Duration::from_secs(600);
const QUICK: Duration = Duration::from_secs(180);
const MIB: u64 = 1 << 20;

/// What is on disks that are not this machine's: how it gets there, and what it is called. What needs a tool that nobody here
/// has is what libblkid goes by.
const WRONG: [(&str, &str, &str); 9] = [
    ("ext4", "mkfs.ext4 -q -L backup \"$1\"", "an ext2/3/4 file system labelled `backup`"),
    ("ntfs", "printf 'NTFS    ' | dd of=\"$1\" bs=1 seek=3 conv=notrunc", "an NTFS file system"),
    ("lvm", "printf 'LVM2 001' | dd of=\"$1\" bs=1 seek=536 conv=notrunc", "an LVM2 physical volume"),
    (
        "luks",
        "echo key | cryptsetup -q luksFormat --pbkdf-force-iterations 4 --pbkdf-memory 32 \"$1\" -",
        "a LUKS volume",
    ),
    (
        "raid",
        "printf '\\374\\116\\053\\251' | dd of=\"$1\" bs=1 seek=4096 conv=notrunc",
        "a member of a Linux software RAID",
    ),
    ("swap", "mkswap -q \"$1\"", "a swap area"),
    (
        "zfs",
        "printf '\\014\\261\\272\\0\\0\\0\\0\\0' | dd of=\"$1\" bs=1 seek=131072 conv=notrunc",
        "a member of a ZFS pool",
    ),
    ("partitions", "printf 'label: gpt\\n,8M,S\\n,,L\\n' | sfdisk -q \"$1\"", "a GPT partition table"),
    ("small", "true", "blank, expected at least 300 MiB"),
];

pub fn run(suite: &mut Suite) -> Result<()> {
    suite.stop();
    let (mut by_serial, first) = boot(suite, NAMED, "{serial: data}")?;
    let (mut by_label, theirs) = boot(suite, LABELLED, "{label: etcd-data}")?;
    let (mut doubled, own) = boot(suite, COPIED, "{name: data}")?;
    let place = suite.yard.directory(COPIED)?;
    let copy = suite.yard.system(&place)?;
    let tools = &suite.yard.tools;
    let left = thread::scope(|scope| {
        let named = scope.spawn(|| named(tools, &mut by_serial, &first));
        let copied = scope.spawn(|| copied(&mut doubled, &copy));
        let left = labelled(tools, &mut by_label, &theirs);
        for end in [named.join(), copied.join()] {
            end.map_err(|_| anyhow::anyhow!("a thread has panicked"))??;
        }
        left
    })?;

    let from = doubled.console.count();
    // As Compute Engine's SCSI disks say their device name.
    doubled.plug("other", &left, &json!({"vendor": "Google", "product": "PersistentDisk", "serial": "data"}))?;
    let (theirs, own) = (format!("of cluster {},", theirs.name), format!("to be of cluster {}", own.name));
    says(&doubled, from, &["the data disk is that of ", &theirs, &own])?;
    no_etcd(&mut doubled)
}

/// A machine without a data disk, and the cluster that it is to be.
fn boot(suite: &mut Suite, seat: Seat, device: &str) -> Result<(Machine, Cluster)> {
    let name = suite.name("disks");
    let cluster = Cluster::of(&suite.yard.tools, &name, &[seat], &[])?;
    // Only where that is looked at: each new wait costs a start of the program.
    let wait = if seat == NAMED { "3s" } else { "10m" };
    let lines = [format!("data: {{device: {device}}}"), format!("timeouts: {{data_device: {wait}}}")];
    let seed = Some(cluster.seed_with(&suite.yard.tools, seat, &lines)?);
    let directory = suite.yard.directory(seat)?;
    let (system, special) = (suite.yard.system(&directory)?, Special { slots: true, ..Special::default() });
    let (memory, processors) = (suite.yard.memory, suite.yard.processors);
    let parts = Parts { seat, directory, system, data: None, seed, memory, processors, special };
    Ok((Machine::boot(&suite.yard.tools, parts)?, cluster))
}

/// Nothing, everything wrong, and at last a blank disk with sectors of 4096 bytes; then its data belongs to another user.
fn named(tools: &Tools, machine: &mut Machine, cluster: &Cluster) -> Result<()> {
    let missing = "the disk with serial data; there is ";
    says(machine, 0, &["waiting for the data disk: ", missing])?;
    says(machine, 0, &["the data disk is not there after 3 s: ", missing])?;
    for (kind, make, words) in WRONG {
        let wrong = disk::blank(machine.parts.file(&format!("{kind}.raw")), 64 * MIB)?;
        tools.run("sh", ["-ec", &format!("exec >/dev/null 2>&1; {make}"), "sh", &path(&wrong.file)])?;
        let (before, from) = (sum(&wrong.file)?, machine.console.count());
        machine.plug(kind, &wrong, &json!({"serial": "data"}))?;
        says(machine, from, &["the data disk is not used: found sd", "(64 MiB, serial data): ", words])?;
        machine.unplug(kind)?;
        ensure!(sum(&wrong.file)? == before, "the disk with {words} was written to");
        machine.ask("systemctl start --no-block etcd-bootstrapper")?;
    }
    unused(machine)?;
    let blank = disk::blank(machine.parts.file("blank.raw"), 1200 * MIB)?;
    let sectors = json!({"serial": "data", "logical_block_size": 4096, "physical_block_size": 4096});
    machine.plug("blank", &blank, &sectors)?;
    machine.wait_settled(Instant::now() + SETTLE)?;
    let made = machine.ask("xfs_info /var/lib/etcd")?;
    ensure!(made.contains("sectsz=4096"), "on sectors of 4096 bytes there is {made}");

    stop(machine, "chown -R 123:123 /var/lib/etcd/data")?;
    machine.unplug("blank")?;
    machine.plug("blank", &blank, &sectors)?;
    let from = machine.console.count();
    machine.ask("systemctl start --no-block etcd-bootstrapper")?;
    says(machine, from, &["/var/lib/etcd/data belongs to user 123 and is this member's", "to etcd, user 870"])?;
    until("member that serves", AGREE, || cluster.etcdctl.members(NAMED)?.expect_voters(&[NAMED]))?;
    let formats = machine.console.all().iter().filter(|line| line.text.contains("data disk: format ")).count();
    ensure!(formats == 1, "the blank disk was formatted {formats} times");
    Ok(())
}

/// Two disks of one label; then one of them, with little room; then with data of an etcd that is yet to come. What is left is
/// a member's disk as it was.
fn labelled(tools: &Tools, machine: &mut Machine, cluster: &Cluster) -> Result<Disk> {
    let ours = |name: &str| -> Result<Disk> {
        let disk = disk::blank(machine.parts.file(&format!("{name}.raw")), 1024 * MIB)?;
        tools.run("mkfs.xfs", ["-q", "-L", "etcd-data", &path(&disk.file)])?;
        Ok(disk)
    };
    let (one, two) = (ours("one")?, ours("two")?);
    says(machine, 0, &["waiting for the data disk: the XFS file system labelled `etcd-data`"])?;
    // Both at once: the first alone would be the one.
    machine.ask("systemctl stop etcd-bootstrapper")?;
    let (before, from) = ([sum(&one.file)?, sum(&two.file)?], machine.console.count());
    machine.plug("one", &one, &json!({"serial": "data"}))?;
    machine.plug("two", &two, &json!({"serial": "second"}))?;
    machine.ask("udevadm settle; systemctl start --no-block etcd-bootstrapper")?;
    says(machine, from, &["found 2 of the XFS file system labelled `etcd-data`", "serial data", "serial second"])?;
    machine.unplug("two")?;
    unused(machine)?;
    ensure!([sum(&one.file)?, sum(&two.file)?] == before, "one of two disks with the same label was written to");

    let from = machine.console.count();
    machine.ask("systemctl start --no-block etcd-bootstrapper")?;
    says(machine, from, &["etcd's quota is 448 MiB in the place of 8192 MiB: its disk has 960 MiB"])?;
    machine.wait_settled(Instant::now() + SETTLE)?;
    let environment = machine.ask("grep QUOTA /run/etcd-bootstrapper/etcd.env")?;
    ensure!(environment == format!("ETCD_QUOTA_BACKEND_BYTES=\"{}\"", 448 * MIB), "etcd is told {environment}");
    let etcd = machine.ask("etcd --version")?;
    let minor = etcd.split('.').nth(1).with_context(|| format!("etcd says {etcd}"))?.to_owned();
    ensure!(cluster.etcdctl.members(LABELLED).is_ok(), "a settled member does not answer");

    stop(machine, "true")?;
    machine.unplug("one")?;
    let (of_today, to_come) = (format!("ersion3.{minor}.0"), format!("ersion3.{}.0", "9".repeat(minor.len())));
    let changed = replace(&one.file, &of_today, &to_come)?;
    ensure!(changed > 0, "the database says nowhere that it is of etcd 3.{minor}");
    machine.plug("one", &one, &json!({"serial": "data"}))?;
    let from = machine.console.count();
    machine.ask("systemctl start --no-block etcd-bootstrapper")?;
    says(machine, from, &["the data dir was written by etcd 3.9", &format!("this image has etcd 3.{minor}.")])?;
    no_etcd(machine)?;
    stop(machine, "true")?;
    machine.unplug("one")?;
    replace(&one.file, &to_come, &of_today)?;
    Ok(one)
}

/// Nobody can tell the disk that was started from its copy, and `/var` of neither is used until the copy is gone.
fn copied(machine: &mut Machine, copy: &Disk) -> Result<()> {
    let system = machine.parts.system.file.clone();
    let before = [sum(&system)?, sum(&copy.file)?];
    // The firmware does not start it, and has not come to the kernel yet.
    machine.plug("copy", copy, &json!({"serial": "copy"}))?;
    let words = ["this system on 2 disks: ", "serial system", "serial copy", "detach the copy"];
    says(machine, 0, &["This machine cannot go on booting. What failed:"])?;
    says(machine, 0, &words)?;
    says(machine, 0, &["It reboots in 30 seconds."])?;
    ensure!([sum(&system)?, sum(&copy.file)?] == before, "a system disk was written to beside its copy");
    machine.unplug("copy")?;
    let from = machine.console.count();
    machine.reset()?;
    says(machine, from, &["waiting for the data disk: "])
}

/// Waits for a line with all of these.
fn says(machine: &Machine, from: usize, words: &[&str]) -> Result<()> {
    let what = format!("line with {words:?} on the console");
    let all = |line: &crate::lines::Line| words.iter().all(|word| line.text.contains(word)).then_some(());
    machine.explain(machine.console.wait(from, Instant::now() + SAYS, &what, all)).map(drop)
}

/// No etcd has run in this boot, and there is nothing where its data would be.
fn unused(machine: &mut Machine) -> Result<()> {
    let found = machine.ask(
        "systemctl show etcd -P ExecMainPID; ls -d /run/etcd-bootstrapper/ready /var/lib/etcd/* \
         /var/lib/etcd-bootstrapper/volume.json 2>/dev/null || true",
    )?;
    ensure!(found == "0", "beside wrong disks alone there are etcd's process and these: {found}");
    Ok(())
}

/// No etcd runs.
fn no_etcd(machine: &mut Machine) -> Result<()> {
    let found = machine.ask("systemctl is-active etcd || true")?;
    ensure!(found == "inactive" || found == "failed", "beside a wrong disk etcd is {found}");
    Ok(())
}

/// Stops etcd and what decides about it, does this, and lets go of the data disk.
fn stop(machine: &mut Machine, then: &str) -> Result<()> {
    let stop = "systemctl stop etcd-bootstrapper-finish etcd etcd-bootstrapper";
    machine.ask(&format!("{stop} && {then} && systemctl stop var-lib-etcd.mount")).map(drop)
}

fn path(file: &Path) -> String {
    PathBuf::from(file).to_string_lossy().into_owned()
}

fn sum(file: &Path) -> Result<String> {
    process::output(Command::new("sha256sum").arg(file), QUICK)
}

/// Writes other words of the same length over all of these in a file; how many there were.
fn replace(file: &Path, from: &str, to: &str) -> Result<usize> {
    let found = process::output(Command::new("grep").args(["-aboF", from]).arg(file), QUICK)?;
    let open = File::options().write(true).open(file)?;
    for line in found.lines() {
        let (at, _) = line.split_once(':').context("grep says where")?;
        open.write_all_at(to.as_bytes(), at.parse()?)?;
    }
    open.sync_all()?;
    Ok(found.lines().count())
}
