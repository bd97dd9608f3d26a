//! Hosts in network namespaces of their own on one bridge: real addresses, real TCP, real etcd, no systemd.
//! What systemd would do — start etcd with the rendered environment, run `finish` beside it — a host does itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

mod host;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_etcd-bootstrapper");

/// Patience for anything that has to come true; a loaded two-core machine is slow, and a hang must still end.
pub const PATIENCE: Duration = Duration::from_secs(90);

static WORLDS: AtomicU32 = AtomicU32::new(0);

/// Some hosts on one network, with one cluster's CA and configuration.
pub struct World {
    pub dir: PathBuf,
    tag: String,
    pub hosts: Vec<Host>,
}

/// One host: a root directory, a namespace, and the processes that run on it.
pub struct Host {
    pub name: String,
    pub address: String,
    pub root: PathBuf,
    ns: String,
    etcd_dir: PathBuf,
    run: Option<Child>,
    etcd: Option<Child>,
    finish: Option<Child>,
    /// What the program is told to die of, by `ETCD_BOOTSTRAPPER_FAULT`; a boot after it has died is without.
    pub fault: Option<Fault>,
}

/// A death of `run` or `finish`, in a program built with fault injection.
#[derive(Clone, Debug)]
pub struct Fault {
    /// `run` or `finish`.
    pub of: &'static str,
    /// As sys/fault.rs has it.
    pub what: String,
}

/// Directory of etcd, etcdctl and etcdutl: `ETCD_BIN_DIR`, or what the tools fetch.
pub fn etcd_dir(suite: &str) -> PathBuf {
    if suite == "forky"
        && let Some(dir) = std::env::var_os("ETCD_BIN_DIR")
    {
        return dir.into();
    }
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/etcd.sh");
    let output = Command::new(tool).arg(suite).stderr(Stdio::inherit()).output().expect("tools/etcd.sh runs");
    assert!(output.status.success(), "tools/etcd.sh {suite} failed");
    String::from_utf8(output.stdout).expect("a path").trim().into()
}

/// The address that a host has by its number.
pub fn v4(number: usize) -> String {
    format!("10.78.0.{}", 10 + number)
}

fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().expect("ip(8) of iproute2 runs");
    assert!(output.status.success(), "ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
}

impl World {
    /// Hosts etcd-1… of a cluster of this size, configured, none of them booted.
    pub fn new(size: usize) -> World {
        World::with(size, &[])
    }

    /// As [`World::new`], with further arguments for `config new`.
    pub fn with(size: usize, config_new: &[&str]) -> World {
        World::at(size, v4, config_new)
    }

    /// As [`World::with`], at these addresses.
    pub fn at(size: usize, address: impl Fn(usize) -> String, config_new: &[&str]) -> World {
        let mut world = World::bare();
        for i in 1..=size {
            world.add_host(&format!("etcd-{i}"), i, address(i));
        }
        world.configure("prod", config_new);
        world
    }

