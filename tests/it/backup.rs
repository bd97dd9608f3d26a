//! Backups of a cluster of real etcds into a directory that its hosts share, and what comes back from them.

use std::fs;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::support::bucket::{Bucket, Fault};
use crate::support::moto::Moto;
use crate::world::World;

/// A settled cluster whose hosts share a store, with more keys of the configuration.
fn settled(size: usize, keys: &str) -> (World, PathBuf) {
    let mut world = World::new(size);
    let shared = world.dir.join("shared");
    fs::create_dir_all(shared.join("prod")).expect("a shared directory");
    for host in &world.hosts {
        fs::create_dir_all(host.root.join("mnt")).expect("a place to mount");
        std::os::unix::fs::symlink(&shared, host.root.join("mnt/store")).expect("a share");
    }
    let config = world.config();
    let config = format!("{config}store: {{url: \"file:///mnt/store/prod\", on_total_loss: restore}}\n{keys}");
    world.hosts.iter().for_each(|host| host.configure(&config));
    world.boot_all();
    (world, shared.join("prod"))
}

fn backup(world: &World, on: usize, words: &[&str]) -> Output {
    world.hosts[on].program(&[&["backup"], words].concat()).output().expect("backup runs")
}

/// The host whose member leads.
fn leader(world: &World) -> usize {
    let leads = |on: &usize| {
        let status = &world.ask(*on, &["endpoint", "status"])[0]["Status"];
        status["leader"] == status["header"]["member_id"]
    };
    (0..world.hosts.len()).find(leads).expect("a leader")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn made(output: &Output) -> Value {
    assert!(output.status.success(), "{}", said(output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(output)))
}

#[test]
fn a_cluster_that_lost_every_disk_comes_back_with_its_last_backup() {
    let (mut world, store) = settled(3, "backup: {every: 1h}\n");
    world.put(0, "kept", "yes");
    let leader = leader(&world);
    let follower = (leader + 1) % 3;
    let first = made(&backup(&world, follower, &["--json"]));
    let manifest = &first["made"]["manifest"];
    assert_eq!((&manifest["codec"], &manifest["cipher"]), (&"zstd".into(), &"none".into()), "{first}");
    assert_eq!(manifest["cluster_id"], world.hosts[0].cluster_id());
    let not_due = said(&backup(&world, leader, &[]));
    assert!(not_due.starts_with("no backup: a backup is due every 3600 s"), "{not_due}");
    let whole = said(&backup(&world, leader, &["verify"]));
    assert!(whole.starts_with("whole: snapshots/000001-"), "{whole}");
    // What lies there is the database as etcdctl would save it, packed.
    let directory = store.join(first["made"]["directory"].as_str().expect("a directory"));
    let names: Vec<String> = fs::read_dir(&directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    assert!(names.len() == 2 && names.contains(&"snapshot.db.zst".to_owned()), "{names:?}");
    world.put(0, "written after the backup", "yes");
    for host in &mut world.hosts {
        host.wipe();
    }
    world.boot_all();
    assert_eq!(world.get(1, "kept"), "yes");
    assert_eq!(world.get(2, "written after the backup"), "");
    // The next generation has its own backups beside those of the one before.
    let second = made(&backup(&world, 0, &["--now", "--json"]));
    assert_eq!(second["made"]["manifest"]["generation"], 2, "{second}");
    let list = made(&backup(&world, 0, &["list", "--json"]));
    let generations: Vec<&Value> =
        list["snapshots"].as_array().expect("rows").iter().map(|s| &s["manifest"]["generation"]).collect();
    assert_eq!(generations, [1, 2], "{list}");
    let latest: Value = serde_json::from_str(&fs::read_to_string(store.join("latest.json")).unwrap()).unwrap();
    assert_eq!(latest["generation"], 2);
}

/// The last disk is lost, and the operator has raised the epoch: the hosts found anew, without a word to restore.
fn founded_anew(world: &mut World) {
    let host = &mut world.hosts[0];
    let config = fs::read_to_string(host.root.join("etc/etcd-bootstrapper/config.yaml")).expect("a configuration");
    host.configure(&config.replace("  name: \"prod\"\n", "  name: \"prod\"\n  epoch: 2\n"));
    host.wipe();
    world.boot_all();
    assert_eq!(world.get(0, "kept"), "");
}

#[test]
fn the_backups_of_a_raised_epoch_are_newer_than_all_of_the_cluster_before() {
    let (mut world, store) = settled(1, "backup: {every: 1h}\n");
    for i in 0..9 {
        world.put(0, "kept", &format!("{i} in epoch 1"));
    }
    let first = made(&backup(&world, 0, &["--now", "--json"]));
    let latest = || -> Value { serde_json::from_str(&fs::read_to_string(store.join("latest.json")).unwrap()).unwrap() };
    // As an older program wrote it.
    let mut old = latest();
    old.as_object_mut().expect("a pointer").remove("epoch");
    fs::write(store.join("latest.json"), old.to_string()).expect("a pointer");
    founded_anew(&mut world);
    world.put(0, "kept", "in epoch 2");
    let second = made(&backup(&world, 0, &["--now", "--json"]));
    let of = |made: &Value, what: &str| made["made"]["manifest"][what].as_u64().expect("a number");
    assert_eq!((of(&second, "epoch"), of(&second, "generation")), (2, 1));
    assert!(of(&second, "revision") < of(&first, "revision"), "{first} {second}");
    assert_eq!((&latest()["epoch"], &latest()["sha256"]), (&2.into(), &second["made"]["manifest"]["sha256"]));
    let whole = said(&backup(&world, 0, &["verify"]));
    let directory = second["made"]["directory"].as_str().expect("a directory");
    assert!(whole.starts_with(&format!("whole: {directory} ")), "{whole}");
    world.hosts[0].wipe();
    world.boot_all();
    assert_eq!(world.get(0, "kept"), "in epoch 2");
}

#[test]
fn no_backup_of_the_cluster_before_follows_the_loss_of_one_of_a_raised_epoch() {
    let (mut world, store) = settled(1, "backup: {every: 1h}\n");
    world.put(0, "kept", "in epoch 1");
    let first = made(&backup(&world, 0, &["--now", "--json"]));
    founded_anew(&mut world);
    world.put(0, "kept", "in epoch 2, and acknowledged");
    let host = &mut world.hosts[0];
    host.wipe();
    host.boot();
    assert_eq!(host.run_ends(), 78, "{}", host.said());
    assert!(host.said_by("run").contains("the store has no verified snapshot of this epoch"), "{}", host.said());
    // A person may choose it.
    let config = fs::read_to_string(host.root.join("etc/etcd-bootstrapper/config.yaml")).expect("a configuration");
    let sha256 = &first["made"]["manifest"]["sha256"];
    let object = store.join(first["made"]["directory"].as_str().expect("a directory")).join("snapshot.db.zst");
    host.configure(&format!("{config}restore: {{url: \"file://{}\", sha256: {sha256}}}\n", object.display()));
    host.boot();
    host.settle();
    assert_eq!(world.get(0, "kept"), "in epoch 1");
}

#[test]
fn nothing_is_backed_up_twice_and_one_member_at_a_time_makes_it() {
    let (world, store) = settled(1, "backup: {every: 1m, keep: {hourly: 0, daily: 0, weekly: 0}}\n");
    world.put(0, "kept", "yes");
    let first = made(&backup(&world, 0, &["--json"]));
    // As if it were a minute ago: what was noted in etcd, in one revision, so that nothing else has changed.
    let noted = world.get(0, "/etcd-bootstrapper/backup/last");
    let at: Value = serde_json::from_str(&noted).expect("JSON");
    let earlier = noted.replace(&at["at"].to_string(), &(at["at"].as_u64().expect("a time") - 90).to_string());
    world.put(0, "/etcd-bootstrapper/backup/last", &earlier);
    let again = said(&backup(&world, 0, &[]));
    assert!(again.starts_with("no backup: nothing was written since the backup of revision"), "{again}");
    world.put(0, "kept", "and changed");
    // While another has its turn, this one waits for its own.
    let turn = format!("/etcd-bootstrapper/backup/turn/{}", world.hosts[0].cluster_id());
    world.put(0, &turn, "etcd-9");
    assert_eq!(said(&backup(&world, 0, &[])).trim(), "no backup: etcd-9 makes a backup right now");
    world.etcdctl(0, &["del", &turn]);
    let second = made(&backup(&world, 0, &["--json"]));
    let revision = |made: &Value| made["made"]["manifest"]["revision"].as_u64().expect("a revision");
    assert!(revision(&second) > revision(&first), "{first} {second}");
    // Younger than an hour, so both are kept; one that is older goes, and what another hand laid there does not.
    let directory = |made: &Value| store.join(made["made"]["directory"].as_str().expect("a directory"));
    let (now, old) = (directory(&first), store.join("snapshots/000001-00000000000000000001-1700000000-etcd-1"));
    fs::rename(&now, &old).expect("an old one");
    fs::create_dir(store.join("snapshots/by-hand")).expect("another's");
    fs::write(store.join("snapshots/by-hand/notes"), "mine").expect("another's");
    let third = made(&backup(&world, 0, &["--now", "--json"]));
    assert_eq!((&third["kept"], &third["removed"]), (&2.into(), &1.into()), "{third}");
    assert!(!old.exists() && store.join("snapshots/by-hand/notes").exists());
    let metrics = fs::read_to_string(world.hosts[0].root.join("run/etcd-bootstrapper/metrics/backup.prom"));
    let metrics = metrics.expect("metrics");
    assert!(metrics.contains("\netcd_bootstrapper_backup_last_attempt_success 1\n"), "{metrics}");
    assert!(metrics.contains("\netcd_bootstrapper_backup_snapshots 2\n"), "{metrics}");
}

#[test]
fn a_backup_is_encrypted_for_its_recipient_and_nothing_is_written_into_another_cluster_s_store() {
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public();
    let (world, store) = settled(1, &format!("backup: {{age_recipient: {recipient}}}\n"));
    world.put(0, "kept", "a secret that must not be seen");
    let made = made(&backup(&world, 0, &["--json"]));
    let directory = store.join(made["made"]["directory"].as_str().expect("a directory"));
    let object = fs::read(directory.join("snapshot.db.zst.age")).expect("an object");
    assert!(object.starts_with(b"age-encryption.org/v1"));
    let closed = backup(&world, 0, &["verify"]);
    assert_eq!(closed.status.code(), Some(65), "{}", said(&closed));
    let file = world.dir.join("identity");
    let text = age::secrecy::ExposeSecret::expose_secret(&identity.to_string()).to_owned();
    fs::write(&file, text).expect("an identity");
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a private file");
    let open = backup(&world, 0, &["verify", "--age-identity", file.to_str().expect("a path")]);
    assert!(said(&open).starts_with("whole: "), "{}", said(&open));
    // Damage in the store is found out.
    let mut damaged = object.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(directory.join("snapshot.db.zst.age"), damaged).expect("damage");
    let broken = backup(&world, 0, &["verify", "--age-identity", file.to_str().expect("a path")]);
    assert_eq!(broken.status.code(), Some(65), "{}", said(&broken));
    // The claim is by now another cluster's of this name: nothing is written beside its snapshots.
    let claim = fs::read_to_string(store.join("claim.json")).expect("a claim");
    let other = settled(1, "");
    fs::copy(other.1.join("claim.json"), store.join("claim.json")).expect("another's claim");
    let before = fs::read_dir(store.join("snapshots")).expect("snapshots").count();
    let refused = backup(&world, 0, &["--now"]);
    assert_eq!(refused.status.code(), Some(78), "{}", said(&refused));
    assert!(said(&refused).contains("nothing is written into another cluster's store"), "{}", said(&refused));
    assert_eq!(fs::read_dir(store.join("snapshots")).expect("snapshots").count(), before);
    fs::write(store.join("claim.json"), claim).expect("the claim");
    // A store that is away is a reason to come again, and says so.
    fs::rename(&store, store.with_extension("away")).expect("a share goes");
    let away = backup(&world, 0, &["--now"]);
    assert_eq!(away.status.code(), Some(69), "{}", said(&away));
    assert!(said(&away).contains("is the share mounted?"), "{}", said(&away));
}

#[test]
fn a_database_of_several_parts_goes_into_a_bucket_and_comes_back() {
    let mut world = World::new(1);
    let moto = Moto::on(&world.hosts[0]);
    let store = format!(
        "store: {{url: \"s3://bucket/clusters/prod\", on_total_loss: restore, endpoint: \"{}\", allow_http: true, \
         credentials: {{access_key_id: test, secret_access_key: test}}}}\n",
        moto.endpoint
    );
    let config = format!("{}{store}backup: {{}}\n", world.config());
    world.hosts[0].configure(&config);
    world.boot_all();
    // What zstd cannot make smaller, so that there is more than one part.
    let (mut random, mut value) = (fs::File::open("/dev/urandom").expect("random"), vec![0; 700 << 10]);
    for i in 0..24 {
        std::io::Read::read_exact(&mut random, &mut value).expect("random");
        let value: String = value.iter().map(|b| char::from(33 + b % 90)).collect();
        let mut put = world.etcdctl_command(0).args(["put", &format!("large/{i}")]).stdin(Stdio::piped()).spawn();
        let put = put.as_mut().expect("etcdctl runs");
        std::io::Write::write_all(&mut put.stdin.take().expect("a pipe"), value.as_bytes()).expect("a value");
        assert!(put.wait().expect("it ends").success());
    }
    world.put(0, "kept", "yes");
    let made = made(&backup(&world, 0, &["--json"]));
    let bytes = made["made"]["manifest"]["object_bytes"].as_u64().expect("bytes");
    assert!(bytes > 9 << 20, "{made}");
    assert!(said(&backup(&world, 0, &["verify"])).starts_with("whole: "));
    let table = said(&backup(&world, 0, &["list"]));
    assert!(table.lines().count() == 2 && table.contains(" etcd-1 "), "{table}");
    world.hosts[0].wipe();
    world.boot_all();
    assert_eq!(world.get(0, "kept"), "yes");
    let read = world.ask(0, &["get", "--prefix", "large/", "--keys-only"]);
    assert_eq!(read["count"], 24, "{read}");
}

#[test]
fn what_a_store_says_against_an_upload_is_told_without_the_token_that_it_repeats() {
    const SECRET: &str = "AQoEXAMPLEsessiontoken";
    const EXPIRED: &str = "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message>\
        <Token-0>AQoEXAMPLEsessiontoken</Token-0></Error>";
    let mut world = World::new(1);
    let port = || std::net::TcpListener::bind("127.0.0.1:9000").expect("a port");
    let bucket = Bucket::of(world.hosts[0].inside(async move || port()));
    let store = format!(
        "store: {{url: \"s3://bucket/prod\", endpoint: \"{}\", allow_http: true, credentials: \
         {{access_key_id: test, secret_access_key: test}}}}\n",
        bucket.endpoint()
    );
    world.hosts[0].configure(&format!("{}{store}backup: {{}}\n", world.config()));
    world.boot_all();
    let expired = || Some(Fault::Refused(400, EXPIRED));
    // What is begun and not ended is to be taken back, which fails as well.
    bucket.always("DELETE", Fault::Refused(400, EXPIRED));
    for (at, method, faults) in [
        ("the beginning", "POST", vec![expired()]),
        ("a part", "PUT", vec![expired()]),
        ("the end", "POST", vec![None, expired()]),
    ] {
        bucket.plan(method, faults);
        let failed = backup(&world, 0, &["--now"]);
        assert!(!failed.status.success(), "{at}: {}", said(&failed));
        assert!(said(&failed).contains("ExpiredToken, The provided token has expired."), "{at}: {}", said(&failed));
        assert!(!said(&failed).contains(SECRET), "{at}: {}", said(&failed));
    }
    let made = made(&backup(&world, 0, &["--now", "--json"]));
    assert_eq!(made["kept"], 1, "{made}");
}
