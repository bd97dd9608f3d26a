//! The first row that matches wins.

use plan::facts::{Added, DataDir, Listed, Past};
use plan::member::MemberId;
use plan::spec::Mode;

use super::disk::member;
use crate::support::{
    SERVING, World, added_learner, answers_as, brief, committed, dead, founding, on_new_disk, quorum, running, served,
    terminated, unknown, voter,
};

/// A host that readied the founding of disks 1, 2, 3, which etcd-2 has committed.
fn pulled() -> World {
    let t = founding([1, 2, 3]);
    World::blank().readied(&[&t]).hears(2, committed(2, &t))
}

fn added() -> Past {
    Past { added: Some(Added { cluster_id: SERVING, member_id: MemberId(0xa1) }), ..Past::default() }
}

#[test]
fn what_lies_on_the_disk_comes_before_everything_that_others_say() {
    let cluster = World::serving(vec![voter(1), voter(2), voter(3)]);
    for (data, row) in [
        (DataDir::Locked, 1),
        (DataDir::Newer { found: "3.6".into() }, 2),
        (DataDir::Member(member()), 4),
        (DataDir::Orphan, 6),
    ] {
        assert_eq!(cluster.clone().data(data.clone()).decide().row, row);
        assert_eq!(pulled().data(data).mode(Mode::Join).decide().row, row);
    }
}

#[test]
fn row_8_wins_over_9_10_12_16_19_20_21_24_25_and_28() {
    let t = founding([1, 2, 3]);
    let short = &t.id().as_str()[..8].to_owned();
    let expected = format!("8 found: commit {short}");
    let mut disagreeing = pulled();
    if let plan::facts::Heard::Waiting(waiting) = &mut disagreeing.facts.peers[1].heard {
        waiting.terms.epoch = 9;
    }
    for (world, over) in [
        (pulled().hears(3, answers_as(&quorum(vec![voter(3)]), false)), 9),
        (pulled().hears(2, answers_as(&served(&t), true)), 10),
        (pulled().facts(|f| f.certificates = Some("expired".into())), 12),
        (pulled().meets(quorum(vec![voter(3)])), 16),
        (pulled().mode(Mode::Join), 19),
        (pulled().hears(3, unknown()), 20),
        (disagreeing, 21),
        (pulled().spec(|s| s.found_until = None), 25),
        (pulled().facts(|f| f.now = None), 25),
    ] {
        let alone = world.clone().readied(&[]).hears(2, world.facts.peers[0].heard.clone());
        assert_eq!(brief(&world.decide()), expected, "over row {over}");
        assert_ne!(alone.decide().row, 8, "without the ready record");
    }
}

#[test]
fn row_10_wins_over_everything_that_changes_members() {
    let lists = [
        vec![voter(2), voter(3)],
        vec![dead(1, 999), voter(2), voter(3)],
        vec![added_learner(1, 0), voter(2)],
        vec![voter(2), voter(3), dead(4, 999)],
        vec![voter(2), added_learner(3, 999)],
    ];
    for members in lists {
        let quorate = World::serving(members.clone())
            .group(vec![running(1), running(2), running(3), terminated(4)])
            .facts(|f| f.journal = added());
        let changes = brief(&quorate.decide());
        assert!(changes.contains("add") || changes.contains("remove") || changes.contains("hand off"), "{changes}");
        assert_eq!(quorate.facts(|f| f.quorum = None).decide().row, 10, "{members:?}");
    }
}

#[test]
fn rows_9_and_10_win_over_founding() {
    let t = founding([1, 2, 3]);
    let ready = World::blank().readied(&[&t]).others_are(&plan::facts::Stage::Ready(t.id()));
    assert_eq!(ready.decide().row, 28);
    assert_eq!(ready.clone().hears(2, answers_as(&quorum(vec![voter(2)]), false)).decide().row, 10);
    let other = plan::facts::Quorum { name: "staging".parse().ok(), ..quorum(vec![voter(2)]) };
    assert_eq!(ready.meets(other).decide().row, 9);
}

#[test]
fn row_11_wins_over_13_and_14() {
    let alive = |listed: Listed| Listed { answers: true, ..listed };
    for (ours, past, otherwise) in [(alive(dead(1, 0)), Past::default(), 14), (alive(added_learner(1, 0)), added(), 13)]
    {
        let members = vec![ours, voter(2), voter(3)];
        let world = World::serving(members).facts(|f| f.journal = past);
        assert_eq!(world.decide().row, 11);
        let silent = world.facts(|f| f.quorum.as_mut().expect("a quorum").members[0].answers = false);
        assert_eq!(silent.decide().row, otherwise);
    }
}

#[test]
fn rows_10_and_11_win_over_12() {
    let certificates = |world: World| world.facts(|f| f.certificates = Some("they expired".into()));
    let without_quorum = World::blank().hears(2, answers_as(&quorum(vec![voter(2), voter(3)]), true));
    assert_eq!(certificates(without_quorum).decide().row, 10);
    let taken = World::serving(vec![voter(1), voter(2)]);
    assert_eq!(certificates(taken.clone()).decide().row, 11);
    assert_eq!(taken.facts(|f| f.quorum.as_mut().expect("a quorum").version = None).decide().row, 11);
}

#[test]
fn row_12_wins_over_13_to_18() {
    for members in [vec![dead(1, 0), voter(2), voter(3)], vec![voter(2)], vec![voter(2), voter(3), voter(4)]] {
        let mut at = quorum(members);
        at.alarms = vec!["CORRUPT".into()];
        for mode in [Mode::Auto, Mode::Init] {
            assert_eq!(World::blank().meets(at.clone()).mode(mode).decide().row, 12);
        }
    }
}

#[test]
fn row_13_wins_over_14_and_14_over_15_and_16() {
    let resumed = World::serving(vec![added_learner(1, 0), voter(2)]).facts(|f| f.journal = added());
    assert_eq!(resumed.decide().row, 13);
    assert_eq!(resumed.facts(|f| f.journal.added = None).decide().row, 14, "without the record it is a lost disk's");
    let previous = World::serving(vec![dead(1, 0), voter(2)]);
    assert_eq!(previous.clone().mode(Mode::Init).decide().row, 14);
    assert_eq!(previous.decide().row, 14);
}

#[test]
fn row_12_wins_over_19_to_29() {
    for world in [World::blank(), World::blank().mode(Mode::Join), World::alone_with(DataDir::Empty)] {
        let world = world.facts(|f| f.certificates = Some("they expired".into()));
        assert_eq!(brief(&world.decide()), "12 refuse certificates");
    }
}

#[test]
fn row_19_wins_over_20_and_20_over_21_to_25() {
    let world = World::blank().hears(3, unknown()).spec(|s| s.found_until = None);
    assert_eq!(world.clone().mode(Mode::Join).decide().row, 19);
    let mut disagreeing = world.data(DataDir::Lost { identity: None });
    if let plan::facts::Heard::Waiting(waiting) = &mut disagreeing.facts.peers[0].heard {
        waiting.terms.epoch = 9;
    }
    assert_eq!(disagreeing.decide().row, 20);
    let answered = disagreeing.waiting(3, plan::facts::Stage::Blank);
    let disagreeing = disagreeing.hears(3, on_new_disk(answered));
    assert_eq!(disagreeing.decide().row, 21);
    assert_eq!(disagreeing.agreed().decide().row, 24);
}
