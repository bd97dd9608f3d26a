//! Clusters begun by too few, or by hosts that do not mean the same one: E1b, E5, E5b, ALLGONE.

use std::time::{Duration, Instant};

use super::by_hand::ByHand;
use super::{edited, on_its_disk, restoring_from, saved};
use crate::support::scratch::until;
use crate::world::World;

/// E1b, as kube-aws and every static bootstrap has it.
#[test]
fn two_wiped_of_three_found_an_empty_cluster_by_hand_and_wait_for_the_third_here() {
    let mut hand = ByHand::serving(3, &[0, 1, 2]);
    let all = hand.list(&[0, 1, 2]);
    hand.world.put(0, "acknowledged", "write");
    let before = hand.ids(0);
    // The third has seen more terms than the empty cluster will have when it comes back.
    while hand.term(0) < 6 {
        hand.elect_another();
    }
    hand.kill(2);
    for on in [0, 1] {
        hand.wipe(on);
    }
    for on in [0, 1] {
        hand.start(on, &all, "new");
    }
    hand.serves(0);
    assert_eq!(hand.world.get(0, "acknowledged"), "", "an acknowledged write is gone from the quorum");
    assert_eq!(hand.ids(0), before, "and by its IDs nobody can tell");
    hand.world.put(0, "later", "write");
    // The power of all is cut, and the third is the first to campaign: its terms were later ones, so its log wins.
    for on in [0, 1] {
        hand.kill(on);
        hand.start_with(on, &all, "new", &["--election-timeout", "3000"]);
    }
    hand.start(2, &all, "new");
    hand.serves(2);
    let later = until("the old log on the others", || {
        let here = hand.on_disk(0, "");
        here.contains(&"acknowledged".to_owned()).then_some(here)
    });
    assert_eq!(later, ["acknowledged", "later"]);
    assert_eq!(hand.on_disk(2, ""), ["acknowledged"], "members of one cluster differ for ever");
    assert_eq!(hand.ctl(0, &["alarm", "list"]), "", "and nothing is said");
    drop(hand);

    let mut world = World::new(3);
    world.boot_all();
    world.put(0, "acknowledged", "write");
    // How far it has committed etcd writes down with the next entry, and an etcd that goes on alone believes no more.
    world.put(0, "another", "write");
    assert_eq!(world.get(2, "another"), "write");
    world.hosts[2].kill();
    world.hosts[2].link(false);
    for on in [0, 1] {
        world.hosts[on].wipe();
    }
    for on in [0, 1] {
        world.hosts[on].boot();
    }
    for host in &world.hosts[..2] {
        host.wait_for("run", "etcd-3 at https://10.78.0.13:2380: ");
    }
    nobody_founds(&mut world, &[0, 1], Duration::from_secs(2));
    world.hosts[2].link(true);
    world.hosts[2].boot();
    world.hosts[2].hand_off();
    for host in &world.hosts[..2] {
        host.wait_for("run", "etcd-3 at https://10.78.0.13:2380: member of cluster");
    }
    nobody_founds(&mut world, &[0, 1], Duration::from_secs(1));
    world.hosts[2].kill();
    assert_eq!(on_its_disk(&world, 2, "acknowledged"), "write", "whoever recovers the third has it");
}

