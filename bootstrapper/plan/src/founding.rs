//! What a founding is: the terms all must agree on, the disks that take part, and the IDs that follow from both.

use std::fmt;
use std::str::FromStr;

use ring::digest;
use serde::{Deserialize, Serialize};

use crate::member::{ClusterId, ClusterName, Malformed, MemberId, MemberName, Nonce, PeerUrl};
use crate::spec::Sha256;

/// The revision bump of a restore, after etcd's recovery guide: watches from before must be told they were compacted.
pub const REVISION_BUMP: u64 = 1_000_000_000;

/// Everything that must be equal on all hosts before they may found together; its hash is the digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// `cluster.name`.
    pub cluster: ClusterName,
    /// `cluster.epoch`.
    pub epoch: u32,
    /// The claim's generation; 1 without a store.
    pub generation: u32,
    /// `cluster.size`.
    pub size: u8,
    /// Names and peer URLs of the static list, or instance IDs of the group, sorted.
    pub set: Vec<String>,
    /// `store.url`.
    pub store: Option<String>,
    /// sha256 of the snapshot that the founding restores.
    pub snapshot: Option<Sha256>,
    /// etcd's minor version, as in `3.5`.
    pub etcd: String,
}

impl Terms {
    /// The hash over the terms, 32 hexadecimal digits.
    pub fn digest(&self) -> String {
        // A struct serialises its fields in order, so equal terms are equal bytes.
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        short_hash(&bytes)
    }

    /// The first difference in words, `ours` before `theirs`.
    pub fn first_difference(&self, theirs: &Terms) -> Option<String> {
        let pairs = [
            ("cluster.name", self.cluster.to_string(), theirs.cluster.to_string()),
            ("cluster.epoch", self.epoch.to_string(), theirs.epoch.to_string()),
            ("generation", self.generation.to_string(), theirs.generation.to_string()),
            ("cluster.size", self.size.to_string(), theirs.size.to_string()),
            ("peers", self.set.join(" "), theirs.set.join(" ")),
            ("store.url", or_none(self.store.as_deref()), or_none(theirs.store.as_deref())),
            (
                "restore.sha256",
                or_none(self.snapshot.as_ref().map(Sha256::as_str)),
                or_none(theirs.snapshot.as_ref().map(Sha256::as_str)),
            ),
            ("etcd", self.etcd.clone(), theirs.etcd.clone()),
        ];
        pairs
            .into_iter()
            .find(|(_, ours, theirs)| ours != theirs)
            .map(|(key, ours, theirs)| format!("{key} is {ours} here and {theirs} there"))
    }
}

fn or_none(value: Option<&str>) -> String {
    value.unwrap_or("none").to_owned()
}

fn short_hash(bytes: &[u8]) -> String {
    digest::digest(&digest::SHA256, bytes).as_ref()[..16].iter().map(|b| format!("{b:02x}")).collect()
}

/// T: the identity of one founding, 32 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FoundingId(String);

impl FoundingId {
    /// T as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl fmt::Display for FoundingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for FoundingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl FromStr for FoundingId {
    type Err = Malformed;
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let nonce: Nonce =
            text.parse().map_err(|_| Malformed(format!("{text:?} is not a founding: 32 of 0-9 and a-f")))?;
        Ok(FoundingId(nonce.as_str().to_owned()))
    }
}
impl TryFrom<String> for FoundingId {
    type Error = Malformed;
    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}
impl From<FoundingId> for String {
    fn from(value: FoundingId) -> String {
        value.0
    }
}

/// One disk that takes part in a founding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Founder {
    /// The member's name.
    pub name: MemberName,
    /// The member's peer URL.
    pub peer_url: PeerUrl,
    /// The life of its disk.
    pub nonce: Nonce,
}

/// A founding in full: the terms and every disk of it, sorted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Founding {
    /// What all agreed on.
    pub terms: Terms,
    /// Its members, sorted by name.
    pub founders: Vec<Founder>,
}

impl Founding {
    /// The founding of these disks under these terms.
    pub fn new(terms: Terms, mut founders: Vec<Founder>) -> Founding {
        founders.sort();
        Founding { terms, founders }
    }

    /// T, the hash of the digest and the sorted names, peer URLs and nonces.
    pub fn id(&self) -> FoundingId {
        let mut text = self.terms.digest();
        for f in &self.founders {
            text.push_str(&format!("\n{}\n{}\n{}", f.name, f.peer_url, f.nonce));
        }
        FoundingId(short_hash(text.as_bytes()))
    }

    /// The initial-cluster-token, `<name>.<epoch>.<T>`.
    pub fn token(&self) -> String {
        format!("{}.{}.{}", self.terms.cluster, self.terms.epoch, self.id())
    }

    /// The cluster ID that etcd will compute from the token and the peer URLs.
    pub fn cluster_id(&self) -> ClusterId {
        let token = self.token();
        cluster_id(self.founders.iter().map(|f| member_id(&f.peer_url, &token)).collect())
    }

    /// The member ID that etcd will give to this peer URL.
    pub fn member_id(&self, peer_url: &PeerUrl) -> MemberId {
        member_id(peer_url, &self.token())
    }

    /// Names and peer URLs, as `--initial-cluster` wants them.
    pub fn initial_cluster(&self) -> Vec<(String, String)> {
        self.founders.iter().map(|f| (f.name.to_string(), f.peer_url.to_string())).collect()
    }

    /// How many of its members are a quorum.
    pub fn quorum(&self) -> usize {
        self.founders.len() / 2 + 1
    }
}

/// etcd: server/etcdserver/api/membership/member.go, computeMemberID without a time.
fn member_id(peer_url: &PeerUrl, token: &str) -> MemberId {
    MemberId(sha1_head(format!("{peer_url}{token}").as_bytes()))
}

/// etcd: server/etcdserver/api/membership/cluster.go, genID.
fn cluster_id(mut members: Vec<MemberId>) -> ClusterId {
    members.sort();
    let bytes: Vec<u8> = members.iter().flat_map(|m| m.0.to_be_bytes()).collect();
    ClusterId(sha1_head(&bytes))
}

fn sha1_head(bytes: &[u8]) -> u64 {
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
    hash.as_ref()[..8].iter().fold(0, |id, b| id << 8 | u64::from(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_that_etcd_computes() {
        // From `etcd --name a --initial-cluster a=http://127.0.0.1:2380`, whose IDs etcd's own documentation shows.
        let member = MemberId(sha1_head(b"http://localhost:2380etcd-cluster"));
        assert_eq!(member.to_string(), "8e9e05c52164694d");
        assert_eq!(cluster_id(vec![member]).to_string(), "cdf818194e3a8c32");
    }
}
