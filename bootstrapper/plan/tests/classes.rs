//! The classes of a data dir: disk and journal held against each other.

use plan::facts::{DataDir, Database, Disk, Identity, Wal};
use plan::founding::{Founding, Terms};
use plan::member::{ClusterId, MemberId};
use plan::place::{Kept, Place};
use plan::progress::{How, Life, Record};
use proptest::prelude::*;

use crate::journal::{added, archived, begin, commit, handed_off, joiner, life, prepared, ready, settled};
use crate::support::{founder, founding, founding_under, terms};

/// As the program does it, on a host that knows nothing of its instance and its volume.
fn classify(disk: &Disk, life: &Life, identity: Option<&Identity>) -> DataDir {
    let kept = identity.map(|identity| Kept { identity: identity.clone(), place: Place::default() });
    plan::classify::classify(disk, life, kept.as_ref(), &Place::default())
}

/// A data dir with nothing in it.
fn bare() -> Disk {
    Disk { member: false, wal: Wal::Absent, snap_index: None, database: Database::Absent, locked: false }
}

/// A data dir with a log of this member up to an index, and a database.
fn with_log(identity: &Identity, last_index: u64) -> Disk {
    let (member_id, cluster_id) = (identity.member_id, identity.cluster_id);
    Disk {
        member: true,
        wal: Wal::Valid { member_id, cluster_id, last_index, commit: last_index, torn: false },
        snap_index: None,
        database: Database::Tiny,
        locked: false,
    }
}

/// The same as the power cut leaves it that came while etcd first wrote to it.
fn uncommitted(mut disk: Disk) -> Disk {
    if let Wal::Valid { commit, .. } = &mut disk.wal {
        *commit = 0;
    }
    disk
}

fn leftovers(database: Database) -> Disk {
    Disk { member: true, database, ..bare() }
}

fn broken(what: &str) -> Database {
    Database::Broken { what: what.into() }
}

fn word(class: &DataDir) -> String {
    match class {
        DataDir::Member(identity) => format!("member {}", identity.member_id),
        DataDir::Founding { wal, .. } => format!("founding, wal {wal}"),
        DataDir::Removed { .. } => "removed".into(),
        DataDir::Empty => "empty".into(),
        DataDir::Aborted => "aborted".into(),
        DataDir::Lost { identity } => {
            format!("lost {}", identity.as_ref().map_or("nobody".into(), |i| i.member_id.to_string()))
        }
        DataDir::Missing { .. } => "missing".into(),
        DataDir::Orphan => "orphan".into(),
        DataDir::Damaged { what } => format!("damaged: {what}"),
        DataDir::Foreign { found, expected, .. } => format!("foreign: {found}; {expected}"),
        DataDir::Newer { .. } => "newer".into(),
        DataDir::Locked => "locked".into(),
    }
}

/// A disk that committed the founding of disks 1, 2, 3.
fn committed() -> Vec<Record> {
    let t = founding([1, 2, 3]);
    vec![begin(1), ready(&t), commit(&t)]
}

fn and(mut records: Vec<Record>, more: &[Record]) -> Vec<Record> {
    records.extend_from_slice(more);
    records
}

#[test]
fn a_disk_without_a_past_is_what_lies_on_it() {
    for (disk, expected) in [
        (bare(), "empty"),
        (Disk { locked: true, ..bare() }, "locked"),
        (leftovers(Database::Absent), "aborted"),
        (leftovers(Database::Tiny), "aborted"),
        (leftovers(Database::Sound), "orphan"),
        (leftovers(broken("page 3")), "damaged: the database, without a write-ahead log: page 3"),
        (
            Disk { snap_index: Some(12), ..leftovers(Database::Absent) },
            "damaged: a raft snapshot of index 12 without a write-ahead log",
        ),
        (Disk { wal: Wal::Broken { what: "record 5".into() }, ..bare() }, "damaged: record 5"),
        (
            with_log(&joiner(7), 90),
            "foreign: the log of member 7 of cluster c1; nothing, since this life of the disk has committed and joined nothing",
        ),
    ] {
        assert_eq!(word(&classify(&disk, &life(&[begin(1)]), None)), expected);
    }
    assert_eq!(
        word(&classify(&with_log(&joiner(7), 90), &Life::default(), None)),
        "foreign: the log of member 7 of cluster c1; nothing: it is of a member nobody recorded"
    );
}

