//! Rows 1 to 7: what lies on this disk decides.

use plan::decision::{Aim, Code, Decision, Plan, Refusal, Start, Step, short};
use plan::document::Recover;
use plan::facts::{DataDir, Identity, Inventory, Quorum, Stage};
use plan::founding::{Founding, Terms};
use plan::member::ClusterId;
use plan::spec::Set;

use crate::support::{
    SERVING, World, answers_as, brief, committed, dead, founder, founding, founding_under, holds, name, on_new_disk,
    quorum, running, served, terminated, terms, unknown, unled, url, voter,
};

/// etcd-1 as a member of the cluster that serves.
pub fn member() -> Identity {
    Identity { cluster_id: SERVING, member_id: voter(1).member.id, ..founder(&founding([1, 2, 3]), 1) }
}

fn removed() -> DataDir {
    DataDir::Removed { identity: member(), evidence: "etcd said so".into() }
}

fn damaged() -> DataDir {
    DataDir::Damaged { what: "the log: record 5".into() }
}

fn in_founding(founding: &Founding, wal: bool) -> DataDir {
    DataDir::Founding { founding: founding.clone(), wal }
}

fn recovering(survivor: u8, given_up: &[u8]) -> Option<Recover> {
    let given_up = given_up.iter().map(|i| name(*i)).collect();
    Some(Recover { survivor: name(survivor), epoch: 2, given_up })
}

#[test]
fn row_1_waits_for_a_disk_that_is_locked_or_may_still_appear() {
    for (data, expected) in [
        (DataDir::Locked, "1 wait"),
        (DataDir::Missing { what: "serial 12".into(), overdue: false }, "1 wait: serial 12"),
    ] {
        assert_eq!(brief(&World::blank().data(data.clone()).decide()), expected);
        assert_eq!(brief(&World::alone_with(data).decide()), expected);
    }
}

#[test]
fn row_2_refuses_a_disk_that_must_not_be_used_and_names_both_sides() {
    let foreign = || DataDir::Foreign { found: "member 7".into(), expected: "member 8".into() };
    for (data, code, sides) in [
        (DataDir::Missing { what: "serial 12".into(), overdue: true }, Code::DataDiskMissing, vec!["serial 12"]),
        (foreign(), Code::ForeignData, vec!["member 7", "member 8"]),
        (DataDir::Newer { found: "3.6".into() }, Code::NewerData, vec!["3.6", "3.5.30"]),
    ] {
        let decided = World::serving(vec![voter(2), voter(3)]).data(data).decide();
        let Decision::Refuse(Refusal { code: found, sentence, hint }) = &decided.decision else {
            panic!("{decided:?}")
        };
        assert_eq!((decided.row, *found), (2, code));
        assert!(sides.iter().all(|side| sentence.contains(side)), "{sentence}");
        assert!(!hint.is_empty());
    }
}

#[test]
fn row_4_starts_a_member_whatever_else_is_the_case() {
    let start = |world: World| {
        let decided = world.decide();
        assert_eq!((decided.row, decided.decision), (4, Decision::Start(Start::Member(member()))));
    };
    let alone = World::alone_with(DataDir::Member(member()));
    start(alone.clone());
    start(alone.clone().facts(|f| {
        f.now = None;
        f.peers.clear();
        f.certificates = Some("they expired".into());
    }));
    start(alone.clone().spec(|s| (s.epoch, s.found_until) = (9, None)));
    start(World::blank().data(DataDir::Member(member())));
    start(World::serving(vec![voter(1), voter(2), voter(3)]).data(DataDir::Member(member())));
    let other_cluster = Identity { cluster_id: ClusterId(0xc2), ..member() };
    let beside = World::serving(vec![voter(2)]).data(DataDir::Member(other_cluster));
    assert_eq!(brief(&beside.decide()), "4 start a1", "a cluster of others says nothing of this member");
}

#[test]
fn row_5_makes_room_after_a_removal_while_the_spec_wants_this_host() {
    let archive = |why: &str| {
        let (why, removed) = (why.to_owned(), Some(member()));
        let step = Step::Archive { why, removed, only_unled: false, lost: false };
        (5, Decision::Proceed(Plan { aim: Aim::Archive, steps: vec![step] }))
    };
    let by_journal = World::alone_with(removed()).decide();
    assert_eq!((by_journal.row, by_journal.decision), archive("etcd said so"));
    let by_list = World::serving(vec![voter(2), voter(3)]).data(DataDir::Member(member())).decide();
    let why = "the linearizable member list of cluster c1 does not have a1";
    assert_eq!((by_list.row, by_list.decision), archive(why));
}

#[test]
fn row_5_refuses_a_removed_member_that_nobody_wants() {
    let without_us = World::alone_with(removed()).spec(|s| {
        if let Set::Static(peers) = &mut s.set {
            peers.remove(0);
        }
    });
    assert_eq!(brief(&without_us.decide()), "5 refuse removed");
    let group = |instance| World::alone_with(removed()).group(vec![instance, running(2), running(3)]);
    assert_eq!(brief(&group(terminated(1)).decide()), "5 refuse removed");
    assert_eq!(brief(&group(running(1)).decide()), "5 archive: archive removed");
}

