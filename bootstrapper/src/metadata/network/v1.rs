//! Version 1: a list of interfaces, name servers and routes.

use std::net::{IpAddr, Ipv4Addr};

use super::fields::{self, Fields, list, milliseconds, mtu, number, some, text, word};
use super::v2::{Bonding, HASHES, MODES, RATES, SELECTIONS};
use super::{Cidr, Kind, Link, Match, Network, Route};
use crate::metadata::fault::Fault;
use crate::metadata::tree::Node;

/// An entry of the list.
enum Entry {
    Interface(Box<Link>),
    Names { of: Option<String>, dns: Vec<IpAddr>, search: Vec<String> },
    Route(Route),
    Nothing,
}

/// The keys beside `version`.
pub fn read<'n>(fields: &mut Fields<'n>) -> Result<Network, Fault> {
    let (mut network, mut names, mut routes) = (Network::default(), Vec::new(), Vec::new());
    let mut at = 0;
    let mut sort = |node: &'n Node| -> Result<(), Fault> {
        at += 1;
        match entry(node)? {
            Entry::Interface(link) => network.links.push(*link),
            Entry::Names { of, dns, search } => names.push((node, at - 1, of, dns, search)),
            Entry::Route(route) => routes.push((node, at - 1, route)),
            Entry::Nothing => {}
        }
        Ok(())
    };
    fields.need("config", |node| list(node, &mut sort))?;
    for (node, at, of, dns, search) in names {
        if let Some(of) = of.as_ref().filter(|of| network.links.iter().all(|link| link.id != **of)) {
            return Err(Fault::here(&node.place, format!("{of}: of this interface nothing is said: add it"))
                .in_item(at)
                .under("config"));
        }
        // They are the machine's; those who speak to nobody have no use for them.
        let theirs = |link: &&mut Link| of.as_ref().map_or(link.is_reachable(), |of| link.id == *of);
        for link in network.links.iter_mut().filter(theirs) {
            link.dns.extend(&dns);
            link.search.extend(search.iter().cloned());
        }
    }
    for (node, at, route) in routes {
        let near = |link: &&mut Link| link.addresses.iter().any(|own| own.contains(route.via));
        let Some(link) = network.links.iter_mut().find(near) else {
            let why = format!("the gateway {} is in no network of any interface: correct it", route.via);
            return Err(Fault::here(&node.place, why).in_item(at).under("config"));
        };
        link.routes.push(route);
    }
    Ok(network)
}

impl Link {
    fn is_reachable(&self) -> bool {
        self.dhcp4 || self.dhcp6 || !self.addresses.is_empty()
    }
}

fn entry(node: &Node) -> Result<Entry, Fault> {
    let mut fields = Fields::of(node)?;
    let known = ["physical", "bond", "vlan", "nameserver", "route", "loopback"];
    let not_supported = |node: &Node| {
        let known = known.map(|kind| format!("`{kind}`")).join(", ");
        let why = format!("this type is not supported by the image without cloud-init, which reads {known}");
        Fault::here(&node.place, why)
    };
    let kind = fields.need("type", |node| word(node, &known).map_err(|_| not_supported(node)))?;
    match kind {
        "nameserver" => {
            let dns = fields.need("address", |node| some(node, fields::ip))?;
            let search = fields.take("search", |node| some(node, fields::domain))?.unwrap_or_default();
            let of = fields.take("interface", fields::name)?;
            fields.end()?;
            Ok(Entry::Names { of, dns, search })
        }
        "route" => {
            fields.pass_over(&["id"]);
            route(fields).map(Entry::Route)
        }
        "loopback" => Ok(Entry::Nothing),
        kind => interface(kind, node, fields).map(Box::new).map(Entry::Interface),
    }
}

fn interface(kind: &str, node: &Node, mut fields: Fields<'_>) -> Result<Link, Fault> {
    let name = fields.need("name", fields::name)?;
    let mac = fields.take("mac_address", fields::mac)?;
    let (kind, own_mac) = match kind {
        "bond" => {
            let ports = fields.need("bond_interfaces", |node| list(node, fields::name))?;
            let (options, primary) = fields.take("params", parameters)?.unwrap_or_default();
            (Kind::Bond { ports, primary, options }, mac)
        }
        "vlan" => {
            let number = fields.need("vlan_id", |node| number(node, 1, 4094))?;
            let over = fields.need("vlan_link", fields::name)?;
            (Kind::Vlan { number: u16::try_from(number).unwrap_or_default(), over }, mac)
        }
        _ => {
            // The name is what it is to be called; which one it is, is told by the address.
            let by_name = mac.is_none().then(|| name.clone());
            (Kind::Physical(Match { mac, name: by_name, driver: None }), None)
        }
    };
    fields.pass_over(&["wakeonlan", "keep_configuration", "optional"]);
    let mut link = Link { mac: own_mac, mtu: fields.take("mtu", mtu)?, ..Link::new(name, kind) };
    link.accept_ra = fields.take("accept-ra", fields::flag)?;
    fields.take("subnets", |node| list(node, |node| subnet(node, &mut link)))?;
    fields.end().map_err(|fault| fault.at(&node.place))?;
    Ok(link)
}

