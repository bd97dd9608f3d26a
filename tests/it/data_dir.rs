//! What `observe::data_dir` makes of what real etcd leaves on a disk.
#![allow(clippy::disallowed_methods)]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bootstrapper::observe::data_dir::{self, consistent_index, written_by};
use bootstrapper::observe::{bolt::Bolt, data_dir::database_path, wal};
use plan::facts::{Database, Disk, Wal};
use plan::member::{ClusterId, MemberId};

use super::support::etcd::{Etcd, binary, output, port};
use super::support::scratch::{Scratch, until};

const NOTHING: Disk =
    Disk { member: false, wal: Wal::Absent, snap_index: None, database: Database::Absent, locked: false };

fn log(data: &Path) -> PathBuf {
    data.join("member/wal")
}

fn look(data: &Path) -> anyhow::Result<Disk> {
    data_dir::look(data, &log(data))
}

fn locked(data: &Path) -> anyhow::Result<bool> {
    data_dir::locked(data, &log(data))
}

fn identify(data: &Path) -> anyhow::Result<Option<(ClusterId, MemberId)>> {
    wal::identify(&log(data))
}

/// Last index, commit index and whether the end is torn, of a log that must be valid.
fn valid(disk: &Disk) -> (u64, u64, bool) {
    match &disk.wal {
        Wal::Valid { last_index, commit, torn, .. } => (*last_index, *commit, *torn),
        Wal::Absent | Wal::Missing { .. } | Wal::Broken { .. } => panic!("not a valid log: {disk:?}"),
    }
}

fn broken(disk: &Disk) -> String {
    match &disk.wal {
        Wal::Broken { what } => what.clone(),
        Wal::Absent | Wal::Missing { .. } | Wal::Valid { .. } => panic!("not a broken log: {disk:?}"),
    }
}

fn files(directory: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.to_str().unwrap().ends_with(suffix));
    files.sort();
    files
}

/// Where the zeros begin that etcd preallocated.
fn end_of_records(wal: &Path) -> u64 {
    let bytes = fs::read(wal).unwrap();
    bytes.iter().rposition(|b| *b != 0).unwrap() as u64 + 1
}

/// A cluster of one that wrote these many keys and was killed.
fn written(scratch: &Scratch, name: &str, keys: u32, arguments: &[&str]) -> PathBuf {
    let data = scratch.join(name);
    let etcd = Etcd::single(&data, arguments);
    for i in 0..keys {
        etcd.ctl(&["put", &format!("key{i}"), &"x".repeat(1000)]);
    }
    etcd.kill();
    data
}

/// IDs of the only member as etcdctl prints them.
fn ids(etcd: &Etcd) -> (String, String) {
    let status = etcd.ctl(&["endpoint", "status", "-w", "fields"]);
    let field = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(&format!("\"{name}\""))).unwrap();
        let id: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        format!("{id:x}")
    };
    (field("ClusterID"), field("MemberID"))
}

#[test]
fn a_disk_without_member_data_is_nothing() {
    let scratch = Scratch::new();
    assert_eq!(look(&scratch.join("not-there")).unwrap(), NOTHING);
    assert_eq!(look(scratch.path()).unwrap(), NOTHING);
    fs::create_dir(scratch.join("lost+found")).unwrap();
    assert_eq!(look(scratch.path()).unwrap(), NOTHING);
    assert_eq!(identify(scratch.path()).unwrap(), None);
    fs::create_dir_all(scratch.join("member/wal.tmp")).unwrap();
    fs::create_dir_all(scratch.join("member/wal")).unwrap();
    fs::write(scratch.join("member/wal/0.tmp"), [0; 100]).unwrap();
    assert_eq!(look(scratch.path()).unwrap(), Disk { member: true, ..NOTHING });
}

#[test]
fn what_cannot_be_read_is_an_error_and_not_a_class() {
    let scratch = Scratch::new();
    fs::write(scratch.join("file"), b"").unwrap();
    let error = look(&scratch.join("file")).unwrap_err();
    assert!(format!("{error:#}").contains("file/member: Not a directory"), "{error:#}");
    fs::create_dir_all(scratch.join("data/member/snap/db")).unwrap();
    let error = look(&scratch.join("data")).unwrap_err();
    assert!(format!("{error:#}").contains("member/snap/db: Is a directory"), "{error:#}");
}

