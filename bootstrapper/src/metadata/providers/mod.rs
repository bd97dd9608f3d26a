//! The platforms that launch machines: one file each, with what its firmware is told by.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::platform::Machine;
use super::service::{Door, Known, Service};
use super::unpack;
use crate::exit::Exit;

pub(super) mod akamai;
pub(super) mod azure;
pub(super) mod configdrive;
pub(super) mod digitalocean;
pub(super) mod ec2;
pub(super) mod gce;
pub(super) mod hetzner;
pub(super) mod nocloud;
pub(super) mod openstack;
pub(super) mod oracle;
pub(super) mod scaleway;
pub(super) mod vmware;
pub(super) mod vultr;

/// What the firmware and the hypervisor say; empty where they say nothing. UUIDs are in lower case.
#[derive(Default)]
pub(super) struct Dmi {
    pub sys_vendor: String,
    pub product_name: String,
    pub product_uuid: String,
    pub product_serial: String,
    pub chassis_asset_tag: String,
    pub bios_vendor: String,
    /// EC2's Nitro has the instance ID here.
    pub board_asset_tag: String,
    /// Xen's.
    pub hypervisor_uuid: String,
}

/// Where most platforms' services answer.
const LINK_LOCAL: Door = Door::At(IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)));

/// How a platform is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// Whether EC2's first protocol, without a token, will do where the second is not answered.
    pub allow_imdsv1: bool,
    /// Whether what only a person wants to see is asked for too.
    pub thorough: bool,
}

/// A platform that launches machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Amazon EC2.
    Ec2,
    /// Google Compute Engine.
    Gce,
    /// Microsoft Azure.
    Azure,
    /// OpenStack's metadata service.
    OpenStack,
    /// OpenStack's configuration drive.
    ConfigDrive,
    /// cloud-init's NoCloud.
    NoCloud,
    /// VMware.
    VmWare,
    /// DigitalOcean.
    DigitalOcean,
    /// Hetzner Cloud.
    Hetzner,
    /// Vultr.
    Vultr,
    /// Oracle Cloud Infrastructure.
    Oracle,
    /// Akamai, formerly Linode.
    Akamai,
    /// Scaleway.
    Scaleway,
    /// No platform: configuration is in files and volumes alone.
    None,
}

/// All of them.
pub const ALL: [Provider; 14] = [
    Provider::Ec2,
    Provider::Gce,
    Provider::Azure,
    Provider::OpenStack,
    Provider::ConfigDrive,
    Provider::NoCloud,
    Provider::VmWare,
    Provider::DigitalOcean,
    Provider::Hetzner,
    Provider::Vultr,
    Provider::Oracle,
    Provider::Akamai,
    Provider::Scaleway,
    Provider::None,
];