    /// A network without hosts.
    fn bare() -> World {
        let tag = format!("eb{}-{}", std::process::id(), WORLDS.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(&tag);
        fs::create_dir_all(&dir).expect("a directory for the world");
        let bridge = format!("{tag}-br");
        ip(&["netns", "add", &bridge]);
        ip(&["-n", &bridge, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &bridge, "link", "set", "br0", "up"]);
        World { dir, tag, hosts: Vec::new() }
    }

    /// The cable of a host is pulled at the switch, or put back: its interface stays up, and loses its carrier.
    pub fn cable(&self, on: usize, plugged: bool) {
        let state = if plugged { "up" } else { "down" };
        ip(&["-n", &format!("{}-br", self.tag), "link", "set", &format!("v{}", on + 1), state]);
    }

    /// Writes the inventory of a group on every host: number and state of each instance, in one moment on all.
    pub fn inventory(&self, instances: &[(usize, &str)]) {
        let entry = |(number, state): &(usize, &str)| {
            serde_json::json!({"id": format!("i-{number}"), "peer_url": format!("https://10.78.0.{}:2380", 10 + number),
                "state": state, "launched": format!("2026-11-20T00:00:{number:02}Z")})
        };
        let text = serde_json::json!({"instances": instances.iter().map(entry).collect::<Vec<_>>()}).to_string();
        for host in &self.hosts {
            let file = host.root.join("etc/inventory.json");
            fs::write(file.with_extension("new"), &text).expect("an inventory");
            fs::rename(file.with_extension("new"), file).expect("an inventory");
        }
    }

    /// Hosts i-1… of a group of which `size` are to vote, told apart by their instance IDs, none of them booted.
    pub fn group(size: usize, hosts: usize) -> World {
        let mut world = World::bare();
        for number in 1..=hosts {
            world.add_host(&format!("i-{number}"), number, v4(number));
        }
        let out = world.dir.join("prod");
        let mut command = Command::new(PROGRAM);
        command.args(["config", "new", "--name", "prod", "--size", &size.to_string()]);
        let output = command.args(["--discovery-file", "/etc/inventory.json", "--out"]).arg(&out).output();
        let output = output.expect("config new runs");
        assert!(output.status.success(), "config new: {}", String::from_utf8_lossy(&output.stderr));
        let config = world.config();
        for host in &world.hosts {
            host.configure(&format!("{config}replace_after: 2s\nmember: {{name: {}}}\n", host.name));
        }
        world
    }

    fn add_host(&mut self, name: &str, number: usize, address: String) {
        let ns = format!("{}-{number}", self.tag);
        let bridge = format!("{}-br", self.tag);
        let port = format!("v{number}");
        ip(&["netns", "add", &ns]);
        ip(&["link", "add", &port, "netns", &bridge, "type", "veth", "peer", "name", "eth0", "netns", &ns]);
        ip(&["-n", &bridge, "link", "set", &port, "master", "br0", "up"]);
        ip(&["-n", &ns, "link", "set", "lo", "up"]);
        ip(&["-n", &ns, "link", "set", "eth0", "up"]);
        let root = self.dir.join(name);
        fs::create_dir_all(root.join("etc/etcd-bootstrapper")).expect("a root");
        self.hosts.push(Host {
            name: name.into(),
            address,
            root,
            ns,
            etcd_dir: etcd_dir("forky"),
            run: None,
            etcd: None,
            finish: None,
            fault: None,
        });
        self.hosts.last().expect("it was pushed").has(&self.hosts[self.hosts.len() - 1].address, true);
    }

    /// Makes a CA and a configuration with `config new` and gives the configuration to every host.
    pub fn configure(&mut self, cluster: &str, further: &[&str]) {
        let out = self.dir.join(cluster);
        let mut command = Command::new(PROGRAM);
        command.args(["config", "new", "--name", cluster, "--size", &self.hosts.len().to_string(), "--out"]).arg(&out);
        for host in &self.hosts {
            command.arg("--peer").arg(format!("{}={}", host.name, host.peer_url()));
        }
        let output = command.args(further).output().expect("config new runs");
        assert!(output.status.success(), "config new: {}", String::from_utf8_lossy(&output.stderr));
        let config = fs::read_to_string(out.join("config.yaml")).expect("config new writes config.yaml");
        for host in &self.hosts {
            host.configure(&config);
        }
    }

    /// The configuration that all hosts were given.
    pub fn config(&self) -> String {
        fs::read_to_string(self.dir.join("prod/config.yaml")).expect("the world is configured")
    }

    /// Boots every host and waits until each has settled.
    pub fn boot_all(&mut self) {
        for host in &mut self.hosts {
            host.boot();
        }
        self.settle_all();
    }

    /// Hands every booted host off to its etcd, then waits until each has settled: none serves before a quorum is up.
    /// Each etcd starts as soon as its own `run` has ended, as systemd does it: the slower hosts of a founding learn
    /// from that etcd that it was committed.
    pub fn settle_all(&mut self) {
        self.hand_off_all();
        for host in self.hosts.iter_mut().filter(|h| h.finish.is_some()) {
            host.finish_ends();
        }
    }

    /// As [`World::settle_all`], for these hosts.
    pub fn settle(&mut self, who: &[usize]) {
        self.hand_off(who);
        for on in who {
            self.hosts[*on].finish_ends();
        }
    }

    /// Starts each etcd when its own `run` has ended.
    pub fn hand_off_all(&mut self) {
        let all: Vec<usize> = (0..self.hosts.len()).collect();
        self.hand_off(&all);
    }

    fn hand_off(&mut self, who: &[usize]) {
        let deadline = Instant::now() + PATIENCE;
        while who.iter().any(|on| self.hosts[*on].run.is_some()) {
            for on in who {
                let host = &mut self.hosts[*on];
                if host.run.is_some() && (!host.run_goes_on() || Instant::now() > deadline) {
                    host.hand_off_or_boot_again();
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// etcdctl with the admin's certificate, run on a host, against its client URL.
    pub fn etcdctl(&self, on: usize, args: &[&str]) -> Output {
        self.etcdctl_command(on).args(args).output().expect("etcdctl runs")
    }

    /// As [`World::etcdctl`], still to be given its words.
    pub fn etcdctl_command(&self, on: usize) -> Command {
        let pki = self.dir.join("prod");
        let host = &self.hosts[on];
        let mut command = host.command(host.etcd_dir.join("etcdctl"));
        command.arg("--endpoints").arg(host.peer_url().replace(":2380", ":2379"));
        for (flag, file) in [("--cacert", "ca.crt"), ("--cert", "admin.crt"), ("--key", "admin.key")] {
            command.arg(flag).arg(pki.join(file));
        }
        command.arg("--command-timeout=15s");
        command
    }

    /// The link to the host of this number carries so many Mbit/s from here on.
    pub fn slow_to(&self, number: usize, rate: u32) {
        let mut tc = Command::new("ip");
        tc.args(["netns", "exec", &format!("{}-br", self.tag), "tc", "qdisc", "add", "dev", &format!("v{number}")]);
        tc.args(["root", "tbf", "rate", &format!("{rate}mbit"), "burst", "64kb", "latency", "400ms"]);
        let output = tc.output().expect("tc(8) of iproute2 runs");
        assert!(output.status.success(), "tc: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// etcdctl's JSON answer.
    pub fn ask(&self, on: usize, args: &[&str]) -> Value {
        let output = self.etcdctl(on, &[args, &["-w", "json"]].concat());
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "etcdctl {}: {}{said}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_str(&said).expect("etcdctl -w json says JSON")
    }

    /// Writes a key through one host; when its leader has just died, again until the write is acknowledged.
    pub fn put(&self, on: usize, key: &str, value: &str) {
        self.at_last(on, &["put", key, value]);
    }

    /// Reads a key through one host, linearizably; empty when there is none.
    pub fn get(&self, on: usize, key: &str) -> String {
        self.at_last(on, &["get", key, "--print-value-only"])
    }

    /// What etcdctl says when it succeeds at last.
    fn at_last(&self, on: usize, args: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.etcdctl(on, args);
            if output.status.success() {
                return String::from_utf8_lossy(&output.stdout).trim().to_owned();
            }
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(Instant::now() < deadline, "etcdctl {}: {said}", args.join(" "));
        }
    }

    /// Removes a member through the first host; etcd refuses for the first seconds after any of them came up.
    pub fn remove_member(&self, id: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.etcdctl(0, &["member", "remove", id]).status.success() {
            assert!(Instant::now() < deadline, "{id} was never removed");
        }
    }

    /// Waits until this is so.
    pub fn until(&self, so: impl Fn(&World) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !so(self) {
            assert!(Instant::now() < deadline, "it never came true");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Names of voters and number of learners, as one host lists them.
    pub fn members(&self, on: usize) -> (Vec<String>, usize) {
        let list = self.ask(on, &["member", "list"]);
        let members = list["members"].as_array().expect("members");
        let learner = |m: &&Value| m["isLearner"].as_bool().unwrap_or(false);
        let mut voters: Vec<String> =
            members.iter().filter(|m| !learner(m)).map(|m| m["name"].as_str().unwrap_or_default().to_owned()).collect();
        voters.sort();
        (voters, members.iter().filter(learner).count())
    }

    /// The ID of the learner that a host lists.
    pub fn learner(&self, on: usize) -> Option<String> {
        let list = self.ask(on, &["member", "list"]);
        let learner = list["members"].as_array()?.iter().find(|m| m["isLearner"].as_bool().unwrap_or(false))?;
        Some(format!("{:x}", learner["ID"].as_u64()?))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for host in &mut self.hosts {
            host.kill();
        }
        if std::thread::panicking() {
            for host in &self.hosts {
                eprintln!("--- {} ---\n{}", host.name, host.said());
            }
        }
        let spaces = (1..=self.hosts.len()).map(|i| format!("{}-{i}", self.tag)).chain([format!("{}-br", self.tag)]);
        for ns in spaces {
            let _best_effort = Command::new("ip").args(["netns", "del", &ns]).output();
            let _nothing_there = fs::remove_dir_all(Path::new("/etc/netns").join(&ns));
        }
        if !std::thread::panicking() && std::env::var_os("KEEP").is_none() {
            let _best_effort = fs::remove_dir_all(&self.dir);
        }
    }
}
