//! A group whose members come and go: who is in it is an inventory's word, and only *terminated* is knowledge.

use std::time::{Duration, Instant};

use crate::world::{PATIENCE, World};

/// Three instances of a group that lists exactly them, settled; further hosts are not booted.
fn settled(hosts: usize) -> World {
    let mut world = World::group(3, hosts);
    world.inventory(&[(1, "running"), (2, "running"), (3, "running")]);
    for host in &mut world.hosts[..3] {
        host.boot();
    }
    world.settle_all();
    world.put(0, "kept", "by the group");
    world
}

fn names(numbers: &[usize]) -> Vec<String> {
    numbers.iter().map(|n| format!("i-{n}")).collect()
}

/// Waits until the voters are these, and asserts that there were never more members than `size` + 1 on the way.
fn voters_become(world: &World, on: usize, wanted: &[usize]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (voters, learners) = world.members(on);
        assert!(voters.len() + learners <= 4, "{voters:?} and {learners} learners");
        if voters == names(wanted) && learners == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "voters {voters:?}, {learners} learners; wanted {wanted:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_group_founds_when_it_lists_exactly_its_size_and_waits_until_then() {
    let mut world = World::group(3, 3);
    world.inventory(&[(1, "running"), (2, "running")]);
    for host in &mut world.hosts[..2] {
        host.boot();
    }
    for host in &world.hosts[..2] {
        host.wait_for("run", "2 of 3 listed: i-1 i-2");
    }
    // One too many is no better: nobody can know which three are meant.
    world.inventory(&[(1, "running"), (2, "running"), (3, "pending"), (4, "running")]);
    world.hosts[0].wait_for("run", "4 of 3 listed: i-1 i-2 i-3 i-4");
    world.inventory(&[(1, "running"), (2, "running"), (3, "running"), (4, "terminated")]);
    world.hosts[2].boot();
    world.settle_all();
    assert_eq!(world.members(0), (names(&[1, 2, 3]), 0));
}

#[test]
fn a_host_waits_for_the_inventory_and_for_its_own_entry_in_it() {
    let mut world = World::group(1, 1);
    world.hosts[0].boot();
    world.hosts[0].wait_for("run", "inventory.json is not there yet");
    world.inventory(&[(2, "running")]);
    world.hosts[0].wait_for("run", "does not list i-1 with a peer_url");
    world.inventory(&[(1, "running")]);
    world.hosts[0].settle();
    assert_eq!(world.members(0), (names(&[1]), 0));
}

#[test]
fn a_spare_waits_while_a_voter_is_only_absent_from_the_inventory_and_replaces_it_when_it_is_terminated() {
    let mut world = settled(4);
    world.hosts[2].kill();
    // Terminate first, launch then, with an inventory that has lost the dead one: absence says nothing.
    world.inventory(&[(1, "running"), (2, "running"), (4, "running")]);
    world.hosts[3].boot();
    world.hosts[3].wait_for("run", "spare");
    let watched = Instant::now() + Duration::from_secs(4);
    while Instant::now() < watched {
        assert!(world.hosts[3].run_goes_on(), "{}", world.hosts[3].said_by("run"));
        assert_eq!(world.members(0), (names(&[1, 2, 3]), 0));
    }
    world.inventory(&[(1, "running"), (2, "running"), (3, "terminated"), (4, "running")]);
    world.hosts[3].settle();
    assert_eq!(world.members(0), (names(&[1, 2, 4]), 0));
    assert_eq!(world.get(3, "kept"), "by the group");
    assert!(world.hosts[3].rows().contains(&17), "{:?}", world.hosts[3].rows());
}

#[test]
fn a_surge_joins_the_new_one_first_and_then_lets_the_terminated_one_go() {
    let mut world = settled(4);
    let all = [(1, "running"), (2, "running"), (3, "running"), (4, "running")];
    world.inventory(&all);
    world.hosts[3].boot();
    world.hosts[3].hand_off();
    voters_become(&world, 0, &[1, 2, 3, 4]);
    world.hosts[3].wait_for("finish", "there are 4 voters and cluster.size is 3");
    world.hosts[0].kill();
    world.inventory(&[(1, "terminated"), (2, "running"), (3, "running"), (4, "running")]);
    world.hosts[3].finish_ends();
    assert_eq!(world.members(3), (names(&[2, 3, 4]), 0));
    assert_eq!(world.get(3, "kept"), "by the group");
}

#[test]
fn a_whole_group_is_refreshed_one_by_one_and_keeps_what_was_written() {
    let mut world = settled(6);
    let mut alive = vec![1, 2, 3];
    let mut gone: Vec<usize> = Vec::new();
    for new in 4..=6 {
        let old = new - 3;
        world.hosts[old - 1].kill();
        gone.push(old);
        alive.retain(|n| *n != old);
        alive.push(new);
        let listed = gone.iter().map(|n| (*n, "terminated")).chain(alive.iter().map(|n| (*n, "running")));
        world.inventory(&listed.collect::<Vec<_>>());
        world.hosts[new - 1].boot();
        world.hosts[new - 1].settle();
        voters_become(&world, new - 1, &alive);
    }
    assert_eq!(world.get(5, "kept"), "by the group");
}
