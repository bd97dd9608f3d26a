//! Hosts that do not trust each other: a CA of another cluster, a clock that is wrong by years.

use std::fs;

use crate::world::{Host, World};

const DAY: i64 = 24 * 3600;
const YEAR: i64 = 365 * DAY;

/// The configuration of the world with the CA of another cluster: same names, same addresses.
fn of_another_ca(world: &mut World) -> String {
    let ours = world.config();
    world.configure("other", &[]);
    let theirs = fs::read_to_string(world.dir.join("other/config.yaml")).expect("a second configuration");
    for host in &world.hosts {
        host.configure(&ours);
    }
    theirs.replace("name: other", "name: prod")
}

fn holds_no_data(host: &Host) {
    assert!(!host.root.join("run/etcd-bootstrapper/ready").exists(), "{}", host.said());
    assert!(!host.root.join("var/lib/etcd/data/member").exists(), "{}", host.said());
    let journal = fs::read_to_string(host.root.join("var/lib/etcd/bootstrapper/journal.jsonl")).unwrap_or_default();
    assert!(!journal.contains("\"ready\"") && !journal.contains("\"added\""), "{journal}");
}

#[test]
fn a_host_with_the_ca_of_another_cluster_waits_and_joins_once_it_is_corrected() {
    const OTHER_CA: &str = "TLS failed: its certificate is from another CA than ours";
    let mut world = World::new(3);
    let (right, wrong) = (world.config(), of_another_ca(&mut world));
    // No founding, and both sides say why.
    world.hosts[2].configure(&wrong);
    for host in &mut world.hosts {
        host.boot();
    }
    for (on, of) in [(0, "etcd-3"), (1, "etcd-3"), (2, "etcd-1"), (2, "etcd-2")] {
        let text =
            format!("waiting for: {of} at {}: {OTHER_CA}", world.hosts[of.as_bytes()[5] as usize - 49].peer_url());
        world.hosts[on].wait_for("run", &text);
        assert!(world.hosts[on].run_goes_on());
    }
    world.hosts.iter().for_each(holds_no_data);
    world.hosts[2].kill();
    world.hosts[2].configure(&right);
    world.hosts[2].boot();
    world.settle_all();
    world.put(0, "acknowledged", "write");
    // The same on a disk that was lost, beside a cluster that serves.
    world.hosts[2].wipe();
    world.hosts[2].configure(&wrong);
    world.hosts[2].boot();
    for of in [0, 1] {
        world.hosts[2].wait_for("run", &format!("etcd-{} at {}: {OTHER_CA}", of + 1, world.hosts[of].peer_url()));
    }
    assert!(world.hosts[2].run_goes_on());
    holds_no_data(&world.hosts[2]);
    assert_eq!(world.members(0), (vec!["etcd-1".into(), "etcd-2".into(), "etcd-3".into()], 0), "nothing was changed");
    world.hosts[2].kill();
    world.hosts[2].configure(&right);
    world.hosts[2].boot();
    world.hosts[2].settle();
    assert_eq!(world.get(2, "acknowledged"), "write");
}

#[test]
fn a_blank_host_whose_clock_is_wrong_by_years_waits_and_joins_once_it_is_right() {
    let mut world = World::new(3);
    let config = format!("{}timeouts: {{time_sync: 1s}}\n", world.config());
    for host in &world.hosts {
        host.configure(&config);
    }
    world.boot_all();
    world.put(0, "acknowledged", "write");
    for (what, off, dates) in [
        ("ahead, its CA valid", 3 * YEAR, "certificate expired on 20"),
        ("ahead of the end of its CA", 40 * YEAR, "expired on 20"),
        ("behind the making of its CA", -2 * DAY, "is not valid before 20"),
        ("behind the making of this program", -3 * YEAR, "certificate is not valid before 20"),
    ] {
        eprintln!("{what}");
        world.hosts[2].wipe();
        world.hosts[2].clock_is_off_by(off);
        world.hosts[2].boot();
        world.hosts[2].wait_for("run", dates);
        world.hosts[2].wait_for("run", "this host's clock says 20");
        assert!(world.hosts[2].run_goes_on(), "{what}: {}", world.hosts[2].said_by("run"));
        holds_no_data(&world.hosts[2]);
        assert_eq!(world.members(0).0.len(), 3, "{what}: nothing was changed");
        world.hosts[2].clock_is_off_by(0);
        world.hosts[2].settle();
        assert_eq!(world.get(2, "acknowledged"), "write", "{what}");
    }
}

#[test]
fn blank_hosts_found_nothing_while_one_has_a_wrong_clock_and_all_together_once_it_is_right() {
    let mut world = World::new(3);
    world.hosts[2].clock_is_off_by(3 * YEAR);
    for host in &mut world.hosts {
        host.boot();
    }
    world.hosts[0]
        .wait_for("run", "etcd-3 at https://10.78.0.13:2380: TLS failed: its certificate is not valid before 20");
    world.hosts[2].wait_for("run", "etcd-1 at https://10.78.0.11:2380: TLS failed: its certificate expired on 20");
    world.hosts.iter().for_each(holds_no_data);
    world.hosts[2].clock_is_off_by(0);
    world.settle_all();
    world.put(2, "acknowledged", "write");
}

#[test]
fn a_member_that_booted_with_a_wrong_clock_serves_once_it_is_right() {
    let mut world = World::new(3);
    world.boot_all();
    world.put(0, "acknowledged", "write");
    world.hosts[2].kill();
    world.hosts[2].clock_is_off_by(3 * YEAR);
    world.hosts[2].boot();
    world.hosts[2].hand_off();
    world.hosts[2].wait_for("finish", "TLS failed: its certificate expired on 20");
    world.hosts[2].clock_is_off_by(0);
    world.hosts[2].finish_ends();
    assert_eq!(world.get(2, "acknowledged"), "write");
}
