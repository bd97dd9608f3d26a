//! The platforms that launch machines: one file each, with what its firmware is told by.

use std::fmt;

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
    /// Xen's.
    pub hypervisor_uuid: String,
}

/// A platform that launches machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
