//! The journal: what its records add up to, and which sequences cannot be.

use plan::facts::{Added, Identity};
use plan::founding::Founding;
use plan::member::{ClusterId, MemberId};
use plan::place::VolumeId;
use plan::progress::{Archiving, How, Life, Record, whole};
use plan::wal_disk::WalDisk;

use crate::support::{founder, founding, founding_under, nonce, terms};

pub fn begin(n: u8) -> Record {
    Record::Nonce { nonce: nonce(n) }
}
pub fn ready(founding: &Founding) -> Record {
    Record::Ready { founding: founding.clone() }
}
pub fn prepared(founding: &Founding) -> Record {
    Record::Prepared { id: founding.id() }
}
pub fn commit(founding: &Founding) -> Record {
    Record::Commit { founding: founding.clone() }
}
pub fn added(id: u64) -> Record {
    Record::Added { cluster_id: ClusterId(0xc1), member_id: MemberId(id) }
}
pub fn handed_off(identity: &Identity, how: How) -> Record {
    let initial_cluster = vec![(identity.name.to_string(), identity.peer_url.to_string())];
    Record::HandedOff { identity: identity.clone(), initial_cluster, how }
}
pub fn settled(identity: &Identity) -> Record {
    Record::Settled { identity: identity.clone() }
}
pub fn archived(lost: bool) -> Record {
    Record::Archived { to: "trash/1".into(), why: "a test".into(), lost }
}
/// etcd-1 as a member that joined cluster c1.
pub fn joiner(id: u64) -> Identity {
    Identity {
        cluster_id: ClusterId(0xc1),
        member_id: MemberId(id),
        token: "prod.joined.c1".into(),
        ..founder(&founding([1, 2, 3]), 1)
    }
}

pub fn life(records: &[Record]) -> Life {
    Life::replay(&text(records)).expect("a legal journal")
}

fn text(records: &[Record]) -> String {
    records.iter().map(|r| r.line().expect("a line")).collect()
}

#[test]
fn a_founder_that_is_led_and_settles_is_spent_and_lived_here() {
    let t = founding([1, 2, 3]);
    let me = founder(&t, 1);
    let life = life(&[begin(1), ready(&t), commit(&t), handed_off(&me, How::Founded), Record::Led {}, settled(&me)]);
    assert_eq!(life.nonce, Some(nonce(1)));
    assert_eq!(life.past.readied, vec![t.clone()]);
    assert_eq!((life.past.spent, life.past.epoch, &life.past.added), (true, Some(1), &None));
    assert_eq!(life.committed, Some(t));
    assert_eq!((life.led, life.settled, life.how), (true, true, Some(How::Founded)));
    assert_eq!(life.lived, Some(me));
}

#[test]
fn a_commit_spends_the_nonce_and_says_nothing_of_a_member_that_lived() {
    let t = founding([1, 2, 3]);
    let life = life(&[begin(1), ready(&t), commit(&t)]);
    assert!(life.past.spent);
    assert_eq!(life.lived, None);
    assert_eq!(life.founder(), Some(founder(&t, 1)), "the nonce tells which founder this disk is");
}

#[test]
fn every_founding_that_was_readied_is_kept_and_the_newest_is_last() {
    let (a, b) = (founding([1, 2, 3]), founding([1, 2, 4]));
    let restoring = life(&[begin(1), ready(&a), ready(&b), prepared(&b), ready(&a)]);
    assert_eq!(restoring.past.readied, vec![b.clone(), a]);
    assert_eq!(restoring.past.prepared, Some(b.id()));
    assert!(!restoring.past.spent);
}

#[test]
fn an_added_member_is_remembered_until_it_is_handed_off() {
    let waiting = life(&[begin(1), added(7)]);
    assert_eq!(waiting.past.added, Some(Added { cluster_id: ClusterId(0xc1), member_id: MemberId(7) }));
    assert!(!waiting.past.spent);
    let gone = life(&[begin(1), added(7), handed_off(&joiner(7), How::Joined)]);
    assert_eq!((&gone.past.added, gone.past.spent), (&None, true));
    assert_eq!(gone.lived, Some(joiner(7)));
}

#[test]
fn a_member_that_joins_after_it_lost_another_has_not_settled_yet() {
    let life = life(&[
        begin(1),
        added(7),
        handed_off(&joiner(7), How::Joined),
        Record::Led {},
        settled(&joiner(7)),
        Record::RemovedPrevious { member: MemberId(7) },
        added(8),
        handed_off(&joiner(8), How::Joined),
    ]);
    assert_eq!((life.led, life.settled), (false, false));
    assert_eq!(life.lived, Some(joiner(8)));
}

