//! What a platform says of the machine that it launched, and what of that is our configuration.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::document::bad_input;
use super::fault::Fault;
use super::files;
use super::layers::{Piece, Tier};
use super::nocloud::{Content, Instance, is_hostname};
use super::providers::Provider;
use super::scalars::{self, Word};
use super::tree::Place;
use super::user_data;
use super::yaml::Origin;
use crate::exit::Exit;

/// What a tag's key begins with when its value is one of our spec's.
pub const TAG: &str = "etcd-bootstrapper:";

/// Characters of an instance ID; those of all providers are shorter.
const INSTANCE_ID: usize = 255;

/// Linux takes no longer name of a host, bytes.
const HOSTNAME: usize = 64;

/// What Linux takes of a name, without its last dot: all of it, or its first part where it is too long; nothing of what can
/// name no host.
pub fn bearable(name: &str) -> Option<&str> {
    let name = name.trim_end_matches('.');
    let name = if name.len() > HOSTNAME { name.split('.').next().unwrap_or_default() } else { name };
    (name.len() <= HOSTNAME && is_hostname(name)).then_some(name)
}

/// Bytes that may hold a secret: they have no Debug, and are kept as base64.
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Bytes).map_err(|_| serde::de::Error::custom("not base64"))
    }
}

/// The group of machines that launched this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// An EC2 Auto Scaling group's name.
    AutoScaling(String),
    /// A managed instance group of Compute Engine: `projects/…/instanceGroupManagers/NAME`.
    ManagedInstances(String),
    /// A virtual machine scale set of Azure.
    ScaleSet {
        /// Its name.
        name: String,
        /// The resource group.
        resource_group: String,
        /// The subscription's ID.
        subscription: String,
    },
}

/// A machine, by the word of whoever launched it. No Debug: it holds user-data.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The platform.
    pub provider: Provider,
    /// What it calls the machine.
    pub instance_id: String,
    /// The name that it gives to it.
    pub hostname: Option<String>,
    /// Its addresses in its own network.
    pub addresses: Vec<IpAddr>,
    /// Where in the region it is.
    pub zone: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// Tags, labels or metadata of its owner.
    pub tags: BTreeMap<String, String>,
    /// Who launched it, when that is a group.
    pub group: Option<Group>,
    /// What its owner handed to it.
    pub user_data: Option<Bytes>,
    /// Bytes of what the platform's operator handed to it; never read.
    pub vendor_data: Option<usize>,
    /// A key of the provider's that is ours alone, and its value.
    pub own: Option<(String, Bytes)>,
    /// What the firmware says too, where the two can be compared.
    #[serde(skip)]
    pub firmware_says: Option<String>,
}

