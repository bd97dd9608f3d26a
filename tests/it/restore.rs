//! A snapshot becomes a data dir, whole or not at all: real etcdutl, real etcd.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use bootstrapper::exit::Exit;
use bootstrapper::observe::{data_dir, wal};
use bootstrapper::paths::Paths;
use bootstrapper::secrets::Places;
use bootstrapper::snapshot::origin::Origin;
use bootstrapper::snapshot::source::Access;
use bootstrapper::snapshot::stage::{Staging, discard, install, stage, staged};
use bootstrapper::sys::fs::Owner;
use plan::document::Source;
use plan::facts::{Disk, Wal};
use plan::founding::{Founder, Founding, REVISION_BUMP, Terms};
use plan::restore::RestoreEntry;
use plan::spec::Secret;
use plan::store::SecretText;
use plan::wal_disk::WalDisk;

use super::support::etcd::{Etcd, binary, port};
use super::support::fixture::{KEYS, REVISION, gzip, sha256, snapshot, value, zstd};
use super::support::scratch::Scratch;
use super::support::store::{Reply, Store};

fn look(host: &Host) -> Disk {
    data_dir::look(&host.paths.data(), &host.paths.wal(host.wal.as_ref())).unwrap()
}

/// A host with a snapshot on a USB stick.
pub struct Host {
    pub scratch: Scratch,
    pub paths: Paths,
    founding: Founding,
    pub url: String,
    etcdutl: PathBuf,
    owner: Option<Owner>,
    quota: Option<u64>,
    age_identity: Option<String>,
    minisign_key: Option<String>,
    wal: Option<WalDisk>,
}

impl Host {
    /// A host of a founding of so many members, with this file as its snapshot.
    pub fn new(members: u16, bytes: &[u8]) -> Host {
        let scratch = Scratch::new();
        // etcd's user must reach what lies below.
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let paths = Paths::under(scratch.join("root"));
        fs::create_dir_all(paths.bootstrapper()).unwrap();
        fs::write(scratch.join("usb.db"), bytes).unwrap();
        let terms = Terms {
            cluster: "prod".parse().unwrap(),
            epoch: 1,
            generation: 1,
            size: members as u8,
            set: Vec::new(),
            store: None,
            snapshot: Some(sha256(bytes).parse().unwrap()),
            etcd: "3.5".into(),
        };
        let founder = |i: u16| Founder {
            name: format!("etcd-{i}").parse().unwrap(),
            peer_url: format!("https://127.0.0.1:{}", port()).parse().unwrap(),
            nonce: format!("{i:032x}").parse().unwrap(),
        };
        let founding = Founding::new(terms, (1..=members).map(founder).collect());
        let url = format!("file://{}", scratch.join("usb.db").display());
        Host {
            scratch,
            paths,
            founding,
            url,
            etcdutl: binary("etcdutl"),
            owner: None,
            quota: Some(8 << 30),
            age_identity: None,
            minisign_key: None,
            wal: None,
        }
    }

    pub async fn stage(&self) -> anyhow::Result<Vec<String>> {
        self.stage_while(|_| ()).await
    }

    /// Does this with everything that is said.
    async fn stage_while(&self, mut heard: impl FnMut(&str) + Send) -> anyhow::Result<Vec<String>> {
        let urls: Vec<Secret> = self.url.split(' ').map(|url| Secret::new(url.to_owned())).collect();
        let age_identity = self.age_identity.as_ref().map(|file| SecretText(Source::File { file: file.clone() }));
        let keys = RestoreEntry { age_identity, ..RestoreEntry::default() };
        let places = Places { paths: &self.paths, credentials: None };
        let me = &self.founding.founders[0];
        let mut said = Vec::new();
        let staging = Staging {
            paths: &self.paths,
            founding: &self.founding,
            me: (&me.name, &me.peer_url),
            origins: Origin::open(&urls, &Access::without(&self.paths))?,
            keys: Some(&keys),
            signer: self.minisign_key.as_deref(),
            newest: None,
            places: &places,
            quota: self.quota,
            etcdutl: self.etcdutl.to_str().unwrap(),
            owner: self.owner,
        };
        let mut say = |text: String| {
            heard(&text);
            said.push(text);
        };
        stage(&staging, &mut say).await?;
        Ok(said)
    }

