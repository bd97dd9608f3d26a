//! What was observed. A fact that could not be had is said to be unknown; nothing here is a guess.

use serde::{Deserialize, Serialize};

use crate::founding::{Founder, Founding, FoundingId, Terms};
use crate::member::{ClientUrl, ClusterId, ClusterName, Member, MemberId, MemberName, Nonce, PeerUrl, Version};
use crate::spec::{Sha256, Timestamp};

/// Seconds since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(pub u64);

/// All that `decide` may know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Who this host is.
    pub me: Me,
    /// The time; absent when nobody vouches for it: no time server has set the clock in this boot, and it was not ahead of
    /// the image when the machine was switched on.
    pub now: Option<Seconds>,
    /// The version of the etcd that would be started.
    pub etcd: Version,
    /// What the data dir is.
    pub data: DataDir,
    /// What the journal on the data disk holds.
    pub journal: Past,
    /// Everybody else that was asked, in the order of the spec, then of the member list.
    pub peers: Vec<Peer>,
    /// For how many seconds each of those that are unknown now has been so, of them the shortest; 0 when nobody is.
    #[serde(default)]
    pub silence: u64,
    /// The linearizable list of a cluster that has quorum.
    pub quorum: Option<Quorum>,
    /// Why etcd did not tell its list, when authentication is on and this host's user may not read it.
    #[serde(default)]
    pub denied: Option<String>,
    /// Who is in the dynamic group, by the provider's word; absent for a static list.
    pub inventory: Inventory,
    /// What the store says.
    pub claim: Claims,
    /// The member list in this disk's own database, as old as that; read only when a member lives here.
    pub own_list: Option<Vec<Member>>,
    /// Why this host's certificates cannot be used, if so.
    pub certificates: Option<String>,
}

/// Who this host is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Me {
    /// The member's name.
    pub name: MemberName,
    /// The member's peer URL.
    pub peer_url: PeerUrl,
    /// The member's client URL.
    pub client_url: ClientUrl,
    /// The life of this host's data disk.
    pub nonce: Nonce,
    /// The provider's instance ID.
    pub instance_id: Option<String>,
    /// Whether an interface of this host holds the peer URL's address.
    pub address_bound: bool,
}

/// The class of the data dir, of DESIGN section 5.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataDir {
    /// A member lives here: valid WAL, our identity, something received from a leader.
    Member(Identity),
    /// A founding is committed here and nothing was received from a leader yet.
    Founding {
        /// Which.
        founding: Founding,
        /// Whether etcd has made a WAL for it and written to it.
        wal: bool,
    },
    /// The member was removed from its cluster.
    Removed {
        /// The member that lived here.
        identity: Identity,
        /// Who said so.
        evidence: String,
    },
    /// Nothing.
    Empty,
    /// What etcd leaves when its first start fails: a small database without keys and no WAL.
    Aborted,
    /// The journal says a member lived here and its data is gone.
    Lost {
        /// The member that lived here, when the journal knows.
        identity: Option<Identity>,
    },
    /// The data disk that the spec or the journal names is not there.
    Missing {
        /// What is missed, as the spec or the journal names it.
        what: String,
        /// Whether `timeouts.data_device` has passed.
        overdue: bool,
    },
    /// A database without a WAL.
    Orphan,
    /// A broken WAL or database.
    Damaged {
        /// What is broken.
        what: String,
    },
    /// Another cluster's data, or a clone's.
    Foreign {
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
        /// Whether it is a copy of a member's disk: what it was last recorded on is neither this instance nor this volume.
        #[serde(default)]
        copied: bool,
    },
    /// Written by a newer etcd.
    Newer {
        /// By which, as the data says.
        found: String,
    },
    /// An etcd runs on it.
    Locked,
}

