//! Amazon EC2.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use anyhow::Result;
use hyper::{Method, StatusCode};
use serde_json::Value;

use super::{Dmi, LINK_LOCAL, Manner, Provider, said, token, utf8};
use crate::exit::Exit;
use crate::metadata::answer::Answer;
use crate::metadata::platform::{Group, Machine, TAG};
use crate::metadata::service::{Ask, Door, Known, SMALL, Service, TOKEN, USER_DATA};

/// Machines that speak EC2's protocol at other providers', by what cloud-init's `ds-identify` tells them by.
fn looks_alike(dmi: &Dmi) -> bool {
    matches!(dmi.sys_vendor.as_str(), "e24cloud" | "Tilaa")
        || dmi.product_name == "3DS Outscale VM"
        || dmi.product_serial.ends_with(".brightbox.com")
        || dmi.chassis_asset_tag.ends_with(".zstack.io")
}

/// By Amazon's page "Identify EC2 instances": the firmware's vendor, or a UUID that begins with `ec2`, which Xen has and
/// some firmware swaps the bytes of. One in 4096 UUIDs of any other hypervisor begins so, so those are not believed.
pub(super) fn vouched(dmi: &Dmi) -> Option<String> {
    if looks_alike(dmi) {
        return None;
    }
    if dmi.bios_vendor == "Amazon EC2" || dmi.sys_vendor == "Amazon EC2" {
        return Some("the firmware is Amazon EC2's".into());
    }
    if dmi.hypervisor_uuid.starts_with("ec2") {
        return Some("the UUID of the hypervisor begins with ec2".into());
    }
    let others = !matches!(dmi.sys_vendor.as_str(), "" | "Xen");
    let begins = dmi.product_uuid.starts_with("ec2") || swapped(&dmi.product_uuid).starts_with("ec2");
    (begins && !others).then(|| "the UUID of the product begins with ec2".into())
}

/// The first group of a UUID with its four bytes in the other order.
fn swapped(uuid: &str) -> String {
    let first = uuid.split('-').next().unwrap_or_default().as_bytes();
    first.chunks(2).rev().map(|pair| String::from_utf8_lossy(pair)).collect()
}

/// The IPv6 address answers on Nitro, where the instance's metadata options enable it.
pub(super) const SERVICE: Known = Known {
    name: "EC2's metadata service",
    doors: &[LINK_LOCAL, Door::At(IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)))],
    passing: &[],
    below: "/latest",
};

/// Seconds that a token lives: no longer than a configuration is waited for, and a bit.
const TTL: &str = "300";

/// How long a token is tried for where one will do without.
const TRIED: Duration = Duration::from_secs(6);

const DOCUMENT: &str = "/latest/dynamic/instance-identity/document";
const TAGS: &str = "/latest/meta-data/tags/instance";

/// The tag that an Auto Scaling group gives to the instances that it launches.
const GROUP: &str = "aws:autoscaling:groupName";

/// Five requests, those for tags of ours and for what only a person wants to see aside.
pub(super) async fn read(service: &Service<'_>, manner: Manner) -> Result<Machine> {
    let mut session = Session { service, token: None };
    session.begin(manner.allow_imdsv1).await?;
    let mut machine = machine(&session.get(DOCUMENT, SMALL).await?.json()?)?;
    machine.handed(session.get("/latest/user-data", USER_DATA).await?.body()?);
    // Only where the instance's metadata options allow tags.
    let listed = session.text(TAGS).await?.unwrap_or_default();
    for key in listed.lines().filter(|key| *key == GROUP || key.starts_with(TAG)) {
        let Some(value) = session.text(&format!("{TAGS}/{key}")).await? else { continue };
        if key == GROUP {
            machine.group = Some(Group::AutoScaling(value.clone()));
        }
        machine.tags.insert(key.to_owned(), value);
    }
    if machine.group.is_none() || manner.thorough {
        machine.named(session.text("/latest/meta-data/local-hostname").await?.as_deref());
    }
    if machine.addresses.is_empty() || manner.thorough {
        machine.reached_at(session.text("/latest/meta-data/ipv6").await?.as_deref().map(str::trim));
    }
    Ok(machine)
}

/// The instance by its identity document.
fn machine(document: &Value) -> Result<Machine> {
    let mut machine = Machine::of(Provider::Ec2, said(document, "/instanceId"))?;
    machine.firmware_says = Some(machine.instance_id.clone());
    machine.region = said(document, "/region");
    machine.zone = said(document, "/availabilityZone");
    machine.reached_at(said(document, "/privateIp").as_deref());
    Ok(machine)
}

/// Requests with a token, by IMDSv2.
struct Session<'s, 'a> {
    service: &'s Service<'a>,
    token: Option<String>,
}

impl Session<'_, '_> {
    /// Takes a token. Its path has no version: one with a version is refused.
    async fn begin(&mut self, allow_v1: bool) -> Result<()> {
        let headers = [("x-aws-ec2-metadata-token-ttl-seconds", TTL)];
        let ask = Ask::get("/latest/api/token", &headers, TOKEN);
        let ask = Ask { method: &Method::PUT, within: allow_v1.then_some(TRIED), ..ask };
        let answer = match self.service.ask(&ask).await {
            Err(error) if Exit::of(&error) == Exit::TryAgain && allow_v1 => return Ok(()),
            Err(error) if Exit::of(&error) == Exit::TryAgain && self.service.was_unanswered() => {
                return Err(error.context(
                    "the answer with a token of IMDSv2 does not come: the hop limit of the instance's metadata options may \
                     be too low for the way to here; metadata.allow_imdsv1 does without a token",
                ));
            }
            answer => answer?,
        };
        match answer.status.as_u16() {
            200 if self.service.is_systemd_s() => {}
            200 => self.token = Some(token(answer.bytes, SERVICE.name)?),
            404 | 405 if allow_v1 => {}
            _ => return Err(answer.refused("200 with a token of IMDSv2")),
        }
        Ok(())
    }

    /// Takes a new token once when this one has expired.
    async fn get(&mut self, path: &str, most: usize) -> Result<Answer> {
        let answer = self.once(path, most).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        self.begin(false).await?;
        let answer = self.once(path, most).await?;
        match answer.status {
            StatusCode::UNAUTHORIZED => Err(answer.refused("200 with the token that was taken just before")),
            _ => Ok(answer),
        }
    }

    async fn once(&self, path: &str, most: usize) -> Result<Answer> {
        let headers: Vec<_> = self.token.iter().map(|token| ("x-aws-ec2-metadata-token", token.as_str())).collect();
        self.service.ask(&Ask::get(path, &headers, most)).await
    }

    async fn text(&mut self, path: &str) -> Result<Option<String>> {
        let body = self.get(path, SMALL).await?.body()?;
        body.map(|bytes| utf8(bytes, path)).transpose()
    }
}