    pub fn staged(&self) -> bool {
        staged(&self.paths, &self.founding.id())
    }

    fn install(&self) -> anyhow::Result<()> {
        install(&self.paths, &self.founding.id(), self.wal.as_ref())
    }

    pub fn home(&self) -> PathBuf {
        self.paths.staging().join(self.founding.id().as_str())
    }

    /// A program that stands in for etcdutl; `$REAL` in it is the real one.
    pub fn script(&mut self, text: &str) {
        let path = self.scratch.join("etcdutl");
        let text = text.replace("$REAL", binary("etcdutl").to_str().unwrap());
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self.etcdutl = path;
    }
}

/// Shell that finds the value of `--data-dir`.
const DATA: &str = "for a in \"$@\"; do [ \"$p\" = --data-dir ] && data=$a; p=$a; done; ";

/// Every file and directory below, with its mode and owner.
fn tree(path: &Path) -> Vec<(u32, u32, bool)> {
    let meta = fs::metadata(path).unwrap();
    let mut all = vec![(meta.mode() & 0o7777, meta.uid(), meta.is_dir())];
    if meta.is_dir() {
        all.extend(fs::read_dir(path).unwrap().flat_map(|e| tree(&e.unwrap().path())));
    }
    all
}

#[tokio::test]
async fn a_restored_cluster_has_the_keys_under_its_own_id_and_a_higher_revision() {
    let mut host = Host { owner: Some(Owner { uid: 65534, gid: 65534 }), ..Host::new(1, snapshot()) };
    // That user may not reach where the tests keep their etcd.
    host.etcdutl = host.scratch.join("etcdutl");
    fs::copy(binary("etcdutl"), &host.etcdutl).unwrap();
    let said = host.stage().await.unwrap();
    assert!(said.iter().any(|s| s.starts_with("fetching the snapshot from /")), "{said:?}");
    assert!(said.iter().any(|s| s.starts_with("restoring the snapshot of ")), "{said:?}");
    assert!(host.staged() && !host.paths.data().exists(), "staged, and nothing decided by it");
    assert_eq!(host.stage().await.unwrap(), Vec::<String>::new(), "staged is staged");
    let restored = tree(&host.home().join("data"));
    assert!(restored.len() >= 6, "{restored:?}");
    for (mode, uid, directory) in restored {
        assert_eq!((mode, uid), (if directory { 0o700 } else { 0o600 }, 65534));
    }

    host.install().unwrap();
    host.install().unwrap();
    assert!(!host.staged() && look(&host).member);
    discard(&host.paths).unwrap();
    assert!(!host.paths.staging().exists() && !host.paths.download().exists());

    let me = &host.founding.founders[0];
    let peer = me.peer_url.to_string();
    let etcd = Etcd::start(
        &host.paths.data(),
        &[
            ["--name", me.name.as_str(), "--peer-auto-tls", "--listen-peer-urls", &peer].as_slice(),
            &["--initial-advertise-peer-urls", &peer, "--initial-cluster-state", "existing"],
            &["--initial-cluster", &format!("{}={peer}", me.name)],
        ]
        .concat(),
    );
    etcd.wait();
    let got = etcd.ctl(&["get", "key3", "--print-value-only"]);
    assert_eq!(got.trim_end().as_bytes(), value(3));
    assert_eq!(etcd.ctl(&["get", "", "--prefix", "--keys-only"]).split_whitespace().count() as u64, KEYS);
    let status = etcd.ctl(&["endpoint", "status", "-w", "fields"]);
    let field = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(&format!("\"{name}\""))).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(field("ClusterID"), host.founding.cluster_id().0);
    assert_eq!(field("MemberID"), host.founding.member_id(&me.peer_url).0);
    assert_eq!(field("Revision"), REVISION + REVISION_BUMP);
    etcd.ctl(&["put", "written", "after"]);
    etcd.kill();
}

#[tokio::test]
async fn all_members_restore_the_same_log_but_for_their_own_ids() {
    let host = Host::new(3, snapshot());
    host.stage().await.unwrap();
    host.install().unwrap();
    let wal = Wal::Valid {
        member_id: host.founding.member_id(&host.founding.founders[0].peer_url),
        cluster_id: host.founding.cluster_id(),
        last_index: 3,
        commit: 3,
        torn: false,
    };
    assert_eq!(look(&host).wal, wal);
}

