//! What a boot remembers for the next one, which may lack the carrier.

use std::os::unix::fs::PermissionsExt;

use plan::spec::Mode;

use super::super::{Sources, remember, remembered};
use super::{CREDENTIAL, ETC, GOOD, Host, SEED, failure, loaded, systemd, user_data};
use crate::sys::fs;

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
