//! What cloud-init has merged, in an image that has it.

use serde_json::{Value, json};

use super::super::Sources;
use super::{GOOD, Host};
use crate::exit::Exit;

const RUN: &str = "/run/cloud-init";
const CONFIG: &str = "/etc/etcd-bootstrapper/config.yaml";

/// A machine on which cloud-init runs and has come so far.
fn host(finished: Value, datasource: &str) -> Host {
    let status =
        json!({"v1": {"datasource": datasource, "stage": "init", "init": {"finished": finished, "errors": []}}});
    let instance = json!({"v1": {"instance_id": "i-merged", "local_hostname": "etcd-9"}});
    Host::new()
        .with(&format!("{RUN}/enabled"), "")
        .with(&format!("{RUN}/status.json"), status.to_string())
        .with(&format!("{RUN}/instance-data-sensitive.json"), instance.to_string())
}

fn done() -> Host {
    host(json!(1.5), "DataSourceNoCloud [seed=/dev/vdb]")
}

fn merged(host: Host, config: &Value) -> Host {
    host.with(&format!("{RUN}/combined-cloud-config.json"), config.to_string())
}

fn write_file(text: &str) -> Value {
    json!({"write_files": [{"path": CONFIG, "permissions": "0600", "content": text}]})
}

fn seed(host: Host, name: &str) -> Host {
    let seed = "/var/lib/cloud/seed/nocloud";
    let user_data = format!("#etcd-bootstrapper\n{}", GOOD.replace("name: prod", &format!("name: {name}")));
    host.with(&format!("{seed}/user-data"), user_data).with(&format!("{seed}/meta-data"), "instance-id: i-native\n")
}

/// The cluster's name, who the instance is, and what carried it.
fn loaded(host: &Host) -> Option<(String, String, String)> {
    let loaded = Sources::new(&host.paths()).load().unwrap()?;
    let carrier = host.rootless(&loaded.carrier);
    Some((loaded.spec.cluster.to_string(), loaded.instance_id.unwrap_or_default(), carrier))
}

#[test]
fn what_cloud_init_has_merged_counts_in_the_place_of_what_it_was_merged_from() {
    let host = seed(merged(done(), &write_file(GOOD)), "native").with(CONFIG, GOOD);
    let carrier = "user-data, merged by cloud-init write_files[0] /etc/etcd-bootstrapper/config.yaml";
    assert_eq!(loaded(&host), Some(("prod".into(), "i-merged".into(), carrier.into())), "the file is the same text");
}

#[test]
fn nothing_is_read_before_cloud_init_has_read_it() {
    let host = seed(host(Value::Null, ""), "native").with(CONFIG, GOOD);
    let sources = Sources::new(&host.paths());
    assert!(sources.load().unwrap().is_none());
    let looked = sources.looked_at().to_string();
    assert!(looked.contains("cloud-init has not read user-data yet; its stage is init"), "{looked}");
}

#[test]
fn without_a_datasource_or_without_cloud_init_user_data_is_read_as_ever() {
    let none = host(json!(1.5), "DataSourceNone");
    for host in [seed(none, "native"), seed(Host::new(), "native")] {
        let (name, id, _) = loaded(&host).unwrap();
        assert_eq!((name.as_str(), id.as_str()), ("native", "i-native"));
    }
}

#[test]
fn parts_that_the_handler_has_kept_are_documents_or_whole_user_data() {
    for (name, text) in [
        ("part-001.yaml", GOOD.to_owned()),
        ("part-001.user-data", format!("#etcd-bootstrapper\n{GOOD}")),
        (
            "part-001.user-data",
            json!({"systemd.credentials": [{"name": "etcd-bootstrapper.config", "text": GOOD}]}).to_string(),
        ),
    ] {
        let host = merged(done(), &json!({})).with(&format!("{RUN}/etcd-bootstrapper/{name}"), &text);
        assert_eq!(loaded(&host).map(|(name, ..)| name).as_deref(), Some("prod"), "{name}");
    }
    let bad = GOOD.replace("mode: auto", "mode: found");
    let host = merged(done(), &json!({})).with(&format!("{RUN}/etcd-bootstrapper/part-001.yaml"), bad);
    let error = Sources::new(&host.paths()).load().map(drop).expect_err("a bad document");
    assert_eq!(Exit::of(&error), Exit::BadInput);
    assert!(error.to_string().starts_with("user-data, merged by cloud-init, part-001.yaml:6:7: mode: "), "{error}");
}

#[test]
fn what_cloud_init_does_not_read_of_a_platform_counts_beside_what_it_merged() {
    // On Azure its ID of the machine is the firmware's, with the bytes in another order.
    let machine = json!({"format": 1, "firmware": ["", "", "", ""], "machine": {
        "provider": "azure", "instance_id": "8f3a1c2d-11aa", "hostname": "etcd-0.example", "addresses": [], "zone": null,
        "region": null, "tags": {"etcd-bootstrapper:replace_after": "45s"}, "group": null, "vendor_data": null,
        "user_data": "bm90IHJlYWQ=", "own": null}});
    let tag = "7783-7084-3265-9085-8269-3286-77\n";
    let host = merged(done(), &write_file(GOOD)).with("/sys/class/dmi/id/chassis_asset_tag", tag);
    let host = host.with("/var/lib/etcd-bootstrapper/platform.json", machine.to_string());
    let loaded = Sources::new(&host.paths()).load().unwrap().expect("a configuration");
    assert_eq!(loaded.spec.replace_after, 45, "{}", loaded.carrier);
    assert_eq!(loaded.instance_id.as_deref(), Some("8f3a1c2d-11aa"));
    assert_eq!(loaded.hostname.as_deref(), Some("etcd-9"), "cloud-init has named the host");
    for carrier in ["user-data of azure 8f3a1c2d-11aa, merged by cloud-init", "tag etcd-bootstrapper:replace_after"] {
        assert!(loaded.carrier.contains(carrier), "{}", loaded.carrier);
    }
}
