//! (l) A site without DHCP: the configuration volume says the network and where the journal goes, and a reboot without it has
//! the same.

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::cluster::Cluster;
use crate::machine::Machine;
use crate::probe::{self, CLIENTS};
use crate::process::until;
use crate::qemu::Special;
use crate::receiver::Receiver;
use crate::set::{SETTLE, SHUT_DOWN};
use crate::suite::{AGREE, Suite};
use crate::world::{HOST, Seat};

const ALONE: Seat = Seat(1);

/// What a boot writes once, and by whom.
const SENT: [(&str, &str); 2] =
    [("etcd-bootstrapper.service", "data volume: "), ("etcd.service", "starting an etcd server")];

pub fn run(suite: &mut Suite) -> Result<()> {
    suite.stop();
    let name = suite.name("static");
    let cluster = Cluster::of(&suite.yard.tools, &name, &[ALONE], &[])?;
    let (mac, address) = (ALONE.unknown_mac(), ALONE.address());
    let network = format!(
        "version: 2\nethernets:\n  lan:\n    match: {{macaddress: \"{mac}\"}}\n    addresses: [{address}/24]\n    \
         routes: [{{to: default, via: {HOST}}}]\n"
    );
    let receiver = Receiver::start(&suite.yard.tools, &cluster)?;
    let user_data = cluster.user_data_with(&[Receiver::logs(&suite.yard.tools, &cluster)?])?;
    let files = [("network-config", network.as_bytes())];
    let seed = cluster.seed_of(&suite.yard.tools, ALONE, user_data.as_bytes(), &files)?;
    let place = suite.yard.directory(ALONE)?;
    let disks = suite.yard.blank(&place)?;
    let special = Special { without_dhcp: true, ..Special::default() };

    let mut machine = suite.yard.boot_special(special.clone(), ALONE, place, disks.clone(), Some(seed))?;
    member(&cluster, &mut machine)?;
    let before = cluster.etcdctl.members(ALONE)?;
    only_root_reaches_metadata(&mut machine)?;
    machine.power_off(SHUT_DOWN)?;

    let place = suite.yard.directory(ALONE)?;
    let mut machine = suite.yard.boot_special(special, ALONE, place, disks, None)?;
    member(&cluster, &mut machine)?;
    machine.expect_only("start")?;
    for (unit, word) in SENT {
        until(&format!("{word:?} of {unit} at the receiver, twice"), SETTLE, || {
            let messages = receiver.messages(&suite.yard.tools, unit)?;
            ensure!(messages.matches(word).count() == 2, "there is {messages}");
            Ok(())
        })?;
    }
    let after = cluster.etcdctl.members(ALONE)?;
    ensure!(after == before, "it was {before}, and now is {after}");
    machine.power_off(SHUT_DOWN)
}

/// It is one, at its address, and nobody has leased that to it.
pub fn member(cluster: &Cluster, machine: &mut Machine) -> Result<()> {
    machine.wait_settled(Instant::now() + SETTLE)?;
    // This host may know the address by the card of a machine before, for as long as nobody answers there.
    until("answer of the new card", AGREE, || probe::only_mutual_tls(cluster, ALONE.address(), CLIENTS))?;
    unleased(machine)
}

/// Nobody has leased it an address.
pub fn unleased(machine: &mut Machine) -> Result<()> {
    let leases = machine.ask("ls -A /run/systemd/netif/leases")?;
    ensure!(leases.is_empty(), "DHCP has answered: {leases}");
    Ok(())
}

/// A root in which a person has said that the machine is Compute Engine's, whose service has one address.
const ROOT: &str = "mkdir -p /tmp/gce/proc && echo etcd_bootstrapper.provider=gce >/tmp/gce/proc/cmdline";
/// Asks that service, and says by a number how that ended: 77 where the kernel forbids it, 124 while it still tries.
const ASK: &str = "timeout 10 etcd-bootstrapper metadata show --root /tmp/gce 2>&1; echo \"ended with $?\"";

/// The rules of the kernel's routing that every card of every image has.
fn only_root_reaches_metadata(machine: &mut Machine) -> Result<()> {
    machine.ask(ROOT)?;
    let etcd = machine.ask(&format!("setpriv --reuid etcd --clear-groups {ASK}"))?;
    let rules = machine.ask("journalctl -b -u systemd-networkd -o cat --no-pager | tail -n 20")?;
    ensure!(etcd.contains("ended with 77"), "etcd's user may ask a metadata service: {etcd}; networkd says {rules}");
    let root = machine.ask(ASK)?;
    ensure!(root.contains("ended with 124"), "root may not ask a metadata service: {root}");
    Ok(())
}
