//! (d) A new system disk beside the old data disk.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::process::until;
use crate::set::{Disks, SETTLE, SHUT_DOWN};
use crate::suite::{AGREE, Suite};
use crate::world::Seat;

/// The one whose system disk is exchanged.
const REPAIRED: Seat = Seat(2);
/// What etcd logs when a leader sends it the whole database.
const RESYNC: &str = "received and saved database snapshot";

pub fn run(suite: &mut Suite) -> Result<()> {
    let (mut set, before) = suite.running()?;
    let mut machine = set.take(REPAIRED)?;
    let identity = machine.ask("cat /var/lib/etcd/bootstrapper/identity.json")?;
    let data = machine.parts.data.clone().context("it has no data disk")?;
    machine.power_off(SHUT_DOWN)?;

    let place = suite.yard.directory(REPAIRED)?;
    let system = suite.yard.system(&place)?;
    let mut machine = suite.machine(REPAIRED, place, Disks { system, data })?;
    machine.wait_settled(Instant::now() + SETTLE)?;
    machine.expect_only("start")?;
    let now = machine.ask("cat /var/lib/etcd/bootstrapper/identity.json")?;
    ensure!(now == identity, "{} is not who it was: {identity} / {now}", REPAIRED.name());
    let log = machine.ask("journalctl -b -u etcd --no-pager -o cat")?;
    ensure!(log.contains("etcd"), "the journal of etcd is empty, so nothing is proven by it");
    ensure!(!log.contains(RESYNC), "{} got the whole database from the leader", REPAIRED.name());
    set.add(machine);

    let after = until("agreement of all members", AGREE, || set.whole(&suite.cluster))?;
    ensure!(after == before, "they were {before}, and now are {after}");
    suite.leave(set);
    Ok(())
}
