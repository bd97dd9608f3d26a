//! (q) The image with cloud-init, where that is switched off or hangs: the machine reads its user-data by itself, in time.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::cases::chaos::says;
use crate::cases::group::of_ec2;
use crate::cluster::Cluster;
use crate::flavour::Flavour;
use crate::machine::Machine;
use crate::process::until;
use crate::qemu::Special;
use crate::services::Ec2;
use crate::set::{SETTLE, Set};
use crate::suite::{AGREE, Suite};
use crate::wire::{How, Reply, service};
use crate::world::Seat;

const DISABLED: Seat = Seat(2);
const HUNG: Seat = Seat(3);
/// What the boot waits for a stage of cloud-init; its data source for EC2 would wait for 240 s.
const STAGE: Duration = Duration::from_secs(180);
/// For systemd to end a stage, in a busy guest.
const ENDED: Duration = Duration::from_secs(20);

pub fn run(suite: &mut Suite) -> Result<()> {
    suite.stop();
    suite.choose(Flavour::CloudInit)?;
    let (start, mut set, mut clusters) = (Instant::now(), Set::default(), Vec::new());
    for seat in [DISABLED, HUNG] {
        let name = suite.name(if seat == DISABLED { "disabled" } else { "hung" });
        let cluster = Cluster::of(&suite.yard.tools, &name, &[seat], &[])?;
        let place = suite.yard.directory(seat)?;
        let disks = suite.yard.blank(&place)?;
        let (special, seed) = if seat == DISABLED {
            let special = Special { command_line: Some("cloud-init=disabled"), ..Special::default() };
            (special, Some(cluster.seed(&suite.yard.tools, seat)?))
        } else {
            let answers = Ec2::with(&cluster.user_data()).serve();
            let hangs = service(move |asked| {
                let by_cloud_init = asked.header("user-agent").is_some_and(|agent| agent.starts_with("Cloud-Init"));
                if by_cloud_init { Reply::new(200, "").how(How::Never) } else { answers(asked) }
            });
            suite.link()?.tell(seat, hangs);
            let firmware = of_ec2(seat, "i-0123456789abcdef0");
            (Special { firmware, ..Special::default() }, None)
        };
        set.add(suite.yard.boot_special(special, seat, place, disks, seed)?);
        clusters.push((seat, cluster));
    }
    for (seat, cluster) in clusters {
        let machine = set.machine(seat)?;
        machine.wait_settled(start + SETTLE + if seat == HUNG { STAGE } else { Duration::ZERO })?;
        println!("        {}: settled {:.1} s after power on", cluster.name, start.elapsed().as_secs_f32());
        let carrier = machine.report()?.carrier.unwrap_or_default();
        let own = if seat == HUNG { "user-data of ec2 " } else { "user-data on the cidata volume" };
        let natively = carrier.contains(own) && !carrier.contains("merged");
        ensure!(natively, "{}: the configuration came from {carrier}", machine.name());
        let said = machine.ask("cloud-init status || true")?;
        let expected = if seat == HUNG { "status: " } else { "status: disabled" };
        ensure!(said.contains(expected) && !said.contains("done"), "cloud-init on {}: {said}", machine.name());
        if seat == HUNG {
            ended_in_time(machine)?;
        }
        let etcdctl = &cluster.etcdctl;
        until("member that serves", AGREE, || etcdctl.members(seat)?.expect_voters(&[seat]))?;
    }
    Ok(())
}

/// systemd has ended the stage that hung, when its time was over, and with it cloud-init.
fn ended_in_time(machine: &mut Machine) -> Result<()> {
    let mut show = |unit: &str, property: &str| machine.ask(&format!("systemctl show {unit} -P {property}"));
    let mut moment = |property: &str| Ok::<_, anyhow::Error>(show("cloud-init-local", property)?.parse()?);
    let from = Duration::from_micros(moment("InactiveExitTimestampMonotonic")?);
    let took = Duration::from_micros(moment("InactiveEnterTimestampMonotonic")?).saturating_sub(from);
    println!("        cloud-init's local stage was ended after {:.1} s", took.as_secs_f32());
    ensure!((STAGE..STAGE + ENDED).contains(&took), "cloud-init's local stage was ended after {took:?}");
    let results = (show("cloud-init-local", "Result")?, show("cloud-init-main", "Result")?);
    ensure!(results == ("timeout".into(), "signal".into()), "its stage and cloud-init have ended by {results:?}");
    let waits = "cloud-init has not read user-data yet";
    ensure!(!says(machine, waits), "the bootstrapper has waited for a cloud-init that was ended: {waits}");
    Ok(())
}
