//! Worlds at random, of so few nonces, hosts and foundings that the states in which something is decided are common.

use plan::document::Recover;
use plan::facts::{Added, Claims, DataDir, Heard, Identity, Inventory, Listed, Past, Quorum, Stage};
use plan::founding::{Founding, Terms};
use plan::member::MemberId;
use plan::spec::{Mode, OnTotalLoss, Spec};
use proptest::prelude::*;
use proptest::sample::select;

use super::around::surroundings;
use super::world::*;
use super::{founder, founding, founding_under, name, nonce, terms, url};

/// Any world; spec and facts are of one kind (static or group, with or without a store), and nobody who is terminated
/// answers.
pub fn any_world() -> impl Strategy<Value = World> {
    (spec(), others(), disk(), surroundings()).prop_map(|(spec, others, disk, surroundings)| {
        let mut world = World::blank();
        (world.facts.inventory, world.facts.claim) = (Inventory::Static, Claims::NoStore);
        world = world.spec(|s| *s = spec);
        surroundings.enclose(&mut world);
        // What all would found is known once it is known who waits with which nonce.
        for (host, other) in (2..).zip(&others) {
            let waiting = world.waiting(host, Stage::Blank);
            world = world.hears(host, on_disk(waiting, other.nonce));
        }
        surroundings.claim(&mut world);
        world = world.agreed();
        let t = world.founding();
        world.facts.quorum = surroundings.quorum(&t);
        for (host, other) in (2..).zip(&others) {
            let gone = ended(&world.facts.inventory, host);
            let heard = if gone { unknown() } else { other.heard(&world, &t, host) };
            world = world.hears(host, heard);
        }
        disk.lay(&mut world, &t);
        world
    })
}

/// A world whose disk holds a member.
pub fn any_member() -> impl Strategy<Value = World> {
    (any_world(), any::<bool>()).prop_map(|(world, of_that_cluster)| {
        let identity = member(if of_that_cluster { world.facts.quorum.as_ref() } else { None });
        world.data(DataDir::Member(identity))
    })
}

/// A world in which a blank disk meets a cluster with quorum, whose members are named, alive and listed as they may be.
pub fn any_joiner() -> impl Strategy<Value = World> {
    let of_list = (0..5u8, select(vec![0u64, 60]), 0..12usize);
    (any_world(), 1..3u8, proptest::collection::vec(of_list, 2..5), any::<bool>()).prop_map(
        |(world, first, list, lost)| {
            let mut world = world.data(if lost { DataDir::Lost { identity: None } } else { DataDir::Empty });
            let mut members: Vec<Listed> = Vec::new();
            for (host, (alive, silent, kind)) in (first..).zip(list) {
                let mut listed = if alive > 1 && host > 1 { voter(host) } else { dead(host, silent) };
                match kind {
                    0 => listed = added_learner(host, silent),
                    1 => listed.member.name = name(2).to_string(),
                    2 => listed.member.name = "of another, by=hand".into(),
                    3 => listed.member.peer_urls = vec![url(host + 4).to_string()],
                    _ => {}
                }
                members.push(listed);
            }
            world.facts.quorum = Some(quorum(members));
            (world.facts.certificates, world.facts.journal.readied) = (None, Vec::new());
            let added = world.facts.journal.added.as_mut();
            added.into_iter().for_each(|added| added.cluster_id = SERVING);
            world.facts.peers.iter_mut().for_each(|p| p.heard = unknown());
            world
        },
    )
}

fn member(quorum: Option<&Quorum>) -> Identity {
    let cluster_id = quorum.map_or(SERVING, |q| q.cluster_id);
    Identity { cluster_id, member_id: voter(1).member.id, ..founder(&founding([1, 2, 3]), 1) }
}

fn ended(inventory: &Inventory, host: u8) -> bool {
    match inventory {
        Inventory::Listed(instances) => instances.iter().any(|i| i.id == name(host) && i.terminated),
        Inventory::Static | Inventory::Unknown { .. } => false,
    }
}

fn on_disk(heard: Heard, n: u8) -> Heard {
    match heard {
        Heard::Waiting(w) => Heard::Waiting(plan::facts::Waiting { nonce: nonce(n), ..w }),
        heard @ (Heard::Founding { .. } | Heard::Cluster(_) | Heard::Holds { .. } | Heard::Unknown { .. }) => heard,
    }
}

/// The foundings of these tests: what all would found now, older ones, and one that restores.
pub fn foundings(t: &Founding) -> [Founding; 4] {
    let restoring = Terms { snapshot: "a".repeat(64).parse().ok(), ..terms() };
    [t.clone(), founding([1, 2, 3]), founding([1, 2, 4]), founding_under(restoring, &[1, 2, 3])]
}

fn spec() -> impl Strategy<Value = Spec> {
    let mode =
        prop_oneof![4 => Just(Mode::Auto), 1 => Just(Mode::Init), 1 => Just(Mode::Join), 1 => Just(Mode::Restore)];
    let restore = proptest::option::weighted(0.3, select(vec!["a", "b"]));
    let policy = proptest::option::weighted(0.3, select(vec![OnTotalLoss::Wait, OnTotalLoss::Restore]));
    let given_up = select(vec![vec![], vec![2], vec![2, 3], vec![2, 3], vec![1, 3]]);
    let recover = proptest::option::weighted(0.3, (1..3u8, given_up, 1..4u32));
    let dated = proptest::bool::weighted(0.9);
    let group = proptest::bool::weighted(0.4);
    (mode, restore, policy, recover, dated, group, 1..3u32).prop_map(
        |(mode, restore, policy, recover, dated, group, epoch)| {
            let mut spec = World::blank().spec;
            (spec.mode, spec.epoch) = (mode, epoch);
            spec.restore = restore.and_then(|c| c.repeat(64).parse().ok());
            spec.store =
                policy.map(|on_total_loss| plan::spec::Store { url: "s3://bucket/prod".into(), on_total_loss });
            spec.recover = recover.map(|(survivor, given_up, epoch)| Recover {
                survivor: name(survivor),
                epoch,
                given_up: given_up.into_iter().map(name).collect(),
            });
            if !dated {
                spec.found_until = None;
            }
            if group {
                spec.set = plan::spec::Set::Dynamic;
            }
            spec
        },
    )
}

