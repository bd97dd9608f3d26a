//! Three hosts, the etcds on them, and all that can happen to them.

use super::parts::{Cluster, Host, List, Mind, N, Seen, Slot, T};
use super::search::System;
use super::view::{self, Act, Rule};

/// All of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Hosts {
    pub hosts: [Host; N],
    /// Every founding that ever got a leader.
    pub clusters: Vec<Cluster>,
    /// How many crashes may still happen.
    pub crashes: u8,
    /// How many disks may still be lost.
    pub losses: u8,
    /// Whether nothing has crashed or was lost yet; the hosts are alike, so the first fault is the first host's.
    pub whole: bool,
    /// What is decided by.
    pub rule: Rule,
    /// What happened that must not.
    pub broken: Option<&'static str>,
}

/// One thing that happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A host hears one peer, and not yet the other.
    Hears(usize, usize),
    /// A host has heard all it will hear in this round and decides.
    Decides(usize, Act),
    /// A host has heard all it will hear, and there is nothing to do.
    Waits(usize),
    /// A host carries its decision out.
    Does(usize, Act),
    /// Two etcds elect a leader.
    Leads(usize, usize),
    /// An etcd hears the leader of its cluster for the first time.
    Follows(usize),
    /// A learner is promoted.
    Promotes(usize),
    /// A host crashes and boots.
    Crashes(usize),
    /// A host crashes and boots with a blank disk.
    LosesItsDisk(usize),
}

impl Hosts {
    /// Three blank hosts, to which this much may happen.
    pub fn blank(crashes: u8, losses: u8, rule: Rule) -> Hosts {
        Hosts { hosts: Default::default(), clusters: Vec::new(), crashes, losses, whole: true, rule, broken: None }
    }

    /// Three members that serve, to which this much may happen.
    pub fn serving(crashes: u8, losses: u8, rule: Rule) -> Hosts {
        let t = [0; N];
        let member =
            Host { readied: vec![t], committed: Some(t), wal: true, led: true, running: true, ..Host::default() };
        let slots = [Slot::Founder { served: true }; N];
        let hosts = std::array::from_fn(|_| member.clone());
        Hosts { hosts, clusters: vec![Cluster { t, slots }], ..Hosts::blank(crashes, losses, rule) }
    }

    /// Whether all three run as members of the one cluster there is.
    pub fn settled(&self) -> bool {
        let votes = |slot: &Slot| match slot {
            Slot::Founder { .. } | Slot::Voter { .. } => true,
            Slot::Nobody | Slot::Learner { .. } => false,
        };
        self.hosts.iter().all(|h| h.running && h.led)
            && self.clusters.iter().any(|c| c.slots.iter().all(votes) && self.serves(&c.t))
    }

    /// Whether some cluster has lost so many disks that only the operator can help.
    pub fn beyond_help(&self) -> bool {
        self.clusters.iter().any(|c| {
            let voters = (0..N).filter(|h| c.slots[*h].votes()).count();
            let here = (0..N).filter(|h| self.is_voter(c, *h)).count();
            here <= voters / 2 && (0..N).any(|h| self.hosts[h].led && self.hosts[h].cluster() == Some(c.t))
        })
    }

    /// Whether this disk holds a voter of this cluster.
    fn is_voter(&self, cluster: &Cluster, h: usize) -> bool {
        let host = &self.hosts[h];
        match cluster.slots[h] {
            Slot::Founder { .. } => host.committed == Some(cluster.t) && host.joined.is_none(),
            Slot::Voter { id } => host.joined == Some(cluster.t) && host.id() == id,
            Slot::Nobody | Slot::Learner { .. } => false,
        }
    }

    /// Whether a quorum of this cluster's voters runs and has the leader's log.
    pub fn serves(&self, t: &T) -> bool {
        self.clusters.iter().filter(|c| c.t == *t).any(|c| {
            let voters = (0..N).filter(|h| c.slots[*h].votes()).count();
            let up = (0..N).filter(|h| self.is_voter(c, *h) && self.hosts[*h].running && self.hosts[*h].led).count();
            up > voters / 2
        })
    }

