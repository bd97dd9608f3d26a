//! What the platform knows of a machine: by this program, and by cloud-init's own data source, of the same server.
//!
//! Ours is `metadata show` from exec to exit: it finds by the firmware that the machine is EC2's and reads what it needs.
//! cloud-init's is Debian's package on Debian's Python, in a process that does nothing else: the imports, the same look at
//! the firmware and `DataSourceEc2`'s crawl, without `ds-identify` before and without anything that is done with it after;
//! the crawl alone is that call. The server has IMDSv2's protocol, one interface and no tags. `run` asks once less than
//! `metadata show`.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::ground::told;
use crate::services::{EC2, Ec2};
use crate::support::scratch::Scratch;
use crate::wire::{self, How, Log, service};
use crate::world::PROGRAM;
use crate::{PAIRS, fact, row};

const LINK: &str = "169.254.169.254";
/// What every answer of the server takes.
const DELAY: Duration = Duration::from_millis(2);
/// What cloud-init knows EC2 by.
const UUID: &str = "ec2e1916-9099-7caf-fd21-012345abcdef\n";
const USER_DATA: &str = "#cloud-config\nhostname: etcd-1\n";
/// For a signature that nobody checks here.
const SIGNED: &str = "MIAGCSqGSIb3DQEHAqCAMIACAQExDzAN";
const INSTANCE: &str = "i-0123456789abcdef0";

/// What the process with cloud-init's data source says.
#[derive(Deserialize)]
struct Crawl {
    version: String,
    seconds: f64,
    instance_id: String,
    user_data: String,
}

/// Prints its rows.
pub fn metadata() {
    let thread = std::thread::spawn(measured);
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// In networks and mounts of this thread's own, which what it starts has too.
fn measured() {
    let debian = debian();
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("namespaces");
    let log = serve();
    let root = Scratch::new();
    dress(root.path());
    told(Command::new("mount").args(["--make-rprivate", "/"]));
    for (kind, at) in [("tmpfs", "sys"), ("proc", "proc"), ("tmpfs", "run")] {
        told(Command::new("mount").args(["-t", kind, kind]).arg(debian.join(at)));
    }
    dress(&debian);

    let (mut ours, mut theirs, mut crawls, mut version) = (Vec::new(), Vec::new(), Vec::new(), String::new());
    let mut requests = [(0, 0); 2];
    for pair in 0..=PAIRS {
        let (mine, asked) = counted(&log, || by_program(root.path()));
        let ((whole, crawl), crawled) = counted(&log, || by_cloud_init(&debian));
        (requests, version) = ([asked, crawled], crawl.version);
        if pair > 0 {
            ours.push(mine);
            theirs.push(whole);
            crawls.push(Duration::from_secs_f64(crawl.seconds));
        }
    }
    row(&format!("metadata of EC2 at {} ms an answer", DELAY.as_millis()), &ours, Some(&theirs), "");
    row("the same, against the crawl alone", &ours, Some(&crawls), "");
    fact("  by hand it is", &format!("cloud-init {version}"), "");
    let [(mine, one), (crawled, many)] = requests;
    fact("  requests and connections", &format!("{mine} and {one}, by hand {crawled} and {many}"), "");
}

fn by_program(root: &Path) -> Duration {
    let began = Instant::now();
    let said = told(Command::new(PROGRAM).arg("--root").arg(root).args(["metadata", "show"]));
    let took = began.elapsed();
    assert!(said.contains(INSTANCE) && said.contains("user_data"), "{said}");
    took
}

/// The whole process, and the crawl in it.
fn by_cloud_init(debian: &Path) -> (Duration, Crawl) {
    let began = Instant::now();
    let said = told(Command::new("chroot").arg(debian).args(["python3", "-c", include_str!("baseline/crawl.py")]));
    let took = began.elapsed();
    let crawl: Crawl = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!((crawl.instance_id.as_str(), crawl.user_data.as_str()), (INSTANCE, USER_DATA));
    (took, crawl)
}

/// With how many requests it made on how many connections.
fn counted<T>(log: &Log, run: impl FnOnce() -> T) -> (T, (usize, usize)) {
    let before = log.all().len();
    let done = run();
    let asked = &log.all()[before..];
    let mut connections: Vec<usize> = asked.iter().map(|asked| asked.connection).collect();
    connections.dedup();
    (done, (asked.len(), connections.len()))
}

/// Debian 13 with cloud-init, without a machine around it.
fn debian() -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tools/baseline.sh");
    Path::new(&told(&mut Command::new(script))).join("root")
}

