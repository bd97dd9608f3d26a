//! Compute Engine and its metadata service as their references describe them.

use plan::discovery::GceMig;

use super::super::gce::{Mig, PERMISSIONS};
use super::super::rest::Rest;
use super::super::{Listing, Trouble};
use super::fake::{Answer, Asked, Fake};
use crate::exit::Exit;
use crate::metadata::providers::Provider;
use crate::paths::Paths;
use crate::sys;

const GROUP: &str = "projects/42/regions/europe-west1/instanceGroupManagers/etcd";
const FLAVOR: &str = "Metadata-Flavor: Google\r\n";

async fn listed(fake: &Fake) -> Result<Listing, Trouble> {
    let rest = Rest::of(fake.endpoint.clone(), &Paths::under("/nonexistent"));
    Mig::at(&GceMig::default(), rest, format!("{}/computeMetadata/v1/instance", fake.endpoint)).list().await
}

fn operation(id: &str, kind: &str, status: &str, target: &str, further: &str) -> String {
    format!(
        "{{\"operationType\": \"{kind}\", \"status\": \"{status}\", \"targetId\": \"{id}\", \"targetLink\": \
         \"https://www.googleapis.com/compute/v1/projects/42/zones/europe-west1-b/{target}\"{further}}}"
    )
}

