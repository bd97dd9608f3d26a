//! Snapshots restored by some, or from different bytes, or into the old cluster's name: E6, E7, GHOST.

use super::by_hand::ByHand;
use super::{cut, restoring_from, saved};
use crate::world::World;

/// E6, as every tool that restores on each node from the latest snapshot has it.
#[test]
fn members_of_two_snapshots_differ_for_ever_by_hand_and_do_not_begin_here() {
    let mut hand = ByHand::serving(3, &[0, 1, 2]);
    let all = hand.list(&[0, 1, 2]);
    hand.world.put(0, "key", "older");
    let older = hand.snapshot(0, "older.db");
    hand.world.put(0, "key", "newer");
    let newer = hand.snapshot(0, "newer.db");
    for on in 0..3 {
        hand.wipe(on);
    }
    for on in 0..3 {
        hand.restore(on, if on == 0 { &older } else { &newer }, &all);
        hand.start(on, &all, "existing");
    }
    for on in 0..3 {
        hand.serves(on);
    }
    hand.world.put(0, "taken", "by one");
    hand.world.put(1, "taken", "by another");
    let read: Vec<String> = (0..3).map(|on| hand.world.get(on, "key")).collect();
    assert_eq!(read, ["older", "newer", "newer"], "linearizable reads of one cluster");
    assert_eq!(hand.ctl(0, &["alarm", "list"]), "");
    drop(hand);

    let mut world = World::new(3);
    world.boot_all();
    world.put(0, "key", "older");
    let older = restoring_from(&world.config(), &saved(&world, 0, "older.db"), 2);
    world.put(0, "key", "newer");
    let newer = restoring_from(&world.config(), &saved(&world, 0, "newer.db"), 2);
    for host in &mut world.hosts {
        host.wipe();
        host.configure(&newer);
    }
    world.hosts[0].configure(&older);
    for host in &mut world.hosts {
        host.boot();
    }
    for host in &world.hosts {
        host.wait_for("run", "their specs or images differ");
        host.wait_for("run", "restore.sha256 is ");
        assert!(!host.rows().iter().any(|row| [26, 27, 28].contains(row)), "{}: {:?}", host.name, host.rows());
    }
    // The operator gives all of them one snapshot.
    world.hosts[0].kill();
    world.hosts[0].configure(&newer);
    world.hosts[0].boot();
    world.settle_all();
    let read: Vec<String> = (0..3).map(|on| world.get(on, "key")).collect();
    assert_eq!(read, ["newer", "newer", "newer"]);
}

