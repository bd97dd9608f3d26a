//! Carriers, one at a time and over one another.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use plan::document::Source;
use plan::spec::Mode;

use super::super::{Loaded, Sources, remember, remembered};
use super::{GOOD, Host};
use crate::exit::Exit;
use crate::secrets::Places;
use crate::sys::fs;

const ETC: &str = "/etc/etcd-bootstrapper/config.yaml";
const SEED: &str = "/var/lib/cloud/seed/nocloud";

fn loaded(host: &Host) -> Loaded {
    Sources::new(&host.paths()).load().unwrap().expect("a configuration")
}

/// Exit code and message of a load that fails.
fn failure(host: &Host) -> String {
    let error = Sources::new(&host.paths()).load().map(|l| l.map(|l| l.carrier)).expect_err("a fault");
    host.rootless(&format!("{} {error:#}", Exit::of(&error) as u8))
}

fn user_data() -> String {
    let lines: String = GOOD.lines().map(|l| format!("      {l}\n")).collect();
    format!("#cloud-config\nwrite_files:\n  - path: {ETC}\n    content: |\n{lines}")
}

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

const CREDENTIAL: &str = "/run/credentials/etcd-bootstrapper.service/etcd-bootstrapper.config";

#[test]
fn a_credential_and_the_kernel_command_line_are_carriers_and_the_highest() {
    let host = Host::new()
        .with(ETC, GOOD)
        .with(CREDENTIAL, GOOD.replace("name: prod", "name: other").replace("mode: auto", "replace_after: 5m"))
        .with("/proc/cmdline", "quiet etcd-bootstrapper.replace_after=\"7m\" etcd_bootstrapper.provider=none ro\n");
    let sources = Sources::new(&host.paths());
    let loaded = sources.load().unwrap().unwrap();
    assert_eq!((loaded.spec.cluster.as_str(), loaded.spec.replace_after), ("other", 420));
    let carriers = "/proc/cmdline, the credential etcd-bootstrapper.config, /etc/etcd-bootstrapper/config.yaml";
    assert_eq!(host.rootless(&loaded.carrier), carriers);
    let said = host.rootless(&sources.looked_at().to_string());
    let expected = "cluster.name of /etc/etcd-bootstrapper/config.yaml:3:9 is overridden by the credential \
                    etcd-bootstrapper.config:3:9";
    assert!(said.ends_with(expected), "{said}");
    let explained = sources.explain().unwrap().unwrap();
    let from = |path: &str| explained.iter().find(|l| l.path == path).map(|l| host.rootless(&l.from));
    assert_eq!(from("replace_after").as_deref(), Some("/proc/cmdline:1"));
    assert_eq!(from("cluster.name").as_deref(), Some("the credential etcd-bootstrapper.config:3"));
    assert_eq!(from("mode").as_deref(), Some("/etc/etcd-bootstrapper/config.yaml:6"));
}

#[test]
fn what_is_wrong_in_a_credential_or_on_the_kernel_command_line_is_told_by_its_place() {
    let hidden = "this key is not taken from where everybody can read it: give it in a document, and a secret as a \
                  credential or a file";
    for (path, text, expected) in [
        (
            CREDENTIAL,
            "mode: found",
            "the credential etcd-bootstrapper.config:1:7: mode: `found` is not one of `auto`, \
                                     `init`, `join`, `restore`"
                .to_owned(),
        ),
        (
            CREDENTIAL,
            "",
            "the credential etcd-bootstrapper.config:1:1: there is nothing but comments in it: a document \
                          begins with `version: 1`"
                .to_owned(),
        ),
        (
            "/proc/cmdline",
            "ro etcd_bootstrapper.mdoe=x",
            "/proc/cmdline:1:4: mdoe: unknown key: did you mean `mode`?".to_owned(),
        ),
        ("/proc/cmdline", "etcd_bootstrapper.tls.ca.key=CANARY", format!("/proc/cmdline:1:1: tls.ca.key: {hidden}")),
        (
            "/proc/cmdline",
            "a=b etcd_bootstrapper.mode",
            "/proc/cmdline:1:5: mode: has no value: write etcd_bootstrapper.mode=VALUE".to_owned(),
        ),
        (
            "/proc/cmdline",
            "etcd_bootstrapper.cluster.size=three",
            "/proc/cmdline:1:1: cluster.size: expected a whole number, found a text".to_owned(),
        ),
    ] {
        let host = Host::new().with(ETC, GOOD).with(path, text);
        assert_eq!(failure(&host), format!("65 {expected}"), "{text}");
    }
}

