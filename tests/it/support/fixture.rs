//! A real snapshot, made once for all tests.

use std::fs;
use std::io::Write;
use std::sync::OnceLock;

use ring::digest;

use super::etcd::Etcd;
use super::scratch::Scratch;

/// Keys `key0` and so on in the snapshot, each of 300 000 bytes.
pub const KEYS: u64 = 12;

/// The revision of its last key: an empty etcd is at 1.
pub const REVISION: u64 = KEYS + 1;

/// What `etcdctl snapshot save` wrote of a cluster with some keys; a few megabytes.
pub fn snapshot() -> &'static [u8] {
    static SNAPSHOT: OnceLock<Vec<u8>> = OnceLock::new();
    SNAPSHOT.get_or_init(|| saved(KEYS))
}

/// As [`snapshot`], of more than 32 MiB.
pub fn large() -> &'static [u8] {
    static SNAPSHOT: OnceLock<Vec<u8>> = OnceLock::new();
    let large = SNAPSHOT.get_or_init(|| saved(10 * KEYS));
    assert!(large.len() > 33 << 20, "{}", large.len());
    large
}

fn saved(keys: u64) -> Vec<u8> {
    let scratch = Scratch::new();
    let etcd = Etcd::single(&scratch.join("data"), &[]);
    for i in 0..keys {
        etcd.ctl_with(&["put", &format!("key{i}")], &value(i));
    }
    let path = scratch.join("snapshot.db");
    etcd.ctl(&["snapshot", "save", path.to_str().unwrap()]);
    fs::read(path).unwrap()
}

/// The value of a key in the snapshot; no two pages of it are equal.
pub fn value(key: u64) -> Vec<u8> {
    (0..30_000).flat_map(|i| format!("{:09},", i * 1000 + key).into_bytes()).collect()
}

/// sha256 as `sha256sum` prints it.
pub fn sha256(bytes: &[u8]) -> String {
    digest::digest(&digest::SHA256, bytes).as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// The same file with a trailer that matches, as somebody who repairs it by hand would write it.
pub fn trailed_again(database: &[u8]) -> Vec<u8> {
    let hash = digest::digest(&digest::SHA256, database);
    [database, hash.as_ref()].concat()
}

/// As `zstd` packs it.
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// As `gzip` packs it.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}
