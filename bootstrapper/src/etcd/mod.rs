//! One etcd at a time: asking all at once through a balanced client would hide who answered.

mod backup;
mod error;
mod lock;

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_client::{AlarmAction, AlarmType, Client, ConnectOptions, GetOptions, MemberAddOptions, TlsOptions};
use plan::facts::Me;
use plan::member::{ClusterId, ClusterName, Member, MemberId, PeerUrl, Version};

pub use backup::{KEEP, Noted, Stream, Turn};
pub use error::EtcdError;
pub use lock::Locked;

/// Everything we keep in etcd is below this prefix.
pub const PREFIX: &str = "/etcd-bootstrapper/";

/// For one call; a linearizable one waits for a quorum, which takes up to an election when a leader has just died.
const CALL: Duration = Duration::from_secs(5);

/// For one call to this host's own member.
const LOCAL: Duration = Duration::from_secs(1);

/// For the TCP and TLS handshakes.
const CONNECT: Duration = Duration::from_secs(2);

/// A client of one member.
pub struct Etcd {
    client: Client,
    url: String,
    limit: Duration,
}

/// What one member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Its own ID.
    pub member_id: MemberId,
    /// Its etcd.
    pub version: Option<Version>,
    /// Whether it knows a leader.
    pub led: bool,
    /// Whether it is the leader itself.
    pub leads: bool,
    /// What it says is wrong with it.
    pub errors: Vec<String>,
    /// Whether it is a learner.
    pub learner: bool,
    /// Size of its database, bytes.
    pub db_size: u64,
    /// Its raft index.
    pub raft_index: u64,
    /// Its revision.
    pub revision: u64,
}

/// A member list no older than the moment it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberList {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// All members, lowest ID first.
    pub members: Vec<Member>,
    /// The name that the first settled member wrote.
    pub name: Option<ClusterName>,
}

/// This host's own member: etcd listens on every address, unless several members share this host's loopback.
pub fn local_url(me: &Me) -> String {
    match me.client_url.host().parse::<std::net::IpAddr>() {
        Ok(ip) if ip.is_loopback() => me.client_url.to_string(),
        Ok(_) | Err(_) => format!("https://127.0.0.1:{}", me.client_url.port()),
    }
}

impl Etcd {
    /// A client of the member that serves this client URL; the connection is made by the first call.
    ///
    /// # Errors
    /// When the URL is not one.
    pub async fn at(url: &str, tls: TlsOptions) -> Result<Etcd, EtcdError> {
        Etcd::within(CALL, url, tls).await
    }

    /// A client of this host's own member: one that has no quorum yet accepts connections and says nothing, and is
    /// asked again soon.
    ///
    /// # Errors
    /// When the URL is not one.
    pub async fn local(url: &str, tls: TlsOptions) -> Result<Etcd, EtcdError> {
        Etcd::within(LOCAL, url, tls).await
    }

    async fn within(limit: Duration, url: &str, tls: TlsOptions) -> Result<Etcd, EtcdError> {
        // `with_timeout` too: a peer that accepts and stays silent is not covered by the connect timeout.
        let options = ConnectOptions::new().with_tls(tls).with_connect_timeout(CONNECT).with_timeout(limit);
        let client = error::within(limit, url, "connect", Client::connect([url], Some(options))).await?;
        Ok(Etcd { client, url: url.to_owned(), limit })
    }

    /// The URL that is asked.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The member list, linearizable: refused without quorum and by a learner.
    ///
    /// # Errors
    /// [`EtcdError`], by what the caller can do about it.
    pub async fn members(&mut self) -> Result<MemberList, EtcdError> {
        // The crate asks for a serializable list. A linearizable read first makes this very member apply all that
        // was committed when it was asked, membership included, so its own list afterwards is no older than that.
        let key = format!("{PREFIX}cluster");
        let read = error::within(self.limit, &self.url, "read", self.client.get(key, Some(GetOptions::new()))).await?;
        let name = read.kvs().first().and_then(|kv| kv.value_str().ok()).and_then(|v| v.parse().ok());
        let list = error::within(self.limit, &self.url, "list members", self.client.member_list()).await?;
        let cluster_id = ClusterId(list.header().map_or(0, |h| h.cluster_id()));
        let mut members: Vec<Member> = list.members().iter().map(member).collect();
        members.sort_by_key(|m| m.id);
        Ok(MemberList { cluster_id, members, name })
    }

    /// What the member says of itself; needs no quorum.
    ///
    /// # Errors
    /// [`EtcdError`].
    pub async fn status(&mut self) -> Result<Status, EtcdError> {
        let status = error::within(self.limit, &self.url, "ask for the status", self.client.status()).await?;
        let header = status.header();
        Ok(Status {
            cluster_id: ClusterId(header.map_or(0, |h| h.cluster_id())),
            member_id: MemberId(header.map_or(0, |h| h.member_id())),
            version: status.version().parse().ok(),
            led: status.leader() != 0,
            leads: status.leader() != 0 && header.is_some_and(|h| h.member_id() == status.leader()),
            errors: status.errors().to_vec(),
            learner: status.is_learner(),
            db_size: u64::try_from(status.db_size()).unwrap_or_default(),
            raft_index: status.raft_index(),
            revision: header.and_then(|h| u64::try_from(h.revision()).ok()).unwrap_or_default(),
        })
    }

