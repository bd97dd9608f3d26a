//! What clients and alarms of the old cluster meet in the restored one.

use std::process::Stdio;

use crate::cluster::snapshot_of;
use crate::world::World;

/// The option of `config new` that restores this file.
fn restoring(file: &std::path::Path, sha256: &str, size: usize) -> World {
    let url = format!("file://{}", file.display());
    World::with(size, &["--restore-url", &url, "--restore-sha256", sha256])
}

/// As kube-apiserver watches: from the revision that it has seen last. It must list anew, and not wait for what never comes.
#[test]
fn a_watch_from_before_the_restore_is_told_that_its_revision_was_compacted() {
    let mut source = World::new(1);
    source.boot_all();
    let (file, sha256, revision) = snapshot_of(&source);
    let mut world = restoring(&file, &sha256, 1);
    world.boot_all();
    world.put(0, "key-7", "after the restore");
    for from in [revision - 10, revision, revision + 1, revision + 1000] {
        let mut watch = world.etcdctl_command(0);
        watch.args(["watch", "key-7", "--rev", &from.to_string()]).stdin(Stdio::null());
        // It ends by itself once it is cancelled; one that waits in silence would be killed by timeout(1).
        let program = watch.get_program().to_owned();
        let mut limited = std::process::Command::new("timeout");
        limited.arg("20").arg(program).args(watch.get_args());
        let output = limited.envs(watch.get_envs().filter_map(|(k, v)| Some((k, v?)))).output().expect("etcdctl runs");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("required revision has been compacted"), "watch from {from} of {revision}: {said}");
    }
}

/// A database that was full brings the alarm of a member along that does not exist any more; nobody could write.
#[test]
fn an_alarm_that_was_in_the_snapshot_is_disarmed() {
    let mut source = World::new(1);
    source.hosts[0].configure(&format!("{}etcd: {{quota-backend-bytes: 2097152}}\n", source.config()));
    source.boot_all();
    let value = "x".repeat(100_000);
    let full = (0..60).find(|i| !source.etcdctl(0, &["put", &format!("large-{i}"), &value]).status.success());
    assert!(full.is_some(), "it was never full");
    let alarms =
        |world: &World| String::from_utf8_lossy(&world.etcdctl(0, &["alarm", "list"]).stdout).trim().to_owned();
    assert!(alarms(&source).contains("NOSPACE"), "{}", alarms(&source));

    let file = source.dir.join("full.db");
    assert!(source.etcdctl(0, &["snapshot", "save", file.to_str().expect("a path")]).status.success());
    let bytes = std::fs::read(&file).expect("the snapshot");
    let mut world = restoring(&file, &crate::support::fixture::sha256(&bytes), 1);
    world.boot_all();
    assert_eq!(alarms(&world), "");
    world.put(0, "written", "after the restore");
    assert_eq!(world.get(0, "written"), "after the restore");
    let said = world.hosts[0].said_by("run");
    assert!(said.contains("the snapshot is of a cluster at revision"), "{said}");
}

/// The database brings the name of the cluster along that it was taken from, and whoever joins goes by the name.
#[test]
fn a_cluster_that_was_restored_from_another_one_has_its_own_name_and_takes_a_lost_member_back() {
    let mut source = World::new(1);
    source.boot_all();
    let (file, sha256, _) = snapshot_of(&source);
    let mut world = restoring(&file, &sha256, 3);
    let config = world.config().replace("  name: \"prod\"\n", "  name: \"staging\"\n");
    world.hosts.iter().for_each(|host| host.configure(&config));
    world.boot_all();
    assert_eq!(world.get(0, "/etcd-bootstrapper/cluster"), "staging");
    // Whoever comes later has been told of no restore any more.
    let (before, restore) = config.split_once("restore:\n").expect("a restore");
    let (_, after) = restore.split_once("tls:\n").expect("certificates");
    world.hosts[2].configure(&format!("{before}tls:\n{after}"));
    world.hosts[2].wipe();
    world.hosts[2].boot();
    world.hosts[2].settle();
    assert_eq!(world.get(2, "key-7"), "value-7");
    assert_eq!(world.members(0), (vec!["etcd-1".into(), "etcd-2".into(), "etcd-3".into()], 0));
}