#[test]
fn a_new_nonce_forgets_all_but_the_epoch() {
    let t = founding_under(plan::founding::Terms { epoch: 4, ..terms() }, &[1, 2, 3]);
    let me = founder(&t, 1);
    let records = [begin(1), ready(&t), commit(&t), handed_off(&me, How::Founded), archived(false), begin(9)];
    let mut expected = life(&[begin(1), begin(9)]);
    expected.past.epoch = Some(4);
    assert_eq!(life(&records), expected);
}

#[test]
fn a_life_that_was_given_up_for_lost_leaves_its_member_to_the_next() {
    let t = founding([1, 2, 3]);
    let me = founder(&t, 1);
    for records in [
        vec![begin(1), ready(&t), commit(&t), archived(true), begin(9)],
        vec![begin(1), ready(&t), commit(&t), handed_off(&me, How::Founded), Record::Led {}, archived(true), begin(9)],
    ] {
        let life = life(&records);
        assert_eq!((life.lost, life.past.spent, &life.lived), (true, false, &Some(me.clone())));
    }
}

#[test]
fn an_archive_that_was_begun_stands_until_the_new_nonce() {
    let begun = life(&[begin(1), archived(true)]);
    assert_eq!(begun.archiving, Some(Archiving { to: "trash/1".into(), lost: true }));
    assert_eq!(life(&[begin(1), archived(true), begin(2)]).archiving, None);
}

#[test]
fn a_torn_last_line_is_ignored() {
    let full = text(&[begin(1), added(7)]);
    let first = text(&[begin(1)]);
    for cut in first.len()..full.len() {
        let torn = &full[..cut];
        assert_eq!(Life::replay(torn), Life::replay(&first), "cut at {cut}");
        assert_eq!(whole(torn), first);
    }
    assert_eq!(Life::replay("{\"ev"), Ok(Life::default()));
}

#[test]
fn a_field_of_a_later_program_is_ignored_and_an_event_of_one_is_not() {
    let line = format!("{{\"at\":\"2026-11-21T00:00:00Z\",\"event\":\"nonce\",\"nonce\":\"{}\"}}\n", nonce(1));
    assert_eq!(Life::replay(&line), Ok(life(&[begin(1)])));
    let error = Life::replay(&(line + "{\"event\":\"teleported\"}\n")).expect_err("an unknown event");
    assert!(error.starts_with("line 2 of the journal is not a record of this program"), "{error}");
}

fn recovered(t: &Founding, identity: &Identity) -> Record {
    let alone = Some(Box::new(t.clone()));
    Record::Recovered { identity: identity.clone(), founding: t.id(), alone, to: "trash-1".into() }
}

#[test]
fn a_recovery_keeps_the_member_through_the_new_nonce_and_remembers_its_epoch() {
    let t = founding([1, 2, 3]);
    let alone = Identity { member_id: MemberId(0xbeef), epoch: 2, ..founder(&t, 1) };
    let records = [
        begin(1),
        ready(&t),
        commit(&t),
        handed_off(&founder(&t, 1), How::Founded),
        Record::Led {},
        settled(&founder(&t, 1)),
        recovered(&t, &alone),
    ];
    let begun = life(&records);
    assert_eq!(begun.recovering.as_ref().map(|r| (&r.identity, &r.founding)), Some((&alone, &t.id())));
    let done = life(&[&records[..], &[begin(2)]].concat());
    assert_eq!(done.alone.as_ref(), Some(&t), "for the store's claim");
    assert_eq!((done.recovering.as_ref(), done.committed.as_ref(), done.settled), (None, None, false));
    assert_eq!(
        (done.expected(), done.lived.clone(), done.how),
        (Some(alone.clone()), Some(alone.clone()), Some(How::Recovered))
    );
    assert_eq!((done.past.epoch, done.past.spent, done.past.readied.len()), (Some(2), true, 0));
    let settled = life(&[&records[..], &[begin(2), settled(&alone)]].concat());
    assert!(settled.settled);
    // A later life of the disk still knows that the word was carried out, or has been outlived.
    let reset = life(&[&records[..], &[begin(2), archived(false), begin(3)]].concat());
    assert_eq!((reset.past.epoch, reset.lived.as_ref(), reset.past.spent), (Some(2), None, false));
    assert_eq!(life(&[begin(1), Record::Outlived { epoch: 7 }, archived(false), begin(2)]).past.epoch, Some(7));
}

#[test]
fn every_record_reads_back_as_it_was_written() {
    let t = founding([1, 2, 3]);
    let me = founder(&t, 1);
    for record in [
        begin(1),
        ready(&t),
        prepared(&t),
        commit(&t),
        added(7),
        handed_off(&me, How::Restored),
        Record::Led {},
        Record::RemovedPrevious { member: MemberId(7) },
        settled(&me),
        Record::Removed { identity: me.clone(), evidence: "etcd said so\nin two lines".into() },
        archived(true),
        recovered(&t, &me),
        Record::Outlived { epoch: 2 },
    ] {
        let line = record.line().expect("a line");
        assert_eq!(line.find('\n'), Some(line.len() - 1), "one line: {line}");
        assert_eq!(serde_json::from_str::<Record>(&line).ok(), Some(record));
    }
}

