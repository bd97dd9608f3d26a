//! The spec as it is written: YAML or JSON, snake_case, strict. `check` turns it into what it means.

use std::collections::BTreeMap;

use serde::de::{self, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::backup::BackupEntry;
use crate::discovery::Discovery;
use crate::firewall::Firewall;
use crate::install::InstallEntry;
use crate::logs::Logs;
use crate::member::{ClusterName, MemberName, PeerUrl};
use crate::metadata::MetadataEntry;
use crate::restore::RestoreEntry;
use crate::source::OneOf;
pub use crate::source::Source;
use crate::spec::{Duration, Mode, Timestamp};
use crate::store::StoreEntry;

/// The document of DESIGN section 10; every carrier carries this one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Version of the document: 1.
    pub version: u32,
    /// The cluster wanted.
    pub cluster: Cluster,
    /// What this host may do; `auto` without it.
    #[serde(default)]
    pub mode: Mode,
    /// The static list.
    #[serde(default)]
    pub peers: Vec<PeerEntry>,
    /// Where the group is listed, instead of a static list.
    #[serde(default)]
    pub discovery: Option<Discovery>,
    /// Which of the list this host is, and at which address.
    #[serde(default)]
    pub member: MemberEntry,
    /// Silence of a terminated voter before it is removed; 60s without it.
    #[serde(default)]
    pub replace_after: Option<Duration>,
    /// The snapshot that a founding restores.
    #[serde(default)]
    pub restore: Option<RestoreEntry>,
    /// Certificates.
    pub tls: Tls,
    /// The data disk.
    #[serde(default)]
    pub data: Data,
    /// Who may reach this host's etcd.
    #[serde(default)]
    pub firewall: Firewall,
    /// Where the journal goes.
    #[serde(default)]
    pub logs: Option<Logs>,
    /// The operator's word after a majority is lost.
    #[serde(default)]
    pub recover: Option<Recover>,
    /// How long to wait for what.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Whether private keys may stand inside user-data that a metadata service hands out.
    #[serde(default)]
    pub allow_inline_secrets: bool,
    /// etcd's own options by etcd's own names.
    #[serde(default)]
    pub etcd: BTreeMap<String, Scalar>,
    /// The cluster's home outside its disks.
    #[serde(default)]
    pub store: Option<StoreEntry>,
    /// Snapshots of this cluster into its store.
    #[serde(default)]
    pub backup: Option<BackupEntry>,
    /// Not in this version.
    #[serde(default)]
    pub health: Option<IgnoredAny>,
    /// How the platform is asked.
    #[serde(default)]
    pub metadata: MetadataEntry,
    /// Where the ISO installs to.
    #[serde(default)]
    pub install: Option<InstallEntry>,
}

/// `cluster:`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Its name.
    pub name: ClusterName,
    /// Voters wanted: 1, 3, 5 or 7.
    pub size: u8,
    /// Raised to found or restore anew on purpose; 1 without it.
    #[serde(default = "one")]
    pub epoch: u32,
    /// No founding after this.
    #[serde(default)]
    pub found_until: Option<Timestamp>,
}

fn one() -> u32 {
    1
}

/// An entry of `peers:`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerEntry {
    /// The member's name.
    pub name: MemberName,
    /// Its peer URL.
    pub peer_url: PeerUrl,
}

/// `member:`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberEntry {
    /// `auto` or the name.
    #[serde(default)]
    pub name: Auto<MemberName>,
    /// `auto`, an address, an interface or a network.
    #[serde(default)]
    pub address: Address,
}

/// `auto` or a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auto<T> {
    /// The program finds it.
    #[default]
    Auto,
    /// The user says it.
    Is(T),
}

impl<'de, T: std::str::FromStr<Err = crate::member::Malformed>> Deserialize<'de> for Auto<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        if text == "auto" { Ok(Auto::Auto) } else { text.parse().map(Auto::Is).map_err(D::Error::custom) }
    }
}

/// `member.address:` — which of this host's addresses others reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Address {
    /// The one of the default route, or the one that the static list names.
    #[default]
    Auto,
    /// The first global one of an interface.
    Interface {
        /// Its name.
        interface: String,
    },
    /// The one inside a network.
    Cidr {
        /// Such as `10.0.0.0/8`.
        cidr: String,
    },
    /// This one.
    Text(String),
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match text_or_entry(d, &["interface", "cidr"], "`auto`, an address, {interface: NAME} or {cidr: NETWORK}")? {
            TextOrEntry::Text(text) if text == "auto" => Ok(Address::Auto),
            TextOrEntry::Text(text) if text.parse::<std::net::IpAddr>().is_ok() => Ok(Address::Text(text)),
            TextOrEntry::Text(text) => Err(D::Error::custom(format!(
                "{text:?} is no address: write `auto`, an IP address, {{interface: NAME}} or {{cidr: NETWORK}}"
            ))),
            TextOrEntry::Entry("interface", interface) => Ok(Address::Interface { interface }),
            TextOrEntry::Entry(_, cidr) => Ok(Address::Cidr { cidr }),
        }
    }
}

