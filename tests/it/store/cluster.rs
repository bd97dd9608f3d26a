//! Clusters with a store: hosts in network namespaces, real etcd, and a directory that all of them share.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::fixture::sha256;
use crate::world::{Host, PATIENCE, World};

/// Hosts whose configuration names a shared directory, with more keys of `store`.
fn world(size: usize, keys: &str) -> (World, PathBuf) {
    sharing(World::new(size), keys)
}

/// Gives these hosts a directory that all of them share as their store.
pub fn sharing(world: World, keys: &str) -> (World, PathBuf) {
    let shared = world.dir.join("shared");
    fs::create_dir_all(shared.join("prod")).expect("a shared directory");
    for host in &world.hosts {
        fs::create_dir_all(host.root.join("mnt")).expect("a place to mount");
        std::os::unix::fs::symlink(&shared, host.root.join("mnt/store")).expect("a share");
    }
    let config = world.config();
    world.hosts.iter().for_each(|host| host.configure(&with_store(&config, keys)));
    (world, shared.join("prod"))
}

fn with_store(config: &str, keys: &str) -> String {
    format!("{config}store: {{url: \"file:///mnt/store/prod\"{keys}}}\n")
}

pub fn claim(store: &Path) -> Value {
    let text = fs::read_to_string(store.join("claim.json")).expect("a claim");
    serde_json::from_str(&text).expect("JSON")
}

fn nonces(claim: &Value) -> Vec<String> {
    let voters = claim["voters"].as_array().expect("voters");
    voters.iter().map(|v| format!("{} {}", v["name"].as_str().unwrap(), v["nonce"].as_str().unwrap())).collect()
}

#[test]
fn three_hosts_found_by_their_store_and_the_claim_says_so() {
    let (mut world, store) = world(3, "");
    world.boot_all();
    let claim = claim(&store);
    assert_eq!(claim["state"], "founded");
    assert_eq!(claim["cluster_id"], world.hosts[0].cluster_id());
    assert_eq!((&claim["generation"], &claim["epoch"], &claim["cluster_name"]), (&1.into(), &1.into(), &"prod".into()));
    assert_eq!(nonces(&claim).len(), 3);
    for host in &world.hosts {
        assert!(host.rows().contains(&26), "{:?}", host.rows());
    }
    // A settled member's boot asks nobody.
    fs::rename(&store, store.with_extension("away")).expect("a share goes");
    world.hosts[0].kill();
    world.hosts[0].boot();
    world.hosts[0].hand_off();
    world.hosts[0].wait_for("finish", "settled: ");
    world.hosts[0].wait_for("finish", "is the share mounted?");
    fs::rename(store.with_extension("away"), &store).expect("a share comes back");
    world.hosts[0].finish_ends();
}

#[test]
fn a_member_on_a_new_disk_rewrites_the_voters_of_the_claim() {
    let (mut world, store) = world(3, "");
    world.boot_all();
    let before = nonces(&claim(&store));
    world.hosts[2].wipe();
    world.hosts[2].boot();
    world.hosts[2].settle();
    let after = nonces(&claim(&store));
    assert_eq!(before[..2], after[..2]);
    assert!(before[2] != after[2] && after[2].starts_with("etcd-3 "), "{before:?} {after:?}");
    fs::remove_file(store.join("claim.json")).expect("a claim");
    world.hosts[0].kill();
    world.hosts[0].boot();
    world.hosts[0].settle();
    assert_eq!(nonces(&claim(&store)), after, "a settled cluster that finds no claim writes one");
}

#[test]
fn hosts_that_lost_every_disk_ask_a_person_before_they_found_again() {
    let (mut world, store) = world(3, "");
    world.boot_all();
    for host in &mut world.hosts {
        host.wipe();
    }
    for host in &mut world.hosts {
        host.boot();
    }
    // The first that hears all others refuses and ends; the others miss it and say why nothing comes of it.
    let refused = |host: &Host| host.said_by("run").contains("every disk of it is gone; write `store.on_total_loss");
    let missed = |host: &Host| host.said_by("run").contains("in its place none is: write `store.on_total_loss");
    let deadline = Instant::now() + PATIENCE;
    while !(world.hosts.iter().any(refused) && world.hosts.iter().all(|h| refused(h) || missed(h))) {
        assert!(Instant::now() < deadline, "{}", world.hosts.iter().map(Host::said).collect::<String>());
        std::thread::sleep(Duration::from_millis(10));
    }
    let looked = world.hosts[0].program(&["plan"]).output().expect("plan runs");
    let looked = String::from_utf8_lossy(&looked.stdout).into_owned();
    assert!(looked.contains("store          its claim is founded for founding "), "{looked}");
    assert_eq!(claim(&store)["state"], "founded");
}

