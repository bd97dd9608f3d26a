//! OpenStack by its metadata service.

use std::net::Ipv6Addr;

use anyhow::Result;
use serde_json::Value;

use super::{Dmi, LINK_LOCAL, Provider, items, said};
use crate::metadata::platform::Machine;
use crate::metadata::service::{Ask, Door, Known, SMALL, Service, USER_DATA, WHOLE};

/// Asset tags of public clouds that are OpenStack; from cloud-init's `DataSourceOpenStack`.
const TAGS: [&str; 6] = [
    "OpenStack Nova",
    "OpenStack Compute",
    "OpenTelekomCloud",
    "SAP CCloud VM",
    "HUAWEICLOUD",
    "Samsung Cloud Platform",
];

pub(super) fn vouched(dmi: &Dmi) -> Option<String> {
    if matches!(dmi.product_name.as_str(), "OpenStack Nova" | "OpenStack Compute") {
        return Some(format!("the product is {}", dmi.product_name));
    }
    let tag = dmi.chassis_asset_tag.as_str();
    TAGS.contains(&tag).then(|| format!("the asset tag of the chassis is {tag}"))
}

/// The IPv6 address is Neutron's, on the link.
pub(super) const SERVICE: Known = Known {
    name: "OpenStack's metadata service",
    doors: &[LINK_LOCAL, Door::OnLink(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe))],
    passing: &[],
    below: "",
};

/// Four requests.
pub(super) async fn read(service: &Service<'_>) -> Result<Machine> {
    let get = async |name: &str, most| {
        let path = format!("/openstack/latest/{name}");
        service.ask(&Ask::get(&path, &[], most)).await
    };
    let mut machine = machine(&get("meta_data.json", SMALL).await?.json()?)?;
    machine.handed(get("user_data", USER_DATA).await?.body()?);
    machine.vendor_data = get("vendor_data.json", WHOLE).await?.body()?.map(|bytes| bytes.len()).filter(|n| *n > 2);
    let network = get("network_data.json", SMALL).await?;
    if network.status.is_success() {
        let network = network.json()?;
        for address in items(&network, "/networks") {
            machine.reached_at(said(address, "/ip_address").as_deref());
        }
    }
    Ok(machine)
}

/// The instance by `meta_data.json`.
fn machine(document: &Value) -> Result<Machine> {
    let mut machine = Machine::of(Provider::OpenStack, said(document, "/uuid"))?;
    machine.firmware_says = Some(machine.instance_id.clone());
    machine.named(said(document, "/hostname").or(said(document, "/name")).as_deref());
    machine.zone = said(document, "/availability_zone");
    machine.region = said(document, "/region_id");
    if let Some(Value::Object(meta)) = document.get("meta") {
        for (key, value) in meta {
            machine.tags.insert(key.clone(), value.as_str().unwrap_or_default().to_owned());
        }
    }
    Ok(machine)
}
