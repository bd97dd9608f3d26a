//! What an operator reads, row by row, kept as text so that a change of it is looked at.
//!
//! `UPDATE_GOLDEN=1 cargo test -p bootstrap-plan golden` writes the files anew.

use std::path::{Path, PathBuf};

use plan::document::Recover;
use plan::facts::{Added, ClaimState, Claims, DataDir, Heard, Past, Quorum, Seconds, Stage};
use plan::founding::Founding;
use plan::member::{ClusterId, MemberId};
use plan::place::Kept;
use plan::spec::{Mode, Set};

use crate::support::{
    FOUND_UNTIL, SERVING, World, added_learner, answers_as, claim, committed, dead, founder, founding, name, nonce,
    on_new_disk, place, quorum, running, served, terminated, unknown, unled, version, voter,
};

type Example = (&'static str, World);

fn member() -> DataDir {
    DataDir::Member(plan::facts::Identity {
        cluster_id: SERVING,
        member_id: voter(1).member.id,
        ..founder(&founding([1, 2, 3]), 1)
    })
}

fn on_disk() -> Vec<Example> {
    let t = founding([1, 2, 3]);
    let missing = |overdue| DataDir::Missing { what: "the disk with serial 4c530001".into(), overdue };
    let foreign = DataDir::Foreign {
        found: "the log of member 7 of cluster c9".into(),
        expected: "that of member a1 (etcd-1) of cluster c1 (prod)".into(),
        copied: false,
    };
    let recorded = Kept { identity: founder(&t, 1), place: place(Some("i-1"), Some("vol-1"), None) };
    let copy = recorded.copied_to(&place(Some("i-4"), Some("vol-4"), Some("nvme.4"))).expect("both differ");
    let removed = DataDir::Removed {
        identity: founder(&t, 1),
        evidence: "etcd said that the member has been permanently removed".into(),
    };
    let damaged = DataDir::Damaged { what: "record 5 of 0000000000000000-0000000000000000.wal does not check".into() };
    let begun = |wal| DataDir::Founding { founding: t.clone(), wal };
    let given_up = |survivor, given_up: &[u8]| {
        let given_up = given_up.iter().map(|i| name(*i)).collect();
        World::alone_with(member())
            .facts(|f| f.own_list = Some((1..=3).map(|i| voter(i).member).collect()))
            .spec(|s| s.recover = Some(Recover { survivor: name(survivor), epoch: 2, given_up }))
    };
    let blank = World::blank();
    let gone = |host| on_new_disk(blank.waiting(host, Stage::Blank));
    vec![
        ("the disk is in use", blank.clone().data(DataDir::Locked)),
        ("the disk may still appear", blank.clone().data(missing(false))),
        ("the disk did not appear", blank.clone().data(missing(true))),
        ("another member's disk", blank.clone().data(foreign)),
        ("a copy of a member's disk", blank.clone().data(copy)),
        ("a newer etcd's data", blank.clone().data(DataDir::Newer { found: "3.6.5".into() })),
        ("the survivor", given_up(1, &[2, 3])),
        ("a member that was given up", given_up(2, &[1, 3])),
        (
            "the survivor's disk is not there",
            blank.clone().spec(|s| s.recover = Some(Recover { survivor: name(2), epoch: 2, given_up: vec![] })),
        ),
        ("a reboot", World::alone_with(member())),
        ("removed while it was away", World::serving(vec![voter(2), voter(3)]).data(member())),
        (
            "removed and not wanted",
            blank.clone().data(removed).spec(|s| {
                if let Set::Static(peers) = &mut s.set {
                    peers.remove(0);
                }
            }),
        ),
        ("broken beside a healthy cluster", World::serving(vec![voter(2), voter(3)]).data(damaged.clone())),
        ("broken and alone", World::alone_with(damaged.clone())),
        ("broken beside blank hosts", blank.clone().data(damaged)),
        ("begun and not started", World::alone_with(begun(false))),
        ("begun and started", World::alone_with(begun(true))),
        ("begun, and the others are gone", blank.clone().hears(2, gone(2)).hears(3, gone(3)).data(begun(true))),
        ("begun, and another cluster serves", World::serving(vec![voter(2), voter(3)]).data(begun(true))),
        ("served, and the log is gone", World::alone_with(begun(false)).hears(2, answers_as(&served(&t), true))),
    ]
}

fn meeting() -> Vec<Example> {
    let t = founding([1, 2, 3]);
    let pair = || vec![voter(2), voter(3)];
    let full = || vec![voter(2), voter(3), voter(4)];
    let other = Quorum { cluster_id: ClusterId(0xc2), ..quorum(vec![voter(3)]) };
    let staging = Quorum { name: "staging".parse().ok(), ..quorum(pair()) };
    let two = |led| World::blank().hears(2, answers_as(&quorum(vec![voter(2)]), led)).hears(3, answers_as(&other, led));
    let with = |change: &dyn Fn(&mut Quorum)| {
        let mut quorum = quorum(pair());
        change(&mut quorum);
        World::blank().meets(quorum)
    };
    let added = Past { added: Some(Added { cluster_id: SERVING, member_id: MemberId(0xa1) }), ..Past::default() };
    let group = || vec![running(1), running(2), running(3), terminated(4)];
    vec![
        ("a peer has committed", World::blank().readied(&[&t]).hears(2, committed(2, &t)).hears(3, unknown())),
        ("two foundings", two(false)),
        ("two clusters", two(true)),
        ("a cluster and a founding", World::serving(vec![voter(2)]).hears(3, unled(&founding([1, 2, 9])))),
        ("another cluster's hosts", World::blank().meets(staging.clone())),
        ("or those of a restored one", World::blank().spec(|s| s.restore = "a".repeat(64).parse().ok()).meets(staging)),
        ("no quorum", World::blank().hears(2, answers_as(&quorum(full()), true)).hears(3, unknown())),
        ("a twin is alive", World::serving(vec![voter(1), voter(2), voter(3)])),
        ("an old image", with(&|q| q.version = Some(version(6)))),
        ("no version yet", with(&|q| q.version = None)),
        ("etcd's users are on", with(&|q| q.denied = Some("etcdserver: permission denied".into()))),
        ("an alarm", with(&|q| q.alarms.push("etcd-2 (a2): NOSPACE".into()))),
        (
            "bad certificates",
            World::blank().facts(|f| f.certificates = Some("the CA expired at 2026-11-01T00:00:00Z".into())),
        ),
        ("resumed", World::serving([pair(), vec![added_learner(1, 0)]].concat()).facts(|f| f.journal = added)),
        ("reimaged", World::serving([pair(), vec![dead(1, 40)]].concat())),
        ("reimaged, and another is dead", World::serving(vec![dead(1, 40), voter(2), dead(3, 90)])),
        ("mode init", World::serving(pair()).mode(Mode::Init)),
        ("room", World::serving(pair())),
        ("another joins", World::serving(vec![voter(2), added_learner(3, 5)])),
        ("another began to join and died", World::serving(vec![voter(2), added_learner(3, 90)])),
        ("a dead voter", World::serving(vec![voter(2), voter(3), dead(4, 61)]).group(group())),
        ("full", World::serving(full())),
    ]
}

fn alone() -> Vec<Example> {
    let blank = World::blank();
    let t = blank.founding();
    let lost = DataDir::Lost { identity: None };
    let mut disagrees = blank.clone();
    if let Heard::Waiting(waiting) = &mut disagrees.facts.peers[1].heard {
        waiting.terms.epoch = 2;
    }
    let restoring = blank.clone().spec(|s| s.restore = "a".repeat(64).parse().ok());
    let r = restoring.founding();
    let ready = |world: &World, t: &Founding, stage: Stage| world.clone().readied(&[t]).others_are(&stage);
    let one_ready = |t: &Founding| {
        let all = ready(&blank, t, Stage::Ready(t.id()));
        let third = all.waiting(3, Stage::Blank);
        all.hears(3, third)
    };
    let stored = World::blank().store(None);
    let s = stored.founding();
    let mut lost_disks = s.clone();
    lost_disks.founders.iter_mut().for_each(|f| f.nonce = nonce(50));
    let with = |state, founding: &Founding| World::blank().store(Some(claim(state, founding)));
    let mut pair = s.clone();
    pair.founders.remove(0);
    let mut newer = s.clone();
    newer.terms.epoch = 2;
    vec![
        ("mode join", blank.clone().mode(Mode::Join)),
        ("the store is away", stored.clone().facts(|f| f.claim = Claims::Unreachable { reason: "503 from s3".into() })),
        (
            "the store has another cluster's claim",
            stored.clone().facts(|f| f.claim = Claims::Unusable { reason: "it is the claim of cluster other".into() }),
        ),
        ("one is silent", blank.clone().hears(3, unknown())),
        ("one is silent, founded before", with(ClaimState::Founded, &s).hears(3, unknown())),
        ("one is silent, with a store", stored.clone().hears(3, unknown())),
        (
            "one is silent, with a store and without a date",
            stored.clone().hears(3, unknown()).spec(|s| s.found_until = None),
        ),
        ("one is silent for long, with a store", stored.clone().hears(3, unknown()).facts(|f| f.silence = 600)),
        ("two others found without this host", with(ClaimState::Founding, &pair)),
        (
            "one is silent, and it is too late",
            blank.clone().hears(3, unknown()).facts(|f| f.now = Some(Seconds(FOUND_UNTIL + 1))),
        ),
        ("one is in a founding of others", blank.clone().hears(3, committed(3, &founding([7, 8, 9])))),
        ("a group is short", blank.clone().group(vec![running(1), running(2)])),
        ("one has another spec", disagrees),
        ("founded before", with(ClaimState::Founded, &s)),
        ("founded before, all gone", with(ClaimState::Founded, &lost_disks)),
        ("founded in a newer epoch", with(ClaimState::Founded, &newer)),
        ("another founding commits", with(ClaimState::Committing, &newer_disk(&s))),
        ("lost", blank.clone().data(lost)),
        ("too late", blank.clone().facts(|f| f.now = Some(Seconds(FOUND_UNTIL + 1)))),
        ("no date in the spec", blank.clone().spec(|s| s.found_until = None)),
        ("no clock", blank.clone().facts(|f| f.now = None)),
        ("all blank", blank.clone()),
        ("all blank, with a store", stored),
        ("a spent disk", blank.clone().facts(|f| f.journal.spent = true)),
        ("all ready to restore", ready(&restoring, &r, Stage::Ready(r.id()))),
        ("all ready", ready(&blank, &t, Stage::Ready(t.id()))),
        ("all ready, with a store", World::blank().store(None).readied(&[&s]).others_are(&Stage::Ready(s.id()))),
        ("one is not ready", one_ready(&t)),
        (
            "one has no snapshot yet",
            ready(&restoring, &r, Stage::Ready(r.id())).facts(|f| f.journal.prepared = Some(r.id())),
        ),
    ]
}

fn newer_disk(founding: &Founding) -> Founding {
    let mut founding = founding.clone();
    founding.founders[2].nonce = nonce(50);
    founding
}

fn file(row: u8) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/row-{row:02}.txt"))
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the one place of this crate that writes: a person asked for it")]
fn golden_explanations_are_what_operators_were_promised() {
    let mut texts: Vec<String> = vec![String::new(); 30];
    for (title, world) in on_disk().into_iter().chain(meeting()).chain(alone()) {
        let decided = world.decide();
        let text = &mut texts[usize::from(decided.row)];
        text.push_str(&format!("# {title}\n{}\n> {}\n\n", decided.explain(), decided.headline()));
    }
    for (row, text) in (1u8..).zip(&texts[1..]) {
        assert!(!text.is_empty(), "row {row} has an example");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(file(row), text).expect("a file written");
        }
        let kept = std::fs::read_to_string(file(row)).unwrap_or_default();
        assert_eq!(*text, kept, "row {row}; look at it and run with UPDATE_GOLDEN=1 if it is better");
    }
}

#[test]
fn a_quorum_is_told_in_words_with_what_a_change_of_members_needs() {
    use crate::support::{added_learner, dead, quorum, voter};
    for (members, expected) in [
        (vec![voter(1), voter(2), voter(3)], "3 voters, 3 answer, a quorum is 2"),
        (
            vec![voter(1), voter(2), dead(3, 60)],
            "3 voters, 2 answer, a quorum is 2; adding needs all 3: start etcd-3 (a3), or remove it first if its disk is gone",
        ),
        (
            vec![voter(1), dead(2, 60), dead(3, 60)],
            "3 voters, 1 answer, a quorum is 2; adding needs all 3: start etcd-2 (a2) and etcd-3 (a3); removing one could cost the quorum",
        ),
        (vec![voter(1), added_learner(2, 0)], "1 voter, 1 answer, a quorum is 1; 1 learner"),
    ] {
        assert_eq!(plan::explain::quorum(&quorum(members)), expected);
    }
}
