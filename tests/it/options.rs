//! etcd's options by the names that its minor versions know them by, held against the etcd that is here.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use plan::member::Version;
use plan::render::{EtcdConfig, QUOTA, fits};

use crate::support::etcd;

fn config(minor: u16, fits: u64, options: &BTreeMap<String, String>) -> EtcdConfig {
    EtcdConfig {
        name: "etcd-1".parse().expect("a name"),
        data_dir: "/d".into(),
        wal_dir: Some("/w".into()),
        pki: "/p".into(),
        initial_cluster: Vec::new(),
        new: true,
        unled: true,
        token: "t".into(),
        peer_url: "https://10.0.0.1:2380".parse().expect("a URL"),
        client_url: "https://10.0.0.1:2379".parse().expect("a URL"),
        listen: Ipv4Addr::UNSPECIFIED.into(),
        version: Version { major: 3, minor, patch: 0 },
        fits,
        options: options.clone(),
    }
}

fn environment(minor: u16, options: &BTreeMap<String, String>) -> Vec<String> {
    let keys = config(minor, QUOTA, options).environment();
    keys.lines().filter_map(|line| Some(line.split_once('=')?.0.to_owned())).collect()
}

#[test]
fn every_experimental_option_of_this_etcd_is_told_as_it_is_to_3_5_and_by_its_new_name_to_3_6() {
    let help = etcd::output(&etcd::binary("etcd"), &["--help"], b"");
    let experimental: BTreeMap<String, String> = help
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("--experimental-"))
        // 3.6 has nothing for v2's store.
        .filter(|option| *option != "enable-v2v3")
        .map(|option| (format!("ETCD_EXPERIMENTAL_{}", option.to_ascii_uppercase().replace('-', "_")), "1".to_owned()))
        .collect();
    assert!(experimental.len() > 15, "these are what etcd --help names: {experimental:?}");
    let old = environment(5, &experimental);
    let lost: Vec<_> = experimental.keys().filter(|key| !old.contains(key)).collect();
    assert!(lost.is_empty(), "3.5 is not told {lost:?}");
    let kept: Vec<_> = environment(6, &experimental).into_iter().filter(|key| key.contains("EXPERIMENTAL")).collect();
    assert!(kept.is_empty(), "3.6 is told {kept:?} by 3.5's name");
}

#[test]
fn the_quota_leaves_room_on_a_small_disk_and_is_never_below_what_is_there() {
    const MIB: u64 = 1 << 20;
    for (disk, database, expected) in [
        (100 << 30, 0, QUOTA),
        (QUOTA + 512 * MIB, 0, QUOTA),
        (QUOTA, 0, QUOTA - 512 * MIB),
        (960 * MIB, 0, 448 * MIB),
        (300 * MIB, 0, 75 * MIB),
        (960 * MIB, 800 * MIB, 900 * MIB),
    ] {
        let told = |options: &BTreeMap<String, String>| config(5, fits(disk, database), options).environment();
        let line = format!("ETCD_QUOTA_BACKEND_BYTES=\"{expected}\"\n");
        let quota = told(&BTreeMap::new());
        assert!(quota.contains(&line), "{disk} bytes with {database}: {quota}");
        let own = BTreeMap::from([("ETCD_QUOTA_BACKEND_BYTES".to_owned(), "7".to_owned())]);
        assert!(told(&own).contains("ETCD_QUOTA_BACKEND_BYTES=\"7\"\n"), "the user's own counts");
    }
}
