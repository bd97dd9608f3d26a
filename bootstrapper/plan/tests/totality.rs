//! Every combination of the classes of facts has a decision, and every row of the table is one of them.
//!
//! Store, date and mode are combined only where they can matter; `laws` holds that they do not elsewhere.

use std::collections::BTreeMap;

use plan::document::Recover;
use plan::facts::{
    Added, ClaimState, Claims, DataDir, Facts, Heard, Identity, Inventory, Past, Quorum, Seconds, Stage,
};
use plan::founding::Founding;
use plan::member::MemberId;
use plan::spec::{Mode, Set};

use crate::fits::fits;
use crate::support::{
    FOUND_UNTIL, SERVING, World, added_learner, claim, committed, dead, founder, founding, holds, name, nonce, quorum,
    running, served, terminated, unknown, unled, version, voter,
};

/// Whether `docs/plan.schema.json` describes a decision.
fn documented(decided: &serde_json::Value) -> bool {
    thread_local! {
        static SCHEMA: serde_json::Value =
            serde_json::from_str(include_str!("../../../docs/plan.schema.json")).expect("a schema");
    }
    SCHEMA.with(|schema| fits(&schema["$defs"]["decided"], decided, schema))
}

/// What a search over all combinations has found.
#[derive(Default)]
struct Found {
    worlds: u64,
    rows: BTreeMap<u8, u64>,
}

impl Found {
    fn look(&mut self, world: &World) {
        let decided = world.decide();
        let explanation = decided.explain();
        let row = format!("(row {}: ", decided.row);
        assert!((1..=29).contains(&decided.row), "{decided:?} for {world:?}");
        assert!(explanation.contains(&row) && explanation.len() > row.len() + 20, "{explanation} for {world:?}");
        // All of them would take minutes.
        if self.worlds.is_multiple_of(97) {
            let json = serde_json::to_value(&decided).expect("a decision is JSON");
            assert!(documented(&json), "docs/plan.schema.json does not describe {json}");
        }
        self.worlds += 1;
        *self.rows.entry(decided.row).or_default() += 1;
    }

    fn and(mut self, other: Found) -> Found {
        self.worlds += other.worlds;
        for (row, count) in other.rows {
            *self.rows.entry(row).or_default() += count;
        }
        self
    }
}

fn member() -> Identity {
    Identity { cluster_id: SERVING, member_id: voter(1).member.id, ..founder(&founding([1, 2, 3]), 1) }
}

fn blank_disks() -> Vec<DataDir> {
    vec![DataDir::Empty, DataDir::Aborted, DataDir::Lost { identity: Some(member()) }]
}

fn other_disks(t: &Founding) -> Vec<DataDir> {
    let (what, found, expected) = ("a disk".to_owned(), "this".to_owned(), "that".to_owned());
    vec![
        DataDir::Member(member()),
        DataDir::Founding { founding: t.clone(), wal: false },
        DataDir::Founding { founding: t.clone(), wal: true },
        DataDir::Removed { identity: member(), evidence: "etcd said so".into() },
        DataDir::Missing { what: what.clone(), overdue: false },
        DataDir::Missing { what: what.clone(), overdue: true },
        DataDir::Orphan,
        DataDir::Damaged { what },
        DataDir::Foreign { found: found.clone(), expected: expected.clone(), copied: false },
        DataDir::Foreign { found: found.clone(), expected, copied: true },
        DataDir::Newer { found },
        DataDir::Locked,
    ]
}

/// All that another host can say, of what matters here: who it is in, with which disk, and how far.
fn answers(world: &World, t: &Founding, host: u8) -> Vec<Heard> {
    let mut disagrees = world.waiting(host, Stage::Blank);
    if let Heard::Waiting(waiting) = &mut disagrees {
        waiting.terms.epoch += 1;
    }
    vec![
        unknown(),
        holds(),
        disagrees,
        world.waiting(host, Stage::Blank),
        world.waiting(host, Stage::Ready(t.id())),
        world.waiting(host, Stage::Prepared(t.id())),
        committed(host, t),
        unled(t),
        crate::support::answers_as(&quorum(vec![voter(2), voter(3)]), true),
    ]
}

fn clusters(t: &Founding) -> Vec<Quorum> {
    let full = vec![voter(2), voter(3), dead(4, 999)];
    vec![
        quorum(vec![voter(2), voter(3)]),
        quorum(full),
        quorum(vec![voter(1), voter(2), voter(3)]),
        quorum(vec![dead(1, 0), voter(2), voter(3)]),
        quorum(vec![added_learner(1, 0), voter(2), voter(3)]),
        served(t),
        Quorum { name: "staging".parse().ok(), ..quorum(vec![voter(2)]) },
        Quorum { version: Some(version(7)), ..quorum(vec![voter(2)]) },
    ]
}

fn lives(t: &Founding) -> Vec<Past> {
    let ready = Past { readied: vec![t.clone()], ..Past::default() };
    let added = Some(Added { cluster_id: SERVING, member_id: MemberId(0xa1) });
    vec![
        Past::default(),
        Past { prepared: Some(t.id()), ..ready.clone() },
        ready,
        Past { added, ..Past::default() },
        Past { spent: true, epoch: Some(1), ..Past::default() },
    ]
}

/// Static or a group, of which the provider says this much.
fn sets() -> Vec<(Set, Inventory)> {
    let group = |instances| (Set::Dynamic, Inventory::Listed(instances));
    vec![
        (World::blank().spec.set, Inventory::Static),
        (Set::Dynamic, Inventory::Unknown { reason: "throttled".into() }),
        group(vec![running(1), running(2), running(3), terminated(4)]),
        group(vec![running(1), terminated(2), terminated(3)]),
    ]
}

