//! Metadata services in a network of their own, at the addresses that they have in the world, and hosts that ask them.

use std::net::{IpAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::sched::{CloneFlags, unshare};

pub use super::wire::{Asked, How, Log, Reply, Service, accept, service};
use crate::support::scratch::Scratch;
use crate::world::PROGRAM;

/// Listens on port 80 of an address of this thread's network.
pub fn listen(address: &str, service: Service) -> Log {
    let address: IpAddr = address.parse().expect("an address");
    let listener = TcpListener::bind((address, 80)).expect("port 80");
    accept(listener, service)
}

/// Puts this thread, and what it starts, into a network of its own in which these addresses are this machine's.
pub fn own_network(addresses: &[&str]) {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
    ip("link set lo up");
    for address in addresses {
        let nodad = if address.contains(':') { "/128 dev lo nodad" } else { "/32 dev lo" };
        ip(&format!("addr add {address}{nodad}"));
    }
}

/// ip(8) in this thread's network.
pub fn ip(command: &str) {
    let output = Command::new("ip").args(command.split(' ')).output().expect("ip(8) runs");
    assert!(output.status.success(), "ip {command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A host by its firmware.
pub fn host(firmware: &[(&str, &str)]) -> Scratch {
    let root = Scratch::new();
    dress(root.path(), firmware);
    root
}

/// Gives a host its firmware; a name with a slash is a file below its root.
pub fn dress(root: &Path, firmware: &[(&str, &str)]) {
    for (name, text) in firmware {
        let path = if name.contains('/') { root.join(name) } else { root.join("sys/class/dmi/id").join(name) };
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }
}

/// Runs the program in this thread's network.
pub fn program(root: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.arg("--root").arg(root).args(args).stdin(Stdio::null()).envs(env.iter().copied());
    command.output().expect("the program runs")
}

/// How long `metadata` waits on a host.
pub fn patience(root: &Path, text: &str) {
    dress(root, &[("usr/lib/etcd-bootstrapper/config.d/10-test.yaml", &format!("timeouts: {{metadata: {text}}}\n"))]);
}
