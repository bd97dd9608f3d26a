//! The firewall in force in the hosts' networks: the image's own rules, then those that each host makes of its configuration.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::net::TcpSocket;

use crate::world::{Host, World};

const ENTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/enter.sh");
const FIRST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../image/rootfs/usr/lib/etcd-bootstrapper/firewall.nft");

/// Where clients are, on the same wire.
const CLIENT: &str = "10.78.0.70";
/// On it as well, and let in nowhere.
const STRANGER: &str = "10.78.0.90";
/// Nobody's business.
const OTHER: u16 = 7777;

/// As the unit of systemd does it.
fn put_in_force(host: &Host, rules: &Path) {
    let enter = Path::new(ENTER).canonicalize().expect("tools/enter.sh");
    let mut command: Command = host.command(enter);
    let output = command.args(["nft", "-f"]).arg(rules).output().expect("nft runs");
    assert!(output.status.success(), "{}: {}", rules.display(), String::from_utf8_lossy(&output.stderr));
}

/// Whether somebody on this host who has this address gets an answer there, be it that nobody listens: a firewall gives none.
fn gets_an_answer(from: &Host, source: &str, to: &str, port: u16) -> bool {
    let source: SocketAddr = format!("{source}:0").parse().expect("an address");
    let to: SocketAddr = format!("{to}:{port}").parse().expect("an address");
    from.inside(async move || {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(source).expect("an address of this host");
        tokio::time::timeout(Duration::from_secs(2), socket.connect(to)).await.is_ok()
    })
}

#[test]
fn whom_the_configuration_names_reaches_etcd_and_nobody_reaches_anything_else() {
    let mut world = World::new(3);
    let config =
        format!("{}firewall:\n  clients: [10.78.0.64/28]\n  peers: [10.78.0.11, 10.78.0.12/31]\n", world.config());
    for address in [CLIENT, STRANGER] {
        world.hosts[0].has(address, true);
    }
    for host in &mut world.hosts {
        host.configure(&config);
        put_in_force(host, Path::new(FIRST));
    }
    let reached = |world: &World, source: &str| {
        let (from, to) = (&world.hosts[0], &world.hosts[1].address);
        [2379, 2380, OTHER].map(|port| gets_an_answer(from, source, to, port))
    };
    let own = world.hosts[0].address.clone();
    for source in [own.as_str(), CLIENT, STRANGER] {
        assert_eq!(reached(&world, source), [false; 3], "{source}, before anything is known");
    }
    for host in &mut world.hosts {
        host.boot();
    }
    for host in &world.hosts {
        let rules = host.root.join("run/etcd-bootstrapper/firewall.nft");
        world.until(|_| rules.exists());
        // What is in force already is replaced.
        put_in_force(host, &rules);
        put_in_force(host, &rules);
    }
    world.settle_all();
    assert_eq!(reached(&world, &own), [true, true, false], "a peer");
    assert_eq!(reached(&world, CLIENT), [true, false, false], "a client");
    assert_eq!(reached(&world, STRANGER), [false; 3], "a stranger");
}
