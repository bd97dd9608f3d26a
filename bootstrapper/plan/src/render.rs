//! etcd's environment from what was decided. With `options.rs` the only place that knows etcd's option names.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::member::{ClientUrl, MemberName, PeerUrl, Version};
use crate::options::Options;

/// Everything that etcd is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdConfig {
    /// The member's name.
    pub name: MemberName,
    /// etcd's data dir, absolute.
    pub data_dir: String,
    /// The directory of its log, absolute; `None` for the one in the data dir.
    pub wal_dir: Option<String>,
    /// Directory of `ca.crt`, `server.crt`, `server.key`, `peer.crt` and `peer.key`, absolute.
    pub pki: String,
    /// Names and peer URLs.
    pub initial_cluster: Vec<(String, String)>,
    /// Whether to say `new`: only for a committed founding without a WAL.
    pub new: bool,
    /// Whether its founding had no leader yet: then no member has keys that others lack.
    pub unled: bool,
    /// The initial-cluster-token.
    pub token: String,
    /// What members are told.
    pub peer_url: PeerUrl,
    /// What clients are told.
    pub client_url: ClientUrl,
    /// The address to listen on for both: every address, so that a reboot needs no network; see [`listen_on`].
    pub listen: IpAddr,
    /// Which etcd it is for.
    pub version: Version,
    /// What its database may come to on its disk, see [`fits`].
    pub fits: u64,
    /// The user's options, by environment name; they override the defaults here.
    pub options: BTreeMap<String, String>,
}

/// Kubernetes outgrows etcd's 2 GiB.
pub const QUOTA: u64 = 8 << 30;

/// What lies beside a database: five log files of 64 MB and the one that is allocated ahead (etcd's `--max-wals`), and what is
/// this program's.
const BESIDE: u64 = 512 << 20;

/// What a database may come to on a file system of so many bytes, of which it has so many already.
///
/// etcd at its quota refuses writes with an alarm, and still deletes and compacts; on a full disk it ends, and so do all others
/// that have as small a disk.
pub fn fits(disk: u64, database: u64) -> u64 {
    // Never less than is there: an alarm would be this program's doing.
    disk.saturating_sub(BESIDE).max(disk / 4).max(database / 8 * 9)
}

impl EtcdConfig {
    /// The lines of an EnvironmentFile in a fixed order: `ETCD_NAME="etcd-1"`.
    ///
    /// Values are quoted after systemd.exec(5), so that nothing in them ends the line or is expanded.
    pub fn environment(&self) -> String {
        let options = Options::default().with(self.defaults()).with(self.options.clone());
        let mut env = options.spelled_for(self.version);
        env.extend(self.decided());
        env.iter().map(|(key, value)| format!("{key}=\"{}\"\n", escape(value))).collect()
    }

    /// Defaults for Kubernetes where they differ from etcd's own; reasons stand in README's table of defaults.
    fn defaults(&self) -> BTreeMap<String, String> {
        // The check waits seven seconds for others' answers, and they answer only after their own (etcd server
        // etcdserver/corrupt.go, InitialCheck; embed/etcd.go): those that start together would all wait for nothing.
        let checked = !self.unled;
        let corrupt_check = ("ETCD_FEATURE_GATES", "InitialCorruptCheck=true");
        let quota = QUOTA.min(self.fits).to_string();
        [
            ("ETCD_QUOTA_BACKEND_BYTES", quota.as_str()),
            ("ETCD_SNAPSHOT_COUNT", "10000"),
            ("ETCD_LISTEN_METRICS_URLS", "http://127.0.0.1:2381"),
            ("ETCD_LOG_LEVEL", "info"),
        ]
        .into_iter()
        .chain(checked.then_some(corrupt_check))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
    }

    fn decided(&self) -> Vec<(String, String)> {
        let cluster: Vec<String> = self.initial_cluster.iter().map(|(name, url)| format!("{name}={url}")).collect();
        let pki = |file: &str| format!("{}/{file}", self.pki);
        let listen = |port| PeerUrl::of(self.listen, port).to_string();
        [
            ("ETCD_NAME", self.name.to_string()),
            ("ETCD_DATA_DIR", self.data_dir.clone()),
            ("ETCD_INITIAL_CLUSTER", cluster.join(",")),
            ("ETCD_INITIAL_CLUSTER_STATE", if self.new { "new" } else { "existing" }.into()),
            ("ETCD_INITIAL_CLUSTER_TOKEN", self.token.clone()),
            ("ETCD_INITIAL_ADVERTISE_PEER_URLS", self.peer_url.to_string()),
            ("ETCD_ADVERTISE_CLIENT_URLS", self.client_url.to_string()),
            ("ETCD_LISTEN_PEER_URLS", listen(self.peer_url.port())),
            ("ETCD_LISTEN_CLIENT_URLS", listen(self.client_url.port())),
            ("ETCD_STRICT_RECONFIG_CHECK", "true".into()),
            ("ETCD_CLIENT_CERT_AUTH", "true".into()),
            ("ETCD_TRUSTED_CA_FILE", pki("ca.crt")),
            ("ETCD_CERT_FILE", pki("server.crt")),
            ("ETCD_KEY_FILE", pki("server.key")),
            ("ETCD_PEER_CLIENT_CERT_AUTH", "true".into()),
            ("ETCD_PEER_TRUSTED_CA_FILE", pki("ca.crt")),
            ("ETCD_PEER_CERT_FILE", pki("peer.crt")),
            ("ETCD_PEER_KEY_FILE", pki("peer.key")),
        ]
        .into_iter()
        .chain(self.wal_dir.iter().map(|wal| ("ETCD_WAL_DIR", wal.clone())))
        .map(|(k, v)| (k.to_owned(), v))
        .collect()
    }
}

/// Bytes that etcd lets its database have with these options of the user's; `None` where they switch the quota off.
///
/// etcd takes 0 for its own default of 2 GiB, and anything negative for no quota (server/etcdserver/quota.go).
pub fn quota(options: &BTreeMap<String, String>) -> Option<u64> {
    match options.get("ETCD_QUOTA_BACKEND_BYTES").map(|text| text.parse::<i64>()) {
        None | Some(Err(_)) => Some(QUOTA),
        Some(Ok(0)) => Some(2 << 30),
        Some(Ok(bytes)) => u64::try_from(bytes).ok(),
    }
}

/// Where etcd listens for a member at this address: on every address of its family, because waiting for one would make
/// a reboot wait for the network. A loopback address stays itself, since several members may share a host then.
pub fn listen_on(address: IpAddr) -> IpAddr {
    match address {
        a if a.is_loopback() => a,
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// systemd.exec(5), EnvironmentFile=: inside double quotes a backslash protects `"`, `\`, `` ` `` and `$`.
fn escape(value: &str) -> String {
    value.chars().flat_map(|c| if matches!(c, '"' | '\\' | '`' | '$') { vec!['\\', c] } else { vec![c] }).collect()
}
