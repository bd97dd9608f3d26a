//! What a user does without the bootstrapper: etcd started by hand, with the lists and tokens that he writes himself.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Output};
use std::time::{Duration, Instant};

use bootstrapper::observe::peers::Asker;
use bootstrapper::observe::wal::identify;
use bootstrapper::paths::Paths;
use bootstrapper::tls::client_config;
use plan::facts::Heard;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use serde_json::Value;

use crate::support::etcd::{binary, output};
use crate::world::{PATIENCE, World};

/// etcd says this once it has joined a quorum and serves.
const SERVES: &str = "ready to serve client requests";

/// The hosts of a world with an etcd each, and no bootstrapper.
pub struct ByHand {
    etcd: Vec<Option<Child>>,
    /// A root with nothing but certificates: `client.crt` is good for everything.
    pki: Paths,
    pub world: World,
}

impl ByHand {
    /// Blank hosts with one certificate that is good on all of them.
    pub fn new(size: usize) -> ByHand {
        let world = World::new(size);
        let pki = Paths::under(world.dir.join("by-hand"));
        issue(&world, &pki.pki());
        ByHand { etcd: (0..size).map(|_| None).collect(), pki, world }
    }

    /// Blank hosts that have just become one cluster of these first members by `--initial-cluster-state new`.
    pub fn serving(size: usize, first: &[usize]) -> ByHand {
        let mut hand = ByHand::new(size);
        let list = hand.list(first);
        for on in first {
            hand.start(*on, &list, "new");
        }
        for on in first {
            hand.serves(*on);
        }
        hand
    }

    /// `--initial-cluster` of these hosts.
    pub fn list(&self, of: &[usize]) -> String {
        let entry = |on: &usize| format!("{}={}", self.world.hosts[*on].name, self.peer_url(*on));
        of.iter().map(entry).collect::<Vec<_>>().join(",")
    }

    pub fn peer_url(&self, on: usize) -> String {
        format!("https://{}:2380", self.world.hosts[on].address)
    }

    pub fn data(&self, on: usize) -> PathBuf {
        self.world.hosts[on].root.join("var/lib/etcd/data")
    }

    /// Cluster and member ID that the log on a host's disk begins with, in etcd's hexadecimal.
    pub fn ids(&self, on: usize) -> (String, String) {
        self.try_ids(on).expect("a log")
    }

    /// As [`ByHand::ids`], when there is a log.
    pub fn try_ids(&self, on: usize) -> Option<(String, String)> {
        let (cluster, member) = identify(&self.data(on).join("member/wal")).ok()??;
        Some((cluster.to_string(), member.to_string()))
    }

    /// Starts etcd with everybody's token and does not wait for it.
    pub fn start(&mut self, on: usize, list: &str, state: &str) {
        self.start_with(on, list, state, &[]);
    }

    /// As [`ByHand::start`], with further flags.
    pub fn start_with(&mut self, on: usize, list: &str, state: &str, further: &[&str]) {
        let host = &self.world.hosts[on];
        let (peer, client) = (self.peer_url(on), format!("https://{}:2379", host.address));
        let data = self.data(on);
        fs::create_dir_all(data.parent().expect("it has one")).expect("a directory");
        let log = File::create(host.root.with_extension("etcd.log")).expect("a log");
        let mut command = host.command(binary("etcd"));
        command
            .arg("--data-dir")
            .arg(data)
            .args(["--name", &host.name, "--initial-cluster", list, "--initial-cluster-state", state])
            .args(["--initial-cluster-token", "prod", "--client-cert-auth", "--peer-client-cert-auth"])
            .args(["--initial-advertise-peer-urls", &peer, "--listen-peer-urls", &peer])
            .args(["--advertise-client-urls", &client, "--listen-client-urls", &client])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"]);
        for (flag, file) in [
            ("--trusted-ca-file", "ca.crt"),
            ("--peer-trusted-ca-file", "ca.crt"),
            ("--cert-file", "client.crt"),
            ("--key-file", "client.key"),
            ("--peer-cert-file", "client.crt"),
            ("--peer-key-file", "client.key"),
        ] {
            command.arg(flag).arg(self.pki.pki().join(file));
        }
        let log_too = log.try_clone().expect("a log");
        self.etcd[on] = Some(command.args(further).stdout(log_too).stderr(log).spawn().expect("etcd starts"));
    }

    /// Waits until etcd serves on a host.
    pub fn serves(&mut self, on: usize) {
        self.said(on, SERVES);
    }

    /// The member of the change of members that a host's etcd has logged.
    pub fn in_the_log(&self, on: usize, change: &str) -> String {
        let said = self.world.hosts[on].said_by("etcd");
        let line = said.lines().rfind(|l| l.contains("raft-conf-change") && l.contains(change)).expect("a change");
        let line: Value = serde_json::from_str(line).expect("etcd logs JSON");
        line["raft-conf-change-node-id"].as_str().expect("an ID").to_owned()
    }

