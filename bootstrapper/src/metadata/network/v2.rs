//! Version 2, which is netplan's own language.

use super::fields::{self, Fields, each, flag, list, milliseconds, mtu, number, word};
use super::{Kind, Link, Match, Network, Overrides, Route};
use crate::metadata::fault::Fault;
use crate::metadata::tree::Node;

/// What says how a device is to be called, waited for or woken, and changes nothing about how it is reached.
const PASSED_OVER: [&str; 6] =
    ["set-name", "optional", "optional-addresses", "critical", "wakeonlan", "dhcp-identifier"];

/// Modes of a bond, as the kernel names them.
pub(super) const MODES: [&str; 7] =
    ["balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"];
pub(super) const HASHES: [&str; 6] = ["layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"];
pub(super) const SELECTIONS: [&str; 3] = ["stable", "bandwidth", "count"];
pub(super) const RATES: [&str; 2] = ["slow", "fast"];

/// The keys beside `version`.
pub fn read(fields: &mut Fields<'_>) -> Result<Network, Fault> {
    renderer(fields)?;
    let mut links = fields.take("ethernets", |node| each(node, ethernet))?.unwrap_or_default();
    links.extend(fields.take("bonds", |node| each(node, bond))?.unwrap_or_default());
    links.extend(fields.take("vlans", |node| each(node, vlan))?.unwrap_or_default());
    Ok(Network { links })
}

fn renderer(fields: &mut Fields<'_>) -> Result<(), Fault> {
    let known = |node: &Node| {
        word(node, &["networkd"]).map_err(|_| {
            Fault::here(&node.place, "only networkd is in the image: write `networkd`, or remove this line")
        })
    };
    fields.take("renderer", known).map(drop)
}

fn ethernet(id: &str, node: &Node) -> Result<Link, Fault> {
    let mut fields = Fields::of(node)?;
    let which = match fields.take("match", which)? {
        Some(which) => which,
        None => Match { name: Some(fields::made(node, id)?), ..Match::default() },
    };
    fields.pass_over(&PASSED_OVER);
    let link = Link::new(fields::label(node, id)?, Kind::Physical(which));
    settings(link, fields)
}

fn which(node: &Node) -> Result<Match, Fault> {
    let mut fields = Fields::of(node)?;
    let found = Match {
        mac: fields.take("macaddress", fields::mac)?,
        name: fields.take("name", fields::pattern)?,
        driver: fields.take("driver", fields::pattern)?,
    };
    if found == Match::default() {
        return Err(fields.wrong("this would be every interface: write `macaddress`, `name` or `driver`"));
    }
    fields.end()?;
    Ok(found)
}

fn bond(id: &str, node: &Node) -> Result<Link, Fault> {
    let mut fields = Fields::of(node)?;
    let ports = fields.need("interfaces", |node| list(node, |node| fields::label(node, fields::text(node)?)))?;
    let (options, primary) = fields.take("parameters", parameters)?.unwrap_or_default();
    fields.pass_over(&PASSED_OVER);
    settings(Link::new(fields::made(node, id)?, Kind::Bond { ports, primary, options }), fields)
}