/// The member that lives on a disk, from `identity.json` and the WAL's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster's name in the spec that made it.
    pub cluster: ClusterName,
    /// The cluster's ID.
    pub cluster_id: ClusterId,
    /// The member's ID.
    pub member_id: MemberId,
    /// The member's name.
    pub name: MemberName,
    /// The member's peer URL when it was made.
    pub peer_url: PeerUrl,
    /// Its initial-cluster-token.
    pub token: String,
    /// The epoch of the spec that made it.
    pub epoch: u32,
}

impl Identity {
    /// What this founding makes of the disk with this nonce, if it takes part.
    pub fn founder(founding: &Founding, nonce: &Nonce) -> Option<Identity> {
        let me = founding.founders.iter().find(|f| f.nonce == *nonce)?;
        Some(Identity {
            cluster: founding.terms.cluster.clone(),
            cluster_id: founding.cluster_id(),
            member_id: founding.member_id(&me.peer_url),
            name: me.name.clone(),
            peer_url: me.peer_url.clone(),
            token: founding.token(),
            epoch: founding.terms.epoch,
        })
    }
}

/// What the journal holds of this disk's life so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Every founding that was answered Ready with this nonce, oldest first; the last is the one that is answered now.
    pub readied: Vec<Founding>,
    /// The founding whose snapshot is staged and verified; absent when the journal says so and the staging is not there.
    pub prepared: Option<FoundingId>,
    /// The member that was added for this disk and never handed off.
    pub added: Option<Added>,
    /// Whether this nonce has committed or was handed off before.
    pub spent: bool,
    /// The highest epoch that this disk founded, joined or recovered in, or outlived the `recover` of.
    pub epoch: Option<u32>,
}

/// A learner that was added for this disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// To which cluster.
    pub cluster_id: ClusterId,
    /// As which member.
    pub member_id: MemberId,
}

/// Somebody else and what was heard from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its name, when the spec, the inventory or itself says.
    pub name: Option<MemberName>,
    /// Where it was asked.
    pub peer_url: PeerUrl,
    /// What it said.
    pub heard: Heard,
}

/// What a peer answered on its peer URL over mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Heard {
    /// etcd answered `/members` and `/version`.
    Cluster(Answer),
    /// A bootstrapper on a blank disk, uncommitted.
    Waiting(Waiting),
    /// A bootstrapper that has committed a founding, etcd not up.
    Founding {
        /// Which.
        founding: FoundingId,
        /// Its disk.
        nonce: Nonce,
    },
    /// A bootstrapper on any other data.
    Holds {
        /// The class in words.
        class: String,
    },
    /// Nothing that is knowledge.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// etcd's answer on the peer port; given without quorum too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Header `X-Etcd-Cluster-ID`.
    pub cluster_id: ClusterId,
    /// The peer's own view of the members, possibly old.
    pub members: Vec<Member>,
    /// The peer's etcd.
    pub server: Version,
    /// The cluster version; absent while no leader has ever decided one, so absent means an unled founding.
    pub cluster: Option<Version>,
}

/// An uncommitted bootstrapper's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// How far it is.
    pub stage: Stage,
    /// Its terms of now.
    pub terms: Terms,
    /// Its disk.
    pub nonce: Nonce,
}

/// How far an uncommitted bootstrapper is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It has readied nothing.
    Blank,
    /// `ready{T}` is durable.
    Ready(FoundingId),
    /// `ready{T}` is durable and the snapshot is staged and verified.
    Prepared(FoundingId),
}

/// A cluster's linearizable member list with what goes with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quorum {
    /// The cluster's ID.
    pub cluster_id: ClusterId,
    /// The name under `/etcd-bootstrapper/cluster`, when the first settled member has written it.
    pub name: Option<ClusterName>,
    /// All members.
    pub members: Vec<Listed>,
    /// The cluster version.
    pub version: Option<Version>,
    /// Alarms in etcd's words, such as `NOSPACE`.
    pub alarms: Vec<String>,
    /// Why etcd would not let us change members, when auth is on and we are not root.
    pub denied: Option<String>,
}

