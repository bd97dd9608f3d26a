//! etcd's own words as types: names, IDs, URLs, versions. A value that exists is a good one.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not what it should be; the sentence says what would be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

macro_rules! text_form {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = Malformed;
            fn try_from(text: String) -> Result<Self, Malformed> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }
    };
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:x}", self.0) // the form etcdctl prints
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl FromStr for $name {
            type Err = Malformed;
            fn from_str(text: &str) -> Result<Self, Malformed> {
                u64::from_str_radix(text, 16)
                    .map($name)
                    .map_err(|_| Malformed(format!("`{text}` is not a hexadecimal ID of at most 16 digits")))
            }
        }
        text_form!($name);
    };
}

id! {
    /// A member's ID, written as etcdctl writes it: hexadecimal, no leading zeros.
    MemberId
}
id! {
    /// A cluster's ID, written as etcdctl writes it: hexadecimal, no leading zeros.
    ClusterId
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $length:expr, $what:literal, $ok:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
        impl FromStr for $name {
            type Err = Malformed;
            fn from_str(text: &str) -> Result<Self, Malformed> {
                let good = $length.contains(&text.len()) && text.chars().all($ok);
                if good { Ok($name(text.to_owned())) } else { Err(Malformed(format!("{text:?} is not {}", $what))) }
            }
        }
        text_form!($name);
    };
}

name! {
    /// A cluster's name: 1 to 63 of `a-z`, `0-9` and `-`.
    ClusterName, 1..=63, "a cluster name: 1 to 63 of a-z, 0-9 and -", |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}
name! {
    /// A member's name: 1 to 64 of letters, digits, `.`, `_` and `-`; it goes into `--initial-cluster` unescaped.
    MemberName, 1..=64, "a member name: 1 to 64 of A-Z, a-z, 0-9, '.', '_' and -", |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}
name! {
    /// A disk nonce: 32 hexadecimal digits, random, made with the bootstrapper's directory on the data disk.
    Nonce, 32..=32, "a disk nonce: 32 of 0-9 and a-f", |c: char| matches!(c, '0'..='9' | 'a'..='f')
}

macro_rules! url {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name {
            host: String,
            port: u16,
        }

        impl $name {
            /// The URL of a port on an address.
            pub fn of(address: IpAddr, port: u16) -> $name {
                $name { host: address.to_string(), port }
            }
            /// Host without brackets: a DNS name or an address.
            pub fn host(&self) -> &str {
                &self.host
            }
            /// TCP port.
            pub fn port(&self) -> u16 {
                self.port
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                if self.host.contains(':') {
                    write!(f, "https://[{}]:{}", self.host, self.port)
                } else {
                    write!(f, "https://{}:{}", self.host, self.port)
                }
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl FromStr for $name {
            type Err = Malformed;
            fn from_str(text: &str) -> Result<Self, Malformed> {
                let (host, port) = host_and_port(text)?;
                Ok($name { host, port })
            }
        }
        text_form!($name);
    };
}

url! {
    /// The https URL on which a member talks to members, in one canonical form so that equal URLs are equal texts.
    PeerUrl
}
url! {
    /// The https URL on which a member serves clients, in one canonical form.
    ClientUrl
}

/// Takes `https://host:port` apart, normalising what has one meaning and refusing what has none.
fn host_and_port(text: &str) -> Result<(String, u16), Malformed> {
    let bad = |why: &str| Malformed(format!("{text:?} {why}, as in https://10.0.0.11:2380 or https://[fd00::11]:2380"));
    let lower = text.to_ascii_lowercase();
    let Some(rest) = lower.strip_prefix("https://") else {
        return Err(bad(if lower.starts_with("http://") {
            "is http: members speak mutual TLS, write https"
        } else {
            "is not an https URL"
        }));
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#', '@']) {
        return Err(bad("has more than a host and a port"));
    }
    let (host, port) = if let Some(bracketed) = rest.strip_prefix('[') {
        let (host, after) = bracketed.split_once(']').ok_or_else(|| bad("lacks the closing bracket"))?;
        let address: Ipv6Addr =
            host.parse().map_err(|_| bad("has no IPv6 address between its brackets (zone IDs do not travel)"))?;
        (address.to_string(), after.strip_prefix(':'))
    } else {
        if rest.matches(':').count() > 1 {
            return Err(bad("has an IPv6 address without brackets"));
        }
        match rest.split_once(':') {
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (rest.to_owned(), None),
        }
    };
    let port = port.ok_or_else(|| bad("lacks the port"))?;
    let port: u16 = port.parse().ok().filter(|p| *p != 0).ok_or_else(|| bad("has no port from 1 to 65535"))?;
    check_host(&host).map_err(|why| bad(&why))?;
    Ok((host, port))
}

/// Whether a text is an address or a DNS name that a host can have.
pub(crate) fn is_name_or_address(text: &str) -> bool {
    check_host(text).is_ok()
}

fn check_host(host: &str) -> Result<(), String> {
    if let Ok(address) = host.parse::<IpAddr>() {
        if address.is_unspecified() {
            return Err("has the address that means every address: name the one that others reach".into());
        }
        return Ok(());
    }
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    let numeric = host.split('.').all(|l| !l.is_empty() && l.bytes().all(|b| b.is_ascii_digit()));
    if host.len() <= 253 && host.split('.').all(label) && !numeric {
        Ok(())
    } else {
        Err("has a host that is neither an address nor a DNS name (write internationalised names as xn--…)".into())
    }
}

/// An etcd version; the patch level does not take part in compatibility.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    /// Major.
    pub major: u16,
    /// Minor.
    pub minor: u16,
    /// Patch.
    pub patch: u16,
}

