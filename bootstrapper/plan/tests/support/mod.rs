//! A small world with readable defaults: three hosts etcd-1 to etcd-3, blank and agreeing; this one is etcd-1.

pub mod any;
mod around;
mod brief;
mod world;

pub use brief::brief;
pub use world::*;

use std::fmt::Debug;
use std::str::FromStr;
use std::sync::LazyLock;

use plan::facts::Identity;
use plan::founding::{Founder, Founding, Terms};
use plan::member::{ClientUrl, ClusterName, MemberName, Nonce, PeerUrl};
use plan::place::{Place, VolumeId};

/// Parsed once: the model asks for them millions of times.
struct Parsed {
    names: Vec<MemberName>,
    urls: Vec<PeerUrl>,
    client_urls: Vec<ClientUrl>,
    nonces: Vec<Nonce>,
}

static PARSED: LazyLock<Parsed> = LazyLock::new(|| Parsed {
    names: all(0..10, |host| format!("etcd-{host}")),
    urls: all(0..10, |host| format!("https://10.0.0.1{host}:2380")),
    client_urls: all(0..10, |host| format!("https://10.0.0.1{host}:2379")),
    nonces: all(0..=255, |n| format!("{n:032x}")),
});

fn all<T: FromStr<Err: Debug>>(numbers: impl Iterator<Item = u8>, text: impl Fn(u8) -> String) -> Vec<T> {
    numbers.map(|n| text(n).parse().expect("what parses")).collect()
}

/// etcd-1, etcd-2 …
pub fn name(host: u8) -> MemberName {
    PARSED.names[usize::from(host)].clone()
}

/// The peer URL of host n.
pub fn url(host: u8) -> PeerUrl {
    PARSED.urls[usize::from(host)].clone()
}

/// The client URL of host n.
pub fn client_url(host: u8) -> ClientUrl {
    PARSED.client_urls[usize::from(host)].clone()
}

/// The n-th disk nonce.
pub fn nonce(n: u8) -> Nonce {
    PARSED.nonces[usize::from(n)].clone()
}

pub fn cluster() -> ClusterName {
    "prod".parse().expect("a name")
}

/// What three agreeing hosts with the default spec would found.
pub fn terms() -> Terms {
    static TERMS: LazyLock<Terms> = LazyLock::new(|| Terms {
        cluster: cluster(),
        epoch: 1,
        generation: 1,
        size: 3,
        set: (1..=3).map(|i| format!("{}={}", name(i), url(i))).collect(),
        store: None,
        snapshot: None,
        etcd: "3.5".into(),
    });
    TERMS.clone()
}

/// A founding of etcd-1, etcd-2 … under these terms with these disk nonces.
pub fn founding_under(terms: Terms, nonces: &[u8]) -> Founding {
    let founders = (1..).zip(nonces).map(|(i, n)| Founder { name: name(i), peer_url: url(i), nonce: nonce(*n) });
    Founding::new(terms, founders.collect())
}

/// The founding of three agreeing hosts on disks with these nonces.
pub fn founding(nonces: [u8; 3]) -> Founding {
    founding_under(terms(), &nonces)
}

/// What a founding makes of a host.
pub fn founder(founding: &Founding, host: u8) -> Identity {
    Identity {
        cluster: founding.terms.cluster.clone(),
        cluster_id: founding.cluster_id(),
        member_id: founding.member_id(&url(host)),
        name: name(host),
        peer_url: url(host),
        token: founding.token(),
        epoch: founding.terms.epoch,
    }
}

/// An instance, and serial number and World Wide ID of a volume.
pub fn place(instance_id: Option<&str>, serial: Option<&str>, wwid: Option<&str>) -> Place {
    let text = |t: Option<&str>| t.map(ToOwned::to_owned);
    Place { instance_id: text(instance_id), volume: VolumeId { serial: text(serial), wwid: text(wwid) } }
}

/// How properties are tried: the same cases on every run, the number chosen so that all of them take seconds.
pub fn config() -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        cases: 600,
        // The default one is cryptographic, which costs a fifth of the time.
        rng_algorithm: proptest::test_runner::RngAlgorithm::XorShift,
        rng_seed: proptest::test_runner::RngSeed::Fixed(2_379),
        ..proptest::test_runner::Config::default()
    }
}
