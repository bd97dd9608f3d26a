//! The cluster as its own client sees it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::process;
use crate::world::Seat;

/// For one answer; guests without hardware acceleration take their time.
const ANSWER: &str = "20s";
/// More than `ANSWER`, so that etcdctl is the one that says what is wrong.
const LIMIT: Duration = Duration::from_secs(90);

/// etcdctl with a cluster's admin certificate.
#[derive(Clone)]
pub struct Etcdctl {
    program: PathBuf,
    pki: PathBuf,
}

/// `member list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Of the cluster.
    pub cluster_id: u64,
    /// By name.
    pub members: Vec<Member>,
}

/// A line of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Member {
    /// Empty until it has started.
    #[serde(default)]
    pub name: String,
    /// Member ID.
    #[serde(rename = "ID")]
    pub id: u64,
    /// Where its peers reach it.
    #[serde(rename = "peerURLs", default)]
    pub peer_urls: Vec<String>,
    /// Where its clients reach it.
    #[serde(rename = "clientURLs", default)]
    pub client_urls: Vec<String>,
    /// Whether it does not vote.
    #[serde(rename = "isLearner", default)]
    pub learner: bool,
}

/// `endpoint status` of one member.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// Of this answer.
    pub header: Header,
    /// etcd's.
    pub version: String,
    /// Bytes of its database.
    #[serde(rename = "dbSize")]
    pub db_size: u64,
    /// The leader's member ID.
    pub leader: u64,
    /// Index of the last raft entry.
    #[serde(rename = "raftIndex")]
    pub raft_index: u64,
    /// Raft term.
    #[serde(rename = "raftTerm")]
    pub raft_term: u64,
}

/// What etcd puts before every answer.
#[derive(Clone, Debug, Deserialize)]
pub struct Header {
    /// Of the cluster.
    pub cluster_id: u64,
    /// Who answered.
    #[serde(default)]
    pub member_id: u64,
    /// Of the store.
    #[serde(default)]
    pub revision: u64,
}

impl Etcdctl {
    /// With the certificates that `config new` has put into this directory.
    pub fn new(etcd: &Path, pki: &Path) -> Result<Etcdctl> {
        Ok(Etcdctl { program: etcd.join("etcdctl"), pki: pki.canonicalize()? })
    }

    /// What a person types to ask these members.
    pub fn shown(&self, seats: &[Seat]) -> String {
        let words: Vec<String> =
            std::iter::once(self.program.display().to_string()).chain(self.options(seats)).collect();
        words.join(" ")
    }

    /// The member list, from this member.
    pub fn members(&self, seat: Seat) -> Result<View> {
        #[derive(Deserialize)]
        struct List {
            header: Header,
            members: Vec<Member>,
        }
        let mut list: List = self.json(seat, &["member", "list"])?;
        list.members.sort();
        Ok(View { cluster_id: list.header.cluster_id, members: list.members })
    }

    /// How this member is.
    pub fn status(&self, seat: Seat) -> Result<Status> {
        #[derive(Deserialize)]
        struct Endpoint {
            #[serde(rename = "Status")]
            status: Status,
        }
        let all: Vec<Endpoint> = self.json(seat, &["endpoint", "status"])?;
        all.into_iter().next().map(|e| e.status).context("etcdctl printed no status")
    }

    /// Removes a member, through this one; machines that share two processors need more than one try at times.
    pub fn remove(&self, seat: Seat, member: u64) -> Result<()> {
        let mut result = Ok(());
        for _ in 0..5 {
            if self.members(seat).is_ok_and(|view| view.members.iter().all(|m| m.id != member)) {
                return Ok(());
            }
            result = self.run(seat, &["member", "remove", &format!("{member:x}")]).map(|_| ());
        }
        result
    }

    /// Writes a key through this member.
    pub fn put(&self, seat: Seat, key: &str, value: &str) -> Result<()> {
        self.run(seat, &["put", key, value]).map(|_| ())
    }

    /// Reads a key through this member, linearizably.
    pub fn get(&self, seat: Seat, key: &str) -> Result<String> {
        Ok(self.run(seat, &["get", "--print-value-only", key])?.trim_end().to_owned())
    }

    /// Saves a snapshot of this member's database; the revision it holds.
    pub fn snapshot(&self, seat: Seat, file: &Path) -> Result<u64> {
        #[derive(Deserialize)]
        struct Saved {
            revision: u64,
        }
        self.run(seat, &["snapshot", "save", &file.to_string_lossy()])?;
        let utility = self.program.with_file_name("etcdutl");
        let text = process::output(Command::new(utility).args(["snapshot", "status", "-w", "json"]).arg(file), LIMIT)?;
        Ok(serde_json::from_str::<Saved>(&text)?.revision)
    }

    fn json<T: DeserializeOwned>(&self, seat: Seat, words: &[&str]) -> Result<T> {
        let text = self.run(seat, &[words, &["-w", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("etcdctl {} printed {text:?}", words.join(" ")))
    }

    fn run(&self, seat: Seat, words: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(self.options(&[seat])).args(["--dial-timeout", ANSWER, "--command-timeout", ANSWER]).args(words);
        process::output(&mut command, LIMIT)
    }

    fn options(&self, seats: &[Seat]) -> Vec<String> {
        let endpoints: Vec<String> = seats.iter().map(|s| format!("https://{}:2379", s.address())).collect();
        let file = |name: &str| self.pki.join(name).display().to_string();
        let (ca, cert, key) = (file("ca.crt"), file("admin.crt"), file("admin.key"));
        ["--endpoints", &endpoints.join(","), "--cacert", &ca, "--cert", &cert, "--key", &key]
            .map(str::to_owned)
            .to_vec()
    }
}

impl View {
    /// Fails unless these and nobody else are voters that have started.
    pub fn expect_voters(&self, seats: &[Seat]) -> Result<()> {
        self.expect_named(&seats.iter().map(|s| s.name()).collect::<Vec<_>>())
    }

    /// Fails unless members of these names and nobody else are voters that have started; the names in their order.
    pub fn expect_named(&self, expected: &[String]) -> Result<()> {
        let voters: Vec<&str> = self.members.iter().filter(|m| !m.learner).map(|m| m.name.as_str()).collect();
        if voters != expected || self.members.len() != expected.len() {
            bail!("expected the voters {} and nobody else, the cluster lists {self}", expected.join(", "));
        }
        Ok(())
    }

    /// The ID of a member.
    pub fn id(&self, seat: Seat) -> Result<u64> {
        let member = self.members.iter().find(|m| m.name == seat.name());
        member.map(|m| m.id).with_context(|| format!("{} is not in {self}", seat.name()))
    }
}

impl std::fmt::Display for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = |m: &Member| format!("{} {:x}{}", m.name, m.id, if m.learner { " (learner)" } else { "" });
        write!(f, "cluster {:x}: {}", self.cluster_id, self.members.iter().map(line).collect::<Vec<_>>().join(", "))
    }
}