/// Hosts go on waiting, and take part in no founding.
fn nobody_founds(world: &mut World, who: &[usize], long: Duration) {
    let watched = Instant::now() + long;
    while Instant::now() < watched {
        for on in who {
            let host = &mut world.hosts[*on];
            assert!(host.run_goes_on(), "{}: {}", host.name, host.said_by("run"));
            let founded = host.rows().iter().any(|row| [8, 26, 27, 28].contains(row));
            assert!(!founded, "{} took part in a founding: {:?}", host.name, host.rows());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// E5, as etcd-aws and the discovery service have it: the group is listed while it grows.
#[test]
fn three_views_of_a_growing_group_are_three_clusters_by_hand_and_one_here() {
    let mut hand = ByHand::new(3);
    for (on, view) in [(0, &[0][..]), (1, &[0, 1]), (2, &[0, 1, 2])] {
        let list = hand.list(view);
        hand.start(on, &list, "new");
    }
    hand.serves(0);
    // One host alone acknowledges writes.
    hand.world.put(0, "acknowledged", "by one");
    let ids: Vec<String> = (0..3).map(|on| until("a log", || hand.try_ids(on)).0).collect();
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
    drop(hand);

    let mut world = World::new(3);
    let whole = world.config();
    let one = without_peers(&whole, &["etcd-2", "etcd-3"]);
    world.hosts[0].configure(&one);
    world.hosts[1].configure(&without_peers(&whole, &["etcd-3"]));
    for host in &mut world.hosts {
        host.boot();
    }
    for (on, entries) in [(0, "peers has 1 entry"), (1, "peers has 2 entries")] {
        assert_eq!(world.hosts[on].run_ends(), 65, "{}", world.hosts[on].said_by("run"));
        let said = world.hosts[on].said_by("run");
        assert!(said.contains("cluster.size is 3") && said.contains(entries), "{said}");
    }
    world.hosts[2].wait_for("run", "etcd-1 at https://10.78.0.11:2380: ");
    nobody_founds(&mut world, &[2], Duration::from_secs(1));

    // Somebody makes that view good by asking for a cluster of one: the others see it and join it.
    world.hosts[0].configure(&one.replace("size: 3", "size: 1"));
    world.hosts[1].configure(&whole);
    world.hosts[0].boot();
    world.hosts[0].settle();
    world.put(0, "acknowledged", "by one");
    world.hosts[1].boot();
    world.settle_all();
    assert_eq!(world.members(2), (vec!["etcd-1".into(), "etcd-2".into(), "etcd-3".into()], 0));
    assert_eq!(world.get(2, "acknowledged"), "by one");
}

/// E5b: two lists that share one host, which is not there.
#[test]
fn two_lists_that_overlap_are_two_clusters_by_hand_and_wait_for_the_host_in_both_here() {
    let mut hand = ByHand::new(5);
    for view in [[0, 1, 2], [2, 3, 4]] {
        let list = hand.list(&view);
        for on in view.into_iter().filter(|on| *on != 2) {
            hand.start(on, &list, "new");
        }
    }
    for on in [0, 3] {
        hand.serves(on);
        hand.world.put(on, "written", &format!("on {on}"));
    }
    assert_eq!((hand.world.get(1, "written"), hand.world.get(4, "written")), ("on 0".into(), "on 3".into()));
    assert_ne!(hand.ids(0).0, hand.ids(3).0, "two clusters serve");
    drop(hand);

    let mut world = World::new(5);
    let five = world.config().replace("size: 5", "size: 3");
    for (view, others) in [([0, 1, 2], ["etcd-4", "etcd-5"]), ([2, 3, 4], ["etcd-1", "etcd-2"])] {
        for on in view.into_iter().filter(|on| *on != 2) {
            world.hosts[on].configure(&without_peers(&five, &others));
            world.hosts[on].boot();
        }
    }
    for on in [0, 1, 3, 4] {
        world.hosts[on].wait_for("run", "etcd-3 at https://10.78.0.13:2380: ");
    }
    nobody_founds(&mut world, &[0, 1, 3, 4], Duration::from_secs(1));
    world.hosts[2].configure(&without_peers(&five, &["etcd-4", "etcd-5"]));
    world.hosts[2].boot();
    world.settle(&[0, 1, 2]);
    for on in [3, 4] {
        world.hosts[on].wait_for("run", "this host is a spare");
    }
    nobody_founds(&mut world, &[3, 4], Duration::from_secs(1));
    assert_eq!(world.members(0), (vec!["etcd-1".into(), "etcd-2".into(), "etcd-3".into()], 0));
}

/// ALLGONE, as etcd-cloud-operator has it without reachable snapshots: every instance is replaced at once.
///
/// Without a store nothing outlives all disks but the user-data, so its `found_until` is what tells a first boot from
/// this. What is missing until stores have come: within `found_until` the claim alone can know that the cluster was
/// founded (row 22), and only the store knows its newest snapshot without a person who pins one.
#[test]
fn a_group_that_is_replaced_at_once_is_an_empty_cluster_by_hand_and_waits_for_a_person_here() {
    let mut hand = ByHand::serving(3, &[0, 1, 2]);
    let all = hand.list(&[0, 1, 2]);
    hand.world.put(0, "acknowledged", "write");
    hand.snapshot(0, "kept.db");
    for on in 0..3 {
        hand.wipe(on);
    }
    for on in 0..3 {
        hand.start(on, &all, "new");
    }
    hand.serves(0);
    assert_eq!(hand.world.get(0, "acknowledged"), "", "the data is gone, a snapshot lies beside it");
    // And the empty cluster serves.
    hand.world.put(0, "acknowledged", "anew");
    drop(hand);

    let mut world = World::new(3);
    world.boot_all();
    world.put(0, "acknowledged", "write");
    let snapshot = saved(&world, 0, "kept.db");
    let years_later = edited(&world.config(), "found_until:", "  found_until: 2026-01-02T00:00:00Z");
    for host in &mut world.hosts {
        host.wipe();
        host.configure(&years_later);
    }
    for host in &mut world.hosts {
        host.boot();
    }
    // The first that has heard all others refuses; those that find it gone wait for it.
    let refused = until("a host that refuses", || (0..3).find(|on| !world.hosts[*on].run_goes_on()));
    assert_eq!(world.hosts[refused].run_ends(), 78);
    let said: String = world.hosts.iter().map(|h| h.said_by("run")).collect();
    assert!(said.contains("the spec allows a founding until 2026-01-02T00:00:00Z, and that has passed"), "{said}");
    for host in &world.hosts {
        assert!(!host.rows().iter().any(|row| [26, 27, 28].contains(row)), "{}: {:?}", host.name, host.rows());
        assert!(!host.root.join("run/etcd-bootstrapper/ready").exists());
    }

    let restoring = restoring_from(&world.config(), &snapshot, 2);
    for host in &mut world.hosts {
        host.kill();
        host.configure(&restoring);
    }
    for host in &mut world.hosts {
        host.boot();
    }
    world.settle_all();
    assert_eq!(world.get(2, "acknowledged"), "write");
}

fn without_peers(config: &str, names: &[&str]) -> String {
    let of_them = |line: &&str| !names.iter().any(|name| line.contains(&format!("{{name: \"{name}\"")));
    let rest: Vec<&str> = config.lines().filter(of_them).collect();
    assert_eq!(rest.len() + names.len(), config.lines().count(), "each of {names:?} has a line in {config}");
    rest.join("\n")
}
