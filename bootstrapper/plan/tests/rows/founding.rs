//! Rows 19 to 29: this disk is blank and no cluster answers.

use plan::decision::{Aim, Decision, Plan, Step, short};
use plan::facts::{ClaimState, Claims, DataDir, Heard, Inventory, Seconds, Stage, Waiting};
use plan::founding::Founding;
use plan::spec::Mode;

use crate::support::{FOUND_UNTIL, World, brief, committed, founding, holds, nonce, running, terminated, unknown};

const AT_2: &str = "etcd-2 at https://10.0.0.12:2380";
const AT_3: &str = "etcd-3 at https://10.0.0.13:2380";

fn lost() -> DataDir {
    DataDir::Lost { identity: None }
}

/// The world after this host and the others got this far with what all would found now.
fn all_at(world: &World, ours: impl Fn(&mut plan::facts::Facts, &Founding), theirs: &Stage) -> World {
    let t = world.founding();
    world.clone().readied(&[&t]).facts(|f| ours(f, &t)).others_are(theirs)
}

fn restoring() -> World {
    World::blank().spec(|s| s.restore = "a".repeat(64).parse().ok())
}

#[test]
fn row_19_waits_when_it_may_not_found_or_cannot_know() {
    assert_eq!(
        brief(&World::blank().mode(Mode::Join).hears(3, unknown()).decide()),
        format!("19 wait: {AT_3}: no answer within 2 s")
    );
    assert_eq!(brief(&World::blank().mode(Mode::Join).decide()), format!("19 wait: {AT_2}; {AT_3}"));
    let unreachable = Claims::Unreachable { reason: "503".into() };
    assert_eq!(brief(&World::blank().store(None).facts(|f| f.claim = unreachable).decide()), "19 wait: 503");
}

#[test]
fn row_20_waits_for_everybody_who_is_not_known_to_be_blank() {
    let t = founding([1, 2, 3]);
    for (heard, who) in [
        (unknown(), "no answer within 2 s".to_owned()),
        (holds(), "holds a member's data".to_owned()),
        (committed(3, &t), format!("has committed founding {}, which this disk is not in", short(&t.id()))),
    ] {
        assert_eq!(brief(&World::blank().hears(3, heard).decide()), format!("20 wait: {AT_3}: {who}"));
    }
    let unasked = World::blank().facts(|f| f.peers.truncate(1));
    assert_eq!(brief(&unasked.decide()), format!("20 wait: {AT_3}: not asked yet"));
    let both = World::alone_with(DataDir::Empty).decide();
    assert_eq!(brief(&both), format!("20 wait: {AT_2}: no answer within 2 s; {AT_3}: no answer within 2 s"));
}

#[test]
fn row_20_says_that_nothing_is_founded_any_more_where_row_25_would_refuse() {
    let until = |world: World| match world.decide() {
        plan::decision::Decided { row: 20, decision: Decision::Wait(wait) } => wait.until,
        other => panic!("{other:?}"),
    };
    let closed: [fn(World) -> World; 3] = [
        |w| w.facts(|f| f.now = Some(Seconds(FOUND_UNTIL + 1))),
        |w| w.spec(|s| s.found_until = None),
        |w| w.facts(|f| f.now = None),
    ];
    let (alone, short) = (World::alone_with(DataDir::Empty), World::blank().group(vec![running(1), running(2)]));
    for close in closed {
        let Decision::Refuse(refusal) = close(World::blank()).decide().decision else { panic!("row 25 refuses") };
        let expected =
            format!("a cluster answers; this host founds none any more: {}; {}", refusal.sentence, refusal.hint);
        assert_eq!(until(close(alone.clone())), expected);
        assert_eq!(until(close(short.clone())), expected);
        assert_eq!(until(close(alone.clone()).store(None)), until(alone.clone()), "a store needs no date");
    }
}

#[test]
fn row_20_waits_until_a_group_lists_exactly_its_size() {
    let mut addressless = running(3);
    addressless.peer_url = None;
    for (instances, expected) in [
        (vec![running(1), running(2)], "20 wait: 2 of 3 listed: etcd-1 etcd-2"),
        (vec![], "20 wait: 0 of 3 listed: "),
        (vec![running(1), running(2), terminated(3)], "20 wait: 2 of 3 listed: etcd-1 etcd-2"),
        (vec![running(2), running(3), running(4)], "20 wait: 3 of 3 listed: etcd-2 etcd-3 etcd-4"),
        (vec![running(1), running(2), addressless], "20 wait: 3 of 3 listed: etcd-1 etcd-2 etcd-3"),
        (vec![running(1), running(2), running(3), running(4)], "20 wait: 4 of 3 listed: etcd-1 etcd-2 etcd-3 etcd-4"),
    ] {
        assert_eq!(brief(&World::blank().group(instances).decide()), expected);
    }
    let unlisted = Inventory::Unknown { reason: "throttled".into() };
    let group = World::blank().group(vec![running(1), running(2), running(3)]);
    assert_eq!(group.decide().row, 26);
    assert_eq!(brief(&group.facts(|f| f.inventory = unlisted).decide()), "20 wait: throttled");
}

