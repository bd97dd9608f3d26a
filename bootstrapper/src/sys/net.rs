//! This host on the network: its addresses, which of them others reach, its name.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use plan::cidr::Cidr;
use plan::document::{Address, PeerEntry};
use plan::member::PeerUrl;

use super::fs::Owner;
use crate::exit::Exit;
use crate::paths::Paths;

/// Names that are not resolved by then are asked for again in the next round.
const RESOLVE: Duration = Duration::from_secs(2);

/// An address of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// The interface's name.
    pub interface: String,
    /// The address.
    pub ip: IpAddr,
    /// Whether the interface is up.
    pub up: bool,
    /// Whether there is somebody at the other end: a cable that is in, a switch that is on.
    pub carrier: bool,
    /// Whether only this host reaches it.
    pub loopback: bool,
    /// Whether it lasts: neither a privacy address nor one that the kernel is about to give up.
    pub lasting: bool,
}

impl Local {
    /// Whether others may reach it: not this host only, not this link only.
    fn is_global(&self) -> bool {
        let link = match self.ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        self.up && !self.loopback && !link
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Local { ip, interface, .. } = self;
        match (self.up, self.carrier) {
            (true, true) => write!(f, "{ip}"),
            (true, false) => write!(f, "{ip} on {interface}, which has no carrier"),
            (false, _) => write!(f, "{ip} on {interface}, which is down"),
        }
    }
}

/// The addresses of this host that can be bound: IPv6 ones only once the kernel knows that nobody else has them.
///
/// # Errors
/// When the kernel's list cannot be read.
pub fn addresses() -> Result<Vec<Local>> {
    let states = std::fs::read_to_string("/proc/net/if_inet6").map_or_else(|_| BTreeMap::new(), |t| ipv6_states(&t));
    let listed = getifaddrs().context("cannot list the addresses of this host")?;
    let local = |address: nix::ifaddrs::InterfaceAddress| {
        let storage = address.address?;
        let v4 = storage.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
        let ip = v4.or_else(|| storage.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))?;
        let state = states.get(&ip).copied().unwrap_or(0);
        (state & UNBINDABLE == 0).then(|| Local {
            interface: address.interface_name,
            ip,
            up: address.flags.contains(InterfaceFlags::IFF_UP),
            // netdevice(7): up, and the driver says that the link is.
            carrier: address.flags.contains(InterfaceFlags::IFF_RUNNING),
            loopback: address.flags.contains(InterfaceFlags::IFF_LOOPBACK),
            lasting: state & PASSING == 0,
        })
    };
    Ok(listed.filter_map(local).collect())
}

/// if_addr.h: duplicate address detection failed, or is not done.
const UNBINDABLE: u8 = 0x08 | 0x40;
/// if_addr.h: temporary, deprecated.
const PASSING: u8 = 0x01 | 0x20;

/// Lines of `address index prefix-length scope flags interface`, numbers hexadecimal.
fn ipv6_states(text: &str) -> BTreeMap<IpAddr, u8> {
    let parse = |line: &str| {
        let mut words = line.split_whitespace();
        let address = u128::from_str_radix(words.next()?, 16).ok()?;
        let flags = u8::from_str_radix(words.nth(3)?, 16).ok()?;
        Some((IpAddr::V6(Ipv6Addr::from_bits(address)), flags))
    };
    text.lines().filter_map(parse).collect()
}

/// The address that the kernel would send from to the world, IPv4 before IPv6; nothing is sent.
pub fn default_route_address() -> Option<IpAddr> {
    // Addresses for documentation (RFC 5737, RFC 3849): no route but the default one leads there.
    let towards = |local: IpAddr, remote: IpAddr| {
        let socket = UdpSocket::bind((local, 0)).ok()?;
        socket.connect((remote, 9)).ok()?;
        socket.local_addr().ok().map(|a| a.ip())
    };
    towards(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into())
        .or_else(|| towards(Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()))
}

