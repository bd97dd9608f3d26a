//! etcd's options by the names that its minor versions know them by, held against the etcd that is here.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use plan::member::Version;
use plan::render::EtcdConfig;

use crate::support::etcd;

fn environment(minor: u16, options: &BTreeMap<String, String>) -> Vec<String> {
    let config = EtcdConfig {
        name: "etcd-1".parse().expect("a name"),
        data_dir: "/d".into(),
        pki: "/p".into(),
        initial_cluster: Vec::new(),
        new: true,
        unled: true,
        token: "t".into(),
        peer_url: "https://10.0.0.1:2380".parse().expect("a URL"),
        client_url: "https://10.0.0.1:2379".parse().expect("a URL"),
        listen: Ipv4Addr::UNSPECIFIED.into(),
        version: Version { major: 3, minor, patch: 0 },
        options: options.clone(),
    };
    let keys = config.environment();
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