impl Version {
    /// `3.5` of `3.5.30`.
    pub fn minor_text(&self) -> String {
        format!("{}.{}", self.major, self.minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}
impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for Version {
    type Err = Malformed;
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let numbers = text.split(['-', '+']).next().unwrap_or_default();
        let parts: Option<Vec<u16>> = numbers.split('.').map(|p| p.parse().ok()).collect();
        match parts.as_deref() {
            Some([major, minor]) => Ok(Version { major: *major, minor: *minor, patch: 0 }),
            Some([major, minor, patch]) => Ok(Version { major: *major, minor: *minor, patch: *patch }),
            Some(_) | None => Err(Malformed(format!("{text:?} is not a version such as 3.5.30"))),
        }
    }
}
text_form!(Version);

/// A member as etcd lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its ID.
    pub id: MemberId,
    /// Its name; empty for one that was added and never started.
    pub name: String,
    /// Its peer URLs, as etcd wrote them.
    pub peer_urls: Vec<String>,
    /// Its client URLs; empty for one that never started, also when a founding gave it a name.
    pub client_urls: Vec<String>,
    /// Whether it does not vote.
    pub learner: bool,
}

impl Member {
    /// Whether it has published itself, which it does when it first serves.
    pub fn started(&self) -> bool {
        !self.client_urls.is_empty()
    }
    /// Whether one of its peer URLs is this one, whatever its spelling.
    pub fn has_peer_url(&self, url: &PeerUrl) -> bool {
        self.peer_urls.iter().any(|u| u.parse::<PeerUrl>().is_ok_and(|u| u == *url))
    }
    /// Name and ID for a person; an unstarted member has no name.
    pub fn label(&self) -> String {
        if self.name.is_empty() {
            format!("unstarted member {} at {}", self.id, self.peer_urls.join(","))
        } else {
            format!("{} ({})", self.name, self.id)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::founding::FoundingId;

    #[test]
    fn peer_urls_have_one_canonical_form() {
        for (given, canonical) in [
            ("https://10.0.0.11:2380", "https://10.0.0.11:2380"),
            ("HTTPS://Etcd-1.Example.COM:2380/", "https://etcd-1.example.com:2380"),
            ("https://[FD00:0::1]:2380", "https://[fd00::1]:2380"),
        ] {
            assert_eq!(given.parse::<PeerUrl>().map(|u| u.to_string()), Ok(canonical.to_owned()));
        }
    }

    #[test]
    fn a_peer_url_that_means_nothing_is_refused_with_the_reason() {
        for (given, reason) in [
            ("http://10.0.0.11:2380", "is http"),
            ("https://fd00::1:2380", "without brackets"),
            ("https://[fe80::1%eth0]:2380", "zone IDs"),
            ("https://0.0.0.0:2380", "every address"),
            ("https://[::]:2380", "every address"),
            ("https://10.0.0.11:0", "1 to 65535"),
            ("https://10.0.0.11:70000", "1 to 65535"),
            ("https://10.0.0.11", "lacks the port"),
            ("https://10.0.0.11:2380/path", "more than a host"),
            ("https://user@host:2380", "more than a host"),
            ("https://etcd_1:2380", "neither an address"),
            ("https://10.0.0.300:2380", "neither an address"),
            ("https://bücher.example:2380", "xn--"),
            ("https://:2380", "neither an address"),
            ("10.0.0.11:2380", "not an https URL"),
        ] {
            let error = given.parse::<PeerUrl>().expect_err(given).to_string();
            assert!(error.contains(reason), "{given}: {error}");
        }
    }

    #[test]
    fn a_name_that_could_leave_its_field_is_refused() {
        for name in ["", "a b", "a\nb", "a=b", "a,b", "$x", "\"", &"x".repeat(65)] {
            assert!(name.parse::<MemberName>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_nonce_and_with_it_a_founding_has_all_its_digits() {
        let whole = "0123456789abcdef0123456789abcdef";
        assert!(whole.parse::<Nonce>().is_ok() && whole.parse::<FoundingId>().is_ok());
        for part in [&whole[1..], "ad9d8e", "", &format!("{whole}0"), &whole.to_uppercase()] {
            assert!(part.parse::<Nonce>().is_err(), "{part:?}");
            assert!(part.parse::<FoundingId>().is_err(), "{part:?}: whoever shows it shows the first eight digits");
        }
    }
}