fn dress(root: &Path) {
    for (name, text) in EC2.iter().chain(&[("product_uuid", UUID), ("product_serial", UUID)]) {
        let file = root.join("sys/class/dmi/id").join(name);
        std::fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
        std::fs::write(file, text).expect("a file");
    }
}

fn serve() -> Log {
    told(Command::new("ip").args(["link", "set", "lo", "up"]));
    told(Command::new("ip").args(["addr", "add", &format!("{LINK}/32"), "dev", "lo"]));
    let ec2 = Ec2 { tree: Some(tree()), ..Ec2::default() }.serve();
    let listener = TcpListener::bind((LINK, 80)).expect("port 80");
    wire::accept(listener, service(move |asked| ec2(asked).how(How::Late(DELAY))))
}

/// By Amazon's page "Instance metadata categories", what an instance of a group in a private subnet has.
fn tree() -> Value {
    let (name, mac) = ("ip-10-0-0-5.eu-west-1.compute.internal", "06:17:04:d7:26:09");
    let document = json!({"instanceId": INSTANCE, "region": "eu-west-1", "availabilityZone": "eu-west-1a", "kernelId": null,
        "privateIp": "10.0.0.5", "accountId": "123456789012", "pendingTime": "2026-11-21T10:00:00Z",
        "imageId": "ami-0123456789abcdef0", "instanceType": "m6i.large", "architecture": "x86_64", "version": "2017-09-30"});
    let interface = json!({"device-number": "0", "interface-id": "eni-0123456789abcdef0", "local-hostname": name,
        "local-ipv4s": "10.0.0.5", "mac": mac, "owner-id": "123456789012", "security-group-ids": "sg-0123456789abcdef0",
        "security-groups": "etcd", "subnet-id": "subnet-0123456789abcdef0", "subnet-ipv4-cidr-block": "10.0.0.0/24",
        "vpc-id": "vpc-0123456789abcdef0", "vpc-ipv4-cidr-block": "10.0.0.0/16", "vpc-ipv4-cidr-blocks": "10.0.0.0/16"});
    let role = json!({"info": "{\"Code\" : \"Success\"}", "security-credentials": {"etcd": "{}"}});
    json!({
        "dynamic": {"instance-identity": {"document": document.to_string(), "pkcs7": SIGNED, "rsa2048": SIGNED, "signature": SIGNED}},
        "meta-data": {
            "ami-id": "ami-0123456789abcdef0", "ami-launch-index": "0", "ami-manifest-path": "(unknown)",
            "autoscaling": {"target-lifecycle-state": "InService"},
            "block-device-mapping": {"ami": "/dev/sda1", "root": "/dev/sda1"},
            "events": {"maintenance": {"history": "[]", "scheduled": "[]"}},
            "hostname": name, "iam": role, "identity-credentials": {"ec2": role}, "instance-action": "none",
            "instance-id": INSTANCE, "instance-life-cycle": "on-demand", "instance-type": "m6i.large",
            "local-hostname": name, "local-ipv4": "10.0.0.5", "mac": mac,
            "metrics": {"vhostmd": "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"},
            "network": {"interfaces": {"macs": {mac: interface}}},
            "placement": {"availability-zone": "eu-west-1a", "availability-zone-id": "euw1-az1", "region": "eu-west-1"},
            "profile": "default-hvm", "reservation-id": "r-0123456789abcdef0", "security-groups": "etcd",
            "services": {"domain": "amazonaws.com", "partition": "aws"}, "system": "nitro"
        },
        "user-data": USER_DATA
    })
}