#[test]
fn a_committed_founding_is_one_until_its_log_goes_past_the_bootstrap_entries() {
    let t = founding([1, 2, 3]);
    let me = founder(&t, 1);
    let member = format!("member {}", me.member_id);
    let run = and(committed(), &[handed_off(&me, How::Founded)]);
    for (records, disk, expected) in [
        (committed(), bare(), "founding, wal false"),
        (committed(), leftovers(Database::Tiny), "founding, wal false"),
        (run.clone(), leftovers(Database::Tiny), "founding, wal false"),
        (committed(), with_log(&me, 3), "founding, wal true"),
        (run.clone(), with_log(&me, 0), "founding, wal false"),
        (run.clone(), Disk { database: Database::Absent, ..with_log(&me, 0) }, "founding, wal false"),
        (run.clone(), uncommitted(with_log(&me, 3)), "founding, wal false"),
        (run.clone(), Disk { database: Database::Sound, ..with_log(&me, 0) }, "founding, wal true"),
        (run.clone(), with_log(&me, 3), "founding, wal true"),
        (run.clone(), Disk { database: Database::Absent, ..with_log(&me, 3) }, "founding, wal true"),
        (run.clone(), with_log(&me, 4), &member),
        (run.clone(), Disk { snap_index: Some(4), ..with_log(&me, 3) }, &member),
        (and(run.clone(), &[Record::Led {}]), with_log(&me, 3), &member),
        (and(run.clone(), &[settled(&me)]), with_log(&me, 3), &member),
        (committed(), leftovers(Database::Sound), "orphan"),
        (
            run.clone(),
            Disk { database: Database::Absent, ..with_log(&me, 4) },
            "damaged: a write-ahead log without its database",
        ),
        (run, Disk { database: broken("meta pages"), ..with_log(&me, 3) }, "damaged: the database: meta pages"),
    ] {
        assert_eq!(word(&classify(&disk, &life(&records), None)), expected, "{records:?} with {disk:?}");
    }
}

/// Whatever else lies there: its disk may have been another one's when the last write was acknowledged.
#[test]
fn a_log_that_is_not_on_its_own_disk_is_never_begun_again() {
    let t = founding([1, 2, 3]);
    let me = founder(&t, 1);
    let missing = || Wal::Missing { what: "the log is not there".into() };
    let run = and(committed(), &[handed_off(&me, How::Founded)]);
    let joined = [begin(1), added(7), handed_off(&joiner(7), How::Joined)];
    for (records, expected) in [
        (vec![begin(1)], ["empty", "aborted", "orphan"]),
        (vec![begin(1), ready(&t)], ["empty", "aborted", "orphan"]),
        (vec![begin(1), added(7)], ["empty", "aborted", "orphan"]),
        (committed(), ["damaged: the log is not there"; 3]),
        (run.clone(), ["damaged: the log is not there"; 3]),
        (and(run.clone(), &[settled(&me)]), ["damaged: the log is not there"; 3]),
        (joined.to_vec(), ["damaged: the log is not there"; 3]),
        // The archive that was begun took it away, or the disk was not there for it.
        (and(run, &[archived(true)]), ["lost", "lost", "orphan"]),
    ] {
        for (disk, expected) in
            [bare(), leftovers(Database::Tiny), leftovers(Database::Sound)].into_iter().zip(expected)
        {
            let found = word(&classify(&Disk { wal: missing(), ..disk }, &life(&records), None));
            assert!(found.starts_with(expected), "{records:?}: {found}, not {expected}");
        }
    }
}

