//! What goes wrong elsewhere (DESIGN section 6): each shown with etcd's own commands first, then prevented.
//!
//! Every test asserts the harm as well as the prevention, so that it fails too when an etcd has come that cannot be
//! harmed this way any more.

mod by_hand;
mod cut_short;
mod founding;
mod lists;
mod members;
mod restoring;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::etcd::{Etcd, port};
use crate::support::fixture::sha256;
use crate::support::scratch::Scratch;
use crate::world::World;

/// A configuration with another text in place of the only line that begins so.
fn edited(config: &str, line: &str, by: &str) -> String {
    let hit = |l: &&str| l.trim_start().starts_with(line);
    assert_eq!(config.lines().filter(hit).count(), 1, "{line} is in the configuration once");
    config.lines().map(|l| if hit(&l) { by } else { l }).collect::<Vec<_>>().join("\n") + "\n"
}

/// A key as the data dir of a host that is off has it: an etcd on a copy of it that goes on alone says so.
fn on_its_disk(world: &World, on: usize, key: &str) -> String {
    let scratch = Scratch::new();
    let copy = scratch.join("data");
    let data = world.hosts[on].root.join("var/lib/etcd/data");
    let copied = Command::new("cp").arg("-a").arg(data).arg(&copy).status().expect("cp runs");
    assert!(copied.success());
    let peer = format!("http://127.0.0.1:{}", port());
    let etcd = Etcd::start(&copy, &["--force-new-cluster", "--listen-peer-urls", &peer]);
    etcd.wait();
    let value = etcd.ctl(&["get", key, "--print-value-only"]);
    etcd.kill();
    value.trim().to_owned()
}

/// etcd's snapshot of now, through one host.
fn saved(world: &World, on: usize, name: &str) -> PathBuf {
    let file = world.dir.join(name);
    let output = world.etcdctl(on, &["snapshot", "save", file.to_str().expect("a path")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    file
}

/// The configuration of a cluster that restores this file in an epoch.
fn restoring_from(config: &str, snapshot: &Path, epoch: u32) -> String {
    let bytes = std::fs::read(snapshot).expect("the snapshot");
    let (url, sha256) = (snapshot.display(), sha256(&bytes));
    let epoch = edited(config, "size:", &format!("  size: 3\n  epoch: {epoch}"));
    format!("{epoch}restore: {{url: \"file://{url}\", sha256: \"{sha256}\"}}\n")
}

/// A host does not reach these others nor they it, or they do again.
fn cut(world: &World, one: usize, others: &[usize], off: bool) {
    for other in others {
        world.hosts[one].unreachable(&world.hosts[*other].address, off);
        world.hosts[*other].unreachable(&world.hosts[one].address, off);
    }
}
