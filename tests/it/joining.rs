//! Joining as it happens: disks that are another's, damage, addresses that change, names instead of addresses.

use std::fs;

use crate::support::fixture::{sha256, snapshot};
use crate::world::{Host, World};

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

/// Breaks a record in the middle of the host's log, as a bad sector does.
fn break_the_log(host: &Host) {
    let wal = host.root.join("var/lib/etcd/data/member/wal");
    let file = fs::read_dir(wal)
        .expect("a log")
        .filter_map(Result::ok)
        .find(|f| f.path().extension().is_some_and(|e| e == "wal"));
    let path = file.expect("a file of the log").path();
    let mut bytes = fs::read(&path).expect("it can be read");
    bytes[600..700].fill(0xa5);
    fs::write(&path, bytes).expect("it can be written");
}

#[test]
fn a_broken_log_is_replaced_from_a_cluster_with_quorum_and_waits_for_one() {
    let mut world = settled();
    let old = world.hosts[2].member_id();
    for host in &mut world.hosts[1..] {
        host.kill();
    }
    break_the_log(&world.hosts[2]);
    world.hosts[2].reboots_suspecting_that_it_was_removed();
    world.hosts[2].wait_for("run", "row 6");
    assert!(world.hosts[2].run_goes_on());
    assert!(world.hosts[2].root.join("var/lib/etcd/data/member/wal").is_dir(), "its data stays where it is");
    world.hosts[1].boot();
    world.settle(&[1, 2]);
    assert_ne!(world.hosts[2].member_id(), old);
    assert_eq!(world.get(2, "acknowledged"), "write");
    assert_eq!(world.members(0).0.len(), 3);
}

#[test]
fn a_member_whose_address_changes_stays_who_it_is_and_tells_its_cluster() {
    let mut world = settled();
    let id = world.hosts[2].member_id();
    let (old, new) = moves(&mut world, 2, "10.78.0.33");
    world.hosts[2].boot();
    world.hosts[2].settle();
    assert_eq!(world.hosts[2].member_id(), id);
    let list = world.ask(0, &["member", "list"]).to_string();
    assert!(list.contains(&format!("https://{new}:2380")) && !list.contains(&format!("https://{old}:2380")), "{list}");
    world.put(2, "through", "the new address");
    assert_eq!(world.get(0, "through"), "the new address");
}

#[test]
fn a_learner_whose_address_changes_is_promoted_before_its_cluster_is_told() {
    let mut world = settled();
    world.hosts[2].wipe();
    world.hosts[2].boot();
    assert_eq!(world.hosts[2].run_ends(), 0, "{}", world.hosts[2].said_by("run"));
    let learner = world.learner(0).expect("it was added");
    world.hosts[2].start_etcd();
    // It has begun to follow its leader once it has said its name.
    world.until(|w| w.ask(0, &["member", "list"]).to_string().contains("\"name\":\"etcd-3\""));
    assert_eq!(world.learner(0), Some(learner.clone()), "nobody has promoted it");
    let (old, new) = moves(&mut world, 2, "10.78.0.33");
    world.hosts[2].boot();
    world.hosts[2].settle();
    let said = world.hosts[2].said_by("finish");
    let (promoted, told) = (said.find("was promoted to voter"), said.find("told the cluster the new peer URL"));
    assert!(promoted.is_some() && promoted < told, "{said}");
    assert_eq!(world.hosts[2].member_id(), learner);
    assert_eq!(world.members(0), (vec!["etcd-1".into(), "etcd-2".into(), "etcd-3".into()], 0));
    let list = world.ask(0, &["member", "list"]).to_string();
    assert!(list.contains(&format!("https://{new}:2380")) && !list.contains(&format!("https://{old}:2380")), "{list}");
    assert_eq!(world.get(2, "acknowledged"), "write");
}

