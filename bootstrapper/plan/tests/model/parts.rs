//! What the model is made of: disks, minds, answers and member lists.

use super::view::Act;

/// How many hosts there are.
pub const N: usize = 3;
/// The life of each host's disk: which nonce it has, counted from 0.
pub type Lives = [u8; N];
/// A founding, by the lives of its disks.
pub type T = Lives;

/// A disk and the process in front of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Host {
    /// Durable: which life of the disk this is.
    pub life: u8,
    /// Durable: every founding that was readied in this life, the one answered now last.
    pub readied: Vec<T>,
    /// Durable: the founding that this life committed.
    pub committed: Option<T>,
    /// Durable: whether etcd has made a log for it.
    pub wal: bool,
    /// Durable: whether that log holds anything from a leader.
    pub led: bool,
    /// How many learners were added for this life.
    pub joins: u8,
    /// Durable: the cluster that has added a learner for this life, not handed off yet.
    pub added: Option<T>,
    /// Durable: the cluster whose learner this life was handed off as; it has a log when it has heard the leader.
    pub joined: Option<T>,
    /// Whether etcd runs.
    pub running: bool,
    /// What the process has in mind.
    pub mind: Mind,
}

/// What is lost in a crash.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum Mind {
    /// Nothing was heard in this round.
    #[default]
    Idle,
    /// One peer was heard, some time ago.
    Heard(u8, Seen),
    /// A decision was made and is not carried out yet.
    Decided(Act),
}

/// What a host answers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Seen {
    /// A bootstrapper, uncommitted.
    Waiting { life: u8, ready: Option<T> },
    /// A bootstrapper that has committed.
    Committed { life: u8, t: T },
    /// A bootstrapper in front of a member's data.
    Holds,
    /// An etcd, with the list if a quorum serves it.
    Etcd { t: T, led: bool, list: Option<List> },
}

/// The linearizable member list of a cluster, and who of it answers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct List {
    pub slots: [Slot; N],
    pub answers: [bool; N],
}

/// A host's place in a member list.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Slot {
    /// A founder, and whether it has ever served.
    Founder { served: bool },
    /// Nobody.
    Nobody,
    /// A learner that was added at run time.
    Learner { id: u8 },
    /// A voter that was added at run time.
    Voter { id: u8 },
}

/// A founding that got a leader.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Cluster {
    pub t: T,
    pub slots: [Slot; N],
}

impl Host {
    /// The cluster that this disk is of.
    pub fn cluster(&self) -> Option<T> {
        if self.lost() { None } else { self.joined.or(self.committed) }
    }

    /// Whether it was handed off as a learner and crashed before there was a log.
    pub fn lost(&self) -> bool {
        self.joined.is_some() && !self.led && !self.running
    }

    /// What tells the learners of this host apart, of all lives.
    pub fn id(&self) -> u8 {
        self.life * 8 + self.joins
    }
}

impl Slot {
    pub fn votes(&self) -> bool {
        match self {
            Slot::Founder { .. } | Slot::Voter { .. } => true,
            Slot::Nobody | Slot::Learner { .. } => false,
        }
    }
}