/// Three of the group, one of them without an address and one that is being made; a page each of group and operations.
fn answer(asked: &Asked) -> Answer {
    let line = asked.line.strip_suffix(" HTTP/1.1").unwrap();
    if line.contains("/computeMetadata/v1/instance/") {
        return match line.rsplit('/').next().unwrap() {
            _ if asked.header("metadata-flavor") != "Google" => (403, "", String::new()),
            "created-by" => (200, FLAVOR, GROUP.into()),
            "token" => (200, FLAVOR, r#"{"access_token": "of-gce", "expires_in": 3600}"#.into()),
            _ => (404, FLAVOR, String::new()),
        };
    }
    if asked.header("authorization") != "Bearer of-gce" {
        return (401, "", String::new());
    }
    let zones = "https://www.googleapis.com/compute/v1/projects/42/zones";
    let one = |id: &str, zone: &str, name: &str| {
        format!("{{\"id\": \"{id}\", \"instance\": \"{zones}/{zone}/instances/{name}\"}}")
    };
    let described = |id: &str, card: &str| {
        format!(
            "{{\"id\": \"{id}\", \"status\": \"TERMINATED\", \"networkInterfaces\": [{card}], \"creationTimestamp\": \"2026-11-21T03:00:00.000-08:00\"}}"
        )
    };
    let list = format!("POST /compute/v1/{GROUP}/listManagedInstances");
    let body = if line == list {
        let big = one("18446744073709551615", "europe-west1-b", "etcd-a");
        format!(
            "{{\"managedInstances\": [{big}, {}], \"nextPageToken\": \"2/x\"}}",
            one("12", "europe-west1-c", "etcd-b")
        )
    } else if line == format!("{list}?pageToken=2%2Fx") {
        format!(
            "{{\"managedInstances\": [{{\"instance\": \"{zones}/europe-west1-b/instances/etcd-c\", \"currentAction\": \"CREATING\"}}]}}"
        )
    } else if line.ends_with("zones/europe-west1-b/instances/etcd-a") {
        described("18446744073709551615", r#"{"networkIP": "10.0.0.1", "ipv6Address": "fd00::1"}"#)
    } else if line.ends_with("zones/europe-west1-c/instances/etcd-b") {
        described("12", r#"{"ipv6Address": "fd00::2"}"#)
    } else if line.contains("/zones/europe-west1-b/operations?filter=operationType%3D%22delete%22") {
        let error = ", \"error\": {\"errors\": []}";
        let all = [
            operation("7", "delete", "DONE", "instances/etcd-c", ""),
            operation("8", "delete", "RUNNING", "instances/etcd-d", ""),
            operation("9", "delete", "DONE", "instances/etcd-e", error),
            operation("10", "delete", "DONE", "disks/etcd-f", ""),
            operation("11", "stop", "DONE", "instances/etcd-g", ""),
            operation("12", "delete", "DONE", "instances/etcd-b", error),
        ];
        format!("{{\"items\": [{}]}}", all.join(", "))
    } else if line.contains("/zones/europe-west1-c/operations?") {
        "{}".into()
    } else {
        return (404, "", String::new());
    };
    (200, "", body)
}

#[tokio::test]
async fn a_managed_group_is_read_whole_and_only_a_finished_deletion_says_that_an_instance_is_gone() {
    let fake = Fake::of(|_, asked| answer(asked)).await;
    let listing = listed(&fake).await.unwrap();
    let found: Vec<(String, Option<String>, bool)> = listing
        .instances
        .iter()
        .map(|i| (i.id.to_string(), i.peer_url.as_ref().map(ToString::to_string), i.terminated))
        .collect();
    let wanted = [
        ("18446744073709551615", Some("https://10.0.0.1:2380"), false),
        ("12", Some("https://[fd00::2]:2380"), false),
        ("etcd-c", None, false),
        ("7", None, true),
    ];
    assert_eq!(found, wanted.map(|(id, url, gone)| (id.to_owned(), url.map(str::to_owned), gone)));
}

#[tokio::test]
async fn its_metadata_service_is_asked_only_where_the_firmware_vouches_for_it() {
    let root = tempfile::tempdir().unwrap();
    let fake = Fake::of(|_, asked| answer(asked)).await;
    let listed = async || {
        let rest = Rest::of(fake.endpoint.clone(), &Paths::under(root.path())).on(Provider::Gce);
        Mig::at(&GceMig::default(), rest, format!("{}/computeMetadata/v1/instance", fake.endpoint)).list().await
    };
    let trouble = listed().await.expect_err("nobody vouches");
    assert!(trouble.text.contains("etcd_bootstrapper.provider=gce") && trouble.exit == Exit::BadInput, "{trouble:?}");
    assert!(fake.asked().is_empty());
    let id = root.path().join("sys/class/dmi/id");
    sys::fs::create_dir(&id, 0o755, None).unwrap();
    sys::fs::write_atomic(&id.join("product_name"), b"Google Compute Engine\n", 0o644, None).unwrap();
    listed().await.unwrap();
}

#[tokio::test]
async fn what_is_not_the_whole_answer_is_no_group() {
    type Change = fn(&Asked, Answer) -> Answer;
    let cases: [(Change, Exit, &str); 8] = [
        (
            |a, all| if a.line.starts_with("POST") { (403, "", r#"{"error": {"message": "no"}}"#.into()) } else { all },
            Exit::Permission,
            "HTTP 403 (no); allow compute.instanceGroupManagers.get",
        ),
        (
            |a, all| if a.line.contains("pageToken") { (503, "", String::new()) } else { all },
            Exit::TryAgain,
            "HTTP 503; it is asked again later",
        ),
        (
            |a, all| if a.line.contains("/etcd-b ") { (403, "", String::new()) } else { all },
            Exit::Permission,
            "allow compute.instances.get",
        ),
        (
            |a, all| if a.line.contains("/operations?") { (403, "", String::new()) } else { all },
            Exit::Permission,
            "allow compute.zoneOperations.list",
        ),
        (
            |a, all| if a.line.starts_with("POST") { (404, "", String::new()) } else { all },
            Exit::TryAgain,
            "is not there: look at `discovery.gce_mig.name`",
        ),
        (|_, (status, _, body)| (status, "", body), Exit::Unavailable, "lacks the header that proves it"),
        (
            |a, all| if a.line.contains("created-by") { (200, FLAVOR, "somebody".into()) } else { all },
            Exit::BadInput,
            "\"somebody\" made this instance",
        ),
        (
            |a, all| if a.line.contains("/token") { (404, FLAVOR, String::new()) } else { all },
            Exit::Unavailable,
            "give the machine a service account",
        ),
    ];
    for (change, exit, why) in cases {
        let fake = Fake::of(move |_, asked| change(asked, answer(asked))).await;
        let trouble = listed(&fake).await.expect_err(why);
        assert!(trouble.text.contains(why) && trouble.exit == exit, "{why}: {trouble:?}");
    }
}

#[test]
fn the_role_allows_exactly_what_is_asked() {
    let role: serde_json::Value = serde_json::from_str(include_str!("../../../../docs/policies/gce.json")).unwrap();
    assert_eq!(role["includedPermissions"], serde_json::json!(PERMISSIONS));
}