/// A power cut leaves the log in both places, in one of them or in part of one.
#[tokio::test]
async fn a_log_with_a_disk_of_its_own_is_set_apart_whole_whenever_that_is_cut_short() {
    let wal = WalDisk { directory: "a".into(), uuid: None, volume: Default::default() };
    let host = Host { wal: Some(wal.clone()), ..Host::new(3, snapshot()) };
    let home = host.paths.wal_home(&wal);
    fs::create_dir_all(&home).unwrap();
    host.stage().await.unwrap();
    let (inside, outside) = (host.home().join("data/member/wal"), home.join("wal"));
    let name = "0000000000000000-0000000000000000.wal";
    let whole = fs::read(inside.join(name)).unwrap();

    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join(name), &whole[..100]).unwrap();
    host.install().unwrap();
    assert_eq!(fs::read(outside.join(name)).unwrap(), whole, "what was half copied is copied again");
    assert!(!host.paths.data().join("member/wal").exists(), "a second log, in the data dir");

    for moment in ["the data dir has no name yet", "the log is in both places"] {
        fs::rename(host.paths.data(), host.home().join("data")).unwrap();
        if moment == "the log is in both places" {
            fs::rename(host.home().join("wal"), &inside).unwrap();
        }
        host.install().expect(moment);
        host.install().expect(moment);
        let Disk { wal: Wal::Valid { last_index: 3, .. }, member: true, .. } = look(&host) else {
            panic!("{moment}: {:?}", look(&host));
        };
    }

    // A data disk that was put back to before the founding, beside the log of what came after it.
    fs::rename(host.paths.data(), host.home().join("data")).unwrap();
    fs::rename(host.home().join("wal"), &inside).unwrap();
    let other = Host { wal: Some(wal.clone()), ..Host::new(5, snapshot()) };
    fs::create_dir_all(other.paths.wal_home(&wal)).unwrap();
    other.stage().await.unwrap();
    fs::copy(other.home().join("data/member/wal").join(name), outside.join(name)).unwrap();
    let error = host.install().expect_err("a longer log");
    assert!(format!("{error:#}").contains("it is not replaced"), "{error:#}");
    fs::copy(inside.join(name), outside.join(name)).unwrap();
    fs::rename(&inside, host.home().join("wal")).unwrap();

    fs::remove_dir_all(&outside).unwrap();
    let error = host.install().expect_err("the log is nowhere");
    assert!(format!("{error:#}").contains("does not hold the log that was restored"), "{error:#}");
    assert!(wal::identify(&outside).unwrap().is_none() && !host.paths.data().exists(), "nothing was installed");
}

#[tokio::test]
async fn a_snapshot_that_is_no_good_never_comes_near_the_data_dir() {
    let whole = snapshot();
    let mut flipped = whole.to_vec();
    flipped[1_000_000] ^= 1;
    for (name, bytes) in [
        ("flipped", &flipped[..]),
        ("cut by pages", &whole[..1_048_576 + 32]),
        ("without a trailer", &whole[..whole.len() - 32]),
        ("empty", b""),
        ("a page of a portal", b"<html>log in</html>........."),
    ] {
        let mut host = Host::new(1, bytes);
        host.script(&format!("touch {}/ran", host.scratch.path().display()));
        let error = host.stage().await.expect_err(name);
        assert_eq!(Exit::of(&error), Exit::BadInput, "{name}: {error:#}");
        assert!(!host.staged() && !host.home().exists() && !host.paths.data().exists(), "{name}");
        assert!(!host.scratch.join("ran").exists(), "{name}: etcdutl has seen it");
        assert_eq!(fs::read_dir(host.paths.download()).unwrap().count(), 0, "{name}");
        assert!(host.install().is_err(), "{name}");
    }
}

