//! Hetzner Cloud.

use std::net::Ipv6Addr;

use anyhow::Result;

use super::{Dmi, LINK_LOCAL, Provider, utf8};
use crate::exit::Exit;
use crate::metadata::answer::Answer;
use crate::metadata::document::bad_input;
use crate::metadata::platform::Machine;
use crate::metadata::service::{Ask, Door, Known, SMALL, Service, USER_DATA, WHOLE};
use crate::metadata::tree::{Node, Value};
use crate::metadata::yaml::{self, Dialect, Origin};

pub(super) fn vouched(dmi: &Dmi) -> Option<String> {
    (dmi.sys_vendor == "Hetzner").then(|| "the vendor of the system is Hetzner".into())
}

pub(super) const SERVICE: Known = Known {
    name: "Hetzner's metadata service",
    doors: &[LINK_LOCAL, Door::OnLink(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe))],
    passing: &[],
    below: "/hetzner/v1/metadata",
};

/// Three requests; its documents are YAML.
pub(super) async fn read(service: &Service<'_>) -> Result<Machine> {
    let answer = service.ask(&Ask::get("/hetzner/v1/metadata", &[], WHOLE)).await?;
    let Some(document) = yaml(answer)? else {
        return Err(Exit::Unavailable.because(format!("{} has no document for this machine", SERVICE.name)));
    };
    let (mut machine, public) = machine(&document)?;
    let networks = yaml(service.ask(&Ask::get("/hetzner/v1/metadata/private-networks", &[], SMALL)).await?)?;
    if let Some(Node { value: Value::List(networks), .. }) = networks {
        for network in networks {
            machine.reached_at(network.get("ip").and_then(Node::text));
        }
    }
    // The only address of a machine without a private network.
    machine.reached_at(public.as_deref());
    machine.handed(service.ask(&Ask::get("/hetzner/v1/userdata", &[], USER_DATA)).await?.body()?);
    Ok(machine)
}

/// The machine, and its public address.
fn machine(document: &Node) -> Result<(Machine, Option<String>)> {
    let text = |key: &str| document.get(key).and_then(Node::text).filter(|text| !text.is_empty()).map(str::to_owned);
    let mut machine = Machine::of(Provider::Hetzner, text("instance-id"))?;
    machine.firmware_says = Some(machine.instance_id.clone());
    machine.named(text("hostname").as_deref());
    machine.zone = text("availability-zone");
    machine.region = text("region");
    machine.vendor_data = text("vendor_data").map(|text| text.len());
    Ok((machine, text("public-ipv4")))
}

fn yaml(answer: Answer) -> Result<Option<Node>> {
    let asked = answer.asked.clone();
    let Some(bytes) = answer.body()? else { return Ok(None) };
    let text = utf8(bytes, &asked)?;
    yaml::read(&text, &Origin::whole(&asked), Dialect::CloudInit).map_err(|fault| bad_input(&[fault]))
}
