//! `metadata:` — how the platform that launched a machine is asked about it.

use serde::Deserialize;

/// `metadata:`; what carries it must be there without the platform, or it says nothing about the asking.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetadataEntry {
    /// Whom to ask; `auto` without it.
    #[serde(default)]
    pub provider: Platform,
    /// Whether EC2's first protocol will do where the second is not answered.
    #[serde(default)]
    pub allow_imdsv1: bool,
    /// What a contradiction between the metadata and the firmware leads to.
    #[serde(default)]
    pub cross_check: Option<CrossCheck>,
}

/// Who launched the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// Whom the firmware, a volume or the kernel command line names.
    #[default]
    Auto,
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
    /// Akamai.
    Akamai,
    /// Scaleway.
    Scaleway,
    /// Nobody: no address is asked.
    None,
}

/// What a contradiction leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CrossCheck {
    /// A refusal.
    Enforce,
    /// A warning.
    Warn,
    /// Nothing.
    Off,
}
