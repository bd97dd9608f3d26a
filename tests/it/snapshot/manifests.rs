//! The manifest beside a snapshot.

use bootstrapper::exit::Exit;
use bootstrapper::snapshot::about::{told, wanted};
use bootstrapper::store::manifest::Manifest;
use plan::facts::Seconds;
use serde_json::{Value, json};

use super::super::support::fixture::{REVISION, sha256, snapshot, zstd};
use super::super::support::store::{Reply, Store};
use super::{ETAG, Fetch};

/// What `etcd-bootstrapper backup` writes beside the snapshot, packed by zstd.
fn manifest() -> Value {
    let object = zstd(snapshot());
    json!({
        "format": 1, "cluster_name": "prod", "cluster_id": "cdf818194e3a8c32", "epoch": 1, "generation": 1,
        "founding": "0".repeat(32), "member": "etcd-1", "etcd_version": "3.5.16", "revision": REVISION,
        "db_bytes": snapshot().len(), "object_bytes": object.len(), "sha256": sha256(&object),
        "sha256_db": sha256(snapshot()), "codec": "zstd", "cipher": "none", "created_at": "2026-11-21T00:00:00Z",
        "program": "0.1.0", "added later": true,
    })
}

#[tokio::test]
async fn a_manifest_of_this_object_must_agree_with_it_and_any_other_is_passed_over() {
    type Change = fn(&mut Value);
    // Name, what is changed, whether it is used, or why the snapshot is refused.
    let cases: [(&str, Option<Change>, Result<bool, &str>); 9] = [
        ("as it is written", Some(|_| ()), Ok(true)),
        ("none", None, Ok(false)),
        ("of another object", Some(|m| m["sha256"] = json!("0".repeat(64))), Ok(false)),
        ("of a later format", Some(|m| m["format"] = json!(2)), Ok(false)),
        ("something else", Some(|m| *m = json!({"name": "a web page's"})), Ok(false)),
        ("another revision", Some(|m| m["revision"] = json!(7)), Err("its manifest says revision 7, and it has 13")),
        ("another size", Some(|m| m["db_bytes"] = json!(7)), Err("its manifest says db_bytes 7, and it has ")),
        ("another object's size", Some(|m| m["object_bytes"] = json!(7)), Err("its manifest says object_bytes 7, and")),
        ("another database", Some(|m| m["sha256_db"] = json!("0".repeat(64))), Err("its manifest says sha256_db 0000")),
    ];
    for (name, change, expected) in cases {
        let beside = change.map(|change| {
            let mut manifest = manifest();
            change(&mut manifest);
            manifest.to_string()
        });
        let store = Store::serve(move |_, asked| match (asked.path.as_str(), &beside) {
            ("/bucket/manifest.json", Some(text)) => Reply::new(200, text.clone()),
            ("/bucket/manifest.json", None) => Reply::new(403, "<Error><Code>AccessDenied</Code></Error>"),
            _ => Reply::honest(&zstd(snapshot()), ETAG, asked),
        })
        .await;
        let pinned = sha256(&zstd(snapshot())).parse().unwrap();
        let fetch = Fetch { sha256: pinned, accept: Some(|_| Ok(())), ..Fetch::from(&store) };
        let outcome = fetch.run().await;
        match (outcome.result, expected) {
            (Ok(summary), Ok(used)) => {
                assert_eq!(summary.manifest.is_some(), used, "{name}");
                assert_eq!(fetch.shelf().manifest().exists(), used, "{name}");
            }
            (Err(error), Err(why)) => {
                assert!(format!("{error:#}").contains(why), "{name}: {error:#}");
                assert_eq!((Exit::of(&error), outcome.files), (Exit::BadInput, Vec::new()), "{name}");
            }
            (found, _) => panic!("{name}: {:?}", found.map_err(|e| format!("{e:#}"))),
        }
    }
}

#[tokio::test]
async fn what_the_manifest_rules_out_is_not_downloaded() {
    let text = manifest().to_string();
    let store = Store::serve(move |_, asked| match asked.path.ends_with("/manifest.json") {
        true => Reply::new(200, text.clone()),
        false => Reply::honest(&zstd(snapshot()), ETAG, asked),
    })
    .await;
    let pinned = sha256(&zstd(snapshot())).parse().unwrap();
    let accept = Some((|manifest| wanted(manifest, &"staging".parse()?, None)) as fn(&Manifest) -> _);
    let error = Fetch { sha256: pinned, accept, ..Fetch::from(&store) }.run().await.result.unwrap_err();
    let text = format!("{error:#}");
    assert!(
        text.contains("is of cluster prod, and one of staging is wanted here: write `from_cluster: prod`"),
        "{text}"
    );
    assert_eq!((Exit::of(&error), store.asked().len()), (Exit::Refused, 1));
}

#[tokio::test]
async fn what_a_restore_loses_is_told_in_time_and_in_revisions() {
    let read = |value: &Value| Manifest::parse(value.to_string().as_bytes()).unwrap();
    let ours = read(&manifest());
    for (cluster, from, fits) in [
        ("prod", None, true),
        ("staging", None, false),
        ("staging", Some("prod"), true),
        ("prod", Some("staging"), false),
    ] {
        let from = from.map(|from: &str| from.parse().unwrap());
        assert_eq!(wanted(&ours, &cluster.parse().unwrap(), from.as_ref()).is_ok(), fits, "{cluster} {from:?}");
    }
    let store = Store::serve(|_, asked| super::honest(asked)).await;
    let summary = Fetch::from(&store).run().await.result.unwrap();
    let mut newer = manifest();
    newer["revision"] = json!(REVISION + 400);
    newer["created_at"] = json!("2026-11-21T00:45:00Z");
    newer["sha256"] = json!("1".repeat(64));
    let taken = "the snapshot is of cluster prod at revision 13, taken by etcd-1 (etcd 3.5.16) at 2026-11-21T00:00:00Z";
    let at = Some(Seconds(ours.created_at.0.0 + 11_100));
    for (manifest, now, newest, expected) in [
        (
            None,
            at,
            None,
            "the snapshot is of a cluster at revision 13; no manifest beside it says of which, and how old it is"
                .to_owned(),
        ),
        (Some(&ours), None, None, format!("{taken}; what was written since is lost")),
        (Some(&ours), at, None, format!("{taken}, 3 h 5 min ago; what was written since is lost")),
        (Some(&ours), at, Some(&ours), format!("{taken}, 3 h 5 min ago; what was written since is lost")),
        (
            Some(&ours),
            at,
            Some(&read(&newer)),
            format!(
                "{taken}, 3 h 5 min ago; what was written since is lost; the newest one in the store is 400 revisions and 45 min newer"
            ),
        ),
    ] {
        assert_eq!(told(manifest, &summary, now, newest), expected);
    }
}
