//! The decisions made true by real etcd over TLS, one namespace a host.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::wal_disk::apart;
use crate::world::{Host, World};

fn settled(size: usize) -> World {
    let mut world = World::new(size);
    world.boot_all();
    world
}

#[test]
fn three_blank_hosts_found_one_cluster() {
    let world = settled(3);
    let ids: Vec<String> = world.hosts.iter().map(|h| h.cluster_id()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "one cluster ID: {ids:?}");
    for on in 0..3 {
        assert_eq!(world.members(on), (vec!["etcd-1".into(), "etcd-2".into(), "etcd-3".into()], 0));
        world.put(on, &format!("written-on-{on}"), "yes");
    }
    for on in 0..3 {
        for key in 0..3 {
            assert_eq!(world.get(on, &format!("written-on-{key}")), "yes", "key of {key} read on {on}");
        }
    }
    for host in &world.hosts {
        let env: std::collections::BTreeMap<String, String> = host.environment().into_iter().collect();
        assert_eq!(env["ETCD_INITIAL_CLUSTER_STATE"], "new");
        assert!(env["ETCD_INITIAL_CLUSTER_TOKEN"].starts_with("prod.1."), "{}", env["ETCD_INITIAL_CLUSTER_TOKEN"]);
        let rows = host.rows();
        // The first to commit pulls the others after it.
        assert!(rows.ends_with(&[28, 7]) || rows.ends_with(&[8, 7]), "{}: rows {rows:?}", host.name);
    }
}

#[test]
fn one_host_founds_alone_when_size_is_one() {
    let world = settled(1);
    assert_eq!(world.members(0), (vec!["etcd-1".into()], 0));
    assert_eq!(world.hosts[0].rows(), [26, 28, 7]);
}

/// Where etcd was told that its log is.
fn log(host: &Host) -> PathBuf {
    let apart = host.environment().into_iter().find(|(key, _)| key == "ETCD_WAL_DIR");
    apart.map_or_else(|| host.root.join("var/lib/etcd/data/member/wal"), |(_, wal)| wal.into())
}

/// What a power cut leaves between the moment at which etcd's log is durable and its first entry: the records behind this byte
/// and all of the database are gone.
fn forget_the_first_entry(host: &Host) {
    let member = host.root.join("var/lib/etcd/data/member");
    let wal = log(host).join("0000000000000000-0000000000000000.wal");
    let log = File::options().read(true).write(true).open(wal).expect("a log");
    let (mut at, size) = (0, log.metadata().expect("it is there").len());
    // A checksum, whose log it is, and an empty snapshot.
    for _ in 0..3 {
        let mut frame = [0; 8];
        log.read_exact_at(&mut frame, at).expect("a record");
        let frame = u64::from_le_bytes(frame);
        let padding = if frame >> 63 == 1 { frame >> 56 & 7 } else { 0 };
        at += 8 + (frame & (u64::MAX >> 8)) + padding;
    }
    log.set_len(at).and_then(|()| log.set_len(size)).expect("it can be written");
    std::fs::remove_file(member.join("snap/db")).expect("a database");
}

#[test]
fn a_power_cut_before_the_first_entry_of_a_founding_is_no_end_to_it() {
    for (size, two_disks) in [(1, false), (3, false), (1, true)] {
        let world = World::new(size);
        let mut world = if two_disks { apart(world) } else { world };
        world.hosts.iter_mut().for_each(Host::boot);
        let mut waiting: Vec<&mut Host> = world.hosts.iter_mut().collect();
        while !waiting.is_empty() {
            // Nobody notes that there was a leader.
            waiting.retain_mut(|host| {
                let ended = !host.run_goes_on();
                if ended {
                    assert_eq!(host.run_ends(), 0, "{}", host.said_by("run"));
                    host.start_etcd();
                }
                !ended
            });
            std::thread::sleep(Duration::from_millis(5));
        }
        world.until(|w| w.hosts.iter().all(|h| log(h).exists()));
        let before: Vec<String> = world.hosts.iter().map(|h| h.member_id()).collect();
        for host in &mut world.hosts {
            host.kill();
            forget_the_first_entry(host);
        }
        world.boot_all();
        let after: Vec<String> = world.hosts.iter().map(|h| h.member_id()).collect();
        assert_eq!(after, before, "the same founding by the same disks");
        assert_eq!(world.members(0).0.len(), size);
    }
}

