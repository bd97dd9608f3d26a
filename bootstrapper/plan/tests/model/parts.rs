//! What the model is made of: disks, minds, answers, logs and member lists. All of it is small, so that millions fit.

/// The most hosts there can be.
pub const MAX: usize = 5;

/// The life of a disk: the host that made it times 16, and how many that host had made before.
pub type Nonce = u8;

/// In a founding: a host that is not of it.
pub const NOBODY: Nonce = u8::MAX;

/// A founding: the disks of its hosts and the terms that can differ in this model.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct T {
    pub nonces: [Nonce; MAX],
    pub epoch: u8,
    pub generation: u8,
}

impl T {
    /// The hosts that are of it.
    pub fn hosts(&self) -> impl Iterator<Item = usize> + '_ {
        (0..MAX).filter(|h| self.nonces[*h] != NOBODY)
    }
}

/// A member's ID: of which host, and 0 for a founder, else which of the learners ever added for that host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Id {
    pub host: u8,
    pub seq: u8,
}

impl Id {
    pub fn founder(h: usize) -> Id {
        Id { host: h as u8, seq: 0 }
    }
}

/// Whether there is such a host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Place {
    /// An instance that is not launched yet.
    NotYet,
    #[default]
    Here,
    /// Gone for ever with its disk; of a group, the provider says *terminated*.
    Gone,
}

/// A disk and the process in front of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Host {
    pub place: Place,
    /// The epoch in its spec.
    pub epoch: u8,
    /// How many lives of a disk this host has made.
    pub lives: u8,
    /// How many learners were ever added for it.
    pub joins: u8,
    /// Durable: which life of the disk this is.
    pub nonce: Nonce,
    /// Durable: every founding that was readied in this life, the one answered now last.
    pub readied: Vec<T>,
    /// Durable: the founding whose snapshot is staged.
    pub prepared: Option<T>,
    /// Durable: the founding that this life committed.
    pub committed: Option<T>,
    /// Durable: whether etcd has made a log for it.
    pub wal: bool,
    /// Durable: the learner that was added for this life, not handed off yet.
    pub added: Option<(T, Id)>,
    /// Durable: the member that this life was handed off as; it has a log when it has heard the leader.
    pub joined: Option<(T, Id)>,
    /// Durable: how many entries of its cluster's log lie here; all but none are from a leader.
    pub log: u8,
    /// Durable: it is a copy of another host's disk with a member or a commit on it.
    pub foreign: bool,
    /// Whether etcd runs.
    pub running: bool,
    /// For a weaker rule: what is answered and not durable yet.
    pub said: Option<T>,
    /// For a weaker rule: whether the log came from nobody but this member itself.
    pub own: bool,
    /// What the process has in mind.
    pub mind: Mind,
}

/// What is lost in a crash. It is kept only once it is out of date: see `rounds.rs`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Mind {
    /// In this round these were heard, and have answered otherwise since.
    Heard(Vec<(u8, Seen)>),
    /// This was decided, and would not be decided any more; one step after the other.
    Decided(Plan),
}

impl Default for Mind {
    fn default() -> Mind {
        Mind::Heard(Vec::new())
    }
}

/// What a source answers: a host by its number, or the store by [`STORE`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Seen {
    /// A bootstrapper, uncommitted.
    Waiting { nonce: Nonce, epoch: u8, ready: Option<T>, prepared: bool },
    /// A bootstrapper that has committed.
    Committed { nonce: Nonce, t: T },
    /// A bootstrapper in front of any other data.
    Holds,
    /// An etcd, which knows the members as of its own log.
    Etcd { t: T, id: Id, members: Members },
    /// The store.
    Claim(Option<Claim>),
}

/// The store among the sources.
pub const STORE: usize = MAX;

/// The claim in the store.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Claim {
    pub state: State,
    pub t: T,
    /// The disk of each host that votes.
    pub voters: [Nonce; MAX],
}

/// How far a claim is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    Founding,
    Committing,
    Founded,
}

/// A founding that got a leader, and the log that its leaders have acknowledged.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Cluster {
    pub t: T,
    pub log: Vec<Entry>,
    /// Those that have published themselves.
    pub started: Vec<Id>,
}

/// What was acknowledged to somebody, and must never be lost.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Entry {
    /// The first leader's own.
    First,
    /// A client's.
    Write,
    Add(Id),
    Promote(Id),
    Remove(Id),
}

/// A member of a list.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Member {
    pub id: Id,
    pub learner: bool,
    pub started: bool,
}

pub type Members = Vec<Member>;

impl Cluster {
    /// The members as of this many entries.
    pub fn members(&self, entries: u8) -> Members {
        let member = |id, learner| Member { id, learner, started: self.started.contains(&id) };
        let mut members: Members = self.t.hosts().map(|h| member(Id::founder(h), false)).collect();
        for entry in self.log.iter().take(usize::from(entries)) {
            match entry {
                Entry::First | Entry::Write => {}
                Entry::Add(id) => members.push(member(*id, true)),
                Entry::Promote(id) => {
                    members.iter_mut().filter(|m| m.id == *id).for_each(|m| m.learner = false);
                }
                Entry::Remove(id) => members.retain(|m| m.id != *id),
            }
        }
        members.sort_by_key(|m| m.id);
        members
    }

    /// The members of now.
    pub fn current(&self) -> Members {
        self.members(self.log.len() as u8)
    }
}

/// What a host sets out to do, step by step; nothing when it waits.
pub type Plan = Vec<Step>;

/// One step, with what it was decided on.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    Start,
    /// For a weaker rule: answers Ready, and journals it in the next step.
    Say(T),
    Ready(T),
    Prepare(T),
    Commit(T),
    /// Whether somebody proved that the member was removed.
    Archive {
        removed: bool,
    },
    /// Swaps the claim that was read.
    Claim {
        to: State,
        t: T,
        read: Option<Claim>,
    },
    Remove(T, Id, Members),
    Add(T, Members),
    HandOff(T, Id),
    /// For a weaker rule: starts etcd on a blank disk under the old member ID.
    TakeBack(T, Id),
}

impl Host {
    /// The cluster that this disk is of, and as which member of it.
    pub fn member(&self, h: usize) -> Option<(T, Id)> {
        if self.lost() || self.foreign {
            return None;
        }
        self.joined.or(self.committed.map(|t| (t, self.founder(&t, h))))
    }

    /// As `apply` does it: the founder that has this disk's nonce.
    pub fn founder(&self, t: &T, h: usize) -> Id {
        Id::founder((0..MAX).find(|x| t.nonces[*x] == self.nonce).unwrap_or(h))
    }

    /// Whether it was handed off as a learner and crashed before there was a log.
    pub fn lost(&self) -> bool {
        self.joined.is_some() && self.log == 0 && !self.running
    }

    /// Whether a member's log lies here.
    pub fn led(&self) -> bool {
        self.log > 0 && !self.foreign
    }

    /// A blank disk in front of the same host.
    pub fn blank(&self, h: usize) -> Host {
        let (place, epoch, joins) = (self.place, self.epoch, self.joins);
        let nonce = (h as u8) << 4 | self.lives;
        Host { place, epoch, joins, nonce, lives: self.lives + 1, ..Host::default() }
    }
}