    fn list(&self, t: &T) -> Option<List> {
        let cluster = self.clusters.iter().find(|c| c.t == *t).filter(|c| self.serves(&c.t))?;
        let answers = std::array::from_fn(|h| self.hosts[h].running && self.hosts[h].cluster() == Some(*t));
        Some(List { slots: cluster.slots, answers })
    }

    /// What a host answers now.
    pub fn answer(&self, h: usize) -> Seen {
        let host = &self.hosts[h];
        match (host.running, host.cluster()) {
            (true, Some(t)) => Seen::Etcd { t, led: host.led, list: self.list(&t) },
            (false, Some(_)) if host.led => Seen::Holds,
            (false, Some(t)) => Seen::Committed { life: host.life, t },
            (_, None) => Seen::Waiting { life: host.life, ready: host.readied.last().copied() },
        }
    }

    fn changed(&self, change: impl FnOnce(&mut Hosts)) -> Hosts {
        let mut next = self.clone();
        change(&mut next);
        next
    }

    /// What a host may hear next, and decide.
    fn rounds(&self, h: usize, next: &mut Vec<(Event, Hosts)>) {
        let peers = [(h + 1) % N, (h + 2) % N];
        let mut decide = |heard: [Option<Seen>; N]| {
            let act = view::decide(self.rule, h, &self.hosts[h], &heard);
            let (event, mind) = match act {
                Act::Nothing => (Event::Waits(h), Mind::Idle),
                act => (Event::Decides(h, act.clone()), Mind::Decided(act)),
            };
            next.push((event, self.changed(|w| w.hosts[h].mind = mind)));
        };
        match &self.hosts[h].mind {
            Mind::Decided(_) => {}
            // The other does not answer in this round, or answers now.
            Mind::Heard(first, seen) => {
                let second = peers[usize::from(usize::from(*first) == peers[0])];
                let mut heard: [Option<Seen>; N] = Default::default();
                heard[usize::from(*first)] = Some(seen.clone());
                decide(heard.clone());
                heard[second] = Some(self.answer(second));
                decide(heard);
            }
            Mind::Idle => {
                decide(Default::default());
                for peer in peers {
                    let mind = Mind::Heard(peer as u8, self.answer(peer));
                    next.push((Event::Hears(h, peer), self.changed(|w| w.hosts[h].mind = mind)));
                }
            }
        }
    }

    /// A host carries out what it decided, as `apply` does: against what is there now.
    fn does(&mut self, h: usize, act: &Act) {
        let list_is = |hosts: &Hosts, t: &T, list: &List| hosts.list(t).is_some_and(|l| l.slots == list.slots);
        let life = self.hosts[h].life;
        match act {
            Act::Nothing => {}
            Act::Start => {
                let host = &mut self.hosts[h];
                (host.running, host.wal) = (true, true);
            }
            Act::Ready(t) => {
                let readied = &mut self.hosts[h].readied;
                readied.retain(|r| r != t);
                readied.push(*t);
            }
            Act::Commit(t) => self.hosts[h].committed = Some(*t),
            // The log is read once more before it is moved away.
            Act::Archive if self.hosts[h].led => {}
            Act::Archive => self.hosts[h] = Host { life: life + 1, ..Host::default() },
            Act::Remove(t, who, list) if list_is(self, t, list) => self.slot(t, *who, Slot::Nobody),
            Act::Add(t, list) if list_is(self, t, list) => {
                let host = &mut self.hosts[h];
                (host.joins, host.added) = (host.joins + 1, Some(*t));
                let id = host.id();
                self.slot(t, h, Slot::Learner { id });
            }
            Act::Remove(..) | Act::Add(..) => {}
            Act::HandOff(t) => {
                let host = &mut self.hosts[h];
                (host.joined, host.added, host.running) = (Some(*t), None, true);
            }
        }
        self.hosts[h].mind = Mind::Idle;
    }

    fn slot(&mut self, t: &T, h: usize, slot: Slot) {
        for cluster in self.clusters.iter_mut().filter(|c| c.t == *t) {
            cluster.slots[h] = slot;
        }
    }

