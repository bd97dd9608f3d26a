//! Members are killed or wiped under a write load; what was acknowledged must be there afterwards, in the same cluster,
//! or else the machines refuse and say why.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::etcdctl::View;
use crate::hardened;
use crate::lines::Line;
use crate::load::{Load, Verdict};
use crate::machine::Machine;
use crate::probe::{self, CLIENTS};
use crate::process::until;
use crate::qemu::{Parts, Special};
use crate::set::{Disks, SETTLE, Set};
use crate::suite::{AGREE, Suite, THROUGH, UNDER_WAY};
use crate::world::Seat;

/// Later than `cluster.found_until`, which `config new` sets seven days ahead.
const LATER: Duration = Duration::from_secs(8 * 24 * 3600);

/// What happens to the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chaos {
    /// The leader crashes.
    KillLeader,
    /// A follower crashes.
    KillOneFollower,
    /// Two of three crash, the leader among them.
    KillMajority,
    /// All crash.
    KillAll,
    /// One loses its disks.
    WipeOne,
    /// The two that do not lead lose their disks.
    WipeMajority,
    /// All crash and lose their disks, when `cluster.found_until` has passed.
    WipeAll,
    /// All are shut down and lose their disks, when `cluster.found_until` has passed.
    StopWipeAll,
    /// All lose their disks while `cluster.found_until` is still ahead.
    WipeAllEarly,
}

/// All of them.
pub const CHAOS: [Chaos; 9] = [
    Chaos::KillLeader,
    Chaos::KillOneFollower,
    Chaos::WipeOne,
    Chaos::KillMajority,
    Chaos::KillAll,
    Chaos::WipeMajority,
    Chaos::WipeAll,
    Chaos::StopWipeAll,
    Chaos::WipeAllEarly,
];

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// In the words of the issue tracker.
    pub case: String,
    /// How it ended.
    pub ended: String,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Those of them that are not there, though a cluster serves.
    pub lost: u64,
    /// Clusters that have acknowledged a write or serve at the end, but for one that the operator's word has begun.
    pub clusters: u64,
    /// Seconds without an acknowledged write, when there was one again.
    pub silent: Option<f32>,
    /// Seconds until all members had settled.
    pub healthy: Option<f32>,
}

impl Chaos {
    /// As people know it.
    pub fn name(self) -> &'static str {
        match self {
            Chaos::KillLeader => "killLeader",
            Chaos::KillOneFollower => "killOneFollower",
            Chaos::KillMajority => "killMajority",
            Chaos::KillAll => "killAll",
            Chaos::WipeOne => "wipeOne",
            Chaos::WipeMajority => "wipeMajority",
            Chaos::WipeAll => "wipeAll",
            Chaos::StopWipeAll => "stopWipeAll",
            Chaos::WipeAllEarly => "wipeAll before found_until",
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Outcome { case, ended, acknowledged, lost, clusters, silent, healthy } = self;
        write!(f, "{case}: {ended}; {acknowledged} acknowledged writes, {lost} lost, {clusters} clusters")?;
        let seconds = |what, seconds: &Option<f32>| seconds.map_or_else(String::new, |s| format!("; {what} {s:.1} s"));
        write!(f, "{}{}", seconds("no write acknowledged for", silent), seconds("healthy after", healthy))
    }
}

/// Makes it happen to three members that run.
pub fn run(suite: &mut Suite, chaos: Chaos) -> Result<Outcome> {
    let (mut set, before) = suite.running()?;
    let leader = leader(suite, &before)?;
    let followers: Vec<Seat> = Seat::all().filter(|s| *s != leader).collect();
    let all: Vec<Seat> = Seat::all().collect();
    let mut load = suite.load(&all)?;
    load.wait(UNDER_WAY, THROUGH)?;
    let start = Instant::now();
    let ended = match chaos {
        Chaos::KillLeader => crash(suite, &mut set, &load, &[leader])?,
        Chaos::KillOneFollower => crash(suite, &mut set, &load, &followers[1..])?,
        Chaos::KillMajority => crash(suite, &mut set, &load, &[leader, followers[0]])?,
        Chaos::KillAll => crash(suite, &mut set, &load, &all)?,
        Chaos::WipeOne => wipe_one(suite, &mut set, &load, followers[1], &before)?,
        Chaos::WipeMajority => return wipe_majority(suite, set, load, leader, &followers, &before),
        Chaos::WipeAll | Chaos::StopWipeAll => return wipe_all(suite, set, load, chaos),
        Chaos::WipeAllEarly => return wipe_all_early(suite, set, load, &before),
    };
    let healthy = start.elapsed();
    // Every writer has found its member again.
    load.wait(UNDER_WAY, THROUGH)?;
    load.stop()?;
    let after = whole(suite, &mut set)?;
    ensure!(after.cluster_id == before.cluster_id, "this is another cluster: {before} / {after}");
    let mut clusters = load.clusters();
    clusters.insert(after.cluster_id);
    let verdict = all_readable(&load)?;
    for machine in set.machines() {
        hardened::undenied(machine)?;
    }
    suite.leave(set);
    let (silent, clusters) = (load.silence(start).map(|d| d.as_secs_f32()), clusters.len() as u64);
    let Verdict { acknowledged, lost } = verdict;
    let (case, ended) = (chaos.name().to_owned(), ended.to_owned());
    Ok(Outcome { case, ended, acknowledged, lost, clusters, silent, healthy: Some(healthy.as_secs_f32()) })
}

