//! Carriers, one at a time and over one another.

use std::os::unix::fs::symlink;

use plan::spec::Mode;

use super::super::Sources;
use super::{ETC, GOOD, Host, SEED, failure, loaded, user_data};
use crate::sys::fs;

#[test]
fn a_host_without_any_carrier_has_no_configuration_and_says_where_it_looked() {
    let host = Host::new();
    let sources = Sources::new(&host.paths());
    assert!(sources.load().unwrap().is_none());
    let said = host.rootless(&sources.looked_at().to_string());
    let expected = "no configuration in /etc/etcd-bootstrapper, in the credential etcd-bootstrapper.config or on a volume \
                    labelled cidata, config-2 or ETCDBOOT";
    assert_eq!(said, expected);
}

#[test]
fn each_file_that_may_carry_the_document_carries_it() {
    let json = r#"{"version": 1, "cluster": {"name": "prod", "size": 1},
        "peers": [{"name": "etcd-1", "peer_url": "https://10.0.0.11:2380"}],
        "tls": {"ca": {"cert": {"file": "/a"}, "key": {"file": "/b"}}}}"#;
    for (path, text) in [
        (ETC, GOOD),
        ("/etc/etcd-bootstrapper/config.json", json),
        ("/etc/etcd-bootstrapper/config.d/50-all.yaml", GOOD),
        ("/usr/lib/etcd-bootstrapper/config.d/all.json", json),
        ("/var/lib/cloud/seed/nocloud/etcd-bootstrapper.yaml", GOOD),
        ("/var/lib/cloud/seed/nocloud/ETCD-BOOTSTRAPPER.JSON", json),
    ] {
        let host = Host::new().with(path, text);
        let loaded = loaded(&host);
        assert_eq!(loaded.spec.cluster.as_str(), "prod", "{path}");
        assert_eq!((loaded.instance_id, loaded.hostname), (None, None), "{path}");
        assert_eq!(host.rootless(&loaded.carrier).to_lowercase(), path.to_lowercase());
    }
}

#[test]
fn a_seed_gives_user_data_instance_id_and_hostname() {
    for (meta_data, id, hostname) in [
        ("instance-id: i-1\nlocal-hostname: etcd-1\n", "i-1", Some("etcd-1")),
        ("instance-id: 0123\nhostname: etcd-1.example.com\n", "0123", Some("etcd-1.example.com")),
        ("{\"instance-id\": \"i-2\", \"hostname\": \"b\", \"local-hostname\": \"a\"}", "i-2", Some("a")),
        ("instance-id: i-3\ndsmode: local\npublic-keys: !!python/none x\n", "i-3", None),
    ] {
        let host =
            Host::new().with(&format!("{SEED}/user-data"), user_data()).with(&format!("{SEED}/META-DATA"), meta_data);
        let loaded = loaded(&host);
        assert_eq!((loaded.instance_id.as_deref(), loaded.hostname.as_deref()), (Some(id), hostname));
        assert_eq!(host.rootless(&loaded.carrier), format!("{SEED}/user-data"));
    }
}

#[test]
fn a_seed_that_would_make_two_machines_one_or_is_unreadable_fails_with_65() {
    let remedy = "write `instance-id: NAME`, a name that no other machine has";
    for (meta_data, expected) in [
        (None, format!("65 {SEED}/meta-data:1:1: there is no meta-data beside user-data: {remedy}")),
        (Some(""), format!("65 {SEED}/meta-data:1:1: meta-data is empty: {remedy}")),
        (Some("local-hostname: a"), format!("65 {SEED}/meta-data:1:1: instance-id is missing: {remedy}")),
        (Some("instance-id:"), format!("65 {SEED}/meta-data:1:1: instance-id is missing: {remedy}")),
        (Some("- a"), format!("65 {SEED}/meta-data:1:1: expected lines of `key: value`, found a list")),
        (Some("instance-id: [a]"), format!("65 {SEED}/meta-data:1:14: instance-id: expected a text")),
        (
            Some("instance-id: a\nhostname: a_b"),
            format!("65 {SEED}/meta-data:2:11: hostname: is not a host name of a-z, 0-9, - and dots"),
        ),
    ] {
        let mut host = Host::new().with(&format!("{SEED}/user-data"), user_data());
        if let Some(meta_data) = meta_data {
            host = host.with(&format!("{SEED}/meta-data"), meta_data);
        }
        assert_eq!(failure(&host), expected);
    }
}