#[test]
fn row_6_keeps_broken_data_until_a_quorum_can_replace_it() {
    for data in [DataDir::Orphan, damaged()] {
        let full = World::serving(vec![voter(2), voter(3), dead(1, 0)]);
        assert_eq!(brief(&full.data(data.clone()).decide()), "6 archive: archive as lost");
        let silent = World::blank().hears(3, unknown()).data(data.clone());
        assert_eq!(brief(&silent.decide()), "6 wait: etcd-3 at https://10.0.0.13:2380: no answer within 2 s");
        let unled = World::blank().hears(2, answers_as(&quorum(vec![voter(2)]), false)).data(data.clone());
        assert_eq!(brief(&unled.decide()), "6 wait");
        assert_eq!(brief(&World::blank().data(data).decide()), "6 refuse data-damaged");
    }
}

#[test]
fn row_6_refuses_only_when_everybody_was_heard() {
    let unasked = World::blank().facts(|f| f.peers.truncate(1)).data(damaged());
    assert_eq!(brief(&unasked.decide()), "6 wait: etcd-3 at https://10.0.0.13:2380: not asked yet");
    let throttled = Inventory::Unknown { reason: "throttled".into() };
    let group = World::blank().group(vec![running(1)]).facts(|f| (f.inventory, f.peers) = (throttled, vec![]));
    assert_eq!(brief(&group.data(damaged()).decide()), "6 wait: throttled");
}

#[test]
fn row_7_starts_a_committed_founding_that_can_still_have_a_quorum() {
    let (t, other) = (founding([1, 2, 3]), founding([1, 2, 4]));
    for wal in [false, true] {
        let start = |world: World| {
            let decided = world.data(in_founding(&t, wal)).decide();
            let expected = Decision::Start(Start::Founding { founding: t.clone(), wal });
            assert_eq!((decided.row, decided.decision), (7, expected));
        };
        start(World::alone_with(DataDir::Empty));
        // Blank or Ready with the same nonce is still in T.
        start(World::blank());
        start(World::blank().hears(2, committed(2, &t)));
        // One of three may go.
        start(World::blank().hears(2, committed(2, &other)));
        start(World::alone_with(DataDir::Empty).hears(3, holds()).hears(2, holds()));
        start(World::blank().hears(2, unled(&t)));
    }
    let led = World::blank().meets(served(&t)).data(in_founding(&t, true)).decide();
    assert_eq!(led.row, 7);
    assert!(matches!(led.decision, Decision::Start(_)));
}

#[test]
fn row_7_leaves_a_founding_that_can_have_no_quorum_or_has_lost_to_another_cluster() {
    let (t, other) = (founding([1, 2, 3]), founding([1, 2, 4]));
    let blank = World::blank();
    let gone = |host| on_new_disk(blank.waiting(host, Stage::Blank));
    for world in [
        blank.clone().hears(2, gone(2)).hears(3, gone(3)),
        blank.clone().hears(2, committed(2, &other)).hears(3, committed(3, &other)),
        blank.clone().hears(2, gone(2)).hears(3, answers_as(&quorum(vec![voter(3)]), true)),
        blank.clone().group(vec![running(1), terminated(2), terminated(3)]),
        World::serving(vec![voter(2)]),
    ] {
        for wal in [false, true] {
            let decided = world.clone().data(in_founding(&t, wal)).decide();
            assert_eq!(brief(&decided), "7 archive: archive if unled");
        }
    }
}

#[test]
fn row_7_leaves_a_founding_for_no_cluster_of_another_name_or_of_none_that_is_known() {
    let t = founding([1, 2, 3]);
    for cluster in ["staging".parse().ok(), None] {
        let other = Quorum { name: cluster, ..quorum(vec![voter(2)]) };
        let decided = World::blank().meets(other).data(in_founding(&t, true)).decide();
        assert_eq!(brief(&decided), format!("7 start logged {}", short(&t.id())));
    }
}

#[test]
fn row_5_and_not_7_is_for_a_founding_that_serves_without_this_host() {
    let t = founding([1, 2, 3]);
    let mut without_us = served(&t);
    without_us.members.remove(0);
    let world = World::blank().meets(without_us).data(in_founding(&t, true));
    assert_eq!(brief(&world.decide()), "5 archive: archive removed");
    let moved = World::blank().meets(served(&t)).data(in_founding(&t, true)).facts(|f| f.me.peer_url = url(9));
    assert_eq!(moved.decide().row, 7, "the member ID is of the peer URL of then");
}