/// Lines of systemd.netdev(5), and the card that is used while it works.
pub(super) type Bonding = (Vec<(&'static str, String)>, Option<String>);

fn parameters(node: &Node) -> Result<Bonding, Fault> {
    let mut fields = Fields::of(node)?;
    let mut options = Vec::new();
    let mut add = |line, value: Option<String>| options.extend(value.map(|value| (line, value)));
    add("Mode", fields.take("mode", |node| word(node, &MODES))?.map(str::to_owned));
    add("LACPTransmitRate", fields.take("lacp-rate", |node| word(node, &RATES))?.map(str::to_owned));
    add("MIIMonitorSec", fields.take("mii-monitor-interval", milliseconds)?);
    add("UpDelaySec", fields.take("up-delay", milliseconds)?);
    add("DownDelaySec", fields.take("down-delay", milliseconds)?);
    add("MinLinks", fields.take("min-links", |node| number(node, 0, 64))?.map(|n| n.to_string()));
    add("TransmitHashPolicy", fields.take("transmit-hash-policy", |node| word(node, &HASHES))?.map(str::to_owned));
    add("AdSelect", fields.take("ad-select", |node| word(node, &SELECTIONS))?.map(str::to_owned));
    let primary = fields.take("primary", |node| fields::label(node, fields::text(node)?))?;
    fields.end()?;
    Ok((options, primary))
}

fn vlan(id: &str, node: &Node) -> Result<Link, Fault> {
    let mut fields = Fields::of(node)?;
    let vlan = fields.need("id", |node| number(node, 1, 4094))?;
    let over = fields.need("link", |node| fields::label(node, fields::text(node)?))?;
    fields.pass_over(&PASSED_OVER);
    let number = u16::try_from(vlan).unwrap_or_default();
    settings(Link::new(fields::made(node, id)?, Kind::Vlan { number, over }), fields)
}

/// What all kinds of interfaces have.
fn settings(mut link: Link, mut fields: Fields<'_>) -> Result<Link, Fault> {
    renderer(&mut fields)?;
    link.mac = fields.take("macaddress", fields::mac)?;
    link.mtu = fields.take("mtu", mtu)?;
    link.dhcp4 = fields.take("dhcp4", flag)?.unwrap_or_default();
    link.dhcp6 = fields.take("dhcp6", flag)?.unwrap_or_default();
    link.accept_ra = fields.take("accept-ra", flag)?;
    link.overrides = [
        fields.take("dhcp4-overrides", overrides)?.unwrap_or_default(),
        fields.take("dhcp6-overrides", overrides)?.unwrap_or_default(),
    ];
    if let Some(kinds) = fields.take("link-local", |node| list(node, |node| word(node, &["ipv4", "ipv6"])))? {
        link.link_local = ["ipv4", "ipv6"].map(|kind| kinds.contains(&kind));
    }
    link.addresses = fields.take("addresses", |node| list(node, fields::cidr))?.unwrap_or_default();
    let gateways = [fields.take("gateway4", fields::ip)?, fields.take("gateway6", fields::ip)?];
    let everywhere = |via| Route { to: None, via, metric: None, on_link: false };
    link.routes = gateways.into_iter().flatten().map(everywhere).collect();
    link.routes.extend(fields.take("routes", |node| list(node, route))?.unwrap_or_default());
    (link.dns, link.search) = fields.take("nameservers", nameservers)?.unwrap_or_default();
    fields.end()?;
    Ok(link)
}

fn overrides(node: &Node) -> Result<Overrides, Fault> {
    let mut fields = Fields::of(node)?;
    fields.pass_over(&["use-hostname", "send-hostname", "use-domains"]);
    let found = Overrides {
        use_dns: fields.take("use-dns", flag)?,
        use_ntp: fields.take("use-ntp", flag)?,
        use_routes: fields.take("use-routes", flag)?,
        use_mtu: fields.take("use-mtu", flag)?,
        route_metric: fields.take("route-metric", |node| number(node, 0, u32::MAX))?,
    };
    fields.end()?;
    Ok(found)
}

fn route(node: &Node) -> Result<Route, Fault> {
    let mut fields = Fields::of(node)?;
    let to = fields.need("to", fields::destination)?;
    let via = fields.need("via", fields::ip)?;
    let metric = fields.take("metric", |node| number(node, 0, u32::MAX))?;
    let on_link = fields.take("on-link", flag)?.unwrap_or_default();
    if to.is_some_and(|to| to.ip.is_ipv4() != via.is_ipv4()) {
        return Err(fields.wrong("`to` and `via` are of IPv4 and IPv6: write both of one"));
    }
    fields.end()?;
    Ok(Route { to, via, metric, on_link })
}

fn nameservers(node: &Node) -> Result<(Vec<std::net::IpAddr>, Vec<String>), Fault> {
    let mut fields = Fields::of(node)?;
    let addresses = fields.take("addresses", |node| list(node, fields::ip))?.unwrap_or_default();
    let search = fields.take("search", |node| list(node, fields::domain))?.unwrap_or_default();
    fields.end()?;
    Ok((addresses, search))
}
