//! The journal as data: what a disk has gone through, one record a line, and what follows from all of them.
//!
//! A record is durable before its effect counts, so a crash leaves at most an intent that the next boot completes:
//! `commit` before the staged data is renamed into place, `archived` before the data dir is renamed away, `recovered`
//! before both, and the new `nonce` only when those renames are durable.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::decision::short;
use crate::facts::{Added, Identity, Past};
use crate::founding::{Founding, FoundingId};
use crate::member::{ClusterId, MemberId, Nonce};
use crate::wal_disk::WalDisk;

/// One line of `journal.jsonl`; fields that this program does not know, such as a time, are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Record {
    /// A new life of this disk begins.
    Nonce {
        /// Its name, never used before on this disk.
        nonce: Nonce,
    },
    /// Where this life's log will be: on a disk of its own, or in the data dir as without this record.
    WalDisk {
        /// `None` for the data dir.
        wal: Option<WalDisk>,
    },
    /// Ready is answered for this founding from here on.
    Ready {
        /// With every disk of it, this one included.
        founding: Founding,
    },
    /// The snapshot of this founding is staged and proven.
    Prepared {
        /// T.
        id: FoundingId,
    },
    /// This life takes part in this founding and in no other; the staged data is put in place after this.
    Commit {
        /// One that was answered Ready.
        founding: Founding,
    },
    /// A learner was added for this disk.
    Added {
        /// To which cluster.
        cluster_id: ClusterId,
        /// As which member.
        member_id: MemberId,
    },
    /// etcd may be started as this member; for all but a founding without a snapshot, its data counts from here on.
    HandedOff {
        /// Who this host is.
        identity: Identity,
        /// Names and peer URLs that etcd was told.
        initial_cluster: Vec<(String, String)>,
        /// How it came to be.
        how: How,
    },
    /// The log of this member was seen to hold something from a leader.
    Led {},
    /// The member that lived on this host's former disk was removed from its cluster.
    RemovedPrevious {
        /// Which.
        member: MemberId,
    },
    /// This member has read linearizably through itself.
    Settled {
        /// Who this host is.
        identity: Identity,
    },
    /// This member was removed from its cluster, by the word of etcd.
    Removed {
        /// Who lived here.
        identity: Identity,
        /// Who said so.
        evidence: String,
    },
    /// The data dir goes to the trash and this life ends; only a `nonce` may follow.
    Archived {
        /// The directory in `trash/`.
        to: String,
        /// Why, for a person.
        why: String,
        /// Whether a member's data was given up for lost, so that the next life may join and must not found.
        #[serde(default)]
        lost: bool,
    },
    /// The survivor's database goes on in a cluster of its own: the old data goes to the trash, the staged data of the
    /// founding takes its place, and this life ends; only a `nonce` may follow, and it begins the life of this member.
    Recovered {
        /// Who this host is then; its epoch is that of the operator's word.
        identity: Identity,
        /// Whose staging it is.
        founding: FoundingId,
        /// That founding of one, in full, for the store's claim.
        #[serde(default)]
        alone: Option<Box<Founding>>,
        /// The directory in `trash/`.
        to: String,
    },
    /// A cluster served this member while the spec said `recover` with this epoch: that word is over for this disk.
    Outlived {
        /// Of the operator's word.
        epoch: u32,
    },
}

/// How a member came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// In a founding, empty.
    Founded,
    /// In a founding, from a snapshot.
    Restored,
    /// As a learner of a cluster that served.
    Joined,
    /// As the survivor of a cluster that lost its quorum.
    Recovered,
}

impl Record {
    /// The line to append, its newline included.
    ///
    /// # Errors
    /// Never for a record that was built by this program; the caller must not append what is not whole.
    pub fn line(&self) -> Result<String, String> {
        serde_json::to_string(self).map(|json| json + "\n").map_err(|e| e.to_string())
    }
}

/// What the records since the last nonce add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// The nonce; absent while the journal is empty.
    pub nonce: Option<Nonce>,
    /// Where its log is; `None` for the data dir.
    pub wal: Option<WalDisk>,
    /// What `decide` is told.
    pub past: Past,
    /// The founding that this nonce committed.
    pub committed: Option<Founding>,
    /// The founding of one that a recovery made of this disk's member.
    pub alone: Option<Founding>,
    /// The last hand-off: who, and what etcd was told.
    pub handed_off: Option<(Identity, Vec<(String, String)>)>,
    /// How that member came to be.
    pub how: Option<How>,
    /// Whether that member's log was seen to hold something from a leader.
    pub led: bool,
    /// Whether that member has read linearizably through itself.
    pub settled: bool,
    /// The member whose data must be here, or must be said to be lost.
    pub lived: Option<Identity>,
    /// Whether the life before this one was given up for lost.
    pub lost: bool,
    /// The member that was removed from its cluster, and who said so.
    pub removed: Option<(Identity, String)>,
    /// Where the data dir goes: an archive that was begun and has to be completed before anything else.
    pub archiving: Option<Archiving>,
    /// The recovery that was begun and has to be completed before anything else.
    pub recovering: Option<Recovering>,
    nonces: BTreeSet<Nonce>,
}

