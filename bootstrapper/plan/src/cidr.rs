//! Networks as configurations write them: an address, a slash, and how many of its first bits count.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network such as `10.0.0.0/8` (RFC 4632, RFC 4291 section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr {
    address: IpAddr,
    length: u8,
}

impl Cidr {
    /// The network of this address alone.
    pub fn of(address: IpAddr) -> Cidr {
        Cidr { address, length: width(address) }
    }

    /// Whether an address lies in it.
    pub fn holds(self, ip: IpAddr) -> bool {
        self.address.is_ipv4() == ip.is_ipv4() && Cidr { address: ip, ..self }.first() == self.first()
    }

    /// Whether all of another network lies in it.
    pub fn covers(self, other: Cidr) -> bool {
        self.length <= other.length && self.holds(other.address)
    }

    /// Its first address, which is how it is usually written.
    pub fn first(self) -> IpAddr {
        let mask = u128::MAX.checked_shl(u32::from(width(self.address) - self.length)).unwrap_or(0);
        match self.address {
            IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & (mask & u128::from(u32::MAX)) as u32).into(),
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & mask).into(),
        }
    }

    /// The address as it was written.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// The same network, written by its first address.
    pub fn canonical(self) -> Cidr {
        Cidr { address: self.first(), ..self }
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (address, length) = text.split_once('/')?;
            let address: IpAddr = address.parse().ok()?;
            // No sign, which parse() would take.
            let length = length.bytes().all(|b| b.is_ascii_digit()).then(|| length.parse().ok())??;
            (length <= width(address)).then_some(Cidr { address, length })
        };
        parse().ok_or_else(|| format!("{text:?} is not a network such as 10.0.0.0/24 or fd00::/64"))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_written_as_a_network() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "10.1.2.3/32", "10.1.2.3/24", "fd00::/64", "::/0"] {
            assert_eq!(text.parse::<Cidr>().map(|network| network.to_string()), Ok(text.to_owned()));
        }
        for text in ["10.0.0.0/33", "10.0.0.0", "10.0.0.0/", "10.0.0.0/+8", "fd00::/129", "etcd-1/8", "", "10.0.0.0/8 "]
        {
            let expected = format!("{text:?} is not a network such as 10.0.0.0/24 or fd00::/64");
            assert_eq!(text.parse::<Cidr>(), Err(expected));
        }
    }

    #[test]
    fn a_network_holds_its_addresses() {
        for (network, ip, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.9/8", "10.255.0.1", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("10.1.2.3/32", "10.1.2.3", true),
            ("10.1.2.3/32", "10.1.2.2", false),
            ("fd00::/64", "fd00::1:2", true),
            ("fd00::/64", "fd00:0:0:1::1", false),
            ("::/0", "fd00::1", true),
            ("::/0", "10.0.0.1", false),
            ("0.0.0.0/0", "::1", false),
        ] {
            let network: Cidr = network.parse().unwrap();
            assert_eq!(network.holds(ip.parse().unwrap()), expected, "{network} and {ip}");
        }
    }
}