#[test]
fn row_21_waits_for_one_spec_and_names_the_first_difference() {
    type Change = fn(&mut plan::founding::Terms);
    let cases: [(Change, &str); 6] = [
        (|t| t.epoch = 2, "cluster.epoch is 1 here and 2 there"),
        (|t| t.size = 5, "cluster.size is 3 here and 5 there"),
        (
            |t| t.set.truncate(1),
            "peers is etcd-1=https://10.0.0.11:2380 etcd-2=https://10.0.0.12:2380 etcd-3=https://10.0.0.13:2380 here and etcd-1=https://10.0.0.11:2380 there",
        ),
        (
            |t| t.snapshot = "b".repeat(64).parse().ok(),
            "restore.sha256 is none here and bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb there",
        ),
        (|t| t.etcd = "3.6".into(), "etcd is 3.5 here and 3.6 there"),
        (|t| (t.epoch, t.size) = (2, 5), "cluster.epoch is 1 here and 2 there"),
    ];
    for (change, difference) in cases {
        let mut world = World::blank();
        if let Heard::Waiting(waiting) = &mut world.facts.peers[1].heard {
            change(&mut waiting.terms);
        }
        assert_eq!(brief(&world.decide()), format!("21 wait: {AT_3}: {difference}"));
    }
}

#[test]
fn row_24_lets_a_lost_member_found_nothing() {
    let world = World::blank().data(lost());
    assert_eq!(brief(&world.decide()), format!("24 wait: {AT_2}; {AT_3}"));
    assert_eq!(world.spec(|s| s.found_until = None).decide().row, 24);
}

#[test]
fn row_25_refuses_a_founding_that_is_out_of_date_or_has_no_date() {
    let until = |s| World::blank().facts(|f| f.now = Some(Seconds(s)));
    for (world, expected) in [
        (until(FOUND_UNTIL + 1), "25 refuse founding-expired"),
        (World::blank().spec(|s| s.found_until = None), "25 refuse founding-expired"),
        (World::blank().facts(|f| f.now = None), "25 refuse clock-unknown"),
    ] {
        assert_eq!(brief(&world.decide()), expected);
        assert_eq!(world.store(None).decide().row, 26, "a store needs no date");
    }
    assert_eq!(until(FOUND_UNTIL).decide().row, 26);
}

#[test]
fn row_26_readies_what_all_others_agree_on() {
    let t = founding([1, 2, 3]);
    let ready = |world: &World, steps: Vec<Step>| {
        let decided = world.decide();
        assert_eq!((decided.row, decided.decision), (26, Decision::Proceed(Plan { aim: Aim::Found, steps })));
    };
    let blank = World::blank();
    for world in [
        blank.clone(),
        blank.clone().others_are(&Stage::Ready(t.id())),
        blank.clone().others_are(&Stage::Ready(founding([7, 8, 9]).id())),
        blank.clone().others_are(&Stage::Prepared(t.id())),
        blank.clone().mode(Mode::Init),
        blank.clone().readied(&[&founding([1, 2, 9])]),
        blank.clone().readied(&[&t, &founding([1, 2, 9])]),
    ] {
        ready(&world, vec![Step::Ready(t.clone())]);
    }
    ready(&blank.clone().data(DataDir::Aborted), vec![Step::Clear, Step::Ready(t)]);
    let world = blank.store(None);
    let t = world.founding();
    ready(&world, vec![Step::Claim { to: ClaimState::Founding, founding: t.clone(), read: None }, Step::Ready(t)]);
}

#[test]
fn row_26_takes_a_new_nonce_where_this_one_is_spent() {
    let world = World::blank().facts(|f| f.journal.spent = true);
    assert_eq!(brief(&world.decide()), "26 archive: archive");
}

