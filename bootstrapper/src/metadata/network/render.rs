//! The files of systemd-networkd for a network: systemd.network(5), systemd.netdev(5).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use super::{Kind, Link, Match, Network, Overrides};

/// What all of them begin with; before the image's own.
pub const FILES: &str = "10-site-";

/// The image's own settings, which are not for a machine of which somebody has said which interfaces it has.
pub const OF_THE_IMAGE: &str = "80-dhcp.network";

/// Files by their names; empty where nothing is said. An empty file takes the image's own out.
pub fn render(network: &Network) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for link in &network.links {
        // A name of netplan's may have a colon.
        let base = format!("{FILES}{}", link.id.replace(':', "-"));
        if let Some(device) = device(link) {
            files.insert(format!("{base}.netdev"), device);
        }
        files.insert(format!("{base}.network"), settings(network, link));
    }
    if !files.is_empty() {
        files.insert(OF_THE_IMAGE.to_owned(), String::new());
    }
    files
}

/// The interface that is to be made, where it is none of the machine's.
fn device(link: &Link) -> Option<String> {
    let mut text = format!("[NetDev]\nName={}\n", link.id);
    match &link.kind {
        Kind::Physical(_) => return None,
        Kind::Bond { options, .. } => {
            text += "Kind=bond\n";
            setting(&mut text, "MACAddress", link.mac.as_ref());
            setting(&mut text, "MTUBytes", link.mtu.as_ref());
            text += "\n[Bond]\n";
            for (key, value) in options {
                setting(&mut text, key, Some(value));
            }
            // Without it the kernel never looks whether a cable is in.
            if !options.iter().any(|(key, _)| *key == "MIIMonitorSec") {
                text += "MIIMonitorSec=100ms\n";
            }
        }
        Kind::Vlan { number, .. } => {
            text += "Kind=vlan\n";
            setting(&mut text, "MACAddress", link.mac.as_ref());
            setting(&mut text, "MTUBytes", link.mtu.as_ref());
            text += "\n[VLAN]\n";
            setting(&mut text, "Id", Some(number));
        }
    }
    Some(text)
}

fn settings(network: &Network, link: &Link) -> String {
    let is_port = network.is_port(link);
    let mut text = "[Match]\n".to_owned();
    match &link.kind {
        Kind::Physical(Match { mac, name, driver }) => {
            // A bond gives its own address to its cards, and a VLAN has the one of what is below it.
            setting(&mut text, if is_port { "PermanentMACAddress" } else { "MACAddress" }, mac.as_ref());
            setting(&mut text, "Name", name.as_ref());
            setting(&mut text, "Driver", driver.as_ref());
            text += "Type=ether\nKind=!*\n";
            if link.mac.is_some() || link.mtu.is_some() {
                text += "\n[Link]\n";
                setting(&mut text, "MACAddress", link.mac.as_ref());
                setting(&mut text, "MTUBytes", link.mtu.as_ref());
            }
        }
        Kind::Bond { .. } | Kind::Vlan { .. } => setting(&mut text, "Name", Some(&link.id)),
    }
    text += "\n[Network]\n";
    for other in network.links.iter().filter(|other| other.below().contains(&link.id)) {
        match &other.kind {
            Kind::Bond { primary, .. } => {
                setting(&mut text, "Bond", Some(&other.id));
                if primary.as_ref() == Some(&link.id) {
                    text += "PrimarySlave=yes\n";
                }
            }
            Kind::Vlan { .. } => setting(&mut text, "VLAN", Some(&other.id)),
            Kind::Physical(_) => {}
        }
    }
    if is_port {
        text += "LinkLocalAddressing=no\n";
        return text;
    }
    addresses(&mut text, link);
    text
}

fn addresses(text: &mut String, link: &Link) {
    let yes_no = |yes: bool| if yes { "yes" } else { "no" };
    let dhcp = match (link.dhcp4, link.dhcp6) {
        (true, true) => "yes",
        (true, false) => "ipv4",
        (false, true) => "ipv6",
        (false, false) => "no",
    };
    setting(text, "DHCP", Some(&dhcp));
    let local = match link.link_local {
        [true, true] => "yes",
        [true, false] => "ipv4",
        [false, true] => "ipv6",
        [false, false] => "no",
    };
    setting(text, "LinkLocalAddressing", Some(&local));
    setting(text, "IPv6AcceptRA", link.accept_ra.map(yes_no).as_ref());
    for address in &link.addresses {
        setting(text, "Address", Some(address));
    }
    for server in &link.dns {
        setting(text, "DNS", Some(server));
    }
    if !link.search.is_empty() {
        setting(text, "Domains", Some(&link.search.join(" ")));
    }
    *text += "LLMNR=no\nMulticastDNS=no\n";
    for route in &link.routes {
        *text += "\n[Route]\n";
        setting(text, "Destination", route.to.as_ref());
        // Where it leads everywhere, its router tells the family.
        setting(text, "Gateway", Some(&route.via));
        setting(text, "Metric", route.metric.as_ref());
        if route.on_link {
            *text += "GatewayOnLink=yes\n";
        }
    }
    let [four, six] = &link.overrides;
    if link.dhcp4 {
        // The address follows the card. Cheap boards share a firmware UUID, and would then share one lease.
        *text += "\n[DHCPv4]\nClientIdentifier=mac\n";
        overrides(text, four, IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
    }
    if link.dhcp6 && *six != Overrides::default() {
        *text += "\n[DHCPv6]\n";
        overrides(text, six, IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED));
    }
}

fn overrides(text: &mut String, over: &Overrides, family: IpAddr) {
    let yes_no = |yes: bool| if yes { "yes" } else { "no" };
    setting(text, "UseDNS", over.use_dns.map(yes_no).as_ref());
    setting(text, "UseNTP", over.use_ntp.map(yes_no).as_ref());
    // DHCP of IPv6 brings addresses; routes, their metric and the size of packets come from routers.
    if family.is_ipv4() {
        setting(text, "UseRoutes", over.use_routes.map(yes_no).as_ref());
        setting(text, "UseMTU", over.use_mtu.map(yes_no).as_ref());
        setting(text, "RouteMetric", over.route_metric.as_ref());
    }
}

fn setting<T: std::fmt::Display + ?Sized>(text: &mut String, key: &str, value: Option<&T>) {
    if let Some(value) = value {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{key}={value}");
    }
}
