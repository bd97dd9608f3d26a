//! What `decide` answers: the row that fired and what follows from it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::document::Recover;
use crate::facts::{Claim, ClaimState, Identity};
use crate::founding::{Founding, FoundingId};
use crate::member::{ClusterId, Member, MemberId, PeerUrl};
use crate::spec::Sha256;

/// The answer to one observation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decided {
    /// The row of the decision table that fired, 1 to 29.
    pub row: u8,
    /// What follows.
    pub decision: Decision,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Hand off to etcd as it is.
    Start(Start),
    /// Observe again later.
    Wait(Wait),
    /// Stop: a person has to look.
    Refuse(Refusal),
    /// Make this true, then observe again.
    Proceed(Plan),
}

/// How etcd is started on data that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// A member: `existing`, whatever the spec says.
    Member(Identity),
    /// A committed founding: `new` until there is a WAL of ours.
    Founding {
        /// Which.
        founding: Founding,
        /// Whether there is a WAL, and so `existing`.
        wal: bool,
    },
}

/// A wait: who, why and what ends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wait {
    /// Why, as a sentence without a full stop.
    pub why: String,
    /// For whom, each with the reason; empty when it is nobody in particular.
    pub who: Vec<String>,
    /// What would end it.
    pub until: String,
}

/// A refusal: expected, stable, with a remedy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Stable code for machines.
    pub code: Code,
    /// What is wrong, naming both sides.
    pub sentence: String,
    /// What to do.
    pub hint: String,
}

/// Stable codes of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// Row 2.
    DataDiskMissing,
    /// Row 2.
    ForeignData,
    /// Row 2.
    NewerData,
    /// Row 3.
    NotTheSurvivor,
    /// Row 5.
    Removed,
    /// Row 6.
    DataDamaged,
    /// Row 9.
    TwoClusters,
    /// Row 9.
    OtherCluster,
    /// Row 11.
    NameTaken,
    /// Row 12.
    VersionGate,
    /// Row 12.
    Certificates,
    /// Row 12.
    NotAllowed,
    /// Row 15.
    ClusterExists,
    /// Row 19.
    StoreUnusable,
    /// Row 22.
    TotalLoss,
    /// Row 25.
    FoundingExpired,
    /// Row 25.
    ClockUnknown,
}

impl Code {
    /// As machines read it: `name-taken`.
    pub fn text(self) -> String {
        serde_json::to_value(self).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// Steps in order; apply makes them true and makes no choices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What the plan is, for a person.
    pub aim: Aim,
    /// The steps, each with every value it needs.
    pub steps: Vec<Step>,
}

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aim {
    /// Take part in a founding.
    Found,
    /// Become a member of a cluster.
    Join,
    /// Take the place of a dead self.
    Replace,
    /// Keep a survivor's database in a new cluster.
    Recover,
    /// Make room: the data goes to the trash.
    Archive,
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Aim::Found => "found",
            Aim::Join => "join",
            Aim::Replace => "replace",
            Aim::Recover => "recover",
            Aim::Archive => "archive",
        })
    }
}

/// One thing to make true; running it twice equals running it once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Rename the data dir into `trash/` after looking at the WAL once more, and take a new nonce.
    Archive {
        /// The reason for the journal.
        why: String,
        /// Journalled before: the removal of this member was proven.
        removed: Option<Identity>,
        /// A founding may be left only if its WAL still holds nothing from a leader.
        only_unled: bool,
        /// Journalled with it: the next life counts as one that lost its member, so it may join and must not found.
        lost: bool,
    },
    /// Rename what a failed first start left into `trash/`; the nonce stays.
    Clear,
    /// Create the claim in the store, or swap exactly the one that was read.
    Claim {
        /// The state to reach.
        to: ClaimState,
        /// For this founding.
        founding: Founding,
        /// The claim that the decision was made on; none when the store had none.
        read: Option<Box<Claim>>,
    },
    /// Journal `ready{T}`.
    Ready(Founding),
    /// Restore the snapshot into `staging/<T>` and prove it, then journal `prepared{T}`.
    Prepare {
        /// For this founding.
        founding: Founding,
        /// The bytes to restore.
        snapshot: Sha256,
    },
    /// Journal `commit{T}` unless it is, then put the staged data in place when it restores unless it is.
    ///
    /// In this order, since data in place without a commit would be nobody's, and the commit survives a crash between.
    Commit(Founding),
    /// Remove this member under the lock, if the list is still this one.
    Remove {
        /// Of which cluster.
        cluster_id: ClusterId,
        /// Who.
        member: MemberId,
        /// The list that the decision was made on.
        list: Vec<Member>,
        /// For the journal and the console.
        why: String,
    },
    /// Add a learner under the lock, if the list is still this one, and journal its ID.
    Add {
        /// To which cluster.
        cluster_id: ClusterId,
        /// With this peer URL.
        peer_url: PeerUrl,
        /// The list that the decision was made on.
        list: Vec<Member>,
    },
    /// Hand off to etcd as the learner that was added; `--initial-cluster` is this list.
    HandOff {
        /// Who we are now.
        identity: Identity,
        /// Names and peer URLs from etcd's own list, ours named.
        initial_cluster: Vec<(String, String)>,
    },
    /// Copy the survivor's database, restore it alone under a new token, and archive the old data.
    Recover {
        /// The operator's word.
        recover: Recover,
        /// Who lived here.
        identity: Identity,
        /// The founding of one that follows.
        founding: Founding,
    },
}

impl Decision {
    /// One word for tables: start, wait, refuse or the plan's aim.
    pub fn word(&self) -> String {
        match self {
            Decision::Start(_) => "start".into(),
            Decision::Wait(_) => "wait".into(),
            Decision::Refuse(_) => "refuse".into(),
            Decision::Proceed(plan) => plan.aim.to_string(),
        }
    }
}

/// The first eight digits of T: enough for a person to tell foundings apart.
pub fn short(id: &FoundingId) -> &str {
    &id.as_str()[..8]
}
