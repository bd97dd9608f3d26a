//! What is not restored, and what is said of it.

use std::fs;

use bootstrapper::exit::Exit;

use super::host::{DATA, Host};
use crate::support::fixture::{snapshot, zstd};
use crate::support::store::{Reply, Store};

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
async fn a_snapshot_of_a_newer_etcd_is_refused_by_name() {
    let mut host = Host::new(1, snapshot());
    host.founding.terms.etcd = "3.4".into();
    let error = host.stage().await.unwrap_err();
    assert_eq!(Exit::of(&error), Exit::Refused);
    assert!(error.to_string().starts_with("the snapshot is of an etcd 3.5 cluster and this host has etcd 3.4"));
    assert!(!host.home().exists());
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
