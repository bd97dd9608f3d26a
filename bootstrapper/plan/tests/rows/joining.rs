//! Rows 8 to 12: this disk is blank and somebody has a cluster, or is about to.

use plan::decision::{Aim, Decision, Plan, Step};
use plan::facts::{DataDir, Heard, Listed, Peer};
use plan::member::ClusterId;
use plan::spec::Mode;

use crate::support::{
    World, answers_as, brief, committed, dead, founding, founding_under, name, quorum, served, terms, unknown, unled,
    url, version, voter,
};

fn full() -> Vec<Listed> {
    vec![voter(2), voter(3), voter(4)]
}

fn lost() -> DataDir {
    DataDir::Lost { identity: None }
}

#[test]
fn row_8_follows_a_peer_into_a_founding_that_this_nonce_readied() {
    let (t, newer) = (founding([1, 2, 3]), founding([1, 2, 9]));
    let commit = |t: &plan::founding::Founding| {
        Decision::Proceed(Plan { aim: Aim::Found, steps: vec![Step::Commit(t.clone())] })
    };
    let ready = World::blank().readied(&[&t, &newer]).hears(3, unknown());
    for world in [
        ready.clone().hears(2, committed(2, &t)),
        ready.clone().hears(2, unled(&t)),
        ready.clone().hears(2, answers_as(&served(&t), true)),
        ready.clone().meets(served(&t)),
        ready.clone().hears(2, committed(2, &t)).mode(Mode::Join),
        ready.clone().hears(2, committed(2, &t)).spec(|s| (s.epoch, s.found_until) = (7, None)),
        ready.clone().hears(2, committed(2, &t)).facts(|f| f.now = None),
        ready.clone().hears(2, committed(2, &t)).facts(|f| f.certificates = Some("expired".into())),
    ] {
        let decided = world.decide();
        assert_eq!((decided.row, decided.decision), (8, commit(&t)));
    }
    let both = ready.hears(2, committed(2, &t)).hears(3, committed(3, &newer)).decide();
    assert_eq!((both.row, both.decision), (8, commit(&newer)), "the newest one");
}

#[test]
fn row_8_restores_first_and_makes_room_first() {
    let snapshot = "a".repeat(64).parse().ok();
    let t = founding_under(plan::founding::Terms { snapshot, ..terms() }, &[1, 2, 3]);
    let short = &t.id().as_str()[..8].to_owned();
    let ready = World::blank().readied(&[&t]).hears(2, committed(2, &t));
    for (world, steps) in [
        (ready.clone(), format!("prepare {short}, commit {short}")),
        (ready.clone().facts(|f| f.journal.prepared = Some(t.id())), format!("commit {short}")),
        (ready.data(DataDir::Aborted), format!("clear, prepare {short}, commit {short}")),
    ] {
        assert_eq!(brief(&world.decide()), format!("8 found: {steps}"));
    }
}

#[test]
fn row_8_follows_nobody_into_a_founding_it_did_not_ready_or_was_removed_from() {
    let (t, other) = (founding([1, 2, 3]), founding([1, 2, 9]));
    for (world, row) in [
        (World::blank().readied(&[&other]).hears(2, committed(2, &t)), 20),
        (World::blank().readied(&[&t]).hears(2, committed(2, &t)).facts(|f| f.journal.spent = true), 20),
        (
            {
                let mut quorum = served(&t);
                quorum.members.remove(0);
                World::blank().readied(&[&t]).meets(quorum)
            },
            16,
        ),
    ] {
        assert_eq!(world.decide().row, row);
    }
}

#[test]
fn row_9_refuses_two_clusters_and_waits_while_they_are_unled_foundings() {
    let (a, b) =
        (quorum(vec![voter(2)]), plan::facts::Quorum { cluster_id: ClusterId(0xc2), ..quorum(vec![voter(3)]) });
    let world = |led: (bool, bool)| World::blank().hears(2, answers_as(&a, led.0)).hears(3, answers_as(&b, led.1));
    let both = "etcd-2 at https://10.0.0.12:2380: cluster c1; etcd-3 at https://10.0.0.13:2380: cluster c2";
    assert_eq!(brief(&world((false, false)).decide()), format!("9 wait: {both}"));
    assert_eq!(brief(&world((true, true)).decide()), "9 refuse two-clusters");
    assert_eq!(brief(&World::blank().hears(3, answers_as(&b, true)).meets(a).decide()), "9 refuse two-clusters");
}

#[test]
fn row_9_waits_while_a_founding_gives_way_to_the_one_cluster_that_is_led() {
    let t = founding([1, 2, 9]);
    let serving = World::blank().meets(quorum(vec![voter(2)])).hears(3, unled(&t));
    let without_quorum = World::blank().hears(2, answers_as(&quorum(vec![voter(2)]), true)).hears(3, unled(&t));
    for world in [serving, without_quorum] {
        let decided = world.decide();
        assert!(brief(&decided).starts_with("9 wait: "), "{decided:?}");
    }
}

