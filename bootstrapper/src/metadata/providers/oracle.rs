//! Oracle Cloud Infrastructure.

use std::net::{IpAddr, Ipv6Addr};

use anyhow::Result;
use serde_json::Value;

use super::{Dmi, LINK_LOCAL, Provider, decoded, items, said};
use crate::metadata::platform::Machine;
use crate::metadata::service::{Ask, Door, Known, SMALL, Service, WHOLE};

pub(super) fn vouched(dmi: &Dmi) -> Option<String> {
    (dmi.chassis_asset_tag == "OracleCloud.com").then(|| "the asset tag of the chassis is OracleCloud.com".into())
}

pub(super) const SERVICE: Known = Known {
    name: "Oracle's metadata service",
    doors: &[LINK_LOCAL, Door::At(IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)))],
    passing: &[],
    below: "",
};

/// Of the second version; the first hands out everything to everybody.
const BEARER: (&str, &str) = ("authorization", "Bearer Oracle");

/// Two requests.
pub(super) async fn read(service: &Service<'_>) -> Result<Machine> {
    let document = service.ask(&Ask::get("/opc/v2/instance/", &[BEARER], WHOLE)).await?.json()?;
    let mut machine = machine(&document)?;
    let vnics = service.ask(&Ask::get("/opc/v2/vnics/", &[BEARER], SMALL)).await?;
    if vnics.status.is_success() {
        let vnics = vnics.json()?;
        for vnic in vnics.as_array().into_iter().flatten() {
            machine.reached_at(said(vnic, "/privateIp").as_deref());
            for ip in items(vnic, "/ipv6Addresses") {
                machine.reached_at(ip.as_str());
            }
        }
    }
    Ok(machine)
}

/// The instance, without its addresses.
fn machine(document: &Value) -> Result<Machine> {
    let mut machine = Machine::of(Provider::Oracle, said(document, "/id"))?;
    machine.named(said(document, "/hostname").or(said(document, "/displayName")).as_deref());
    machine.zone = said(document, "/availabilityDomain");
    machine.region = said(document, "/canonicalRegionName").or(said(document, "/region"));
    for (prefix, tags) in [("", document.get("freeformTags"))].into_iter().chain(
        document.get("definedTags").and_then(Value::as_object).into_iter().flatten().map(|(k, v)| (&**k, Some(v))),
    ) {
        for (key, value) in tags.and_then(Value::as_object).into_iter().flatten() {
            let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            machine.tags.insert(key, value.as_str().unwrap_or_default().to_owned());
        }
    }
    let user_data = said(document, "/metadata/user_data");
    machine.handed(user_data.map(|text| decoded(&text, "metadata.user_data")).transpose()?);
    Ok(machine)
}