#[test]
fn a_founding_that_heard_nobody_holds_its_bootstrap_entries_only() {
    let scratch = Scratch::new();
    let data = scratch.join("data");
    let urls: Vec<String> = (0..3).map(|_| format!("http://127.0.0.1:{}", port())).collect();
    let cluster = format!("a={},b={},c={}", urls[0], urls[1], urls[2]);
    let own = ["--name", "a", "--listen-peer-urls", &urls[0], "--initial-advertise-peer-urls", &urls[0]];
    let etcd = Etcd::start(&data, &[&own[..], &["--initial-cluster", &cluster]].concat());
    until("a term that etcd voted in", || match look(&data).unwrap().wal {
        // Three bootstrap entries, and then an election that nobody answers.
        Wal::Valid { last_index: 3, .. } => fs::read_to_string(data.with_extension("log"))
            .is_ok_and(|log| log.contains("became pre-candidate at term"))
            .then_some(()),
        Wal::Valid { .. } | Wal::Absent | Wal::Missing { .. } | Wal::Broken { .. } => None,
    });
    assert!(look(&data).unwrap().locked);
    etcd.kill();
    let disk = look(&data).unwrap();
    assert_eq!(valid(&disk), (3, 3, false), "{disk:?}");
    assert_eq!((disk.snap_index, disk.locked), (None, false));
    assert_eq!(disk.database, Database::Sound);
}

#[test]
fn a_first_start_that_failed_leaves_a_tiny_database_and_no_log() {
    let scratch = Scratch::new();
    let data = scratch.join("data");
    let (own, other) = (format!("http://127.0.0.1:{}", port()), format!("http://127.0.0.1:{}", port()));
    let cluster = format!("a={own},b={other}");
    // Joining a cluster that does not answer: etcd makes its database, asks, and gives up.
    let etcd = Etcd::start(
        &data,
        &[
            ["--name", "a", "--initial-cluster-state", "existing", "--listen-peer-urls", &own].as_slice(),
            &["--initial-advertise-peer-urls", &own, "--initial-cluster", &cluster],
        ]
        .concat(),
    );
    until("an etcd that gave up", || {
        fs::read_to_string(data.with_extension("log"))
            .is_ok_and(|l| l.contains("cannot fetch cluster info"))
            .then_some(())
    });
    until("an unlocked data dir", || (!locked(&data).unwrap()).then_some(()));
    drop(etcd);
    let aborted = Disk { member: true, database: Database::Tiny, ..NOTHING };
    assert_eq!(look(&data).unwrap(), aborted);
    // Power lost before bolt's first pages were on the disk, and a database that was more than that.
    let db = File::options().write(true).open(database_path(&data)).unwrap();
    for (name, length, behind, database) in [
        ("empty", 0, None, Some(Database::Tiny)),
        ("zeros", 16 << 20, None, Some(Database::Tiny)),
        ("one byte of something", 16 << 20, Some(20_000), None),
    ] {
        db.set_len(0).unwrap();
        db.set_len(length).unwrap();
        if let Some(at) = behind {
            db.write_all_at(b"x", at).unwrap();
        }
        let found = look(&data).unwrap().database;
        match database {
            Some(expected) => assert_eq!(found, expected, "{name}"),
            None => assert!(matches!(found, Database::Broken { .. }), "{name}: {found:?}"),
        }
    }
}

#[test]
fn a_member_is_told_by_its_log_and_locked_while_it_runs() {
    let scratch = Scratch::new();
    let data = scratch.join("data");
    let etcd = Etcd::single(&data, &[]);
    etcd.ctl(&["put", "a", "1"]);
    let (cluster, member) = ids(&etcd);
    let running = look(&data).unwrap();
    assert!(running.locked && locked(&data).unwrap(), "{running:?}");
    // Either lock alone is enough: move the database away, then the log.
    let (db, wal) = (data.join("member/snap"), data.join("member/wal"));
    for path in [db, wal] {
        fs::rename(&path, scratch.join("aside")).unwrap();
        assert!(locked(&data).unwrap(), "without {path:?}");
        fs::rename(scratch.join("aside"), &path).unwrap();
    }
    // etcd commits to its database every 100 ms.
    let version = until("a cluster version on the disk", || written_by(&data).ok().flatten());
    assert_eq!(version.to_string(), "3.5.0");
    etcd.kill();
    let disk = look(&data).unwrap();
    assert!(!disk.locked);
    let Wal::Valid { member_id, cluster_id, last_index, commit, torn } = disk.wal else { panic!("{disk:?}") };
    assert_eq!((cluster_id.to_string(), member_id.to_string(), torn), (cluster, member, false));
    assert!(last_index >= 4 && commit <= last_index, "{last_index} {commit}");
    assert_eq!(identify(&data).unwrap(), Some((cluster_id, member_id)));
    assert_eq!(disk.database, Database::Sound);
}

