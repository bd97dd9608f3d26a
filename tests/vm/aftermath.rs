//! What a power cut has left on a data disk, looked at without booting it: by `etcd-bootstrapper plan` and by etcd.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use plan::facts::{DataDir, Heard, Stage};
use plan::progress::Record;
use serde::Deserialize;

use crate::cluster::Cluster;
use crate::process;
use crate::record::contains;
use crate::tools::Tools;
use crate::world::Seat;

/// Mounting, replaying a log of the file system, `plan`, and a start of etcd.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs in a mount and a network namespace of its own, where the member's address is this host's and nobody else is.
///
/// etcd is started as it was, without its peers: it has read its disk when raft runs.
const SCRIPT: &str = r#"set -eu
[ "$(blkid -p -s LABEL -o value data.raw || true)" = etcd-data ] || { echo unformatted >state; exit 0; }
mkdir -p root/etc/etcd-bootstrapper root/var/lib/etcd
mount -t tmpfs -o mode=0755 tmpfs root
mkdir -p root/etc/etcd-bootstrapper root/var/lib/etcd
cp config.yaml root/etc/etcd-bootstrapper/config.yaml
chmod 700 root/etc/etcd-bootstrapper
mount -o loop data.raw root/var/lib/etcd
ip link set lo up
ip addr add "$1/24" dev lo
kept=root/var/lib/etcd/bootstrapper/journal.jsonl
[ ! -e $kept ] || cp $kept journal.jsonl
"$2" --root root plan --json >plan.json
echo mounted >state
wal=root/var/lib/etcd/data/member/wal
[ ! -e $wal ] || cat $wal/*.wal >wal
[ ! -s wal ] || {
  etcd --data-dir root/var/lib/etcd/data --name "$3" --listen-client-urls http://127.0.0.1:2379 \
    --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls "http://$1:2380" \
    --initial-advertise-peer-urls "http://$1:2380" --initial-cluster "$3=http://$1:2380" \
    >etcd.log 2>&1 & etcd=$!
  while ! grep -q 'became follower at term' etcd.log; do
    kill -0 $etcd 2>/dev/null || { echo "etcd ended:"; tail -n 3 etcd.log; exit 1; } >&2
    sleep 0.05
  done
  kill -KILL $etcd
}
"#;

/// What somebody else knows of this disk: it must still hold it.
#[derive(Clone, Debug)]
pub enum Known {
    /// The bootstrapper has said this on the peer port.
    Said(Heard),
    /// Another host has committed this founding, so it has heard Ready of it from all.
    Committed {
        /// The first digits of its ID.
        founding: String,
    },
    /// A client has an acknowledgement that took this member's disk.
    Acknowledged {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Aftermath {
    /// None when the disk has no file system of ours yet.
    data: Option<DataDir>,
    journal: Vec<Record>,
    wal: Vec<u8>,
}

/// Looks at the disk image `data.raw` in this directory, which is changed by it.
///
/// # Errors
/// When a file system cannot be mounted, `plan` or etcd does not accept what is there.
pub fn look(tools: &Tools, cluster: &Cluster, seat: Seat, directory: &Path) -> Result<Aftermath> {
    fs::copy(cluster.file("config.yaml"), directory.join("config.yaml"))?;
    fs::write(directory.join("look.sh"), SCRIPT)?;
    let path = [tools.etcd.as_os_str(), &std::env::var_os("PATH").unwrap_or_default()].join(":".as_ref());
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "sh", "look.sh"]).arg(seat.address().to_string()).arg(&tools.bootstrapper);
    command.arg(seat.name()).env("PATH", path).current_dir(directory);
    process::output(&mut command, LIMIT).context("the disk is not what a boot can go on from")?;
    let read = |name: &str| fs::read(directory.join(name)).unwrap_or_default();
    if read("state") == b"unformatted\n" {
        return Ok(Aftermath { data: None, journal: Vec::new(), wal: Vec::new() });
    }
    #[derive(Deserialize)]
    struct Plan {
        facts: Facts,
    }
    #[derive(Deserialize)]
    struct Facts {
        data: DataDir,
    }
    let plan: Plan = serde_json::from_slice(&read("plan.json")).context("`plan --json` printed something else")?;
    let journal = String::from_utf8_lossy(&read("journal.jsonl")).into_owned();
    // A last line that is torn is no line.
    let journal = journal.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let mut wal = read("wal");
    // The file is preallocated.
    wal.truncate(wal.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    Ok(Aftermath { data: Some(plan.facts.data), journal, wal })
}

impl Aftermath {
    /// Fails when the disk has forgotten something that is known of it, or is of a class that a power cut cannot explain.
    pub fn expect(&self, known: &[Known]) -> Result<()> {
        match &self.data {
            None | Some(DataDir::Empty | DataDir::Aborted | DataDir::Founding { .. } | DataDir::Member(_)) => {}
            // Handed off as a joiner, and etcd had not begun: unless it has answered, nobody counts on it.
            Some(DataDir::Lost { .. }) => {}
            Some(
                broken @ (DataDir::Removed { .. }
                | DataDir::Missing { .. }
                | DataDir::Orphan
                | DataDir::Damaged { .. }
                | DataDir::Foreign { .. }
                | DataDir::Newer { .. }
                | DataDir::Locked),
            ) => bail!("a power cut has left {broken:?}"),
        }
        for known in known {
            match known {
                Known::Said(heard) => self.expect_said(heard)?,
                Known::Committed { founding } => self.expect_ready(founding)?,
                Known::Acknowledged { key, value } => self.expect_written(key, value)?,
            }
        }
        Ok(())
    }

    fn expect_said(&self, heard: &Heard) -> Result<()> {
        match heard {
            Heard::Waiting(waiting) => {
                let nonce = |r: &Record| matches!(r, Record::Nonce { nonce } if *nonce == waiting.nonce);
                ensure!(self.journal.iter().any(nonce), "it has answered with nonce {}, and forgot it", waiting.nonce);
                match &waiting.stage {
                    Stage::Blank => {}
                    Stage::Ready(id) => self.expect_ready(&id.to_string())?,
                    Stage::Prepared(id) => {
                        self.expect_ready(&id.to_string())?;
                        let prepared = |r: &Record| matches!(r, Record::Prepared { id: of } if of == id);
                        ensure!(self.journal.iter().any(prepared), "it has answered Prepared of {id:?}, and forgot it");
                    }
                }
            }
            Heard::Founding { founding: id, .. } => {
                let commit = |r: &Record| matches!(r, Record::Commit { founding } if founding.id() == *id);
                ensure!(self.journal.iter().any(commit), "it has answered Founding of {id:?}, and forgot it");
            }
            Heard::Cluster(_) => {
                let lives = matches!(self.data, Some(DataDir::Founding { wal: true, .. } | DataDir::Member(_)));
                ensure!(lives, "its etcd has answered, and now the disk is {:?}", self.data);
            }
            Heard::Holds { .. } | Heard::Unknown { .. } => {}
        }
        Ok(())
    }

    fn expect_ready(&self, id: &str) -> Result<()> {
        let ready = |r: &Record| matches!(r, Record::Ready { founding } if founding.id().to_string().starts_with(id));
        ensure!(self.journal.iter().any(ready), "it has answered Ready of founding {id}, and forgot it");
        Ok(())
    }

    /// In the log that `plan` and etcd have just read to its end, each entry as it was proposed.
    fn expect_written(&self, key: &str, value: &str) -> Result<()> {
        let found = self.wal.windows(key.len()).position(|window| window == key.as_bytes());
        let near = found.map(|at| &self.wal[at..self.wal.len().min(at + key.len() + 2 * value.len())]);
        ensure!(
            near.is_some_and(|near| contains(near, value.as_bytes())),
            "{key} was acknowledged and is not in the log"
        );
        Ok(())
    }
}

impl std::fmt::Display for Aftermath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let class = match &self.data {
            None => "no file system yet",
            Some(DataDir::Empty) => "empty",
            Some(DataDir::Lost { .. }) => "handed off, nothing begun",
            Some(DataDir::Aborted) => "what a first start left",
            Some(DataDir::Founding { .. }) => "a founding",
            Some(DataDir::Member(_)) => "a member",
            Some(_) => "broken",
        };
        write!(f, "{class}, {} lines in the journal", self.journal.len())
    }
}