#[test]
fn two_of_three_found_without_the_one_that_never_comes_which_joins_them_later() {
    let (mut world, store) = world(3, "");
    let config = with_store(&world.config(), "") + "replace_after: 1s\n";
    world.hosts.iter().for_each(|host| host.configure(&config));
    for host in &mut world.hosts[..2] {
        host.boot();
    }
    world.settle(&[0, 1]);
    for host in &world.hosts[..2] {
        assert!(host.said_by("run").contains("or they stay silent for 10 s: "), "{}", host.said());
    }
    let before = claim(&store);
    assert_eq!((&before["state"], nonces(&before).len()), (&"founded".into(), 2));
    world.put(0, "kept", "yes");
    world.hosts[2].boot();
    world.hosts[2].settle();
    assert_eq!(world.get(2, "kept"), "yes");
    assert_eq!(world.members(0), (vec!["etcd-1".into(), "etcd-2".into(), "etcd-3".into()], 0));
    let after = claim(&store);
    assert_eq!((&after["cluster_id"], nonces(&after).len()), (&before["cluster_id"], 3));
    assert_eq!(nonces(&after)[..2], nonces(&before)[..]);
}

#[test]
fn two_of_three_do_not_found_without_the_third_once_the_date_is_over_and_no_claim_was_made() {
    let (mut world, store) = world(3, "");
    let dated = world.config();
    let undated: String = dated.lines().filter(|l| !l.contains("found_until")).map(|l| format!("{l}\n")).collect();
    assert_ne!(dated, undated);
    let config = with_store(&undated, "") + "replace_after: 1s\n";
    world.hosts.iter().for_each(|host| host.configure(&config));
    for host in &mut world.hosts[..2] {
        host.boot();
    }
    for host in &world.hosts[..2] {
        host.wait_for("run", "or `cluster.found_until` is ahead");
    }
    // All three make a claim; after it nobody asks for a date.
    world.hosts[2].boot();
    world.settle_all();
    assert_eq!(nonces(&claim(&store)).len(), 3);
}

#[test]
fn a_claim_that_is_not_this_cluster_s_is_a_refusal_and_no_absence() {
    let (mut world, store) = world(1, "");
    for (text, why) in [("{}", "is not a claim"), ("{\"format\": 2}", "format 2"), ("", "is not a claim")] {
        fs::write(store.join("claim.json"), text).expect("a claim");
        world.hosts[0].boot();
        assert_eq!(world.hosts[0].run_ends(), 78, "{}", world.hosts[0].said());
        assert!(world.hosts[0].said_by("run").contains(why), "{why}: {}", world.hosts[0].said());
    }
    fs::remove_file(store.join("claim.json")).expect("a claim");
    fs::create_dir(store.join("snapshots")).expect("a trace");
    fs::write(store.join("snapshots/x"), "").expect("a trace");
    world.hosts[0].boot();
    assert_eq!(world.hosts[0].run_ends(), 78, "{}", world.hosts[0].said());
    assert!(world.hosts[0].said_by("run").contains("whose claim is gone"), "{}", world.hosts[0].said());
    assert_eq!(fs::read_dir(world.hosts[0].root.join("var/lib/etcd")).expect("a volume").count(), 1, "no data dir");
}

/// What `backup` leaves in a store: the object, its manifest, and then the pointer to it.
fn back_up(world: &World, store: &Path) -> String {
    let claim = claim(store);
    let directory = "snapshots/000001-00000000000000000020-1700000000-etcd-1";
    fs::create_dir_all(store.join(directory)).expect("a directory");
    let file = store.join(directory).join("snapshot.db");
    let saved = world.etcdctl(0, &["snapshot", "save", file.to_str().expect("a path")]);
    assert!(saved.status.success(), "{}", String::from_utf8_lossy(&saved.stderr));
    let bytes = fs::read(&file).expect("a snapshot");
    let sha256 = sha256(&bytes);
    let manifest = json!({
        "format": 1, "cluster_name": "prod", "cluster_id": claim["cluster_id"], "epoch": 1, "generation": 1,
        "founding": claim["t"], "member": "etcd-1", "etcd_version": "3.5.30", "revision": 20, "db_bytes": bytes.len(),
        "object_bytes": bytes.len(), "sha256": sha256, "sha256_db": sha256, "codec": "none", "cipher": "none",
        "created_at": "2026-11-21T03:00:00Z", "program": "0.1.0", "a key of a later version": true,
    });
    fs::write(store.join(directory).join("manifest.json"), manifest.to_string()).expect("a manifest");
    let latest =
        json!({"generation": 1, "revision": 20, "manifest": format!("{directory}/manifest.json"), "sha256": sha256});
    fs::write(store.join("latest.json"), latest.to_string()).expect("a pointer");
    sha256
}