/// An archive that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archiving {
    /// The directory in `trash/`.
    pub to: String,
    /// Whether the next life is one that lost its member.
    pub lost: bool,
}

/// A recovery that was begun: its staging is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovering {
    /// Who this host is when it is completed.
    pub identity: Identity,
    /// Whose staging takes the place of the data dir.
    pub founding: FoundingId,
    /// That founding in full.
    pub alone: Option<Founding>,
    /// The directory in `trash/` for the old data.
    pub to: String,
}

/// The lines that are whole; what follows the last newline was never durable and is to be cut before appending.
pub fn whole(journal: &str) -> &str {
    journal.rfind('\n').map_or("", |end| &journal[..=end])
}

impl Life {
    /// What the journal's lines add up to; a torn last line, one without a newline, is ignored.
    ///
    /// # Errors
    /// The first line that cannot be read or cannot follow those before it, by its number from 1.
    pub fn replay(lines: &str) -> Result<Life, String> {
        let mut life = Life::default();
        for (i, line) in whole(lines).lines().enumerate() {
            let at = |why: String| format!("line {} of the journal {why}", i + 1);
            let record: Record =
                serde_json::from_str(line).map_err(|e| at(format!("is not a record of this program: {e}")))?;
            life.push(&record).map_err(at)?;
        }
        Ok(life)
    }

    /// Adds one record.
    ///
    /// # Errors
    /// Why it cannot follow those before it, as a clause about its line; the life is as before then.
    pub fn push(&mut self, record: &Record) -> Result<(), String> {
        if let Record::Nonce { nonce } = record {
            return self.begin(nonce);
        }
        let Some(nonce) = &self.nonce else {
            return Err("comes before the first disk nonce".into());
        };
        if self.archiving.is_some() {
            return Err("follows an archive, after which only a new disk nonce may come".into());
        }
        if self.recovering.is_some() {
            return Err("follows a recovery, after which only a new disk nonce may come".into());
        }
        match record {
            Record::Nonce { .. } | Record::RemovedPrevious { .. } => Ok(()),
            Record::WalDisk { wal } => {
                if self.is_bound() {
                    return Err("moves the log of a member that was committed or handed off".into());
                }
                self.wal.clone_from(wal);
                Ok(())
            }
            Record::Ready { founding } => {
                if !founding.founders.iter().any(|f| f.nonce == *nonce) {
                    return Err(format!("readies founding {}, which is not of this disk", short(&founding.id())));
                }
                self.ready(founding)
            }
            Record::Prepared { id } => {
                if !self.past.readied.iter().any(|f| f.id() == *id) {
                    return Err(format!("prepares founding {}, which was never readied", short(id)));
                }
                self.past.prepared = Some(id.clone());
                Ok(())
            }
            Record::Commit { founding } => self.commit(founding),
            Record::Added { cluster_id, member_id } => {
                self.past.added = Some(Added { cluster_id: *cluster_id, member_id: *member_id });
                Ok(())
            }
            Record::HandedOff { identity, initial_cluster, how } => self.hand_off(identity, initial_cluster, *how),
            Record::Led {} => self.led(),
            Record::Settled { identity } => {
                if !self.handed_off.as_ref().is_some_and(|(i, _)| same(i, identity)) {
                    return Err(format!("settles member {}, which was never handed off", identity.member_id));
                }
                self.settled = true;
                self.lived = Some(identity.clone());
                Ok(())
            }
            Record::Removed { identity, evidence } => {
                self.removed = Some((identity.clone(), evidence.clone()));
                Ok(())
            }
            Record::Archived { to, why: _, lost } => {
                self.archiving = Some(Archiving { to: to.clone(), lost: *lost });
                Ok(())
            }
            Record::Recovered { identity, founding, alone, to } => {
                if self.lived.is_none() && self.expected().is_none() {
                    return Err(format!("recovers member {}, and no member lived here", identity.member_id));
                }
                let (identity, founding, to) = (identity.clone(), founding.clone(), to.clone());
                let alone = alone.as_deref().cloned();
                self.reach(identity.epoch);
                self.recovering = Some(Recovering { identity, founding, alone, to });
                Ok(())
            }
            Record::Outlived { epoch } => {
                self.reach(*epoch);
                Ok(())
            }
        }
    }

