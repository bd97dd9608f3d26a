//! Hosts in network namespaces of their own on one bridge: real addresses, real TCP, real etcd, no systemd.
//! What systemd would do — start etcd with the rendered environment, run `finish` beside it — a host does itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

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
        let mut world = World::bare();
        for i in 1..=size {
            world.add_host(&format!("etcd-{i}"), i);
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
            world.add_host(&format!("i-{number}"), number);
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

    fn add_host(&mut self, name: &str, number: usize) {
        let ns = format!("{}-{number}", self.tag);
        let bridge = format!("{}-br", self.tag);
        let port = format!("v{number}");
        ip(&["netns", "add", &ns]);
        ip(&["link", "add", &port, "netns", &bridge, "type", "veth", "peer", "name", "eth0", "netns", &ns]);
        ip(&["-n", &bridge, "link", "set", &port, "master", "br0", "up"]);
        ip(&["-n", &ns, "link", "set", "lo", "up"]);
        ip(&["-n", &ns, "link", "set", "eth0", "up"]);
        let address = format!("10.78.0.{}", 10 + number);
        ip(&["-n", &ns, "addr", "add", &format!("{address}/24"), "dev", "eth0"]);
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
    }

    /// Makes a CA and a configuration with `config new` and gives the configuration to every host.
    pub fn configure(&mut self, cluster: &str, further: &[&str]) {
        let out = self.dir.join(cluster);
        let mut command = Command::new(PROGRAM);
        command.args(["config", "new", "--name", cluster, "--size", &self.hosts.len().to_string(), "--out"]).arg(&out);
        for host in &self.hosts {
            command.arg("--peer").arg(format!("{}=https://{}:2380", host.name, host.address));
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

    /// etcdctl with the admin's certificate, run on a host, against the client URLs of these hosts.
    pub fn etcdctl(&self, on: usize, args: &[&str]) -> Output {
        let pki = self.dir.join("prod");
        let host = &self.hosts[on];
        let mut command = host.command(host.etcd_dir.join("etcdctl"));
        command.arg("--endpoints").arg(format!("https://{}:2379", host.address));
        for (flag, file) in [("--cacert", "ca.crt"), ("--cert", "admin.crt"), ("--key", "admin.key")] {
            command.arg(flag).arg(pki.join(file));
        }
        command.arg("--command-timeout=15s").args(args).output().expect("etcdctl runs")
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
        }
        if !std::thread::panicking() && std::env::var_os("KEEP").is_none() {
            let _best_effort = fs::remove_dir_all(&self.dir);
        }
    }
}

impl Host {
    /// A command in this host's network, with etcd's programs on its path.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let path = format!("{}:{}", self.etcd_dir.display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.ns]).arg(program.as_ref()).env("PATH", path).stdin(Stdio::null());
        command
    }

    /// The program with this host's root.
    pub fn program(&self, args: &[&str]) -> Command {
        let mut command = self.command(PROGRAM);
        command.arg("--root").arg(&self.root).args(args);
        command
    }

    /// Uses another etcd from the next start on.
    pub fn use_etcd(&mut self, suite: &str) {
        self.etcd_dir = etcd_dir(suite);
    }

    pub fn configure(&self, config: &str) {
        fs::write(self.root.join("etc/etcd-bootstrapper/config.yaml"), config).expect("a configuration");
    }

    fn log(&self, what: &str) -> Stdio {
        let path = self.root.with_extension(format!("{what}.log"));
        fs::OpenOptions::new().create(true).append(true).open(path).expect("a log").into()
    }

    /// Everything the host's processes said.
    pub fn said(&self) -> String {
        ["run", "finish", "etcd"].map(|what| format!("[{what}]\n{}", self.said_by(what))).join("\n")
    }

    /// What one of them said: `run`, `finish` or `etcd`.
    pub fn said_by(&self, what: &str) -> String {
        fs::read_to_string(self.root.with_extension(format!("{what}.log"))).unwrap_or_default()
    }

    /// Starts `run`, as a boot does; /run and the console are empty after a boot.
    pub fn boot(&mut self) {
        let _nothing_there = fs::remove_dir_all(self.root.join("run"));
        for what in ["run", "finish", "etcd"] {
            let _nothing_said = fs::remove_file(self.root.with_extension(format!("{what}.log")));
        }
        self.start_run();
    }

    /// Starts `run` again within the same boot.
    pub fn start_run(&mut self) {
        self.run = Some(self.started("run"));
    }

    fn started(&self, command: &'static str) -> Child {
        let mut program = self.program(&[command]);
        if let Some(fault) = self.fault.iter().find(|f| f.of == command) {
            program.env("ETCD_BOOTSTRAPPER_FAULT", &fault.what);
        }
        program.stdout(self.log(command)).stderr(self.log(command)).spawn().expect("the program starts")
    }

    /// Waits until `run` ends and gives its exit code.
    pub fn run_ends(&mut self) -> i32 {
        let mut child = self.run.take().expect("run was started");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().expect("run can be waited for") {
                return status.code().unwrap_or(-1);
            }
            if Instant::now() > deadline {
                let _reaped = child.kill().and_then(|()| child.wait());
                panic!("{}: run did not end:\n{}", self.name, self.said_by("run"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether `run` goes on.
    pub fn run_goes_on(&mut self) -> bool {
        self.run.as_mut().is_some_and(|c| c.try_wait().expect("run can be waited for").is_none())
    }

    /// Starts etcd with the environment that was rendered, as the unit does.
    pub fn start_etcd(&mut self) {
        let mut command = self.command(self.etcd_dir.join("etcd"));
        command.envs(self.environment()).stdout(self.log("etcd")).stderr(self.log("etcd"));
        self.etcd = Some(command.spawn().expect("etcd starts"));
    }

    /// etcd's environment as systemd would read it.
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.root.join("run/etcd-bootstrapper/etcd.env")).expect("run rendered etcd.env");
        let unquote = |v: &str| v.trim_matches('"').replace("\\\"", "\"").replace("\\\\", "\\");
        text.lines().filter_map(|l| l.split_once('=')).map(|(k, v)| (k.to_owned(), unquote(v))).collect()
    }

    /// Waits until etcd ends by its own will, as a removed one does, tells the program as ExecStopPost= would, and
    /// starts `run` again within the same boot.
    pub fn etcd_ends_itself(&mut self) {
        let mut etcd = self.etcd.take().expect("etcd was started");
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = etcd.try_wait().expect("etcd can be waited for") {
                break status.code().expect("it exits").to_string();
            }
            assert!(Instant::now() < deadline, "{}: etcd goes on: {}", self.name, self.said_by("etcd"));
            std::thread::sleep(Duration::from_millis(10));
        };
        let result = if status == "0" { "success" } else { "exit-code" };
        let mut told = self.program(&["etcd-stopped"]);
        told.env("SERVICE_RESULT", result).env("EXIT_CODE", "exited").env("EXIT_STATUS", status);
        assert!(told.status().expect("etcd-stopped runs").success());
        self.start_run();
    }

    pub fn start_finish(&mut self) {
        self.finish = Some(self.started("finish"));
    }

    /// Waits for `run`, starts etcd and waits for `finish`.
    pub fn settle(&mut self) {
        self.hand_off();
        self.finish_ends();
    }

    /// Waits for `run` to succeed, then starts etcd and `finish`.
    pub fn hand_off(&mut self) {
        while self.run.is_some() {
            self.hand_off_or_boot_again();
        }
    }

    /// As [`Host::hand_off`], but where `run` died as it was told to, the host boots again.
    fn hand_off_or_boot_again(&mut self) {
        let code = self.run_ends();
        if code == -1 && self.died("run") {
            self.boot();
            return;
        }
        assert_eq!(code, 0, "{}: run failed:\n{}", self.name, self.said_by("run"));
        self.start_etcd();
        self.start_finish();
    }

    /// Whether this was the death it was told to die; it is not told again.
    fn died(&mut self, of: &str) -> bool {
        self.fault.take_if(|f| f.of == of && !f.what.starts_with("note:")).is_some()
    }

    /// Waits until `finish` has succeeded; where etcd ends by itself before, the host decides anew as under systemd.
    pub fn finish_ends(&mut self) {
        let mut child = self.finish.take().expect("finish was started");
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait().expect("finish can be waited for") {
                if status.code().is_none() && self.died("finish") {
                    // systemd starts it again.
                    child = self.started("finish");
                    continue;
                }
                assert!(status.success(), "{}: finish failed:\n{}", self.name, self.said());
                return;
            }
            if self.etcd.as_mut().is_some_and(|etcd| !matches!(etcd.try_wait(), Ok(None))) {
                kill(child);
                self.etcd_ends_itself();
                self.hand_off();
                child = self.finish.take().expect("hand_off starts it");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _reaped = child.kill().and_then(|()| child.wait());
        panic!("{}: finish did not end:\n{}", self.name, self.said());
    }

    /// Waits until `run` or `finish` has said this.
    pub fn wait_for(&self, what: &str, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.said_by(what).contains(text) {
            assert!(Instant::now() < deadline, "{}: {what} never said {text:?}:\n{}", self.name, self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// As a power cut does, with what was written kept: every process ends at once.
    pub fn kill(&mut self) {
        for child in [self.run.take(), self.finish.take(), self.etcd.take()].into_iter().flatten() {
            kill(child);
        }
    }

    /// The disk is gone: everything below the root but the configuration.
    pub fn wipe(&mut self) {
        self.kill();
        for dir in ["var", "run"] {
            let _nothing_there = fs::remove_dir_all(self.root.join(dir));
        }
    }

    /// Its data disk is taken out and kept, with what is on it.
    pub fn takes_its_disk_out(&mut self) {
        self.kill();
        fs::rename(self.root.join("var"), self.root.with_extension("disk")).expect("it has a disk");
    }

    /// The data disk that was kept is put back in the place of the one of now.
    pub fn puts_its_disk_back(&mut self) {
        self.wipe();
        fs::rename(self.root.with_extension("disk"), self.root.join("var")).expect("a disk was kept");
    }

    /// The cable is pulled, or put back.
    pub fn link(&self, up: bool) {
        ip(&["-n", &self.ns, "link", "set", "eth0", if up { "up" } else { "down" }]);
    }

    /// This host does not reach an address, or does again.
    pub fn unreachable(&self, address: &str, off: bool) {
        let doing = if off { "add" } else { "del" };
        ip(&["-n", &self.ns, "route", doing, "blackhole", &format!("{address}/32")]);
    }

    /// Runs this on the host's network.
    pub fn inside<T: Send + 'static>(&self, ask: impl AsyncFnOnce() -> T + Send + 'static) -> T {
        let ns = fs::File::open(Path::new("/run/netns").join(&self.ns)).expect("a namespace");
        // A thread that has entered a namespace is not used for anything else.
        let thread = std::thread::spawn(move || {
            nix::sched::setns(ns, nix::sched::CloneFlags::CLONE_NEWNET).expect("root enters a namespace");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(ask())
        });
        thread.join().expect("it ends")
    }

    /// Reboots after etcd has ended by itself, as it does when it was removed: `run` asks the cluster first.
    pub fn reboots_suspecting_that_it_was_removed(&mut self) {
        self.kill();
        let mut told = self.program(&["etcd-stopped"]);
        told.env("SERVICE_RESULT", "success").env("EXIT_CODE", "exited").env("EXIT_STATUS", "0");
        assert!(told.status().expect("etcd-stopped runs").success());
        self.start_run();
    }

    /// `status.json`.
    pub fn status(&self) -> Value {
        let text = fs::read_to_string(self.root.join("run/etcd-bootstrapper/status.json")).expect("status.json");
        serde_json::from_str(&text).expect("status.json is JSON")
    }

    /// The rows that fired in this boot, in order.
    pub fn rows(&self) -> Vec<u64> {
        self.status()["decisions"].as_array().expect("decisions").iter().filter_map(|d| d["row"].as_u64()).collect()
    }

    pub fn member_id(&self) -> String {
        self.status()["member_id"].as_str().expect("a member ID").to_owned()
    }

    /// The ID that the first host lists for a name, for a host whose own status is gone.
    pub fn member_id_before(&self, world: &World, name: &str) -> String {
        let list = world.ask(0, &["member", "list"]);
        let members = list["members"].as_array().expect("members");
        let member = members.iter().find(|m| m["name"] == name).expect("it is listed");
        format!("{:x}", member["ID"].as_u64().expect("an ID"))
    }

    pub fn cluster_id(&self) -> String {
        self.status()["cluster_id"].as_str().expect("a cluster ID").to_owned()
    }
}

fn kill(mut child: Child) {
    // `ip netns exec` becomes the program, so this is the program's own process.
    let _gone_already = child.kill();
    let _reaped = child.wait();
}
