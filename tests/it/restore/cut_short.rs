//! A restore that was cut short leaves nothing, or what the next boot goes on from.

use std::fs;

use bootstrapper::exit::Exit;
use bootstrapper::observe::wal;
use plan::facts::{Disk, Wal};
use plan::wal_disk::WalDisk;

use super::host::{DATA, Host};
use crate::support::etcd::binary;
use crate::support::fixture::{gzip, sha256, snapshot, zstd};

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
        let Disk { wal: Wal::Valid { last_index: 3, .. }, member: true, .. } = host.look() else {
            panic!("{moment}: {:?}", host.look());
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