#[test]
fn user_data_that_holds_nothing_of_ours_is_no_fault_and_is_told() {
    let nothing = format!(
        "{SEED} has no configuration of ours: expected etcd-bootstrapper.yaml, or user-data that \
         writes /etc/etcd-bootstrapper/config.yaml"
    );
    for (text, expected) in [
        ("", nothing.clone()),
        (" \n\n", nothing.clone()),
        ("#cloud-config\nruncmd: [reboot]\n", nothing.clone()),
        (
            "#!/bin/sh\nreboot\n",
            format!("{SEED}/user-data is not read: it is a script, and nothing in user-data is executed"),
        ),
        (
            "<!DOCTYPE html>\n<title>Log in</title>\n",
            format!("{SEED}/user-data begins `<!DOCTYPE html>`, which is neither #cloud-config nor #etcd-bootstrapper"),
        ),
        ("abcd", format!("{SEED}/user-data begins `abcd`, which is neither #cloud-config nor #etcd-bootstrapper")),
    ] {
        let host = Host::new().with(&format!("{SEED}/user-data"), text);
        let sources = Sources::new(&host.paths());
        assert!(sources.load().unwrap().is_none(), "{text:?}");
        let said = host.rootless(&sources.looked_at().to_string());
        assert_eq!(said.split_once("; ").map(|(_, notes)| notes), Some(expected.as_str()), "{text:?}");
    }
}

#[test]
fn a_header_that_was_forgotten_is_asked_for() {
    for (text, header) in
        [(GOOD.to_owned(), "#etcd-bootstrapper"), (user_data().replace("#cloud-config\n", ""), "#cloud-config")]
    {
        let host = Host::new().with(&format!("{SEED}/user-data"), text);
        assert_eq!(failure(&host), format!("65 {SEED}/user-data:1:1: the first line must be `{header}`: add it"));
    }
}

#[test]
fn what_is_higher_wins_key_by_key_and_lists_are_replaced_whole() {
    let shared = GOOD.replace("mode: auto\n", "timeouts: {metadata: 1s, time_sync: 2s}\ndata: {device: {serial: a}}\n");
    let host = Host::new()
        .with("/usr/lib/etcd-bootstrapper/config.d/site.yaml", "replace_after: 5m\nmode: join\n")
        .with(&format!("{SEED}/user-data"), format!("#etcd-bootstrapper\n{shared}"))
        .with(&format!("{SEED}/meta-data"), "instance-id: i-1")
        .with(&format!("{SEED}/etcd-bootstrapper.yaml"), "member: {name: etcd-2}\ntimeouts: {metadata: 3s}\n")
        .with("/etc/etcd-bootstrapper/config.d/10-a.yaml", "data: {device: {label: b}}\netcd: {snapshot-count: 5}\n")
        .with("/etc/etcd-bootstrapper/config.d/20-b.yaml", "etcd: {snapshot-count: 6}\ntls: {extra_sans: [a, b]}\n")
        .with("/etc/etcd-bootstrapper/config.d/30-c.yaml", "tls: {extra_sans: [c]}\n")
        .with("/etc/etcd-bootstrapper/config.d/README", "not read")
        .with("/etc/etcd-bootstrapper/config.d/.hidden.yaml", "not: read");
    let lines = Sources::new(&host.paths()).explain().unwrap().unwrap();
    let interesting = [
        "mode",
        "member.name",
        "replace_after",
        "timeouts",
        "data.device",
        "etcd.snapshot",
        "tls.extra",
        "instance",
        "cluster.n",
    ];
    let explained: Vec<String> = lines
        .iter()
        .filter(|l| interesting.iter().any(|i| l.path.starts_with(i)))
        .map(|l| host.rootless(&format!("{}={} {}", l.path, l.value, l.from)))
        .collect();
    let expected = [
        "replace_after=5m /usr/lib/etcd-bootstrapper/config.d/site.yaml:1",
        "mode=join /usr/lib/etcd-bootstrapper/config.d/site.yaml:2",
        "cluster.name=prod /var/lib/cloud/seed/nocloud/user-data:4",
        "timeouts.metadata=3s /var/lib/cloud/seed/nocloud/etcd-bootstrapper.yaml:2",
        "timeouts.time_sync=2s /var/lib/cloud/seed/nocloud/user-data:7",
        "data.device.label=b /etc/etcd-bootstrapper/config.d/10-a.yaml:1",
        "tls.extra_sans[0]=c /etc/etcd-bootstrapper/config.d/30-c.yaml:1",
        "etcd.snapshot-count=6 /etc/etcd-bootstrapper/config.d/20-b.yaml:1",
        "member.name=etcd-2 /var/lib/cloud/seed/nocloud/etcd-bootstrapper.yaml:1",
        "timeouts.data_device=60s default",
        "instance-id=i-1 meta-data",
    ];
    assert_eq!(explained, expected);
}

#[test]
fn a_fault_of_what_was_laid_together_names_the_file_that_it_came_from() {
    let host = Host::new().with(ETC, GOOD).with("/etc/etcd-bootstrapper/config.d/10-x.yaml", "cluster:\n  size: 4\n");
    let expected = "65 /etc/etcd-bootstrapper/config.d/10-x.yaml:2:9: cluster.size: \
                    4 voters survive no more failures than 3: write 3 or 5";
    assert_eq!(failure(&host), expected);
}