#[test]
fn a_sequence_that_cannot_be_is_an_error_that_names_its_line() {
    let (t, other) = (founding([1, 2, 3]), founding([1, 2, 4]));
    let me = founder(&t, 1);
    for (records, line, why) in [
        (vec![added(7)], 1, "comes before the first disk nonce"),
        (vec![begin(1), begin(1)], 2, "a second time"),
        (vec![begin(1), archived(false), begin(2), archived(false), begin(1)], 5, "a second time"),
        (vec![begin(9), ready(&t)], 2, "not of this disk"),
        (vec![begin(1), ready(&t), prepared(&other)], 3, "never readied"),
        (vec![begin(1), commit(&t)], 2, "never readied"),
        (vec![begin(1), ready(&t), commit(&t), commit(&t)], 4, "this disk nonce committed"),
        (vec![begin(1), ready(&t), ready(&other), commit(&t), commit(&other)], 5, "this disk nonce committed"),
        (vec![begin(1), ready(&t), commit(&t), ready(&other)], 4, "spent disk nonce"),
        (vec![begin(1), ready(&t), added(7), handed_off(&joiner(7), How::Joined), commit(&t)], 5, "spent disk nonce"),
        (vec![begin(1), ready(&t), handed_off(&me, How::Founded)], 3, "never committed"),
        (vec![begin(1), ready(&t), commit(&t), handed_off(&founder(&t, 2), How::Founded)], 4, "never committed"),
        (vec![begin(1), added(7), handed_off(&joiner(8), How::Joined)], 3, "never added"),
        (vec![begin(1), handed_off(&me, How::Joined)], 2, "never added"),
        (
            vec![
                begin(1),
                ready(&t),
                commit(&t),
                added(7),
                handed_off(&joiner(7), How::Joined),
                handed_off(&me, How::Founded),
            ],
            6,
            "has left",
        ),
        (vec![begin(1), settled(&me)], 2, "never handed off"),
        (vec![begin(1), Record::Led {}], 2, "nothing was committed or handed off"),
        (vec![begin(1), archived(false), added(7)], 3, "only a new disk nonce"),
        (vec![begin(1), recovered(&t, &me)], 2, "no member lived here"),
        (vec![begin(1), ready(&t), commit(&t), recovered(&t, &me), Record::Led {}], 5, "only a new disk nonce"),
    ] {
        let error = Life::replay(&text(&records)).expect_err(why);
        assert!(error.starts_with(&format!("line {line} of the journal ")) && error.contains(why), "{error}");
    }
    let blank = Life::replay("\n").expect_err("a blank line");
    assert!(blank.starts_with("line 1 of the journal is not a record"), "{blank}");
}

fn on(directory: &str) -> Record {
    let volume = VolumeId { serial: Some("wal-1".into()), wwid: None };
    Record::WalDisk { wal: Some(WalDisk { directory: directory.into(), uuid: Some("u".into()), volume }) }
}

#[test]
fn the_log_s_disk_is_of_one_life_and_chosen_before_anything_is_written_to_it() {
    let t = founding([1, 2, 3]);
    let me = founder(&t, 1);
    let wal = |records: &[Record]| life(records).wal.map(|wal| wal.directory);
    assert_eq!(wal(&[begin(1), on("a"), ready(&t), on("b")]), Some("b".into()));
    assert_eq!(wal(&[begin(1), on("a"), Record::WalDisk { wal: None }]), None);
    assert_eq!(wal(&[begin(1), on("a"), ready(&t), commit(&t), handed_off(&me, How::Founded)]), Some("a".into()));
    assert_eq!(wal(&[begin(1), on("a"), archived(false), begin(2)]), None, "another life, another log");
    let recovered = Record::Recovered { identity: me.clone(), founding: t.id(), alone: None, to: "trash/1".into() };
    let survivor = [begin(1), on("a"), ready(&t), commit(&t), handed_off(&me, How::Founded), recovered, begin(2)];
    assert_eq!(wal(&survivor), Some(t.id().as_str().into()), "on the same disk, under the founding's name");

    for bound in [vec![ready(&t), commit(&t)], vec![added(7), handed_off(&joiner(7), How::Joined)]] {
        let mut life = life(&[&[begin(1), on("a")][..], &bound].concat());
        assert!(life.push(&on("b")).unwrap_err().contains("moves the log"), "{bound:?}");
        assert_eq!(life.wal.map(|wal| wal.directory), Some("a".into()));
    }
}
