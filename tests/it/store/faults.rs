//! What servers do to a claim: each fault ends in a claim that is right, or in words that say what to do.

use bootstrapper::store::claim::{self, Swap};
use bootstrapper::store::{Store, Trouble};
use plan::facts::ClaimState;

use super::{SECRET, claim as a_claim, cluster, gcs, s3};
use crate::support::bucket::{Bucket, Fault};
use crate::support::scratch::Scratch;

/// How a write of a first claim ends, shortly: `done`, `stale`, or the trouble's kind.
async fn written(store: &Store) -> (&'static str, String) {
    match claim::write(store, &cluster(), &a_claim(1, ClaimState::Founding), None).await {
        Ok(Swap::Done) => ("done", String::new()),
        Ok(Swap::Stale(why)) => ("stale", why),
        Err(trouble) => kind(trouble),
    }
}

fn kind(trouble: Trouble) -> (&'static str, String) {
    let kind = match &trouble {
        Trouble::Denied(_) => "denied",
        Trouble::Unreached(_) => "unreached",
        Trouble::Unfit(_) => "unfit",
        Trouble::Absent | Trouble::Conflict => "inner",
    };
    (kind, trouble.to_string())
}

const DENIED: &str = "<Error><Code>AccessDenied</Code><Message>User may not s3:PutObject</Message></Error>";
const SLOW: &str = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate</Message></Error>";

#[tokio::test]
async fn each_fault_of_a_write_ends_in_the_claim_or_in_words() {
    let refused = |status, body| Some(Fault::Refused(status, body));
    let another = || {
        let bucket = serde_json::to_string("another").expect("JSON");
        Some(Fault::AfterAnother(bucket.into_bytes()))
    };
    // The first three writes are those that the conditions are tried by.
    let third = |fault: Option<Fault>| vec![None, None, None, fault];
    let ever = |fault: Option<Fault>| [vec![None; 3], vec![fault; 9]].concat();
    for (what, faults, expected, says) in [
        ("no fault", third(None), "done", ""),
        ("503 and then fine", third(refused(503, SLOW)), "done", ""),
        ("503 for ever", ever(refused(503, SLOW)), "unreached", "503 Service Unavailable SlowDown, Please reduce"),
        ("429 and then fine", third(refused(429, SLOW)), "done", ""),
        ("done, and cut before the answer", third(Some(Fault::CutAfter)), "done", ""),
        ("done, and answered 500", third(Some(Fault::DoneBut(500))), "done", ""),
        ("another host came before", third(another()), "unfit", "is not a claim"),
        (
            "403",
            third(refused(403, DENIED)),
            "denied",
            "403 Forbidden AccessDenied, User may not s3:PutObject; give this host",
        ),
        ("403 at the first write of all", vec![refused(403, DENIED)], "denied", "the right to list"),
        ("401", third(refused(401, "")), "denied", "401 Unauthorized"),
        (
            "400",
            third(refused(400, "<Error><Code>RequestTimeTooSkewed</Code></Error>")),
            "unreached",
            "RequestTimeTooSkewed; this host's clock says 20",
        ),
        (
            "a clock that is wrong",
            third(refused(403, "<Error><Code>RequestTimeTooSkewed</Code><Message>Too far</Message></Error>")),
            "unreached",
            "Too far; this host's clock says 20",
        ),
        ("501", ever(refused(501, "")), "unfit", "If-Match and If-None-Match"),
        ("409", third(refused(409, "")), "stale", "another host is writing"),
    ] {
        let (bucket, scratch) = (Bucket::serve().await, Scratch::new());
        bucket.plan("PUT", faults);
        let store = s3(&bucket, &scratch);
        let (found, said) = written(&store).await;
        assert_eq!(found, expected, "{what}: {said}");
        assert!(said.contains(says) && !said.contains(SECRET), "{what}: {said}");
        assert!(found != "denied" && found != "unreached" || said.contains("s3://bucket/prod"), "{what}: {said}");
        let claim = claim::read(&store, &cluster()).await;
        match expected {
            "done" => assert_eq!(claim.expect(what), Some(a_claim(1, ClaimState::Founding)), "{what}"),
            _ => assert_ne!(claim.ok().flatten(), Some(a_claim(1, ClaimState::Founding)), "{what}"),
        }
    }
}

