//! What this host is called and reached by, kept beside its leaves so that a timer can renew them alone.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::Result;
use plan::document::Tls;
use plan::member::{MemberName, PeerUrl};
use serde::{Deserialize, Serialize};

use super::certificate::canonical_san;
use crate::exit::Exit;

/// `tls.validity` when the spec does not say, seconds.
const VALIDITY: u64 = 8760 * 3600;

/// The shortest validity, seconds: a third of it must hold one visit of the renewal timer, which comes twice a day and up
/// to six hours late.
const SHORTEST: u64 = 72 * 3600;

/// What this host's leaves are to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Names {
    /// The member's name.
    pub member: MemberName,
    /// The kernel's hostname; one that is no DNS name is left out.
    pub hostname: String,
    /// The address that others reach, and that this host connects from.
    pub address: IpAddr,
    /// The peer URL; its host is a name of the certificates.
    pub peer_url: PeerUrl,
    /// `tls.extra_sans`, canonical.
    pub extra: BTreeSet<String>,
    /// How long a leaf is valid, seconds.
    pub validity: u64,
}

impl Names {
    /// Takes what the spec says under `tls`, and what was found out about this host.
    ///
    /// # Errors
    /// 65, naming the field, for an entry that is neither a DNS name nor an address, or a validity below three days.
    pub fn new(tls: &Tls, member: MemberName, hostname: &str, address: IpAddr, peer_url: PeerUrl) -> Result<Names> {
        let mut extra = BTreeSet::new();
        for (i, text) in tls.extra_sans.iter().enumerate() {
            extra.insert(canonical_san(text).ok_or_else(|| {
                Exit::BadInput.because(format!(
                    "tls.extra_sans[{i}]: {text:?} is neither a DNS name nor an address: write it without scheme, port and brackets"
                ))
            })?);
        }
        let validity = tls.validity.map_or(VALIDITY, |d| d.0.as_secs());
        if validity < SHORTEST {
            let message = "tls.validity: a certificate that is valid for less than three days cannot be renewed in time: write 72h or more";
            return Err(Exit::BadInput.because(message));
        }
        Ok(Names { member, hostname: hostname.to_owned(), address, peer_url, extra, validity })
    }

    /// All names of the server and the peer certificate, canonical.
    pub fn sans(&self) -> BTreeSet<String> {
        let address = self.address.to_string();
        let all =
            [self.member.as_str(), &self.hostname, "localhost", "127.0.0.1", "::1", &address, self.peer_url.host()];
        all.into_iter().filter_map(canonical_san).chain(self.extra.iter().cloned()).collect()
    }
}
