//! Decisions on a member list that is not the one of now: STALE, LAG.

use std::process::{Child, Command, Stdio};

use super::by_hand::ByHand;
use super::cut;
use crate::support::etcd::binary;
use crate::support::scratch::until;
use crate::world::{Host, World};

/// STALE, as voter-cleaners have it: what they saw is true no more when they act.
#[test]
fn an_old_member_list_costs_a_live_voter_and_a_place_too_many_by_hand_and_is_read_again_here() {
    let mut hand = ByHand::serving(5, &[0, 1, 2]);
    let all = hand.list(&[0, 1, 2]);
    // Two joiners look while the third is down; both see one to remove and a place to take.
    hand.kill(2);
    let seen_dead = hand.listed(0, 2).expect("it is listed");
    hand.start(2, &all, "existing");
    hand.serves(2);
    hand.world.put(2, "acknowledged", "by the one that is back");
    hand.ctl(0, &["member", "remove", &seen_dead]);
    assert_eq!(hand.ends(2), Some(0), "a voter that was alive was removed");
    for joiner in [3, 4] {
        let (name, url) = (hand.world.hosts[joiner].name.clone(), hand.peer_url(joiner));
        hand.ctl(0, &["member", "add", &name, "--peer-urls", &url]);
        let list = hand.list(&(0..=joiner).filter(|on| *on != 2).collect::<Vec<_>>());
        hand.start(joiner, &list, "existing");
        hand.serves(joiner);
    }
    let (voters, _) = hand.world.members(0);
    assert_eq!(voters, ["etcd-1", "etcd-2", "etcd-4", "etcd-5"], "one voter more than anybody wanted");
    drop(hand);

    // Two members of five come back blank at once, and both have decided on the list of now when it changes.
    let mut world = World::new(5);
    world.boot_all();
    world.put(0, "acknowledged", "by all");
    let old = [world.hosts[3].member_id(), world.hosts[4].member_id()];
    for on in [3, 4] {
        world.hosts[on].wipe();
    }
    let mut held = hold_the_lock(&world);
    for on in [3, 4] {
        world.hosts[on].boot();
        world.hosts[on].wait_for("run", "replacing: remove etcd-");
    }
    world.remove_member(&old[0]);
    let _ends = held.kill().and_then(|()| held.wait());
    world.settle(&[3, 4]);
    let stale = |host: &&Host| host.said_by("run").contains("the member list has changed since the decision");
    assert!(world.hosts[3..].iter().any(|h| stale(&h)), "nobody noticed");
    let five: Vec<String> = (1..=5).map(|i| format!("etcd-{i}")).collect();
    assert_eq!(world.members(0), (five, 0));
    for on in 0..5 {
        assert_eq!(world.get(on, "acknowledged"), "by all");
    }
    for (on, old) in [3, 4].into_iter().zip(&old) {
        assert_ne!(world.hosts[on].member_id(), *old);
    }
}

/// Holds the lock under which members are changed, as a joiner does that is at it; ends when killed, its lease soon after.
fn hold_the_lock(world: &World) -> Child {
    let mut command: Command = world.hosts[0].command(binary("etcdctl"));
    let pki = world.dir.join("prod");
    for (flag, file) in [("--cacert", "ca.crt"), ("--cert", "admin.crt"), ("--key", "admin.key")] {
        command.arg(flag).arg(pki.join(file));
    }
    command.args(["--endpoints", &format!("https://{}:2379", world.hosts[0].address)]);
    command.args(["lock", "/etcd-bootstrapper/lock/membership", "--ttl", "3"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("etcdctl starts");
    let prefix = ["get", "/etcd-bootstrapper/lock/membership", "--prefix", "--keys-only"];
    until("the lock", || (!world.etcdctl(0, &prefix).stdout.is_empty()).then_some(()));
    child
}

/// LAG, as checks on the peer port have it: a member that lags does not list one that lives.
#[test]
fn a_lagging_list_costs_the_last_copy_of_a_write_by_hand_and_is_not_believed_here() {
    let mut hand = ByHand::serving(5, &[0, 1, 2, 3, 4]);
    let others = [0, 2, 3, 4];
    while hand.leader() != Some(0) {
        hand.elect_another();
    }
    cut(&hand.world, 1, &others, true);
    // The fifth loses its disk and is replaced by the book, while the second hears nothing of it.
    hand.wipe(4);
    let (dead, fifth) = (hand.listed(0, 4).expect("it is listed"), hand.peer_url(4));
    hand.ctl(0, &["member", "remove", &dead]);
    hand.ctl(0, &["member", "add", "etcd-5", "--peer-urls", &fifth, "--learner"]);
    let all = hand.list(&[0, 1, 2, 3, 4]);
    hand.start(4, &all, "existing");
    let new = hand.listed(0, 4).expect("it is listed");
    hand.ctl(0, &["member", "promote", &new]);
    hand.serves(4);
    hand.kill(3);
    hand.world.put(4, "acknowledged", "by the first, the third and the fifth");
    // The fifth reboots when only the second is there to be asked.
    for on in [4, 0, 2] {
        hand.kill(on);
    }
    let listed = hand.members_by_the_peer_port_of(1);
    assert!(!listed.contains(&new), "the second lists {new}, so it does not lag: {listed:?}");
    assert!(listed.contains(&dead));
    // Whoever believes it discards what it has: two more disks may be lost of five, and then nobody has the write.
    hand.wipe(4);
    for on in [0, 2] {
        hand.wipe(on);
    }
    for on in [1, 3] {
        let log = wal_of(&hand.world, on);
        assert!(!contains(&log, b"acknowledged"), "{} has the write", hand.world.hosts[on].name);
    }
    drop(hand);

    let mut world = World::new(5);
    world.boot_all();
    let old = world.hosts[4].member_id();
    cut(&world, 1, &others, true);
    world.hosts[4].wipe();
    world.hosts[4].boot();
    world.settle(&[4]);
    let new = world.hosts[4].member_id();
    assert_ne!(new, old);
    world.hosts[3].kill();
    world.put(4, "acknowledged", "by the first, the third and the fifth");
    for on in [0, 2] {
        world.hosts[on].wipe();
    }
    cut(&world, 1, &[3, 4], false);
    world.hosts[4].reboots_suspecting_that_it_was_removed();
    assert_eq!(world.hosts[4].run_ends(), 0, "{}", world.hosts[4].said_by("run"));
    assert_eq!(world.hosts[4].rows().last(), Some(&4), "{}", world.hosts[4].said_by("run"));
    assert_eq!(world.hosts[4].member_id(), new);
    world.hosts[4].start_etcd();
    world.hosts[3].boot();
    world.hosts[3].hand_off();
    // With two disks of five lost, the lagging one, the one that was down and the fifth are the quorum.
    assert_eq!(world.get(1, "acknowledged"), "by the first, the third and the fifth");
}

/// The bytes of a host's write-ahead log; keys stand in it as they are.
fn wal_of(world: &World, on: usize) -> Vec<u8> {
    let wal = world.hosts[on].root.join("var/lib/etcd/data/member/wal");
    let files = std::fs::read_dir(&wal).expect("a log").map(|f| std::fs::read(f.expect("a file").path()));
    files.flat_map(|f| f.expect("a file")).collect()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|w| w == part)
}
