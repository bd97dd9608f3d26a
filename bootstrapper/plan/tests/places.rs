//! A disk and a copy of it: told apart by where it was recorded and where it is found.

use plan::facts::{DataDir, Database, Disk, Wal};
use plan::place::{Kept, Place};
use plan::progress::{How, Life, Record};
use proptest::prelude::*;

use crate::journal::{added, archived, begin, commit, handed_off, joiner, life, ready, settled};
use crate::support::{founder, founding, place};

/// A place in short: instance, serial number, World Wide ID; `-` for what is not known.
fn at(text: &str) -> Place {
    let word = |n: usize| text.split(' ').nth(n).filter(|w| *w != "-");
    place(word(0), word(1), word(2))
}

#[test]
fn a_copy_is_what_differs_in_instance_and_volume_where_both_are_known_on_both_sides() {
    for (then, now, copied) in [
        ("i-1 A w1", "i-1 A w1", false),
        ("i-1 A w1", "i-2 B w2", true),
        ("i-1 A -", "i-2 B -", true),
        ("i-1 - w1", "i-2 - w2", true),
        // A member whose system was replaced, and one whose disk was moved.
        ("i-1 A w1", "i-2 A w1", false),
        ("i-1 A w1", "i-1 B w2", false),
        // Another driver shows the same disk by another name, or with fewer.
        ("i-1 A w1", "i-2 A w2", false),
        ("i-1 A w1", "i-2 B w1", false),
        ("i-1 A w1", "i-2 A -", false),
        ("i-1 A w1", "i-2 B -", true),
        // Nothing is concluded from what is not known, on either side.
        ("i-1 A -", "i-2 - w2", false),
        ("i-1 A w1", "- B w2", false),
        ("- A w1", "i-2 B w2", false),
        ("i-1 A w1", "i-2 - -", false),
        ("i-1 - -", "i-2 B w2", false),
        ("- - -", "i-2 B w2", false),
        ("i-1 A w1", "- - -", false),
    ] {
        assert_eq!(at(then).is_copied_to(&at(now)), copied, "recorded on {then}, found on {now}");
    }
}

#[test]
fn what_is_known_is_recorded_and_what_is_not_stays_only_where_nothing_can_have_moved() {
    for (then, now, recorded) in [
        ("- - -", "i-1 A w1", "i-1 A w1"),
        ("i-1 A w1", "i-1 A w1", "i-1 A w1"),
        ("i-1 A w1", "i-2 A w1", "i-2 A w1"),
        ("i-1 A w1", "i-1 B w2", "i-1 B w2"),
        ("i-1 A w1", "i-2 A -", "i-2 A w1"),
        ("i-1 A -", "i-1 A w1", "i-1 A w1"),
        ("i-1 A -", "i-1 - w1", "i-1 - w1"),
        // The other half is the same, so the unknown one cannot have changed unseen.
        ("i-1 A w1", "- A w1", "i-1 A w1"),
        ("i-1 A w1", "i-1 - -", "i-1 A w1"),
        ("i-1 A w1", "- - -", "i-1 A w1"),
        // It may have.
        ("i-1 A w1", "i-2 - -", "i-2 - -"),
        ("i-1 A w1", "- B w2", "- B w2"),
    ] {
        assert_eq!(at(then).going_on_at(&at(now)), at(recorded), "recorded on {then}, going on at {now}");
    }
}

fn any_place() -> impl Strategy<Value = Place> {
    let word = |words: &'static [&'static str]| proptest::option::weighted(0.7, proptest::sample::select(words));
    (word(&["i-1", "i-2", "i-3"]), word(&["A", "B"]), word(&["w1", "w2"]))
        .prop_map(|(instance, serial, wwid)| place(instance, serial, wwid))
}

proptest! {
    #![proptest_config(crate::support::config())]

    #[test]
    fn a_member_is_never_a_copy_of_itself_and_a_reboot_records_nothing_new(then in any_place(), now in any_place()) {
        prop_assume!(!then.is_copied_to(&now));
        let recorded = then.going_on_at(&now);
        prop_assert_eq!(&recorded.going_on_at(&now), &recorded);
        prop_assert!(!recorded.is_copied_to(&now));
        // Recorded once, a later change of one half is that of a member again.
        let elsewhere = [
            Place { instance_id: Some("i-9".into()), ..now.clone() },
            Place { instance_id: now.instance_id.clone(), ..at("- Z w9") },
        ];
        for next in elsewhere {
            prop_assert!(!recorded.is_copied_to(&next), "{recorded:?} found on {next:?}");
        }
    }
}

fn with_log(last_index: u64, database: Database) -> Disk {
    let (member_id, cluster_id) = (joiner(7).member_id, joiner(7).cluster_id);
    let wal = Wal::Valid { member_id, cluster_id, last_index, commit: last_index, torn: false };
    Disk { member: true, wal, snap_index: None, database, locked: false }
}

fn no_log(database: Database) -> Disk {
    Disk { member: true, wal: Wal::Absent, snap_index: None, database, locked: false }
}

#[test]
fn whatever_a_member_left_on_a_copied_disk_is_refused_but_not_what_starts_anew() {
    let us = joiner(7);
    let t = founding([1, 2, 3]);
    let joined = vec![begin(1), added(7), handed_off(&us, How::Joined)];
    let and = |more: &[Record]| [joined.as_slice(), more].concat();
    let founded = vec![begin(1), ready(&t), commit(&t), handed_off(&founder(&t, 1), How::Founded)];
    let removed = Record::Removed { identity: us.clone(), evidence: "etcd said so".into() };
    let locked = Disk { locked: true, ..with_log(90, Database::Sound) };
    for (records, disk, copied) in [
        (and(&[]), with_log(90, Database::Sound), true),
        (and(&[settled(&us)]), with_log(90, Database::Sound), true),
        (and(&[]), with_log(90, Database::Broken { what: "page 3".into() }), true),
        (and(&[]), no_log(Database::Sound), true),
        (and(&[]), no_log(Database::Absent), true),
        (founded, no_log(Database::Tiny), true),
        (and(&[]), locked, false),
        (and(&[removed]), with_log(90, Database::Sound), false),
        (and(&[archived(false)]), with_log(90, Database::Sound), false),
    ] {
        let life: Life = life(&records);
        let kept = Kept { identity: us.clone(), place: at("i-1 A w1") };
        let class = |now: &str| plan::classify::classify(&disk, &life, Some(&kept), &at(now));
        let refused = matches!(class("i-2 B w2"), DataDir::Foreign { copied: true, .. });
        assert_eq!(refused, copied, "{records:?} with {disk:?} is {:?}", class("i-2 B w2"));
        for same in ["i-1 A w1", "i-2 A w1", "i-1 B w2", "- - -"] {
            let foreign = matches!(class(same), DataDir::Foreign { copied: true, .. });
            assert!(!foreign, "{records:?} with {disk:?} on {same}");
        }
    }
}

#[test]
fn an_identity_of_an_older_version_says_nothing_of_its_place() {
    let old = serde_json::to_string(&joiner(7)).expect("an identity is JSON");
    let kept: Kept = serde_json::from_str(&old).expect("it is read");
    assert_eq!(kept, Kept { identity: joiner(7), place: Place::default() });
    let new = serde_json::to_string(&Kept { place: at("i-1 A -"), ..kept }).expect("it is JSON");
    assert!(new.contains(r#""place":{"instance_id":"i-1","volume":{"serial":"A","wwid":null}}"#), "{new}");
    assert_eq!(serde_json::from_str::<plan::facts::Identity>(&new).expect("an older version reads it"), joiner(7));
}
