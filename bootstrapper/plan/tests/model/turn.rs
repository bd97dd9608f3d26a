//! The hosts are alike: a world in which they have changed places is the same world.

use super::parts::{
    Claim, Cluster, Entry, Host, Id, MAX, Member, Members, Mind, NOBODY, Nonce, Plan, STORE, Seen, Step, T,
};
use super::world::Shared;

/// Where each host goes.
#[derive(Clone, Copy, Debug)]
pub struct Turn(pub [u8; MAX]);

impl Turn {
    /// Every way in which this many hosts can change places, the one that changes nothing first.
    pub fn all(hosts: usize) -> Vec<Turn> {
        let mut all = vec![Turn(std::array::from_fn(|h| h as u8))];
        for h in 0..hosts {
            for i in 0..all.len() {
                for with in h + 1..hosts {
                    let mut turn = all[i];
                    turn.0.swap(h, with);
                    all.push(turn);
                }
            }
        }
        all
    }

    pub fn host(&self, h: u8) -> u8 {
        if usize::from(h) == STORE { h } else { self.0[usize::from(h)] }
    }

    fn nonce(&self, nonce: Nonce) -> Nonce {
        if nonce == NOBODY { nonce } else { self.host(nonce >> 4) << 4 | nonce & 15 }
    }

    fn nonces(&self, nonces: &[Nonce; MAX]) -> [Nonce; MAX] {
        let mut turned = [NOBODY; MAX];
        for (h, nonce) in nonces.iter().enumerate() {
            turned[usize::from(self.0[h])] = self.nonce(*nonce);
        }
        turned
    }

    fn t(&self, t: &T) -> T {
        T { nonces: self.nonces(&t.nonces), ..*t }
    }

    fn id(&self, id: Id) -> Id {
        Id { host: self.host(id.host), ..id }
    }

    fn membership(&self, of: &Option<(T, Id)>) -> Option<(T, Id)> {
        of.as_ref().map(|(t, id)| (self.t(t), self.id(*id)))
    }

    fn members(&self, members: &Members) -> Members {
        let mut turned: Members = members.iter().map(|m| Member { id: self.id(m.id), ..*m }).collect();
        turned.sort_by_key(|m| m.id);
        turned
    }

    fn claim(&self, claim: &Option<Claim>) -> Option<Claim> {
        claim.as_ref().map(|c| Claim { state: c.state, t: self.t(&c.t), voters: self.nonces(&c.voters) })
    }

    fn seen(&self, seen: &Seen) -> Seen {
        match seen {
            Seen::Waiting { nonce, epoch, ready, prepared } => Seen::Waiting {
                nonce: self.nonce(*nonce),
                epoch: *epoch,
                ready: ready.map(|t| self.t(&t)),
                prepared: *prepared,
            },
            Seen::Committed { nonce, t } => Seen::Committed { nonce: self.nonce(*nonce), t: self.t(t) },
            Seen::Holds => Seen::Holds,
            Seen::Etcd { t, id, members } => {
                Seen::Etcd { t: self.t(t), id: self.id(*id), members: self.members(members) }
            }
            Seen::Claim(claim) => Seen::Claim(self.claim(claim)),
        }
    }

    fn plan(&self, plan: &Plan) -> Plan {
        let step = |step: &Step| match step {
            Step::Start => Step::Start,
            Step::Say(t) => Step::Say(self.t(t)),
            Step::TakeBack(t, id) => Step::TakeBack(self.t(t), self.id(*id)),
            Step::Ready(t) => Step::Ready(self.t(t)),
            Step::Prepare(t) => Step::Prepare(self.t(t)),
            Step::Commit(t) => Step::Commit(self.t(t)),
            Step::Archive { removed } => Step::Archive { removed: *removed },
            Step::Claim { to, t, read } => Step::Claim { to: *to, t: self.t(t), read: self.claim(read) },
            Step::Remove(t, id, list) => Step::Remove(self.t(t), self.id(*id), self.members(list)),
            Step::Add(t, list) => Step::Add(self.t(t), self.members(list)),
            Step::HandOff(t, id) => Step::HandOff(self.t(t), self.id(*id)),
        };
        plan.iter().map(step).collect()
    }

    fn mind(&self, mind: &Mind) -> Mind {
        match mind {
            Mind::Decided(plan) => Mind::Decided(self.plan(plan)),
            Mind::Heard(heard) => {
                let mut turned: Vec<_> = heard.iter().map(|(s, seen)| (self.host(*s), self.seen(seen))).collect();
                turned.sort_by_key(|(source, _)| *source);
                Mind::Heard(turned)
            }
        }
    }

    /// A host in another's place.
    pub fn of_host(&self, host: &Host) -> Host {
        let t = |t: &Option<T>| t.map(|t| self.t(&t));
        Host {
            nonce: self.nonce(host.nonce),
            readied: host.readied.iter().map(|t| self.t(t)).collect(),
            prepared: t(&host.prepared),
            committed: t(&host.committed),
            added: self.membership(&host.added),
            joined: self.membership(&host.joined),
            said: t(&host.said),
            mind: self.mind(&host.mind),
            ..host.clone()
        }
    }

    /// What is shared, when the hosts have changed places.
    pub fn of_shared(&self, shared: &Shared) -> Shared {
        let entry = |entry: &Entry| match entry {
            Entry::First => Entry::First,
            Entry::Write => Entry::Write,
            Entry::Add(id) => Entry::Add(self.id(*id)),
            Entry::Promote(id) => Entry::Promote(self.id(*id)),
            Entry::Remove(id) => Entry::Remove(self.id(*id)),
        };
        let cluster = |c: &Cluster| {
            let mut started: Vec<Id> = c.started.iter().map(|id| self.id(*id)).collect();
            started.sort();
            Cluster { t: self.t(&c.t), log: c.log.iter().map(entry).collect(), started }
        };
        let mut clusters: Vec<Cluster> = shared.clusters.iter().map(cluster).collect();
        clusters.sort_by_key(|c| c.t);
        Shared { clusters, claim: self.claim(&shared.claim), ..shared.clone() }
    }
}
