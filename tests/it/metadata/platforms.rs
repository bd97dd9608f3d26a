//! Every platform's service, which enforces its protocol, tells who a machine is.

use serde_json::{Value, json};

use super::fake::{host, listen, own_network, program};
use super::services::{self as s, Ec2, USER_DATA};

const LINK: &str = "169.254.169.254";

/// What `metadata show --json` says, less what the firmware tells already.
fn show(root: &std::path::Path) -> Value {
    let output = program(root, &["metadata", "show", "--json"], &[]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(!stdout.contains("CANARY"), "{stdout}");
    let mut shown: Value = serde_json::from_str(&stdout).expect("JSON");
    let shown = shown.as_object_mut().expect("an object");
    for told in ["source", "why"] {
        shown.remove(told);
    }
    if let Some(user_data) = shown.get_mut("user_data").and_then(Value::as_object_mut) {
        user_data.remove("sha256");
    }
    Value::Object(std::mem::take(shown))
}

fn expected(provider: &str, id: &str, hostname: &str, addresses: &[&str]) -> Value {
    json!({"provider": provider, "instance_id": id, "hostname": hostname, "addresses": addresses, "zone": null,
        "region": null, "group": null, "tags": {}, "vendor_data": null, "own_key": null,
        "user_data": {"bytes": USER_DATA.len(), "kind": "cloud-config"}})
}

fn but(mut value: Value, changes: Value) -> Value {
    for (key, change) in changes.as_object().expect("an object") {
        value[key] = change.clone();
    }
    value
}

/// A machine's firmware, the address of its service, the service, and what is shown.
type Row = (&'static [(&'static str, &'static str)], &'static str, super::fake::Service, Value);

#[test]
fn each_platform_s_service_tells_who_a_machine_is() {
    let ec2 = Ec2 {
        tags: vec![
            ("Name", "etcd".into()),
            ("etcd-bootstrapper:mode", "join".into()),
            ("aws:autoscaling:groupName", "etcd-asg".into()),
        ],
        ..Ec2::with(USER_DATA)
    };
    let group = json!({"kind": "auto_scaling", "name": "etcd-asg"});
    let rows: Vec<Row> = vec![
        (
            s::EC2,
            LINK,
            ec2.serve(),
            but(
                expected(
                    "ec2",
                    "i-0123456789abcdef0",
                    "ip-10-0-0-5.eu-west-1.compute.internal",
                    &["10.0.0.5", "2a05:d018::5"],
                ),
                json!({"zone": "eu-west-1a", "region": "eu-west-1", "group": group,
                    "tags": {"etcd-bootstrapper:mode": "join", "aws:autoscaling:groupName": "etcd-asg"}}),
            ),
        ),
        (
            s::GCE,
            LINK,
            s::gce(USER_DATA),
            but(
                expected(
                    "gce",
                    "18446744073709551615",
                    "etcd-a1.europe-west1-b.c.p.internal",
                    &["10.132.0.2", "2600:1900::1"],
                ),
                json!({"zone": "europe-west1-b", "region": "europe-west1", "tags": {"etcd": ""},
                    "group": {"kind": "managed_instances", "name": "projects/123/zones/europe-west1-b/instanceGroupManagers/etcd"},
                    "own_key": {"name": "the attribute etcd-bootstrapper", "bytes": 11, "kind": "other", "sha256": "7228567fc6c4"}}),
            ),
        ),
        (
            s::AZURE,
            LINK,
            s::azure(USER_DATA, "2025-04-07"),
            but(
                expected("azure", "8f3a1c2d-11aa-22bb-8899-0123456789ab", "etcd000000", &["10.1.0.4", "fd00::4"]),
                json!({"zone": "2", "region": "westeurope", "tags": {"etcd-bootstrapper:mode": "join", "team": "infra"},
                    "group": {"kind": "scale_set", "name": "etcd", "resource_group": "rg", "subscription": "00000000-1111"}}),
            ),
        ),
        (
            s::OPENSTACK,
            LINK,
            s::openstack(USER_DATA),
            but(
                expected("openstack", "83679162-1378-4288-a2d4-70e13ec132aa", "etcd-1.novalocal", &["192.168.0.7"]),
                json!({"zone": "nova", "tags": {"etcd-bootstrapper:cluster.size": "3", "admin_pass": "(redacted, 6 bytes)"}}),
            ),
        ),
        (
            s::DIGITALOCEAN,
            LINK,
            s::digitalocean(USER_DATA),
            but(
                expected(
                    "digitalocean",
                    "2756294",
                    "etcd-1",
                    &["10.132.255.113", "104.131.20.105", "2604:a880:800:10::17d:2001"],
                ),
                json!({"region": "nyc3", "tags": {"etcd": ""}}),
            ),
        ),
        (
            s::HETZNER,
            LINK,
            s::hetzner(USER_DATA),
            but(
                expected("hetzner", "42", "etcd-1", &["10.0.0.2", "116.203.0.1"]),
                json!({"zone": "fsn1-dc14", "region": "eu-central", "vendor_data": {"bytes": 48}}),
            ),
        ),
        (
            s::VULTR,
            LINK,
            s::vultr(USER_DATA),
            but(
                expected(
                    "vultr",
                    "c2c38f6c-2cdb-4a27-9ed8-1b6d2d9f2a7e",
                    "etcd-1",
                    &["10.1.112.3", "108.61.89.242", "2001:19f0::1"],
                ),
                json!({"region": "EWR", "tags": {"etcd": ""}}),
            ),
        ),
        (
            s::ORACLE,
            LINK,
            s::oracle(USER_DATA),
            but(
                expected("oracle", "ocid1.instance.oc1.phx.abc", "etcd-1", &["10.0.3.6", "2603::6"]),
                json!({"zone": "EMIr:PHX-AD-1", "region": "us-phoenix-1",
                    "tags": {"etcd-bootstrapper:mode": "join", "ops.team": "infra"}}),
            ),
        ),
        (
            s::AKAMAI,
            LINK,
            s::akamai(USER_DATA),
            but(
                expected("akamai", "12345", "etcd-1", &["192.168.139.188", "172.233.0.1", "2600:3c05::1"]),
                json!({"region": "us-iad", "tags": {"etcd": ""}}),
            ),
        ),
        (
            s::SCALEWAY,
            "169.254.42.42",
            s::scaleway(USER_DATA),
            but(
                expected("scaleway", "9fe7a4a8-1c5b-4a2b-8f8d-0123456789ab", "etcd-1", &["10.194.3.9", "2001:bc8::1"]),
                json!({"zone": "fr-par-1", "region": "fr-par", "tags": {"etcd": ""}}),
            ),
        ),
    ];
    std::thread::scope(|scope| {
        for (firmware, address, service, expected) in rows {
            scope.spawn(move || {
                own_network(&[address]);
                let log = listen(address, service);
                let shown = show(host(firmware).path());
                assert_eq!(shown, expected, "{}", shown["provider"]);
                let asked = log.all();
                let most = if shown["provider"] == "ec2" { 9 } else { 5 };
                assert!(asked.len() <= most, "{:?}", log.paths());
                // Scaleway wants user-data to be asked for from another port.
                let connections = if shown["provider"] == "scaleway" { 2 } else { 1 };
                assert_eq!(asked.iter().map(|a| a.connection).max(), Some(connections - 1), "{:?}", log.paths());
            });
        }
    });
}
