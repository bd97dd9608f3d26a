//! (a) Three fresh members.

use std::net::SocketAddr;

use anyhow::{Result, ensure};

use crate::dressed::{self, Dressed};
use crate::etcdctl::View;
use crate::probe;
use crate::process::until;
use crate::set::Set;
use crate::show;
use crate::suite::{AGREE, Suite};
use crate::world::Seat;

/// A settled member has the CA's key for its renewals alone.
const SEALED: &str = "cd /var/lib/etcd/bootstrapper/pki && test -s ca.key.sealed && test ! -e ca.key && \
    ! grep -q 'PRIVATE KEY' ../../../etcd-bootstrapper/configuration.json";

/// etcd's two, and nothing else.
const PORTS: [u16; 2] = [2379, 2380];

/// Some of all the others: first those at which a Debian likes to listen.
const SOME_PORTS: [u16; 12] = [22, 53, 80, 111, 443, 631, 2378, 2381, 5355, 9090, 19531, 65535];

pub fn run(suite: &mut Suite) -> Result<()> {
    suite.stop();
    let (mut set, view) = suite.found()?;
    print!("{}", show::tables(&mut set, &suite.cluster)?);
    for machine in set.machines() {
        machine.expect_decision("found")?;
    }
    writes_are_seen_by_all(suite, &view)?;
    for seat in Seat::all() {
        for port in PORTS {
            probe::only_mutual_tls(&suite.cluster, seat.address(), port)?;
        }
    }
    for member in &view.members {
        let all = [member.peer_urls.clone(), member.client_urls.clone()].concat();
        ensure!(all.iter().all(|url| url.starts_with("https://")), "{} has URLs without TLS: {all:?}", member.name);
    }
    nothing_else_listens(&mut set)?;
    let seat = Seat(2);
    let expected = Dressed {
        provider: "nocloud",
        source: "volume",
        instance: format!("{}-{}", suite.cluster.name, seat.name()),
        hostname: Some(seat.name()),
        carrier: "user-data on the cidata volume".into(),
        beside: None,
    };
    dressed::look(suite.yard.images.flavour, set.machine(seat)?, &expected, &suite.cluster)?;
    until("sealed key of the CA", AGREE, || set.machine(seat)?.ask(SEALED))?;
    suite.keep(set)
}

fn writes_are_seen_by_all(suite: &Suite, view: &View) -> Result<()> {
    let etcdctl = &suite.cluster.etcdctl;
    for through in Seat::all() {
        let key = format!("/vm/through-{}", through.name());
        etcdctl.put(through, &key, &through.name())?;
        for reader in Seat::all() {
            let value = etcdctl.get(reader, &key)?;
            ensure!(value == through.name(), "{} reads {value:?} of what {} wrote", reader.name(), through.name());
        }
    }
    for seat in Seat::all() {
        let seen = etcdctl.status(seat)?.header;
        ensure!(seen.cluster_id == view.cluster_id, "{} serves cluster {:x}", seat.name(), seen.cluster_id);
        ensure!(seen.member_id == view.id(seat)?, "{} answers as member {:x}", seat.name(), seen.member_id);
    }
    Ok(())
}

/// Seen from inside, and from another host: the firewall drops what comes to a port at which nobody listens.
fn nothing_else_listens(set: &mut Set) -> Result<()> {
    let at = |ports: &[u16]| -> Vec<SocketAddr> {
        Seat::all().flat_map(|seat| ports.iter().map(move |port| (seat.address(), *port).into())).collect()
    };
    let answering = probe::answering(at(&SOME_PORTS).into_iter().chain(at(&PORTS)));
    ensure!(answering == at(&PORTS), "{answering:?} answer, only {PORTS:?} are etcd's");
    for machine in set.machines() {
        let mut found = Vec::new();
        for protocol in ["tcp", "tcp6", "udp", "udp6"] {
            let table = machine.ask(&format!("cat /proc/net/{protocol}"))?;
            found.extend(probe::listeners(protocol, &table));
        }
        // The DHCP clients may listen.
        let allowed = ["tcp 2379", "tcp 2380", "tcp6 2379", "tcp6 2380", "udp 68", "udp6 546"];
        found.retain(|listener| !allowed.contains(&listener.as_str()));
        ensure!(found.is_empty(), "{} listens to other hosts on {}", machine.name(), found.join(", "));
    }
    Ok(())
}
