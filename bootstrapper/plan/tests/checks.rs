//! From the document to its meaning: what is wrong with it is said by path, all of it at once.

use plan::document::Document;
use plan::spec::Problem;
use serde_json::{Value, json};

fn document() -> Value {
    let peer = |i| json!({"name": format!("etcd-{i}"), "peer_url": format!("https://10.0.0.1{i}:2380")});
    json!({
        "version": 1,
        "cluster": {"name": "prod", "size": 3, "found_until": "2026-12-01T00:00:00Z"},
        "peers": [peer(1), peer(2), peer(3)],
        "tls": {"ca": {"cert": {"file": "/ca.crt"}, "key": {"file": "/ca.key"}}},
    })
}

fn problems(change: impl FnOnce(&mut Value)) -> Vec<Problem> {
    let mut document = document();
    change(&mut document);
    let document: Document = serde_json::from_value(document).expect("a document");
    document.check().err().unwrap_or_default()
}

fn restore(url: &str) -> Value {
    json!({"url": url, "sha256": "a".repeat(64)})
}

#[test]
fn a_document_that_means_something_has_no_problem() {
    assert_eq!(problems(|_| ()), []);
    for url in ["https://store/prod.db", "HTTPS://store/prod.db", "file:///media/prod.db", "volume://BACKUPS/a/prod.db"]
    {
        assert_eq!(problems(|d| d["restore"] = restore(url)), [], "{url}");
    }
    let quota = |d: &mut Value| d["etcd"] = json!({"quota-backend-bytes": 4_294_967_296_i64, "log-level": "debug"});
    assert_eq!(problems(quota), []);
    let gone =
        |d: &mut Value| d["recover"] = json!({"survivor": "etcd-3", "epoch": 2, "given_up": ["etcd-9", "etcd-1"]});
    assert_eq!(problems(gone), [], "a voter that is not in `peers` any more can be given up");
}

#[test]
fn each_problem_names_its_path_and_what_to_write_instead() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str, &str); 20] = [
        (|d| d["version"] = json!(2), "version", "reads version 1"),
        (|d| d["cluster"]["epoch"] = json!(0), "cluster.epoch", "count from 1"),
        (|d| d["peers"][1]["name"] = json!("etcd-1"), "peers[1].name", "already the name of peers[0]"),
        (|d| d["peers"][2]["peer_url"] = json!("https://10.0.0.11:2380/"), "peers[2].peer_url", "of peers[0]"),
        (|d| d["peers"][0]["peer_url"] = json!("https://127.0.0.1:2380"), "peers[0].peer_url", "itself to every host"),
        (|d| d["peers"][0]["peer_url"] = json!("https://localhost:2380"), "peers[0].peer_url", "itself to every host"),
        (|d| d["mode"] = json!("restore"), "mode", "there is no `restore"),
        (|d| (d["mode"], d["restore"]) = (json!("join"), restore("https://x/y")), "restore", "which never founds"),
        (|d| d["restore"] = restore("s3://bucket/prod.db"), "restore", "needs its `region`"),
        (|d| d["store"] = json!({"url": "s3://bucket/prod"}), "store", "needs its `region`"),
        (|d| d["data"] = json!({"wal_device": {"serial": "a"}}), "data.wal_device", "name the data disk as well"),
        (|d| d["data"] = json!({"device": {"serial": "a"}, "wal_device": "auto"}), "data.wal_device", "never chosen"),
        (
            |d| d["data"] = json!({"device": {"serial": "a"}, "wal_device": {"serial": "a"}}),
            "data.wal_device",
            "is the disk of `data.device`",
        ),
        (
            |d| d["recover"] = json!({"survivor": "etcd-9", "epoch": 2}),
            "recover.survivor",
            "one of etcd-1, etcd-2, etcd-3",
        ),
        (|d| d["recover"] = json!({"survivor": "etcd-1", "epoch": 1}), "recover.epoch", "write 2 or more"),
        (
            |d| d["recover"] = json!({"survivor": "etcd-1", "epoch": 2, "given_up": ["etcd-1"]}),
            "recover.given_up[0]",
            "is the survivor",
        ),
        (
            |d| d["recover"] = json!({"survivor": "etcd-1", "epoch": 2, "given_up": ["etcd-2", "etcd-2"]}),
            "recover.given_up[1]",
            "given up twice",
        ),
        (|d| d["etcd"] = json!({"--log-level": "info"}), "etcd.--log-level", "without the leading --"),
        (|d| d["etcd"] = json!({"log-level": "info\nETCD_NAME=x"}), "etcd.log-level", "control character"),
        (|d| d["etcd"] = json!({"ETCD_NAME": "x"}), "etcd.ETCD_NAME", "not the name of an etcd option"),
    ];
    for (change, path, message) in cases {
        let found = problems(change);
        assert!(found.len() == 1 && found[0].path == path && found[0].message.contains(message), "{path}: {found:?}");
    }
}

#[test]
fn a_size_is_odd_and_has_as_many_peers() {
    let sized = |size: u64| problems(|d| d["cluster"]["size"] = json!(size));
    for (size, message) in [(2, "write 1 or 3"), (4, "write 3 or 5"), (0, "1, 3, 5 or 7"), (9, "1, 3, 5 or 7")] {
        let found = sized(size);
        assert_eq!(found[0].path, "cluster.size");
        assert!(found[0].message.contains(message), "{size}: {found:?}");
    }
    let five = sized(5);
    assert!(five.len() == 1 && five[0].path == "peers" && five[0].message.contains("has 3 entries"), "{five:?}");
}

#[test]
fn an_option_that_the_laws_hang_on_is_not_the_user_s() {
    for option in [
        "initial-cluster-state",
        "force-new-cluster",
        "unsafe-no-fsync",
        "data-dir",
        "strict-reconfig-check",
        "client-cert-auth",
        "peer-client-cert-auth",
        "auto-tls",
        "peer-auto-tls",
        "proxy",
    ] {
        let found = problems(|d| d["etcd"] = json!({option: "x"}));
        assert!(found.len() == 1 && found[0].message.contains("decided by the bootstrapper"), "{option}: {found:?}");
    }
}

#[test]
fn all_problems_are_said_at_once() {
    let found = problems(|d| {
        d["version"] = json!(9);
        d["cluster"]["size"] = json!(4);
        d["peers"][1]["name"] = json!("etcd-1");
        d["backup"] = json!({});
    });
    let paths: Vec<&str> = found.iter().map(|p| p.path.as_str()).collect();
    assert_eq!(paths, ["version", "cluster.size", "peers[1].name", "backup"]);
}