#[test]
fn a_restoring_founding_has_its_data_from_the_hand_off_on() {
    let snapshot = "a".repeat(64).parse().ok();
    let t = founding_under(Terms { snapshot, ..terms() }, &[1, 2, 3]);
    let me = founder(&t, 1);
    let lost = format!("lost {}", me.member_id);
    let committed = vec![begin(1), ready(&t), prepared(&t), commit(&t)];
    let run = and(committed.clone(), &[handed_off(&me, How::Restored)]);
    let restored = Disk { snap_index: Some(3), database: Database::Sound, ..with_log(&me, 3) };
    for (records, disk, expected) in [
        (committed.clone(), bare(), "founding, wal false"),
        (committed, restored.clone(), "founding, wal true"),
        (run.clone(), restored.clone(), "founding, wal true"),
        (run.clone(), bare(), &lost),
        (run, Disk { database: Database::Absent, ..restored }, "damaged: a write-ahead log without its database"),
    ] {
        assert_eq!(word(&classify(&disk, &life(&records), None)), expected, "{records:?} with {disk:?}");
    }
}

#[test]
fn a_joiner_is_a_member_with_any_log_and_lost_without_one() {
    let run = vec![begin(1), added(7), handed_off(&joiner(7), How::Joined)];
    for (records, disk, expected) in [
        (vec![begin(1), added(7)], bare(), "empty"),
        (vec![begin(1), added(7)], leftovers(Database::Tiny), "aborted"),
        (run.clone(), with_log(&joiner(7), 0), "member 7"),
        (run.clone(), bare(), "lost 7"),
        (run.clone(), leftovers(Database::Tiny), "lost 7"),
        (run.clone(), leftovers(Database::Sound), "orphan"),
        (run.clone(), Disk { wal: Wal::Broken { what: "crc".into() }, ..with_log(&joiner(7), 9) }, "damaged: crc"),
        (
            run.clone(),
            with_log(&joiner(8), 9),
            "foreign: the log of member 8 of cluster c1; that of member 7 (etcd-1) of cluster c1 (prod)",
        ),
        (and(run, &[added(8), handed_off(&joiner(8), How::Joined)]), with_log(&joiner(8), 9), "member 8"),
    ] {
        assert_eq!(word(&classify(&disk, &life(&records), None)), expected, "{records:?} with {disk:?}");
    }
}

#[test]
fn data_that_is_gone_is_lost_when_a_member_lived_on_it() {
    let me = founder(&founding([1, 2, 3]), 1);
    let lost = format!("lost {}", me.member_id);
    for (records, expected) in [
        (and(committed(), &[handed_off(&me, How::Founded), Record::Led {}]), lost.as_str()),
        (and(committed(), &[handed_off(&me, How::Founded), settled(&me)]), &lost),
        (and(committed(), &[archived(true), begin(9)]), &lost),
        (vec![begin(1), archived(true), begin(9)], "lost nobody"),
        (and(committed(), &[archived(false), begin(9)]), "empty"),
        // The rename is done and the new nonce is not durable: starting as `new` would be a second life of the old one.
        (and(committed(), &[archived(false)]), &lost),
    ] {
        assert_eq!(word(&classify(&bare(), &life(&records), None)), expected, "{records:?}");
    }
}

#[test]
fn a_removed_member_is_that_whatever_lies_there() {
    let removed = Record::Removed { identity: joiner(7), evidence: "etcd said so".into() };
    let records = [begin(1), added(7), handed_off(&joiner(7), How::Joined), removed];
    for disk in [bare(), with_log(&joiner(7), 9), leftovers(Database::Sound)] {
        let expected = DataDir::Removed { identity: joiner(7), evidence: "etcd said so".into() };
        assert_eq!(classify(&disk, &life(&records), None), expected);
    }
}

#[test]
fn identity_json_speaks_only_where_the_journal_is_silent() {
    for (records, disk, expected) in [
        (vec![], with_log(&joiner(7), 9), "member 7"),
        (vec![], bare(), "lost 7"),
        (vec![], leftovers(Database::Tiny), "lost 7"),
        (vec![begin(1)], bare(), "empty"),
        (
            vec![begin(1)],
            with_log(&joiner(7), 9),
            "foreign: the log of member 7 of cluster c1; nothing, since this life of the disk has committed and joined nothing",
        ),
        (vec![begin(1), added(8), handed_off(&joiner(8), How::Joined)], with_log(&joiner(8), 9), "member 8"),
    ] {
        assert_eq!(word(&classify(&disk, &life(&records), Some(&joiner(7)))), expected, "{records:?} with {disk:?}");
    }
}