#[test]
fn row_9_refuses_a_cluster_of_another_name() {
    let other = plan::facts::Quorum { name: "staging".parse().ok(), ..quorum(full()) };
    assert_eq!(brief(&World::blank().meets(other).decide()), "9 refuse other-cluster");
}

#[test]
fn row_9_waits_where_a_restored_cluster_may_still_have_the_name_of_the_one_that_it_was_taken_from() {
    let other = plan::facts::Quorum { name: "staging".parse().ok(), ..quorum(full()) };
    let world = World::blank().spec(|s| s.restore = "a".repeat(64).parse().ok()).meets(other);
    assert_eq!(brief(&world.decide()), "9 wait");
}

#[test]
fn row_10_waits_for_a_cluster_without_quorum() {
    let members = quorum(vec![voter(2), voter(3), voter(1)]);
    for led in [false, true] {
        let world = World::blank().hears(2, answers_as(&members, led));
        let expected = "10 wait: etcd-2 at https://10.0.0.12:2380: member of cluster c1";
        for mode in [Mode::Auto, Mode::Init, Mode::Join, Mode::Restore] {
            assert_eq!(brief(&world.clone().mode(mode).decide()), expected);
        }
    }
}

#[test]
fn row_11_refuses_when_this_name_or_address_is_alive_elsewhere() {
    let mut namesake = voter(4);
    namesake.member.name = name(1).to_string();
    let mut same_address = voter(4);
    same_address.member.peer_urls = vec![url(1).to_string()];
    for members in [vec![voter(2), namesake], vec![voter(2), same_address], vec![voter(1)]] {
        for data in [DataDir::Empty, lost()] {
            assert_eq!(brief(&World::serving(members.clone()).data(data).decide()), "11 refuse name-taken");
        }
    }
}

#[test]
fn row_11_refuses_when_a_member_of_this_name_answers_on_its_peer_url_only() {
    let mut namesake = dead(4, 999);
    namesake.member.name = name(1).to_string();
    let list = quorum(vec![voter(2), voter(3), namesake]);
    let world = World::serving(list.members.clone());
    assert_eq!(brief(&world.decide()), "14 replace: remove a4");
    let heard = answers_as(&list, true);
    let answered = world.facts(|f| f.peers.push(Peer { name: None, peer_url: url(4), heard }));
    assert_eq!(brief(&answered.decide()), "11 refuse name-taken");
    assert!(answered.decide().explain().contains("etcd-1 (a4) may be alive at https://10.0.0.14:2380, and this host"));
}

#[test]
fn row_12_keeps_out_what_the_cluster_would_not_take() {
    let at = |minor| plan::facts::Quorum { version: Some(version(minor)), ..quorum(vec![voter(2)]) };
    let base = || quorum(vec![voter(2)]);
    let unread =
        World::blank().hears(2, answers_as(&base(), true)).facts(|f| f.denied = Some("permission denied".into()));
    assert_eq!(brief(&unread.decide()), "12 refuse not-allowed");
    let denied = Some("user etcd-bootstrapper lacks root".into());
    for (quorum, expected) in [
        (at(6), "12 refuse version-gate"),
        (at(3), "12 refuse version-gate"),
        (at(4), "16 join: add"),
        (plan::facts::Quorum { version: None, ..base() }, "12 wait"),
        (at(0), "16 join: add"),
        (plan::facts::Quorum { denied, ..base() }, "12 refuse not-allowed"),
        (plan::facts::Quorum { alarms: vec!["NOSPACE".into()], ..base() }, "12 wait: NOSPACE"),
    ] {
        assert_eq!(brief(&World::blank().meets(quorum).decide()), expected);
    }
    // A new cluster is at 3.0 for as long as one of its members was never heard: what answers is what counts.
    let new = |minor: Option<u16>| {
        World::blank().meets(at(0)).facts(|f| match (&mut f.peers[0].heard, minor) {
            (Heard::Cluster(answer), Some(minor)) => answer.server = version(minor),
            (heard, _) => *heard = unknown(),
        })
    };
    assert_eq!(brief(&new(Some(6)).decide()), "12 refuse version-gate");
    assert_eq!(brief(&new(Some(3)).decide()), "12 refuse version-gate");
    assert_eq!(brief(&new(None).decide()), "12 wait");
    let certificates = |world: World| world.facts(|f| f.certificates = Some("they expired".into()));
    assert_eq!(brief(&certificates(World::blank()).decide()), "12 refuse certificates");
    assert_eq!(brief(&certificates(World::serving(vec![voter(2)])).decide()), "12 refuse certificates");
}
