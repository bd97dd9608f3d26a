//! The operator's words, `reset` and `recover`, on real etcd: what they keep, what they refuse, and what a crash leaves.

#[cfg(feature = "fault-injection")]
mod deaths;
mod recovering;
mod resetting;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Output};
use std::time::{Duration, Instant};

use crate::world::{Host, PATIENCE, World};

fn settled(size: usize) -> World {
    let mut world = World::new(size);
    world.boot_all();
    world
}

/// Gives every host the configuration with this word in it.
fn say_to_all(world: &World, word: &str) {
    for host in &world.hosts {
        host.configure(&format!("{}{word}\n", world.config()));
    }
}

/// The `recover: {…}` that stands between backticks in what was said.
fn word_in(said: &str) -> String {
    let from = said.find("`recover: {").unwrap_or_else(|| panic!("no word to paste in {said}"));
    said[from + 1..].split('`').next().expect("a closing backtick").to_owned()
}

pub fn trash(host: &Host) -> PathBuf {
    host.root.join("var/lib/etcd/bootstrapper/trash")
}

/// The data dirs in the trash.
pub fn in_trash(host: &Host) -> Vec<PathBuf> {
    let entries = fs::read_dir(trash(host)).map(|d| d.filter_map(Result::ok).collect()).unwrap_or_else(|_| Vec::new());
    entries.into_iter().map(|e| e.path().join("data/member")).filter(|p| p.exists()).collect()
}

pub fn journal(host: &Host) -> String {
    fs::read_to_string(host.root.join("var/lib/etcd/bootstrapper/journal.jsonl")).expect("a journal")
}

pub fn reset(host: &Host, args: &[&str]) -> Output {
    host.program(&[&["reset"], args].concat()).output().expect("reset runs")
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A load that writes one key after another through a host and notes each that was acknowledged.
pub struct Load {
    child: Child,
    acknowledged: PathBuf,
    prefix: String,
}

impl Load {
    pub fn on(world: &World, on: usize, number: usize) -> Load {
        let host = &world.hosts[on];
        let pki = world.dir.join("prod");
        let prefix = format!("load-{on}-{number}-");
        let acknowledged = world.dir.join(format!("{prefix}acknowledged"));
        fs::write(&acknowledged, "").expect("a file");
        let ctl = format!(
            "etcdctl --endpoints https://{}:2379 --cacert {p}/ca.crt --cert {p}/admin.crt --key {p}/admin.key",
            host.address,
            p = pki.display()
        );
        let script = format!(
            "i=0; while i=$((i+1)); do {ctl} --command-timeout=2s put {prefix}$i value-$i && echo $i >> {}; done",
            acknowledged.display()
        );
        let null = std::process::Stdio::null;
        let child = host.command("sh").args(["-c", &script]).stdout(null()).stderr(null()).spawn().expect("sh runs");
        Load { child, acknowledged, prefix }
    }

    fn written(&self) -> usize {
        fs::read_to_string(&self.acknowledged).expect("a file").lines().count()
    }

    pub fn wait_for(&self, writes: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.written() < writes {
            assert!(Instant::now() < deadline, "{} writes of {writes}", self.written());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Every key that was acknowledged, with its value.
    pub fn end(mut self) -> BTreeSet<(String, String)> {
        let _ended_by_itself = self.child.kill();
        let _reaped = self.child.wait();
        let text = fs::read_to_string(&self.acknowledged).expect("a file");
        text.lines().map(|i| (format!("{}{i}", self.prefix), format!("value-{i}"))).collect()
    }
}

/// All keys of the loads, as one host serves them.
pub fn keys(world: &World, on: usize) -> BTreeSet<(String, String)> {
    let output = world.etcdctl(on, &["get", "load-", "--prefix"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
}

/// The host whose etcd leads.
pub fn leader(world: &World) -> usize {
    let status = world.ask(0, &["endpoint", "status"]);
    let leader = status[0]["Status"]["leader"].as_u64().expect("a leader");
    let id = format!("{leader:x}");
    world.hosts.iter().position(|h| h.member_id() == id).expect("one of them leads")
}

/// Boots the blank hosts and, when they answer, the survivor, so that it finds them; all settle.
pub fn recover_all(world: &mut World, survivor: usize) {
    for i in (0..world.hosts.len()).filter(|i| *i != survivor) {
        world.hosts[i].boot();
        world.hosts[i].wait_for("run", "wait (row ");
    }
    world.hosts[survivor].boot();
    world.hosts[survivor].hand_off();
    // On a busy machine it may not have heard all of them; then `finish` does, and systemd starts the unit again.
    while !world.hosts[survivor].rows().contains(&3) {
        world.hosts[survivor].wait_for("finish", "this host decides anew");
        world.hosts[survivor].kill();
        world.hosts[survivor].start_run();
        world.hosts[survivor].hand_off();
    }
    world.settle_all();
}

fn names(world: &World) -> Vec<String> {
    world.hosts.iter().map(|h| h.name.clone()).collect()
}