#[test]
fn a_majority_of_blanks_is_not_enough_to_found() {
    let mut world = World::new(3);
    world.hosts[0].boot();
    world.hosts[1].boot();
    for host in &world.hosts[..2] {
        host.wait_for("run", "etcd-3 at https://10.78.0.13:2380");
        assert!(!host.root.join("run/etcd-bootstrapper/ready").exists());
    }
    world.hosts[2].boot();
    world.settle_all();
    assert_eq!(world.members(0).0.len(), 3);
}

#[test]
fn a_reboot_of_all_asks_nobody_and_keeps_the_member_ids() {
    let mut world = settled(3);
    world.put(0, "before", "the reboot");
    let before: Vec<String> = world.hosts.iter().map(|h| h.member_id()).collect();
    for host in &mut world.hosts {
        host.kill();
        // Neither network nor configuration: what the disk holds is enough (L13).
        host.link(false);
        std::fs::remove_file(host.root.join("etc/etcd-bootstrapper/config.yaml")).expect("it was configured");
    }
    for host in &mut world.hosts {
        host.boot();
        assert_eq!(host.run_ends(), 0, "{}", host.said_by("run"));
        assert_eq!(host.rows(), [4], "{}", host.said_by("run"));
    }
    for host in &mut world.hosts {
        host.link(true);
        host.start_etcd();
        host.start_finish();
    }
    for host in &mut world.hosts {
        host.finish_ends();
    }
    let after: Vec<String> = world.hosts.iter().map(|h| h.member_id()).collect();
    assert_eq!(after, before);
    assert_eq!(world.get(2, "before"), "the reboot");
}

#[test]
fn a_member_that_lost_its_disk_is_replaced_under_a_new_id() {
    let mut world = settled(3);
    world.put(0, "kept", "by the others");
    let lost = world.hosts[2].member_id();
    world.hosts[2].wipe();
    let began = Instant::now();
    world.hosts[2].boot();
    world.hosts[2].settle();
    println!("blank disk to voter: {:.1} s", began.elapsed().as_secs_f64());
    assert_ne!(world.hosts[2].member_id(), lost);
    assert_eq!(world.members(0), (vec!["etcd-1".into(), "etcd-2".into(), "etcd-3".into()], 0));
    assert_eq!(world.get(2, "kept"), "by the others");
    let rows = world.hosts[2].rows();
    assert!(rows.contains(&14) && rows.contains(&16) && rows.contains(&13), "replaced, then joined: {rows:?}");
}

#[test]
fn mode_init_is_refused_where_a_cluster_answers() {
    let mut world = settled(3);
    let config = world.config();
    world.hosts[2].wipe();
    let refused = config.replace("mode: auto", "mode: init");
    assert_ne!(refused, config, "config new writes the mode");
    // The old entry is this host's previous life; without it the mode alone is at stake.
    let id = world.hosts[2].member_id_before(&world, "etcd-3");
    world.remove_member(&id);
    world.hosts[2].configure(&refused);
    world.hosts[2].boot();
    assert_eq!(world.hosts[2].run_ends(), 78, "{}", world.hosts[2].said_by("run"));
    assert!(world.hosts[2].said_by("run").contains("mode is init"), "{}", world.hosts[2].said_by("run"));
}

#[test]
fn a_founding_that_comes_too_late_is_refused() {
    let mut world = World::new(1);
    let config = world.config();
    let old: String = config
        .lines()
        .map(|l| if l.trim_start().starts_with("found_until:") { "  found_until: 2026-01-02T00:00:00Z" } else { l })
        .collect::<Vec<_>>()
        .join("\n");
    assert_ne!(old, config);
    world.hosts[0].configure(&old);
    world.hosts[0].boot();
    assert_eq!(world.hosts[0].run_ends(), 78);
    let said = world.hosts[0].said_by("run");
    assert!(said.contains("2026-01-02") && said.contains("cluster.found_until"), "{said}");
}

#[test]
fn a_clock_that_only_the_image_s_date_moved_founds_nothing_until_a_time_server_has_set_it() {
    let mut world = World::new(1);
    let config = format!("{}timeouts: {{time_sync: 1s}}\n", world.config());
    let host = &mut world.hosts[0];
    host.configure(&config);
    // An image of today, on a machine that has been up since before: as where systemd has moved the clock.
    std::fs::create_dir_all(host.root.join("usr/lib")).expect("a directory");
    std::fs::write(host.root.join("usr/lib/clock-epoch"), "").expect("a file");
    host.boot();
    assert_eq!(host.run_ends(), 78, "{}", host.said_by("run"));
    assert!(host.said_by("run").contains("waiting up to 1 s for the time"), "{}", host.said_by("run"));
    assert_eq!(host.rows().last(), Some(&25));

    host.boot();
    host.wait_for("run", "waiting up to 1 s for the time");
    std::fs::create_dir_all(host.root.join("run/systemd/timesync")).expect("a directory");
    std::fs::write(host.root.join("run/systemd/timesync/synchronized"), "").expect("a file");
    host.settle();
    assert_eq!(world.members(0).0, ["etcd-1"]);
}