#[tokio::test]
async fn etcdutl_killed_at_any_moment_leaves_nothing_and_the_next_attempt_succeeds() {
    let mut host = Host::new(1, snapshot());
    for (moment, exists) in [
        ("at once", "/"),
        ("with a database", "$data/member/snap/db"),
        ("with a log", "$data/member/wal/0000000000000000-0000000000000000.wal"),
    ] {
        host.script(&format!(
            "{DATA}$REAL \"$@\" & child=$!\n\
             until [ -e \"{exists}\" ]; do kill -0 $child || break; done\n\
             kill -9 $child; wait $child; exit 137"
        ));
        let error = host.stage().await.expect_err(moment);
        assert!(format!("{error:#}").contains("the snapshot could not be restored"), "{moment}: {error:#}");
        assert!(!host.staged() && !host.home().exists() && !host.paths.data().exists(), "{moment}");
    }
    host.etcdutl = binary("etcdutl");
    let said = host.stage().await.unwrap();
    assert_eq!(said[0], "checking the snapshot that was fetched before");
    assert!(host.staged());
}

#[tokio::test]
async fn what_etcdutl_left_is_believed_only_when_it_is_what_was_asked_for() {
    let mut host = Host::new(1, snapshot());
    for (name, script, why) in [
        ("nothing", "exit 0".to_owned(), "etcdutl said it had restored the snapshot and left Disk"),
        (
            "under another token",
            "for a in \"$@\"; do case $a in prod.1.*) a=x;; esac; set -- \"$@\" \"$a\"; shift; done; exec $REAL \"$@\""
                .into(),
            "etcdutl said it had restored the snapshot and left Disk",
        ),
        (
            "without its last step",
            // The database as it is before etcdutl resets its applied index.
            format!("{DATA}$REAL \"$@\" && head -c -32 \"$3\" > \"$data/member/snap/db\""),
            "etcdutl left the applied index",
        ),
    ] {
        host.script(&script);
        let error = host.stage().await.expect_err(name);
        assert!(format!("{error:#}").contains(why), "{name}: {error:#}");
        assert!(!host.staged() && !host.home().exists(), "{name}");
    }
}

#[tokio::test]
async fn a_snapshot_that_its_disk_changes_after_the_checks_is_not_restored() {
    let host = Host::new(1, snapshot());
    let kept = host.paths.download().join(format!("{}.db", sha256(snapshot())));
    let rot = |said: &str| {
        if said.starts_with("restoring the snapshot of ") {
            let mut bytes = fs::read(&kept).unwrap();
            bytes[1_000_000] ^= 1;
            fs::write(&kept, bytes).unwrap();
        }
    };
    let error = host.stage_while(rot).await.unwrap_err();
    assert!(format!("{error:#}").contains("this disk has changed the snapshot since it was checked"), "{error:#}");
    assert_eq!(Exit::of(&error), Exit::TryAgain);
    assert!(!host.staged() && !host.home().exists() && !host.paths.data().exists());
    let said = host.stage().await.unwrap();
    assert!(said.iter().any(|s| s.starts_with("fetching the snapshot again: ")), "{said:?}");
    assert!(host.staged());
}

#[tokio::test]
async fn a_power_cut_at_any_step_leaves_what_the_next_boot_can_go_on_from() {
    let host = Host::new(1, snapshot());
    host.stage().await.unwrap();
    let (data, proven) = (host.home().join("data"), host.home().join("proven"));

    // Before the proof was written: whatever is there is made again.
    fs::remove_file(&proven).unwrap();
    fs::write(data.join("stale"), b"").unwrap();
    assert!(!host.staged());
    assert!(host.install().unwrap_err().to_string().contains("holds no proof"));
    assert!(host.stage().await.unwrap().iter().any(|s| s.starts_with("restoring")));
    assert!(host.staged() && !data.join("stale").exists());

    // The download rotted on the disk: it is fetched again, and never used.
    fs::remove_file(&proven).unwrap();
    let kept = host.paths.download().join(format!("{}.db", sha256(snapshot())));
    let mut bytes = fs::read(&kept).unwrap();
    bytes[1_000_000] ^= 1;
    fs::write(&kept, bytes).unwrap();
    let said = host.stage().await.unwrap();
    assert!(said.iter().any(|s| s.starts_with("fetching the snapshot again: ")), "{said:?}");
    assert_eq!(fs::read(&kept).unwrap(), snapshot());

    // Never over data; over an empty directory, as etcd's own tmpfiles may make it.
    fs::create_dir_all(host.paths.data().join("member")).unwrap();
    let error = host.install().unwrap_err();
    assert!(error.to_string().ends_with("data must be empty or absent for a restore"), "{error:#}");
    assert!(host.staged());
    fs::remove_dir(host.paths.data().join("member")).unwrap();
    host.install().unwrap();
    host.install().unwrap();
    fs::rename(host.paths.data(), host.scratch.join("elsewhere")).unwrap();
    let error = host.install().unwrap_err();
    assert!(error.to_string().contains("is not what was restored there"), "{error:#}");
}

