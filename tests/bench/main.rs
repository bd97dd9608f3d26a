//! `make bench`: what this program costs against what one would do by hand, alternating in one run, medians.

#![allow(clippy::disallowed_methods, missing_docs, dead_code)]

mod backup;
mod ground;
mod https;
mod metadata;
mod restore;
#[path = "../support/services.rs"]
mod services;
#[path = "../it/support/mod.rs"]
mod support;
#[path = "../support/wire.rs"]
mod wire;
#[path = "../it/world/mod.rs"]
mod world;

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use ground::Snapshot;
use world::{Host, PATIENCE, World};

/// Pairs that count; one more before them warms up.
const PAIRS: usize = 10;

/// etcd says this once it has joined a quorum and serves.
const SERVES: &str = "ready to serve client requests";

fn main() {
    let only: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|o| name.contains(o.as_str()));
    if ["found", "replace", "start", "metadata"].into_iter().any(wanted) {
        heading(&format!("median of {PAIRS} pairs, alternating"));
    }
    if wanted("found") {
        found();
    }
    if wanted("replace") {
        replace();
    }
    if wanted("start") {
        start();
    }
    if wanted("metadata") {
        metadata::metadata();
    }
    if wanted("restore") || wanted("backup") {
        let snapshot = Snapshot::made();
        heading(&format!("median of {} pairs, alternating, cold cache", ground::FEW));
        if wanted("restore") {
            restore::restore(&snapshot);
        }
        if wanted("backup") {
            backup::backup(&snapshot);
        }
    }
}

fn heading(what: &str) {
    println!("{what:<44} {:>9} {:>9} {:>9}   {:>18}", "ours", "by hand", "ratio", "target");
}

/// What is no time.
fn fact(what: &str, value: &str, target: &str) {
    println!("{what:<44} {value:<29}   {target:>18}");
}

fn row(what: &str, ours: &[Duration], theirs: Option<&[Duration]>, target: &str) {
    let seconds = |d: Duration| format!("{:.3} s", d.as_secs_f64());
    let mine = median(ours);
    let (hand, ratio) = match theirs.map(median) {
        Some(hand) => (seconds(hand), format!("{:.2}", mine.as_secs_f64() / hand.as_secs_f64())),
        None => ("-".into(), "-".into()),
    };
    println!("{what:<44} {:>9} {hand:>9} {ratio:>9}   {target:>18}", seconds(mine));
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}

/// Three blank hosts to three serving voters, against three etcds with a hand-written list and ready certificates.
fn found() {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for pair in 0..=PAIRS {
        let mut world = World::new(3);
        let a = found_by_program(&mut world);
        let b = found_by_hand(&mut world);
        if pair > 0 {
            ours.push(a);
            theirs.push(b);
        }
    }
    row("three blank hosts to three serving voters", &ours, Some(&theirs), "<= 1.5x + 0.3 s");
}

fn found_by_program(world: &mut World) -> Duration {
    let began = Instant::now();
    for host in &mut world.hosts {
        host.boot();
    }
    world.hand_off_all();
    let took = all_serve(world, began);
    for host in &mut world.hosts {
        host.kill();
    }
    took
}

/// The same hosts, the same certificates, `--initial-cluster` as an operator writes it.
fn found_by_hand(world: &mut World) -> Duration {
    let list: Vec<String> = world.hosts.iter().map(|h| format!("{}=https://{}:2380", h.name, h.address)).collect();
    for host in &world.hosts {
        let _nothing_there = std::fs::remove_dir_all(host.root.join("var/lib/etcd/data"));
        let _nothing_there = std::fs::remove_file(host.root.with_extension("etcd.log"));
    }
    let began = Instant::now();
    let mut children: Vec<Child> = Vec::new();
    for host in &world.hosts {
        children.push(etcd_by_hand(host, "new", &list.join(",")));
    }
    let took = all_serve(world, began);
    for mut child in children {
        let _ends = child.kill().and_then(|()| child.wait());
    }
    took
}