    /// Waits until etcd has said this since it was started.
    pub fn said(&mut self, on: usize, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.world.hosts[on].said_by("etcd").contains(text) {
            assert!(Instant::now() < deadline, "{} never said {text:?}", self.world.hosts[on].name);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The exit code, waited for.
    pub fn ends(&mut self, on: usize) -> Option<i32> {
        let mut child = self.etcd[on].take().expect("etcd was started");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().expect("etcd can be waited for") {
                return status.code();
            }
            if Instant::now() > deadline {
                let _reaped = child.kill().and_then(|()| child.wait());
                panic!("etcd of {} goes on", self.world.hosts[on].name);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// As a power cut does, with what was written kept.
    pub fn kill(&mut self, on: usize) {
        if let Some(mut child) = self.etcd[on].take() {
            let _gone_already = child.kill();
            let _reaped = child.wait();
        }
    }

    /// The disk is gone.
    pub fn wipe(&mut self, on: usize) {
        self.kill(on);
        let _nothing_there = fs::remove_dir_all(self.world.hosts[on].root.join("var"));
    }

    /// Whether a write is acknowledged within some seconds.
    pub fn takes_writes(&self, on: usize) -> bool {
        self.try_ctl(on, &["put", "taken", "yes"]).status.success()
    }

    /// etcdctl with little patience, for what is expected to hang.
    pub fn try_ctl(&self, on: usize, args: &[&str]) -> Output {
        self.world.etcdctl(on, &[args, &["--command-timeout=3s"]].concat())
    }

    /// Waits until etcdctl succeeds: etcd refuses much in the first seconds after somebody came up.
    pub fn ctl(&self, on: usize, args: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.try_ctl(on, args);
            if output.status.success() {
                return String::from_utf8_lossy(&output.stdout).trim().to_owned();
            }
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(Instant::now() < deadline, "etcdctl {}: {said}", args.join(" "));
        }
    }

    /// Keys at and below this one, as one host's own database has them, quorum or not.
    pub fn on_disk(&self, on: usize, prefix: &str) -> Vec<String> {
        let found = self.ctl(on, &["get", prefix, "--prefix", "--keys-only", "--consistency=s"]);
        found.split_whitespace().map(str::to_owned).collect()
    }

    /// The member ID that etcd lists for a host's peer URL.
    pub fn listed(&self, by: usize, on: usize) -> Option<String> {
        let list = self.world.ask(by, &["member", "list"]);
        let url = self.peer_url(on);
        let members = list["members"].as_array().expect("members");
        let found = members.iter().find(|m| m["peerURLs"][0] == url.as_str())?;
        Some(format!("{:x}", found["ID"].as_u64().expect("an ID")))
    }

    /// The raft term that a host's etcd is in.
    pub fn term(&self, on: usize) -> u64 {
        self.world.ask(on, &["endpoint", "status"])[0]["Status"]["raftTerm"].as_u64().expect("a term")
    }

    /// The host whose etcd leads.
    pub fn leader(&self) -> Option<usize> {
        (0..self.etcd.len()).filter(|on| self.etcd[*on].is_some()).find(|on| {
            let status = &self.world.ask(*on, &["endpoint", "status"])[0]["Status"];
            status["leader"].as_u64() == status["header"]["member_id"].as_u64()
        })
    }

    /// Hands the leadership to the next voter, which begins a term.
    pub fn elect_another(&self) {
        let Some(on) = self.leader() else { return };
        let running: Vec<usize> = (0..self.etcd.len()).filter(|on| self.etcd[*on].is_some()).collect();
        let next = running.iter().find(|next| **next > on).unwrap_or(&running[0]);
        let _or_the_next_time = self.try_ctl(on, &["move-leader", &self.ids(*next).1]);
    }

    /// IDs of the members that a host's etcd names on its peer port, which answers without a quorum.
    pub fn members_by_the_peer_port_of(&self, on: usize) -> Vec<String> {
        let url = self.peer_url(on);
        let tls = client_config(&self.pki).expect("certificates");
        let peers = self.world.hosts[on].inside(async move || {
            let asker = Asker::new(tls).expect("a client");
            asker.ask(vec![(None, url.parse().expect("a URL"))]).await
        });
        let Heard::Cluster(answer) = &peers[0].heard else { panic!("{peers:?}") };
        answer.members.iter().map(|m| m.id.to_string()).collect()
    }

    /// etcd's snapshot of now.
    pub fn snapshot(&self, on: usize, name: &str) -> PathBuf {
        let file = self.world.dir.join(name);
        self.ctl(on, &["snapshot", "save", file.to_str().expect("a path")]);
        file
    }

    /// `etcdutl snapshot restore` on a blank host, with everybody's token.
    pub fn restore(&self, on: usize, snapshot: &Path, list: &str) {
        let (data, peer) = (self.data(on), self.peer_url(on));
        fs::create_dir_all(data.parent().expect("it has one")).expect("a directory");
        let (snapshot, data) = (snapshot.to_str().expect("a path"), data.to_str().expect("a path"));
        let name = &self.world.hosts[on].name;
        let restore = ["snapshot", "restore", snapshot, "--data-dir", data, "--name", name];
        let cluster = ["--initial-cluster", list, "--initial-cluster-token", "prod"];
        let own = ["--initial-advertise-peer-urls", &peer];
        output(&binary("etcdutl"), &[&restore[..], &cluster, &own].concat(), b"");
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        for on in 0..self.etcd.len() {
            self.kill(on);
        }
    }
}

/// One certificate for every host, by the CA of the world.
fn issue(world: &World, pki: &Path) {
    fs::create_dir_all(pki).expect("a directory");
    let read = |name: &str| fs::read_to_string(world.dir.join("prod").join(name)).expect("config new wrote it");
    let ca_key = KeyPair::from_pem(&read("ca.key")).expect("the CA's key");
    let ca = Issuer::from_ca_cert_pem(&read("ca.crt"), ca_key).expect("the CA");
    let addresses: Vec<String> = world.hosts.iter().map(|h| h.address.clone()).collect();
    let mut params = CertificateParams::new(addresses).expect("addresses");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, &ca).expect("a certificate");
    fs::write(pki.join("ca.crt"), read("ca.crt")).expect("a file");
    fs::write(pki.join("client.crt"), certificate.pem()).expect("a file");
    fs::write(pki.join("client.key"), key.serialize_pem()).expect("a file");
}
