//! What is accepted, and that every spelling of it means the same.

use plan::backup::Keep;
use plan::document::{Address, Auto, Device, Source};
use plan::store::{Credentials, SecretText};

use super::super::document;
use super::super::explain::{DEFAULTS, DEFAULTS_WITHIN};
use super::{GOOD, files, fixtures, repository, verdict};

#[test]
fn each_good_file_is_valid() {
    for (name, bytes) in fixtures("good") {
        let members = match name.as_str() {
            "one.yaml" => "cluster solo, 1 member, mode auto",
            "every-key.yaml" => "cluster prod-2, 5 members, mode restore",
            "user-data-fragments.yaml" => "cluster prod, 3 members, mode init",
            "user-data.json" => "cluster prod, 1 member, mode auto",
            _ => "cluster prod, 3 members, mode auto",
        };
        assert_eq!(verdict(&name, &bytes), [format!("0 {name}: valid: {members}")]);
    }
}

#[test]
fn each_example_is_valid() {
    let modes = [
        ("found", "auto"),
        ("join", "join"),
        ("recover", "auto"),
        ("reimage", "auto"),
        ("restore", "restore"),
        ("store", "auto"),
        ("aws-group", "auto"),
        ("gce-group", "auto"),
        ("azure-group", "auto"),
    ];
    for (name, mode) in modes {
        let name = format!("{name}.yaml");
        let (_, bytes) =
            files(&repository().join("cloud-init/examples")).into_iter().find(|(n, _)| *n == name).unwrap();
        assert_eq!(verdict(&name, &bytes), [format!("0 {name}: valid: cluster prod, 3 members, mode {mode}")]);
    }
    assert_eq!(files(&repository().join("cloud-init/examples")).len(), modes.len(), "every example is in this list");
}

#[test]
fn every_key_reaches_the_spec_and_the_host() {
    let (_, bytes) = fixtures("good").into_iter().find(|(name, _)| name == "every-key.yaml").unwrap();
    let (spec, host) = document::parse_bytes(&bytes, "every-key.yaml").unwrap().check().unwrap();
    let spec: serde_json::Value = serde_json::to_value(&spec).unwrap();
    let peer = |name: &str, url: &str| serde_json::json!({"name": name, "peer_url": url});
    let expected = serde_json::json!({
        "cluster": "prod-2", "size": 5, "epoch": 2, "found_until": "2026-11-30T23:00:00Z", "mode": "restore",
        "set": {"static": [
            peer("etcd-1", "https://[fd00::11]:2380"),
            peer("etcd-2", "https://[fd00::12]:2380"),
            peer("123", "https://etcd-3.example.com:2380"),
            peer("no", "https://10.0.0.14:2380"),
            peer("etcd_5.x", "https://10.0.0.15:2380"),
        ]},
        "replace_after": 300,
        "restore": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "store": {"url": "s3://bucket/prod-2", "on_total_loss": "restore"},
        "recover": {"survivor": "etcd-1", "epoch": 3, "given_up": ["no", "123"]},
    });
    assert_eq!(spec, expected);
    assert_eq!(host.name, Auto::Is("etcd-1".parse().unwrap()));
    assert_eq!(host.address, Address::Cidr { cidr: "fd00::/8".into() });
    assert_eq!(host.device, Device::Serial("etcd-data-1".into()));
    assert_eq!(host.tls.extra_sans, ["etcd.example.com", "10.0.0.100"]);
    assert!(matches!(&host.tls.ca.cert, Source::Inline(pem) if pem.reveal().lines().count() == 3));
    assert!(matches!(&host.tls.ca.key, Source::Credential { credential } if credential == "etcd-bootstrapper.ca-key"));
    assert_eq!((host.metadata_timeout, host.data_device_timeout, host.time_sync_timeout), (10, 1, 86400));
    assert!(host.allow_inline_secrets);
    let logs = host.logs.unwrap();
    assert_eq!((logs.upload.as_str(), logs.files().count()), ("https://logs.example.com:19532", 3));
    let backup = host.backup.unwrap();
    assert_eq!((backup.every.0.as_secs(), backup.keep), (1800, Keep { hourly: 12, daily: 0, weekly: 52 }));
    assert!(backup.age_recipient.is_some_and(|recipient| recipient.starts_with("age1")));
    let store = host.store.unwrap();
    assert_eq!(
        (store.endpoint.as_deref(), store.region.as_deref()),
        (Some("http://10.0.0.9:9000"), Some("eu-central-1"))
    );
    assert_eq!((store.path_style, store.allow_http), (Some(false), true));
    let Credentials::Keys(keys) = &store.credentials else { panic!("no keys") };
    assert!(
        matches!(&keys.access_key_id, Some(SecretText(Source::Inline(id))) if id.reveal() == "AKIAIOSFODNN7EXAMPLE")
    );
    assert!(matches!(&keys.secret_access_key, Some(SecretText(Source::File { file })) if file.ends_with("/store.key")));
    assert!(
        matches!(&keys.session_token, Some(SecretText(Source::Credential { credential })) if credential == "etcd-bootstrapper.store-token")
    );
    let etcd: Vec<String> = host.etcd.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let expected = [
        "ETCD_AUTO_COMPACTION_MODE=periodic",
        "ETCD_AUTO_COMPACTION_RETENTION=1",
        "ETCD_HEARTBEAT_INTERVAL=250",
        "ETCD_PRE_VOTE=true",
        "ETCD_QUOTA_BACKEND_BYTES=8589934592",
    ];
    assert_eq!(etcd, expected);
}

