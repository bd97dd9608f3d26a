//! Of any number of hosts that race, one founding wins.

use std::sync::Arc;
use std::time::Duration;

use bootstrapper::store::claim::{self, Swap};
use bootstrapper::store::{Store, manifest};
use plan::facts::{Claim, ClaimState};
use plan::founding::FoundingId;

use super::{claim as a_claim, cluster, directory, founding, gcs, s3};
use crate::support::bucket::{Bucket, Fault};
use crate::support::scratch::Scratch;

const HOSTS: u8 = 100;

/// How often a host swaps another's claim for its own before it lets the others have their way.
const SWAPS: u8 = 2;

/// What each host does whose founding nobody else wants: it swaps the claim for its own while that may be done, and
/// commits when it reads its own. Whose founding is committing in the end, and whether this host made it so.
async fn races(store: Arc<Store>, host: u8) -> (FoundingId, bool) {
    let (name, mut swaps) = (cluster(), SWAPS);
    loop {
        let read = match claim::read(&store, &name).await {
            Ok(read) => read,
            Err(_) => continue,
        };
        let wanted = match &read {
            Some(Claim { state: ClaimState::Committing, founding, .. }) => return (founding.id(), false),
            Some(claim) if claim.founding == founding(host) => a_claim(host, ClaimState::Committing),
            Some(_) if swaps == 0 => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            Some(_) | None => {
                swaps = swaps.saturating_sub(1);
                a_claim(host, ClaimState::Founding)
            }
        };
        if let Ok(Swap::Done) = claim::write(&store, &name, &wanted, read.as_ref()).await
            && wanted.state == ClaimState::Committing
        {
            return (founding(host).id(), true);
        }
    }
}

async fn race(stores: Vec<Arc<Store>>) {
    let hosts = (1..=HOSTS).zip(stores).map(|(host, store)| tokio::spawn(races(store, host)));
    let mut outcomes = Vec::new();
    for host in hosts.collect::<Vec<_>>() {
        outcomes.push(host.await.expect("a host ends"));
    }
    assert_eq!(outcomes.len(), usize::from(HOSTS));
    let winner = &outcomes[0].0;
    assert!(outcomes.iter().all(|(committing, _)| committing == winner), "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|(_, by_me)| *by_me).count(), 1, "{outcomes:?}");
}

#[tokio::test]
async fn of_a_hundred_hosts_that_race_over_a_bucket_one_commits() {
    for open in [s3, gcs] {
        let (bucket, scratch) = (Bucket::serve().await, Scratch::new());
        // Every fifth write is carried out, and its host does not hear of it.
        let unheard = |i| match i % 10 {
            4 => Some(Fault::CutAfter),
            9 => Some(Fault::DoneBut(500)),
            _ => None,
        };
        bucket.plan("PUT", (0..1000).map(unheard).collect());
        race((0..HOSTS).map(|_| Arc::new(open(&bucket, &scratch))).collect()).await;
        let left: Vec<String> = bucket.keys();
        assert_eq!(left, ["prod/claim.json"], "what conditions were tried on is removed");
    }
}

#[tokio::test]
async fn of_a_hundred_hosts_that_race_over_a_directory_one_commits() {
    let scratch = Scratch::new();
    race((0..HOSTS).map(|_| Arc::new(directory(&scratch))).collect()).await;
}

#[tokio::test]
async fn a_claim_is_swapped_only_where_it_is_the_one_that_was_read() {
    let (bucket, scratch) = (Bucket::serve().await, Scratch::new());
    for store in [s3(&bucket, &scratch), directory(&scratch)] {
        let name = cluster();
        let (one, two) = (a_claim(1, ClaimState::Founding), a_claim(2, ClaimState::Founding));
        let write =
            async |wanted: &Claim, read: Option<&Claim>| claim::write(&store, &name, wanted, read).await.unwrap();
        assert_eq!(claim::read(&store, &name).await.unwrap(), None);
        assert_eq!(write(&one, None).await, Swap::Done);
        assert_eq!(claim::read(&store, &name).await.unwrap(), Some(one.clone()));
        assert_eq!(write(&one, None).await, Swap::Done, "twice is once");
        assert!(matches!(write(&two, None).await, Swap::Stale(why) if why.contains("is by now founding")));
        assert_eq!(write(&two, Some(&one)).await, Swap::Done);
        assert!(matches!(write(&one, Some(&one)).await, Swap::Stale(_)), "the claim that was read is gone");
        let three = a_claim(3, ClaimState::Founding);
        assert!(matches!(write(&one, Some(&three)).await, Swap::Stale(_)));
        assert_eq!(claim::read(&store, &name).await.unwrap(), Some(two));
    }
}

#[tokio::test]
async fn the_newest_snapshot_is_the_one_that_latest_json_names_and_its_manifest_proves() {
    let (bucket, scratch) = (Bucket::serve().await, Scratch::new());
    let (store, name) = (s3(&bucket, &scratch), cluster());
    assert_eq!(manifest::newest(&store, &name).await.unwrap(), None);
    let sha = |digit: &str| digit.repeat(64);
    let write = |revision: u64, digit: &str, format: u32, of: &str| {
        let directory = format!("snapshots/000001-{revision:020}-1700000000-etcd-1");
        let manifest = serde_json::json!({
            "format": format, "cluster_name": of, "cluster_id": "abc", "epoch": 1, "generation": 1,
            "founding": founding(1).id(), "member": "etcd-1", "etcd_version": "3.5.30", "revision": revision,
            "db_bytes": 1, "object_bytes": 1, "sha256": sha(digit), "sha256_db": sha(digit), "codec": "zstd",
            "cipher": "age", "created_at": "2026-11-21T03:00:00Z", "program": "0.1.0",
        });
        bucket.put(&format!("prod/{directory}/manifest.json"), manifest.to_string());
        directory
    };
    let point = |directory: &str, revision: u64, digit: &str| {
        let key = format!("{directory}/manifest.json");
        let latest = serde_json::json!({"generation": 1, "revision": revision, "manifest": key, "sha256": sha(digit)});
        bucket.put("prod/latest.json", latest.to_string());
    };
    let (old, new) = (write(5, "a", 1, "prod"), write(7, "b", 1, "prod"));
    point(&new, 7, "b");
    let newest = manifest::newest(&store, &name).await.unwrap().expect("a snapshot");
    assert_eq!(newest.key(), format!("{new}/snapshot.db.zst.age"));
    bucket.put("prod/snapshots/000001-00000000000000000009-1700000000-etcd-1/snapshot.db.zst", "no manifest");
    let pinned = manifest::find(&store, &name, &sha("a").parse().unwrap()).await.unwrap().expect("a snapshot");
    assert_eq!(pinned.directory, old);
    assert_eq!(manifest::find(&store, &name, &sha("c").parse().unwrap()).await.unwrap(), None);
    type Change<'a> = &'a dyn Fn() -> String;
    let changes: [(Change<'_>, &str, &str); 5] = [
        (&|| write(7, "b", 2, "prod"), "b", "boot a newer image"),
        (&|| write(7, "b", 1, "other"), "b", "is of cluster other"),
        (&|| write(7, "b", 1, "prod"), "a", "contradicts"),
        (&|| "snapshots/gone".into(), "b", "which is not there"),
        (&|| "elsewhere".into(), "b", "names no manifest of a snapshot"),
    ];
    for (change, digit, why) in changes {
        point(&change(), 7, digit);
        let error = manifest::newest(&store, &name).await.unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
}
