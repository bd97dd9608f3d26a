//! (p) A cluster of one grows to three.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::cluster::Cluster;
use crate::process::until;
use crate::set::{SETTLE, Set};
use crate::suite::{AGREE, Suite};
use crate::world::Seat;

const FIRST: Seat = Seat(1);
const KEY: &str = "/vm/of-one";

pub fn run(suite: &mut Suite) -> Result<()> {
    suite.stop();
    let name = suite.name("growing");
    let cluster = Cluster::of(&suite.yard.tools, &name, &[FIRST], &[])?;
    let mut set = Set::default();
    let place = suite.yard.directory(FIRST)?;
    let (disks, seed) = (suite.yard.blank(&place)?, cluster.seed(&suite.yard.tools, FIRST)?);
    set.add(suite.yard.boot(FIRST, place, disks, Some(seed))?);
    set.wait_settled(SETTLE)?;
    set.machine(FIRST)?.expect_decision("found")?;
    cluster.etcdctl.put(FIRST, KEY, "one")?;
    let before = cluster.etcdctl.members(FIRST)?;
    let life = set.machine(FIRST)?.etcd_life()?;

    let grown = grown(&cluster.user_data())?;
    let start = Instant::now();
    for seat in Seat::all().filter(|seat| *seat != FIRST) {
        let place = suite.yard.directory(seat)?;
        let disks = suite.yard.blank(&place)?;
        let seed = cluster.seed_of(&suite.yard.tools, seat, grown.as_bytes(), &[])?;
        set.add(suite.yard.boot(seat, place, disks, Some(seed))?);
    }
    for seat in Seat::all().filter(|seat| *seat != FIRST) {
        let machine = set.machine(seat)?;
        machine.wait_settled(start + SETTLE)?;
        machine.expect_decision("join")?;
    }
    let after = until("agreement of all members", AGREE, || set.whole(&cluster))?;
    ensure!(after.cluster_id == before.cluster_id, "this is another cluster: {before} / {after}");
    for seat in Seat::all() {
        let value = cluster.etcdctl.get(seat, KEY)?;
        ensure!(value == "one", "{} reads {value:?} of what the first wrote alone", seat.name());
    }
    let now = set.machine(FIRST)?.etcd_life()?;
    ensure!(now == life, "etcd of {} was restarted: {life} / {now}", FIRST.name());
    for machine in set.machines() {
        suite.clean(machine)?;
    }
    set.power_off()
}

/// The same user-data for a cluster of three, as an operator would edit it.
fn grown(user_data: &str) -> Result<String> {
    let (size, first) = ("        size: 1\n", FIRST.name());
    ensure!(user_data.contains(size), "the user-data of `config new` has a line with the size");
    let entry = user_data.lines().find(|line| line.contains("peer_url: ")).context("it has a line for each peer")?;
    let address = FIRST.address().to_string();
    let all =
        Seat::all().map(|seat| entry.replace(&first, &seat.name()).replace(&address, &seat.address().to_string()));
    let all: Vec<String> = all.collect();
    Ok(user_data.replace(size, "        size: 3\n").replace(entry, &all.join("\n")))
}
