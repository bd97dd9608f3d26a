//! What a host does, as `apply` does it: step by step, against what is there now.

use super::parts::{Claim, Cluster, Entry, Id, Members, Mind, Plan, Step, T};
use super::rounds::{Before, has_rounds};
use super::rules::Rule;
use super::tell::{Event, What};
use super::world::World;

/// What can happen next, as far as it was followed.
pub struct Next<'w> {
    before: Before<'w>,
    all: Vec<(Event, World)>,
}

impl Next<'_> {
    /// Adds something that happens, with what others may have heard and decided before.
    pub fn push(&mut self, what: What, actor: Option<usize>, after: World) {
        if after != *self.before.world {
            let all = self.before.with_memories(actor, after);
            self.all.extend(all.into_iter().map(|(stale, world)| (Event { what: what.clone(), stale }, world)));
        }
    }

    /// What this host may do now, and whether it decided that before.
    fn plans(&self, h: usize) -> Vec<(Plan, bool)> {
        let host = &self.before.world.hosts[h];
        match (&host.mind, &self.before.outcomes[h]) {
            _ if host.said.is_some() => host.said.iter().map(|t| (vec![Step::Ready(*t)], false)).collect(),
            (Mind::Decided(plan), _) => vec![(plan.clone(), true)],
            (Mind::Heard(_), Some(all)) => {
                all.iter().filter(|o| !o.plan.is_empty()).map(|o| (o.plan.clone(), false)).collect()
            }
            (Mind::Heard(_), None) => Vec::new(),
        }
    }
}

impl World {
    /// Everything that can happen next, each with the world after it.
    pub fn next(&self) -> Vec<(Event, World)> {
        let mut next = Next { before: Before::of(self), all: Vec::new() };
        for h in self.here().filter(|h| has_rounds(&self.hosts[*h])) {
            if matches!(&self.hosts[h].mind, Mind::Heard(heard) if !heard.is_empty()) {
                let mut world = self.clone();
                world.host(h).mind = Mind::default();
                next.all.push((Event { what: What::Waits(h), stale: Vec::new() }, world));
            }
            for (plan, late) in next.plans(h) {
                self.carries_out(h, &plan, late, &mut next);
            }
        }
        self.etcds(&mut next);
        self.faults(&mut next);
        next.all
    }

    /// A plan is carried out whole, or broken off after any step by a crash, or held up there.
    pub fn carries_out(&self, h: usize, plan: &Plan, late: bool, next: &mut Next) {
        let mut world = self.clone();
        world.host(h).mind = Mind::default();
        for (i, step) in plan.iter().enumerate() {
            let went_on = world.does(h, step);
            let done = What::Does { h, steps: plan[..=i].to_vec(), late };
            next.push(done.clone(), Some(h), world.clone());
            if !went_on {
                return;
            }
            if i + 1 < plan.len() {
                let mut held_up = world.clone();
                held_up.host(h).mind = Mind::Decided(plan[i + 1..].to_vec());
                next.push(done, Some(h), held_up);
            }
        }
    }

    /// One step; false when the world is not as it was decided on, and the loop decides anew.
    fn does(&mut self, h: usize, step: &Step) -> bool {
        match step {
            Step::Start => {
                let host = self.host(h);
                (host.running, host.wal) = (true, true);
            }
            Step::Say(t) => self.host(h).said = Some(*t),
            Step::Ready(t) => self.readies(h, t),
            Step::Prepare(t) => self.host(h).prepared = Some(*t),
            Step::Commit(t) => {
                // A life commits once, so that nothing else it readied can pull it any more.
                (self.host(h).committed, self.host(h).readied) = (Some(*t), vec![*t]);
                let ids = self.hosts[h].member(h).map(|m| m.1);
                if ids != Some(Id::founder(h)) {
                    self.breaks("a host commits a founding in which another host has its disk");
                }
            }
            Step::Archive { removed } => return self.archives(h, *removed),
            Step::Claim { to, t, read } => {
                if self.shared.claim != *read {
                    return false;
                }
                let before = read.as_ref().is_some_and(|c| c.t.hosts().eq(t.hosts()));
                if t.hosts().count() < self.config.size && !before {
                    let may = &mut self.shared().may;
                    may.missing = may.missing.saturating_sub(1);
                }
                self.shared().claim = Some(Claim { state: *to, t: *t, voters: t.nonces });
            }
            Step::Remove(t, id, list) => return self.removes(t, *id, list),
            Step::Add(t, list) => {
                if !self.list_is(t, list) || !self.takes_one_more(t) {
                    return false;
                }
                let host = self.host(h);
                host.joins += 1;
                let id = Id { host: h as u8, seq: host.joins };
                host.added = Some((*t, id));
                self.appends(t, Entry::Add(id), None);
            }
            Step::TakeBack(t, id) => {
                let host = self.host(h);
                (host.joined, host.running) = (Some((*t, *id)), true);
            }
            Step::HandOff(t, id) => {
                let host = self.host(h);
                (host.joined, host.added, host.running) = (Some((*t, *id)), None, true);
            }
        }
        true
    }

