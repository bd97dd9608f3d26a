//! A disk that the write-ahead log has for itself: real etcd, and what becomes of a member whose two disks part.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bootstrapper::observe::data_dir::applied;
use serde_json::Value;

use crate::cluster::snapshot_of;
use crate::operator::{Load, in_trash, journal, keys, leader, recover_all, reset, stderr};
use crate::world::{Host, World};

/// Below another root than `/` the directories are used as they are, whatever the disks are called.
pub const APART: &str = "data: {device: {name: sdb}, wal_device: {name: sdc}}\n";

/// Every host's log is to be on a disk of its own.
pub fn apart(world: World) -> World {
    for host in &world.hosts {
        host.configure(&format!("{}{APART}", world.config()));
    }
    world
}

fn settled(size: usize) -> World {
    let mut world = apart(World::new(size));
    world.boot_all();
    world.put(0, "acknowledged", "before");
    world
}

fn wal_disk(host: &Host) -> PathBuf {
    host.root.join("var/lib/etcd-wal")
}

/// The log that etcd was told of; that of the life of now, and nowhere else.
fn log(host: &Host) -> PathBuf {
    let environment = host.environment();
    let told = environment.iter().find(|(key, _)| key == "ETCD_WAL_DIR").expect("etcd is told of it");
    let log = PathBuf::from(&told.1);
    assert_eq!(log.parent().and_then(Path::parent), Some(wal_disk(host).as_path()), "{log:?}");
    assert!(segments(&log) > 0, "{log:?} is empty");
    assert!(!host.root.join("var/lib/etcd/data/member/wal").exists(), "a second log, in the data dir");
    log
}

fn segments(log: &Path) -> usize {
    let files = fs::read_dir(log).map(|files| files.filter_map(Result::ok).collect()).unwrap_or_else(|_| Vec::new());
    files.iter().filter(|file| file.path().extension().is_some_and(|e| e == "wal")).count()
}

/// A blank disk in the place of the one with the log.
fn new_wal_disk(host: &mut Host) {
    host.kill();
    fs::remove_dir_all(wal_disk(host)).expect("there was one");
}

#[test]
fn a_member_starts_again_with_its_log_on_its_own_disk_and_is_replaced_without_that_disk() {
    let mut world = settled(3);
    let before = log(&world.hosts[2]);
    world.hosts[2].kill();
    world.hosts[2].boot();
    world.hosts[2].settle();
    assert_eq!((log(&world.hosts[2]), world.hosts[2].rows()), (before.clone(), vec![4]), "a reboot changes nothing");

    let id = world.hosts[2].member_id();
    new_wal_disk(&mut world.hosts[2]);
    world.hosts[2].boot();
    world.hosts[2].settle();
    let rows = world.hosts[2].rows();
    assert!(rows.contains(&6) && rows.contains(&14) && !rows.contains(&4), "{rows:?}");
    world.hosts[2].wait_for("run", "the write-ahead log is not there");
    assert_ne!(world.hosts[2].member_id(), id, "it never returns under its old member ID");
    assert_ne!(log(&world.hosts[2]), before);
    assert_eq!(in_trash(&world.hosts[2]).len(), 1);
    assert_eq!(world.get(2, "acknowledged"), "before");

    // The other way round: the data disk is gone and that of the log is not.
    let before = log(&world.hosts[2]);
    world.hosts[2].kill();
    fs::remove_dir_all(world.hosts[2].root.join("var/lib/etcd")).expect("it had data");
    world.hosts[2].boot();
    world.hosts[2].settle();
    assert_ne!(log(&world.hosts[2]), before);
    assert!(segments(&before) > 0, "nothing of the user's is deleted");
    assert_eq!(world.get(2, "acknowledged"), "before");
    assert_eq!(world.members(2).0.len(), 3);
}

/// As a volume that was put back to what it was yesterday: the same disk, and entries of its that others counted are gone.
#[test]
fn a_member_whose_log_is_an_older_one_is_replaced() {
    let mut world = settled(3);
    let (log, kept) = (log(&world.hosts[2]), world.dir.join("yesterday"));
    let id = world.hosts[2].member_id();
    world.hosts[2].kill();
    let copied = Command::new("cp").args(["-a"]).args([&log, &kept]).status().expect("cp runs");
    assert!(copied.success());
    world.hosts[2].boot();
    world.hosts[2].settle();
    for i in 0..20 {
        world.put(2, &format!("today-{i}"), "acknowledged");
    }
    let data = world.hosts[2].root.join("var/lib/etcd/data");
    let before = applied(&data).expect("a database");
    // etcd puts what it has applied into its database ten times a second.
    world.until(|world| {
        world.put(2, "today", "acknowledged");
        applied(&data).is_ok_and(|applied| applied > before)
    });
    world.hosts[2].kill();
    fs::remove_dir_all(&log).expect("a log");
    fs::rename(&kept, &log).expect("yesterday's");
    world.hosts[2].boot();
    world.hosts[2].settle();
    world.hosts[2].wait_for("run", "the log is an older one");
    assert!(world.hosts[2].rows().contains(&6), "{:?}", world.hosts[2].rows());
    assert_ne!(world.hosts[2].member_id(), id);
    assert_eq!(world.get(2, "today-19"), "acknowledged");
}

