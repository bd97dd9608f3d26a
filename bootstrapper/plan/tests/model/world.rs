//! All of it at one moment, and what must never be.

use std::rc::Rc;

use super::parts::{Claim, Cluster, Host, Id, Member, Members, NOBODY, Place, Seen, State, T};
use super::rounds::Answers;
use super::rules::Rule;

/// What is the same in all worlds of one search.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// What is searched, for a person.
    pub name: &'static str,
    /// How many hosts there ever are.
    pub hosts: usize,
    /// How many voters are wanted.
    pub size: usize,
    /// Whether they are a dynamic group; they are a static list otherwise.
    pub group: bool,
    pub store: bool,
    /// Whether the founding restores a snapshot.
    pub restore: bool,
    /// Whether a total loss is followed by a restore of the store's newest snapshot.
    pub follow: bool,
    /// Whether `found_until` is ahead.
    pub dated: bool,
    /// How many hosts at a time may act on what is out of date.
    pub late: usize,
    pub rule: Rule,
    /// What may still happen at the beginning.
    pub may: Faults,
}

impl std::hash::Hash for Config {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // One thread searches few, and hashes them often.
        self.rule.hash(state);
    }
}

/// How often each fault may still happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Faults {
    /// An etcd crashes, or its host does. A bootstrapper crashes as often as it likes.
    pub crash: u8,
    /// A disk is lost, or an instance with its disk.
    pub loss: u8,
    /// A host goes for ever, or an instance is terminated.
    pub gone: u8,
    /// A disk is copied over another host's.
    pub clone: u8,
    /// The spec of one host is edited: its epoch is raised.
    pub edit: u8,
    /// An instance is launched beside as many as are wanted.
    pub surge: u8,
    /// How many of all these there may be.
    pub total: u8,
    /// A client's write. No fault, but there need not be many.
    pub write: u8,
    /// A founding leaves somebody out who has said nothing for long; any host may have. Nor is this a fault.
    pub missing: u8,
}

/// What the hosts share.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Shared {
    /// Every founding that ever got a leader.
    pub clusters: Vec<Cluster>,
    pub claim: Option<Claim>,
    pub may: Faults,
    /// What happened that must not.
    pub broken: Option<&'static str>,
}

/// All of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct World {
    pub config: Rc<Config>,
    pub hosts: Vec<Rc<Host>>,
    pub shared: Rc<Shared>,
}

impl World {
    /// Hosts on blank disks, all but `size` of them not there yet.
    pub fn blank(config: Config) -> World {
        let shared = Shared { clusters: Vec::new(), claim: None, may: config.may, broken: None };
        let host = |h| {
            let place = if h < config.size { Place::Here } else { Place::NotYet };
            Rc::new(Host { place, epoch: 1, ..Host::default() }.blank(h))
        };
        World { hosts: (0..config.hosts).map(host).collect(), shared: Rc::new(shared), config: Rc::new(config) }
    }

    /// The first `size` hosts are members of a cluster that serves and has acknowledged a write.
    pub fn serving(config: Config) -> World {
        let mut world = World::blank(config);
        let size = world.config.size;
        let nonces = std::array::from_fn(|h| if h < size { world.hosts[h].nonce } else { NOBODY });
        let t = T { nonces, epoch: 1, generation: 1 };
        let cluster = Cluster {
            t,
            log: vec![super::parts::Entry::First, super::parts::Entry::Write],
            started: (0..size).map(Id::founder).collect(),
        };
        for h in 0..size {
            let host = world.host(h);
            (host.readied, host.committed, host.prepared) = (vec![t], Some(t), None);
            (host.wal, host.log, host.running) = (true, 2, true);
        }
        let founded = Claim { state: State::Founded, t, voters: nonces };
        let store = world.config.store;
        let shared = world.shared();
        shared.clusters.push(cluster);
        shared.claim = Some(founded).filter(|_| store);
        world
    }

    pub fn host(&mut self, h: usize) -> &mut Host {
        Rc::make_mut(&mut self.hosts[h])
    }

    pub fn shared(&mut self) -> &mut Shared {
        Rc::make_mut(&mut self.shared)
    }