    fn readies(&mut self, h: usize, t: &T) {
        let rule = self.config.rule;
        let host = self.host(h);
        host.said = None;
        host.readied.retain(|r| r != t && rule != Rule::ForgetsReady);
        // In which order they were readied before is nothing that anybody asks.
        host.readied.sort();
        host.readied.push(*t);
    }

    /// The log is read once more before it is moved away.
    fn archives(&mut self, h: usize, removed: bool) -> bool {
        let host = self.hosts[h].clone();
        if host.led() && !removed {
            if !host.own {
                return false;
            }
            self.breaks("a log that holds what a leader acknowledged is archived");
        }
        if let Some((t, id)) = host.member(h).filter(|_| removed)
            && self.cluster(&t).is_some_and(|c| c.current().iter().any(|m| m.id == id))
        {
            self.breaks("a member's log is archived that nobody removed");
        }
        let blank = self.hosts[h].blank(h);
        *self.host(h) = blank;
        true
    }

    fn removes(&mut self, t: &T, id: Id, list: &Members) -> bool {
        if !self.list_is(t, list) {
            return false;
        }
        let votes = list.iter().any(|m| m.id == id && !m.learner);
        if votes && self.disks(t, id).next().is_some() {
            self.breaks("a voter whose disk lives is removed by another");
        }
        self.appends(t, Entry::Remove(id), None);
        true
    }

    /// Whether the list under the lock is still the one that was decided on; a change needs a quorum.
    fn list_is(&self, t: &T, list: &Members) -> bool {
        let key = |members: &Members| members.iter().map(|m| (m.id, m.learner)).collect::<Vec<_>>();
        let now = self.cluster(t).filter(|c| self.serves(c)).map(Cluster::current);
        now.is_some_and(|now| key(&now) == key(list) || self.config.rule == Rule::OldList)
    }

    /// etcd adds nobody, not even a learner, unless so many are up that they would be a quorum of one voter more.
    pub fn takes_one_more(&self, t: &T) -> bool {
        let Some(members) = self.cluster(t).map(Cluster::current) else { return false };
        let voters = members.iter().filter(|m| !m.learner).count();
        let one_learner = members.len() == voters || self.config.rule == Rule::OldList;
        one_learner && self.up(t, &members, |_| true).len() > voters.div_ceil(2)
    }

    /// Something is acknowledged by these, or by all that are up, and no change of members may cost the quorum.
    pub fn appends(&mut self, t: &T, entry: Entry, by: Option<&[usize]>) {
        let Some(at) = self.shared.clusters.iter().position(|c| c.t == *t) else { return };
        let could = self.has_quorum(&self.shared.clusters[at]);
        let members = self.shared.clusters[at].current();
        let all = self.up(t, &members, |_| true);
        self.shared().clusters[at].log.push(entry);
        let full = self.shared.clusters[at].log.len() as u8;
        for h in by.unwrap_or(&all) {
            self.hears_leader(t, *h, full);
        }
        if could && !self.has_quorum(&self.shared.clusters[at]) {
            self.breaks("a change of members costs the quorum");
        }
    }

    /// This host has the log of its cluster up to here, and has published itself.
    pub fn hears_leader(&mut self, t: &T, h: usize, log: u8) {
        let Some((_, id)) = self.hosts[h].member(h) else { return };
        self.host(h).log = log;
        let started = &mut self.shared().clusters.iter_mut().find(|c| c.t == *t).expect("a leader").started;
        if !started.contains(&id) {
            started.push(id);
            started.sort();
        }
    }
}
