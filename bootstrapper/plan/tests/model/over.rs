//! What nobody can ever ask for again is forgotten, so that worlds that differ in nothing else are one.
//!
//! A founding that a host readied before the one that it answers now can only pull it when somebody commits it. Who does so
//! has seen it as Ready of all, of this host too: now, which takes that it is readied once more, or before, and has that in
//! mind, or was told by the store, or has committed it already. Where none of that is so, it is over.

use super::parts::{Mind, Seen, State, Step, T};
use super::rules::Rule;
use super::world::World;

impl World {
    /// This world without the foundings that are over; none if all are in use.
    pub fn without_what_is_over(&self) -> Option<World> {
        // Weaker rules may take different foundings for one.
        let real = self.config.rule == Rule::Real;
        let over = |t: &&T| real && !self.in_use(t);
        let mut world = None;
        for (h, host) in self.hosts.iter().enumerate() {
            let Some((_, before)) = host.readied.split_last() else { continue };
            let gone: Vec<T> = before.iter().filter(over).copied().collect();
            if !gone.is_empty() {
                let world = world.get_or_insert_with(|| self.clone());
                world.host(h).readied.retain(|t| !gone.contains(t));
            }
        }
        world
    }

    fn in_use(&self, t: &T) -> bool {
        let swapped = self.shared.claim.as_ref().is_some_and(|c| c.t == *t && c.state != State::Founding);
        let committed = self.hosts.iter().any(|h| h.committed == Some(*t) || h.joined.is_some_and(|m| m.0 == *t));
        swapped || committed || self.cluster(t).is_some() || self.hosts.iter().any(|h| h.mind.is_of(t))
    }
}

impl Mind {
    /// Whether this has anything to do with this founding.
    fn is_of(&self, t: &T) -> bool {
        match self {
            Mind::Heard(heard) => heard.iter().any(|(_, seen)| seen.is_of(t)),
            Mind::Decided(plan) => plan.iter().any(|step| step.is_of(t)),
        }
    }
}

impl Seen {
    fn is_of(&self, founding: &T) -> bool {
        match self {
            Seen::Waiting { ready, .. } => ready.as_ref() == Some(founding),
            Seen::Committed { t, .. } | Seen::Etcd { t, .. } => t == founding,
            Seen::Claim(claim) => claim.as_ref().is_some_and(|c| c.t == *founding),
            Seen::Holds => false,
        }
    }
}

impl Step {
    fn is_of(&self, founding: &T) -> bool {
        match self {
            Step::Say(t) | Step::Ready(t) | Step::Prepare(t) | Step::Commit(t) => t == founding,
            Step::Claim { t, read, .. } => t == founding || read.as_ref().is_some_and(|c| c.t == *founding),
            Step::Remove(t, ..) | Step::Add(t, _) | Step::HandOff(t, _) | Step::TakeBack(t, _) => t == founding,
            Step::Start | Step::Archive { .. } => false,
        }
    }
}
