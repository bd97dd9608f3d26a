//! (q) The image with cloud-init, where that is switched off or hangs: the machine reads its user-data by itself, in time.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::cases::group::of_ec2;
use crate::cluster::Cluster;
use crate::flavour::Flavour;
use crate::process::until;
use crate::qemu::Special;
use crate::services::Ec2;
use crate::set::{SETTLE, Set};
use crate::suite::{AGREE, Suite};
use crate::wire::{How, Reply, service};
use crate::world::Seat;

const DISABLED: Seat = Seat(2);
const HUNG: Seat = Seat(3);
/// What the boot waits for a stage of cloud-init, and the bootstrapper for its result.
const BOUND: Duration = Duration::from_secs(180 + 120);

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
        machine.wait_settled(start + SETTLE + if seat == HUNG { BOUND } else { Duration::ZERO })?;
        println!("        {}: settled {:.1} s after power on", cluster.name, start.elapsed().as_secs_f32());
        let carrier = machine.report()?.carrier.unwrap_or_default();
        let own = if seat == HUNG { "user-data of ec2 " } else { "user-data on the cidata volume" };
        let natively = carrier.contains(own) && !carrier.contains("merged");
        ensure!(natively, "{}: the configuration came from {carrier}", machine.name());
        let said = machine.ask("cloud-init status || true")?;
        let expected = if seat == HUNG { "status: " } else { "status: disabled" };
        ensure!(said.contains(expected) && !said.contains("done"), "cloud-init on {}: {said}", machine.name());
        let etcdctl = &cluster.etcdctl;
        until("member that serves", AGREE, || etcdctl.members(seat)?.expect_voters(&[seat]))?;
    }
    Ok(())
}
