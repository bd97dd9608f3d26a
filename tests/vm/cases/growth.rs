//! (u) Disks that were made larger: what is on them grows at the next boot, and a power cut meanwhile takes no person.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::cluster::Cluster;
use crate::disk::Disk;
use crate::machine::Machine;
use crate::process::until;
use crate::record::{Cut, Loss, Record};
use crate::set::{Disks, SETTLE, SETTLED, SHUT_DOWN};
use crate::suite::Suite;
use crate::world::Seat;

const ALONE: Seat = Seat(1);
/// Bytes by which each disk grows.
const MORE: u64 = 1 << 30;
/// About as many as both disks are told by the boot that grows them.
const REQUESTS: u64 = 250;
const KEY: &str = "/vm/growth";

pub fn run(suite: &mut Suite) -> Result<()> {
    suite.stop();
    let name = suite.name("growth");
    let cluster = Cluster::of(&suite.yard.tools, &name, &[ALONE], &[])?;
    let place = suite.yard.directory(ALONE)?;
    let left = suite.yard.blank_raw(&place)?;
    let mut machine = boot(suite, &cluster, &left)?;
    machine.wait_settled(Instant::now() + SETTLE)?;
    cluster.etcdctl.put(ALONE, KEY, &name)?;
    let before = sizes(&mut machine)?;
    machine.power_off(SHUT_DOWN)?;

    grow(&left.system)?;
    grow(&left.data)?;
    let mut records = cut(suite, &cluster, &left)?;
    let mut random = suite.random.branch();
    for (record, disk) in records.iter_mut().zip([&left.system, &left.data]) {
        println!("        {}", record.replay(&disk.file, Cut::now(Loss::Some(&mut random)))?);
    }

    let mut machine = boot(suite, &cluster, &left)?;
    machine.wait_settled(Instant::now() + SETTLE)?;
    machine.expect_only("start")?;
    let value = cluster.etcdctl.get(ALONE, KEY)?;
    ensure!(value == name, "what was written before reads {value:?}");
    let after = sizes(&mut machine)?;
    for (place, before, after) in [("/var", before[0], after[0]), ("/var/lib/etcd", before[1], after[1])] {
        ensure!(
            after >= before + MORE / 10 * 9,
            "{place} had {before} bytes, and has {after} after its disk has grown"
        );
    }
    machine.check()
}

fn boot(suite: &mut Suite, cluster: &Cluster, disks: &Disks) -> Result<Machine> {
    let place = suite.yard.directory(ALONE)?;
    let seed = cluster.seed(&suite.yard.tools, ALONE)?;
    suite.yard.boot(ALONE, place, disks.clone(), Some(seed))
}

/// Boots, and cuts the power at a random request of both disks together; at the latest when the member has settled.
fn cut(suite: &mut Suite, cluster: &Cluster, left: &Disks) -> Result<Vec<Record>> {
    let place = suite.yard.directory(ALONE)?;
    let disks = suite.yard.overlay(left, &place)?.recorded(&place);
    let mut machine = boot(suite, cluster, &disks)?;
    let of = |disk: &Disk| Record::open(disk.record.as_ref().context("the disk is recorded")?);
    let mut told = [of(&disks.system)?, of(&disks.data)?];
    let request = 1 + suite.random.below(REQUESTS);
    let begun = Instant::now();
    until("moment of the power cut", SETTLE, || {
        let seen: usize = told.iter_mut().map(|record| Ok(record.entries()?.len())).sum::<Result<usize>>()?;
        let settled = machine.console.all().iter().any(|line| line.text.contains(SETTLED));
        machine.alive()?;
        ensure!(settled || seen as u64 >= request, "{seen} of {request} requests");
        Ok(())
    })?;
    println!("        cut at request {request}, {:.1} s after power on", begun.elapsed().as_secs_f32());
    println!("        the last words were: {}", machine.last_words());
    machine.cut()
}

fn grow(disk: &Disk) -> Result<()> {
    let file = fs::File::options().write(true).open(&disk.file)?;
    Ok(file.set_len(file.metadata()?.len() + MORE)?)
}

/// Bytes of the file systems of `/var` and of the data disk.
fn sizes(machine: &mut Machine) -> Result<[u64; 2]> {
    let said = machine.ask("df -B1 --output=size /var /var/lib/etcd")?;
    let sizes: Vec<u64> = said.lines().filter_map(|line| line.trim().parse().ok()).collect();
    <[u64; 2]>::try_from(sizes).ok().with_context(|| format!("df says {said}"))
}