/// Which entry of the list this host is, and at which of its addresses; `None` while there is no such address yet.
/// Names in the list are resolved, for at most two seconds.
///
/// # Errors
/// 65 when `member.address` is malformed, or fits several addresses or entries.
pub fn choose_address(wanted: &Address, peers: &[PeerEntry]) -> Result<Option<(IpAddr, PeerUrl)>> {
    let here = Here {
        addresses: addresses()?,
        route: default_route_address(),
        hostname: hostname()?,
        names: resolve(peers.iter().map(|p| p.peer_url.host()).filter(|h| h.parse::<IpAddr>().is_err())),
    };
    here.choose(wanted, peers)
}

/// What the choice of an address depends on.
#[derive(Clone, Debug, Default)]
pub struct Here {
    /// [`addresses`].
    pub addresses: Vec<Local>,
    /// [`default_route_address`].
    pub route: Option<IpAddr>,
    /// [`hostname`].
    pub hostname: String,
    /// What the names of the list resolve to.
    pub names: BTreeMap<String, Vec<IpAddr>>,
}

impl Here {
    /// [`choose_address`], from what is known.
    ///
    /// # Errors
    /// The same.
    pub fn choose(&self, wanted: &Address, peers: &[PeerEntry]) -> Result<Option<(IpAddr, PeerUrl)>> {
        let address = match wanted {
            Address::Auto => return self.listed(peers),
            Address::Text(text) if text == "auto" => return self.listed(peers),
            Address::Text(text) => Some(text.parse::<IpAddr>().map_err(|_| {
                bad(format!(
                    "{text:?} is not an address: write auto, 10.0.0.11, {{interface: eth0}} or {{cidr: 10.0.0.0/24}}"
                ))
            })?),
            Address::Interface { interface } => self.global(|a| a.interface == *interface && a.lasting),
            Address::Cidr { cidr } => self.inside(cidr)?,
        };
        let Some(address) = address else { return Ok(None) };
        let hits: Vec<_> = peers.iter().filter(|p| self.of(p, peers).contains(&address)).collect();
        let entry = match hits[..] {
            [entry] => Some(entry),
            [a, b, ..] => {
                return Err(bad(format!(
                    "`peers` has `{}` and `{}` at {address}: say which this host is in member.name",
                    a.name, b.name
                )));
            }
            [] => self.namesake(peers),
        };
        Ok(entry.map(|p| (address, p.peer_url.clone())))
    }

    /// The entry with an address of this host; else the one with its name, at the default route's address, where the
    /// list has a name and no address.
    fn listed(&self, peers: &[PeerEntry]) -> Result<Option<(IpAddr, PeerUrl)>> {
        let bound = |ip: &IpAddr| self.addresses.iter().any(|a| a.up && a.ip == *ip);
        let hits: Vec<_> =
            peers.iter().filter_map(|p| self.of(p, peers).into_iter().find(bound).map(|ip| (ip, p))).collect();
        match hits[..] {
            [(ip, entry)] => Ok(Some((ip, entry.peer_url.clone()))),
            [(a, first), (b, second), ..] => Err(Exit::BadInput.because(format!(
                "this host has the addresses of two of `peers`, {a} of `{}` and {b} of `{}`: say which it is in member.name",
                first.name, second.name
            ))),
            [] => {
                let named = self.namesake(peers).filter(|p| p.peer_url.host().parse::<IpAddr>().is_err());
                Ok(named.zip(self.route).map(|(p, ip)| (ip, p.peer_url.clone())))
            }
        }
    }

    /// The addresses of an entry. A name that means this host itself here means another host elsewhere.
    fn of(&self, entry: &PeerEntry, peers: &[PeerEntry]) -> Vec<IpAddr> {
        let host = entry.peer_url.host();
        let resolved = || {
            let all = self.names.get(host).into_iter().flatten().copied();
            all.filter(|ip| peers.len() == 1 || !ip.is_loopback()).collect()
        };
        host.parse().map_or_else(|_| resolved(), |ip| vec![ip])
    }