#[test]
fn a_log_of_several_files_is_one_chain() {
    let scratch = Scratch::new();
    let data = scratch.join("data");
    let etcd = Etcd::single(&data, &["--snapshot-count", "20"]);
    for i in 0..70 {
        etcd.ctl_with(&["put", &format!("key{i}")], &vec![b'x'; 1_000_000]);
    }
    etcd.kill();
    let disk = look(&data).unwrap();
    let (last_index, _, torn) = valid(&disk);
    assert!(last_index >= 70 && !torn, "{disk:?}");
    let snap_index = disk.snap_index.expect("a .snap");
    assert!((20..=last_index).contains(&snap_index), "{disk:?}");
    let bolt = Bolt::open(File::open(database_path(&data)).unwrap()).unwrap();
    assert!((snap_index..=last_index).contains(&consistent_index(&bolt).unwrap()));
    let wals = files(&data.join("member/wal"), ".wal");
    assert!(wals.len() >= 2, "{wals:?}");

    // A snap that does not check is passed over, as etcd does.
    let snaps = files(&data.join("member/snap"), ".snap");
    fs::write(snaps.last().unwrap(), b"").unwrap();
    assert!(look(&data).unwrap().snap_index.unwrap() < snap_index);

    // An incomplete record is repaired in the last file only.
    let whole = fs::read(&wals[0]).unwrap();
    File::options().write(true).open(&wals[0]).unwrap().set_len(whole.len() as u64 - 1).unwrap();
    let what = broken(&look(&data).unwrap());
    assert!(what.contains("0000000000000000.wal at byte") && what.ends_with("a record is incomplete"), "{what}");

    // Files before the oldest are purged; between two none may lack.
    fs::remove_file(&wals[0]).unwrap();
    assert_eq!(valid(&look(&data).unwrap()).0, last_index);
    fs::write(&wals[0], &whole).unwrap();
    fs::rename(&wals[1], data.join("member/wal/0000000000000009-0000000000000099.wal")).unwrap();
    let what = broken(&look(&data).unwrap());
    assert!(what.ends_with("member/wal: after file 0 comes 9"), "{what}");
}

#[test]
fn a_torn_end_is_told_from_a_broken_middle() {
    let scratch = Scratch::new();
    let data = written(&scratch, "data", 20, &[]);
    let wal = files(&data.join("member/wal"), ".wal").remove(0);
    let pristine = fs::read(&wal).unwrap();
    let end = end_of_records(&wal);
    let (last_index, ..) = valid(&look(&data).unwrap());
    let damage = |name: &str, at: u64, bytes: &[u8], length: Option<u64>| {
        fs::write(&wal, &pristine).unwrap();
        let file = File::options().write(true).open(&wal).unwrap();
        file.write_all_at(bytes, at).unwrap();
        file.set_len(length.unwrap_or(pristine.len() as u64)).unwrap();
        let disk = look(&data).unwrap();
        (name.to_owned(), disk)
    };

    // The last record is the hard state of the last put; its frame and the record take less than 64 bytes.
    let (name, disk) = damage("cut inside a record", 0, &[], Some(end - 3));
    assert_eq!((valid(&disk).0, valid(&disk).2), (last_index, true), "{name}");
    let (name, disk) = damage("cut inside a length", 0, &[], Some(pristine.len() as u64));
    assert_eq!((valid(&disk).0, valid(&disk).2), (last_index, false), "{name}");
    let (name, disk) = damage("sectors that were never written", end - 1024, &[0; 1024], None);
    assert!(valid(&disk).2 && valid(&disk).0 < last_index, "{name}: {disk:?}");
    let (name, disk) = damage("a flipped bit in the middle", end / 2, &[pristine[end as usize / 2] ^ 1], None);
    assert!(broken(&disk).contains("at byte"), "{name}");
    let (name, disk) = damage("a flipped bit in the metadata", 40, &[pristine[40] ^ 1], None);
    assert!(broken(&disk).contains("at byte 16"), "{name}: {disk:?}");
    assert_eq!(identify(&data).unwrap(), None, "{name}");
    let (name, disk) = damage("an empty file", 0, &[], Some(0));
    assert!(broken(&disk).ends_with("holds no metadata record"), "{name}");
}

