//! What is around the hosts of a random world.

use plan::facts::{ClaimState, Claims, Instance, Inventory, Listed, Quorum, Seconds};
use plan::founding::Founding;
use plan::member::ClusterId;
use proptest::prelude::*;
use proptest::sample::select;

use super::any::foundings;
use super::world::*;
use super::{cluster, url};

/// What is around the hosts: a cluster with quorum, a group, a store, a clock.
#[derive(Clone, Debug)]
pub struct Surroundings {
    list: Option<usize>,
    serves: usize,
    named: usize,
    gate: usize,
    members: Vec<(usize, u64)>,
    instances: Option<Vec<usize>>,
    state: Option<(ClaimState, usize, bool)>,
    bound: bool,
    clock: bool,
    certificates: bool,
    own_list: bool,
}

pub fn surroundings() -> impl Strategy<Value = Surroundings> {
    let cluster = (
        proptest::option::weighted(0.4, 0..10usize),
        0..3usize,
        prop_oneof![6 => Just(0usize), 1 => 1..3usize],
        prop_oneof![6 => Just(0usize), 1 => 1..5usize],
        proptest::collection::vec((prop_oneof![4 => Just(0usize), 1 => 1..5usize], select(vec![0, 59, 60])), 4),
    );
    let states = vec![ClaimState::Founding, ClaimState::Committing, ClaimState::Founded];
    let around = (
        proptest::option::weighted(
            0.8,
            proptest::collection::vec(prop_oneof![3 => Just(0usize), 2 => Just(1usize), 1 => 2..4usize], 3),
        ),
        proptest::option::weighted(0.7, (select(states), 0..4usize, any::<bool>())),
    );
    let likely = || proptest::bool::weighted(0.9);
    (cluster, around, likely(), likely(), likely(), any::<bool>()).prop_map(
        |((list, serves, named, gate, members), (instances, state), bound, clock, certificates, own_list)| {
            Surroundings { list, serves, named, gate, members, instances, state, bound, clock, certificates, own_list }
        },
    )
}

impl Surroundings {
    pub fn enclose(&self, world: &mut World) {
        world.facts.me.address_bound = self.bound;
        world.facts.now = self.clock.then_some(Seconds(1_000));
        world.facts.certificates = (!self.certificates).then(|| "they expired".into());
        world.facts.own_list = self.own_list.then(|| (1..=3).map(|i| voter(i).member).collect());
        if world.spec.set == plan::spec::Set::Dynamic {
            world.facts.inventory = match &self.instances {
                None => Inventory::Unknown { reason: "throttled".into() },
                Some(kinds) => {
                    let others = (2..).zip(kinds).filter_map(|(host, kind)| instance(host, *kind));
                    Inventory::Listed(std::iter::once(running(1)).chain(others.take(3)).collect())
                }
            };
        }
    }

    /// A cluster that serves, or a founding that does.
    pub fn quorum(&self, t: &Founding) -> Option<Quorum> {
        let mut members: Vec<Listed> = match self.list? {
            0 => vec![],
            1 => vec![voter(2)],
            2 | 3 => vec![voter(2), voter(3)],
            4 => vec![voter(2), voter(3), voter(4)],
            5 => vec![voter(2), voter(3), added_learner(1, 0)],
            6 => vec![voter(2), added_learner(4, 60)],
            7 | 8 => vec![voter(2), voter(3), dead(4, 60)],
            _ => vec![voter(1), voter(2), voter(3)],
        };
        for (listed, (kind, silent)) in members.iter_mut().zip(&self.members) {
            match kind {
                0 => {}
                1 | 2 => (listed.answers, listed.silent) = (false, *silent),
                3 => listed.member.learner = true,
                _ => listed.member.client_urls.clear(),
            }
        }
        let mut quorum = quorum(members);
        if self.serves == 1 {
            quorum.cluster_id = t.cluster_id();
            for (host, listed) in (1..).zip(&mut quorum.members).filter(|(_, l)| !l.member.learner) {
                listed.member.id = t.member_id(&url(host));
            }
        } else if self.serves == 2 {
            quorum.cluster_id = ClusterId(0xc2);
        }
        quorum.name = [Some(cluster()), None, "staging".parse().ok()][self.named].clone();
        match self.gate {
            0 => {}
            1 => quorum.version = None,
            2 => quorum.version = Some(version(6)),
            3 => quorum.alarms.push("NOSPACE".into()),
            _ => quorum.denied = Some("no root".into()),
        }
        Some(quorum)
    }

    pub fn claim(&self, world: &mut World) {
        if world.spec.store.is_none() {
            return;
        }
        world.facts.claim = match self.state {
            None => Claims::Unreachable { reason: "503".into() },
            Some((_, 0, true)) => Claims::Read { claim: None, newest_snapshot: None },
            Some((state, which, snapshot)) => {
                let newest_snapshot = if snapshot { "c".repeat(64).parse().ok() } else { None };
                let mut founding = foundings(&world.founding())[which].clone();
                founding.terms.generation = if self.bound { 1 } else { 2 };
                Claims::Read { claim: Some(claim(state, &founding)), newest_snapshot }
            }
        };
    }
}

fn instance(host: u8, kind: usize) -> Option<Instance> {
    match kind {
        0 => Some(running(host)),
        1 => Some(terminated(host)),
        2 => Some(Instance { peer_url: None, ..running(host) }),
        _ => None,
    }
}
