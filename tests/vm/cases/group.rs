//! (o) Instances of an Auto Scaling group find one another, and whom the group launches for a terminated one takes its place.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::canary;
use crate::cases::chaos::Outcome;
use crate::cluster::Cluster;
use crate::dressed::{self, Dressed};
use crate::fleet::{Fleet, Instance};
use crate::link::{Link, of_this_machine};
use crate::load::Verdict;
use crate::machine::Machine;
use crate::process::until;
use crate::services::{self, Ec2};
use crate::set::{SETTLE, Set};
use crate::suite::{AGREE, Suite, THROUGH, UNDER_WAY};
use crate::world::Seat;

/// In the words of the soak's table.
pub const NAME: &str = "terminated by its group";

const SIZE: usize = 3;
/// All that is asked of EC2's metadata service about a machine and its configuration.
const REQUESTS: usize = 5;
/// Shorter than what a machine takes to boot.
const SILENCE: &str = "replace_after: 10s";

pub fn run(suite: &mut Suite) -> Result<()> {
    let outcome = group(suite)?;
    println!("        {outcome}");
    Ok(())
}

/// Fails unless the group founds one cluster, and an instance of it is replaced with nothing lost.
pub fn group(suite: &mut Suite) -> Result<Outcome> {
    suite.stop();
    let fleet = Fleet::launch(&suite.yard.tools, SIZE)?;
    let name = suite.name("group");
    let cluster = Cluster::group(&suite.yard.tools, &name, SIZE, &[&fleet.discovery(), SILENCE])?;
    let group = Group { fleet, cluster, link: suite.link()? };

    let first = group.fleet.running()?;
    ensure!(first.len() == SIZE, "the group of {SIZE} runs {first:?}");
    let mut set = Set::default();
    for instance in &first {
        set.add(group.boot(suite, instance)?);
    }
    set.wait_settled(SETTLE)?;
    let before = until("agreement of all members", AGREE, || set.whole_of(&group.cluster, &names(&first)))?;
    println!("        founded by {}", names(&first).join(", "));
    let asked = group.link.asked_by(first[0].seat);
    // Cloud-init crawls by itself.
    let asked: Vec<_> =
        asked.iter().filter(|a| !a.header("user-agent").unwrap_or_default().starts_with("Cloud-Init")).collect();
    let own = asked.iter().filter(|a| a.connection == asked[0].connection).count();
    ensure!((1..=REQUESTS).contains(&own), "{own} requests of one machine on its first connection: {asked:?}");
    for machine in set.machines() {
        machine.expect_decision("found")?;
    }
    dressed::look(suite.yard.images.flavour, set.machine(first[0].seat)?, &first[0].dressed(), &group.cluster)?;

    let mut load = suite.load_of(&group.cluster, &set.seats())?;
    load.wait(UNDER_WAY, THROUGH)?;
    let mut rest = first;
    let lost = rest.remove(usize::try_from(suite.random.below(SIZE as u64))?);
    let start = Instant::now();
    set.take(lost.seat)?.kill()?;
    let new = group.fleet.terminate(&lost)?;
    println!("        {} is terminated, and {} launched", lost.id, new.id);
    let mut lives = Vec::new();
    for instance in &rest {
        lives.push((instance.seat, set.machine(instance.seat)?.etcd_life()?));
    }
    let mut machine = group.boot(suite, &new)?;
    machine.wait_settled(start + SETTLE)?;
    machine.expect_decision("replace")?;
    set.add(machine);
    let healthy = start.elapsed();
    rest.push(new);
    let after = until("agreement of all members", AGREE, || set.whole_of(&group.cluster, &names(&rest)))?;
    ensure!(after.cluster_id == before.cluster_id, "this is another cluster: {before} / {after}");
    for (seat, life) in lives {
        let now = set.machine(seat)?.etcd_life()?;
        ensure!(now == life, "etcd of {} was restarted: {life} / {now}", seat.name());
    }
    load.wait(UNDER_WAY, THROUGH)?;
    load.stop()?;
    let mut clusters: BTreeSet<u64> = load.clusters();
    clusters.insert(after.cluster_id);
    let mut verdicts = Vec::new();
    for seat in set.seats() {
        verdicts.push(load.check(seat)?);
    }
    let Verdict { acknowledged, lost } = verdicts.into_iter().max_by_key(|v| v.lost).context("nobody was asked")?;
    group.link.no_stranger()?;
    let outcome = Outcome {
        case: NAME.into(),
        ended: "replaced by whom the group launched".into(),
        acknowledged,
        lost,
        clusters: clusters.len() as u64,
        silent: load.silence(start).map(|d| d.as_secs_f32()),
        healthy: Some(healthy.as_secs_f32()),
    };
    outcome.nothing_lost()?;
    Ok(outcome)
}

/// What the firmware of an instance of EC2 says: cloud-init goes by the UUID, which is the serial number too.
pub fn of_ec2(seat: Seat, id: &str) -> Vec<(&'static str, String)> {
    let uuid = format!("ec2{}", &seat.uuid()[3..]);
    let told = services::EC2.iter().map(|(name, value)| match *name {
        "board_asset_tag" => ("board_asset_tag", id.to_owned()),
        name => (name, (*value).to_owned()),
    });
    told.chain([("product_uuid", uuid.clone()), ("product_serial", uuid)]).collect()
}

struct Group {
    fleet: Fleet,
    cluster: Cluster,
    link: Link,
}

impl Group {
    /// Switches on the machine that is this instance, with what is on nobody's disk: everything comes from the platform.
    fn boot(&self, suite: &mut Suite, instance: &Instance) -> Result<Machine> {
        let Instance { id, seat } = instance;
        let ec2 = Ec2 {
            tags: vec![("aws:autoscaling:groupName", "prod".to_owned())],
            role: Some("etcd"),
            id: Some(id.clone()),
            card: Some((seat.mac(), seat.address().to_string())),
            ..Ec2::with(&canary::with_password(&self.cluster.user_data()))
        };
        let address = seat.address().to_string();
        let service = of_this_machine(ec2.serve(), move |document: &mut Value| {
            if document.get("instanceId").is_some() {
                document["privateIp"] = address.clone().into();
            }
        });
        self.link.tell(*seat, service);
        let firmware = of_ec2(*seat, id);
        suite.dressed(*seat, firmware, None)
    }
}

impl Instance {
    fn dressed(&self) -> Dressed {
        Dressed {
            provider: "ec2",
            source: "dmi",
            instance: self.id.clone(),
            hostname: None,
            carrier: format!("user-data of ec2 {}", self.id),
            beside: None,
        }
    }
}

/// Of their members, in the order of a member list.
fn names(instances: &[Instance]) -> Vec<String> {
    let mut names: Vec<String> = instances.iter().map(|instance| instance.id.clone()).collect();
    names.sort();
    names
}
