//! Asking everybody else on their peer URLs, over mutual TLS, all at once.

use std::time::Duration;

use anyhow::{Context, Result};
use plan::facts::{Answer, Heard, Peer};
use plan::member::{ClusterId, Member, MemberId, MemberName, PeerUrl};
use serde::Deserialize;

use crate::answer;
use crate::tls;

/// TCP and TLS handshakes with a peer.
const CONNECT: Duration = Duration::from_secs(2);

/// A whole answer of a peer.
const ANSWER: Duration = Duration::from_secs(4);

/// The largest answer that is read, bytes; a list of a hundred members is a tenth of it.
const LIMIT: usize = 256 << 10;

/// Asks peers on their peer URLs.
#[derive(Clone)]
pub struct Asker {
    client: reqwest::Client,
}

/// A member as etcd's peer handler and its database write it (etcd: server/etcdserver/api/etcdhttp/peer.go).
#[derive(Deserialize)]
pub(super) struct PeerMember {
    id: u64,
    #[serde(default)]
    name: String,
    #[serde(default, rename = "peerURLs")]
    peer_urls: Vec<String>,
    #[serde(default, rename = "clientURLs")]
    client_urls: Vec<String>,
    #[serde(default, rename = "isLearner")]
    learner: bool,
}

#[derive(Deserialize)]
struct Versions {
    etcdserver: String,
    etcdcluster: String,
}

impl Asker {
    /// An asker that shows this certificate.
    ///
    /// # Errors
    /// When the TLS configuration is unusable.
    pub fn new(tls: rustls::ClientConfig) -> Result<Asker> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .http1_only()
            // A bootstrapper closes each connection, and an etcd that took its place must be met anew.
            .pool_max_idle_per_host(0)
            .build()
            .context("cannot make the client for peers")?;
        Ok(Asker { client })
    }

    /// What each of these answers, in their order.
    pub async fn ask(&self, whom: Vec<(Option<MemberName>, PeerUrl)>) -> Vec<Peer> {
        let asked: Vec<_> = whom
            .into_iter()
            .map(|(name, peer_url)| {
                let asker = self.clone();
                tokio::spawn(async move {
                    let heard = asker.one(&peer_url).await;
                    Peer { name, peer_url, heard }
                })
            })
            .collect();
        let mut peers = Vec::new();
        for task in asked {
            // A task ends badly only when it panics, and then nothing was heard.
            peers.extend(task.await);
        }
        peers
    }

    async fn one(&self, peer_url: &PeerUrl) -> Heard {
        match tokio::time::timeout(ANSWER * 2, self.heard(peer_url)).await {
            Ok(Ok(heard)) => heard,
            Ok(Err(error)) => Heard::Unknown { reason: reason(&error) },
            Err(_) => Heard::Unknown { reason: format!("no answer within {} s", ANSWER.as_secs() * 2) },
        }
    }

    async fn heard(&self, peer_url: &PeerUrl) -> Result<Heard> {
        if let Some((body, _)) = self.get(peer_url, answer::PATH).await? {
            return of_a_bootstrapper(&body);
        }
        let (members, cluster_id) =
            self.get(peer_url, "/members").await?.context("it is neither an etcd nor a bootstrapper")?;
        let cluster_id: ClusterId = cluster_id.context("it answers /members without X-Etcd-Cluster-ID")?.parse()?;
        let (versions, _) = self.get(peer_url, "/version").await?.context("it has no /version")?;
        of_etcd(cluster_id, &members, &versions)
    }

    /// The body and the cluster ID of its header; `None` for 404.
    async fn get(&self, peer_url: &PeerUrl, path: &str) -> Result<Option<(Vec<u8>, Option<String>)>> {
        let mut response = self.client.get(format!("{peer_url}{path}")).send().await?;
        if response.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        anyhow::ensure!(
            response.status() == reqwest::StatusCode::OK,
            "it answers {path} with HTTP {}",
            response.status()
        );
        let cluster_id = response.headers().get("x-etcd-cluster-id").and_then(|v| v.to_str().ok()).map(str::to_owned);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            anyhow::ensure!(body.len() + chunk.len() <= LIMIT, "its answer to {path} is larger than {LIMIT} bytes");
            body.extend_from_slice(&chunk);
        }
        Ok(Some((body, cluster_id)))
    }
}

/// What a bootstrapper says.
pub(crate) fn of_a_bootstrapper(body: &[u8]) -> Result<Heard> {
    serde_json::from_slice(body).context("it answers like a bootstrapper of another version")
}

/// What an etcd says on `/members` and `/version`.
pub(crate) fn of_etcd(cluster_id: ClusterId, members: &[u8], versions: &[u8]) -> Result<Heard> {
    let members: Vec<PeerMember> = serde_json::from_slice(members).context("its /members is not what etcd answers")?;
    let versions: Versions = serde_json::from_slice(versions).context("its /version is not what etcd answers")?;
    Ok(Heard::Cluster(Answer {
        cluster_id,
        members: members.into_iter().map(Into::into).collect(),
        server: versions.etcdserver.parse()?,
        // `not_decided` until a leader has decided one.
        cluster: versions.etcdcluster.parse().ok(),
    }))
}

impl From<PeerMember> for Member {
    fn from(m: PeerMember) -> Member {
        Member {
            id: MemberId(m.id),
            name: m.name,
            peer_urls: m.peer_urls,
            client_urls: m.client_urls,
            learner: m.learner,
        }
    }
}

/// The reason in a few words; a person fixes a firewall, a certificate and a stopped host in different ways.
fn reason(error: &anyhow::Error) -> String {
    if let Some(why) = tls::explain(error.as_ref()) {
        return format!("TLS failed: {why}");
    }
    let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
    let all = chain.join(": ");
    let has = |part: &str| all.contains(part);
    match () {
        () if has("Connection refused") => {
            "connection refused: the host is up, and neither etcd nor the bootstrapper listens".into()
        }
        () if has("No route to host") || has("Network is unreachable") => "no route to it".into(),
        () if has("dns error") || has("failed to lookup") => {
            format!("its name does not resolve: {}", chain.last().map_or("", String::as_str))
        }
        () if has("timed out") || has("deadline has elapsed") => {
            "no answer: the host is down, or a firewall drops the peer port".into()
        }
        () => chain.last().cloned().unwrap_or_default(),
    }
}