#[test]
fn carriers_of_one_tier_must_agree_on_what_makes_the_cluster() {
    for (fragment, expected) in [
        ("mode: join", "10-x.yaml:1:7: mode: differs from /etc/etcd-bootstrapper/config.yaml:6:7"),
        ("cluster: {name: b}", "10-x.yaml:1:17: cluster.name: differs from /etc/etcd-bootstrapper/config.yaml:3:9"),
        ("tls: {ca: {cert: b}}", "10-x.yaml:1:18: tls.ca.cert: differs from /etc/etcd-bootstrapper/config.yaml:13:11"),
    ] {
        let host = Host::new().with(ETC, GOOD).with("/etc/etcd-bootstrapper/config.d/10-x.yaml", fragment);
        let remedy = "and neither counts more: make them the same, or remove one";
        assert_eq!(failure(&host), format!("78 /etc/etcd-bootstrapper/config.d/{expected}, {remedy}"));
        let same = Host::new().with(ETC, GOOD).with("/etc/etcd-bootstrapper/config.d/10-x.yaml", "mode: auto");
        assert_eq!(loaded(&same).spec.mode, Mode::Auto);
    }
}

#[test]
fn another_tier_may_overrule_and_it_is_told() {
    let host = Host::new()
        .with("/etc/etcd-bootstrapper/config.d/10-x.yaml", "mode: join")
        .with(&format!("{SEED}/etcd-bootstrapper.yaml"), GOOD);
    let sources = Sources::new(&host.paths());
    assert_eq!(sources.load().unwrap().unwrap().spec.mode, Mode::Join);
    let said = host.rootless(&sources.looked_at().to_string());
    let expected = "mode of /var/lib/cloud/seed/nocloud/etcd-bootstrapper.yaml:6:7 is overridden by \
                    /etc/etcd-bootstrapper/config.d/10-x.yaml:1:7";
    assert!(said.ends_with(expected), "{said}");
}

#[test]
fn fragments_alone_wait_for_the_rest_and_a_document_does_not() {
    let fragment = Host::new().with("/etc/etcd-bootstrapper/config.d/10-x.yaml", "mode: join");
    assert!(Sources::new(&fragment.paths()).load().unwrap().is_none());
    let whole = Host::new().with(ETC, "mode: join");
    assert_eq!(
        failure(&whole),
        "65 /etc/etcd-bootstrapper/config.yaml:1:1: version: missing: this key is required, add it"
    );
    let wrong = Host::new().with("/etc/etcd-bootstrapper/config.d/10-x.yaml", "mdoe: join");
    let expected = "65 /etc/etcd-bootstrapper/config.d/10-x.yaml:1:1: mdoe: unknown key: did you mean `mode`?";
    assert_eq!(failure(&wrong), expected);
}

#[test]
fn files_that_would_be_read_by_nobody_or_twice_are_faults() {
    for (one, other, expected) in [
        (
            ETC,
            "/etc/etcd-bootstrapper/config.json",
            "/etc/etcd-bootstrapper/config.yaml and /etc/etcd-bootstrapper/config.json are both there: keep one",
        ),
        (
            ETC,
            "/etc/etcd-bootstrapper/config.yml",
            "/etc/etcd-bootstrapper/config.yml is not read: name it config.yaml",
        ),
        (
            ETC,
            "/etc/etcd-bootstrapper/config.d/a.yml",
            "/etc/etcd-bootstrapper/config.d/a.yml is not read: name it .yaml",
        ),
        (
            ETC,
            "/var/lib/cloud/seed/nocloud/etcd-bootstrapper.yml",
            "/var/lib/cloud/seed/nocloud: etcd-bootstrapper.yml is not read: name it .yaml",
        ),
        (
            "/var/lib/cloud/seed/nocloud/user-data",
            "/var/lib/cloud/seed/nocloud/User-Data",
            "/var/lib/cloud/seed/nocloud: user-data is there in two spellings: keep one",
        ),
    ] {
        let host = Host::new().with(one, GOOD).with(other, if other.ends_with("json") { "{}" } else { "" });
        assert_eq!(failure(&host), format!("65 {expected}"));
    }
}

#[test]
fn only_regular_files_of_a_seed_are_opened() {
    let secret = Host::new().with("/secret", GOOD);
    for (kind, found) in
        [("link", "a symbolic link"), ("pipe", "a pipe, a socket or a device"), ("directory", "a directory")]
    {
        let host = Host::new().with(&format!("{SEED}/meta-data"), "instance-id: a");
        let path = host.paths().seed().join("etcd-bootstrapper.yaml");
        match kind {
            "link" => symlink(secret.paths().host("/secret"), &path).unwrap(),
            "pipe" => nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            _ => fs::create_dir(&path, 0o700, None).unwrap(),
        }
        let said = failure(&host);
        let expected = format!(
            "65 cannot use {SEED}: {SEED}/etcd-bootstrapper.yaml: expected a regular file, found {found}: replace it"
        );
        assert_eq!(said, expected);
    }
}