#[test]
fn hosts_that_do_not_agree_wait_and_name_the_difference() {
    let mut world = World::new(3);
    let other = world.config().replace("name: \"prod\"", "name: prod-b");
    world.hosts[2].configure(&other);
    for host in &mut world.hosts {
        host.boot();
    }
    world.hosts[0].wait_for("run", "cluster.name is prod here and prod-b there");
    world.hosts[2].wait_for("run", "cluster.name is prod-b here and prod there");
}

#[test]
fn a_peer_of_another_ca_is_unknown_and_nothing_is_founded() {
    let mut world = World::new(3);
    let ours = world.config();
    world.configure("stranger", &[]);
    let theirs = std::fs::read_to_string(world.dir.join("stranger/config.yaml")).expect("config new wrote it");
    for host in &world.hosts[..2] {
        host.configure(&ours);
    }
    world.hosts[2].configure(&theirs.replace("name: \"stranger\"", "name: prod"));
    for host in &mut world.hosts {
        host.boot();
    }
    world.hosts[0].wait_for("run", "TLS failed");
    assert!(!world.hosts[0].rows().contains(&26), "{:?}", world.hosts[0].rows());
}

#[test]
fn a_member_joins_with_an_etcd_that_forgets_promotions_and_is_warned() {
    let mut world = settled(3);
    world.hosts[1].wipe();
    world.hosts[1].use_etcd("trixie");
    world.hosts[1].boot();
    world.hosts[1].settle();
    assert_eq!(world.members(0).0.len(), 3);
    world.hosts[1].wait_for("finish", "does not persist a promotion");
}

/// A snapshot of a cluster of one with some keys: its path, its sha256 and its revision.
pub fn snapshot_of(world: &World) -> (std::path::PathBuf, String, u64) {
    for i in 0..20 {
        world.put(0, &format!("key-{i}"), &format!("value-{i}"));
    }
    let file = world.dir.join("prod.db");
    let saved = world.etcdctl(0, &["snapshot", "save", file.to_str().expect("a path")]);
    assert!(saved.status.success(), "{}", String::from_utf8_lossy(&saved.stderr));
    let bytes = std::fs::read(&file).expect("the snapshot");
    let hash = ring::digest::digest(&ring::digest::SHA256, &bytes);
    let sha256 = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    let status = world.ask(0, &["endpoint", "status"]);
    (file, sha256, status[0]["Status"]["header"]["revision"].as_u64().expect("a revision"))
}

#[test]
fn three_hosts_restore_one_snapshot_and_hold_equal_keys() {
    let source = settled(1);
    let (file, sha256, revision) = snapshot_of(&source);
    let old = source.hosts[0].cluster_id();
    let url = format!("file://{}", file.display());
    let mut world = World::with(3, &["--restore-url", &url, "--restore-sha256", &sha256]);
    let began = Instant::now();
    world.boot_all();
    println!("snapshot to three voters: {:.1} s", began.elapsed().as_secs_f64());
    for host in &world.hosts {
        // Each etcd would wait seven seconds for the others' hashes, which they tell only afterwards; finish compares them.
        assert!(!host.said_by("etcd").contains("starting initial corruption check"), "{}", host.said_by("etcd"));
    }
    for on in 0..3 {
        assert_eq!(world.get(on, "key-7"), "value-7");
    }
    let status = world.ask(0, &["endpoint", "status"]);
    let now = status[0]["Status"]["header"]["revision"].as_u64().expect("a revision");
    assert!(now >= revision + 1_000_000_000, "revision {now} after {revision}");
    assert_ne!(world.hosts[0].cluster_id(), old);
    assert_eq!(world.members(0), (vec!["etcd-1".into(), "etcd-2".into(), "etcd-3".into()], 0));
    let hashes = world.ask(0, &["endpoint", "hashkv", "--cluster"]);
    let hashes: Vec<u64> =
        hashes.as_array().expect("hashes").iter().filter_map(|h| h["HashKV"]["hash"].as_u64()).collect();
    assert!(hashes.len() == 3 && hashes.iter().all(|h| *h == hashes[0]), "{hashes:?}");
    for host in &world.hosts {
        assert!(host.rows().contains(&27), "{}: {:?}", host.name, host.rows());
    }
    world.hosts[0].kill();
    world.hosts[0].boot();
    world.hosts[0].settle();
    world.hosts[0].wait_for("etcd", "initial corruption checking passed");
}

