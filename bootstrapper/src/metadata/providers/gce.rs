//! Google Compute Engine.

use anyhow::Result;
use serde_json::Value;

use super::{Dmi, LINK_LOCAL, Provider, decoded, items, labels, said};
use crate::exit::Exit;
use crate::metadata::platform::{Bytes, Group, Machine};
use crate::metadata::service::{Ask, Known, Service, WHOLE};

/// By Google's page "Detecting if a VM is running in Compute Engine".
pub(super) fn vouched(dmi: &Dmi) -> Option<String> {
    if matches!(dmi.product_name.as_str(), "Google Compute Engine" | "Google") {
        return Some(format!("the product is {}", dmi.product_name));
    }
    dmi.product_serial
        .starts_with("GoogleCloud-")
        .then(|| "the product's serial number begins with GoogleCloud-".into())
}

/// By its address: no name server is needed.
pub(super) const SERVICE: Known = Known {
    name: "Compute Engine's metadata service",
    doors: &[LINK_LOCAL],
    passing: &[],
    below: "/computeMetadata/v1",
};

/// What a request must have, and what every answer has: nobody else's does.
const FLAVOR: (&str, &str) = ("metadata-flavor", "Google");

/// The attribute that is ours alone.
const OWN: &str = "etcd-bootstrapper";

/// One request: the instance with everything below it.
pub(super) async fn read(service: &Service<'_>) -> Result<Machine> {
    let path = "/computeMetadata/v1/instance/?recursive=true&alt=json";
    let answer = service.ask(&Ask::get(path, &[FLAVOR], WHOLE)).await?;
    let flavor = answer.headers.get(FLAVOR.0).and_then(|flavor| flavor.to_str().ok());
    if answer.status.is_success() && flavor != Some(FLAVOR.1) && !service.is_systemd_s() {
        return Err(Exit::Refused.because(format!(
            "{} was answered without the header Metadata-Flavor: Google, which every answer of {} has: something else \
             answers in its place, and its word is not taken",
            answer.asked, SERVICE.name
        )));
    }
    machine(&answer.json()?)
}

/// The instance with everything below it.
fn machine(document: &Value) -> Result<Machine> {
    let mut machine = Machine::of(Provider::Gce, said(document, "/id"))?;
    machine.named(said(document, "/hostname").or(said(document, "/name")).as_deref());
    // projects/NUMBER/zones/ZONE
    machine.zone = said(document, "/zone").and_then(|zone| zone.rsplit('/').next().map(str::to_owned));
    machine.region =
        machine.zone.as_deref().and_then(|zone| zone.rsplit_once('-')).map(|(region, _)| region.to_owned());
    for interface in items(document, "/networkInterfaces") {
        machine.reached_at(said(interface, "/ip").as_deref());
        // `ipv6` may be a whole network; the addresses are here.
        for ip in items(interface, "/ipv6s") {
            machine.reached_at(ip.as_str());
        }
    }
    machine.tags.extend(labels(document, "/tags"));
    machine.group = said(document, "/attributes/created-by")
        .filter(|by| by.contains("/instanceGroupManagers/"))
        .map(Group::ManagedInstances);
    let user_data = said(document, "/attributes/user-data");
    let encoded = said(document, "/attributes/user-data-encoding").as_deref() == Some("base64");
    machine.handed(match user_data {
        Some(text) if encoded => Some(decoded(&text, "the attribute user-data, whose encoding is base64")?),
        text => text.map(String::into_bytes),
    });
    let own = said(document, "/attributes/etcd-bootstrapper").filter(|text| !text.trim().is_empty());
    machine.own = own.map(|text| (format!("the attribute {OWN}"), Bytes(text.into_bytes())));
    Ok(machine)
}
