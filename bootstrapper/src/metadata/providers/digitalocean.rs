//! DigitalOcean.

use anyhow::Result;
use serde_json::Value;

use super::{Dmi, LINK_LOCAL, Provider, items, labels, said};
use crate::metadata::platform::Machine;
use crate::metadata::service::{Ask, Known, Service, WHOLE};

pub(super) fn vouched(dmi: &Dmi) -> Option<String> {
    (dmi.sys_vendor == "DigitalOcean").then(|| "the vendor of the system is DigitalOcean".into())
}

pub(super) const SERVICE: Known =
    Known { name: "DigitalOcean's metadata service", doors: &[LINK_LOCAL], passing: &[], below: "" };

/// One request.
pub(super) async fn read(service: &Service<'_>) -> Result<Machine> {
    machine(&service.ask(&Ask::get("/metadata/v1.json", &[], WHOLE)).await?.json()?)
}

/// The droplet.
fn machine(document: &Value) -> Result<Machine> {
    let mut machine = Machine::of(Provider::DigitalOcean, said(document, "/droplet_id"))?;
    machine.firmware_says = Some(machine.instance_id.clone());
    machine.named(said(document, "/hostname").as_deref());
    machine.region = said(document, "/region");
    for kind in ["/interfaces/private", "/interfaces/public"] {
        for interface in items(document, kind) {
            machine.reached_at(said(interface, "/ipv4/ip_address").as_deref());
            machine.reached_at(said(interface, "/ipv6/ip_address").as_deref());
        }
    }
    machine.tags.extend(labels(document, "/tags"));
    machine.handed(said(document, "/user_data").map(String::into_bytes));
    machine.vendor_data = said(document, "/vendor_data").map(|text| text.len());
    Ok(machine)
}
