//! (w) The image for labs: root logs in by a key that was named when it was built, by nothing else, and the console says so.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cluster::Cluster;
use crate::process::{output, until};
use crate::set::{SETTLE, SHUT_DOWN};
use crate::suite::Suite;
use crate::world::Seat;

const ALONE: Seat = Seat(1);
/// The private key of one of those in the image.
const KEY: &str = "DEBUG_SSH_KEY";
/// A guest without acceleration that works on elliptic curves.
const LOGIN: Duration = Duration::from_secs(60);
/// Who logs in, to what, and where a host key is.
const WHERE: &str = "id -un; . /etc/os-release; echo $VARIANT_ID; find / -name 'ssh_host_*_key'";
const THERE: &str = "root\ndebug\n/run/sshd/ssh_host_ed25519_key\n";
/// Each of them runs, and finds its libraries; the last one sees a packet of this login.
const TOOLS: &str = "set -e; bash --version; ip -V; less --version; ping -V; ps --version; strace -qq -e trace=none true; \
                     timeout 30 tcpdump -i any -n -c 1 port 22";

pub fn run(suite: &mut Suite) -> Result<()> {
    suite.stop();
    let key = std::env::var_os(KEY).map(PathBuf::from).with_context(|| {
        format!("{KEY} has to name the private key of one in DEBUG_SSH_KEYS, by which the image was built; --image names that")
    })?;
    let name = suite.name("debug");
    let cluster = Cluster::of(&suite.yard.tools, &name, &[ALONE], &[])?;
    let seed = cluster.seed(&suite.yard.tools, ALONE)?;
    let place = suite.yard.directory(ALONE)?;
    let stranger = place.join("stranger");
    output(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&stranger), LOGIN)?;
    let disks = suite.yard.blank(&place)?;
    let mut machine = suite.yard.boot(ALONE, place, disks, Some(seed))?;
    machine.wait_line("THIS IS A DEBUG IMAGE", Instant::now() + SETTLE)?;
    machine.wait_settled(Instant::now() + SETTLE)?;

    let known = ["-i", path(&key)?];
    let said = until("login by the key", LOGIN, || by(&known, WHERE));
    let said = machine.explain(said)?;
    ensure!(said == THERE, "who logs in is told {said:?}, not {THERE:?}");
    by(&known, TOOLS).context("a tool does not run")?;
    for (what, way) in
        [("without a key", ["-o", "PubkeyAuthentication=no"]), ("with another key", ["-i", path(&stranger)?])]
    {
        let refused = by(&way, "true").err().with_context(|| format!("somebody logs in {what}"))?;
        let refused = format!("{refused:#}");
        // These are all ways that there are.
        ensure!(refused.contains("Permission denied (publickey)"), "{what} ssh says {refused}");
    }
    machine.power_off(SHUT_DOWN)
}

fn path(key: &Path) -> Result<&str> {
    key.to_str().context("the key's path is not UTF-8")
}

/// What a command prints to who logs in so.
fn by(way: &[&str], command: &str) -> Result<String> {
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no"]);
    ssh.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10"]).args(way);
    output(ssh.arg(format!("root@{}", ALONE.address())).arg(command), LOGIN)
}