    /// What etcd does by itself.
    fn etcds(&self, next: &mut Vec<(Event, Hosts)>) {
        for a in 0..N {
            let Some(t) = self.hosts[a].cluster().filter(|_| self.hosts[a].running) else { continue };
            for b in a + 1..N {
                let votes = |h: usize| self.hosts[h].running && self.hosts[h].cluster() == Some(t) && self.votes(&t, h);
                if votes(a) && votes(b) && !(self.hosts[a].led && self.hosts[b].led) {
                    next.push((Event::Leads(a, b), self.changed(|w| w.lead(&t, [a, b]))));
                }
            }
            if !self.hosts[a].led && self.serves(&t) {
                next.push((Event::Follows(a), self.changed(|w| w.follow(&t, a))));
            }
            let id = self.hosts[a].id();
            let learner = Slot::Learner { id };
            let listed = self.clusters.iter().any(|c| c.t == t && c.slots[a] == learner);
            if self.hosts[a].led && self.hosts[a].joined == Some(t) && listed && self.serves(&t) {
                next.push((Event::Promotes(a), self.changed(|w| w.slot(&t, a, Slot::Voter { id }))));
            }
        }
    }

    /// Whether this disk votes in a founding, which its founders do from the beginning.
    fn votes(&self, t: &T, h: usize) -> bool {
        match self.clusters.iter().find(|c| c.t == *t) {
            Some(cluster) => self.is_voter(cluster, h),
            None => self.hosts[h].joined.is_none(),
        }
    }

    /// Two voters, which of three are a quorum, elect a leader: the one that knows more.
    fn lead(&mut self, t: &T, pair: [usize; 2]) {
        let known = self.clusters.iter().any(|c| c.t == *t);
        if known && !pair.iter().any(|h| self.hosts[*h].led) {
            self.broken = Some("a cluster that had a leader got one again from disks that know nothing of it");
            return;
        }
        if !known {
            self.clusters.push(Cluster { t: *t, slots: [Slot::Founder { served: false }; N] });
        }
        for h in pair {
            self.follow(t, h);
        }
    }

    fn follow(&mut self, t: &T, h: usize) {
        self.hosts[h].led = true;
        if self.hosts[h].joined.is_none() {
            self.slot(t, h, Slot::Founder { served: true });
        }
    }
}

impl System for Hosts {
    type Event = Event;

    fn next(&self) -> Vec<(Event, Hosts)> {
        let mut next = Vec::new();
        for h in 0..N {
            let host = &self.hosts[h];
            if !(host.running && host.led) {
                self.rounds(h, &mut next);
            }
            if let Mind::Decided(act) = &host.mind {
                next.push((Event::Does(h, act.clone()), self.changed(|w| w.does(h, act))));
            }
            let may_fail = !self.whole || h == 0;
            if may_fail && self.crashes > 0 && (host.running || host.mind != Mind::Idle) {
                let crash = |w: &mut Hosts| {
                    (w.crashes, w.whole) = (w.crashes - 1, false);
                    (w.hosts[h].running, w.hosts[h].mind) = (false, Mind::Idle);
                };
                next.push((Event::Crashes(h), self.changed(crash)));
            }
            if may_fail && self.losses > 0 {
                let lose = |w: &mut Hosts| {
                    (w.losses, w.whole) = (w.losses - 1, false);
                    w.hosts[h] = Host { life: host.life + 1, ..Host::default() };
                };
                next.push((Event::LosesItsDisk(h), self.changed(lose)));
            }
        }
        self.etcds(&mut next);
        next
    }

    fn wrong(&self) -> Option<String> {
        if let Some(broken) = self.broken {
            return Some(broken.into());
        }
        let data: Vec<T> = self.hosts.iter().filter(|h| h.led).filter_map(Host::cluster).collect();
        if data.iter().any(|t| *t != data[0]) {
            return Some("there is data of two clusters".into());
        }
        self.hosts.iter().any(|h| h.life > 6 || h.joins > 6).then(|| "a host begins anew for ever".into())
    }
}