/// Its own USB stick was forgotten, or its firewall lets nothing out.
#[test]
fn a_host_that_cannot_reach_the_source_takes_the_snapshot_from_a_peer() {
    let source = settled(1);
    let (file, sha256, _) = snapshot_of(&source);
    let url = format!("file://{}", file.display());
    let mut world = World::with(3, &["--restore-url", &url, "--restore-sha256", &sha256]);
    world.hosts[2].configure(&world.config().replace(&url, "file:///nowhere/prod.db"));
    world.boot_all();
    for on in 0..3 {
        assert_eq!(world.get(on, "key-7"), "value-7");
    }
    let said = world.hosts[2].said_by("run");
    assert!(said.contains("fetching the snapshot from the peer etcd-"), "{said}");
}

#[test]
fn a_committed_restore_whose_staging_is_gone_is_staged_again() {
    let source = settled(1);
    let (file, sha256, _) = snapshot_of(&source);
    let url = format!("file://{}", file.display());
    let mut world = World::with(1, &["--restore-url", &url, "--restore-sha256", &sha256]);
    let host = &mut world.hosts[0];
    let volume = host.root.join("var/lib/etcd");
    // Something of nobody's in the place of the data dir: what is committed cannot be put there yet.
    std::fs::create_dir_all(volume.join("data/lost+found")).expect("a directory");
    host.boot();
    assert_eq!(host.run_ends(), 75, "{}", host.said_by("run"));
    assert!(host.said_by("run").contains("must be empty or absent for a restore"), "{}", host.said_by("run"));
    let journal = std::fs::read_to_string(volume.join("bootstrapper/journal.jsonl")).expect("the journal");
    assert!(journal.contains("\"commit\"") && !journal.contains("\"handed_off\""), "{journal}");

    std::fs::remove_dir_all(volume.join("data")).expect("the obstacle is cleared");
    std::fs::remove_dir_all(volume.join("bootstrapper/staging")).expect("there was a staging");
    host.boot();
    host.settle();
    assert_eq!(host.rows(), [7, 7], "{}", host.said_by("run"));
    assert!(host.said_by("run").contains("founding: restore snapshot"), "{}", host.said_by("run"));
    assert_eq!(world.get(0, "key-7"), "value-7");
    assert_eq!(world.members(0), (vec!["etcd-1".into()], 0));
}

#[test]
fn a_snapshot_with_another_sum_is_never_restored() {
    let source = settled(1);
    let (file, _, _) = snapshot_of(&source);
    let url = format!("file://{}", file.display());
    let mut world = World::with(1, &["--restore-url", &url, "--restore-sha256", &"0".repeat(64)]);
    world.hosts[0].boot();
    assert_eq!(world.hosts[0].run_ends(), 65, "{}", world.hosts[0].said_by("run"));
    assert!(world.hosts[0].said_by("run").contains("sha256"), "{}", world.hosts[0].said_by("run"));
    assert!(!world.hosts[0].root.join("var/lib/etcd/data").exists());
}

#[test]
fn a_cluster_that_answers_beats_the_wish_to_restore() {
    let source = settled(1);
    let (file, sha256, _) = snapshot_of(&source);
    let mut world = settled(3);
    world.put(0, "living", "data");
    let restore = format!("restore: {{url: \"file://{}\", sha256: \"{sha256}\"}}\n", file.display());
    world.hosts[1].configure(&format!("{}{restore}", world.config()));
    world.hosts[1].wipe();
    world.hosts[1].boot();
    world.hosts[1].settle();
    assert_eq!(world.get(1, "living"), "data");
    assert_eq!(world.get(1, "key-7"), "");
}

#[test]
fn a_removed_member_comes_back_under_a_new_id_with_its_old_data_in_the_trash() {
    let mut world = settled(3);
    let old = world.hosts[2].member_id();
    world.remove_member(&old);
    world.hosts[2].etcd_ends_itself();
    world.hosts[2].settle();
    assert_ne!(world.hosts[2].member_id(), old);
    assert_eq!(world.members(0).0.len(), 3);
    let trash = world.hosts[2].root.join("var/lib/etcd/bootstrapper/trash");
    let kept = std::fs::read_dir(trash)
        .expect("a trash")
        .filter_map(Result::ok)
        .any(|t| t.path().join("data/member").exists());
    assert!(kept, "nothing of the user's is deleted");
}
