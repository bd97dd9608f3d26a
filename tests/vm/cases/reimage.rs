//! (c) A member comes back with blank disks.

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::process::until;
use crate::set::SETTLE;
use crate::suite::{AGREE, Suite};
use crate::world::Seat;

/// The one whose disks are lost.
const LOST: Seat = Seat(3);
const KEY: &str = "/vm/before-reimage";

pub fn run(suite: &mut Suite) -> Result<()> {
    let (mut set, before) = suite.running()?;
    let mut lives = Vec::new();
    for seat in Seat::all().filter(|s| *s != LOST) {
        lives.push((seat, set.machine(seat)?.etcd_life()?));
    }
    suite.cluster.etcdctl.put(LOST, KEY, "kept")?;
    set.take(LOST)?.kill()?;

    let place = suite.yard.directory(LOST)?;
    let disks = suite.yard.blank(&place)?;
    let mut machine = suite.machine(LOST, place, disks)?;
    machine.wait_settled(Instant::now() + SETTLE)?;
    machine.expect_decision("replace")?;
    set.add(machine);

    let after = until("agreement of all members", AGREE, || set.whole(&suite.cluster))?;
    ensure!(after.cluster_id == before.cluster_id, "this is another cluster: {before} / {after}");
    let (old, new) = (before.id(LOST)?, after.id(LOST)?);
    ensure!(old != new, "{} is still member {old:x}: a disk that was lost must not return under its ID", LOST.name());
    let value = suite.cluster.etcdctl.get(LOST, KEY)?;
    ensure!(value == "kept", "{} reads {value:?} of what was written before", LOST.name());
    for (seat, life) in lives {
        let now = set.machine(seat)?.etcd_life()?;
        ensure!(now == life, "etcd of {} was restarted: {life} / {now}", seat.name());
    }
    suite.leave(set);
    Ok(())
}
