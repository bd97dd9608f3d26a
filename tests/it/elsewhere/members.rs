//! Members that come back, come and do not come: E2c, E3, E4.

use super::by_hand::ByHand;
use super::edited;
use crate::support::scratch::until;
use crate::world::World;

/// E2c, as `etcdadm join` has it: the state is `existing`, the disk is not.
#[test]
fn a_wiped_member_under_its_old_id_forgets_acknowledged_writes_by_hand_and_waits_here() {
    let mut hand = ByHand::serving(3, &[0, 1, 2]);
    let all = hand.list(&[0, 1, 2]);
    // The second must know the cluster's version after a restart, or the third does not start beside it.
    hand.said(1, "set initial cluster version");
    hand.world.put(0, "seen", "by all");
    assert_eq!(hand.world.get(1, "seen"), "by all");
    hand.kill(1);
    for i in 0..10 {
        hand.world.put(0, &format!("acknowledged-{i}"), "by the first and the third");
    }
    let before = hand.ids(2);
    hand.kill(0);
    hand.wipe(2);
    hand.start(1, &all, "new");
    // etcd asks the others who they are before it takes part, and ends when nobody answers yet.
    hand.said(1, "serving peer traffic");
    hand.start(2, &all, "existing");
    hand.serves(2);
    assert_eq!(hand.ids(2), before, "under its old ID it can vote for less than it had acknowledged");
    assert_eq!(hand.ctl(1, &["get", "acknowledged-", "--prefix", "--keys-only"]), "", "ten writes are gone");
    // And the quorum that has forgotten them serves.
    hand.world.put(1, "later", "write");
    drop(hand);

    let mut world = World::new(3);
    world.boot_all();
    let before = world.hosts[2].member_id();
    world.hosts[1].kill();
    for i in 0..10 {
        world.put(0, &format!("acknowledged-{i}"), "by the first and the third");
    }
    world.hosts[0].kill();
    world.hosts[2].wipe();
    world.hosts[1].boot();
    world.hosts[1].hand_off();
    world.hosts[2].boot();
    world.hosts[2].wait_for("run", "a cluster is there and has no quorum");
    assert!(world.hosts[2].run_goes_on());
    world.hosts[0].boot();
    world.settle(&[0, 1, 2]);
    assert_ne!(world.hosts[2].member_id(), before);
    // For five seconds after somebody came up etcd adds nobody; a console that says so ten times is still read.
    let refusals = world.hosts[2].said_by("run").matches("unhealthy cluster").count();
    assert!(refusals < 20, "etcd was asked {refusals} times:\n{}", world.hosts[2].said_by("run"));
    for i in 0..10 {
        assert_eq!(world.get(2, &format!("acknowledged-{i}")), "by the first and the third");
    }
}

/// E3, as everybody without learners has it.
#[test]
fn a_second_voter_that_never_starts_ends_the_cluster_by_hand_and_is_a_learner_here() {
    let hand = ByHand::serving(3, &[0]);
    hand.world.put(0, "before", "it");
    let second = hand.peer_url(1);
    hand.ctl(0, &["member", "add", "etcd-2", "--peer-urls", &second]);
    assert!(!hand.takes_writes(0), "the member that was there all the time takes no writes any more");
    assert!(!hand.try_ctl(0, &["get", "before"]).status.success(), "and is not read");
    let id = hand.in_the_log(0, "ConfChangeAddNode");
    let removed = hand.try_ctl(0, &["member", "remove", &id]);
    assert!(!removed.status.success(), "and the one that never came cannot be removed");
    drop(hand);

    let mut world = World::new(3);
    let three = edited(&world.config(), "mode:", "mode: auto\nreplace_after: 2s");
    let one: Vec<&str> = three.lines().filter(|l| !l.contains("\"etcd-2\"") && !l.contains("\"etcd-3\"")).collect();
    world.hosts[0].configure(&one.join("\n").replace("size: 3", "size: 1"));
    world.hosts[0].boot();
    world.settle(&[0]);
    for host in &world.hosts[1..] {
        host.configure(&three);
    }
    world.hosts[1].boot();
    assert_eq!(world.hosts[1].run_ends(), 0, "{}", world.hosts[1].said_by("run"));
    world.hosts[1].kill();
    assert_eq!(world.members(0), (vec!["etcd-1".into()], 1), "it was added and never started");
    world.put(0, "after", "it");
    // Its place is the only one that etcd has for learners, so the next one collects it.
    let leaked = world.learner(0).expect("a learner");
    world.hosts[2].boot();
    world.hosts[2].wait_for("run", "etcd takes one learner at a time");
    world.settle(&[2]);
    assert_eq!(world.members(0), (vec!["etcd-1".into(), "etcd-3".into()], 0));
    assert!(world.hosts[2].said_by("run").contains(&leaked), "{}", world.hosts[2].said_by("run"));
    assert_eq!(world.get(2, "after"), "it");
}

/// E4, as etcdadm and etcd's own documentation have had it: the replacement is added before the dead one is removed.
#[test]
fn a_replacement_is_refused_by_hand_while_the_dead_one_is_listed_and_removes_it_first_here() {
    let mut hand = ByHand::serving(5, &[0, 1, 2]);
    hand.world.put(0, "kept", "by two");
    hand.wipe(2);
    let fourth = hand.peer_url(3);
    // etcd may take the third for connected for some seconds more.
    let refused = |further: &[&str]| {
        until("a refusal", || {
            let add = [&["member", "add", "etcd-4", "--peer-urls", &fourth], further].concat();
            let output = hand.try_ctl(0, &add);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success(), "added beside the dead one: {said}");
            said.contains("unhealthy cluster").then_some(())
        })
    };
    refused(&[]);
    refused(&["--learner"]);
    let dead = hand.listed(0, 2).expect("it is listed");
    hand.ctl(0, &["member", "remove", &dead]);
    hand.ctl(0, &["member", "add", "etcd-4", "--peer-urls", &fourth, "--learner"]);
    drop(hand);

    let mut world = World::new(3);
    world.boot_all();
    world.put(0, "kept", "by two");
    let dead = world.hosts[2].member_id();
    world.hosts[2].wipe();
    world.hosts[2].boot();
    world.settle(&[2]);
    let rows: Vec<u64> = world.hosts[2].rows().into_iter().filter(|row| [13, 14, 16].contains(row)).collect();
    assert!(rows.starts_with(&[14]) && rows.ends_with(&[16, 13]), "removed, then added: {rows:?}");
    assert_ne!(world.hosts[2].member_id(), dead);
    assert_eq!(world.members(0), (vec!["etcd-1".into(), "etcd-2".into(), "etcd-3".into()], 0));
    assert_eq!(world.get(2, "kept"), "by two");
}