#[tokio::test]
async fn a_disk_that_is_too_small_is_told_with_both_numbers_and_stays_clean() {
    // As much as passes the first look and cannot hold what etcdutl writes: the script fills the rest.
    for (name, mebibytes, script) in
        [("at the first look", 100, None), ("in the middle", 400, Some("fallocate -l 380M"))]
    {
        let mut host = Host::new(1, snapshot());
        let volume = host.paths.volume();
        let mounted = Mounted::tmpfs(&volume, mebibytes);
        if let Some(fill) = script {
            host.script(&format!("{fill} {}/filler; exec $REAL \"$@\"", volume.display()));
        }
        let error = host.stage().await.expect_err(name);
        let text = format!("{error:#}");
        assert!(text.contains("is too small: a snapshot of ") && text.contains(" bytes free there"), "{name}: {text}");
        assert_eq!(Exit::of(&error), Exit::Refused, "{name}");
        assert!(!host.staged() && !host.home().exists() && !host.paths.data().exists(), "{name}");
        drop(mounted);
    }
}

#[tokio::test]
async fn what_earlier_foundings_have_left_makes_room_for_a_restore() {
    let host = Host::new(1, snapshot());
    let mounted = Mounted::tmpfs(&host.paths.volume(), 400);
    let staging = host.paths.staging().join("another founding/data");
    let download = host.paths.download().join(format!("{}.object", "a".repeat(64)));
    let sum = host.paths.download().join(format!("{}.json", sha256(snapshot())));
    for directory in [&staging, &host.paths.download()] {
        fs::create_dir_all(directory).unwrap();
    }
    for left in [&staging.join("db"), &download] {
        fs::write(left, vec![1; 100 << 20]).unwrap();
    }
    fs::write(&sum, "what is known of this one's object").unwrap();
    host.stage().await.unwrap();
    assert!(host.staged() && !download.exists());
    assert_eq!(fs::read_dir(host.paths.staging()).unwrap().count(), 1);
    drop(mounted);
}

#[tokio::test]
async fn a_store_is_trusted_by_the_hosts_cas_and_asked_before_its_word_fills_the_disk() {
    let store = Store::serve(|n, asked| match n {
        _ if asked.path.ends_with("/manifest.json") => Reply::new(404, ""),
        0..2 => Reply::new(200, "").with("Content-Length", "1000000000000"),
        _ => Reply::honest(snapshot(), "\"one\"", asked),
    })
    .await;
    let host = Host { url: store.url(), ..Host::new(1, snapshot()) };
    let cas = host.paths.host("/etc/ssl/certs/ca-certificates.crt");
    fs::create_dir_all(cas.parent().unwrap()).unwrap();
    fs::copy(store.roots(), cas).unwrap();
    let error = host.stage().await.unwrap_err();
    assert!(
        format!("{error:#}")
            .contains("it is a database of more than 10737418240 bytes, a quarter more than etcd's quota"),
        "{error:#}"
    );
    assert_eq!(Exit::of(&error), Exit::BadInput);
    host.stage().await.unwrap();
    assert!(host.staged());
}

#[tokio::test]
async fn a_snapshot_of_a_newer_etcd_is_refused_by_name() {
    let mut host = Host::new(1, snapshot());
    host.founding.terms.etcd = "3.4".into();
    let error = host.stage().await.unwrap_err();
    assert_eq!(Exit::of(&error), Exit::Refused);
    assert!(error.to_string().starts_with("the snapshot is of an etcd 3.5 cluster and this host has etcd 3.4"));
    assert!(!host.home().exists());
}

