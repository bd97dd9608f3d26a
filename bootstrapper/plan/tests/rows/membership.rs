//! Rows 13 to 18: this disk is blank, and a cluster with quorum answers that would take it.

use plan::decision::{Aim, Decision, Plan, Step};
use plan::facts::{Added, DataDir, Identity, Listed, Past, Peer};
use plan::member::{ClusterId, Member, MemberId};
use plan::spec::Mode;

use crate::support::{
    SERVING, World, added_learner, answers_as, brief, cluster, dead, name, quorum, running, terminated, url, voter,
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
fn a_learner_that_a_copy_of_this_disk_has_started_is_not_resumed_and_not_removed() {
    let moved = |l: Listed| Listed { member: Member { peer_urls: vec![url(7).to_string()], ..l.member }, ..l };
    let started = |learner: bool| {
        let listed = Listed { answers: false, silent: 999, ..voter(4) };
        moved(Listed { member: Member { learner, ..listed.member.clone() }, ..listed })
    };
    for (listed, expected) in [
        (moved(added_learner(4, 999)), "14 replace: remove a4"),
        (started(true), "16 wait: etcd-4 (a4)"),
        (started(false), "16 join: add"),
    ] {
        let world = World::serving(vec![voter(2), listed]).facts(|f| f.journal = added(0xa4));
        assert_eq!(brief(&world.decide()), expected);
    }
    // Under this host's own address it is the previous life of a disk that was put back as it was before.
    let back = World::serving(vec![dead(1, 0), voter(2), voter(3)]).facts(|f| f.journal = added(0xa1));
    assert_eq!(brief(&back.decide()), "14 replace: remove a1");
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
        assert_eq!(brief(&world.facts(|f| f.me.address_bound = false).decide()), "18 wait: other (a1) does not answer");
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
fn row_14_counts_no_voter_for_which_somebody_else_may_answer() {
    let members = vec![dead(1, 0), voter(2), dead(3, 0)];
    let answer = answers_as(&quorum(members.clone()), true);
    // A member of the cluster answers on the peer URL of etcd-3; it may be etcd-2, which has that address too.
    let world = World::serving(members).hears(3, answer);
    assert_eq!(brief(&world.decide()), "14 wait: etcd-3 (a3)");
}

#[test]
fn rows_16_and_17_spare_whom_somebody_may_answer_for() {
    let ended =
        |members: Vec<Listed>| World::serving(members).group(vec![running(1), running(2), running(3), terminated(4)]);
    let leaked = |members: Vec<Listed>| World::serving(members);
    let voters = || vec![voter(2), voter(3)];
    let learner = |l: Listed| Listed { member: Member { learner: true, ..l.member }, ..l };
    let with = |listed: Listed| voters().into_iter().chain([listed]).collect::<Vec<_>>();
    for (world, alone, answered) in [
        (ended(with(dead(4, 999))), "17 replace: remove a4", "18 wait"),
        (leaked(with(added_learner(4, 999))), "16 replace: remove a4", "18 wait"),
        // It had started and would have voted soon, but its instance was terminated.
        (ended(with(learner(dead(4, 999)))), "16 replace: remove a4", "18 wait"),
    ] {
        let quorum = world.facts.quorum.clone().expect("a quorum");
        assert_eq!(brief(&world.decide()), alone);
        let somebody = Peer { name: None, peer_url: url(4), heard: answers_as(&quorum, true) };
        assert_eq!(brief(&world.facts(|f| f.peers.push(somebody)).decide()), answered);
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
    assert_eq!(brief(&full(59).decide()), "18 wait: unstarted member a4 at https://10.0.0.14:2380 does not answer");
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
        (with(vec![voter(2), voter(3), dead(4, 59)]), "18 wait: etcd-4 (a4) does not answer"),
        (with(vec![voter(2), voter(3), voter(4)]), "18 wait"),
        (with(vec![voter(2), dead(3, 999), dead(4, 999)]), "17 wait: etcd-3 (a3)"),
        (
            with(vec![voter(2), voter(3), dead(4, 999)]).group(vec![running(1), running(2), running(3)]),
            "18 wait: etcd-4 (a4) does not answer",
        ),
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
fn a_member_removes_the_terminated_one_that_a_surge_has_replaced_and_nobody_else() {
    let group = vec![running(1), running(2), running(3), terminated(4)];
    let surplus = |world: World| plan::surplus(&world.spec, &world.facts).as_ref().map(brief);
    let with = |listed: Vec<Listed>| World::serving(listed).group(group.clone());
    for (world, expected) in [
        (with(vec![voter(1), voter(2), voter(3), dead(4, 60)]), Some("17 replace: remove a4")),
        (with(vec![voter(1), voter(2), voter(3), dead(4, 59)]), None),
        (with(vec![voter(1), voter(2), voter(3), voter(4)]), None),
        (with(vec![voter(1), voter(2), dead(4, 999)]), None),
        (with(vec![voter(1), voter(2), dead(4, 999), added_learner(5, 0)]), None),
        (with(vec![voter(1), dead(2, 999), dead(3, 999), dead(4, 999)]), Some("17 wait: etcd-2 (a2); etcd-3 (a3)")),
        (World::serving(vec![voter(1), voter(2), voter(3), dead(4, 999)]), None),
    ] {
        assert_eq!(surplus(world).as_deref(), expected);
    }
}

#[test]
fn row_18_waits_as_a_spare_and_removes_nobody_of_a_static_list() {
    assert_eq!(brief(&World::serving(full()).decide()), "18 wait");
    let foreign = vec![voter(2), voter(3), dead(4, 9_999)];
    assert_eq!(
        brief(&World::serving(foreign).decide()),
        "18 wait: etcd-4 (a4) does not answer",
        "silence alone is not death"
    );
}

#[test]
fn a_learner_that_is_listed_at_another_address_removes_itself_and_a_voter_never_does() {
    let us = |listed: &Listed| Identity {
        cluster: cluster(),
        cluster_id: SERVING,
        member_id: listed.member.id,
        name: name(1),
        peer_url: url(9),
        token: "prod.1.t".into(),
        epoch: 1,
    };
    let at = |host: u8, learner: bool| {
        let mut listed = added_learner(1, 0);
        (listed.member.peer_urls, listed.member.learner) = (vec![url(host).to_string()], learner);
        listed
    };
    for (why, listed, expected) in [
        ("a learner that has moved", at(9, true), Some("14 replace: remove")),
        ("a learner where it was", at(1, true), None),
        ("a voter that has moved, and whom `finish` updates", at(9, false), None),
    ] {
        let world = World::serving(vec![listed.clone(), voter(2), voter(3)]);
        let decided = plan::stranded(&world.facts, &us(&listed));
        let said = decided.as_ref().map(brief);
        assert_eq!(said.is_some(), expected.is_some(), "{why}: {said:?}");
        assert!(said.unwrap_or_default().starts_with(expected.unwrap_or_default()), "{why}");
        let elsewhere = Identity { cluster_id: ClusterId(0xc9), ..us(&listed) };
        assert_eq!(plan::stranded(&world.facts, &elsewhere), None, "{why}, of another cluster");
    }
}
