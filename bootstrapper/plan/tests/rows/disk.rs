//! Rows 1 to 7: what lies on this disk decides.

use plan::decision::{Aim, Code, Decision, Plan, Refusal, Start, Step, short};
use plan::document::Recover;
use plan::facts::{DataDir, Identity, Inventory, Quorum, Stage};
use plan::founding::{Founding, Terms};
use plan::member::ClusterId;
use plan::spec::Set;

use crate::support::{
    SERVING, World, added_learner, answers_as, brief, committed, dead, founder, founding, founding_under, holds, name,
    on_new_disk, quorum, running, served, terminated, terms, unknown, unled, url, voter,
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
fn row_2_refuses_the_disk_of_another_member_of_the_list() {
    let t = founding([1, 2, 3]);
    for data in [DataDir::Member(member()), in_founding(&t, true), in_founding(&t, false)] {
        let at = |host: u8| {
            World::blank().data(data.clone()).facts(|f| (f.me.name, f.me.peer_url) = (name(host), url(host))).decide()
        };
        let there = at(3);
        let Decision::Refuse(Refusal { code: Code::ForeignData, sentence, .. }) = &there.decision else {
            panic!("{there:?}")
        };
        assert_eq!(there.row, 2);
        for side in ["etcd-1".to_owned(), "etcd-3".into(), url(1).to_string(), url(3).to_string()] {
            assert!(sentence.contains(&side), "{sentence} does not name {side}");
        }
        assert_ne!(at(1).row, 2, "its own");
        assert_ne!(at(7).row, 2, "an address that the list does not have is a new one");
        let renamed = World::blank().data(data.clone()).spec(|s| {
            let Set::Static(peers) = &mut s.set else { panic!("a static list") };
            peers[0].name = name(8);
        });
        assert_ne!(renamed.decide().row, 2, "the list has another name for its peer URL");
    }
}

#[test]
fn row_2_refuses_the_disk_of_another_cluster_whatever_its_members_are_called() {
    let t = founding([1, 2, 3]);
    for data in [DataDir::Member(member()), in_founding(&t, true), in_founding(&t, false)] {
        let ours = World::blank().data(data.clone());
        assert_ne!(ours.decide().row, 2, "its own");
        let decided = ours.spec(|s| s.cluster = "another".parse().unwrap()).decide();
        let Decision::Refuse(Refusal { code: Code::ForeignData, sentence, .. }) = &decided.decision else {
            panic!("{decided:?}")
        };
        for side in ["etcd-1".to_owned(), format!("cluster {},", member().cluster), "cluster another".into()] {
            assert!(sentence.contains(&side), "{sentence} does not name {side}");
        }
    }
}

#[test]
fn row_2_refuses_a_disk_that_must_not_be_used_and_names_both_sides() {
    let foreign = |copied| DataDir::Foreign { found: "member 7".into(), expected: "member 8".into(), copied };
    for (data, code, sides) in [
        (DataDir::Missing { what: "serial 12".into(), overdue: true }, Code::DataDiskMissing, vec!["serial 12"]),
        (foreign(false), Code::ForeignData, vec!["member 7", "member 8"]),
        (foreign(true), Code::ForeignData, vec!["member 7", "member 8", "a copy"]),
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
pub fn told(survivor: u8, given_up: &[u8]) -> World {
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
    let unstarted = |f: &mut plan::facts::Facts| f.own_list.as_mut().expect("a list")[2] = added_learner(3, 0).member;
    let four = |f: &mut plan::facts::Facts| f.own_list.as_mut().expect("a list").push(voter(4).member);
    for (world, row, why) in [
        (told(1, &[2]), 4, "etcd-3 is unknown"),
        (told(1, &[2]).hears(3, holds()), 4, "etcd-3 has data"),
        (told(1, &[2]).group(vec![running(1)]), 4, "not to be listed is not to be terminated"),
        (told(1, &[2]).facts(unstarted), 3, "a learner that never started has no vote"),
        (told(1, &[2]).facts(learner), 4, "its promotion may be missing in the database"),
        (all().facts(four), 4, "a voter that the spec does not know"),
        (all().facts(|f| f.own_list = None), 4, "nobody knows who else votes"),
        (all().facts(|f| f.journal.epoch = Some(2)), 4, "it was done on this disk"),
        (all().meets(quorum(vec![voter(1), voter(2)])), 4, "a quorum answers"),
        (all().facts(|f| f.denied = Some("permission denied".into())), 4, "a quorum may serve, and only not us"),
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

#[test]
fn row_3_founds_no_empty_cluster_while_a_survivor_is_named() {
    let blank = |survivor| World::blank().spec(|s| s.recover = recovering(survivor, &[]));
    assert_eq!(brief(&blank(2).decide()), "3 wait: etcd-2 at https://10.0.0.12:2380: its disk is blank");
    assert_eq!(brief(&blank(1).decide()), "3 wait: etcd-1 at https://10.0.0.11:2380: this disk is blank");
    let t = founding([1, 2, 3]);
    let pulled = blank(2).readied(&[&t]).hears(3, committed(3, &t));
    for (world, row, why) in [
        (blank(2).hears(2, unknown()), 20, "it is waited for as everybody is"),
        (blank(2).hears(2, holds()), 20, "it is about to be the cluster that the blank join"),
        (pulled, 8, "somebody has founded"),
        (blank(2).readied(&[&t]).others_are(&Stage::Ready(t.id())), 3, "all were ready before the word was given"),
        (blank(2).spec(|s| s.restore = "a".repeat(64).parse().ok()), 3, "an older snapshot is not what it has"),
        (blank(2).facts(|f| f.journal.epoch = Some(2)), 26, "this disk has outlived the word"),
        (blank(2).data(DataDir::Lost { identity: None }), 24, "a member lived here"),
    ] {
        assert_eq!(world.decide().row, row, "{why}");
    }
}

#[test]
fn row_3_refuses_a_member_of_the_old_cluster_beside_the_survivor_s_new_one_until_it_is_reset() {
    let new = |name: Option<plan::member::ClusterName>, members| {
        let quorum = Quorum { cluster_id: ClusterId(0xc9), name, ..quorum(members) };
        told(2, &[]).meets(quorum)
    };
    let prod = || "prod".parse().ok();
    assert_eq!(brief(&new(prod(), vec![voter(2)]).decide()), "3 refuse not-the-survivor");
    assert_eq!(brief(&new(prod(), vec![voter(3)]).decide()), "4 start a1", "the survivor is not in it");
    assert_eq!(brief(&new("staging".parse().ok(), vec![voter(2)]).decide()), "4 start a1");
    let joined_since = new(prod(), vec![voter(2)]).facts(|f| f.journal.epoch = Some(2));
    assert_eq!(brief(&joined_since.decide()), "4 start a1");
}

#[test]
fn why_the_word_is_not_carried_out_is_told_by_name() {
    let held_back = |world: World| plan::recovery::held_back(&world.spec, &world.facts, &member());
    for (world, expected) in [
        (told(1, &[2, 3]), None),
        (told(2, &[1, 3]), None),
        (told(1, &[2]).facts(|f| f.journal.epoch = Some(2)), None),
        (told(1, &[2]), Some("etcd-3 (a3) is neither blank nor terminated nor given up: no answer within 2 s")),
        (told(1, &[2]).hears(3, holds()), Some("etcd-3 (a3) is neither blank nor terminated nor given up: it holds")),
        (told(1, &[2, 3]).meets(quorum(vec![voter(2), voter(3)])), Some("cluster c1 serves")),
        (told(1, &[2, 3]).facts(|f| f.own_list = None), Some("own database cannot be read")),
    ] {
        let told = held_back(world);
        match (&told, expected) {
            (None, None) => {}
            (Some(told), Some(expected)) => assert!(told.contains(expected) && told.contains("epoch 2"), "{told}"),
            (Some(_), None) | (None, Some(_)) => panic!("{told:?}, expected {expected:?}"),
        }
    }
}

/// What stands between the backticks of the remedy.
pub fn word(world: &World) -> Option<String> {
    let remedy = plan::recovery::remedy(&world.spec, &world.facts)?;
    Some(remedy.split('`').nth(1).expect("a word in backticks").to_owned())
}

#[test]
fn a_lost_majority_is_told_the_word_to_paste() {
    let list = || Some([1, 2, 3].map(|i| voter(i).member).to_vec());
    let survivor = |world: World| world.data(DataDir::Member(member())).facts(|f| f.own_list = list());
    let answers = |world: World, host| world.hears(host, answers_as(&quorum(vec![voter(1), voter(2), voter(3)]), true));
    let blank = || World::blank();
    let silent = || World::alone_with(DataDir::Empty);
    for (name, world, expected) in [
        ("the survivor beside two blanks", survivor(blank()), Some("recover: {survivor: etcd-1, epoch: 2}")),
        (
            "it does not know",
            survivor(silent()),
            Some("recover: {survivor: etcd-1, epoch: 2, given_up: [etcd-2, etcd-3]}"),
        ),
        ("one is only down", survivor(answers(silent(), 2)), None),
        ("one holds data", survivor(silent()).hears(3, holds()), None),
        ("a quorum serves", survivor(blank()).meets(quorum(vec![voter(1), voter(2)])), None),
        (
            "it was recovered before",
            survivor(blank()).facts(|f| f.journal.epoch = Some(4)),
            Some("recover: {survivor: etcd-1, epoch: 5}"),
        ),
        (
            "a word that did nothing",
            survivor(blank()).spec(|s| s.recover = recovering(2, &[1, 3])),
            Some("recover: {survivor: etcd-1, epoch: 3}"),
        ),
        ("a blank one beside the survivor", answers(blank(), 2), Some("recover: {survivor: etcd-2, epoch: 2}")),
        (
            "and the third is silent",
            answers(silent(), 2),
            Some("recover: {survivor: etcd-2, epoch: 2, given_up: [etcd-3]}"),
        ),
        ("both others are up", answers(answers(silent(), 2), 3), None),
        ("nobody has data", blank(), None),
        (
            "damaged beside the survivor",
            answers(silent(), 2).data(damaged()),
            Some("recover: {survivor: etcd-2, epoch: 2, given_up: [etcd-1, etcd-3]}"),
        ),
    ] {
        assert_eq!(word(&world).as_deref(), expected, "{name}");
    }
    let stuck = answers(blank(), 2).decide();
    assert_eq!(stuck.row, 10);
    assert!(stuck.explain().contains("`recover: {survivor: etcd-2, epoch: 2}`"), "{}", stuck.explain());
}

#[test]
fn the_word_that_is_told_is_the_one_that_works() {
    let list = [1, 2, 3].map(|i| voter(i).member).to_vec();
    for world in [World::blank(), World::alone_with(DataDir::Empty)] {
        let stuck = world.data(DataDir::Member(member())).facts(|f| f.own_list = Some(list.clone()));
        assert_eq!(stuck.decide().row, 4);
        let said = word(&stuck).expect("a remedy");
        let given_up = if said.contains("given_up: [etcd-2, etcd-3]") { vec![2, 3] } else { vec![] };
        assert!(said.starts_with("recover: {survivor: etcd-1, epoch: 2"), "{said}");
        let told = stuck.spec(|s| s.recover = recovering(1, &given_up));
        assert!(brief(&told.decide()).starts_with("3 recover: recover "));
    }
}