/// etcd with the flags that an operator gives it, on certificates that are there.
fn etcd_by_hand(host: &Host, state: &str, list: &str) -> Child {
    let pki = host.root.join("var/lib/etcd/bootstrapper/pki");
    let mut command: Command = host.command(world::etcd_dir("forky").join("etcd"));
    let log = std::fs::File::create(host.root.with_extension("etcd.log")).expect("a log");
    command
        .args(["--name", &host.name, "--initial-cluster", list, "--initial-cluster-token", "by-hand"])
        .args(["--initial-cluster-state", state, "--client-cert-auth", "--peer-client-cert-auth"])
        .arg("--data-dir")
        .arg(host.root.join("var/lib/etcd/data"))
        .arg(format!("--initial-advertise-peer-urls=https://{}:2380", host.address))
        .arg(format!("--listen-peer-urls=https://{}:2380", host.address))
        .arg(format!("--advertise-client-urls=https://{}:2379", host.address))
        .arg(format!("--listen-client-urls=https://{}:2379", host.address));
    for (flag, file) in [
        ("--trusted-ca-file", "ca.crt"),
        ("--peer-trusted-ca-file", "ca.crt"),
        ("--cert-file", "server.crt"),
        ("--key-file", "server.key"),
        ("--peer-cert-file", "peer.crt"),
        ("--peer-key-file", "peer.key"),
    ] {
        command.arg(flag).arg(pki.join(file));
    }
    command.stdout(log.try_clone().expect("a log")).stderr(log).spawn().expect("etcd starts")
}

/// A blank disk to a voter in the place of the one that was lost, against an operator who knows the commands by heart.
fn replace() {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut world = World::new(3);
    world.boot_all();
    for pair in 0..=PAIRS {
        world.hosts[2].wipe();
        another_second();
        let began = Instant::now();
        world.hosts[2].boot();
        world.hosts[2].settle();
        let a = began.elapsed();
        let b = replaced_by_hand(&mut world);
        if pair > 0 {
            ours.push(a);
            theirs.push(b);
        }
    }
    row("a blank disk to a voter in the lost one's place", &ours, Some(&theirs), "<= 1.5x + 1 s");
}

/// A member's ID is made of its peer URLs and of the second in which it is added (etcd: server/etcdserver/api/membership/member.go):
/// whoever comes after another life of the same second is refused until the next one.
fn another_second() {
    std::thread::sleep(Duration::from_secs(1));
}

/// remove, `member add --learner`, start, promote, each as soon as etcd lets one.
fn replaced_by_hand(world: &mut World) -> Duration {
    world.hosts[2].kill();
    let old = world.hosts[2].member_id();
    let _there = std::fs::remove_dir_all(world.hosts[2].root.join("var/lib/etcd/data"));
    another_second();
    let began = Instant::now();
    let insists = |args: &[&str]| {
        while !world.etcdctl(0, args).status.success() {
            assert!(began.elapsed() < PATIENCE, "etcdctl {} never succeeds", args.join(" "));
        }
    };
    insists(&["member", "remove", &old]);
    let (name, url) = (world.hosts[2].name.clone(), format!("https://{}:2380", world.hosts[2].address));
    insists(&["member", "add", &name, "--learner", "--peer-urls", &url]);
    let list: Vec<String> = world.hosts.iter().map(|h| format!("{}=https://{}:2380", h.name, h.address)).collect();
    let mut child = etcd_by_hand(&world.hosts[2], "existing", &list.join(","));
    let members = world.ask(0, &["member", "list"]);
    let new = members["members"].as_array().expect("members").iter().find(|m| m["isLearner"] == true);
    let new = format!("{:x}", new.expect("it was added")["ID"].as_u64().expect("an ID"));
    insists(&["member", "promote", &new]);
    let took = began.elapsed();
    let _ends = child.kill().and_then(|()| child.wait());
    took
}

fn all_serve(world: &World, began: Instant) -> Duration {
    while !world.hosts.iter().all(|h| h.said_by("etcd").contains(SERVES)) {
        assert!(began.elapsed() < PATIENCE, "not all serve: {}", world.hosts[0].said());
        std::thread::sleep(Duration::from_millis(2));
    }
    began.elapsed()
}

/// `run` on a settled member, from exec to exit.
fn start() {
    let mut world = World::new(1);
    world.boot_all();
    world.hosts[0].kill();
    // The image says which etcd it has, and so does this host.
    let defaults = world.hosts[0].root.join("usr/lib/etcd-bootstrapper");
    std::fs::create_dir_all(&defaults).expect("a directory");
    std::fs::write(defaults.join("etcd-version"), "3.5.30\n").expect("a version");
    let mut ours = Vec::new();
    for pair in 0..=PAIRS {
        let began = Instant::now();
        world.hosts[0].boot();
        assert_eq!(world.hosts[0].run_ends(), 0, "{}", world.hosts[0].said());
        if pair > 0 {
            ours.push(began.elapsed());
        }
    }
    row("`run` on a settled member", &ours, None, "<= 0.050 s");
}
