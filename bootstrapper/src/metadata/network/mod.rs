//! The network of a site, as NoCloud's `network-config` says it in either of its versions, for machines whose network has
//! no DHCP. What is not supported is refused by name: half a network is worse than a message.
//!
//! Sources: cloud-init's "Networking config Version 1" and "Version 2", and netplan's YAML reference.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use super::document::bad_input;
use super::fault::Fault;
use super::text;
use super::tree::Node;
use super::yaml::{self, Dialect, Origin};
use fields::Fields;

mod fields;
mod render;
mod v1;
mod v2;

pub use render::{FILES, OF_THE_IMAGE, render};

/// `network-config` as it was found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Told {
    /// For a person: the file and its volume.
    pub source: String,
    /// All of it; `None` where the volume is there without it.
    pub text: Option<String>,
}

/// The interfaces that a site has something to say of; without any, the image's own settings hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// In the order of the text.
    pub links: Vec<Link>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What the text calls it.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// The address of the card that it takes, in place of its own.
    pub mac: Option<String>,
    /// Bytes.
    pub mtu: Option<u32>,
    /// Whether it asks for an IPv4 address.
    pub dhcp4: bool,
    /// Whether it asks for an IPv6 address.
    pub dhcp6: bool,
    /// Whether it listens to routers; `None` leaves it to the system.
    pub accept_ra: Option<bool>,
    /// Whether it has link-local addresses of IPv4 and IPv6.
    pub link_local: [bool; 2],
    /// What is taken of an answer by DHCP, for IPv4 and IPv6.
    pub overrides: [Overrides; 2],
    /// Its own addresses.
    pub addresses: Vec<Cidr>,
    /// Its routes.
    pub routes: Vec<Route>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Domains that names are looked for in.
    pub search: Vec<String>,
}

/// What an interface is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A card.
    Physical(Match),
    /// Several cards as one.
    Bond {
        /// The IDs of the cards.
        ports: Vec<String>,
        /// The one that is used while it works.
        primary: Option<String>,
        /// Lines of systemd.netdev(5).
        options: Vec<(&'static str, String)>,
    },
    /// A VLAN.
    Vlan {
        /// Its number.
        number: u16,
        /// The ID of the interface below it.
        over: String,
    },
}

/// How a card is told from others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// By its address.
    pub mac: Option<String>,
    /// By its name; with wildcards.
    pub name: Option<String>,
    /// By its driver.
    pub driver: Option<String>,
}

/// What is taken of an answer by DHCP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    use_dns: Option<bool>,
    use_ntp: Option<bool>,
    use_routes: Option<bool>,
    use_mtu: Option<bool>,
    route_metric: Option<u32>,
}

/// An address and the length of its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// The address.
    pub ip: IpAddr,
    /// Bits.
    pub length: u8,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads; everywhere without it.
    pub to: Option<Cidr>,
    /// Through whom.
    pub via: IpAddr,
    /// Among several, the lowest is taken.
    pub metric: Option<u32>,
    /// Whether the router is on the link though its address is in no network of it.
    pub on_link: bool,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.length)
    }
}

impl Cidr {
    /// An address alone is a network of its own.
    pub fn parse(text: &str) -> Option<Cidr> {
        let (ip, length) = text.split_once('/').map_or((text, None), |(ip, length)| (ip, Some(length)));
        let ip: IpAddr = ip.parse().ok()?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Some(most), |length| length.parse().ok())?;
        (length <= most).then_some(Cidr { ip, length })
    }

    fn contains(self, other: IpAddr) -> bool {
        let bits = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => (u128::from(ip.to_bits()), 32),
            IpAddr::V6(ip) => (ip.to_bits(), 128),
        };
        let ((own, size), (other, other_size)) = (bits(self.ip), bits(other));
        size == other_size && (own ^ other).checked_shr(size - u32::from(self.length)).unwrap_or(0) == 0
    }

    /// Whether it stands for all addresses.
    fn is_everything(self) -> bool {
        self.length == 0 && matches!(self.ip, IpAddr::V4(Ipv4Addr::UNSPECIFIED) | IpAddr::V6(Ipv6Addr::UNSPECIFIED))
    }
}

impl Link {
    fn new(id: String, kind: Kind) -> Link {
        Link {
            id,
            kind,
            mac: None,
            mtu: None,
            dhcp4: false,
            dhcp6: false,
            accept_ra: None,
            link_local: [false, true],
            overrides: <[Overrides; 2]>::default(),
            addresses: Vec::new(),
            routes: Vec::new(),
            dns: Vec::new(),
            search: Vec::new(),
        }
    }
}

/// Reads `network-config`; without a text, or where it says `disabled`, there is nothing to say.
///
/// # Errors
/// 65 for what is wrong or not supported, with its place.
pub fn parse(told: &Told) -> Result<Network> {
    let Some(text) = &told.text else { return Ok(Network::default()) };
    read(text.as_bytes(), &told.source).map_err(|fault| bad_input(&[fault]))
}

