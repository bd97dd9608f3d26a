//! The service's credentials and the kernel command line, and credentials that user-data hands out.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use plan::document::Source;

use super::super::{Sources, remember};
use super::{CREDENTIAL, ETC, GOOD, Host, SEED, failure, loaded, systemd};
use crate::secrets::Places;
use crate::sys::fs;

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
