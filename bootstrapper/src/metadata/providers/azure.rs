//! Microsoft Azure.

use anyhow::Result;
use hyper::StatusCode;
use serde_json::Value;

use super::{Dmi, LINK_LOCAL, Provider, decoded, items, said};
use crate::metadata::answer::Answer;
use crate::metadata::platform::{Group, Machine};
use crate::metadata::service::{Ask, Known, Service, WHOLE};

/// The asset tag of every machine of Azure's; Hyper-V of other people's has none. From cloud-init's `DataSourceAzure`.
const TAG: &str = "7783-7084-3265-9085-8269-3286-77";

pub(super) fn vouched(dmi: &Dmi) -> Option<String> {
    (dmi.chassis_asset_tag == TAG).then(|| format!("the asset tag of the chassis is {TAG}"))
}

/// 404 and 410 come while it is updated, for 70 seconds at most by Microsoft's page on it.
pub(super) const SERVICE: Known =
    Known { name: "Azure's metadata service", doors: &[LINK_LOCAL], passing: &[404, 410], below: "" };

/// The first version that has all that is read, and one that every region has.
const VERSIONS: [&str; 2] = ["2021-08-01", "2019-06-01"];

/// One request.
pub(super) async fn read(service: &Service<'_>) -> Result<Machine> {
    let mut answer = ask(service, VERSIONS[0]).await?;
    if answer.status == StatusCode::BAD_REQUEST {
        answer = ask(service, VERSIONS[1]).await?;
    }
    machine(&answer.json()?)
}

/// The instance with its network.
fn machine(document: &Value) -> Result<Machine> {
    let id = said(document, "/compute/vmId").map(|id| id.to_ascii_lowercase());
    let mut machine = Machine::of(Provider::Azure, id)?;
    machine.firmware_says = Some(machine.instance_id.clone());
    let name = said(document, "/compute/osProfile/computerName").or(said(document, "/compute/name"));
    machine.named(name.as_deref());
    machine.region = said(document, "/compute/location");
    machine.zone = said(document, "/compute/zone");
    for interface in items(document, "/network/interface") {
        for family in ["/ipv4/ipAddress", "/ipv6/ipAddress"] {
            for address in items(interface, family) {
                machine.reached_at(said(address, "/privateIpAddress").as_deref());
            }
        }
    }
    for tag in items(document, "/compute/tagsList") {
        if let Some(name) = said(tag, "/name") {
            machine.tags.insert(name, said(tag, "/value").unwrap_or_default());
        }
    }
    machine.group = said(document, "/compute/vmScaleSetName").map(|name| Group::ScaleSet {
        name,
        resource_group: said(document, "/compute/resourceGroupName").unwrap_or_default(),
        subscription: said(document, "/compute/subscriptionId").unwrap_or_default(),
    });
    let user_data = said(document, "/compute/userData");
    machine.handed(user_data.map(|text| decoded(&text, "compute.userData")).transpose()?);
    Ok(machine)
}

async fn ask(service: &Service<'_>, version: &str) -> Result<Answer> {
    let path = format!("/metadata/instance?api-version={version}&format=json");
    service.ask(&Ask::get(&path, &[("metadata", "true")], WHOLE)).await
}

/// A machine of the first generation has the UUID with the bytes of its first three groups in the other order.
pub fn spellings(uuid: &str) -> Vec<String> {
    if uuid.is_empty() {
        return Vec::new();
    }
    let swapped = |(i, group): (usize, &str)| match i {
        0..3 => group.as_bytes().chunks(2).rev().map(String::from_utf8_lossy).collect::<String>(),
        _ => group.to_owned(),
    };
    let other: Vec<String> = uuid.split('-').enumerate().map(swapped).collect();
    vec![uuid.to_owned(), other.join("-")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_of_the_first_generation_is_the_same_machine_s() {
        let spelled = spellings("8f3a1c2d-11aa-22bb-8899-0123456789ab");
        assert_eq!(spelled[1], "2d1c3a8f-aa11-bb22-8899-0123456789ab");
        assert!(spellings("").is_empty());
    }
}