/// A member of the linearizable list and whether it lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// As etcd lists it.
    pub member: Member,
    /// Whether an etcd answered on its client URL with this very ID. An answer on its peer URL does not count: it tells the
    /// cluster and not the member, so it may be another member's that has the address now.
    pub answers: bool,
    /// For how many seconds this process has heard nothing from it.
    pub silent: u64,
}

/// The dynamic group by the provider's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inventory {
    /// There is a static list instead.
    Static,
    /// The provider could not be asked.
    Unknown {
        /// Why.
        reason: String,
    },
    /// What the provider listed.
    Listed(Vec<Instance>),
}

/// An instance of the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The provider's ID, which is the member's name.
    pub id: MemberName,
    /// Its peer URL, once it has an address.
    pub peer_url: Option<PeerUrl>,
    /// Whether the provider says terminated.
    pub terminated: bool,
    /// When it was launched, where the provider says so; for people, no rule asks.
    #[serde(default)]
    pub launched: Option<Timestamp>,
}

/// What the store says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claims {
    /// The spec has no store.
    NoStore,
    /// The store could not be read.
    Unreachable {
        /// Why.
        reason: String,
    },
    /// What is in it is no claim of this cluster that this program can follow: a person has to look.
    Unusable {
        /// Why.
        reason: String,
    },
    /// It was read.
    Read {
        /// The claim, if there is one.
        claim: Option<Claim>,
        /// The newest snapshot of this epoch that its manifest proves verified.
        newest_snapshot: Option<Sha256>,
    },
}

/// The record in the store that says which founding this cluster is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Counts foundings of one epoch.
    pub generation: u32,
    /// The spec's epoch.
    pub epoch: u32,
    /// How far it is.
    pub state: ClaimState,
    /// Which founding, with every disk of it.
    pub founding: Founding,
    /// The voters with their disks, as the last membership change left them.
    pub voters: Vec<Founder>,
}

impl Claim {
    /// The claim that this founding makes; its founders are its first voters.
    pub fn of(founding: &Founding, state: ClaimState) -> Claim {
        Claim {
            generation: founding.terms.generation,
            epoch: founding.terms.epoch,
            state,
            founding: founding.clone(),
            voters: founding.founders.clone(),
        }
    }
}

/// How far a claim is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimState {
    /// May be swapped at any time.
    Founding,
    /// All were Ready; replaced only when every nonce is gone.
    Committing,
    /// A member saw quorum; never taken over in its generation.
    Founded,
}

/// What lies in the data dir, before the journal is held against it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Whether there is a `member/` directory.
    pub member: bool,
    /// The write-ahead log.
    pub wal: Wal,
    /// Raft index of the newest readable `.snap` file.
    pub snap_index: Option<u64>,
    /// `member/snap/db`.
    pub database: Database,
    /// Whether a process holds the lock on the database or the WAL.
    pub locked: bool,
}

/// The write-ahead log of a data dir.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wal {
    /// No `.wal` file.
    Absent,
    /// The directory that the journal names is not on the disk that the log has for itself, or that disk is not there.
    Missing {
        /// What was recorded, and what is there instead.
        what: String,
    },
    /// Its metadata could be read and every record up to a possibly torn end checks.
    Valid {
        /// From its metadata record.
        member_id: MemberId,
        /// From its metadata record.
        cluster_id: ClusterId,
        /// The highest index of an entry or snapshot record; 0 without any.
        last_index: u64,
        /// `commit` of the last hard state; 0 without any.
        commit: u64,
        /// Whether the last record is incomplete, which etcd repairs by itself.
        torn: bool,
    },
    /// A record that does not check, or files that are not contiguous.
    Broken {
        /// Which, where.
        what: String,
    },
}

/// The database of a data dir.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Database {
    /// None.
    Absent,
    /// Without a key and without an applied entry, as a first start that failed leaves it.
    Tiny,
    /// A bolt file whose meta pages check.
    Sound,
    /// Not a bolt file, or cut short.
    Broken {
        /// How.
        what: String,
    },
}
