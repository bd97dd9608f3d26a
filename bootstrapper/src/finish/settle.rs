//! A voter that serves: restored keys are compared, the cluster learns its name and our address, and it is written down
//! that this member has settled.

use anyhow::Result;
use plan::member::Member;
use plan::progress::{How, Record};
use plan::spec::Set;

use super::{Finish, Next};
use crate::etcd::{Etcd, MemberList};
use crate::exit::Exit;
use crate::paths::Paths;
use crate::report::Report;
use crate::snapshot::stage;
use crate::tls;

impl Finish<'_> {
    /// A linearizable read through self has just succeeded.
    pub(super) async fn settle(&mut self, own: &mut Etcd, list: &MemberList, report: &mut Report) -> Result<Next> {
        report.reached("serving");
        let Some(listed) = list.members.iter().find(|m| m.id == self.identity.member_id) else {
            return Ok(Next::Look("waiting for etcd to end: the cluster has removed this member".into()));
        };
        if !listed.has_peer_url(&self.me.peer_url) {
            own.update(listed.id, &self.me.peer_url).await?;
            return Ok(Next::Did(format!("told the cluster the new peer URL {}", self.me.peer_url)));
        }
        if matches!(self.life.how, Some(How::Restored | How::Recovered))
            && !self.life.settled
            && let Some(why) = self.accept_restore(own, list).await?
        {
            return Ok(Next::Look(why));
        }
        if list.name.is_none() {
            own.put("cluster", self.spec.cluster.as_str()).await?;
        }
        if !self.life.settled {
            self.journal.append(&Record::Settled { identity: self.identity.clone() })?;
            self.life.settled = true;
            // What the snapshot was fetched and staged in is not needed any more.
            stage::discard(self.paths)?;
        }
        let voters = list.members.iter().filter(|m| !m.learner).count();
        let answering = answering(self.paths, &list.members).await;
        report.reached("voter");
        let status = report.status();
        (status.serving, status.voter) = (true, true);
        status.safe_to_continue = answering == list.members.len() && voters >= usize::from(self.spec.size);
        let text = format!(
            "settled: {} ({}) is a voter of cluster {} ({}): {voters} voters, {answering} of {} members answer",
            self.identity.name,
            self.identity.member_id,
            self.spec.cluster,
            list.cluster_id,
            list.members.len()
        );
        report.say(&text);
        self.votes = true;
        let unclaimed = self.claimed(own, &list.members).await?;
        if self.spec.set == Set::Dynamic && voters > usize::from(self.spec.size) {
            return self.surge(voters, report).await;
        }
        Ok(unclaimed.map_or(Next::Done, |why| Next::Later(format!("{text}; {why}"))))
    }

    /// Keeps the claim once for each list that is seen.
    async fn claimed(&mut self, own: &mut Etcd, members: &[Member]) -> Result<Option<String>> {
        if self.claimed.as_deref() == Some(members) {
            return Ok(None);
        }
        let unclaimed = self.keep_claim(own).await?;
        self.claimed = unclaimed.is_none().then(|| members.to_vec());
        Ok(unclaimed)
    }

    /// DESIGN section 8: a write, stale alarms disarmed, equal keys on every member. What is waited for, if anything.
    async fn accept_restore(&mut self, own: &mut Etcd, list: &MemberList) -> Result<Option<String>> {
        own.disarm_stale(&list.members).await?;
        // It came along from the cluster that the snapshot was taken from, and nobody can join while it is another's.
        if list.name.as_ref() != Some(&self.spec.cluster) {
            own.put("cluster", self.spec.cluster.as_str()).await?;
        }
        own.put(&format!("restored/{}", self.identity.name), &self.identity.token).await?;
        let revision = own.status().await?.revision;
        let ours = own.hash_kv(revision).await?;
        // A learner has what the leader sends it, and may belong to a host that never comes.
        for member in list.members.iter().filter(|m| m.id != self.identity.member_id && !m.learner) {
            let Some(url) = member.client_urls.first() else {
                return Ok(Some(format!("waiting for {} to compare the restored keys with", member.label())));
            };
            let mut theirs = Etcd::at(url, tls::etcd_tls(self.paths)?).await?;
            match theirs.hash_kv(revision).await {
                Ok(theirs) if theirs == ours => {}
                // A compaction is not applied by all in one moment.
                Ok((_, compacted)) if compacted != ours.1 => {
                    return Ok(Some(format!(
                        "waiting for {} to have compacted what is compacted here",
                        member.label()
                    )));
                }
                Ok((hash, _)) => {
                    return Err(Exit::Refused.because(format!(
                        "the restored members hold different keys at revision {revision}: hash {:x} here, {hash:x} on {}; \
                         stop them all and restore again with a raised cluster.epoch",
                        ours.0,
                        member.label()
                    )));
                }
                Err(error) => {
                    return Ok(Some(format!(
                        "waiting for {} to compare the restored keys with: {error}",
                        member.label()
                    )));
                }
            }
        }
        Ok(None)
    }
}

/// How many members answer on a client URL.
pub async fn answering(paths: &Paths, members: &[Member]) -> usize {
    let mut count = 0;
    for member in members {
        for url in &member.client_urls {
            let Ok(tls) = tls::etcd_tls(paths) else { continue };
            let Ok(mut etcd) = Etcd::at(url, tls).await else { continue };
            if etcd.status().await.is_ok_and(|s| s.member_id == member.id) {
                count += 1;
                break;
            }
        }
    }
    count
}
