//! A group by the SRV records of a domain, as etcd's own `--discovery-srv` reads them (etcd, client/pkg/srv).
//!
//! Only `_etcd-server-ssl` counts, since members speak mutual TLS. What `_etcd-server` says beside it must not be more:
//! then nobody knows which of both is the set.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use plan::discovery::DnsSrv;
use plan::facts::Instance;
use plan::member::{MemberName, PeerUrl};

use super::dns::{self, Found, Record};
use super::{Listing, Trouble};
use crate::exit::Exit;
use crate::paths::Paths;
use crate::sys::fs;

/// An answer is not asked for again before its TTL is over, but for these bounds.
const FRESH: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// How many of the servers of resolv.conf(5) are asked, as its own resolver does.
const SERVERS: usize = 3;

/// The port of DNS.
const PORT: u16 = 53;

/// A group of SRV records.
pub struct Srv {
    entry: DnsSrv,
    resolv_conf: PathBuf,
}

impl Srv {
    pub(super) fn of(entry: DnsSrv, paths: &Paths) -> Srv {
        Srv { entry, resolv_conf: paths.host("/etc/resolv.conf") }
    }

    pub(super) fn place(&self) -> String {
        format!("the SRV records {}", self.entry.record(true))
    }

    pub(super) async fn list(&self) -> Result<Listing, Trouble> {
        self.of_servers(&self.servers()?).await
    }

    /// As these servers have it.
    pub(super) async fn of_servers(&self, servers: &[SocketAddr]) -> Result<Listing, Trouble> {
        let (tls, plain) = (self.entry.record(true), self.entry.record(false));
        let (with, without) = tokio::join!(dns::srv(servers, &tls), dns::srv(servers, &plain));
        // Its failure takes nothing away from an answer to the other one.
        let without = without.unwrap_or(Found::Nothing { said: String::new() });
        match (with?, without) {
            (Found::Records(records), Found::Records(others)) => {
                let hosts: BTreeSet<&str> = records.iter().map(|r| r.target.as_str()).collect();
                if let Some(more) = others.iter().find(|r| !hosts.contains(r.target.as_str())) {
                    let why = format!(
                        "{plain} has {}, and {tls} has not: members speak TLS, so remove the first or make both equal",
                        more.target
                    );
                    return Err(Trouble::new(Exit::BadInput, why));
                }
                listing(&tls, &records)
            }
            (Found::Records(records), Found::Nothing { .. }) => listing(&tls, &records),
            (Found::Nothing { .. }, Found::Records(_)) => Err(Trouble::new(
                Exit::BadInput,
                format!(
                    "there is {plain}, and no {tls}: members speak TLS, so publish their SRV records under the latter"
                ),
            )),
            (Found::Nothing { said }, Found::Nothing { .. }) => Err(Trouble::new(
                Exit::TryAgain,
                format!(
                    "there are no SRV records {tls} ({said}): publish one for each member, with its host name and port 2380"
                ),
            )),
        }
    }

    /// The name servers of this host.
    fn servers(&self) -> Result<Vec<SocketAddr>, Trouble> {
        let path = self.resolv_conf.display();
        let text = fs::read_text(&self.resolv_conf, 1 << 16)
            .map_err(|error| Trouble::new(Exit::Unavailable, format!("{path} cannot be read: {error:#}")))?;
        let servers = servers(&text.unwrap_or_default());
        if servers.is_empty() {
            let why =
                format!("{path} names no `nameserver`: DHCP gave none yet, or the network's configuration lacks it");
            return Err(Trouble::new(Exit::Unavailable, why));
        }
        Ok(servers)
    }
}

/// The `nameserver` lines of a resolv.conf(5); what is not an address, such as a zone ID, is passed over.
pub(super) fn servers(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let addresses = lines.filter_map(|rest| rest.split_whitespace().next()?.parse::<std::net::IpAddr>().ok());
    addresses.take(SERVERS).map(|address| SocketAddr::new(address, PORT)).collect()
}

pub(super) fn listing(name: &str, records: &[Record]) -> Result<Listing, Trouble> {
    let bad = |why: String| Trouble::new(Exit::BadInput, format!("{name} {why}"));
    let mut instances: Vec<Instance> = Vec::new();
    for record in records {
        let target = &record.target;
        if target.is_empty() {
            return Err(bad("has the target `.`, which says that there is no such service: remove it".into()));
        }
        let url: PeerUrl = format!("https://{target}:{}", record.port)
            .parse()
            .map_err(|why| bad(format!("has a target that no member can have: {why}")))?;
        let id: MemberName = target.parse().map_err(|why| {
            bad(format!("has a target that cannot be a member's name: {why}; give the host a shorter one"))
        })?;
        match instances.iter().find(|i| i.id == id) {
            Some(same) if same.peer_url.as_ref() == Some(&url) => continue,
            Some(_) => return Err(bad(format!("has {target} at two ports: remove one of both"))),
            None => instances.push(Instance { id, peer_url: Some(url), terminated: false, launched: None }),
        }
    }
    let ttl = records.iter().map(|r| r.ttl).min().unwrap_or_default();
    Ok(Listing { instances, fresh: Duration::from_secs(ttl.into()).clamp(FRESH.0, FRESH.1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(target: &str, port: u16, ttl: u32) -> Record {
        Record { target: target.into(), port, ttl }
    }

    #[test]
    fn resolv_conf_gives_up_to_three_servers_and_what_is_no_address_is_passed_over() {
        let text = "# DHCP\nsearch example.com\nnameserver 10.0.0.2\n nameserver fd00::2 # v6\nnameserver fe80::1%eth0\n\
                    nameservers x\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n";
        let found: Vec<String> = servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.2:53", "[fd00::2]:53", "10.0.0.3:53"]);
        assert_eq!(servers("options timeout:1\n"), []);
    }

    #[test]
    fn records_are_members_or_the_whole_answer_is_refused() {
        let ok = listing("_x", &[record("etcd-1.example.com", 2380, 300), record("etcd-2", 2381, 0)]).expect("a group");
        let urls: Vec<String> = ok.instances.iter().filter_map(|i| Some(i.peer_url.as_ref()?.to_string())).collect();
        assert_eq!(urls, ["https://etcd-1.example.com:2380", "https://etcd-2:2381"]);
        assert_eq!(ok.fresh, FRESH.0, "the shortest TTL counts");
        let one = [record("etcd-1", 2380, 30), record("etcd-1", 2380, 30)];
        assert_eq!(listing("_x", &one).expect("a group").instances.len(), 1);
        let long = format!("{}.example.com", "a".repeat(60));
        for (records, why) in [
            (vec![record("etcd-1", 2380, 30), record("", 0, 30)], "has the target `.`"),
            (vec![record("etcd-1", 2380, 30), record("etcd-1", 2379, 30)], "at two ports"),
            (vec![record("etcd_1", 2380, 30)], "no member can have"),
            (vec![record("etcd-1", 0, 30)], "no port from 1"),
            (vec![record(&long, 2380, 30)], "cannot be a member's name"),
        ] {
            let trouble = listing("_x", &records).expect_err(why);
            assert!(trouble.text.contains(why) && trouble.exit == Exit::BadInput, "{why}: {trouble:?}");
        }
    }
}