    pub fn breaks(&mut self, why: &'static str) {
        self.shared().broken.get_or_insert(why);
    }

    /// Those that exist.
    pub fn here(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.hosts.len()).filter(|h| self.hosts[*h].place == Place::Here)
    }

    pub fn cluster(&self, t: &T) -> Option<&Cluster> {
        self.shared.clusters.iter().find(|c| c.t == *t)
    }

    /// The hosts whose disk is this member's; more than one only if something went wrong.
    pub fn disks(&self, t: &T, id: Id) -> impl Iterator<Item = usize> + '_ {
        let wanted = Some((*t, id));
        self.here().filter(move |h| self.hosts[*h].member(*h) == wanted)
    }

    /// Of these voters, those that run and of whose log this is true.
    pub fn up(&self, t: &T, members: &Members, log: impl Fn(u8) -> bool) -> Vec<usize> {
        let voters = members.iter().filter(|m| !m.learner);
        let up = |h: &usize| self.hosts[*h].running && log(self.hosts[*h].log);
        voters.flat_map(|m| self.disks(t, m.id).filter(up).take(1)).collect()
    }

    /// Whether a quorum of this cluster's voters runs and one of them has all that was acknowledged.
    pub fn serves(&self, cluster: &Cluster) -> bool {
        let (members, full) = (cluster.current(), cluster.log.len() as u8);
        self.up(&cluster.t, &members, |_| true).len() >= quorum(&members)
            && !self.up(&cluster.t, &members, |log| log == full).is_empty()
    }

    /// Whether the disks that are left could be a quorum of this cluster.
    pub fn has_quorum(&self, cluster: &Cluster) -> bool {
        let members = cluster.current();
        let left = members.iter().filter(|m| !m.learner && self.disks(&cluster.t, m.id).next().is_some()).count();
        left >= quorum(&members)
    }

    pub fn answers(&self) -> Answers {
        std::array::from_fn(|h| if h < self.hosts.len() { self.answer(h) } else { None })
    }

    /// What a host answers now, if it is there.
    pub fn answer(&self, h: usize) -> Option<Seen> {
        let host = &self.hosts[h];
        Some(match (host.place, host.member(h)) {
            (Place::NotYet | Place::Gone, _) => return None,
            (Place::Here, Some((t, id))) if host.running => {
                let members = match self.cluster(&t) {
                    Some(cluster) => cluster.members(host.log),
                    None => Cluster { t, log: Vec::new(), started: Vec::new() }.current(),
                };
                Seen::Etcd { t, id, members }
            }
            (Place::Here, None) if !host.foreign => Seen::Waiting {
                nonce: host.nonce,
                epoch: host.epoch,
                ready: host.said.or(host.readied.last().copied()),
                prepared: host.prepared.is_some() && host.prepared.as_ref() == host.readied.last(),
            },
            (Place::Here, _) if host.log == 0 && host.joined.is_none() => {
                Seen::Committed { nonce: host.nonce, t: host.committed? }
            }
            (Place::Here, _) => Seen::Holds,
        })
    }

    /// Whether all that are here run as voters of one cluster, or are spares beside it.
    pub fn settled(&self) -> bool {
        self.shared.clusters.iter().any(|cluster| {
            let (members, full) = (cluster.current(), cluster.log.len() as u8);
            let voters = self.up(&cluster.t, &members, |log| log == full);
            // Nobody takes a host out of a static list that is gone, nor out of a group before another votes, nor a learner
            // before it is in somebody's way.
            let listed = members.iter().filter(|m| !m.learner).count();
            let too_many = self.config.group && listed > self.config.size;
            let gone = |m: &Member| self.hosts[usize::from(m.id.host)].place == Place::Gone;
            let left_over = |m: &Member| gone(m) && (m.learner || !too_many);
            self.serves(cluster)
                && voters.len() >= self.here().count().min(self.config.size)
                && members.iter().all(|m| voters.contains(&usize::from(m.id.host)) || left_over(m))
                && self.here().all(|h| voters.contains(&h) || self.config.group)
        })
    }

    /// Whether the design says that somebody has to help.
    pub fn excused(&self) -> bool {
        let here = |of: &dyn Fn(&Host) -> bool| self.here().any(|h| of(&self.hosts[h]));
        // Somebody has what is left of a cluster: a member's log, or a learner's promise to take part.
        let left_of = |c: &Cluster, h: usize| {
            let host = &self.hosts[h];
            // Without its log, too: row 24 waits for a cluster or for `reset` there.
            host.joined.is_some_and(|m| m.0 == c.t) || host.led() && host.member(h).is_some_and(|m| m.0 == c.t)
        };
        let lost_quorum = |c: &Cluster| !self.has_quorum(c) && self.here().any(|h| left_of(c, h));
        let serves = self.shared.clusters.iter().any(|c| self.has_quorum(c));
        let missing = !self.config.group && self.hosts.iter().any(|h| h.place == Place::Gone)
            || self.here().count() != self.config.size;
        let first = self.here().next().map(|h| self.hosts[h].epoch);
        let differ = here(&|host| Some(host.epoch) != first);
        let founded = self.shared.claim.as_ref().is_some_and(|c| c.state == State::Founded);
        self.shared.clusters.iter().any(lost_quorum)
            || !serves && (missing || differ || founded)
            || here(&|host| host.foreign)
    }

    /// Why this world must not be, if so.
    pub fn wrong(&self) -> Option<&'static str> {
        let lead = |h: usize| self.hosts[h].member(h).filter(|_| self.hosts[h].led());
        let data: Vec<T> = self.here().filter_map(lead).map(|(t, _)| t).collect();
        let running = |h: usize| self.hosts[h].member(h).filter(|_| self.hosts[h].running);
        let twins = self.here().any(|a| self.here().any(|b| a < b && running(a).is_some() && running(a) == running(b)));
        let (had, have) = (self.config.may, self.shared.may);
        let lost = had.loss - have.loss + had.clone - have.clone + had.gone - have.gone;
        let again = |c: &Cluster| self.shared.clusters.iter().filter(|o| o.t.epoch == c.t.epoch).count() > 1;
        // In a group, a raised epoch is the operator's word to found beside what cannot be asked.
        let two = |a: &T, b: &T| a != b && (a.epoch == b.epoch || !self.config.group);
        let most = self.config.size + usize::from(self.config.group);
        match () {
            () if self.shared.broken.is_some() => self.shared.broken,
            () if self.shared.clusters.iter().any(|c| self.forgets(c)) => Some("an acknowledged write is lost"),
            () if data.iter().any(|a| data.iter().any(|b| two(a, b))) => Some("there is data of two clusters"),
            () if twins => Some("two etcds run as one member"),
            // As many lost disks as a quorum take all with them that a cluster ever wrote: nothing remembers it then.
            () if usize::from(lost) * 2 < self.config.size + 1 && self.shared.clusters.iter().any(again) => {
                Some("two foundings had a leader")
            }
            () if self.shared.clusters.iter().any(|c| c.current().len() > most) => Some("there are too many members"),
            () if self.hosts.iter().any(|h| h.lives > 7 || h.joins > 6) => Some("a host begins anew for ever"),
            () => None,
        }
    }

    /// Whether members that lack something acknowledged are a quorum, by the member list that they know.
    fn forgets(&self, cluster: &Cluster) -> bool {
        let full = cluster.log.len() as u8;
        let known = |h: usize| self.hosts[h].member(h).is_some_and(|m| m.0 == cluster.t) && self.hosts[h].running;
        let mut behind: Vec<u8> = self.here().filter(|h| known(*h)).map(|h| self.hosts[h].log).collect();
        behind.retain(|log| *log < full);
        behind.into_iter().any(|most| {
            let members = cluster.members(most);
            let voters = self.up(&cluster.t, &members, |log| log <= most);
            voters.len() >= quorum(&members) && voters.iter().any(|h| self.hosts[*h].log == most)
        })
    }
}

/// How many voters of these are a quorum.
pub fn quorum(members: &Members) -> usize {
    members.iter().filter(|m| !m.learner).count() / 2 + 1
}
