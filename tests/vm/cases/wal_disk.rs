//! (x) A disk that the write-ahead log has for itself: etcd writes its log there, and starts with no copy of it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::cluster::Cluster;
use crate::disk::Disk;
use crate::hardened;
use crate::machine::Machine;
use crate::qemu::Special;
use crate::set::{Disks, SETTLE, SHUT_DOWN};
use crate::suite::Suite;
use crate::world::Seat;

const ALONE: Seat = Seat(1);
const KEY: &str = "/vm/wal-disk";
const LINES: [&str; 2] = ["data: {device: {serial: data}, wal_device: {serial: wal}}", "timeouts: {data_device: 20s}"];
const SAYS: Duration = Duration::from_secs(300);
/// Whether the log is on a file system of its own, and nowhere else.
const APART: &str = "grep -q ' /var/lib/etcd-wal .* - xfs ' /proc/self/mountinfo && \
                     test -s /var/lib/etcd-wal/*/wal/0000000000000000-0000000000000000.wal && \
                     test ! -e /var/lib/etcd/data/member/wal && echo apart";

pub fn run(suite: &mut Suite) -> Result<()> {
    suite.stop();
    let name = suite.name("wal");
    let cluster = Cluster::of(&suite.yard.tools, &name, &[ALONE], &[])?;
    let place = suite.yard.directory(ALONE)?;
    let disks = suite.yard.blank_raw(&place)?;
    let wal = suite.yard.blank_data(place.join("wal.raw"))?;
    let size = std::fs::metadata(&wal.file)?.len();

    let mut machine = boot(suite, &cluster, &disks, (&wal, "wal"))?;
    machine.wait_settled(Instant::now() + SETTLE)?;
    let said = machine.ask(APART)?;
    ensure!(said == "apart", "the log is not on its own disk: {said:?}");
    cluster.etcdctl.put(ALONE, KEY, &name)?;
    hardened::look(suite.yard.images.flavour, &mut machine, &suite.yard.tools)?;
    machine.check()?;
    machine.power_off(SHUT_DOWN)?;

    // As a volume that was made of another one's snapshot: it has all that the first one has, and may lack its last.
    let copy = wal.copy(place.join("copy.raw"), size)?;
    let mut machine = boot(suite, &cluster, &disks, (&copy, "wal-2"))?;
    machine.wait_line("waiting for the WAL disk: the disk with serial wal", Instant::now() + SAYS)?;
    machine.wait_line("serial wal-2", Instant::now() + SAYS)?;
    machine.wait_line("the WAL disk is not there after 20 s", Instant::now() + SAYS)?;
    let etcd = machine.ask("systemctl is-active etcd.service; true")?;
    ensure!(etcd != "active", "etcd runs on a copy of its log");
    machine.kill()?;

    let mut machine = boot(suite, &cluster, &disks, (&wal, "wal"))?;
    machine.wait_settled(Instant::now() + SETTLE)?;
    machine.expect_only("start")?;
    let value = cluster.etcdctl.get(ALONE, KEY)?;
    ensure!(value == name, "what was written before reads {value:?}");
    machine.check()
}

fn boot(suite: &mut Suite, cluster: &Cluster, disks: &Disks, wal: (&Disk, &'static str)) -> Result<Machine> {
    let place = suite.yard.directory(ALONE)?;
    let seed = cluster.seed_with(&suite.yard.tools, ALONE, &LINES.map(str::to_owned))?;
    let special = Special { wal: Some((wal.0.clone(), wal.1)), ..Special::default() };
    suite.yard.boot_special(special, ALONE, place, disks.clone(), Some(seed))
}