impl Provider {
    /// Its name in lower case, as `metadata detect` and the kernel command line have it.
    pub fn name(self) -> &'static str {
        match self {
            Provider::Ec2 => "ec2",
            Provider::Gce => "gce",
            Provider::Azure => "azure",
            Provider::OpenStack => "openstack",
            Provider::ConfigDrive => "configdrive",
            Provider::NoCloud => "nocloud",
            Provider::VmWare => "vmware",
            Provider::DigitalOcean => "digitalocean",
            Provider::Hetzner => "hetzner",
            Provider::Vultr => "vultr",
            Provider::Oracle => "oracle",
            Provider::Akamai => "akamai",
            Provider::Scaleway => "scaleway",
            Provider::None => "none",
        }
    }

    /// By its own name, cloud-init's or Ignition's, whatever the case.
    pub fn named(name: &str) -> Option<Provider> {
        let name = name.to_ascii_lowercase();
        let name = match name.as_str() {
            "aws" => "ec2",
            "gcp" => "gce",
            "nocloud-net" => "nocloud",
            "oraclecloud" => "oracle",
            "linode" => "akamai",
            "metal" => "none",
            other => other,
        };
        ALL.into_iter().find(|provider| provider.name() == name)
    }

    /// Why the firmware says that this machine is one of the platform's.
    pub(super) fn vouched(self, dmi: &Dmi) -> Option<String> {
        match self {
            Provider::Ec2 => ec2::vouched(dmi),
            Provider::Gce => gce::vouched(dmi),
            Provider::Azure => azure::vouched(dmi),
            Provider::OpenStack => openstack::vouched(dmi),
            Provider::NoCloud => nocloud::vouched(dmi),
            Provider::VmWare => vmware::vouched(dmi),
            Provider::DigitalOcean => digitalocean::vouched(dmi),
            Provider::Hetzner => hetzner::vouched(dmi),
            Provider::Vultr => vultr::vouched(dmi),
            Provider::Oracle => oracle::vouched(dmi),
            Provider::Akamai => akamai::vouched(dmi),
            Provider::Scaleway => scaleway::vouched(dmi),
            Provider::ConfigDrive | Provider::None => None,
        }
    }

    /// Its metadata service; `None` where there is none on the network.
    pub(super) fn service(self) -> Option<Known> {
        match self {
            Provider::Ec2 => Some(ec2::SERVICE),
            Provider::Gce => Some(gce::SERVICE),
            Provider::Azure => Some(azure::SERVICE),
            Provider::OpenStack => Some(openstack::SERVICE),
            Provider::DigitalOcean => Some(digitalocean::SERVICE),
            Provider::Hetzner => Some(hetzner::SERVICE),
            Provider::Vultr => Some(vultr::SERVICE),
            Provider::Oracle => Some(oracle::SERVICE),
            Provider::Akamai => Some(akamai::SERVICE),
            Provider::Scaleway => Some(scaleway::SERVICE),
            Provider::ConfigDrive | Provider::NoCloud | Provider::VmWare | Provider::None => None,
        }
    }

    /// Whether it says something of its machines when it is asked: on the network, or VMware through its hypervisor.
    pub(super) fn can_be_asked(self) -> bool {
        self == Provider::VmWare || self.service().is_some()
    }

    /// What its service says of this machine.
    ///
    /// # Errors
    /// As [`Service::ask`]; 65 for what is no document of the platform's, 69 for a refusal.
    pub(super) async fn read(self, service: &Service<'_>, manner: Manner) -> Result<Machine> {
        match self {
            Provider::Ec2 => ec2::read(service, manner).await,
            Provider::Gce => gce::read(service).await,
            Provider::Azure => azure::read(service).await,
            Provider::OpenStack => openstack::read(service).await,
            Provider::DigitalOcean => digitalocean::read(service).await,
            Provider::Hetzner => hetzner::read(service).await,
            Provider::Vultr => vultr::read(service).await,
            Provider::Oracle => oracle::read(service).await,
            Provider::Akamai => akamai::read(service).await,
            Provider::Scaleway => scaleway::read(service).await,
            Provider::ConfigDrive | Provider::NoCloud | Provider::VmWare | Provider::None => {
                Err(Exit::Unavailable.because(format!("{self} has no metadata service on the network")))
            }
        }
    }

    /// What the firmware calls this machine in the words of the service, any of these; none where it says nothing.
    pub(super) fn firmware_says(self, dmi: &Dmi) -> Vec<String> {
        let of = |said: &str| if said.is_empty() { Vec::new() } else { vec![said.to_owned()] };
        match self {
            Provider::Ec2 if dmi.board_asset_tag.starts_with("i-") => of(&dmi.board_asset_tag),
            Provider::Azure => azure::spellings(&dmi.product_uuid),
            Provider::OpenStack => of(&dmi.product_uuid),
            Provider::Hetzner if dmi.sys_vendor == "Hetzner" => of(&dmi.product_serial),
            Provider::DigitalOcean if dmi.sys_vendor == "DigitalOcean" => of(&dmi.product_serial),
            Provider::Vultr if dmi.sys_vendor == "Vultr" => of(&dmi.product_serial),
            Provider::Ec2
            | Provider::Hetzner
            | Provider::DigitalOcean
            | Provider::Vultr
            | Provider::Gce
            | Provider::Oracle
            | Provider::Akamai
            | Provider::Scaleway
            | Provider::ConfigDrive
            | Provider::NoCloud
            | Provider::VmWare
            | Provider::None => Vec::new(),
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text or a number at a JSON pointer, as text; numbers of 64 bits stay what they are.
fn said(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The items of a list at a JSON pointer; none where there is none.
fn items<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Tags that are texts alone; they have no value.
fn labels(value: &Value, pointer: &str) -> impl Iterator<Item = (String, String)> {
    items(value, pointer).iter().filter_map(|label| Some((label.as_str()?.to_owned(), String::new())))
}

/// What a service hands out as base64.
fn decoded(text: &str, what: &str) -> Result<Vec<u8>> {
    unpack::base64(text.as_bytes()).map_err(|why| Exit::BadInput.because(format!("{what}: {why}")))
}

/// The text of a body.
fn utf8(bytes: Vec<u8>, what: &str) -> Result<String> {
    String::from_utf8(bytes).map_err(|_| Exit::BadInput.because(format!("{what} is not UTF-8")))
}

/// A token: one line of printable ASCII, so that it can be nothing but a header's value.
fn token(bytes: Vec<u8>, service: &str) -> Result<String> {
    let text = utf8(bytes, "a token").context(service.to_owned())?;
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Exit::BadInput.because(format!(
            "{service} handed out a token that is empty or has a blank, a line end or a control character in it: \
             expected one line of printable ASCII"
        )));
    }
    Ok(text)
}
