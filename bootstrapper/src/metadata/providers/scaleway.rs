//! Scaleway.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use serde_json::Value;

use super::{Dmi, Provider, items, labels, said};
use crate::metadata::platform::Machine;
use crate::metadata::service::{Ask, Door, Known, SMALL, Service, USER_DATA};

pub(super) fn vouched(dmi: &Dmi) -> Option<String> {
    (dmi.sys_vendor == "Scaleway").then(|| "the vendor of the system is Scaleway".into())
}

pub(super) const SERVICE: Known = Known {
    name: "Scaleway's metadata service",
    doors: &[
        Door::At(IpAddr::V4(Ipv4Addr::new(169, 254, 42, 42))),
        Door::At(IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42))),
    ],
    passing: &[],
    below: "",
};

/// Two requests; user-data is for root alone, so it is handed out to ports that only root may have.
pub(super) async fn read(service: &Service<'_>) -> Result<Machine> {
    let document = service.ask(&Ask::get("/conf?format=json", &[], SMALL)).await?.json()?;
    let mut machine = machine(&document)?;
    let ask = Ask { privileged: true, ..Ask::get("/user_data/cloud-init", &[], USER_DATA) };
    machine.handed(service.ask(&ask).await?.body()?);
    Ok(machine)
}

/// The instance, without its user-data.
fn machine(document: &Value) -> Result<Machine> {
    let mut machine = Machine::of(Provider::Scaleway, said(document, "/id"))?;
    machine.named(said(document, "/hostname").or(said(document, "/name")).as_deref());
    machine.zone = said(document, "/location/zone_id");
    machine.region =
        machine.zone.as_deref().and_then(|zone| zone.rsplit_once('-')).map(|(region, _)| region.to_owned());
    machine.reached_at(said(document, "/private_ip").as_deref());
    for ip in items(document, "/public_ips") {
        machine.reached_at(said(ip, "/address").as_deref());
    }
    machine.reached_at(said(document, "/ipv6/address").as_deref());
    machine.tags.extend(labels(document, "/tags"));
    Ok(machine)
}
