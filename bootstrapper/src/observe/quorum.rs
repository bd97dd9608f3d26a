//! The linearizable list, from a voter's client URL, and who of it lives.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use plan::facts::{Heard, Listed, Peer, Quorum};
use plan::member::{ClusterId, Member, MemberId};

use super::Observer;
use crate::etcd::{Etcd, EtcdError, MemberList};
use crate::tls;

impl Observer {
    /// The list, if some voter that a peer names serves it now; else why, if this host's user may not read it.
    pub(super) async fn quorum(&mut self, peers: &[Peer]) -> (Option<Quorum>, Option<String>) {
        let mut denied = None;
        let mut urls: Vec<&String> = Vec::new();
        for peer in peers {
            let Heard::Cluster(answer) = &peer.heard else { continue };
            urls.extend(answer.members.iter().filter(|m| !m.learner).flat_map(|m| &m.client_urls));
        }
        let mut asked = BTreeSet::new();
        urls.retain(|url| asked.insert(url.as_str()));
        for url in urls {
            match self.list(url).await {
                Ok((mut etcd, list)) => return (Some(self.details(&mut etcd, list, peers).await), None),
                Err(EtcdError::Denied(why)) => denied = Some(why),
                Err(error) => tracing::debug!(%error, client_url = url.as_str(), "no linearizable list"),
            }
        }
        (None, denied)
    }

    async fn list(&self, url: &str) -> Result<(Etcd, MemberList), EtcdError> {
        let tls = tls::etcd_tls(&self.paths)
            .map_err(|e| EtcdError::Other { url: url.to_owned(), reason: format!("{e:#}") })?;
        let mut etcd = Etcd::at(url, tls).await?;
        let list = etcd.members().await?;
        Ok((etcd, list))
    }

    async fn details(&mut self, etcd: &mut Etcd, list: MemberList, peers: &[Peer]) -> Quorum {
        let denied = |error: EtcdError| match error {
            EtcdError::Denied(why) => Some(why),
            _other => None,
        };
        let (alarms, denied) = match etcd.alarms().await {
            Ok(alarms) => (alarms, None),
            Err(error) => (Vec::new(), denied(error)),
        };
        let version = peers.iter().find_map(|p| match &p.heard {
            Heard::Cluster(answer) if answer.cluster_id == list.cluster_id => answer.cluster,
            Heard::Cluster(_)
            | Heard::Waiting(_)
            | Heard::Founding { .. }
            | Heard::Holds { .. }
            | Heard::Unknown { .. } => None,
        });
        let alive = self.alive(&list).await;
        let members = list.members.iter().map(|member| {
            let answers = alive.contains(&member.id);
            let silent = silence(&mut self.heard, member.id, answers || heard_from(member, peers));
            Listed { member: member.clone(), answers, silent: silent.as_secs() }
        });
        Quorum { cluster_id: list.cluster_id, name: list.name, members: members.collect(), version, alarms, denied }
    }

    /// The members that answer on a client URL with their own ID; a learner answers too.
    async fn alive(&self, list: &MemberList) -> BTreeSet<MemberId> {
        let asked: Vec<_> = list
            .members
            .iter()
            .flat_map(|m| m.client_urls.iter().map(|url| (m.id, url.clone())))
            .filter_map(|(id, url)| Some((id, url, tls::etcd_tls(&self.paths).ok()?)))
            .map(|(id, url, tls)| tokio::spawn(answers(id, list.cluster_id, url, tls)))
            .collect();
        let mut alive = BTreeSet::new();
        for task in asked {
            alive.extend(task.await.ok().flatten());
        }
        alive
    }
}

/// For how long a member has been silent. It begins with the first list that has it, for it may have been added since we began.
fn silence(heard: &mut BTreeMap<MemberId, Instant>, id: MemberId, speaks: bool) -> Duration {
    let last = heard.entry(id).or_insert_with(Instant::now);
    if speaks {
        *last = Instant::now();
    }
    last.elapsed()
}

/// Whether anybody answered on one of its peer URLs, which ends its silence whoever it was.
fn heard_from(member: &Member, peers: &[Peer]) -> bool {
    peers.iter().filter(|p| member.has_peer_url(&p.peer_url)).any(|p| match &p.heard {
        Heard::Cluster(_) | Heard::Waiting(_) | Heard::Founding { .. } | Heard::Holds { .. } => true,
        Heard::Unknown { .. } => false,
    })
}

async fn answers(id: MemberId, cluster_id: ClusterId, url: String, tls: etcd_client::TlsOptions) -> Option<MemberId> {
    let mut etcd = Etcd::at(&url, tls).await.ok()?;
    let status = etcd.status().await.ok()?;
    (status.member_id == id && status.cluster_id == cluster_id).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_silent_from_when_it_was_first_listed_and_not_from_when_we_began() {
        let long = Duration::from_secs(60);
        let began = Instant::now().checked_sub(long).expect("this machine has been up for so long");
        let mut heard = BTreeMap::from([(MemberId(1), began)]);
        assert!(silence(&mut heard, MemberId(2), false) < long, "it was added a moment ago");
        assert!(silence(&mut heard, MemberId(1), false) >= long);
        assert!(silence(&mut heard, MemberId(1), true) < long);
    }
}