fn parameters(node: &Node) -> Result<Bonding, Fault> {
    let mut fields = Fields::of(node)?;
    let mut options = Vec::new();
    let mut add = |line, value: Option<String>| options.extend(value.map(|value| (line, value)));
    add("Mode", fields.take("bond-mode", mode)?.map(str::to_owned));
    add("LACPTransmitRate", fields.take("bond-lacp-rate", |node| word(node, &RATES))?.map(str::to_owned));
    add("MIIMonitorSec", fields.take("bond-miimon", milliseconds)?);
    add("UpDelaySec", fields.take("bond-updelay", milliseconds)?);
    add("DownDelaySec", fields.take("bond-downdelay", milliseconds)?);
    add("MinLinks", fields.take("bond-min-links", |node| number(node, 0, 64))?.map(|n| n.to_string()));
    for key in ["bond-xmit-hash-policy", "bond-xmit_hash_policy"] {
        add("TransmitHashPolicy", fields.take(key, |node| word(node, &HASHES))?.map(str::to_owned));
    }
    add("AdSelect", fields.take("bond-ad-select", |node| word(node, &SELECTIONS))?.map(str::to_owned));
    let primary = fields.take("bond-primary", fields::name)?;
    fields.end()?;
    Ok((options, primary))
}

/// The kernel's number of a mode will do.
fn mode(node: &Node) -> Result<&'static str, Fault> {
    let by_number = node.text().and_then(|text| text.parse::<usize>().ok()).and_then(|n| MODES.get(n).copied());
    by_number.map_or_else(|| word(node, &MODES), Ok)
}

const SUBNETS: [&str; 10] = [
    "static",
    "static6",
    "dhcp",
    "dhcp4",
    "dhcp6",
    "manual",
    "ipv6_slaac",
    "ipv6_dhcpv6-stateless",
    "ipv6_dhcpv6-stateful",
    "loopback",
];

fn subnet(node: &Node, link: &mut Link) -> Result<(), Fault> {
    let mut fields = Fields::of(node)?;
    fields.take("control", |node| word(node, &["auto"]))?;
    fields.pass_over(&["ipv4", "ipv6", "broadcast"]);
    match fields.need("type", |node| word(node, &SUBNETS))? {
        "static" | "static6" => {
            let text = fields.need("address", |node| text(node).map(|text| (node, text)))?;
            let length = fields.take("netmask", netmask)?;
            link.addresses.push(address(text.0, text.1, length)?);
        }
        "dhcp" | "dhcp4" => link.dhcp4 = true,
        "dhcp6" | "ipv6_dhcpv6-stateful" => link.dhcp6 = true,
        "ipv6_slaac" | "ipv6_dhcpv6-stateless" => link.accept_ra = Some(true),
        _ => {}
    }
    let metric = fields.take("metric", |node| number(node, 0, u32::MAX))?;
    if let Some(via) = fields.take("gateway", fields::ip)? {
        link.routes.push(Route { to: None, via, metric, on_link: false });
    }
    link.dns.extend(fields.take("dns_nameservers", |node| some(node, fields::ip))?.unwrap_or_default());
    link.search.extend(fields.take("dns_search", |node| some(node, fields::domain))?.unwrap_or_default());
    link.routes.extend(fields.take("routes", |node| list(node, |node| route(Fields::of(node)?)))?.unwrap_or_default());
    fields.end()
}

fn route(mut fields: Fields<'_>) -> Result<Route, Fault> {
    let by_network = fields.take("network", text)?;
    let target = match (by_network, fields.take("destination", text)?) {
        (Some(target), None) | (None, Some(target)) => target,
        (None, None) | (Some(_), Some(_)) => return Err(fields.wrong("write one of `network` and `destination`")),
    };
    let mask = fields.take("netmask", netmask)?;
    let prefix = fields.take("prefix", |node| number(node, 0, 128))?.and_then(|length| u8::try_from(length).ok());
    let via = fields.need("gateway", fields::ip)?;
    let metric = fields.take("metric", |node| number(node, 0, u32::MAX))?;
    let bad = || fields.wrong("the network of the route is none: write it as 10.1.0.0/16");
    let to = match target {
        "default" => None,
        target => {
            let to = Cidr::parse(target).ok_or_else(bad)?;
            let length = mask.or(prefix).filter(|_| !target.contains('/')).unwrap_or(to.length);
            let to = Cidr { length, ..to };
            if length > 32 && to.ip.is_ipv4() {
                return Err(bad());
            }
            (!to.is_everything()).then_some(to)
        }
    };
    if to.is_some_and(|to| to.ip.is_ipv4() != via.is_ipv4()) {
        return Err(fields.wrong("network and gateway are of IPv4 and IPv6: write both of one"));
    }
    fields.end()?;
    Ok(Route { to, via, metric, on_link: false })
}

/// The length of a network, as a number or as a mask.
fn netmask(node: &Node) -> Result<u8, Fault> {
    let given = text(node)?;
    let length = given.parse::<u8>().ok().filter(|length| *length <= 128);
    let mask = given.parse::<Ipv4Addr>().ok().map(Ipv4Addr::to_bits);
    let whole = mask.filter(|mask| mask.leading_ones() + mask.trailing_zeros() == 32);
    length
        .or_else(|| whole.and_then(|mask| u8::try_from(mask.leading_ones()).ok()))
        .ok_or_else(|| Fault::here(&node.place, "expected a mask, such as 255.255.255.0 or 24"))
}

fn address(node: &Node, text: &str, mask: Option<u8>) -> Result<Cidr, Fault> {
    let wrong = |why: &str| Fault::here(&node.place, why.to_owned()).under("address");
    let cidr = Cidr::parse(text).ok_or_else(|| wrong("expected an address, such as 10.0.0.11/24"))?;
    match (text.contains('/'), mask) {
        (true, _) => Ok(cidr),
        (false, Some(length)) if length <= 32 || cidr.ip.is_ipv6() => Ok(Cidr { length, ..cidr }),
        (false, _) => Err(wrong("its network is not known: write the length behind it, such as 10.0.0.11/24")),
    }
}