    fn begin(&mut self, nonce: &Nonce) -> Result<(), String> {
        let mut nonces = std::mem::take(&mut self.nonces);
        if !nonces.insert(nonce.clone()) {
            self.nonces = nonces;
            return Err(format!("begins disk nonce {nonce} a second time"));
        }
        if let Some(recovering) = self.recovering.take() {
            let identity = recovering.identity;
            let alone = vec![(identity.name.to_string(), identity.peer_url.to_string())];
            *self = Life {
                nonce: Some(nonce.clone()),
                wal: self.wal.take().map(|wal| wal.with(recovering.founding.as_str())),
                past: Past { epoch: self.past.epoch, spent: true, ..Past::default() },
                alone: recovering.alone,
                lived: Some(identity.clone()),
                handed_off: Some((identity, alone)),
                how: Some(How::Recovered),
                nonces,
                ..Life::default()
            };
            return Ok(());
        }
        let lost = self.archiving.as_ref().is_some_and(|a| a.lost);
        let lived = self.lived.clone().or_else(|| self.expected());
        *self = Life {
            nonce: Some(nonce.clone()),
            past: Past { epoch: self.past.epoch, ..Past::default() },
            lived: lived.filter(|_| lost),
            lost,
            nonces,
            ..Life::default()
        };
        Ok(())
    }

    fn ready(&mut self, founding: &Founding) -> Result<(), String> {
        if self.past.spent {
            return Err(format!("readies founding {} with a spent disk nonce", short(&founding.id())));
        }
        self.past.readied.retain(|f| f != founding);
        self.past.readied.push(founding.clone());
        Ok(())
    }

    fn commit(&mut self, founding: &Founding) -> Result<(), String> {
        if let Some(before) = &self.committed {
            let (id, before) = (founding.id(), before.id());
            return Err(format!("commits founding {}, and this disk nonce committed {}", short(&id), short(&before)));
        }
        if self.past.spent {
            return Err(format!("commits founding {} with a spent disk nonce", short(&founding.id())));
        }
        if !self.past.readied.contains(founding) {
            return Err(format!("commits founding {}, which was never readied", short(&founding.id())));
        }
        self.committed = Some(founding.clone());
        self.past.spent = true;
        self.reach(founding.terms.epoch);
        Ok(())
    }

    fn hand_off(&mut self, who: &Identity, initial_cluster: &[(String, String)], how: How) -> Result<(), String> {
        let again = self.handed_off.as_ref().is_some_and(|(i, _)| same(i, who)) && self.how == Some(how);
        match how {
            How::Founded | How::Restored => {
                if !self.founder().is_some_and(|founder| same(&founder, who)) {
                    return Err(format!("hands off member {} of a founding that was never committed", who.member_id));
                }
                if matches!(self.how, Some(How::Joined | How::Recovered)) {
                    return Err(format!("hands off member {} of a founding that this disk has left", who.member_id));
                }
            }
            How::Joined => {
                let added = Added { cluster_id: who.cluster_id, member_id: who.member_id };
                if !again && self.past.added.as_ref() != Some(&added) {
                    return Err(format!("hands off member {}, which was never added", who.member_id));
                }
            }
            How::Recovered => {}
        }
        if !again {
            (self.led, self.settled) = (false, false);
        }
        match how {
            // Until there is a log, an empty founding is begun again by etcd's `new`, and nothing is lost.
            How::Founded => {}
            How::Restored | How::Joined | How::Recovered => self.lived = Some(who.clone()),
        }
        self.handed_off = Some((who.clone(), initial_cluster.to_vec()));
        self.how = Some(how);
        self.past.added = None;
        self.past.spent = true;
        self.reach(who.epoch);
        Ok(())
    }

    fn led(&mut self) -> Result<(), String> {
        let Some(identity) = self.expected() else {
            return Err("says that a leader was heard, and nothing was committed or handed off".into());
        };
        self.led = true;
        self.lived = Some(identity);
        Ok(())
    }

    /// Whether an etcd may have written for this life: where its log is does not change any more.
    pub fn is_bound(&self) -> bool {
        self.committed.is_some() || self.handed_off.is_some()
    }

    /// The member whose log may lie here: the one handed off last, else the one of the committed founding.
    pub fn expected(&self) -> Option<Identity> {
        self.handed_off.as_ref().map(|(identity, _)| identity.clone()).or_else(|| self.founder())
    }

    /// The member that the committed founding makes of this disk.
    pub fn founder(&self) -> Option<Identity> {
        Identity::founder(self.committed.as_ref()?, self.nonce.as_ref()?)
    }

    fn reach(&mut self, epoch: u32) {
        self.past.epoch = self.past.epoch.max(Some(epoch));
    }
}

/// Whether both are one member; a peer URL may change in between.
fn same(a: &Identity, b: &Identity) -> bool {
    (a.cluster_id, a.member_id) == (b.cluster_id, b.member_id)
}
