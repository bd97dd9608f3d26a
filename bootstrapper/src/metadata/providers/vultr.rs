//! Vultr.

use anyhow::Result;
use serde_json::Value;

use super::{Dmi, LINK_LOCAL, Provider, items, labels, said};
use crate::metadata::platform::Machine;
use crate::metadata::service::{Ask, Known, Service, USER_DATA, WHOLE};

/// The word by which the kernel command line of Vultr's bare metal names it.
pub const WORD: &str = "vultr";

pub(super) fn vouched(dmi: &Dmi) -> Option<String> {
    (dmi.sys_vendor == "Vultr").then(|| "the vendor of the system is Vultr".into())
}

pub(super) const SERVICE: Known =
    Known { name: "Vultr's metadata service", doors: &[LINK_LOCAL], passing: &[], below: "" };

/// As cloud-init asks it; without the header an answer has no user-data in it.
const TOKEN: (&str, &str) = ("metadata-token", "cloudinit");

/// One request, or two where the document has no user-data in it.
pub(super) async fn read(service: &Service<'_>) -> Result<Machine> {
    let document = service.ask(&Ask::get("/v1.json", &[TOKEN], WHOLE)).await?.json()?;
    let mut machine = machine(&document)?;
    machine.handed(match document.get("user-data") {
        Some(_) => said(&document, "/user-data").map(String::into_bytes),
        None => service.ask(&Ask::get("/latest/user-data", &[TOKEN], USER_DATA)).await?.body()?,
    });
    Ok(machine)
}

/// The instance, without its user-data.
fn machine(document: &Value) -> Result<Machine> {
    let number = said(document, "/instanceid");
    let mut machine = Machine::of(Provider::Vultr, said(document, "/instance-v2-id").or(number.clone()))?;
    machine.firmware_says = number;
    machine.named(said(document, "/hostname").as_deref());
    machine.region = said(document, "/region/regioncode");
    // The machine's own network before the one that everybody reaches.
    let own = |interface: &&Value| said(interface, "/network-type").as_deref() == Some("private");
    let interfaces = items(document, "/interfaces");
    for interface in interfaces.iter().filter(own).chain(interfaces.iter().filter(|i| !own(i))) {
        machine.reached_at(said(interface, "/ipv4/address").as_deref());
        machine.reached_at(said(interface, "/ipv6/address").as_deref());
    }
    machine.tags.extend(labels(document, "/tags"));
    Ok(machine)
}
