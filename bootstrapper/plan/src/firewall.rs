//! `firewall:` — who may reach this host's etcd, as a ruleset of nftables that lets nobody reach anything else.

use std::collections::BTreeSet;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::cidr::Cidr;
use crate::document::PeerEntry;
use crate::spec::Problem;

/// `firewall:`; without it, every address may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firewall {
    /// Who may reach the client port, and those of metrics and of HTTP apart from gRPC; only with `peers`.
    #[serde(default)]
    pub clients: Option<Vec<Range>>,
    /// Who may reach the peer port, and the client port, where members ask each other for their list.
    #[serde(default)]
    pub peers: Option<Vec<Range>>,
}

/// A network, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range(Cidr);

/// The ports of this host that are reached from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Of etcd's clients.
    pub client: u16,
    /// Of peers, where a host answers before it has an etcd as well.
    pub peer: u16,
    /// Of etcd's metrics, and of HTTP apart from gRPC.
    pub more: Vec<u16>,
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network = text.parse().map_or_else(|_| text.parse(), |address| Ok(Cidr::of(address)))?;
        let written = network.canonical();
        // Bits that do not count are a slip of the one or of the other number.
        if written == network {
            Ok(Range(network))
        } else {
            Err(format!("{text:?} is an address inside a network: write {written}"))
        }
    }
}

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

/// What no cluster could be with: members that could not reach each other, or nobody who could reach anything.
pub(crate) fn check(firewall: &Firewall, peers: &[PeerEntry]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |path: &str, message: String| problems.push(Problem { path: path.to_owned(), message });
    for (path, list) in [("firewall.clients", &firewall.clients), ("firewall.peers", &firewall.peers)] {
        if list.as_ref().is_some_and(Vec::is_empty) {
            add(path, "nobody would be let in: name networks, or remove the key to let in everybody".to_owned());
        }
    }
    if firewall.clients.is_some() && firewall.peers.is_none() {
        let message = "missing beside `firewall.clients`: members ask each other at the client port too, so their networks are needed";
        add("firewall.peers", message.to_owned());
    }
    for (i, peer) in peers.iter().enumerate() {
        let Ok(ip) = peer.peer_url.host().parse() else { continue };
        if firewall
            .peers
            .as_ref()
            .is_some_and(|list| !list.is_empty() && !list.iter().any(|Range(network)| network.holds(ip)))
        {
            add(
                &format!("peers[{i}].peer_url"),
                format!("{ip} is in none of `firewall.peers`: its peers would not hear it"),
            );
        }
    }
    problems
}

impl Firewall {
    /// What `nft -f` takes, in the place of the table that is there: everything that comes in is dropped but answers, what IP
    /// itself needs, and what this section lets in at these ports.
    pub fn ruleset(&self, ports: &Ports) -> String {
        let mut rules = vec![
            // nft(8), "ct expressions".
            "ct state established,related accept".to_owned(),
            "iif lo accept".to_owned(),
            // Neighbours, routers and path MTU: RFC 4890, section 4.4. Of IPv4 what is no answer is a ping.
            "meta l4proto ipv6-icmp accept".to_owned(),
            "icmp type echo-request accept".to_owned(),
            // Offers come from a server that was not asked by its address: RFC 2131, section 4.1; RFC 8415, section 7.2.
            "udp sport 67 udp dport 68 accept".to_owned(),
            "udp sport 547 udp dport 546 ip6 saddr fe80::/10 accept".to_owned(),
        ];
        rules.extend(allow(self.peers.as_deref(), &[ports.peer, ports.client]));
        let more = ports.more.iter().copied();
        rules.extend(allow(self.clients.as_deref(), &[ports.client].into_iter().chain(more).collect::<Vec<_>>()));
        let rules: String = rules.iter().map(|rule| format!("    {rule}\n")).collect();
        format!(
            "table inet etcd_bootstrapper {{}}\ndelete table inet etcd_bootstrapper\ntable inet etcd_bootstrapper {{\n  \
             chain input {{\n    type filter hook input priority filter; policy drop;\n{rules}  }}\n}}\n"
        )
    }
}

fn allow(networks: Option<&[Range]>, ports: &[u16]) -> Vec<String> {
    let ports: BTreeSet<u16> = ports.iter().copied().collect();
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let to = format!("tcp dport {{ {} }} accept", ports.join(", "));
    let Some(networks) = networks else { return vec![to] };
    let family = |v4: bool, word: &str| {
        let all = networks.iter().map(|Range(network)| *network);
        let of: BTreeSet<Cidr> = all.filter(|network| network.address().is_ipv4() == v4).collect();
        // nft refuses networks that overlap.
        let inside = |inner: &Cidr| of.iter().any(|outer| outer != inner && outer.covers(*inner));
        let outer: Vec<String> = of.iter().filter(|network| !inside(network)).map(Cidr::to_string).collect();
        (!outer.is_empty()).then(|| format!("{word} saddr {{ {} }} {to}", outer.join(", ")))
    };
    [family(true, "ip"), family(false, "ip6")].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Option<Vec<Range>> {
        Some(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn a_range_is_a_network_or_an_address() {
        for (text, expected) in [("10.0.0.0/8", "10.0.0.0/8"), ("10.1.2.3", "10.1.2.3/32"), ("fd00::1", "fd00::1/128")]
        {
            assert_eq!(text.parse::<Range>(), Ok(Range(expected.parse().unwrap())));
        }
        let expected = "\"10.0.0.7/24\" is an address inside a network: write 10.0.0.0/24";
        assert_eq!("10.0.0.7/24".parse::<Range>(), Err(expected.into()));
        let expected = "\"FD00:0::1/64\" is an address inside a network: write fd00::/64";
        assert_eq!("FD00:0::1/64".parse::<Range>(), Err(expected.into()));
        assert!("etcd-1".parse::<Range>().is_err());
    }

    #[test]
    fn only_who_is_listed_reaches_a_port() {
        let firewall = Firewall {
            clients: networks(&["10.1.0.0/16", "10.0.0.0/8", "fd00::/64", "fd00::/64"]),
            peers: networks(&["10.0.0.0/24"]),
        };
        let text = firewall.ruleset(&Ports { client: 2379, peer: 2380, more: vec![2381] });
        let about: Vec<&str> = text.lines().filter(|line| line.contains("tcp")).map(str::trim).collect();
        let expected = [
            "ip saddr { 10.0.0.0/24 } tcp dport { 2379, 2380 } accept",
            "ip saddr { 10.0.0.0/8 } tcp dport { 2379, 2381 } accept",
            "ip6 saddr { fd00::/64 } tcp dport { 2379, 2381 } accept",
        ];
        assert_eq!(about, expected);
        let open = Firewall::default().ruleset(&Ports { client: 2379, peer: 2380, more: Vec::new() });
        assert!(open.contains("    tcp dport { 2379, 2380 } accept\n    tcp dport { 2379 } accept\n"), "{open}");
        assert!(open.contains("policy drop;"));
    }

    #[test]
    fn what_the_image_lets_in_before_is_let_in_after() {
        let first = include_str!("../../../image/rootfs/usr/lib/etcd-bootstrapper/firewall.nft");
        let rules: Vec<&str> = first.lines().map(str::trim).filter(|line| line.ends_with("accept")).collect();
        assert_eq!(rules.len(), 6);
        let after = Firewall::default().ruleset(&Ports { client: 2379, peer: 2380, more: Vec::new() });
        let missing: Vec<&str> = rules.into_iter().filter(|rule| !after.contains(rule)).collect();
        assert_eq!(missing, Vec::<&str>::new());
    }
}