pub(super) fn read(bytes: &[u8], source: &str) -> Result<Network, Fault> {
    let origin = Origin::whole(source);
    let text = text::decode(bytes, &origin, text::LIMIT)?;
    text::refuse_control_characters(text, &origin)?;
    let Some(tree) = yaml::read(text, &origin, Dialect::Ours)?.filter(|tree| !tree.is_nothing()) else {
        return Ok(Network::default());
    };
    // Netplan has all of it under one key, and cloud-init reads both.
    if tree.get("network").is_none() {
        return network(&tree);
    }
    let mut outer = Fields::of(&tree)?;
    let found = outer.take("network", network)?.unwrap_or_default();
    outer.end()?;
    Ok(found)
}

fn network(node: &Node) -> Result<Network, Fault> {
    let mut fields = Fields::of(node)?;
    if node.get("config").and_then(Node::text) == Some("disabled") {
        return Ok(Network::default());
    }
    let network = match fields.need("version", |node| fields::number(node, 1, 2))? {
        1 => v1::read(&mut fields)?,
        _ => v2::read(&mut fields)?,
    };
    fields.end()?;
    network.check(node)?;
    Ok(network)
}

impl Network {
    /// What only shows when all of it is known.
    fn check(&self, node: &Node) -> Result<(), Fault> {
        let wrong = |link: &Link, why: String| Err(Fault::here(&node.place, format!("{}: {why}", link.id)));
        for (i, link) in self.links.iter().enumerate() {
            if self.links[..i].iter().any(|other| other.id == link.id) {
                return wrong(link, "there are two interfaces of this name: keep one".into());
            }
            for other in link.below() {
                if !self.links.iter().any(|link| link.id == *other) {
                    return wrong(link, format!("it is made of {other}, of which nothing is said: add it"));
                }
                if *other == link.id {
                    return wrong(link, "it is made of itself: name the interface below it".into());
                }
            }
            if let Kind::Bond { ports, primary: Some(primary), .. } = &link.kind
                && !ports.contains(primary)
            {
                return wrong(link, format!("its primary {primary} is not among its interfaces: add it there"));
            }
            let holders = self.links.iter().filter(|other| other.is_bond() && other.below().contains(&link.id));
            if holders.count() > 1 {
                return wrong(link, "it is in two bonds: leave it in one".into());
            }
            if self.is_port(link) && (link.dhcp4 || link.dhcp6 || !link.addresses.is_empty()) {
                return wrong(link, "it is part of a bond and has addresses of its own: give them to the bond".into());
            }
            let asks = |route: &&Route| if route.via.is_ipv4() { link.dhcp4 } else { link.dhcp6 };
            for route in link.routes.iter().filter(|route| !route.on_link && !asks(route) && !is_near(route.via)) {
                if !link.addresses.iter().any(|own| own.contains(route.via)) {
                    let via = route.via;
                    let why =
                        format!("the router {via} is in none of its networks: correct it, or write `on-link: true`");
                    return wrong(link, why);
                }
            }
        }
        Ok(())
    }

    /// Whether it is one of several cards that are used as one.
    fn is_port(&self, link: &Link) -> bool {
        self.links.iter().any(|other| other.is_bond() && other.below().contains(&link.id))
    }

    /// Those of its cards that no interface of this machine is, each with how it would be told; interfaces by name and
    /// address.
    pub fn absent<'n>(&'n self, there: &[(String, String)]) -> Vec<&'n Link> {
        let is_there = |link: &&Link| match &link.kind {
            Kind::Physical(Match { mac: Some(mac), .. }) => there.iter().any(|(_, own)| own.eq_ignore_ascii_case(mac)),
            Kind::Physical(Match { name: Some(name), .. }) if !name.contains(['*', '?', '[']) => {
                there.iter().any(|(own, _)| own == name)
            }
            // Wildcards and drivers are the system's to judge.
            Kind::Physical(_) | Kind::Bond { .. } | Kind::Vlan { .. } => true,
        };
        self.links.iter().filter(|link| !is_there(link)).collect()
    }
}

impl Link {
    /// The IDs of those that it is made of.
    fn below(&self) -> &[String] {
        match &self.kind {
            Kind::Physical(_) => &[],
            Kind::Bond { ports, .. } => ports,
            Kind::Vlan { over, .. } => std::slice::from_ref(over),
        }
    }

    fn is_bond(&self) -> bool {
        match self.kind {
            Kind::Bond { .. } => true,
            Kind::Physical(_) | Kind::Vlan { .. } => false,
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        match &self.kind {
            Kind::Physical(Match { mac: Some(mac), .. }) => write!(f, " with the address {mac}"),
            Kind::Physical(_) | Kind::Bond { .. } | Kind::Vlan { .. } => Ok(()),
        }
    }
}

/// Whether a router is on the link by its very address.
fn is_near(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}