/// The database comes from a leader, which asks for it at the peer URL that the list has; what a learner asks for itself
/// is the log alone, and a restored cluster's log begins at its snapshot.
#[test]
fn a_learner_that_its_leader_cannot_reach_at_its_old_address_joins_anew() {
    let mut world = World::new(3);
    let file = world.dir.join("snapshot.db");
    fs::write(&file, snapshot()).expect("a snapshot");
    let restore = format!("restore: {{url: \"file://{}\", sha256: \"{}\"}}\n", file.display(), sha256(snapshot()));
    let config = world.config() + &restore;
    for host in &world.hosts {
        host.configure(&config);
    }
    world.boot_all();
    world.put(0, "acknowledged", "write");
    world.hosts[2].wipe();
    world.hosts[2].boot();
    assert_eq!(world.hosts[2].run_ends(), 0, "{}", world.hosts[2].said_by("run"));
    let learner = world.learner(0).expect("it was added");
    // It has its log, and not the database yet.
    world.hosts[2].start_etcd();
    world
        .until(|w| w.hosts[2].root.join("var/lib/etcd/data/member/wal/0000000000000000-0000000000000000.wal").exists());
    world.hosts[2].kill();
    world.hosts[2].has("10.78.0.13", false);
    world.hosts[2].has("10.78.0.33", true);
    world.hosts[2].address = "10.78.0.33".into();
    let config = config.replace("10.78.0.13", "10.78.0.33");
    for host in &world.hosts {
        host.configure(&config);
    }
    world.hosts[2].boot();
    world.hosts[2].hand_off();
    world.hosts[2].wait_for("finish", "this host decides anew: the member on this disk was removed from its cluster");
    assert_eq!(world.members(0), (vec!["etcd-1".into(), "etcd-2".into()], 0), "no flag was lost on the way");
    // systemd starts `run` again, and with it etcd and `finish`.
    world.hosts[2].kill();
    world.hosts[2].start_run();
    world.hosts[2].settle();
    assert_ne!(world.hosts[2].member_id(), learner);
    assert_eq!(world.members(0), (vec!["etcd-1".into(), "etcd-2".into(), "etcd-3".into()], 0));
    assert_eq!(world.get(2, "acknowledged"), "write");
}

/// A host is off while it gets another address, and the configuration with it. Gives the old one and the new one.
fn moves(world: &mut World, on: usize, new: &str) -> (String, String) {
    world.hosts[on].kill();
    let old = std::mem::replace(&mut world.hosts[on].address, new.to_owned());
    world.hosts[on].has(&old, false);
    world.hosts[on].has(new, true);
    let config = world.config().replace(&old, new);
    for host in &world.hosts {
        host.configure(&config);
    }
    (old, new.to_owned())
}

#[test]
fn a_cluster_lives_on_ipv6_alone() {
    let mut world = World::at(3, |n| format!("fd00:78::{}", 10 + n), &[]);
    world.boot_all();
    world.put(0, "acknowledged", "write");
    world.hosts[2].wipe();
    world.hosts[2].boot();
    world.hosts[2].settle();
    assert_eq!(world.members(0), (vec!["etcd-1".into(), "etcd-2".into(), "etcd-3".into()], 0));
    assert_eq!(world.get(2, "acknowledged"), "write");
}

#[test]
fn peers_may_be_given_by_name() {
    let mut world = World::new(3);
    let hosts: String = world.hosts.iter().map(|h| format!("{} {}.test\n", h.address, h.name)).collect();
    let mut config = world.config();
    for host in &world.hosts {
        host.resolves(&hosts);
        config = config.replace(&host.peer_url(), &format!("https://{}.test:2380", host.name));
    }
    for host in &world.hosts {
        host.configure(&config);
    }
    world.boot_all();
    world.put(0, "acknowledged", "write");
    world.hosts[2].wipe();
    world.hosts[2].boot();
    world.hosts[2].settle();
    let list = world.ask(0, &["member", "list"]).to_string();
    assert!(list.contains("https://etcd-3.test:2380"), "{list}");
    assert_eq!(world.get(2, "acknowledged"), "write");
}

