//! Akamai, formerly Linode.

use std::net::{IpAddr, Ipv6Addr};

use anyhow::Result;
use hyper::Method;
use serde_json::Value;

use super::{Dmi, LINK_LOCAL, Provider, decoded, items, labels, said, token, utf8};
use crate::metadata::platform::Machine;
use crate::metadata::service::{Ask, Door, Known, SMALL, Service, TOKEN, USER_DATA};

pub(super) fn vouched(dmi: &Dmi) -> Option<String> {
    let vendor = dmi.sys_vendor.as_str();
    matches!(vendor, "Linode" | "Akamai").then(|| format!("the vendor of the system is {vendor}"))
}

pub(super) const SERVICE: Known = Known {
    name: "Akamai's metadata service",
    doors: &[LINK_LOCAL, Door::At(IpAddr::V6(Ipv6Addr::new(0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1)))],
    passing: &[],
    below: "",
};

/// Four requests, the first for a token.
pub(super) async fn read(service: &Service<'_>) -> Result<Machine> {
    let expiry = [("metadata-token-expiry-seconds", "300")];
    let answer = service.ask(&Ask { method: &Method::PUT, ..Ask::get("/v1/token", &expiry, TOKEN) }).await?;
    if !answer.status.is_success() {
        return Err(answer.refused("200 with a token"));
    }
    let token = token(answer.bytes.trim_ascii().to_vec(), SERVICE.name)?;
    let headers = [("metadata-token", token.as_str()), ("accept", "application/json")];
    let document = service.ask(&Ask::get("/v1/instance", &headers, SMALL)).await?.json()?;
    let mut machine = machine(&document)?;
    let network = service.ask(&Ask::get("/v1/network", &headers, SMALL)).await?;
    if network.status.is_success() {
        let network = network.json()?;
        for list in ["/ipv4/private", "/ipv4/public", "/ipv6/ranges"] {
            for ip in items(&network, list) {
                machine.reached_at(ip.as_str());
            }
        }
        machine.reached_at(said(&network, "/ipv6/slaac").as_deref());
    }
    let body = service.ask(&Ask::get("/v1/user-data", &headers[..1], USER_DATA)).await?.body()?;
    machine.handed(match body {
        Some(bytes) if !bytes.trim_ascii().is_empty() => Some(decoded(&utf8(bytes, "user-data")?, "user-data")?),
        Some(_) | None => None,
    });
    Ok(machine)
}

/// The instance, without its addresses.
fn machine(document: &Value) -> Result<Machine> {
    let mut machine = Machine::of(Provider::Akamai, said(document, "/id"))?;
    machine.named(said(document, "/label").as_deref());
    machine.region = said(document, "/region");
    machine.tags.extend(labels(document, "/tags"));
    Ok(machine)
}
