//! (g) The bootstrapper crashes while it waits, with the CA's key in its memory.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::canary;
use crate::process::until;
use crate::set::SETTLE;
use crate::suite::{AGREE, Suite};
use crate::world::Seat;

/// Loses its disks and has to wait, because etcd of this one is stopped: one of three is no quorum.
const KILLED: Seat = Seat(3);
const STOPPED: Seat = Seat(2);
/// systemd starts it again after two seconds.
const RESTART: Duration = Duration::from_secs(180);

pub fn run(suite: &mut Suite) -> Result<()> {
    let (mut set, before) = suite.running()?;
    set.take(KILLED)?.kill()?;
    set.machine(STOPPED)?.ask("systemctl stop etcd")?;

    let place = suite.yard.directory(KILLED)?;
    let disks = suite.yard.blank(&place)?;
    let mut machine = suite.machine(KILLED, place, disks)?;
    machine.wait_line(" wait (row ", Instant::now() + SETTLE)?;
    let process = |text: String| text.trim().to_owned();
    let show = "systemctl show etcd-bootstrapper --value -p MainPID";
    let first = process(machine.ask(show)?);
    let seen = machine.console.count();
    canary::crash(&mut machine, &suite.cluster, "etcd-bootstrapper")?;
    let second = until("second bootstrapper", RESTART, || {
        let now = process(machine.ask(show)?);
        ensure!(now != first && now != "0", "systemd shows process {now}, it was {first}");
        Ok(now)
    })?;
    let waits = |line: &crate::lines::Line| {
        (line.text.contains(&format!("[{second}]: ")) && line.text.contains(" wait (row ")).then_some(())
    };
    let deadline = Instant::now() + RESTART;
    let again = machine.console.wait(seen, deadline, "wait of the second bootstrapper", waits);
    machine.explain(again)?;

    set.machine(STOPPED)?.ask("systemctl start --no-block etcd")?;
    machine.wait_settled(Instant::now() + SETTLE)?;
    machine.expect_decision("replace")?;
    set.add(machine);
    let after = until("agreement of all members", AGREE, || set.whole(&suite.cluster))?;
    ensure!(after.cluster_id == before.cluster_id, "this is another cluster: {before} / {after}");
    let machine = set.machine(STOPPED)?;
    let seen = machine.console.count();
    canary::crash(machine, &suite.cluster, "etcd")?;
    let anew = |line: &crate::lines::Line| line.text.contains(" start (row 4: ").then_some(());
    let decided = machine.console.wait(seen, Instant::now() + RESTART, "decision after etcd ended by itself", anew);
    machine.explain(decided)?;
    until("agreement of all members", AGREE, || set.whole(&suite.cluster))?;
    suite.leave(set);
    Ok(())
}
