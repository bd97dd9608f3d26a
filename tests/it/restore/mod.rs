//! A snapshot becomes a data dir, whole or not at all: real etcdutl, real etcd.

mod cut_short;
mod host;
mod refused;
mod room;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bootstrapper::snapshot::stage::discard;
use bootstrapper::sys::fs::Owner;
use plan::facts::Wal;
use plan::founding::REVISION_BUMP;

pub use self::host::{Host, Mounted};
use crate::support::etcd::{Etcd, binary};
use crate::support::fixture::{KEYS, REVISION, snapshot, value};

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
    assert!(!host.staged() && host.look().member);
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
    assert_eq!(host.look().wal, wal);
}