impl Machine {
    /// A machine of which only the ID is known.
    ///
    /// # Errors
    /// 65 when there is none, or it can be none.
    pub fn of(provider: Provider, instance_id: Option<String>) -> Result<Machine> {
        let bad = |why: &str| {
            Exit::BadInput
                .because(format!("the metadata service of {provider} gives no instance ID that can be used: {why}"))
        };
        let instance_id = instance_id.ok_or_else(|| bad("there is none in its document"))?;
        if instance_id.is_empty() || instance_id.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(bad("it is empty or has a blank or a control character in it"));
        }
        if instance_id.chars().count() > INSTANCE_ID {
            return Err(bad("it is longer than 255 characters"));
        }
        Ok(Machine {
            provider,
            instance_id,
            hostname: None,
            addresses: Vec::new(),
            zone: None,
            region: None,
            tags: BTreeMap::new(),
            group: None,
            user_data: None,
            vendor_data: None,
            own: None,
            firmware_says: None,
        })
    }

    /// Takes the first of the names, without its last dot; one too long for Linux loses its domain, one that is none is
    /// passed over.
    pub fn named(&mut self, names: Option<&str>) {
        let name = names.unwrap_or_default().split_whitespace().next().unwrap_or_default();
        self.hostname = bearable(name).map(str::to_owned);
    }

    /// Adds an address, if it is one; a network's length behind it is left away.
    pub fn reached_at(&mut self, address: Option<&str>) {
        let address = address.unwrap_or_default().split('/').next().unwrap_or_default().parse();
        let new = |ip: &IpAddr| !ip.is_unspecified() && !self.addresses.contains(ip);
        if let Some(address) = address.ok().filter(new) {
            self.addresses.push(address);
        }
    }

    /// Takes user-data; what is empty or blank is none.
    pub fn handed(&mut self, user_data: Option<Vec<u8>>) {
        self.user_data = user_data.filter(|bytes| !bytes.trim_ascii().is_empty()).map(Bytes);
    }

    /// The source of a value that it carries, for a person.
    pub(super) fn source(&self, what: &str) -> String {
        format!("{what} of {} {}", self.provider, self.instance_id)
    }

    /// Whether a value came from it.
    pub fn carries(&self, place: &Place) -> bool {
        place.source.contains(&self.source(""))
    }

    /// What of it is our configuration, and why something is not.
    ///
    /// # Errors
    /// 65 for what is certainly meant for us and wrong.
    pub fn content(&self) -> Result<Content> {
        self.interpret().map_err(|fault| bad_input(&[fault]))
    }

    /// The same where cloud-init has read the user-data: it reads none of the tags, and no key of ours.
    ///
    /// # Errors
    /// As [`Machine::content`].
    pub fn beside_user_data(&self) -> Result<Content> {
        let content = Machine { user_data: None, ..self.clone() }.content()?;
        // That there is no user-data is no news then.
        Ok(Content { notes: Vec::new(), ..content })
    }

    fn interpret(&self) -> Result<Content, Fault> {
        let instance = Instance { id: Some(self.instance_id.clone()), hostname: self.hostname.clone() };
        let mut content = Content { instance, ..Content::default() };
        let word = |(key, value): (&String, &String)| {
            let place = Origin::whole(&self.source(&format!("tag {key}"))).place(1, 1);
            Some(Word { key: key.strip_prefix(TAG)?.to_owned(), value: value.clone(), place })
        };
        let tagged = scalars::tree(self.tags.iter().filter_map(word).collect())?;
        content.pieces.extend(tagged.map(|tree| Piece { tier: Tier::Tags, whole: false, tree }));
        if let Some((key, Bytes(bytes))) = &self.own {
            let tree = files::parse(bytes, &self.source(key), true)?;
            content.pieces.extend(tree.map(|tree| Piece { tier: Tier::ProviderKey, whole: true, tree }));
        }
        let source = self.source("user-data");
        let Some(Bytes(bytes)) = &self.user_data else {
            if content.pieces.is_empty() {
                content.notes.push(format!("{} {} was launched without user-data", self.provider, self.instance_id));
            }
            return Ok(content);
        };
        let found = user_data::read(bytes, &source)?;
        if found.parts.is_empty() && found.notes.is_empty() {
            content.notes.push(format!("{source} has no configuration of ours"));
        }
        content.notes.extend(found.notes.iter().map(|note| format!("{source} {note}")));
        content.handed = found.handed;
        let piece = |part: user_data::Part| Piece { tier: Tier::UserData, whole: part.whole, tree: part.tree };
        content.pieces.extend(found.parts.into_iter().map(piece));
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine::of(Provider::Ec2, Some("i-1".into())).unwrap()
    }

    #[test]
    fn a_host_takes_the_first_name_that_it_can_bear() {
        let long = format!("{}.c.project.internal", "a".repeat(60));
        for (given, expected) in [
            (Some("ip-10-0-0-5.ec2.internal"), Some("ip-10-0-0-5.ec2.internal")),
            (Some("one.example. two.example."), Some("one.example")),
            (Some(long.as_str()), Some(&long[..60])),
            (Some("under_score"), None),
            (Some(" "), None),
            (None, None),
        ] {
            let mut machine = machine();
            machine.named(given);
            assert_eq!(machine.hostname.as_deref(), expected, "{given:?}");
        }
    }

    #[test]
    fn a_tag_is_one_value_of_the_spec() {
        let at = |key: &str, value: &str| {
            let mut machine = machine();
            machine.tags.insert(format!("{TAG}{key}"), value.into());
            machine.content().map(|content| content.pieces[0].tree.to_json().to_string())
        };
        assert_eq!(at("cluster.size", "3").unwrap(), r#"{"cluster":{"size":3}}"#);
        assert_eq!(at("cluster.name", "prod").unwrap(), r#"{"cluster":{"name":"prod"}}"#);
        assert_eq!(at("mode", &"m".repeat(256)).unwrap(), format!(r#"{{"mode":"{}"}}"#, "m".repeat(256)));
        for (key, value) in [("peers", "[a]"), ("", "x"), ("a..b", "x"), ("cluster", "a: b"), ("tls.ca.key", "x")] {
            let error = at(key, value).expect_err("refused");
            assert_eq!(Exit::of(&error), Exit::BadInput, "{key} {value}");
        }
        let mut other = machine();
        other.tags.insert("Etcd-Bootstrapper:mode".into(), "join".into());
        assert!(other.content().unwrap().pieces.is_empty(), "keys of tags are case-sensitive");
    }

    #[test]
    fn what_cannot_be_an_instance_id_is_bad_input() {
        for id in [None, Some(""), Some("a b"), Some("a\nb"), Some(&*"x".repeat(256))] {
            let error = Machine::of(Provider::Hetzner, id.map(str::to_owned)).map(drop).expect_err("refused");
            assert_eq!(Exit::of(&error), Exit::BadInput, "{id:?}");
        }
    }
}
