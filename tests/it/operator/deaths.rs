//! The member of a cluster of one that is told to go on alone, or that is reset, and dies at one point of it.

use super::{in_trash, journal, say_to_all, settled};
use crate::world::{Fault, World};

fn stopped() -> World {
    let mut world = settled(1);
    world.put(0, "acknowledged", "before the crash");
    world.hosts[0].kill();
    world
}

/// The points that `happens` passes, when nothing dies; then every one of them is where it dies, in a world each.
fn at_every_point(name: &str, happens: &(dyn Fn(&mut World, String) + Sync)) {
    let mut world = stopped();
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
                    happens(&mut stopped(), format!("lose:{number}"));
                }
            });
        }
    });
    println!("note: crash matrix: {name}: dead at {points} points, 0 divergences");
}

#[test]
fn a_survivor_may_die_anywhere() {
    at_every_point("recover", &|world, what| {
        say_to_all(world, "recover: {survivor: etcd-1, epoch: 2}");
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
    at_every_point("reset", &|world, what| {
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