fn systemd(entries: &str) -> String {
    let document = serde_json::to_string(&GOOD.replace("etcd-ca-key", "etcd-bootstrapper.ca-key")).unwrap();
    format!(
        "{{\"systemd.credentials\": [{{\"name\": \"etcd-bootstrapper.config\", \"text\": {document}}}, {entries}]}}"
    )
}

#[test]
fn a_credential_that_user_data_brought_is_kept_for_the_next_boot_and_below_a_real_one() {
    let key = r#"{"name": "etcd-bootstrapper.ca-key", "data": "Q0FOQVJZ"}"#;
    let host = Host::new()
        .with(&format!("{SEED}/user-data"), systemd(key))
        .with(&format!("{SEED}/meta-data"), "instance-id: i-1");
    let from_user_data = Sources::new(&host.paths()).explain().unwrap().unwrap();
    let line = from_user_data.iter().find(|l| l.path == "credential etcd-bootstrapper.ca-key").unwrap();
    assert_eq!(host.rootless(&line.from), format!("{SEED}/user-data:1"));
    remember(&host.paths(), &loaded(&host)).unwrap();
    fs::remove(&host.paths().seed()).unwrap();
    let paths = host.paths();
    let source = Source::Credential { credential: "etcd-bootstrapper.ca-key".into() };
    let read = |credentials: Option<PathBuf>| {
        Places { paths: &paths, credentials }.read(&source, "tls.ca.key", true).map(|value| value.reveal().to_owned())
    };
    assert_eq!(read(None).unwrap(), "CANARY");
    let explained = Sources::new(&paths).explain().unwrap().unwrap();
    let line = explained.iter().find(|l| l.path == "credential etcd-bootstrapper.ca-key").unwrap();
    let from = "/var/lib/etcd-bootstrapper/configuration.json";
    assert_eq!((line.value.as_str(), host.rootless(&line.from).as_str()), ("(secret, 6 bytes)", from));
    let host = host.with("/run/credentials/x/etcd-bootstrapper.ca-key", "REAL");
    assert_eq!(read(Some(host.paths().host("/run/credentials/x"))).unwrap(), "REAL");
    assert_eq!(std::fs::metadata(paths.remembered()).unwrap().permissions().mode() & 0o7777, 0o600);
    // A configuration without it takes it away.
    remember(&paths, &loaded(&host.with(ETC, GOOD))).unwrap();
    assert!(read(None).is_err());
}

#[test]
fn carriers_that_hand_out_one_credential_differently_are_refused() {
    let host = Host::new().with(&format!("{SEED}/meta-data"), "instance-id: i-1").with(
        &format!("{SEED}/user-data"),
        systemd(
            r#"{"name": "etcd-bootstrapper.k", "text": "a"},
            {"name": "etcd-bootstrapper.k", "text": "b"}"#,
        ),
    );
    let said = failure(&host);
    let expected = "neither counts more: make them the same, or remove one";
    assert!(
        said.starts_with("78 ") && said.contains("etcd-bootstrapper.k: differs from") && said.ends_with(expected),
        "{said}"
    );
}

