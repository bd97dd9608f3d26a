//! A CA, a host's directory and the names it has, for all tests of this room.

mod ca;
mod ensure;
mod etcd;
mod fixtures;
mod handshake;

use std::path::PathBuf;

use plan::document::{Ca, Source, Tls};
use plan::facts::Seconds;
use plan::spec::Secret;

use super::{CaMaterial, Names, issue};
use crate::paths::Paths;
use crate::sys::{fs, random};

pub const DAY: u64 = 24 * 3600;
pub const YEAR: u64 = 365 * DAY;

/// 2027-01-15T08:00:00Z.
pub const NOW: Seconds = Seconds(1_800_000_000);

/// A directory that ends with the test.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        let path = std::env::temp_dir().join(format!("etcd-bootstrapper-test-{}", random::hex16().expect("random")));
        fs::create_dir(&path, 0o755, None).expect("a scratch directory");
        Scratch(path)
    }
    pub fn paths(&self) -> Paths {
        Paths::under(&self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left in the temporary directory harms no other test.
        let _ = fs::remove(&self.0);
    }
}

/// PEM of a CA made at a time, and of its key.
pub fn ca_pem(name: &str, validity: u64, made: Seconds) -> (String, String) {
    let (certificate, key) = issue::new_ca(name, validity, made).expect("a CA");
    (certificate, key.serialize_pem())
}

pub fn checked(certificate: &str, key: &str, now: Option<Seconds>) -> anyhow::Result<CaMaterial> {
    CaMaterial::checked(certificate, "tls.ca.cert", &Secret::new(key.to_owned()), "tls.ca.key", now)
}

/// A CA that was made a year before `now` and ends nine years after it.
pub fn ca(name: &str, now: Seconds) -> CaMaterial {
    let (certificate, key) = ca_pem(name, 10 * YEAR, Seconds(now.0 - YEAR));
    checked(&certificate, &key, Some(now)).expect("a good CA")
}

pub fn tls(cert: Source, key: Source) -> Tls {
    Tls { ca: Ca { cert, key }, extra_sans: Vec::new(), validity: None }
}

pub fn inline(text: &str) -> Source {
    Source::Inline(Secret::new(text.to_owned()))
}

pub fn names() -> Names {
    Names {
        member: "etcd_1".parse().expect("a name"),
        hostname: "Host-1.example.com".into(),
        address: [10, 0, 0, 11].into(),
        peer_url: "https://peer-1.example.com:2380".parse().expect("a URL"),
        extra: ["etcd.example.com".to_owned(), "fd00::11".to_owned()].into(),
        validity: YEAR,
    }
}
