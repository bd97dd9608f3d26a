//! `run`: three machines become one cluster, for a person to look at.

use std::io::IsTerminal;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cluster::Cluster;
use crate::process::{TICK, until};
use crate::sandbox;
use crate::set::{SETTLE, Set, Yard};
use crate::table::table;
use crate::watch::{self, say};
use crate::world::{Seat, World};

/// For the last member's view to be that of the others.
const AGREE: Duration = Duration::from_secs(180);

/// Boots three fresh members from one user-data and shows what becomes of them.
pub fn run(yard: &mut Yard, world: &mut World, directory: &Path) -> Result<()> {
    let start = Instant::now();
    let cluster = Cluster::new(&yard.tools, "demo", &[])?;
    say(start, &format!("one user-data for all: {}", directory.join(cluster.file("user-data")).display()));
    let mut set = Set::default();
    for seat in Seat::all() {
        let place = yard.directory(seat)?;
        let disks = yard.blank(&place)?;
        let seed = cluster.seed(&yard.tools, seat)?;
        set.add(yard.boot(seat, place, disks, Some(seed))?);
    }
    let accelerator = &yard.tools.accelerator;
    say(start, &format!("power on: 3 machines, {accelerator}, 1 processor and {} MiB each", yard.memory));
    watch::until_settled(&mut set, start, SETTLE)?;
    until("agreement", AGREE, || set.whole(&cluster))?;
    say(start, "three voters, one cluster");
    println!("\n{}", tables(&mut set, &cluster)?);
    world.check()?;
    if std::io::stdout().is_terminal() && std::io::stdin().is_terminal() {
        stay(&mut set, &cluster, directory)?;
    }
    set.power_off()?;
    say(start, "all machines are off");
    Ok(())
}

/// Leaves the machines to a person, until Ctrl-C.
fn stay(set: &mut Set, cluster: &Cluster, directory: &Path) -> Result<()> {
    println!("The machines stay on until Ctrl-C. etcd, from another terminal:\n");
    let inside = format!("sudo nsenter --net=/run/netns/{}", sandbox::name(directory));
    println!("  {inside} {} endpoint status -w table\n", cluster.etcdctl.shown(&set.seats()));
    println!("A console (there is no login; a machine tells what it does):\n");
    for machine in set.machines() {
        println!("  tail -f {}", directory.join(machine.parts.file("console.log")).display());
    }
    println!();
    while !sandbox::interrupted() {
        for machine in set.machines() {
            machine.alive()?;
        }
        thread::sleep(TICK);
    }
    println!("\nshutting down");
    Ok(())
}

/// Decisions, members, status and the time of each phase.
pub fn tables(set: &mut Set, cluster: &Cluster) -> Result<String> {
    let (mut decisions, mut members, mut status, mut phases) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut carriers = Vec::new();
    for machine in set.machines() {
        let report = machine.report()?;
        let name = machine.name();
        carriers.push(vec![name.clone(), report.carrier.clone().unwrap_or_else(|| "none".into())]);
        for decision in &report.decisions {
            // The reason is long, the word and the row stand in their own columns.
            let reason = decision.text.split_once("): ").map_or(decision.text.as_str(), |(_, reason)| reason);
            decisions.push(vec![name.clone(), decision.decision.clone(), decision.row.to_string(), reason.to_owned()]);
        }
        phases.push(phase_row(machine, &report)?);
    }
    let seats = set.seats();
    for member in cluster.etcdctl.members(seats[0])?.members {
        let vote = if member.learner { "learner" } else { "voter" };
        members.push(vec![
            format!("{:x}", member.id),
            member.name,
            vote.into(),
            member.peer_urls.join(","),
            member.client_urls.join(","),
        ]);
    }
    for seat in seats {
        let s = cluster.etcdctl.status(seat)?;
        let leader = if s.leader == s.header.member_id { "leader" } else { "" };
        let (id, size) = (format!("{:x}", s.header.member_id), format!("{} kB", s.db_size / 1000));
        let raft = [s.raft_term.to_string(), s.raft_index.to_string(), s.header.revision.to_string()];
        status.push([vec![seat.name(), id, s.version, size, leader.into()], raft.to_vec()].concat());
    }
    Ok([
        "Decisions\n".to_owned(),
        table(&["member", "decision", "row", "reason"], &decisions),
        "\nConfiguration\n".to_owned(),
        table(&["member", "from"], &carriers),
        "\nMembers\n".to_owned(),
        table(&["ID", "name", "vote", "peer URL", "client URL"], &members),
        "\nEndpoints\n".to_owned(),
        table(&["name", "ID", "version", "database", "", "term", "index", "revision"], &status),
        "\nSeconds since power on\n".to_owned(),
        table(&["member", "kernel", "bootstrapper", "configured", "handed off", "serving", "voter"], &phases),
    ]
    .concat())
}

fn phase_row(machine: &mut crate::machine::Machine, report: &crate::set::Report) -> Result<Vec<String>> {
    let kernel = machine.kernel(SETTLE)?.duration_since(machine.power_on);
    let seconds = |d: Duration| format!("{:.1}", d.as_secs_f32());
    let mut row = vec![machine.name(), seconds(kernel)];
    for phase in ["run", "configured", "handed_off", "serving", "voter"] {
        let at = report.reached.get(phase).map(|ms| seconds(kernel + Duration::from_millis(*ms)));
        row.push(at.unwrap_or_else(|| "-".into()));
    }
    Ok(row)
}