#[test]
fn hosts_that_lost_every_disk_restore_the_newest_snapshot_where_the_policy_says_so() {
    let (mut world, store) = world(3, ", on_total_loss: restore");
    world.boot_all();
    world.put(0, "kept", "yes");
    let sha256 = back_up(&world, &store);
    world.put(0, "written after the backup", "yes");
    let before = world.hosts[0].cluster_id();
    for host in &mut world.hosts {
        host.wipe();
    }
    world.boot_all();
    let claim = claim(&store);
    assert_eq!(
        (&claim["state"], &claim["generation"], &claim["snapshot"]),
        (&"founded".into(), &2.into(), &sha256.into())
    );
    assert!(claim["cluster_id"] == world.hosts[0].cluster_id() && claim["cluster_id"] != before);
    assert_eq!(world.get(1, "kept"), "yes");
    assert_eq!(world.get(2, "written after the backup"), "");
    let disks = world.ask(0, &["get", "--prefix", "/etcd-bootstrapper/disks/", "--keys-only"]);
    assert_eq!(disks["count"], 6, "those of the old cluster are not taken for ours: {disks}");
}

#[test]
fn nothing_is_restored_over_disks_that_may_still_be_there() {
    let (mut world, store) = world(3, ", on_total_loss: restore");
    world.boot_all();
    world.put(0, "kept", "yes");
    back_up(&world, &store);
    world.put(0, "written after the backup", "yes");
    // All volumes are detached; two machines come back on blank ones, and the third is not heard of.
    for host in &mut world.hosts {
        host.takes_its_disk_out();
    }
    world.hosts[0].boot();
    world.hosts[1].boot();
    for host in &world.hosts[..2] {
        host.wait_for("run", "waiting for: etcd-3 at");
    }
    assert_eq!(claim(&store)["generation"], 1);
    // It comes back with its volume, which is no quorum and still is not restored over.
    world.hosts[2].puts_its_disk_back();
    world.hosts[2].boot();
    world.hosts[2].hand_off();
    for host in &world.hosts[..2] {
        host.wait_for("run", "row 10: ");
    }
    assert_eq!(claim(&store)["generation"], 1);
    // The volumes of the others are attached again: nothing is lost.
    for host in &mut world.hosts[..2] {
        host.kill();
        host.puts_its_disk_back();
        host.boot();
    }
    for host in &mut world.hosts[..2] {
        host.settle();
    }
    world.hosts[2].finish_ends();
    assert_eq!(world.get(2, "written after the backup"), "yes");
    assert_eq!(claim(&store)["generation"], 1);
}

#[test]
fn a_survivor_that_goes_on_alone_takes_the_claim_over() {
    let (mut world, store) = world(3, "");
    world.boot_all();
    world.put(0, "kept", "yes");
    for host in &mut world.hosts[1..] {
        host.wipe();
    }
    world.hosts[0].kill();
    let config = format!("{}recover: {{survivor: etcd-1, epoch: 2}}\n", with_store(&world.config(), ""));
    world.hosts.iter().for_each(|host| host.configure(&config));
    for host in &mut world.hosts[1..] {
        host.boot();
        host.wait_for("run", "row 20");
    }
    world.hosts[0].boot();
    // Whichever adds itself first: the other waits for it.
    world.settle_all();
    assert_eq!(world.get(2, "kept"), "yes");
    let claim = claim(&store);
    assert_eq!((&claim["state"], &claim["epoch"]), (&"founded".into(), &2.into()));
    assert_eq!((&claim["cluster_id"], nonces(&claim).len()), (&world.hosts[0].cluster_id().into(), 3));
}