/// Any journal that a sequence of these records makes, leaving out those that cannot follow.
fn any_life() -> impl Strategy<Value = Life> {
    let foundings: Vec<Founding> = vec![founding([1, 2, 3]), founding([1, 2, 4]), founding([2, 1, 3])];
    let mut records = vec![Record::Led {}, archived(true), archived(false), added(7), added(8)];
    records.extend([1, 2, 9].map(begin));
    records.extend([7, 8].map(|id| handed_off(&joiner(id), How::Joined)));
    records.extend([7, 8].map(|id| settled(&joiner(id))));
    records.push(Record::Removed { identity: joiner(7), evidence: "etcd".into() });
    for t in &foundings {
        records.extend([ready(t), prepared(t), commit(t), settled(&founder(t, 1))]);
        records.extend([How::Founded, How::Restored].map(|how| handed_off(&founder(t, 1), how)));
    }
    proptest::collection::vec(proptest::sample::select(records), 0..24).prop_map(|records| {
        let mut life = Life::default();
        for record in records {
            let before = life.clone();
            if life.push(&record).is_err() {
                assert_eq!(life, before, "a record that is refused changes nothing: {record:?}");
            }
        }
        life
    })
}

fn any_disk() -> impl Strategy<Value = Disk> {
    let ids = proptest::sample::select(vec![
        (MemberId(7), ClusterId(0xc1)),
        (MemberId(8), ClusterId(0xc1)),
        (founder(&founding([1, 2, 3]), 1).member_id, founding([1, 2, 3]).cluster_id()),
    ]);
    let wal = prop_oneof![
        Just(Wal::Absent),
        (ids, 0..6u64, any::<bool>(), any::<bool>()).prop_map(|((member_id, cluster_id), last_index, begun, torn)| {
            Wal::Valid { member_id, cluster_id, last_index, commit: if begun { last_index } else { 0 }, torn }
        }),
        Just(Wal::Broken { what: "crc".into() }),
    ];
    let database =
        prop_oneof![Just(Database::Absent), Just(Database::Tiny), Just(Database::Sound), Just(broken("cut short"))];
    let snap = proptest::option::of(0..6u64);
    (wal, database, snap, proptest::bool::weighted(0.05)).prop_map(|(wal, database, snap_index, locked)| Disk {
        member: true,
        wal,
        snap_index,
        database,
        locked,
    })
}

proptest! {
    #![proptest_config(crate::support::config())]

    #[test]
    fn any_disk_with_any_life_has_a_class_and_only_a_sound_one_starts(
        disk in any_disk(), life in any_life(), identity in proptest::option::of(Just(joiner(7)))
    ) {
        let class = classify(&disk, &life, identity.as_ref());
        prop_assert_eq!(&class, &classify(&disk, &life, identity.as_ref()));
        match class {
            DataDir::Member(who) => {
                let ours = matches!(&disk.wal, Wal::Valid { member_id, cluster_id, .. }
                    if (*member_id, *cluster_id) == (who.member_id, who.cluster_id));
                prop_assert!(ours, "the log is not this member's");
            }
            DataDir::Founding { founding, wal } => {
                prop_assert_eq!(Some(&founding), life.committed.as_ref());
                prop_assert!(!life.led && !life.settled && (wal || life.archiving.is_none()));
                let begun = matches!(&disk.wal, Wal::Valid { commit: 1.., .. });
                prop_assert!(disk.wal != Wal::Absent || !wal);
                prop_assert!(wal || !begun, "a log that etcd has written to counts");
            }
            // Only these may be written over, so nothing of worth may lie there.
            DataDir::Empty | DataDir::Aborted | DataDir::Lost { .. } => {
                prop_assert_eq!(&disk.wal, &Wal::Absent);
                prop_assert!(matches!(disk.database, Database::Absent | Database::Tiny));
            }
            DataDir::Removed { .. } | DataDir::Orphan | DataDir::Damaged { .. } | DataDir::Foreign { .. } => {}
            DataDir::Locked => prop_assert!(disk.locked),
            DataDir::Missing { .. } | DataDir::Newer { .. } => prop_assert!(false, "not told from the data dir"),
        }
    }
}