#[test]
fn a_cluster_with_auth_takes_a_member_once_its_user_is_root() {
    let mut world = settled();
    let does = |world: &World, args: &[&str]| {
        let output = world.etcdctl(0, args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    for args in
        [&["user", "add", "root", "--no-password"][..], &["user", "grant-role", "root", "root"], &["auth", "enable"]]
    {
        does(&world, args);
    }
    world.hosts[2].wipe();
    world.hosts[2].boot();
    assert_eq!(world.hosts[2].run_ends(), 78, "{}", world.hosts[2].said_by("run"));
    let said = world.hosts[2].said_by("run");
    assert!(said.contains("row 12") && said.contains("give root to the user"), "{said}");
    does(&world, &["user", "add", "etcd-bootstrapper", "--no-password"]);
    does(&world, &["user", "grant-role", "etcd-bootstrapper", "root"]);
    world.hosts[2].boot();
    world.hosts[2].settle();
    assert_eq!(world.get(2, "acknowledged"), "write");
}

#[test]
fn a_cluster_without_space_takes_nobody_until_somebody_has_made_room() {
    let mut world = World::new(3);
    let config = format!("{}etcd: {{quota-backend-bytes: 2097152}}\n", world.config());
    for host in &world.hosts {
        host.configure(&config);
    }
    world.boot_all();
    world.put(0, "acknowledged", "write");
    let value = "x".repeat(100_000);
    while world.etcdctl(0, &["put", "filler", &value]).status.success() {}
    world.hosts[2].wipe();
    world.hosts[2].boot();
    world.hosts[2].wait_for("run", "NOSPACE");
    assert!(world.hosts[2].run_goes_on());
    let revision = world.ask(0, &["endpoint", "status"])[0]["Status"]["header"]["revision"].to_string();
    assert!(world.etcdctl(0, &["compact", &revision]).status.success());
    for on in [0, 1] {
        assert!(world.etcdctl(on, &["defrag"]).status.success());
    }
    assert!(world.etcdctl(0, &["alarm", "disarm"]).status.success());
    world.hosts[2].settle();
    assert_eq!(world.get(2, "acknowledged"), "write");
}

#[test]
fn an_etcd_that_is_too_old_or_too_new_for_the_cluster_is_refused() {
    let mut world = settled();
    world.hosts[2].wipe();
    let defaults = world.hosts[2].root.join("usr/lib/etcd-bootstrapper");
    fs::create_dir_all(&defaults).expect("a directory");
    for version in ["3.4.23", "3.7.0", "4.0.0"] {
        fs::write(defaults.join("etcd-version"), version).expect("what the image says of its etcd");
        world.hosts[2].boot();
        assert_eq!(world.hosts[2].run_ends(), 78, "{version}: {}", world.hosts[2].said_by("run"));
        let said = world.hosts[2].said_by("run");
        assert!(said.contains("row 12") && said.contains(version) && said.contains("3.5"), "{said}");
    }
    assert_eq!(world.members(0).0.len(), 3, "nothing was changed");
}

#[test]
fn a_member_that_was_never_heard_is_replaced_in_a_cluster_that_never_decides_its_version() {
    let mut world = World::new(3);
    for host in &mut world.hosts {
        host.boot();
    }
    for host in &mut world.hosts {
        assert_eq!(host.run_ends(), 0, "{}", host.said());
    }
    // The disk of the third is gone before its etcd has begun.
    for host in &mut world.hosts[..2] {
        host.start_etcd();
        host.start_finish();
    }
    world.put(0, "kept", "by two");
    world.hosts[2].wipe();
    world.hosts[2].boot();
    world.settle(&[2]);
    assert_eq!(world.get(2, "kept"), "by two");
    let said = world.hosts[2].said_by("run");
    assert!(world.hosts[2].rows().contains(&14) && !said.contains("has not decided its version"), "{said}");
}