#[test]
fn a_reboot_without_any_carrier_has_what_was_remembered() {
    let host = Host::new()
        .with(&format!("{SEED}/user-data"), user_data().replace("etcd-1,", "\"no\","))
        .with(&format!("{SEED}/meta-data"), "instance-id: i-1\nlocal-hostname: etcd-1");
    assert!(remembered(&host.paths()).unwrap().is_none());
    let first = loaded(&host);
    remember(&host.paths(), &first).unwrap();
    fs::remove(&host.paths().seed()).unwrap();
    assert!(Sources::new(&host.paths()).load().unwrap().is_none());
    let kept = remembered(&host.paths()).unwrap().expect("what was remembered");
    assert_eq!(kept.spec, first.spec);
    assert_eq!((kept.instance_id, kept.hostname, kept.carrier), (first.instance_id, first.hostname, first.carrier));
    assert_eq!(kept.host.etcd, first.host.etcd);
    let file = host.paths().remembered();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
}

#[test]
fn whatever_carried_it_a_reboot_without_that_carrier_has_the_same_configuration() {
    let user_data = |text: String| format!("MIME-Version: 1.0\nContent-Type: text/x-etcd-bootstrapper\n\n{text}");
    let seed = (format!("{SEED}/meta-data"), "instance-id: i-1\n".to_owned());
    let cmdline =
        ("/proc/cmdline".to_owned(), "etcd_bootstrapper.mode=join etcd_bootstrapper.replace_after=7m\n".to_owned());
    for carriers in [
        vec![(CREDENTIAL.to_owned(), GOOD.to_owned()), cmdline.clone()],
        vec![(format!("{SEED}/user-data"), user_data(GOOD.to_owned())), seed.clone(), cmdline.clone()],
        vec![
            (format!("{SEED}/user-data"), systemd(r#"{"name": "etcd-bootstrapper.ca-key", "text": "K"}"#)),
            seed,
            cmdline,
        ],
    ] {
        let host = carriers.iter().fold(Host::new(), |host, (path, text)| host.with(path, text));
        let first = loaded(&host);
        assert_eq!((first.spec.mode, first.spec.replace_after), (Mode::Join, 420));
        remember(&host.paths(), &first).unwrap();
        for (path, _) in &carriers {
            fs::remove(&host.paths().host(path)).unwrap();
        }
        assert!(Sources::new(&host.paths()).load().unwrap().is_none());
        let kept = remembered(&host.paths()).unwrap().expect("what was remembered");
        assert_eq!((kept.spec, kept.instance_id, kept.carrier), (first.spec, first.instance_id, first.carrier));
    }
}

#[test]
fn what_was_remembered_survives_a_configuration_that_is_wrong() {
    let host = Host::new().with(ETC, GOOD);
    remember(&host.paths(), &loaded(&host)).unwrap();
    let host = host.with(ETC, "version: 1\ncluster: [");
    assert!(failure(&host).starts_with("65 /etc/etcd-bootstrapper/config.yaml:2:"));
    assert_eq!(remembered(&host.paths()).unwrap().unwrap().spec.cluster.as_str(), "prod");
}

#[test]
fn a_memory_that_is_damaged_is_no_memory() {
    for text in ["", "{", "{\"format\":2}", "not json"] {
        let host = Host::new().with("/var/lib/etcd-bootstrapper/configuration.json", text);
        assert!(remembered(&host.paths()).unwrap().is_none(), "{text:?}");
    }
}

#[test]
fn explain_shows_no_key_that_a_group_is_asked_with() {
    let key = "{access_key_id: CANARY, secret_access_key: CANARY, session_token: CANARY}";
    let alone = GOOD.lines().filter(|line| !line.starts_with("peers:") && !line.starts_with("  - {name"));
    let alone: String = alone.map(|line| format!("{line}\n")).collect();
    for group in ["aws_asg: {region: eu-west-1", "aws_tags: {region: eu-west-1, tags: {a: b}"] {
        let host = Host::new().with(ETC, format!("{alone}discovery: {{{group}, credentials: {key}}}}}\n"));
        let lines = Sources::new(&host.paths()).explain().unwrap().unwrap();
        assert!(lines.iter().any(|l| l.path.ends_with(".session_token")), "{group}");
        assert!(lines.iter().all(|l| !l.value.contains("CANARY")), "{group}");
    }
}

#[test]
fn explain_shows_no_secret() {
    let inline = "|\n      -----BEGIN PRIVATE KEY-----\n      CANARY\n      -----END PRIVATE KEY-----";
    let s3 = "{access_key_id: CANARY, secret_access_key: CANARY, session_token: CANARY}";
    let text = GOOD.replace("{credential: etcd-ca-key}", inline).replace(
        "mode: auto",
        &format!(
            "restore: {{url: [\"https://user:CANARY@example.com/CANARY?sig=CANARY\", \"s3://bucket/a.db\"], age_identity: AGE-SECRET-KEY-1CANARY, \
             proxy: \"http://user:CANARY@10.0.0.1:3128\", credentials: {s3}, region: eu-west-1, \
             sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855}}\n\
             store: {{url: \"s3://bucket/prod\", region: eu-west-1, proxy: \"http://user:CANARY@10.0.0.1:3128\", \
             credentials: {s3}}}\nbackup: {{keep: {{daily: 8}}}}"
        ),
    );
    let host = Host::new().with(ETC, text);
    let lines = Sources::new(&host.paths()).explain().unwrap().unwrap();
    let shown = |path: &str| {
        let line = lines.iter().find(|l| l.path == path).unwrap_or_else(|| panic!("{path}"));
        (line.value.as_str(), host.rootless(&line.from))
    };
    let at = |line: usize| format!("{ETC}:{line}");
    let default = "default".to_owned();
    for (path, value, from) in [
        ("restore.url[0]", "https://example.com/(secret)", at(6)),
        ("restore.age_identity", "(secret, 22 bytes)", at(6)),
        ("restore.proxy", "(secret, 32 bytes)", at(6)),
        ("restore.credentials.session_token", "(secret, 6 bytes)", at(6)),
        ("store.proxy", "(secret, 32 bytes)", at(7)),
        ("store.credentials.access_key_id", "(secret, 6 bytes)", at(7)),
        ("tls.ca.key", "(PEM, 61 bytes)", at(17)),
        ("store.on_total_loss", "wait", default.clone()),
        ("backup.keep.daily", "8", at(8)),
        ("backup.keep.weekly", "4", default.clone()),
        ("tls.extra_sans", "[]", default),
    ] {
        assert_eq!(shown(path), (value, from), "{path}");
    }
    assert!(lines.iter().all(|l| !l.value.contains("CANARY")));
    let mut paths: Vec<&str> = lines.iter().map(|l| l.path.as_str()).collect();
    paths.sort_unstable();
    let count = paths.len();
    paths.dedup();
    assert_eq!(paths.len(), count, "each value has one line");
}

#[test]
fn explain_shows_where_a_secret_is_kept_and_nothing_of_its_url() {
    let text = GOOD.replace(
        "{credential: etcd-ca-key}",
        "{url: \"https://keys.example/CANARY?sig=CANARY\", sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855}",
    );
    let keys =
        "{access_key_id: {url: \"https://keys.example/CANARY\"}, secret_access_key: {aws_secret: etcd/s3, field: key}}";
    let text = format!("{text}store: {{url: \"s3://bucket/prod\", region: eu-west-1, credentials: {keys}}}\n");
    let host = Host::new().with(ETC, text);
    let lines = Sources::new(&host.paths()).explain().unwrap().unwrap();
    for (path, value) in [
        ("tls.ca.key.url", "https://keys.example/(secret)"),
        ("store.credentials.access_key_id.url", "https://keys.example/(secret)"),
        ("store.credentials.secret_access_key.aws_secret", "etcd/s3"),
        ("store.credentials.secret_access_key.field", "key"),
    ] {
        let line = lines.iter().find(|l| l.path == path).unwrap_or_else(|| panic!("{path}"));
        assert_eq!(line.value, value, "{path}");
    }
    assert!(lines.iter().all(|l| !l.value.contains("CANARY")));
}