/// Another host: the disk it has, and what it says about it.
#[derive(Clone, Debug)]
struct Other {
    nonce: u8,
    says: Says,
    which: usize,
    led: bool,
    agrees: bool,
}

#[derive(Clone, Copy, Debug)]
enum Says {
    Blank,
    Ready,
    Prepared,
    Committed,
    Member,
    Founder,
    Holds,
    Nothing,
}

fn others() -> impl Strategy<Value = Vec<Other>> {
    let says = prop_oneof![
        4 => Just(Says::Blank),
        5 => Just(Says::Ready),
        3 => Just(Says::Prepared),
        3 => Just(Says::Committed),
        4 => Just(Says::Member),
        2 => Just(Says::Founder),
        1 => Just(Says::Holds),
        2 => Just(Says::Nothing),
    ];
    let which = prop_oneof![3 => Just(0usize), 1 => 0..4usize];
    let other = (2..5u8, says, which, any::<bool>(), proptest::bool::weighted(0.9))
        .prop_map(|(nonce, says, which, led, agrees)| Other { nonce, says, which, led, agrees });
    let in_step = select(vec![Says::Blank, Says::Ready, Says::Ready, Says::Prepared, Says::Member]).prop_map(|says| {
        let other = |nonce| Other { nonce, says, which: 0, led: true, agrees: true };
        vec![other(2), other(3)]
    });
    prop_oneof![in_step, proptest::collection::vec(other, 2)]
}

impl Other {
    fn heard(&self, world: &World, t: &Founding, host: u8) -> Heard {
        let founding = &foundings(t)[self.which];
        let waiting = |stage| {
            let mut heard = on_disk(world.waiting(host, stage), self.nonce);
            if let (Heard::Waiting(waiting), false) = (&mut heard, self.agrees) {
                waiting.terms.epoch += 1;
            }
            heard
        };
        match self.says {
            Says::Blank => waiting(Stage::Blank),
            Says::Ready => waiting(Stage::Ready(founding.id())),
            Says::Prepared => waiting(Stage::Prepared(founding.id())),
            Says::Committed => Heard::Founding { founding: founding.id(), nonce: nonce(self.nonce) },
            Says::Member => {
                let members = world.facts.quorum.clone().unwrap_or_else(|| quorum(vec![voter(2), voter(3)]));
                answers_as(&members, self.led || world.facts.quorum.is_some())
            }
            Says::Founder if self.led => answers_as(&served(founding), true),
            Says::Founder => unled(founding),
            Says::Holds => holds(),
            Says::Nothing => unknown(),
        }
    }
}

/// What lies on this host's disk and in its journal.
#[derive(Clone, Debug)]
struct OnDisk {
    data: usize,
    which: usize,
    wal: bool,
    readied: Vec<usize>,
    prepared: bool,
    added: bool,
    spent: bool,
    epoch: Option<u32>,
}

fn disk() -> impl Strategy<Value = OnDisk> {
    let data = prop_oneof![
        12 => Just(0usize),
        1 => Just(1usize),
        3 => Just(2usize),
        4 => Just(3usize),
        3 => Just(4usize),
        4 => 5..11usize,
    ];
    let which = prop_oneof![3 => Just(0usize), 1 => 0..4usize];
    let readied = prop_oneof![
        2 => Just(vec![]),
        5 => Just(vec![0]),
        3 => proptest::collection::vec(0..4usize, 1..3),
    ];
    let epoch = proptest::option::weighted(0.2, 1..3u32);
    let added = proptest::bool::weighted(0.3);
    let spent = proptest::bool::weighted(0.1);
    (data, which, any::<bool>(), readied, any::<bool>(), added, spent, epoch).prop_map(
        |(data, which, wal, readied, prepared, added, spent, epoch)| OnDisk {
            data,
            which,
            wal,
            readied,
            prepared,
            added,
            spent,
            epoch,
        },
    )
}

impl OnDisk {
    fn lay(&self, world: &mut World, t: &Founding) {
        let foundings = foundings(t);
        let readied: Vec<Founding> = self.readied.iter().map(|i| foundings[*i].clone()).collect();
        let prepared = readied.last().filter(|_| self.prepared).map(Founding::id);
        let cluster_id = world.facts.quorum.as_ref().map_or(SERVING, |q| q.cluster_id);
        let added = self.added.then_some(Added { cluster_id, member_id: MemberId(0xa1) });
        world.facts.journal = Past { readied, prepared, added, spent: self.spent, epoch: self.epoch };
        let founding = foundings[self.which].clone();
        world.facts.data = match self.data {
            0 => DataDir::Empty,
            1 => DataDir::Aborted,
            2 => DataDir::Lost { identity: self.wal.then(|| founder(&founding, 1)) },
            3 => DataDir::Founding { founding, wal: self.wal },
            4 => DataDir::Member(member(world.facts.quorum.as_ref())),
            5 => DataDir::Removed { identity: member(None), evidence: "etcd said so".into() },
            6 => DataDir::Orphan,
            7 => DataDir::Damaged { what: "record 5".into() },
            8 => DataDir::Missing { what: "serial 12".into(), overdue: self.wal },
            9 => DataDir::Newer { found: "3.6".into() },
            _ => DataDir::Locked,
        };
    }
}