#[tokio::test]
async fn what_is_not_known_is_not_absent() {
    for open in [s3, gcs] {
        for (what, method, fault, expected, says) in [
            ("503 for ever", "GET", Some(Fault::Refused(503, SLOW)), "unreached", "503"),
            ("403", "GET", Some(Fault::Refused(403, DENIED)), "denied", "look at this host's clock"),
            ("a redirect", "GET", Some(Fault::Refused(301, "")), "unreached", ""),
            ("cut", "GET", Some(Fault::CutAfter), "unreached", ""),
        ] {
            let (bucket, scratch) = (Bucket::serve().await, Scratch::new());
            fault.into_iter().for_each(|fault| bucket.always(method, fault));
            let (found, said) = kind(claim::read(&open(&bucket, &scratch), &cluster()).await.expect_err(what));
            assert_eq!(found, expected, "{what}: {said}");
            assert!(said.contains(says) && !said.contains(SECRET), "{what}: {said}");
        }
        let (bucket, scratch) = (Bucket::serve().await, Scratch::new());
        let store = open(&bucket, &scratch);
        assert_eq!(claim::read(&store, &cluster()).await.expect("a bucket that answers"), None);
        // The object is not there, and nobody may say so: the listing is denied.
        bucket.plan("GET", vec![None, Some(Fault::Refused(403, DENIED))]);
        assert_eq!(kind(claim::read(&store, &cluster()).await.expect_err("no listing")).0, "denied");
        bucket.put("prod/snapshots/x/manifest.json", "{}");
        assert_eq!(kind(claim::read(&store, &cluster()).await.expect_err("traces")).0, "unfit");
        bucket.is_missing();
        let (found, said) = kind(claim::read(&store, &cluster()).await.expect_err("no bucket"));
        assert_eq!((found, said.contains("NoSuchBucket")), ("unreached", true), "{said}");
    }
}

#[tokio::test]
async fn a_server_that_takes_conditions_for_nothing_gets_no_claim() {
    for open in [s3, gcs] {
        let (bucket, scratch) = (Bucket::serve().await, Scratch::new());
        bucket.takes_conditions_for_nothing();
        let (found, said) = written(&open(&bucket, &scratch)).await;
        assert_eq!(found, "unfit");
        assert!(said.contains("two clusters could be founded"), "{said}");
        assert_eq!(bucket.keys(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_claim_that_contradicts_itself_or_is_another_cluster_s_is_refused() {
    let (bucket, scratch) = (Bucket::serve().await, Scratch::new());
    let store = s3(&bucket, &scratch);
    assert_eq!(written(&store).await.0, "done");
    let good: serde_json::Value =
        serde_json::from_slice(&bucket.get("prod/claim.json").expect("a claim")).expect("JSON");
    let changed = |key: &str, value: serde_json::Value| {
        let mut claim = good.clone();
        claim[key] = value;
        claim.to_string()
    };
    for (bytes, says) in [
        ("garbage".into(), "is not a claim"),
        (String::new(), "is not a claim"),
        (good.to_string()[..100].to_owned(), "is not a claim"),
        (changed("format", 2.into()), "as new as the one that wrote it"),
        (changed("cluster_name", "other".into()), "is the claim of cluster other, and this host's spec says prod"),
        (changed("t", "0".repeat(32).into()), "contradicts itself in `t`"),
        (changed("cluster_id", "abc".into()), "contradicts itself in `cluster_id`"),
        (changed("epoch", 2.into()), "contradicts itself in `epoch`"),
        (changed("generation", 2.into()), "contradicts itself in `generation`"),
        (changed("voters", serde_json::json!([])), "contradicts itself in `voters`"),
        (" ".repeat(300 << 10), "are the most it can have"),
    ] {
        bucket.put("prod/claim.json", bytes);
        let (found, said) = kind(claim::read(&store, &cluster()).await.expect_err(says));
        assert_eq!(found, "unfit", "{said}");
        assert!(said.contains(says) && said.contains("s3://bucket/prod"), "{said}");
        assert_eq!(written(&store).await.0, "unfit", "and nothing is written over it");
    }
    bucket.put("prod/claim.json", changed("written by a later version", true.into()));
    assert!(claim::read(&store, &cluster()).await.expect("what is unknown is passed over").is_some());
}
