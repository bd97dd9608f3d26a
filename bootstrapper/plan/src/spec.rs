//! The spec as it is meant: what `decide` reads, and what only the host needs, both checked.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::backup::BackupEntry;
use crate::discovery::Discovery;
use crate::document::{Address, Auto, Device, Document, PeerEntry, Recover, Tls};
use crate::facts::Seconds;
use crate::firewall::Firewall;
use crate::install::InstallEntry;
use crate::logs::Logs;
use crate::member::{ClusterName, Malformed, MemberName};
use crate::restore::RestoreEntry;
use crate::store::StoreEntry;

/// What the user asked for, as far as `decide` cares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// `cluster.name`.
    pub cluster: ClusterName,
    /// `cluster.size`: 1, 3, 5 or 7.
    pub size: u8,
    /// `cluster.epoch`.
    pub epoch: u32,
    /// `cluster.found_until`.
    pub found_until: Option<Timestamp>,
    /// `mode`.
    pub mode: Mode,
    /// Who the members are to be.
    pub set: Set,
    /// `replace_after` in seconds.
    pub replace_after: u64,
    /// `restore.sha256`.
    pub restore: Option<Sha256>,
    /// `store`.
    pub store: Option<Store>,
    /// `recover`.
    pub recover: Option<Recover>,
}

/// Who the members are to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Set {
    /// These and nobody else.
    Static(Vec<PeerEntry>),
    /// Whoever the provider lists in the group.
    Dynamic,
}

/// `store`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    /// `store.url`.
    pub url: String,
    /// `store.on_total_loss`.
    pub on_total_loss: OnTotalLoss,
}

/// What to do when every voter of the claim is proven gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnTotalLoss {
    /// Ask a person.
    #[default]
    Wait,
    /// Restore the newest verified snapshot.
    Restore,
}

/// What this host may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Whatever the facts ask for.
    #[default]
    Auto,
    /// Found; refuse when a cluster is there already.
    Init,
    /// Join; never found.
    Join,
    /// Found from the snapshot, or join.
    Restore,
}

/// What only this host needs: not part of any decision.
pub struct Host {
    /// `member.name`.
    pub name: Auto<MemberName>,
    /// `member.address`.
    pub address: Address,
    /// `discovery`.
    pub discovery: Option<Discovery>,
    /// `data.device`.
    pub device: Device,
    /// `data.wal_device`.
    pub wal_device: Option<Device>,
    /// `tls`.
    pub tls: Tls,
    /// `firewall`.
    pub firewall: Firewall,
    /// `logs`.
    pub logs: Option<Logs>,
    /// `restore`: where the snapshot is.
    pub restore: Option<Arc<RestoreEntry>>,
    /// `store`.
    pub store: Option<Arc<StoreEntry>>,
    /// `backup`.
    pub backup: Option<BackupEntry>,
    /// Where inline keys are allowed to come from a metadata service.
    pub allow_inline_secrets: bool,
    /// Seconds for a configuration volume to appear.
    pub metadata_timeout: u64,
    /// Seconds for the data disk to appear.
    pub data_device_timeout: u64,
    /// Seconds for the clock.
    pub time_sync_timeout: u64,
    /// etcd's own options as environment: `ETCD_QUOTA_BACKEND_BYTES` and its value.
    pub etcd: BTreeMap<String, String>,
    /// `install`.
    pub install: InstallEntry,
}

/// What is wrong with a document that parsed, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of keys and indexes, as in `peers[1].peer_url`.
    pub path: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl Document {
    /// What the document means, or everything that is wrong with it.
    ///
    /// # Errors
    /// All problems at once, in the order of the document.
    pub fn check(self) -> Result<(Spec, Host), Vec<Problem>> {
        crate::check::check(self)
    }
}

/// A text that must not be seen: it has no Debug, no Display and no Serialize.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Marks a text as secret.
    pub fn new(text: String) -> Secret {
        Secret(text)
    }
    /// The text, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// A sha256 as 64 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256(String);

impl Sha256 {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl FromStr for Sha256 {
    type Err = Malformed;
    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            Ok(Sha256(text.to_ascii_lowercase()))
        } else {
            Err(Malformed(format!("{text:?} is not a sha256: 64 hexadecimal digits, as `sha256sum FILE` prints them")))
        }
    }
}
impl From<[u8; 32]> for Sha256 {
    fn from(bytes: [u8; 32]) -> Sha256 {
        Sha256(bytes.iter().map(|b| format!("{b:02x}")).collect())
    }
}
impl TryFrom<String> for Sha256 {
    type Error = Malformed;
    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}
impl From<Sha256> for String {
    fn from(value: Sha256) -> String {
        value.0
    }
}

/// A moment, written as RFC 3339 with a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(pub Seconds);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = i64::try_from(self.0.0)
            .ok()
            .and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok())
            .and_then(|t| t.format(&Rfc3339).ok());
        f.write_str(&text.unwrap_or_else(|| format!("{} seconds after 1970", self.0.0)))
    }
}
impl TryFrom<String> for Timestamp {
    type Error = Malformed;
    fn try_from(text: String) -> Result<Self, Malformed> {
        let bad = || Malformed(format!("{text:?} is not a time such as 2026-12-01T00:00:00Z"));
        let time = OffsetDateTime::parse(&text, &Rfc3339).map_err(|_| bad())?;
        u64::try_from(time.unix_timestamp()).map(|s| Timestamp(Seconds(s))).map_err(|_| bad())
    }
}
impl From<Timestamp> for String {
    fn from(value: Timestamp) -> String {
        value.to_string()
    }
}

/// A span of time, written with its unit: `500ms`, `60s`, `15m`, `8760h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub std::time::Duration);

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct WithUnit;
        impl Visitor<'_> for WithUnit {
            type Value = Duration;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a duration with its unit, such as 500ms, 60s, 15m, 24h or 7d")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                text.parse().map_err(E::custom)
            }
        }
        d.deserialize_any(WithUnit)
    }
}
impl FromStr for Duration {
    type Err = Malformed;
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let bad = || Malformed(format!("{text:?} is not a duration with its unit, such as 500ms, 60s, 15m, 24h or 7d"));
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = text[..digits].parse().map_err(|_| bad())?;
        let scale = match &text[digits..] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(bad()),
        };
        number.checked_mul(scale).map(|ms| Duration(std::time::Duration::from_millis(ms))).ok_or_else(bad)
    }
}