    fn namesake<'a>(&self, peers: &'a [PeerEntry]) -> Option<&'a PeerEntry> {
        let short = self.hostname.split('.').next().unwrap_or_default();
        match peers {
            [only] => Some(only),
            _ => peers.iter().find(|p| [short, self.hostname.as_str()].contains(&p.name.to_string().as_str())),
        }
    }

    fn global(&self, fits: impl Fn(&Local) -> bool) -> Option<IpAddr> {
        let mut found: Vec<_> = self.addresses.iter().filter(|a| a.is_global() && fits(a)).map(|a| a.ip).collect();
        // Stable: the first of the interface's IPv4 addresses, else the first of its IPv6 addresses.
        found.sort_by_key(IpAddr::is_ipv6);
        found.first().copied()
    }

    fn inside(&self, cidr: &str) -> Result<Option<IpAddr>> {
        let network: Cidr = cidr.parse().map_err(bad)?;
        let fits = |a: &&Local| a.up && !a.loopback && a.lasting && network.holds(a.ip);
        let found: Vec<_> = self.addresses.iter().filter(fits).collect();
        match found[..] {
            [] => Ok(None),
            [one] => Ok(Some(one.ip)),
            [a, b, ..] => Err(bad(format!(
                "{cidr} holds {} and {} of this host: write a smaller network or one address",
                a.ip, b.ip
            ))),
        }
    }
}

fn bad(what: String) -> anyhow::Error {
    Exit::BadInput.because(format!("member.address: {what}"))
}

/// Whether the host of a URL is this address, or resolves to it within two seconds.
pub fn leads_to(host: &str, address: IpAddr) -> bool {
    let resolved = || resolve(std::iter::once(host)).values().flatten().any(|ip| *ip == address);
    host.parse().map_or_else(|_| resolved(), |ip: IpAddr| ip == address)
}

/// Asks for all names at once. The C library's resolver cannot be stopped, so it runs in threads that nobody waits for.
fn resolve<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<String, Vec<IpAddr>> {
    let (sender, receiver) = mpsc::channel();
    for name in names {
        let (name, sender) = (name.to_owned(), sender.clone());
        std::thread::spawn(move || {
            let found = (name.as_str(), 0).to_socket_addrs().map(|all| all.map(|a| a.ip()).collect());
            // Nobody listens any more once the time is over.
            let _ = sender.send((name, found.unwrap_or_default()));
        });
    }
    drop(sender);
    let deadline = Instant::now() + RESOLVE;
    let mut resolved = BTreeMap::new();
    while let Ok((name, found)) = receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        resolved.insert(name, found);
    }
    resolved
}

/// The name of this host.
///
/// # Errors
/// When the kernel's is not UTF-8.
pub fn hostname() -> Result<String> {
    let name = nix::unistd::gethostname().context("cannot read the name of this host")?;
    name.into_string().map_err(|name| anyhow::anyhow!("the name of this host is not UTF-8: {name:?}"))
}

/// Names this host, until the next boot, where there is a name and it is not its name yet. Only with the root `/`.
///
/// # Errors
/// 65 when it is not a host name; else when the kernel refuses.
pub fn set_hostname(paths: &Paths, name: Option<&str>) -> Result<()> {
    let Some(name) = name else { return Ok(()) };
    // Linux takes 64 bytes at most.
    let label =
        |l: &str| !l.is_empty() && !l.starts_with('-') && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if name.len() > 64 || !name.split('.').all(label) {
        return Err(Exit::BadInput.because(format!(
            "{name:?} is not a host name: letters, digits and hyphens, parts separated by dots, 64 in all at most"
        )));
    }
    if paths.root() != Path::new("/") || hostname()? == name {
        return Ok(());
    }
    nix::unistd::sethostname(name).with_context(|| format!("cannot name this host {name}"))
}

/// A user of this host with its own group, such as etcd's; `None` when there is no such user.
pub fn user(name: &str) -> Option<Owner> {
    let user = nix::unistd::User::from_name(name).ok().flatten()?;
    Some(Owner { uid: user.uid.as_raw(), gid: user.gid.as_raw() })
}
