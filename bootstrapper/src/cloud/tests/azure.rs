//! Azure Resource Manager and the instance metadata service as their references describe them.

use plan::discovery::AzureVmss;

use super::super::azure::{PERMISSIONS, Vmss};
use super::super::rest::Rest;
use super::super::{Listing, Trouble};
use super::fake::{Answer, Asked, Fake};
use crate::exit::Exit;
use crate::metadata::providers::Provider;
use crate::paths::Paths;
use crate::sys;

const SET: &str = "/subscriptions/s-1/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/etcd";

async fn listed(fake: &Fake) -> Result<Listing, Trouble> {
    let rest = Rest::of(fake.endpoint.clone(), &Paths::under("/nonexistent"));
    Vmss::at(&AzureVmss::default(), rest, format!("{}/metadata", fake.endpoint)).list().await
}

fn machine(number: u8, state: &str, card: &str) -> String {
    format!(
        "{{\"id\": \"{SET}/virtualMachines/{number}\", \"properties\": {{\"vmId\": \"0000000{number}-AAAA\", \
         \"provisioningState\": \"{state}\", \"timeCreated\": \"2026-11-21T03:00:00.1234567+00:00\", \
         \"networkProfile\": {{\"networkInterfaces\": [{{\"id\": \"{card}\"}}]}}}}}}"
    )
}

fn card(number: u8, primary: bool, addresses: &[&str]) -> String {
    let all: Vec<String> =
        addresses.iter().map(|a| format!("{{\"properties\": {{\"privateIPAddress\": \"{a}\"}}}}")).collect();
    format!(
        "{{\"properties\": {{\"primary\": {primary}, \"virtualMachine\": {{\"id\": \"{}/virtualMachines/{number}\"}}, \
         \"ipConfigurations\": [{}]}}}}",
        SET.to_uppercase().replace("VIRTUALMACHINESCALESETS", "virtualMachineScaleSets"),
        all.join(", ")
    )
}

