//! (j) All machines of a cluster with a store are destroyed: what `store.on_total_loss` says is done, and nothing is
//! restored over disks that were only detached.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::bucket::Bucket;
use crate::cases::chaos::{Outcome, readable, says};
use crate::cluster::Cluster;
use crate::etcdctl::View;
use crate::load::{Load, Verdict};
use crate::machine::Machine;
use crate::probe::{self, CLIENTS};
use crate::process::until;
use crate::set::{Disks, SETTLE, Set};
use crate::suite::{AGREE, Suite};
use crate::world::Seat;

/// In the words of the soak's table.
pub const NAME: &str = "wipeAll with a store";
/// Acknowledged writes before the backup, and again after it.
const WRITES: usize = 50;
/// For the writers to get through.
const THROUGH: Duration = Duration::from_secs(300);
/// For a member to make a backup, or for another to have ended its own.
const BACKUP: Duration = Duration::from_secs(300);
/// What the consoles tell a person to write.
const REMEDY: &str = "write `store.on_total_loss: restore`";
/// At most every hour, so that the timer makes none between two that are asked for.
const EVERY: &str = "backup: {every: 1h}";

/// With a cluster of one: how several come to one word about a store is shown by `tests/it`, and in machines by soaks.
pub fn run(suite: &mut Suite) -> Result<()> {
    let outcome = lose(suite, &[Seat(1)])?;
    println!("        {outcome}");
    Ok(())
}

/// The same with three.
pub fn total_loss(suite: &mut Suite) -> Result<Outcome> {
    lose(suite, &Seat::all().collect::<Vec<_>>())
}

/// A cluster in a store; fails unless each loss of all machines ends as it must.
fn lose(suite: &mut Suite, seats: &[Seat]) -> Result<Outcome> {
    suite.stop();
    let (Some(first), Some(last)) = (seats.first().copied(), seats.last().copied()) else { bail!("nobody to lose") };
    let name = suite.name("home");
    let cluster = Cluster::of(&suite.yard.tools, &name, seats, &[])?;
    let home = Home { bucket: Bucket::start(&suite.yard.tools)?, cluster, name, seats: seats.to_vec() };
    let (mut set, before) = home.boot(suite, "restore", None)?;
    let founded = home.claimed(1, &before)?;
    unit_works(set.machine(last)?)?;
    let kept = home.written(suite)?;
    let backup = backed_up(set.machine(first)?)?;
    ensure!(backup.generation == 1, "the first cluster's backup is of generation {}", backup.generation);
    let late = home.written(suite)?;
    let volumes = disks(&mut set)?;
    drop(set);

    let said = home.refused(suite)?;
    println!("        with on_total_loss: wait, {said}");
    ensure!(home.claim()? == founded, "the claim has changed: {founded:?} / {:?}", home.claim()?);

    let (mut set, after) = home.boot(suite, "restore", Some(volumes))?;
    ensure!(after == before, "the volumes came back; they were {before}, and now are {after}");
    for machine in set.machines() {
        machine.expect_only("start")?;
    }
    for load in [&kept, &late] {
        let Verdict { acknowledged, lost } = home.readable(load)?;
        ensure!(lost == 0, "the volumes came back, and {lost} of {acknowledged} acknowledged writes did not");
    }
    home.claimed(1, &before)?;
    drop(set);

    let start = Instant::now();
    let (mut set, after) = home.boot(suite, "restore", None)?;
    let healthy = Some(start.elapsed().as_secs_f32());
    ensure!(after.cluster_id != before.cluster_id, "the restored cluster has the ID of the old one: {after}");
    let claim = home.claimed(2, &after)?;
    ensure!(claim.snapshot.as_ref() == Some(&backup.sha256), "the claim pins {:?}, not {backup:?}", claim.snapshot);
    for machine in set.machines() {
        machine.wait_line("what was written since is lost", Instant::now())?;
    }
    let Verdict { acknowledged, lost } = home.readable(&kept)?;
    let gone = home.readable(&late)?;
    ensure!(gone.lost == gone.acknowledged, "{gone:?}: what was written after the backup is there");
    let next = backed_up(set.machine(first)?)?;
    ensure!(next.generation == 2, "the restored cluster's backup is of generation {}", next.generation);
    ensure!(lost == 0, "{lost} of {acknowledged} writes before the backup are lost");
    let ended = "refused by `wait`; as before once the volumes came back; restored by `restore`".to_owned();
    Ok(Outcome { case: NAME.into(), ended, acknowledged, lost, clusters: 1, silent: None, healthy })
}

/// A cluster and its store.
struct Home {
    cluster: Cluster,
    bucket: Bucket,
    name: String,
    seats: Vec<Seat>,
}

/// What is looked at of the claim.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Claim {
    state: String,
    generation: u32,
    cluster_id: String,
    snapshot: Option<String>,
}

/// What is looked at of a backup's manifest.
#[derive(Debug, Deserialize)]
struct Manifest {
    generation: u32,
    sha256: String,
}