#[test]
fn a_database_is_absent_cut_or_broken() {
    let scratch = Scratch::new();
    let data = written(&scratch, "data", 80, &[]);
    let db = database_path(&data);
    let pristine = fs::read(&db).unwrap();
    assert!(pristine.len() > 64 * 1024);
    let disk = look(&data).unwrap();
    assert_eq!(disk.database, Database::Sound);

    let broken = |bytes: &[u8]| {
        fs::write(&db, bytes).unwrap();
        match look(&data).unwrap().database {
            Database::Broken { what } => what.rsplit_once("member/snap/db ").unwrap().1.to_owned(),
            database @ (Database::Absent | Database::Tiny | Database::Sound) => panic!("{database:?}"),
        }
    };
    assert!(broken(&pristine[..70_000]).starts_with("is cut short: its pages need "));
    assert!(broken(&pristine[..10]).starts_with("is no bolt database"), "small, but there is a log");
    let mut bytes = pristine.clone();
    bytes[24] ^= 1;
    bytes[4096 + 24] ^= 1;
    assert_eq!(broken(&bytes), "is no bolt database: no meta page checks");
    bytes[24] ^= 1;
    fs::write(&db, &bytes).unwrap();
    assert_eq!(look(&data).unwrap().database, Database::Sound, "one meta page is enough");

    fs::remove_file(&db).unwrap();
    assert_eq!(look(&data).unwrap(), Disk { database: Database::Absent, ..disk.clone() });
    fs::write(&db, &pristine).unwrap();
    fs::remove_dir_all(data.join("member/wal")).unwrap();
    assert_eq!(look(&data).unwrap(), Disk { wal: Wal::Absent, ..disk });
    assert_eq!(identify(&data).unwrap(), None);
}

#[test]
fn a_small_database_with_a_key_is_never_taken_for_a_failed_first_start() {
    let scratch = Scratch::new();
    let data = scratch.join("data");
    let etcd = Etcd::single(&data, &[]);
    etcd.ctl(&["put", "a", "1"]);
    until("a key on the disk", || Bolt::open(File::open(database_path(&data)).unwrap()).ok()?.last_key("key").ok()?);
    etcd.kill();
    fs::remove_dir_all(data.join("member/wal")).unwrap();
    assert_eq!(look(&data).unwrap(), Disk { member: true, database: Database::Sound, ..NOTHING });
}

#[test]
fn a_restored_data_dir_holds_one_entry_for_each_member() {
    let scratch = Scratch::new();
    let data = scratch.join("data");
    let etcd = Etcd::single(&data, &[]);
    etcd.ctl(&["put", "a", "1"]);
    let snapshot = scratch.join("snapshot.db");
    etcd.ctl(&["snapshot", "save", snapshot.to_str().unwrap()]);
    etcd.kill();
    let restored = scratch.join("restored");
    output(
        &binary("etcdutl"),
        &[
            ["snapshot", "restore", snapshot.to_str().unwrap(), "--data-dir", restored.to_str().unwrap()].as_slice(),
            &["--name", "a", "--initial-advertise-peer-urls", "http://127.0.0.1:1"],
            &["--initial-cluster", "a=http://127.0.0.1:1,b=http://127.0.0.1:2,c=http://127.0.0.1:3"],
        ]
        .concat(),
        b"",
    );
    let disk = look(&restored).unwrap();
    assert_eq!(valid(&disk), (3, 3, false));
    assert_eq!((disk.snap_index, &disk.database), (Some(3), &Database::Sound));
    let bolt = Bolt::open(File::open(database_path(&restored)).unwrap()).unwrap();
    assert_eq!(consistent_index(&bolt).unwrap(), 3);
    assert_ne!(identify(&restored).unwrap(), identify(&data).unwrap());
}