/// What a store says about the founding that all would begin now.
fn claims(t: &Founding) -> Vec<Claims> {
    let mut gone = t.clone();
    for founder in &mut gone.founders {
        founder.nonce = nonce(50);
    }
    let read = |claim| Claims::Read { claim, newest_snapshot: None };
    vec![
        Claims::Unreachable { reason: "503".into() },
        Claims::Unusable { reason: "garbage".into() },
        read(None),
        read(Some(claim(ClaimState::Founding, t))),
        read(Some(claim(ClaimState::Committing, t))),
        read(Some(claim(ClaimState::Committing, &gone))),
        read(Some(claim(ClaimState::Founded, t))),
        read(Some(claim(ClaimState::Founded, &gone))),
    ]
}

/// The spec's mode, with what goes with it.
fn modes(world: &World) -> Vec<World> {
    let restoring = |w: World| w.spec(|s| s.restore = "a".repeat(64).parse().ok());
    vec![
        world.clone(),
        world.clone().mode(Mode::Init),
        world.clone().mode(Mode::Join),
        restoring(world.clone().mode(Mode::Restore)),
    ]
}

type Dated = fn(&mut Facts);
/// A date before `found_until`, one after, and none.
const DATES: [Dated; 3] =
    [|f| f.now = Some(Seconds(FOUND_UNTIL)), |f| f.now = Some(Seconds(FOUND_UNTIL + 1)), |f| f.now = None];

/// A static list and groups, in every mode.
fn surroundings() -> Vec<World> {
    let of = |(set, inventory): (Set, Inventory)| {
        let world = World::blank().spec(|s| s.set = set).facts(|f| f.inventory = inventory);
        modes(&world)
    };
    sets().into_iter().flat_map(of).collect()
}

/// The same with every date and no store, and with everything that a store can say.
fn with_stores_and_dates(world: &World) -> Vec<World> {
    let dated = DATES.iter().map(|date| world.clone().facts(date));
    let with_store = world.clone().store(None);
    let claims = claims(&with_store.founding());
    let read = claims.iter().filter(|claim| matches!(claim, Claims::Read { .. }));
    let silent = |claim: &Claims| with_store.clone().facts(|f| (f.claim, f.silence) = (claim.clone(), 600));
    let silent: Vec<World> = read.map(silent).collect();
    let claimed = claims.into_iter().map(|claim| with_store.clone().facts(|f| f.claim = claim));
    dated.chain(claimed).chain(silent).collect()
}

/// Looks at every answer of both others, in either order once.
fn all_answers(world: &mut World, t: &Founding, found: &mut Found) {
    let (of_2, of_3) = (answers(world, t, 2), answers(world, t, 3));
    for (i, second) in of_2.iter().enumerate() {
        world.facts.peers[0].heard = second.clone();
        for third in &of_3[i..] {
            world.facts.peers[1].heard = third.clone();
            found.look(world);
        }
    }
}

/// A blank disk in front of a cluster with quorum, and without one.
fn blank(surroundings: &World) -> Found {
    let mut found = Found::default();
    let mut look = |world: &World, quorum: Option<Quorum>| {
        let t = world.founding();
        for data in blank_disks() {
            for past in lives(&t) {
                let mut world = world.clone();
                (world.facts.data, world.facts.journal) = (data.clone(), past);
                world.facts.quorum = quorum.clone();
                all_answers(&mut world, &t, &mut found);
            }
        }
    };
    for quorum in clusters(&surroundings.founding()) {
        look(surroundings, Some(quorum));
    }
    for world in with_stores_and_dates(surroundings) {
        look(&world, None);
    }
    found
}

/// Any other disk, with the operator's word and without.
fn others(surroundings: &World) -> Found {
    let mut found = Found::default();
    let t = surroundings.founding();
    let word = Recover { survivor: name(1), epoch: 2, given_up: vec![name(2)] };
    for data in other_disks(&t) {
        for quorum in std::iter::once(None).chain(clusters(&t).into_iter().map(Some)) {
            for recover in [None, Some(word.clone())] {
                let mut world = surroundings.clone();
                world.facts.own_list = recover.is_some().then(|| (1..=3).map(|i| voter(i).member).collect());
                (world.spec.recover, world.facts.data, world.facts.quorum) = (recover, data.clone(), quorum.clone());
                all_answers(&mut world, &t, &mut found);
            }
        }
    }
    found
}

#[test]
fn every_combination_of_fact_classes_has_a_row_and_every_row_has_a_combination() {
    let began = std::time::Instant::now();
    let all = surroundings();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let share = all.len().div_ceil(workers);
    let found = std::thread::scope(|scope| {
        let threads: Vec<_> = all
            .chunks(share)
            .map(|part| {
                scope.spawn(|| {
                    part.iter().fold(Found::default(), |found, world| {
                        let of_others = if world.spec.mode == Mode::Auto { others(world) } else { Found::default() };
                        found.and(blank(world)).and(of_others)
                    })
                })
            })
            .collect();
        threads.into_iter().fold(Found::default(), |found, t| found.and(t.join().expect("no panic")))
    });
    println!("{} worlds in {:.1?}, by row: {:?}", found.worlds, began.elapsed(), found.rows);
    assert_eq!(found.rows.keys().copied().collect::<Vec<u8>>(), (1..=29).collect::<Vec<u8>>());
}