/// Fails when anything acknowledged is lost, or when there is a second cluster.
pub fn judge(chaos: Chaos, outcome: &Outcome) -> Result<()> {
    if chaos == Chaos::WipeAllEarly {
        // It has said so itself: that everything is lost and that a second cluster followed is what it shows.
        return Ok(());
    }
    outcome.nothing_lost()
}

impl Outcome {
    /// Fails when anything acknowledged is lost, or when there is a second cluster.
    pub fn nothing_lost(&self) -> Result<()> {
        let Outcome { case, acknowledged, lost, clusters, .. } = self;
        ensure!(*acknowledged > 0, "{case}: nothing was acknowledged, so nothing is proven");
        ensure!(*lost == 0, "{case}: {lost} of {acknowledged} acknowledged writes are lost");
        ensure!(*clusters <= 1, "{case}: {clusters} clusters have served");
        Ok(())
    }
}

/// These crash and boot again. Without them there may be quorum: then writes go on first.
fn crash(suite: &mut Suite, set: &mut Set, load: &Load, seats: &[Seat]) -> Result<&'static str> {
    let mut disks = Vec::new();
    for seat in seats {
        let mut machine = set.take(*seat)?;
        machine.kill()?;
        let data = machine.parts.data.clone().context("it has no data disk")?;
        disks.push((*seat, Disks { system: machine.parts.system.clone(), data }));
    }
    if set.seats().len() > seats.len() {
        load.wait(UNDER_WAY, THROUGH)?;
    }
    for (seat, disks) in disks {
        let place = suite.yard.directory(seat)?;
        set.add(suite.machine(seat, place, disks)?);
    }
    set.wait_settled(SETTLE)?;
    Ok("all as before")
}

/// This one loses its disks and comes back as a new member, while the others go on.
fn wipe_one(suite: &mut Suite, set: &mut Set, load: &Load, seat: Seat, before: &View) -> Result<&'static str> {
    let mut lives = Vec::new();
    for other in Seat::all().filter(|s| *s != seat) {
        lives.push((other, set.machine(other)?.etcd_life()?));
    }
    set.take(seat)?.kill()?;
    load.wait(UNDER_WAY, THROUGH)?;
    let mut machine = suite.blank_machine(seat, Special::default())?;
    machine.wait_settled(Instant::now() + SETTLE)?;
    machine.expect_decision("replace")?;
    suite.clean(&mut machine)?;
    set.add(machine);
    let after = whole(suite, set)?;
    let (old, new) = (before.id(seat)?, after.id(seat)?);
    ensure!(old != new, "{} is still member {old:x}: a disk that was lost must not return under its ID", seat.name());
    for (seat, life) in lives {
        let now = set.machine(seat)?.etcd_life()?;
        ensure!(now == life, "etcd of {} was restarted: {life} / {now}", seat.name());
    }
    Ok("replaced")
}

/// The leader is all that is left of its cluster: everybody waits, and the console says what a person can do. A person
/// does it, and the leader goes on with all that was acknowledged.
fn wipe_majority(
    suite: &mut Suite,
    mut set: Set,
    mut load: Load,
    survivor: Seat,
    lost: &[Seat],
    before: &View,
) -> Result<Outcome> {
    let start = Instant::now();
    for seat in lost {
        set.take(*seat)?.kill()?;
    }
    for seat in lost {
        let machine = suite.blank_machine(*seat, Special::default())?;
        set.add(machine);
    }
    let mut word = String::new();
    for seat in lost {
        set.machine(*seat)?.wait_line(" wait (row 10", Instant::now() + SETTLE)?;
        word = remedy(set.machine(*seat)?, survivor)?;
    }
    load.stop()?;
    ensure!(suite.cluster.etcdctl.put(survivor, "/vm/alone", "no").is_err(), "one of three serves alone");
    println!("        the console says: {word}");
    let parts: Vec<Parts> = set.machines().map(|machine| machine.parts.clone()).collect();
    set.power_off()?;
    let mut set = Set::default();
    for Parts { seat, system, data, .. } in parts {
        let disks = Disks { system, data: data.context("it has no data disk")? };
        let seed = suite.cluster.seed_with(&suite.yard.tools, seat, std::slice::from_ref(&word))?;
        let place = suite.yard.directory(seat)?;
        set.add(suite.yard.boot(seat, place, disks, Some(seed))?);
    }
    set.wait_settled(SETTLE)?;
    let healthy = Some(start.elapsed().as_secs_f32());
    let after = whole(suite, &mut set)?;
    ensure!(after.cluster_id != before.cluster_id, "the recovered cluster has the ID of the old one: {after}");
    set.machine(survivor)?.expect_decision("recover")?;
    let Verdict { acknowledged, lost } = all_readable(&load)?;
    suite.leave(set);
    let (case, ended) = (Chaos::WipeMajority.name().into(), "all wait; recovered by the operator's word".into());
    Ok(Outcome { case, ended, acknowledged, lost, clusters: load.clusters().len() as u64, silent: None, healthy })
}

