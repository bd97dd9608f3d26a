//! Rows 8 to 18: this disk is blank and somebody has a cluster, or is about to.

use plan::decision::{Aim, Decision, Plan, Step};
use plan::facts::{Added, DataDir, Identity, Listed, Past};
use plan::member::{ClusterId, MemberId};
use plan::spec::Mode;

use crate::support::{
    SERVING, World, added_learner, answers_as, brief, cluster, committed, dead, founding, founding_under, name, quorum,
    running, served, terminated, terms, unknown, unled, url, version, voter,
};

fn full() -> Vec<Listed> {
    vec![voter(2), voter(3), voter(4)]
}

fn lost() -> DataDir {
    DataDir::Lost { identity: None }
}

fn added(id: u64) -> Past {
    let added = Some(Added { cluster_id: SERVING, member_id: MemberId(id) });
    Past { added, ..Past::default() }
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
fn row_12_keeps_out_what_the_cluster_would_not_take() {
    let at = |minor| plan::facts::Quorum { version: Some(version(minor)), ..quorum(vec![voter(2)]) };
    let base = || quorum(vec![voter(2)]);
    let denied = Some("user etcd-bootstrapper lacks root".into());
    for (quorum, expected) in [
        (at(6), "12 refuse version-gate"),
        (at(3), "12 refuse version-gate"),
        (at(4), "16 join: add"),
        (plan::facts::Quorum { version: None, ..base() }, "12 wait"),
        (plan::facts::Quorum { denied, ..base() }, "12 refuse not-allowed"),
        (plan::facts::Quorum { alarms: vec!["NOSPACE".into()], ..base() }, "12 wait: NOSPACE"),
    ] {
        assert_eq!(brief(&World::blank().meets(quorum).decide()), expected);
    }
    let certificates = |world: World| world.facts(|f| f.certificates = Some("they expired".into()));
    assert_eq!(brief(&certificates(World::blank()).decide()), "12 refuse certificates");
    assert_eq!(brief(&certificates(World::serving(vec![voter(2)])).decide()), "12 refuse certificates");
}

#[test]
fn row_13_resumes_with_the_learner_that_was_added_and_hands_off_etcd_s_own_list() {
    let members = vec![voter(2), added_learner(1, 999), voter(3)];
    let world = World::serving(members).facts(|f| f.journal = added(0xa1));
    let identity = Identity {
        cluster: cluster(),
        cluster_id: SERVING,
        member_id: MemberId(0xa1),
        name: name(1),
        peer_url: url(1),
        token: "prod.joined.c1".into(),
        epoch: 1,
    };
    let named = |host| (name(host).to_string(), url(host).to_string());
    let step = Step::HandOff { identity, initial_cluster: vec![named(2), named(1), named(3)] };
    let decided = world.decide();
    let plan = Plan { aim: Aim::Join, steps: vec![step] };
    assert_eq!((decided.row, decided.decision), (13, Decision::Proceed(plan)));
    for data in [DataDir::Aborted, lost()] {
        assert_eq!(brief(&world.clone().data(data).decide()), "13 join: clear, hand off a1");
    }
    assert_eq!(brief(&world.mode(Mode::Init).decide()), "13 join: hand off a1", "the word was given when it was added");
}

#[test]
fn row_13_gives_each_member_of_the_list_a_name_that_etcd_s_flag_can_carry() {
    let named = |host, name: &str| {
        let mut listed = voter(host);
        listed.member.name = name.into();
        listed
    };
    let mut two_urls = voter(5);
    two_urls.member.peer_urls.push(url(6).to_string());
    let members =
        vec![named(2, "a=b,c"), named(3, "twin"), named(4, "twin"), two_urls, added_learner(1, 0), dead(7, 0)];
    let members = members.into_iter().chain([added_learner(8, 0), named(9, "etcd-1")]).map(|mut l| {
        l.answers &= l.member.name != "etcd-1";
        l
    });
    let world = World::serving(members.collect()).facts(|f| f.journal = added(0xa1));
    let Decision::Proceed(plan) = world.decide().decision else { panic!("no plan") };
    let [Step::HandOff { initial_cluster, .. }] = plan.steps.as_slice() else { panic!("{plan:?}") };
    let expected = [
        ("member-a2", 2),
        ("twin", 3),
        ("member-a4", 4),
        ("etcd-5", 5),
        ("etcd-5", 6),
        ("etcd-1", 1),
        ("etcd-7", 7),
        ("member-a8", 8),
        ("member-a9", 9),
    ];
    let expected: Vec<_> = expected.iter().map(|(name, host)| ((*name).to_owned(), url(*host).to_string())).collect();
    assert_eq!(*initial_cluster, expected);
}

#[test]
fn row_13_remembers_the_epoch_of_the_operator_s_word() {
    let world = World::serving(vec![voter(2), added_learner(1, 0)]).facts(|f| f.journal = added(0xa1)).spec(|s| {
        s.recover = Some(plan::document::Recover { survivor: name(2), epoch: 4, given_up: vec![name(1)] });
    });
    let Decision::Proceed(plan) = world.decide().decision else { panic!("no plan") };
    let [Step::HandOff { identity, .. }] = plan.steps.as_slice() else { panic!("{plan:?}") };
    assert_eq!(identity.epoch, 4, "a member that joined the survivor is not refused by the same word later");
}

#[test]
fn row_13_is_for_the_learner_of_this_cluster_that_is_still_listed() {
    let members = vec![voter(2), voter(3)];
    let gone = World::serving(members.clone()).facts(|f| f.journal = added(0xa1));
    assert_eq!(brief(&gone.decide()), "16 join: add");
    let elsewhere = World::serving([members, vec![added_learner(1, 0)]].concat()).facts(|f| {
        f.journal.added = Some(Added { cluster_id: ClusterId(0xc9), member_id: MemberId(0xa1) });
    });
    assert_eq!(brief(&elsewhere.decide()), "14 replace: remove a1");
}

#[test]
fn row_14_removes_this_host_s_previous_life_if_the_others_keep_quorum() {
    let world = World::serving(vec![dead(1, 0), voter(2), voter(3)]);
    let list = [1, 2, 3].map(|i| voter(i).member).to_vec();
    let why = "etcd-1 (a1): it is this host's previous life, whose disk is gone".into();
    let step = Step::Remove { cluster_id: SERVING, member: MemberId(0xa1), list, why };
    for data in [DataDir::Empty, DataDir::Aborted, lost()] {
        let decided = world.clone().data(data).decide();
        let plan = Plan { aim: Aim::Replace, steps: vec![step.clone()] };
        assert_eq!((decided.row, decided.decision), (14, Decision::Proceed(plan)));
    }
    let by = |change: &dyn Fn(&mut Listed)| {
        let mut previous = dead(1, 0);
        change(&mut previous);
        brief(&World::serving(vec![previous, voter(2), voter(3)]).decide())
    };
    assert_eq!(by(&|l| l.member.peer_urls = vec![url(7).to_string()]), "14 replace: remove a1", "by its name");
    assert_eq!(by(&|l| l.member.name = "old".into()), "14 replace: remove a1", "by its address");
    assert_eq!(by(&|l| *l = added_learner(1, 0)), "14 replace: remove a1", "a learner of a lost disk");
}

#[test]
fn row_14_takes_an_address_for_its_own_only_where_it_is_bound() {
    let mut other = dead(1, 999);
    other.member.name = "other".into();
    let world = World::serving(vec![other, voter(2), voter(3)]);
    let group = vec![running(1), running(2), running(3)];
    for world in [world.clone(), world.group(group)] {
        assert_eq!(brief(&world.decide()), "14 replace: remove a1");
        assert_eq!(brief(&world.facts(|f| f.me.address_bound = false).decide()), "18 wait");
    }
}

#[test]
fn row_14_waits_when_the_removal_could_cost_quorum() {
    for (members, expected) in [
        (vec![dead(1, 0), voter(2), dead(3, 0)], "14 wait: etcd-3 (a3)"),
        (vec![dead(1, 0), voter(2)], "14 replace: remove a1"),
        (vec![dead(1, 0), voter(2), voter(3), dead(4, 0)], "14 replace: remove a1"),
        (vec![dead(1, 0), voter(2), voter(3), dead(4, 0), dead(5, 0)], "14 wait: etcd-4 (a4); etcd-5 (a5)"),
    ] {
        assert_eq!(brief(&World::serving(members).decide()), expected);
    }
}

#[test]
fn row_15_refuses_init_where_a_cluster_serves_unless_this_disk_was_in_one() {
    let world = World::serving(vec![voter(2), voter(3)]).mode(Mode::Init);
    for (data, expected) in [
        (DataDir::Empty, "15 refuse cluster-exists"),
        (DataDir::Aborted, "15 refuse cluster-exists"),
        (lost(), "16 join: add"),
    ] {
        assert_eq!(brief(&world.clone().data(data).decide()), expected);
    }
}

#[test]
fn row_16_adds_this_host_where_there_is_room() {
    let decided = World::serving(vec![voter(2), voter(3)]).decide();
    let list = [2, 3].map(|i| voter(i).member).to_vec();
    let step = Step::Add { cluster_id: SERVING, peer_url: url(1), list };
    let plan = Plan { aim: Aim::Join, steps: vec![step] };
    assert_eq!((decided.row, decided.decision), (16, Decision::Proceed(plan)));
    for mode in [Mode::Auto, Mode::Join, Mode::Restore] {
        assert_eq!(brief(&World::serving(vec![voter(2)]).mode(mode).decide()), "16 join: add");
    }
}

#[test]
fn row_16_lets_one_learner_after_the_other() {
    for (learner, expected) in [
        (added_learner(3, 59), "16 wait: unstarted member a3 at https://10.0.0.13:2380"),
        (added_learner(3, 60), "16 replace: remove a3"),
        (
            {
                let mut started = dead(3, 999);
                started.member.learner = true;
                started
            },
            "16 wait: etcd-3 (a3)",
        ),
    ] {
        assert_eq!(brief(&World::serving(vec![voter(2), learner]).decide()), expected);
    }
}

#[test]
fn row_16_has_room_for_one_more_while_a_group_launches_new_before_it_ends_old() {
    let group = [running(1), running(2), running(3), running(4)];
    assert_eq!(brief(&World::serving(full()).group(group.to_vec()).decide()), "16 join: add");
    let of_three = vec![running(1), running(2), running(3), terminated(4)];
    assert_eq!(brief(&World::serving(full()).group(of_three).decide()), "18 wait");
    let more = [full(), vec![voter(5)]].concat();
    let five = [running(1), running(2), running(3), running(4), running(5), running(6)];
    assert_eq!(brief(&World::serving(more).group(five.to_vec()).decide()), "18 wait", "one more, not two");
}

#[test]
fn row_16_collects_a_learner_that_never_started_when_it_takes_the_last_place() {
    let full = |silent| World::serving(vec![voter(2), voter(3), added_learner(4, silent)]);
    assert_eq!(brief(&full(60).decide()), "16 replace: remove a4");
    assert_eq!(brief(&full(59).decide()), "18 wait");
    let group = vec![running(1), running(2), running(3), terminated(5)];
    let dead_voter = |silent| vec![voter(2), voter(3), dead(5, 999), added_learner(4, silent)];
    assert_eq!(brief(&World::serving(dead_voter(60)).group(group.clone()).decide()), "16 replace: remove a4");
    assert_eq!(World::serving(dead_voter(59)).group(group).decide().row, 17);
}

#[test]
fn row_17_comes_before_a_surge_since_etcd_adds_nobody_beside_a_dead_voter() {
    let group = vec![running(1), running(2), running(3), running(5), terminated(4)];
    let at = |silent| World::serving(vec![voter(2), voter(3), dead(4, silent)]).group(group.clone());
    assert_eq!(brief(&at(60).decide()), "17 replace: remove a4");
    assert_eq!(brief(&at(59).decide()), "16 join: add", "it may still come back, and then there is room");
}

#[test]
fn row_17_replaces_a_dead_voter_whose_instance_is_terminated() {
    let group = || vec![running(1), running(2), running(3), terminated(4)];
    let with = |listed: Vec<Listed>| World::serving(listed).group(group());
    for (world, expected) in [
        (with(vec![voter(2), voter(3), dead(4, 60)]), "17 replace: remove a4"),
        (with(vec![voter(2), voter(3), dead(4, 59)]), "18 wait"),
        (with(vec![voter(2), voter(3), voter(4)]), "18 wait"),
        (with(vec![voter(2), dead(3, 999), dead(4, 999)]), "17 wait: etcd-3 (a3)"),
        (with(vec![voter(2), voter(3), dead(4, 999)]).group(vec![running(1), running(2), running(3)]), "18 wait"),
        (with(vec![voter(2), dead(3, 999), voter(5), dead(4, 999)]), "17 replace: remove a4"),
        (with(vec![voter(2), dead(3, 999), dead(5, 999), dead(4, 999)]), "17 wait: etcd-3 (a3); etcd-5 (a5)"),
        (
            with(vec![voter(2), voter(3), dead(5, 99), dead(4, 99), voter(6)])
                .group(vec![running(1), terminated(4), terminated(5)])
                .spec(|s| s.size = 5),
            "17 replace: remove a4",
        ),
        (
            with(vec![voter(2), voter(3), dead(4, 99), added_learner(7, 0)]),
            "17 wait: unstarted member a7 at https://10.0.0.17:2380",
        ),
    ] {
        assert_eq!(brief(&world.decide()), expected);
    }
}

#[test]
fn row_18_waits_as_a_spare_and_removes_nobody_of_a_static_list() {
    assert_eq!(brief(&World::serving(full()).decide()), "18 wait");
    let foreign = vec![voter(2), voter(3), dead(4, 9_999)];
    assert_eq!(brief(&World::serving(foreign).decide()), "18 wait", "silence alone is not death");
}