#[test]
fn the_defaults_that_explain_shows_are_the_defaults() {
    let meaning = |text: &str| {
        let (spec, host) = document::parse(text, "f").unwrap().check().unwrap();
        let times = (host.metadata_timeout, host.data_device_timeout, host.time_sync_timeout);
        let tls = (host.tls.extra_sans, host.tls.validity.map_or(8760 * 3600, |v| v.0.as_secs()));
        (spec, host.name, host.address, host.device, times, tls, host.allow_inline_secrets)
    };
    let silent = GOOD.replace("mode: auto\n", "");
    let mut spoken = silent.clone();
    for (path, value) in DEFAULTS {
        match path.split_once('.') {
            None => spoken += &format!("{path}: {value}\n"),
            Some((parent, key)) if spoken.contains(&format!("\n{parent}:\n")) => {
                spoken = spoken.replace(&format!("\n{parent}:\n"), &format!("\n{parent}:\n  {key}: {value}\n"));
            }
            Some((parent, key)) => spoken += &format!("{parent}:\n  {key}: {value}\n"),
        }
    }
    assert_eq!(meaning(&spoken), meaning(&silent));
}

#[test]
fn the_defaults_within_a_part_that_explain_shows_are_the_defaults() {
    let part = |name: &str, given: &str| {
        let store = "url: \"s3://bucket/prod\", region: eu-west-1";
        let (store_given, other) = if name == "store" { (given, "") } else { ("", given) };
        let restore = "url: \"s3://bucket/a.db\", region: eu-west-1, sha256: \
                       e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let more = match name {
            "store" => String::new(),
            "backup" => format!("backup: {{{}}}\n", other.trim_start_matches(", ")),
            _ => format!("restore: {{{restore}{other}}}\n"),
        };
        GOOD.replace("mode: auto\n", &format!("store: {{{store}{store_given}}}\n{more}"))
    };
    for (name, path, value) in DEFAULTS_WITHIN {
        let keys: Vec<&str> = path.split('.').skip(1).collect();
        let given = match keys[..] {
            [key] => format!(", {key}: {value}"),
            [outer, key] => format!(", {outer}: {{{key}: {value}}}"),
            _ => panic!("{path}"),
        };
        let meaning = |text: &str| {
            let (spec, host) = document::parse(text, "f").unwrap().check().unwrap();
            let store = host.store.map(|s| (s.allow_http, s.on_total_loss));
            (spec, host.backup, store, host.restore.map(|r| r.allow_http))
        };
        assert_eq!(meaning(&part(name, &given)), meaning(&part(name, "")), "{path}");
    }
}