/// Two machines of the set, and one whose card is a resource of its own; `link` is where the second page is.
fn answer(asked: &Asked, link: &str) -> Answer {
    let line = asked.line.strip_prefix("GET ").unwrap().strip_suffix(" HTTP/1.1").unwrap();
    if line.starts_with("/metadata/") {
        return match line {
            _ if asked.header("metadata") != "true" => (400, "", String::new()),
            "/metadata/instance/compute?api-version=2021-02-01&format=json" => {
                (200, "", r#"{"subscriptionId": "s-1", "resourceGroupName": "rg", "vmScaleSetName": "etcd"}"#.into())
            }
            _ if line.ends_with("&resource=https%3A%2F%2Fmanagement.azure.com%2F") => {
                (200, "", r#"{"access_token": "of-azure", "expires_on": "4102444800"}"#.into())
            }
            _ => (404, "", String::new()),
        };
    }
    if asked.header("authorization") != "Bearer of-azure" {
        return (401, "", String::new());
    }
    let own = "/subscriptions/s-1/resourceGroups/rg/providers/Microsoft.Network/networkInterfaces/c-3";
    let (path, query) = line.split_once('?').unwrap();
    // Each type has versions of its own.
    let version = match path {
        _ if path.contains("/Microsoft.Network/") => "2024-05-01",
        _ if path.ends_with("/networkInterfaces") => "2018-10-01",
        _ if query.contains("skip=1") => "x",
        _ => "2024-07-01",
    };
    if !query.starts_with(&format!("api-version={version}")) {
        return (400, "", r#"{"error": {"code": "NoRegisteredProviderFound"}}"#.into());
    }
    let body = match path.strip_prefix(SET) {
        Some("/virtualMachines") if query.contains("skip") => {
            format!("{{\"value\": [{}, {}]}}", machine(2, "Deleting", "x"), machine(3, "Creating", own))
        }
        Some("/virtualMachines") => {
            format!(
                "{{\"value\": [{}], \"nextLink\": \"{link}{SET}/virtualMachines?api-version=x&skip=1\"}}",
                machine(1, "Succeeded", "x")
            )
        }
        Some("/networkInterfaces") => format!(
            "{{\"value\": [{}, {}, {}]}}",
            card(1, false, &["10.1.0.1"]),
            card(1, true, &["fd00::1", "10.0.0.1"]),
            card(2, true, &["fd00::2"])
        ),
        _ if path == own => card(3, true, &["10.0.0.3"]),
        _ => return (404, "", String::new()),
    };
    (200, "", body)
}

/// The address of whoever asked is in each request.
fn own(asked: &Asked) -> String {
    format!("http://{}", asked.header("host"))
}

#[tokio::test]
async fn a_scale_set_is_read_whole_and_nobody_in_it_is_ever_called_gone() {
    let fake = Fake::of(|_, asked| answer(asked, &own(asked))).await;
    let listing = listed(&fake).await.unwrap();
    let found: Vec<(String, Option<String>, bool)> = listing
        .instances
        .iter()
        .map(|i| (i.id.to_string(), i.peer_url.as_ref().map(ToString::to_string), i.terminated))
        .collect();
    let wanted = [
        ("00000001-aaaa", Some("https://10.0.0.1:2380"), false),
        ("00000002-aaaa", Some("https://[fd00::2]:2380"), false),
        ("00000003-aaaa", Some("https://10.0.0.3:2380"), false),
    ];
    assert_eq!(found, wanted.map(|(id, url, gone)| (id.to_owned(), url.map(str::to_owned), gone)));
}

#[tokio::test]
async fn its_metadata_service_is_asked_only_where_the_firmware_vouches_for_it() {
    let root = tempfile::tempdir().unwrap();
    let fake = Fake::of(|_, asked| answer(asked, &own(asked))).await;
    let listed = async || {
        let rest = Rest::of(fake.endpoint.clone(), &Paths::under(root.path())).on(Provider::Azure);
        Vmss::at(&AzureVmss::default(), rest, format!("{}/metadata", fake.endpoint)).list().await
    };
    let trouble = listed().await.expect_err("nobody vouches");
    assert!(trouble.text.contains("etcd_bootstrapper.provider=azure") && trouble.exit == Exit::BadInput, "{trouble:?}");
    assert!(fake.asked().is_empty());
    let id = root.path().join("sys/class/dmi/id");
    sys::fs::create_dir(&id, 0o755, None).unwrap();
    sys::fs::write_atomic(&id.join("chassis_asset_tag"), b"7783-7084-3265-9085-8269-3286-77\n", 0o644, None).unwrap();
    listed().await.unwrap();
}

#[tokio::test]
async fn what_is_not_the_whole_answer_is_no_group() {
    type Change = fn(&Asked, Answer) -> Answer;
    let cases: [(Change, Exit, &str); 7] = [
        (
            |a, all| if a.line.contains("/virtualMachines?") { (403, "", String::new()) } else { all },
            Exit::Permission,
            "allow Microsoft.Compute/virtualMachineScaleSets/virtualMachines/read",
        ),
        (
            |a, all| if a.line.contains("skip=1") { (429, "Retry-After: 3\r\n", String::new()) } else { all },
            Exit::TryAgain,
            "HTTP 429; it is asked again later",
        ),
        (
            |a, all| if a.line.contains("/c-3?") { (403, "", String::new()) } else { all },
            Exit::Permission,
            "allow Microsoft.Network/networkInterfaces/read",
        ),
        (
            |a, all| if a.line.contains("/virtualMachines?") { (404, "", String::new()) } else { all },
            Exit::TryAgain,
            "look at `discovery.azure_vmss.id`",
        ),
        (
            |a, _| answer(a, "http://127.0.0.1:1"),
            Exit::Unavailable,
            "has its next page elsewhere, at http://127.0.0.1:1/subscriptions",
        ),
        (
            |a, all| {
                if a.line.contains("/instance/compute") {
                    (200, "", r#"{"subscriptionId": "s", "resourceGroupName": "r"}"#.into())
                } else {
                    all
                }
            },
            Exit::BadInput,
            "is in no scale set",
        ),
        (
            |a, all| if a.line.contains("/identity/") { (400, "", String::new()) } else { all },
            Exit::Unavailable,
            "managed identity",
        ),
    ];
    for (change, exit, why) in cases {
        let fake = Fake::of(move |_, asked| change(asked, answer(asked, &own(asked)))).await;
        let trouble = listed(&fake).await.expect_err(why);
        assert!(trouble.text.contains(why) && trouble.exit == exit, "{why}: {trouble:?}");
    }
}

#[test]
fn the_role_allows_exactly_what_is_asked() {
    let role: serde_json::Value = serde_json::from_str(include_str!("../../../../docs/policies/azure.json")).unwrap();
    assert_eq!(role["properties"]["permissions"][0]["actions"], serde_json::json!(PERMISSIONS));
}
