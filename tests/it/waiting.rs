//! Waits in which only the reason helps whoever reads it: what each host says, and that it goes on once that is mended.

use std::fs;
use std::time::{Duration, Instant};

use crate::world::{Host, PATIENCE, World};

fn say_to_all(world: &World, config: &str) {
    for host in &world.hosts {
        host.configure(config);
    }
}

fn readied(host: &Host) -> bool {
    let journal = fs::read_to_string(host.root.join("var/lib/etcd/bootstrapper/journal.jsonl")).unwrap_or_default();
    journal.contains("\"ready\"")
}

#[test]
fn hosts_that_wait_for_one_that_has_refused_say_that_nothing_is_founded_any_more() {
    let mut world = World::new(3);
    let past = |line: &str| match line.trim_start().starts_with("found_until:") {
        true => "  found_until: 2026-01-02T00:00:00Z\n".to_owned(),
        false => format!("{line}\n"),
    };
    say_to_all(&world, &world.config().lines().map(past).collect::<String>());
    for host in &mut world.hosts[..2] {
        host.boot();
    }
    for host in &mut world.hosts[..2] {
        host.wait_for("run", "this host founds none any more: the spec allows a founding until 2026-01-02T00:00:00Z");
        host.wait_for("run", "set `cluster.found_until` to a time ahead; else bring back a member, or restore");
        assert!(host.run_goes_on());
    }
    world.hosts[2].boot();
    // Whoever is the first to see all of them blank.
    let deadline = Instant::now() + PATIENCE;
    let refused = loop {
        assert!(Instant::now() < deadline, "nobody refuses: {}", world.hosts[2].said_by("run"));
        if let Some(on) = world.hosts.iter_mut().position(|host| !host.run_goes_on()) {
            break on;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(world.hosts[refused].run_ends(), 78, "{}", world.hosts[refused].said_by("run"));
    // The word of row 25 is over for whoever is told another date, and for its peers too.
    for host in &mut world.hosts {
        host.kill();
    }
    say_to_all(&world, &world.config());
    world.boot_all();
}

#[test]
fn blank_hosts_found_no_empty_cluster_in_the_place_of_a_survivor_whose_disk_is_not_there() {
    let mut world = World::new(3);
    world.boot_all();
    world.put(0, "acknowledged", "write");
    world.hosts[1].takes_its_disk_out();
    for on in [0, 2] {
        world.hosts[on].wipe();
    }
    say_to_all(&world, &format!("{}recover: {{survivor: etcd-2, epoch: 2}}\n", world.config()));
    for host in &mut world.hosts {
        host.boot();
    }
    for (on, disk) in [(0, "its disk is blank"), (1, "this disk is blank"), (2, "its disk is blank")] {
        let text = format!("waiting for: etcd-2 at {}: {disk}", world.hosts[1].peer_url());
        world.hosts[on].wait_for("run", &text);
        world.hosts[on].wait_for("run", "row 3: the spec says recover");
        assert!(world.hosts[on].run_goes_on());
        assert!(!readied(&world.hosts[on]));
    }
    world.hosts[1].puts_its_disk_back();
    world.hosts[1].boot();
    world.settle_all();
    assert_eq!(world.get(0, "acknowledged"), "write");
    assert_eq!(world.members(0), (vec!["etcd-1".into(), "etcd-2".into(), "etcd-3".into()], 0));
}

#[test]
fn a_host_whose_interface_is_down_or_without_a_cable_says_so() {
    let mut world = World::new(3);
    world.hosts[2].link(false);
    world.hosts[2].boot();
    world.hosts[2].wait_for("run", "waiting for an address: this host has only 10.78.0.13 on eth0, which is down");
    assert!(world.hosts[2].run_goes_on());
    world.hosts[2].kill();
    world.cable(2, false);
    world.hosts[2].link(true);
    world.hosts[2].boot();
    world.hosts[2].wait_for("run", "eth0, which has 10.78.0.13, has no carrier");
    world.hosts[2].wait_for("run", "row 20");
    world.cable(2, true);
    for host in &mut world.hosts[..2] {
        host.boot();
    }
    world.settle_all();
}

#[test]
fn a_member_says_who_is_to_let_it_settle_where_authentication_is_on() {
    const ASKS: &str =
        "authentication is on: give root to the user that this host's client certificate names, `etcd-bootstrapper`";
    let mut world = World::new(3);
    world.boot_all();
    world.put(0, "acknowledged", "write");
    let does = |world: &World, args: &[&str]| {
        let output = world.etcdctl(0, args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    does(&world, &["user", "add", "root", "--no-password"]);
    does(&world, &["user", "grant-role", "root", "root"]);
    does(&world, &["auth", "enable"]);
    // A voter that reboots.
    world.hosts[2].kill();
    world.hosts[2].boot();
    world.hosts[2].hand_off();
    world.hosts[2].wait_for("finish", ASKS);
    does(&world, &["user", "add", "etcd-bootstrapper", "--no-password"]);
    does(&world, &["user", "grant-role", "etcd-bootstrapper", "root"]);
    world.hosts[2].finish_ends();
    // A learner that was added while it was allowed.
    world.hosts[2].wipe();
    world.hosts[2].boot();
    assert_eq!(world.hosts[2].run_ends(), 0, "{}", world.hosts[2].said_by("run"));
    does(&world, &["user", "revoke-role", "etcd-bootstrapper", "root"]);
    world.hosts[2].start_etcd();
    world.hosts[2].start_finish();
    world.hosts[2].wait_for("finish", ASKS);
    does(&world, &["user", "grant-role", "etcd-bootstrapper", "root"]);
    world.hosts[2].finish_ends();
    assert_eq!(world.get(2, "acknowledged"), "write");
    assert_eq!(world.members(0), (vec!["etcd-1".into(), "etcd-2".into(), "etcd-3".into()], 0));
}
