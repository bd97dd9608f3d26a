//! What happens on one host: boots, hand-offs, deaths, lost disks and pulled cables.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Host, PATIENCE, PROGRAM, World, etcd_dir, ip};
use crate::support::clock;

impl Host {
    /// A command in this host's network, with etcd's programs on its path.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let path = format!("{}:{}", self.etcd_dir.display(), std::env::var("PATH").unwrap_or_default());
        // By its whole path: to look for it in a PATH of the child's, std forks, and copies all that this process has mapped.
        let mut command = Command::new("/sbin/ip");
        command.args(["netns", "exec", &self.ns]).arg(program.as_ref()).env("PATH", path).stdin(Stdio::null());
        command
    }

    /// The program with this host's root.
    pub fn program(&self, args: &[&str]) -> Command {
        let mut command = self.command(PROGRAM);
        command.arg("--root").arg(&self.root).args(args);
        let off_by = self.root.with_extension("clock");
        if off_by.exists() {
            command.env("LD_PRELOAD", clock::library()).env("CLOCK_OFF_BY", off_by);
        }
        command
    }

    /// The program's clock on this host is wrong by so many seconds, from the next start on; then at once.
    pub fn clock_is_off_by(&self, seconds: i64) {
        let file = self.root.with_extension("clock");
        fs::write(file.with_extension("new"), seconds.to_string()).expect("a clock");
        fs::rename(file.with_extension("new"), file).expect("a clock");
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
    pub(super) fn hand_off_or_boot_again(&mut self) {
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

    /// Its peer URL by address.
    pub fn peer_url(&self) -> String {
        let bracketed = if self.address.contains(':') { format!("[{}]", self.address) } else { self.address.clone() };
        format!("https://{bracketed}:2380")
    }

    /// An address comes or goes.
    pub fn has(&self, address: &str, comes: bool) {
        let length = if address.contains(':') { 64 } else { 24 };
        let network = format!("{address}/{length}");
        let mut args = vec!["-n", &self.ns, "addr", if comes { "add" } else { "del" }, &network, "dev", "eth0"];
        if comes && length == 64 {
            args.push("nodad");
        }
        ip(&args);
    }

    /// What names mean on this host, as in hosts(5).
    pub fn resolves(&self, hosts: &str) {
        let dir = Path::new("/etc/netns").join(&self.ns);
        fs::create_dir_all(&dir).expect("a directory that ip-netns(8) mounts over /etc");
        fs::write(dir.join("hosts"), format!("127.0.0.1 localhost\n{hosts}")).expect("hosts");
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