#[test]
fn row_27_stages_the_snapshot_when_all_are_ready() {
    let world = restoring();
    let t = world.founding();
    let all_ready = all_at(&world, |_, _| (), &Stage::Ready(t.id()));
    let some_prepared = all_at(&world, |_, _| (), &Stage::Prepared(t.id()));
    let snapshot = "a".repeat(64).parse().expect("a sha256");
    let plan = Plan { aim: Aim::Found, steps: vec![Step::Prepare { founding: t, snapshot }] };
    for world in [all_ready, some_prepared] {
        let decided = world.decide();
        assert_eq!((decided.row, decided.decision), (27, Decision::Proceed(plan.clone())));
    }
}

#[test]
fn row_28_commits_when_all_are_as_far_as_it_takes() {
    let empty = World::blank();
    let t = empty.founding();
    let expected = |t: &Founding| Decision::Proceed(Plan { aim: Aim::Found, steps: vec![Step::Commit(t.clone())] });
    for theirs in [Stage::Ready(t.id()), Stage::Prepared(t.id())] {
        let decided = all_at(&empty, |_, _| (), &theirs).decide();
        assert_eq!((decided.row, decided.decision), (28, expected(&t)));
    }
    let restoring = restoring();
    let t = restoring.founding();
    let prepared = all_at(&restoring, |f, t| f.journal.prepared = Some(t.id()), &Stage::Prepared(t.id()));
    let decided = prepared.decide();
    assert_eq!((decided.row, decided.decision), (28, expected(&t)));
}

#[test]
fn row_28_commits_alone_where_one_is_all() {
    let alone = World::blank().facts(|f| f.peers.clear()).spec(|s| {
        s.size = 1;
        if let plan::spec::Set::Static(peers) = &mut s.set {
            peers.truncate(1);
        }
    });
    let id = short(&alone.founding().id()).to_owned();
    assert_eq!(brief(&alone.decide()), format!("26 found: ready {id}"));
    let t = alone.founding();
    assert_eq!(brief(&alone.readied(&[&t]).decide()), format!("28 found: commit {id}"));
}

#[test]
fn row_29_waits_for_those_that_are_not_as_far() {
    let empty = World::blank();
    let (t, other) = (empty.founding(), founding([7, 8, 9]));
    let (id, other_id) = (short(&t.id()).to_owned(), short(&other.id()).to_owned());
    for (theirs, who) in [
        (Stage::Blank, "blank".to_owned()),
        (Stage::Ready(other.id()), format!("ready for founding {other_id}")),
        (Stage::Prepared(other.id()), format!("prepared for founding {other_id}")),
    ] {
        let world = all_at(&empty, |_, _| (), &Stage::Ready(t.id()));
        let behind = world.waiting(3, theirs);
        assert_eq!(brief(&world.hears(3, behind).decide()), format!("29 wait: {AT_3}: {who}"), "{id}");
    }
    let restoring = restoring();
    let id = restoring.founding().id();
    let ahead = all_at(&restoring, |f, t| f.journal.prepared = Some(t.id()), &Stage::Ready(id.clone()));
    let who = format!("ready for founding {}", short(&id));
    assert_eq!(brief(&ahead.decide()), format!("29 wait: {AT_2}: {who}; {AT_3}: {who}"));
}

#[test]
fn row_21_takes_a_new_nonce_where_another_host_answers_with_this_disk_s() {
    let world = World::blank();
    let copied = |host: u8, n: u8| match world.waiting(host, Stage::Blank) {
        Heard::Waiting(w) => Heard::Waiting(Waiting { nonce: nonce(n), ..w }),
        heard @ (Heard::Founding { .. } | Heard::Cluster(_) | Heard::Holds { .. } | Heard::Unknown { .. }) => heard,
    };
    assert_eq!(brief(&world.clone().hears(2, copied(2, 1)).decide()), "21 archive: archive if unled");
    let all = world.clone().hears(2, copied(2, 1)).hears(3, copied(3, 1));
    assert_eq!(brief(&all.decide()), "21 archive: archive if unled", "an image of a disk that was in use");
    let two_others = world.clone().hears(2, copied(2, 9)).hears(3, copied(3, 9));
    let at = "etcd-2 at https://10.0.0.12:2380; etcd-3 at https://10.0.0.13:2380";
    assert_eq!(brief(&two_others.decide()), format!("21 wait: {at}"));
}

#[test]
fn row_8_pulls_nobody_into_a_founding_by_the_journal_of_another_host_s_disk() {
    let t = founding([7, 1, 3]);
    let copy = World::blank().readied(&[&t]).hears(3, committed(3, &t));
    assert_eq!(brief(&copy.decide()).split(' ').next(), Some("20"), "nonce 1 is etcd-2's there, and this is etcd-1");
    let own = founding([1, 2, 3]);
    assert_eq!(World::blank().readied(&[&own]).hears(3, committed(3, &own)).decide().row, 8);
}