impl Home {
    /// Switches three machines on, on these disks or on blank ones, all with the same user-data.
    fn power_on(&self, suite: &mut Suite, policy: &str, volumes: Option<Vec<(Seat, Disks)>>) -> Result<Set> {
        let store =
            format!("store: {{url: \"s3://bucket/{}\", on_total_loss: {policy}, {}}}", self.name, self.bucket.access());
        let lines = [store, EVERY.to_owned()];
        let mut set = Set::default();
        for seat in self.seats.iter().copied() {
            let place = suite.yard.directory(seat)?;
            let known = volumes.iter().flatten().find(|(of, _)| *of == seat);
            let disks = match known {
                Some((_, disks)) => disks.clone(),
                None => suite.yard.blank(&place)?,
            };
            let seed = self.cluster.seed_with(&suite.yard.tools, seat, &lines)?;
            set.add(suite.yard.boot(seat, place, disks, Some(seed))?);
        }
        Ok(set)
    }

    /// The same, and waits until they are the voters of one cluster.
    fn boot(&self, suite: &mut Suite, policy: &str, volumes: Option<Vec<(Seat, Disks)>>) -> Result<(Set, View)> {
        let mut set = self.power_on(suite, policy, volumes)?;
        set.wait_settled(SETTLE)?;
        let view = until("agreement of all members", AGREE, || set.whole(&self.cluster))?;
        Ok((set, view))
    }

    /// Blank machines where all voters are gone and a person is to be asked; what the consoles say.
    fn refused(&self, suite: &mut Suite) -> Result<String> {
        let mut set = self.power_on(suite, "wait", None)?;
        let deadline = Instant::now() + SETTLE;
        // Whoever sees first that all are blank refuses; the others miss it from then on, and say the same.
        for machine in set.machines() {
            machine.wait_line(REMEDY, deadline)?;
        }
        let refused: Vec<String> = set.machines().filter(|m| says(m, "refuse (row 22")).map(|m| m.name()).collect();
        ensure!(!refused.is_empty(), "nobody refuses by row 22, but all say what to do");
        for machine in set.machines() {
            ensure!(!says(machine, "handed off to etcd"), "{} has started etcd", machine.name());
            machine.check()?;
        }
        for seat in &self.seats {
            ensure!(probe::refuses(seat.address(), CLIENTS)?, "an etcd listens on {}", seat.name());
        }
        Ok(format!("{} refused, and all consoles say: {REMEDY}", refused.join(" and ")))
    }

    /// Writes that all were acknowledged.
    fn written(&self, suite: &mut Suite) -> Result<Load> {
        let mut load = suite.load_of(&self.cluster, &self.seats)?;
        load.wait(WRITES, THROUGH)?;
        load.stop()?;
        Ok(load)
    }

    fn readable(&self, load: &Load) -> Result<Verdict> {
        readable(load, &self.seats)
    }

    fn claim(&self) -> Result<Claim> {
        let bytes = self.bucket.get(&format!("{}/claim.json", self.name))?;
        serde_json::from_slice(&bytes).with_context(|| format!("no claim: {}", String::from_utf8_lossy(&bytes)))
    }

    /// Waits until the claim names this cluster in this generation: members write it when they have settled.
    fn claimed(&self, generation: u32, of: &View) -> Result<Claim> {
        until("claim of the cluster that serves", AGREE, || {
            let claim = self.claim()?;
            let same = claim.cluster_id == format!("{:x}", of.cluster_id);
            ensure!(claim.state == "founded" && claim.generation == generation && same, "{claim:?}, not of {of}");
            Ok(claim)
        })
    }
}

/// The unit that the timer starts, in its sandbox, on a member that the timer has not come to yet.
fn unit_works(machine: &mut Machine) -> Result<()> {
    machine.ask("systemctl is-active etcd-backup.timer")?;
    until("backup by the unit", BACKUP, || {
        machine.ask("systemctl start etcd-backup.service")?;
        let list = machine.ask("etcd-bootstrapper backup list")?;
        ensure!(list.lines().count() > 1, "backup list says {list}");
        Ok(())
    })
}

/// A backup of now, by this member.
fn backed_up(machine: &mut Machine) -> Result<Manifest> {
    #[derive(Deserialize)]
    struct Outcome {
        made: Option<Made>,
        because: Option<String>,
    }
    #[derive(Deserialize)]
    struct Made {
        manifest: Manifest,
    }
    until("backup", BACKUP, || {
        let text = machine.ask("etcd-bootstrapper backup --now --json")?;
        // Its progress is on the same terminal.
        let json = text.lines().find(|line| line.starts_with('{')).with_context(|| format!("no JSON: {text}"))?;
        let outcome: Outcome = serde_json::from_str(json)?;
        outcome.made.map(|made| made.manifest).with_context(|| outcome.because.unwrap_or_default())
    })
}

/// The disks of machines that are about to end.
fn disks(set: &mut Set) -> Result<Vec<(Seat, Disks)>> {
    let disks = |machine: &mut Machine| {
        let data = machine.parts.data.clone().context("it has no data disk")?;
        Ok((machine.parts.seat, Disks { system: machine.parts.system.clone(), data }))
    };
    set.machines().map(disks).collect()
}
