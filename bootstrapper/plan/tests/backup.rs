//! When a backup is due, and which ones are not needed any more.

use plan::backup::{BackupEntry, Keep, Taken, is_due, superfluous};
use plan::facts::Seconds;

/// A day of which hour, day and week begin with it: a Thursday, as 1970 began with one.
const MONDAY: u64 = 2_000 * 7 * 86400;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

fn every(text: &str) -> BackupEntry {
    BackupEntry { every: text.parse().expect("a duration"), keep: Keep::default(), age_recipient: None }
}

fn taken(at: u64) -> Taken {
    Taken { generation: 1, revision: at, at: Seconds(at), member: "etcd-1".into() }
}

fn kept(all: &[Taken], keep: Keep, now: u64) -> Vec<u64> {
    let gone = superfluous(all, &keep, Seconds(now));
    all.iter().filter(|t| !gone.contains(t)).map(|t| t.at.0).collect()
}

#[test]
fn a_backup_is_due_after_its_time_and_for_a_leader_a_little_later() {
    for (what, interval, last, now, defers, due) in [
        ("there is none", "15m", None, 0, true, true),
        ("just taken", "15m", Some(1000), 1000, false, false),
        ("too early", "15m", Some(1000), 1000 + 15 * 60 - 31, false, false),
        ("a timer fires within half a minute", "15m", Some(1000), 1000 + 15 * 60 - 30, false, true),
        ("a leader leaves it to a follower", "15m", Some(1000), 1000 + 15 * 60, true, false),
        ("and takes it if none did", "15m", Some(1000), 1000 + 18 * 60, true, true),
        ("of a short interval only so long", "1m", Some(1000), 1000 + 90, true, true),
        ("the clock went back", "15m", Some(5000), 1000, false, true),
    ] {
        assert_eq!(is_due(&every(interval), last.map(Seconds), Seconds(now), defers), due, "{what}");
    }
}

#[test]
fn the_newest_of_each_hour_day_and_week_is_kept() {
    let now = MONDAY + 30 * DAY;
    let quarters = |days: u64| (0..days * 96).map(|i| taken(now - i * 900)).rev().collect::<Vec<_>>();
    let all = quarters(30);
    let left = kept(&all, Keep { hourly: 3, daily: 2, weekly: 2 }, now);
    let hours = [now, now - 900, now - HOUR - 900];
    // All of the last hour; then the newest of each hour, day and week that still has one.
    assert!(hours.iter().all(|at| left.contains(at)), "{left:?}");
    assert!(left.contains(&(now - 900 * 3)) && !left.contains(&(now - 900 * 7)), "{left:?}");
    assert!(left.iter().all(|at| *at > now - 3 * HOUR || at % DAY == DAY - 900), "{left:?}");
    assert!(left.len() <= 4 + 3 + 2 + 2, "{left:?}");
    let again: Vec<Taken> = left.iter().map(|at| taken(*at)).collect();
    assert_eq!(kept(&again, Keep { hourly: 3, daily: 2, weekly: 2 }, now), left, "what was kept is kept again");
}

#[test]
fn the_newest_one_is_never_superfluous_and_neither_is_what_the_future_brought() {
    let nothing = Keep { hourly: 0, daily: 0, weekly: 0 };
    let now = MONDAY;
    assert_eq!(kept(&[taken(now - 90 * DAY)], nothing, now), [now - 90 * DAY], "it is all there is");
    assert_eq!(kept(&[taken(now - 90 * DAY), taken(now - 80 * DAY)], nothing, now), [now - 80 * DAY]);
    let ahead = [taken(now - 90 * DAY), taken(now + DAY), taken(now + 2 * DAY)];
    assert_eq!(kept(&ahead, nothing, now), [now + DAY, now + 2 * DAY]);
    // Newest is what restores the most, whatever the clocks said.
    let older = Taken { generation: 2, ..taken(now - 80 * DAY) };
    assert_eq!(kept(&[older, taken(now - 70 * DAY)], nothing, now), [now - 80 * DAY]);
}

#[test]
fn the_name_of_a_snapshot_says_what_it_is_and_sorts_as_it_does() {
    let all =
        [taken(9), Taken { member: "a-b-c".into(), ..taken(10) }, Taken { generation: 2, revision: 1, ..taken(11) }];
    let names: Vec<String> = all.iter().map(Taken::name).collect();
    assert_eq!(names[1], "000001-00000000000000000010-10-a-b-c");
    assert!(names.is_sorted());
    for (name, taken) in names.iter().zip(&all) {
        assert_eq!(Taken::parse(name).as_ref(), Some(taken));
    }
    for name in ["", "backup", "1-2", "1-2-3", "a-1-2-etcd-1", "1--2-etcd", "+1-2-3-etcd-1"] {
        assert_eq!(Taken::parse(name), None, "{name}");
    }
}