    /// Alarms that are on, in etcd's words.
    ///
    /// # Errors
    /// [`EtcdError`].
    pub async fn alarms(&mut self) -> Result<Vec<String>, EtcdError> {
        let call = self.client.alarm(AlarmAction::Get, AlarmType::None, None);
        let alarms = error::within(self.limit, &self.url, "list alarms", call).await?;
        let name = |a: AlarmType| match a {
            AlarmType::None => "NONE",
            AlarmType::Nospace => "NOSPACE",
            AlarmType::Corrupt => "CORRUPT",
        };
        Ok(alarms.alarms().iter().map(|a| format!("{} on member {:x}", name(a.alarm()), a.member_id())).collect())
    }

    /// Adds a learner and gives back its ID.
    ///
    /// # Errors
    /// [`EtcdError`]; after a timeout the member may have been added all the same.
    pub async fn add_learner(&mut self, peer_url: &PeerUrl) -> Result<MemberId, EtcdError> {
        let options = MemberAddOptions::new().with_is_learner();
        let call = self.client.member_add([peer_url.to_string()], Some(options));
        let added = error::within(self.limit, &self.url, "add a learner", call).await?;
        Ok(MemberId(added.member().map_or(0, |m| m.id())))
    }

    /// Removes a member; one that is not there is no error.
    ///
    /// # Errors
    /// [`EtcdError`].
    pub async fn remove(&mut self, member: MemberId) -> Result<(), EtcdError> {
        match error::within(self.limit, &self.url, "remove a member", self.client.member_remove(member.0)).await {
            Ok(_) | Err(EtcdError::MemberNotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes a learner a voter; one that votes already is no error.
    ///
    /// # Errors
    /// [`EtcdError::NotInSync`] until it has caught up.
    pub async fn promote(&mut self, member: MemberId) -> Result<(), EtcdError> {
        match error::within(self.limit, &self.url, "promote a learner", self.client.member_promote(member.0)).await {
            Ok(_) | Err(EtcdError::NotALearner) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Tells the cluster a member's new peer URL.
    ///
    /// # Errors
    /// [`EtcdError`].
    pub async fn update(&mut self, member: MemberId, peer_url: &PeerUrl) -> Result<(), EtcdError> {
        let call = self.client.member_update(member.0, [peer_url.to_string()]);
        error::within(self.limit, &self.url, "update a peer URL", call).await.map(drop)
    }

    /// Writes a key of ours, `name` below [`PREFIX`].
    ///
    /// # Errors
    /// [`EtcdError`].
    pub async fn put(&mut self, name: &str, value: &str) -> Result<(), EtcdError> {
        let call = self.client.put(format!("{PREFIX}{name}"), value, None);
        error::within(self.limit, &self.url, "write", call).await.map(drop)
    }

    /// Keys of ours that begin with `name` below [`PREFIX`], each without both, with their values.
    ///
    /// # Errors
    /// [`EtcdError`].
    pub async fn ours(&mut self, name: &str) -> Result<BTreeMap<String, String>, EtcdError> {
        let prefix = format!("{PREFIX}{name}");
        let options = Some(GetOptions::new().with_prefix());
        let read = error::within(self.limit, &self.url, "read", self.client.get(prefix.as_str(), options)).await?;
        let text = |kv: &etcd_client::KeyValue| {
            let key = kv.key_str().ok()?.strip_prefix(&prefix)?.to_owned();
            Some((key, kv.value_str().ok()?.to_owned()))
        };
        Ok(read.kvs().iter().filter_map(text).collect())
    }

    /// The hash over all keys at a revision, with the revision that was compacted last; both are equal on equal members.
    ///
    /// # Errors
    /// [`EtcdError`].
    pub async fn hash_kv(&mut self, revision: u64) -> Result<(u32, u64), EtcdError> {
        let revision = i64::try_from(revision).unwrap_or_default();
        let hash = error::within(self.limit, &self.url, "hash the keys", self.client.hash_kv(revision)).await?;
        Ok((hash.hash(), u64::try_from(hash.compact_version()).unwrap_or_default()))
    }

    /// Disarms alarms of members that are not in the list any more; a restored database brings them along.
    ///
    /// # Errors
    /// [`EtcdError`].
    pub async fn disarm_stale(&mut self, members: &[Member]) -> Result<(), EtcdError> {
        let call = self.client.alarm(AlarmAction::Get, AlarmType::None, None);
        let alarms = error::within(self.limit, &self.url, "list alarms", call).await?;
        for alarm in alarms.alarms().iter().filter(|a| !members.iter().any(|m| m.id.0 == a.member_id())) {
            let mut options = etcd_client::AlarmOptions::new();
            options.with_member(alarm.member_id());
            let call = self.client.alarm(AlarmAction::Deactivate, alarm.alarm(), Some(options));
            error::within(self.limit, &self.url, "disarm an alarm", call).await?;
        }
        Ok(())
    }
}

fn member(m: &etcd_client::Member) -> Member {
    Member {
        id: MemberId(m.id()),
        name: m.name().to_owned(),
        peer_urls: m.peer_urls().to_vec(),
        client_urls: m.client_urls().to_vec(),
        learner: m.is_learner(),
    }
}
