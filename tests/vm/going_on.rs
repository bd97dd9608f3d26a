//! What a power cut in a restore has left on a data disk, looked at without booting it: `etcd-bootstrapper run` goes on
//! from there, as the next boot would, and every value must come out.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use plan::facts::DataDir;
use serde::Deserialize;

use crate::cluster::Cluster;
use crate::large::Large;
use crate::process;
use crate::tools::Tools;
use crate::world::Seat;

/// Mounting, and a restore from wherever it was.
const LIMIT: Duration = Duration::from_secs(480);

/// Runs in a mount, a network and a process namespace of its own, where the member's address is this host's.
///
/// Another disk of the same record, with the same UUID, may be mounted at the same time. The arguments are that address,
/// the program and, to see whether it is noticed, `damage`.
const SCRIPT: &str = r#"set -eu
rm -f plan.json sums
mkdir -p root
mount -t tmpfs -o mode=0755 tmpfs root
mkdir -p root/etc/etcd-bootstrapper root/var/lib/etcd root/run/systemd/timesync
: >root/run/systemd/timesync/synchronized
cp config.yaml root/etc/etcd-bootstrapper/config.yaml
chmod 700 root/etc/etcd-bootstrapper
mount -o loop,nouuid data.raw root/var/lib/etcd
ip link set lo up
ip addr add "$1/24" dev lo
program="$2 --root $PWD/root" kept=root/var/lib/etcd/bootstrapper db=root/var/lib/etcd/data/member/snap/db
failed() { echo "$1 failed:"; tail -n 5 "$1.log"; exit 1; } >&2
$program plan --json >plan.json 2>plan.log || failed plan
du -smc $kept/download/* 2>/dev/null | tail -n 1 | cut -f 1 >fetched
ls $kept/staging 2>/dev/null | grep -c . >staged || true
if [ -n "$3" ]; then
  for at in 1 3 5 7 9 11 13 15; do dd if=/dev/zero of=$db bs=64k seek=$((at * 256)) count=1 conv=notrunc status=none; done
fi
$program run >run.log 2>&1 || failed run
(set -a; . root/run/etcd-bootstrapper/etcd.env; exec etcd) >etcd.log 2>&1 & etcd=$!
trap 'kill -KILL $etcd 2>/dev/null || true; wait' EXIT
$program finish >finish.log 2>&1 & finish=$!
while kill -0 $finish 2>/dev/null; do
  kill -0 $etcd 2>/dev/null || { kill -KILL $finish; failed etcd; }
  sleep 0.1
done
wait $finish || failed finish
for part in 00 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15; do
  etcdctl --endpoints "https://$1:2379" --cacert ca.crt --cert admin.crt --key admin.key --command-timeout 60s \
    get --prefix /large/$part/ --print-value-only 2>>etcdctl.log | sha256sum
done >sums
"#;

/// What was found before anything went on.
#[derive(Clone, Debug)]
pub struct Left {
    data: DataDir,
    row: u8,
    fetched: String,
    staged: bool,
}

/// Goes on from the disk image `data.raw` in this directory, which is changed by it; its database is damaged before if
/// that is to be seen.
///
/// # Errors
/// When the data dir is of a class that a power cut cannot explain, when going on does not end in a settled member, or
/// when that does not hold every value of the snapshot.
pub fn go_on(tools: &Tools, cluster: &Cluster, large: &Large, seat: Seat, at: &Path, damage: bool) -> Result<Left> {
    for name in ["ca.crt", "admin.crt", "admin.key"] {
        fs::copy(cluster.file(name), at.join(name))?;
    }
    let source = large.file.canonicalize()?;
    // The same snapshot from another place, as which place it is belongs to no founding.
    let restore = format!("restore: {{url: \"file://{}\", sha256: \"{}\"}}\n", source.display(), large.sha256);
    fs::write(at.join("config.yaml"), fs::read_to_string(cluster.file("config.yaml"))? + &restore)?;
    fs::write(at.join("go-on.sh"), SCRIPT)?;
    let path = [tools.etcd.as_os_str(), &std::env::var_os("PATH").unwrap_or_default()].join(":".as_ref());
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "go-on.sh"]);
    command.arg(seat.address().to_string()).arg(&tools.bootstrapper).arg(if damage { "damage" } else { "" });
    command.env("PATH", path).env_remove("NOTIFY_SOCKET").current_dir(at);
    let ended = process::output(&mut command, LIMIT);
    let left = left(at);
    if let Ok(left) = &left {
        println!("          left in {}: {left}", at.display());
    }
    // What it was comes before what became of it, unless nobody could see what it was.
    let left = match (left, &ended) {
        (Err(error), Err(ended)) => return Err(error.context(format!("{ended:#}"))),
        (left, _) => left?,
    };
    left.expect().and_then(|left| {
        ended.context("the restore does not go on")?;
        let sums = fs::read_to_string(at.join("sums"))?;
        let whole = sums.lines().zip(large.sums.lines()).filter(|(found, wanted)| found == wanted).count();
        ensure!(sums == large.sums, "only {whole} of {} parts came out as they went in", large.sums.lines().count());
        Ok(left)
    })
}

fn left(at: &Path) -> Result<Left> {
    #[derive(Deserialize)]
    struct Plan {
        facts: Facts,
        decided: Decided,
    }
    #[derive(Deserialize)]
    struct Facts {
        data: DataDir,
    }
    #[derive(Deserialize)]
    struct Decided {
        row: u8,
    }
    let read = |name: &str| fs::read_to_string(at.join(name)).unwrap_or_default();
    let said = || format!("the disk is not what a boot can go on from: {}", read("plan.log"));
    let plan: Plan = serde_json::from_str(&read("plan.json")).with_context(said)?;
    let (fetched, staged) = (read("fetched").trim().to_owned(), read("staged").trim() != "0");
    Ok(Left { data: plan.facts.data, row: plan.decided.row, fetched, staged })
}

impl Left {
    /// Fails for a data dir that a power cut in a restore cannot explain: one that is neither absent nor whole.
    fn expect(self) -> Result<Left> {
        match self.class() {
            Some(_) => Ok(self),
            None => bail!("a power cut has left {:?}", self.data),
        }
    }

    fn class(&self) -> Option<&'static str> {
        match &self.data {
            DataDir::Empty => Some("no data dir"),
            DataDir::Founding { wal: false, .. } => Some("no data dir, and a founding that is committed"),
            DataDir::Founding { wal: true, .. } => Some("a data dir that no leader has led"),
            DataDir::Member(_) => Some("a member's data dir"),
            DataDir::Aborted
            | DataDir::Lost { .. }
            | DataDir::Removed { .. }
            | DataDir::Missing { .. }
            | DataDir::Orphan
            | DataDir::Damaged { .. }
            | DataDir::Foreign { .. }
            | DataDir::Newer { .. }
            | DataDir::Locked => None,
        }
    }
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let class = self.class().unwrap_or("a data dir that no power cut explains");
        let fetched = if self.fetched.is_empty() { "0" } else { &self.fetched };
        let staging = if self.staged { "a staging" } else { "no staging" };
        write!(f, "row {} for {class}; {fetched} MiB fetched, {staging}", self.row)
    }
}