/// What the console tells a person to write.
fn remedy(machine: &Machine, survivor: Seat) -> Result<String> {
    let deadline = Instant::now() + SETTLE;
    let begin = format!("recover: {{survivor: {}, ", survivor.name());
    let pick = |line: &Line| {
        let from = line.text.find(&begin)?;
        line.text[from..].split_once('`').map(|(word, _)| word.to_owned())
    };
    let (_, word) = machine.explain(machine.console.wait(0, deadline, "remedy on the console", pick))?;
    Ok(word)
}

/// Nobody is left, and the user-data is older than what it may found: nobody founds.
fn wipe_all(suite: &mut Suite, set: Set, mut load: Load, chaos: Chaos) -> Result<Outcome> {
    if chaos == Chaos::StopWipeAll {
        set.power_off()?;
    } else {
        drop(set);
    }
    load.stop()?;
    let mut set = Set::default();
    for seat in Seat::all() {
        let machine = suite.blank_machine(seat, Special { ahead: LATER, ..Special::default() })?;
        set.add(machine);
    }
    // Whoever sees first that all are blank refuses, and with that is not there any more for the others to see.
    let deadline = Instant::now() + SETTLE;
    let refused = until("refusal", SETTLE, || {
        let refused: Vec<Seat> = set.machines().filter(|m| says(m, "refuse (row 25")).map(|m| m.parts.seat).collect();
        ensure!(!refused.is_empty(), "no console shows `refuse (row 25`");
        Ok(refused)
    })?;
    for machine in set.machines().filter(|m| !refused.contains(&m.parts.seat)) {
        machine.wait_line("(row 2", deadline)?;
    }
    for machine in set.machines() {
        ensure!(!says(machine, "handed off to etcd"), "{} has started etcd", machine.name());
        machine.check()?;
    }
    for seat in Seat::all() {
        ensure!(probe::refuses(seat.address(), CLIENTS)?, "an etcd listens on {}", seat.name());
    }
    let (acknowledged, clusters) = (load.acknowledged()?.len() as u64, load.clusters().len() as u64);
    Ok(Outcome {
        case: chaos.name().into(),
        ended: "refused: found_until has passed".into(),
        acknowledged,
        lost: 0,
        clusters,
        silent: None,
        healthy: None,
    })
}

/// Nobody is left, and the user-data allows a founding: nobody can know that there was a cluster, so all that it held is
/// gone, and a new one begins.
fn wipe_all_early(suite: &mut Suite, set: Set, mut load: Load, before: &View) -> Result<Outcome> {
    drop(set);
    let start = Instant::now();
    load.stop()?;
    let mut set = Set::default();
    for seat in Seat::all() {
        let machine = suite.blank_machine(seat, Special::default())?;
        set.add(machine);
    }
    set.wait_settled(SETTLE)?;
    let healthy = Some(start.elapsed().as_secs_f32());
    let after = whole(suite, &mut set)?;
    ensure!(after.cluster_id != before.cluster_id, "the new cluster has the ID of the old one: {after}");
    let Verdict { acknowledged, lost } = all_readable(&load)?;
    ensure!(lost == acknowledged, "the new cluster is not empty: {lost} of {acknowledged} writes are not there");
    let (case, ended) = (Chaos::WipeAllEarly.name().into(), "founded anew and empty, as designed".into());
    Ok(Outcome { case, ended, acknowledged, lost, clusters: 2, silent: None, healthy })
}

/// Whether its console has shown this.
pub fn says(machine: &Machine, part: &str) -> bool {
    machine.console.all().iter().any(|line| line.text.contains(part))
}

/// The cluster's ID, once all members agree that they are three voters and nobody else.
fn whole(suite: &Suite, set: &mut Set) -> Result<View> {
    until("agreement of all members", AGREE, || set.whole(&suite.cluster))
}

/// The worst that any member shows.
pub fn all_readable(load: &Load) -> Result<Verdict> {
    readable(load, &Seat::all().collect::<Vec<_>>())
}

/// The worst that any of these shows.
pub fn readable(load: &Load, seats: &[Seat]) -> Result<Verdict> {
    let mut worst = Verdict::default();
    for seat in seats {
        let verdict = load.check(*seat)?;
        if verdict.lost >= worst.lost {
            worst = verdict;
        }
    }
    Ok(worst)
}

fn leader(suite: &Suite, view: &View) -> Result<Seat> {
    let leader = until("leader", AGREE, || {
        let leader = suite.cluster.etcdctl.status(Seat(1))?.leader;
        if leader == 0 {
            bail!("{} knows no leader", Seat(1).name());
        }
        Ok(leader)
    })?;
    let leads = |seat: &Seat| view.id(*seat).is_ok_and(|id| id == leader);
    Seat::all().find(leads).with_context(|| format!("the leader {leader:x} is not in {view}"))
}