#[test]
fn row_7_does_not_begin_a_founding_again_in_which_this_host_served() {
    let t = founding([1, 2, 3]);
    let lagging = World::alone_with(in_founding(&t, false)).hears(2, answers_as(&served(&t), true));
    assert_eq!(brief(&lagging.decide()), "7 wait");
    let serving = World::blank().meets(served(&t));
    assert_eq!(brief(&serving.clone().data(in_founding(&t, false)).decide()), "7 archive: archive if unled as lost");
    let mut unstarted = served(&t);
    unstarted.members[0].member.client_urls.clear();
    let late = World::blank().meets(unstarted).data(in_founding(&t, false));
    assert_eq!(brief(&late.decide()), format!("7 start new {}", short(&t.id())), "it is only late");
    assert_eq!(serving.data(in_founding(&t, true)).decide().row, 7);
}

#[test]
fn row_7_stages_a_committed_restore_again_when_its_staging_is_gone_and_only_while_it_has_no_log() {
    let snapshot = "a".repeat(64).parse().ok();
    let t = founding_under(Terms { snapshot, ..terms() }, &[1, 2, 3]);
    let id = t.id();
    let world = |wal| World::blank().data(in_founding(&t, wal));
    let staged = |world: World| world.facts(|f| f.journal.prepared = Some(t.id()));
    let of_another = |world: World| world.facts(|f| f.journal.prepared = Some(founding([1, 2, 3]).id()));
    for (world, expected) in [
        (world(false), format!("found: prepare {}", short(&id))),
        (of_another(world(false)), format!("found: prepare {}", short(&id))),
        (staged(world(false)), format!("start new {}", short(&id))),
        // What lies in the data dir came from the staging; it is not wanted again.
        (world(true), format!("start logged {}", short(&id))),
        (world(false).meets(served(&t)), "archive: archive if unled as lost".into()),
        (world(false).hears(2, answers_as(&served(&t), true)), "wait".into()),
    ] {
        assert_eq!(brief(&world.decide()), format!("7 {expected}"));
    }
}

/// A member of three with this word of the operator in its spec, nobody answering.
fn told(survivor: u8, given_up: &[u8]) -> World {
    let list = [1, 2, 3].map(|i| voter(i).member).to_vec();
    World::alone_with(DataDir::Member(member()))
        .facts(|f| f.own_list = Some(list))
        .spec(|s| s.recover = recovering(survivor, given_up))
}

#[test]
fn row_3_recovers_the_survivor_once_all_other_voters_of_its_list_are_lost() {
    let decided = told(1, &[2, 3]).decide();
    let Decision::Proceed(plan) = &decided.decision else { panic!("{decided:?}") };
    assert_eq!((decided.row, plan.aim), (3, Aim::Recover));
    let [Step::Recover { founding, identity, .. }] = plan.steps.as_slice() else { panic!("{plan:?}") };
    assert_eq!((founding.terms.epoch, founding.founders.len(), identity), (2, 1, &member()));
    assert_ne!(founding.cluster_id(), SERVING);

    let half = told(1, &[2]);
    let blank = half.waiting(3, Stage::Blank);
    let ended = half.clone().group(vec![running(1), terminated(3)]);
    for world in [half.hears(3, blank), ended] {
        assert!(brief(&world.decide()).starts_with("3 recover: recover "));
    }
}

#[test]
fn row_3_waits_for_its_word_to_be_true_and_is_done_once() {
    let all = || told(1, &[2, 3]);
    let learner = |f: &mut plan::facts::Facts| f.own_list.as_mut().expect("a list")[2].learner = true;
    let four = |f: &mut plan::facts::Facts| f.own_list.as_mut().expect("a list").push(voter(4).member);
    for (world, row, why) in [
        (told(1, &[2]), 4, "etcd-3 is unknown"),
        (told(1, &[2]).hears(3, holds()), 4, "etcd-3 has data"),
        (told(1, &[2]).group(vec![running(1)]), 4, "not to be listed is not to be terminated"),
        (told(1, &[2]).facts(learner), 3, "a learner has no vote"),
        (all().facts(four), 4, "a voter that the spec does not know"),
        (all().facts(|f| f.own_list = None), 4, "nobody knows who else votes"),
        (all().facts(|f| f.journal.epoch = Some(2)), 4, "it was done on this disk"),
        (all().meets(quorum(vec![voter(1), voter(2)])), 4, "a quorum answers"),
    ] {
        assert_eq!(world.decide().row, row, "{why}");
    }
}

#[test]
fn row_3_restores_no_snapshot_over_the_survivor() {
    let world = told(1, &[2, 3]).spec(|s| s.restore = "a".repeat(64).parse().ok());
    let Decision::Proceed(plan) = world.decide().decision else { panic!("no plan") };
    let [Step::Recover { founding, .. }] = plan.steps.as_slice() else { panic!("{plan:?}") };
    assert_eq!(founding.terms.snapshot, None);
}

#[test]
fn row_3_keeps_the_data_of_one_that_was_given_up_from_the_survivor_s_quorum() {
    assert_eq!(brief(&told(2, &[1, 3]).decide()), "3 refuse not-the-survivor");
    assert_eq!(brief(&told(2, &[3]).decide()), "4 start a1", "the survivor waits for this host to be lost too");
    let blank = World::blank().spec(|s| s.recover = recovering(2, &[1, 3])).hears(2, unknown());
    assert_eq!(blank.decide().row, 20, "the blank go on");
}
