//! Joining as it happens: disks that are another's, damage, addresses that change, names instead of addresses.

use crate::world::World;

fn settled() -> World {
    let mut world = World::new(3);
    world.boot_all();
    world.put(0, "acknowledged", "write");
    world
}

/// A copy of the first host's disk in the last host, as cloning a volume makes it.
fn cloned() -> World {
    let mut world = settled();
    world.hosts[2].wipe();
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([world.hosts[0].root.join("var"), world.hosts[2].root.join("var")])
        .status();
    assert!(copied.expect("cp runs").success());
    world
}

#[test]
fn a_cloned_data_disk_never_becomes_a_second_life_of_its_member() {
    let mut world = cloned();
    let original = world.hosts[0].member_id();
    world.hosts[2].boot();
    assert_eq!(world.hosts[2].run_ends(), 78, "{}", world.hosts[2].said_by("run"));
    let said = world.hosts[2].said_by("run");
    assert!(said.contains("row 2") && said.contains("etcd-1") && said.contains("etcd-3"), "{said}");
    assert!(!world.hosts[2].root.join("run/etcd-bootstrapper/ready").exists());
    // The operator's word makes it a blank host, which takes its own place.
    let reset = world.hosts[2].program(&["reset", "--yes"]).output().expect("reset runs");
    assert!(reset.status.success(), "{}", String::from_utf8_lossy(&reset.stderr));
    world.hosts[2].boot();
    world.hosts[2].settle();
    assert_eq!(world.hosts[0].member_id(), original);
    assert_eq!(world.members(0), (vec!["etcd-1".into(), "etcd-2".into(), "etcd-3".into()], 0));
    assert_eq!(world.get(2, "acknowledged"), "write");
}