/// `tls:`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The CA that issues this host's leaves.
    pub ca: Ca,
    /// Further names and addresses for the server certificate.
    #[serde(default)]
    pub extra_sans: Vec<String>,
    /// How long a leaf is valid; 8760h without it.
    #[serde(default)]
    pub validity: Option<Duration>,
}

/// `tls.ca:`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ca {
    /// PEM of one CA certificate, or of two while a CA is rotated; the first one issues.
    pub cert: Source,
    /// PEM of the first one's private key.
    pub key: Source,
}

/// `data:`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Which disk.
    #[serde(default)]
    pub device: Device,
    /// Which disk the write-ahead log has for itself; without it the log is on the data disk.
    #[serde(default)]
    pub wal_device: Option<Device>,
}

/// `data.device:`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// Exactly one that is provably blank or already ours, else a directory on `/var`.
    #[default]
    Auto,
    /// The disk with this serial number.
    Serial(String),
    /// The disk with this World Wide ID.
    Wwid(String),
    /// The file system with this label.
    Label(String),
    /// The SCSI disk with this Logical Unit Number, by which Azure and others attach data disks.
    Lun(u32),
    /// The disk with this kernel name, such as `vdb`.
    Name(String),
}

/// `recover:`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recover {
    /// The member whose database is kept.
    pub survivor: MemberName,
    /// Takes effect once per disk: on disks whose journal does not know it.
    pub epoch: u32,
    /// Voters that the operator declares lost for good.
    #[serde(default)]
    pub given_up: Vec<MemberName>,
}

/// `timeouts:`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// For a configuration volume to appear, and for the platform to answer; 120s without it.
    #[serde(default)]
    pub metadata: Option<Duration>,
    /// For the named data disk to appear; 60s without it.
    #[serde(default)]
    pub data_device: Option<Duration>,
    /// For the clock of a blank host to be set by a time server, unless it was ahead of the image at power-on; 60s without it.
    #[serde(default)]
    pub time_sync: Option<Duration>,
}

/// The value of one of etcd's own options.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// A flag.
    Bool(bool),
    /// A number.
    Number(i64),
    /// Anything else, durations included.
    Text(String),
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Scalar;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a text, a whole number, true or false; anything else in quotes")
            }
            fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar::Number(value))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Scalar, E> {
                i64::try_from(value).map(Scalar::Number).map_err(|_| E::custom("the number is too large"))
            }
            fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(value.to_owned()))
            }
        }
        d.deserialize_any(Any)
    }
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scalar::Bool(b) => b.fmt(f),
            Scalar::Number(n) => n.fmt(f),
            Scalar::Text(t) => t.fmt(f),
        }
    }
}

/// A text, or a mapping with exactly one of some keys.
enum TextOrEntry {
    Text(String),
    Entry(&'static str, String),
}

/// Reads one by hand: serde's untagged enums lose which key was wrong, and where.
fn text_or_entry<'de, D: Deserializer<'de>>(
    d: D,
    keys: &'static [&'static str],
    expecting: &'static str,
) -> Result<TextOrEntry, D::Error> {
    d.deserialize_any(TextOrEntryVisitor { keys, expecting })
}

struct TextOrEntryVisitor {
    keys: &'static [&'static str],
    expecting: &'static str,
}

impl<'de> Visitor<'de> for TextOrEntryVisitor {
    type Value = TextOrEntry;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E>(self, text: &str) -> Result<TextOrEntry, E> {
        Ok(TextOrEntry::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TextOrEntry, A::Error> {
        let one_of = |found| A::Error::custom(format!("expected {}, found {found}", self.expecting));
        let key = map.next_key_seed(OneOf(self.keys))?.ok_or_else(|| one_of("an empty mapping"))?;
        let value = map.next_value()?;
        if map.next_key_seed(OneOf(self.keys))?.is_some() {
            return Err(one_of("more than one key"));
        }
        Ok(TextOrEntry::Entry(key, value))
    }
}
