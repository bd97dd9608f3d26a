//! Changes of the members that a member makes itself: its promotion, its removal as a learner that nobody can reach, and
//! that of the one too many after a surge.

use std::net::Ipv4Addr;

use anyhow::Result;
use plan::decision::{Decided, Decision};
use plan::facts::{DataDir, Facts, Quorum};
use plan::member::Version;

use super::{Finish, Next, STUCK};
use crate::apply::{Tools, apply};
use crate::etcd::{Etcd, EtcdError, Status};
use crate::observe;
use crate::report::Report;
use crate::sys::net;
use crate::tls;

/// From here on a promotion survives in the v3 store (etcd issues 19557 and 20793).
const PERSISTS_PROMOTION: Version = Version { major: 3, minor: 5, patch: 24 };

impl Finish<'_> {
    pub(super) async fn promote(&mut self, status: &Status, report: &mut Report) -> Result<Next> {
        let data = DataDir::Member(self.identity.clone());
        let facts = self.observer.facts(&self.spec, &self.me, data, &self.life).await;
        let Some(quorum) = &facts.quorum else {
            if let Some(why) = facts.denied {
                return Err(EtcdError::Denied(why).into());
            }
            return Ok(Next::Look("waiting to be promoted: no voter serves a linearizable list".into()));
        };
        let (mut why, mut denied) = ("no voter answers".to_owned(), None);
        for url in voters_of(quorum) {
            let mut voter = Etcd::at(url, tls::etcd_tls(self.paths)?).await?;
            match voter.promote(status.member_id).await {
                Ok(()) => return Ok(Next::Did(self.promoted())),
                // A follower before 3.5.28 may not pass on what its leader allows (etcd pull request 20874).
                Err(error @ EtcdError::Denied(_)) => denied = Some(error),
                Err(error) => why = error.to_string(),
            }
        }
        if let Some(denied) = denied {
            return Err(denied.into());
        }
        if let Some(decided) = plan::stranded(&facts, &self.identity).filter(|_| self.began.elapsed() >= STUCK) {
            return self.change_members(&decided, &facts, report).await;
        }
        Ok(Next::Look(format!(
            "waiting to be promoted: {why} (raft index {}, database {} KiB)",
            status.raft_index,
            status.db_size >> 10
        )))
    }

    fn promoted(&self) -> String {
        if self.etcd < PERSISTS_PROMOTION {
            tracing::warn!(
                "etcd {} does not persist a promotion: after a restart this member may list itself as a learner; use {PERSISTS_PROMOTION} or newer",
                self.etcd
            );
        }
        format!("{} ({}) was promoted to voter", self.identity.name, self.identity.member_id)
    }

    /// After new was launched before old is ended: the one that the provider has ended goes.
    pub(super) async fn surge(&mut self, voters: usize, report: &mut Report) -> Result<Next> {
        let data = DataDir::Member(self.identity.clone());
        let facts = self.observer.facts(&self.spec, &self.me, data, &self.life).await;
        let size = self.spec.size;
        let Some(decided) = plan::surplus(&self.spec, &facts) else {
            let why = format!("there are {voters} voters and cluster.size is {size}");
            return Ok(Next::Later(format!("{why}: waiting until the group ends an instance of them")));
        };
        self.change_members(&decided, &facts, report).await
    }

    pub(super) async fn change_members(&self, decided: &Decided, facts: &Facts, report: &mut Report) -> Result<Next> {
        report.decided(decided);
        let Decision::Proceed(plan) = &decided.decision else {
            return Ok(Next::Later(decided.explain()));
        };
        let tools = Tools {
            paths: self.paths,
            spec: &self.spec,
            host: &self.host,
            me: &self.me,
            address: tls::names(self.paths).ok().flatten().map_or(Ipv4Addr::LOCALHOST.into(), |names| names.address),
            place: &observe::place(self.paths, self.me.instance_id.clone()),
            owner: net::user("etcd"),
            store: None,
            voters: facts.quorum.iter().flat_map(voters_of).cloned().collect(),
            etcd: self.etcd,
        };
        apply(plan, &tools, report).await?;
        Ok(Next::Look("looking at the members again".into()))
    }
}

fn voters_of(quorum: &Quorum) -> impl Iterator<Item = &String> {
    quorum.members.iter().filter(|l| l.answers && !l.member.learner).flat_map(|l| &l.member.client_urls)
}