#[tokio::test]
async fn a_wrapped_snapshot_is_restored_and_checked_again_from_its_object_after_a_reboot() {
    // In the middle, and in gzip's time of packing (RFC 1952, section 2.3), which leads to no other database.
    for (name, object, rots) in
        [("zstd", zstd(snapshot()), 1_000), ("gzip", gzip(snapshot()), 1_000), ("gzip's head", gzip(snapshot()), 4)]
    {
        let host = Host::new(1, &object);
        host.stage().await.unwrap();
        assert!(host.staged(), "{name}");
        let sha256 = sha256(&object);
        let file = |extension: &str| host.paths.download().join(format!("{sha256}.{extension}"));
        assert_eq!(fs::read(file("db")).unwrap(), snapshot(), "{name}");
        assert_eq!(fs::read(file("object")).unwrap(), object, "{name}");

        // The power was cut before the staging was proven: nothing is fetched again.
        fs::remove_file(host.home().join("proven")).unwrap();
        fs::rename(host.scratch.join("usb.db"), host.scratch.join("away.db")).unwrap();
        let said = host.stage().await.unwrap();
        assert_eq!(said[0], "checking the snapshot that was fetched before", "{name}");
        assert!(!said.iter().any(|s| s.starts_with("fetching")), "{name}: {said:?}");

        // Or after the object was whole, and before the database had its name.
        fs::remove_file(host.home().join("proven")).unwrap();
        fs::remove_file(file("db")).unwrap();
        host.stage().await.unwrap();
        assert_eq!(fs::read(file("db")).unwrap(), snapshot(), "{name}");

        // The object rotted on this disk, and not at its source.
        fs::remove_file(host.home().join("proven")).unwrap();
        fs::rename(host.scratch.join("away.db"), host.scratch.join("usb.db")).unwrap();
        for with_database in [true, false] {
            let mut bytes = fs::read(file("object")).unwrap();
            bytes[rots] ^= 1;
            fs::write(file("object"), bytes).unwrap();
            if !with_database {
                fs::remove_file(file("db")).unwrap();
            }
            host.stage().await.unwrap();
            assert_eq!(fs::read(file("object")).unwrap(), object, "{name}");
            fs::remove_file(host.home().join("proven")).unwrap();
        }
    }
}

#[tokio::test]
async fn a_database_above_the_quota_is_refused_with_the_key_to_raise() {
    let mib = |bytes: &[u8]| bytes.len() as u64;
    for (name, object, quota, exit, why) in [
        (
            "plain",
            snapshot().to_vec(),
            mib(snapshot()) - 1,
            Exit::Refused,
            "so that etcd would refuse every write: raise",
        ),
        ("zstd", zstd(snapshot()), mib(snapshot()) - 1, Exit::Refused, "so that etcd would refuse every write: raise"),
        (
            "far above",
            snapshot().to_vec(),
            1 << 20,
            Exit::BadInput,
            "of more than 1310720 bytes, a quarter more than etcd's",
        ),
        (
            "a bomb",
            zstd(&[&snapshot()[..1 << 20], &vec![0; 64 << 20]].concat()),
            1 << 20,
            Exit::BadInput,
            "of more than 1310720 bytes",
        ),
    ] {
        let host = Host { quota: Some(quota), ..Host::new(1, &object) };
        let error = host.stage().await.expect_err(name);
        assert!(format!("{error:#}").contains(why), "{name}: {error:#}");
        assert_eq!(Exit::of(&error), exit, "{name}");
        assert!(!host.home().exists() && !host.paths.data().exists(), "{name}");
    }
}

#[tokio::test]
async fn a_wrapped_snapshot_that_fills_the_disk_is_told_and_leaves_nothing() {
    // The object fits easily; what is inside does not.
    let large = zstd(&[&snapshot()[..1 << 20], &vec![7; 700 << 20]].concat());
    let host = Host::new(1, &large);
    let mounted = Mounted::tmpfs(&host.paths.volume(), 400);
    let error = host.stage().await.unwrap_err();
    assert!(format!("{error:#}").contains("the snapshot that was unpacked needs more"), "{error:#}");
    assert_eq!(Exit::of(&error), Exit::Refused);
    assert_eq!(fs::read_dir(host.paths.download()).unwrap().count(), 0);
    drop(mounted);
}

/// A filesystem in memory, mounted as long as this lives.
pub struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(path: &Path, mebibytes: u32) -> Mounted {
        Mounted::with(path, &format!("size={mebibytes}m"))
    }

    /// With these options of tmpfs(5).
    pub fn with(path: &Path, options: &str) -> Mounted {
        fs::create_dir_all(path).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path).status().unwrap();
        assert!(mount.success(), "cannot mount a tmpfs: these tests want root");
        Mounted(path.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg(&self.0).status().ok();
    }
}