/// E7, as `etcdutl`'s defaults have it: the restored cluster has the old one's IDs, and a member of that is still there.
#[test]
fn an_old_member_takes_part_in_the_restored_cluster_by_hand_and_is_a_stranger_here() {
    let mut hand = ByHand::serving(3, &[0, 1, 2]);
    let all = hand.list(&[0, 1, 2]);
    hand.world.put(0, "before", "the snapshot");
    let snapshot = hand.snapshot(0, "kept.db");
    hand.world.put(0, "after", "the snapshot");
    while hand.term(0) < 6 {
        hand.elect_another();
    }
    let old = hand.ids(2);
    for on in [2, 0, 1] {
        hand.kill(on);
    }
    for on in [0, 1] {
        hand.wipe(on);
        hand.restore(on, &snapshot, &all);
        hand.start(on, &all, "existing");
    }
    hand.serves(0);
    hand.world.put(0, "acknowledged", "by the restored cluster");
    assert_eq!(hand.ids(0).0, old.0, "one cluster ID for two histories");
    assert_eq!(hand.listed(0, 2), Some(old.1), "and the old member is one of it");
    for on in [0, 1] {
        hand.kill(on);
        hand.start_with(on, &all, "existing", &["--election-timeout", "3000"]);
    }
    hand.start(2, &all, "existing");
    hand.said(0, &format!("elected leader {}", hand.ids(2).1));
    // Either the restored members never serve again behind it, or they go on and differ from it for ever.
    let put = hand.world.etcdctl(0, &["put", "later", "write", "--command-timeout=10s"]);
    if put.status.success() {
        let lacks = |on: usize, key: &str| !hand.on_disk(on, "").contains(&key.to_owned());
        assert!(lacks(2, "acknowledged") && !lacks(0, "acknowledged"), "an acknowledged write is not on all of them");
        assert_eq!(hand.ctl(0, &["alarm", "list"]), "");
    }
    drop(hand);

    let mut world = World::new(3);
    world.boot_all();
    world.put(0, "before", "the snapshot");
    let restoring = restoring_from(&world.config(), &saved(&world, 0, "kept.db"), 2);
    world.put(0, "after", "the snapshot");
    assert_eq!(world.get(2, "after"), "the snapshot");
    let old = world.hosts[2].cluster_id();
    world.hosts[2].takes_its_disk_out();
    for host in &mut world.hosts {
        host.wipe();
        host.configure(&restoring);
    }
    for host in &mut world.hosts {
        host.boot();
    }
    world.settle_all();
    world.put(0, "acknowledged", "by the restored cluster");
    assert_ne!(world.hosts[2].cluster_id(), old);
    world.hosts[2].puts_its_disk_back();
    world.hosts[2].boot();
    world.hosts[2].hand_off();
    assert_eq!(
        (world.hosts[2].rows(), world.hosts[2].cluster_id()),
        (vec![4], old),
        "a member that lives on a disk starts"
    );
    world.hosts[2].wait_for("etcd", "cluster ID mismatch");
    for on in [0, 1] {
        assert_eq!(world.get(on, "acknowledged"), "by the restored cluster");
        assert_eq!(world.get(on, "after"), "", "what only the old one has stays with it");
        world.put(on, "still", "served");
    }
}

/// GHOST, as etcd-backup-restore has it: a late member sees a snapshot and restores it alone.
///
/// What is missing until stores have come: the claim, by which a host of another list would know of this cluster too.
#[test]
fn a_late_member_restores_a_second_cluster_by_hand_and_joins_the_one_that_lives_here() {
    let mut hand = ByHand::serving(3, &[0, 1, 2]);
    hand.world.put(0, "key", "of the snapshot");
    let snapshot = hand.snapshot(0, "kept.db");
    hand.world.put(0, "key", "of today");
    hand.wipe(2);
    let alone = hand.list(&[2]);
    hand.restore(2, &snapshot, &alone);
    hand.start(2, &alone, "new");
    hand.serves(2);
    // Two clusters serve.
    hand.world.put(0, "taken", "by two");
    hand.world.put(2, "taken", "by one");
    assert_ne!(hand.ids(0).0, hand.ids(2).0);
    assert_eq!((hand.world.get(0, "key"), hand.world.get(2, "key")), ("of today".into(), "of the snapshot".into()));
    drop(hand);

    let mut world = World::new(3);
    world.boot_all();
    world.put(0, "key", "of the snapshot");
    let restoring = restoring_from(&world.config(), &saved(&world, 0, "kept.db"), 2);
    world.put(0, "key", "of today");
    world.hosts[2].wipe();
    world.hosts[2].configure(&restoring);
    // It sees nobody, then one without quorum, then the cluster.
    cut(&world, 2, &[0, 1], true);
    world.hosts[1].kill();
    world.hosts[2].boot();
    world.hosts[2].wait_for("run", "wait (row 20");
    cut(&world, 2, &[0, 1], false);
    world.hosts[2].wait_for("run", "wait (row 10");
    world.hosts[1].boot();
    world.settle_all();
    assert!(!world.hosts[2].rows().iter().any(|row| [26, 27, 28].contains(row)), "{:?}", world.hosts[2].rows());
    assert_eq!(world.hosts[2].cluster_id(), world.hosts[0].cluster_id());
    assert_eq!(world.get(2, "key"), "of today");
    assert_eq!(world.members(0), (vec!["etcd-1".into(), "etcd-2".into(), "etcd-3".into()], 0));
}
