//! The member of a cluster of one that is told to go on alone, or that is reset, and dies at one point of it.

use super::{in_trash, journal, say_to_all};
use crate::wal_disk::APART;
use crate::world::{Fault, World};

/// With this in its configuration beside what `config new` writes.
fn stopped(more: &str) -> World {
    let mut world = World::new(1);
    say_to_all(&world, more);
    world.boot_all();
    world.put(0, "acknowledged", "before the crash");
    world.hosts[0].kill();
    world
}

/// The points that `happens` passes, when nothing dies; then every one of them is where it dies, in a world each.
fn at_every_point(name: &str, more: &str, happens: &(dyn Fn(&mut World, String) + Sync)) {
    let mut world = stopped(more);
    let file = world.dir.join("points");
    happens(&mut world, format!("note:{}", file.display()));
    let points =
        std::fs::read_to_string(&file).expect("points: the program is built with fault-injection").lines().count();
    let next = std::sync::atomic::AtomicUsize::new(1);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if number > points {
                        return;
                    }
                    happens(&mut stopped(more), format!("lose:{number}"));
                }
            });
        }
    });
    println!("note: crash matrix: {name}: dead at {points} points, 0 divergences");
}

#[test]
fn a_survivor_may_die_anywhere() {
    survivor_dies("recover", "");
}

#[test]
fn a_survivor_whose_log_has_a_disk_of_its_own_may_die_anywhere() {
    survivor_dies("recover, two disks", APART);
}

fn survivor_dies(name: &str, more: &str) {
    at_every_point(name, more, &|world, what| {
        say_to_all(world, &format!("{more}recover: {{survivor: etcd-1, epoch: 2}}"));
        let host = &mut world.hosts[0];
        host.fault = Some(Fault { of: "run", what: what.clone() });
        host.boot();
        host.settle();
        assert_eq!(in_trash(host).len(), 1, "{what}: {}", host.said());
        assert_eq!(journal(host).matches("\"recovered\"").count(), 1, "{what}");
        assert_eq!(world.members(0), (vec!["etcd-1".into()], 0), "{what}");
        assert_eq!(world.get(0, "acknowledged"), "before the crash", "{what}");
    });
}

#[test]
fn a_reset_may_die_anywhere() {
    reset_dies("reset", "");
}

#[test]
fn a_reset_of_two_disks_may_die_anywhere() {
    reset_dies("reset, two disks", APART);
}

fn reset_dies(name: &str, more: &str) {
    at_every_point(name, more, &|world, what| {
        let host = &mut world.hosts[0];
        let mut died = host.program(&["reset", "--yes"]);
        let _dies = died.env("ETCD_BOOTSTRAPPER_FAULT", &what).output().expect("reset runs");
        let again = super::reset(host, &["--yes"]);
        assert!(again.status.success(), "{what}: {}", super::stderr(&again));
        assert_eq!(in_trash(host).len(), 1, "{what}");
        host.boot();
        host.settle();
        assert!(host.rows().ends_with(&[26, 28, 7]), "{what}: it is blank: {:?}", host.rows());
    });
}