#[test]
fn members_that_all_lost_the_disk_of_their_log_never_found_again() {
    let mut world = settled(3);
    let before = world.hosts[0].cluster_id();
    let kept: Vec<PathBuf> = world.hosts.iter().map(|host| host.root.with_extension("wal")).collect();
    for (host, kept) in world.hosts.iter_mut().zip(&kept) {
        host.kill();
        fs::rename(wal_disk(host), kept).expect("it has one");
    }
    for host in &mut world.hosts {
        host.boot();
    }
    // Whoever ends first is silent for the others, so that these wait.
    world
        .until(|world| world.hosts.iter().all(|host| host.said_by("run").contains("the write-ahead log is not there")));
    for host in &mut world.hosts {
        assert!(host.rows().iter().all(|row| *row == 6), "{}", host.said_by("run"));
        assert!(!host.root.join("run/etcd-bootstrapper/ready").exists(), "{} may start", host.name);
        host.kill();
    }
    for (host, kept) in world.hosts.iter().zip(&kept) {
        let _blank = fs::remove_dir_all(wal_disk(host));
        fs::rename(kept, wal_disk(host)).expect("it is attached again");
    }
    world.boot_all();
    assert_eq!((world.hosts[0].cluster_id(), world.get(1, "acknowledged")), (before, "before".into()));
}

#[test]
fn a_founding_that_was_committed_does_not_begin_again_on_another_disk() {
    let mut world = apart(World::new(1));
    world.boot_all();
    world.hosts[0].kill();
    let whole = journal(&world.hosts[0]);
    // As if the power had failed right behind the commit, before etcd was started.
    let end = whole.find(r#"{"event":"handed_off"#).expect("a hand-off");
    let host = &mut world.hosts[0];
    fs::write(host.root.join("var/lib/etcd/bootstrapper/journal.jsonl"), &whole[..end]).expect("a journal");
    fs::remove_dir_all(host.root.join("var/lib/etcd/data")).expect("a data dir");
    fs::remove_file(host.root.join("var/lib/etcd/bootstrapper/identity.json")).expect("an identity");
    new_wal_disk(host);
    host.boot();
    assert_eq!(host.run_ends(), 78, "{}", host.said_by("run"));
    assert_eq!(host.rows(), [6]);
    let done = reset(host, &["--yes"]);
    assert!(done.status.success(), "{}", stderr(&done));
    host.boot();
    host.settle();
    log(host);
}

#[test]
fn a_survivor_s_log_on_its_own_disk_gives_every_acknowledged_write() {
    let mut world = settled(3);
    let survivor = leader(&world);
    let old = log(&world.hosts[survivor]);
    let loads: Vec<Load> = (0..3).map(|on| Load::on(&world, on, 0)).collect();
    loads.iter().for_each(|load| load.wait_for(10));
    world.hosts.iter_mut().for_each(Host::kill);
    let acknowledged: BTreeSet<_> = loads.into_iter().flat_map(Load::end).collect();
    for i in (0..3).filter(|i| *i != survivor) {
        world.hosts[i].wipe();
    }
    for host in &world.hosts {
        host.configure(&format!("{}{APART}recover: {{survivor: etcd-{}, epoch: 2}}\n", world.config(), survivor + 1));
    }
    recover_all(&mut world, survivor);
    for on in 0..3 {
        assert_eq!(acknowledged.difference(&keys(&world, on)).next(), None, "a write is gone");
    }
    let host = &world.hosts[survivor];
    assert_ne!(log(host), old);
    let data = in_trash(host).pop().expect("the old data is kept");
    let to = data.ancestors().nth(2).and_then(Path::file_name).expect("a name in the trash");
    assert!(segments(&wal_disk(host).join("trash").join(to).join("wal")) > 0, "the old log is kept beside it");
    assert!(!old.exists());
    // The survivor's next start is an ordinary one.
    world.hosts[survivor].kill();
    world.hosts[survivor].boot();
    world.hosts[survivor].settle();
    assert_eq!(world.hosts[survivor].rows(), [4]);
}

#[test]
fn restored_data_has_its_log_on_the_disk_for_it() {
    let mut source = World::new(1);
    source.boot_all();
    let (file, sha256, _) = snapshot_of(&source);
    let url = format!("file://{}", file.display());
    let mut world = apart(World::with(3, &["--restore-url", &url, "--restore-sha256", &sha256]));
    world.boot_all();
    for (on, host) in world.hosts.iter().enumerate() {
        log(host);
        assert_eq!(world.get(on, "key-7"), "value-7");
    }
}

#[test]
fn a_disk_for_the_log_counts_from_the_next_life_on() {
    let mut world = World::new(1);
    world.boot_all();
    world.put(0, "acknowledged", "before");
    let to_env = |host: &Host| host.environment().iter().any(|(key, _)| key == "ETCD_WAL_DIR");
    let host = &mut world.hosts[0];
    host.kill();
    host.configure(&format!(
        "{}{APART}",
        fs::read_to_string(host.root.join("etc/etcd-bootstrapper/config.yaml")).unwrap()
    ));
    host.boot();
    host.settle();
    assert!(!to_env(host), "its log is in its data dir, and stays there");
    assert_eq!(world.get(0, "acknowledged"), "before");
    let host = &mut world.hosts[0];
    host.kill();
    let done = reset(host, &["--yes", "--json"]);
    let told: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    let trash = PathBuf::from(told["trash"].as_str().expect("a path"));
    assert!(segments(&trash.join("data/member/wal")) > 0);
    host.boot();
    host.settle();
    let first = log(host);

    // And back: what is not named any more is used by the life that has it.
    host.kill();
    let config = world.config();
    let host = &mut world.hosts[0];
    host.configure(&config);
    host.boot();
    host.settle();
    assert_eq!(log(host), first);
}
