//! While etcd does not serve: what is waited for, and whether this host should decide anew.

use anyhow::Result;
use plan::decision::{Decision, short};
use plan::facts::{DataDir, Facts};
use plan::founding::Founding;
use plan::progress::{How, Record};
use plan::recovery;

use super::{Finish, Next, STUCK};
use crate::etcd::EtcdError;
use crate::report::Report;
use crate::sys::{fs, systemd};

impl Finish<'_> {
    pub(super) async fn not_up(&mut self, error: &EtcdError, report: &mut Report) -> Result<Next> {
        match self.life.committed.clone() {
            Some(founding) if !self.life.led => self.still_in(&founding, &format!("etcd is not up yet: {error}")).await,
            // A learner's etcd answers once it has what its cluster has.
            _ if self.life.how == Some(How::Joined) && !self.life.settled => {
                let fetched = fs::size_below(&self.paths.data().join("member/snap")) >> 20;
                let fetches =
                    format!("waiting for etcd, which fetches what its cluster has: a database of {fetched} MiB");
                self.without_a_quorum(&format!("{fetches} until now, and {error}"), report).await
            }
            // Without a quorum etcd listens and answers nobody.
            Some(_) | None => self.without_a_quorum(&format!("waiting for etcd to start: {error}"), report).await,
        }
    }

    pub(super) async fn unled(&mut self, report: &mut Report) -> Result<Next> {
        match self.life.committed.clone() {
            Some(founding) if !self.life.led => self.still_in(&founding, "there is no leader yet").await,
            Some(_) | None => {
                self.without_a_quorum("waiting for a leader: a quorum of the voters must be up", report).await
            }
        }
    }

    /// Row 3 again: the hosts that the operator's word waits for may have become blank since; else what the word would be.
    async fn without_a_quorum(&mut self, waiting: &str, report: &mut Report) -> Result<Next> {
        let long = self.began.elapsed() >= STUCK;
        if !long && recovery::pending(&self.spec, &self.life.past).is_none() {
            return Ok(Next::Look(waiting.to_owned()));
        }
        let data = DataDir::Member(self.identity.clone());
        let facts = self.observer.facts(&self.spec, &self.me, data, &self.life).await;
        let decided = plan::decide(&self.spec, &facts);
        if matches!(decided.row, 3 | 5) {
            if systemd::is_here() {
                tracing::warn!("{}", decided.explain());
                systemd::decide_anew().await?;
            }
            return Ok(Next::Look(format!("this host decides anew: {}", decided.about())));
        }
        if let Some(decided) = plan::stranded(&facts, &self.identity).filter(|_| long) {
            return self.change_members(&decided, &facts, report).await;
        }
        let silent = plan::silent(&facts);
        // Who shows or refuses a certificate is up, so nobody is lost there.
        let long = long && !silent.iter().any(|who| who.contains(": TLS failed: "));
        let held_back = recovery::held_back(&self.spec, &facts, &self.identity);
        let more = silent.into_iter().chain(held_back).chain(recovery::remedy(&self.spec, &facts).filter(|_| long));
        let more: String = more.map(|text| format!("; {text}")).collect();
        Ok(Next::Look(format!("{waiting}{more}")))
    }

    /// A leader takes a quorum, so a word that was given for the loss of one is over; it must not be carried out when
    /// this host happens to be the first one up after some later power cut.
    pub(super) fn outlive(&mut self) -> Result<()> {
        if let Some(word) = recovery::pending(&self.spec, &self.life.past) {
            let epoch = word.epoch;
            self.journal.append(&Record::Outlived { epoch })?;
            self.life.past.epoch = Some(epoch);
            tracing::info!("the cluster has a leader, so `recover` with epoch {epoch} is over for this host");
        }
        Ok(())
    }

    /// Row 7 again: a founding that cannot get a quorum any more is left.
    async fn still_in(&mut self, founding: &Founding, why: &str) -> Result<Next> {
        let data = DataDir::Founding { founding: founding.clone(), wal: true };
        let facts = self.observer.facts(&self.spec, &self.me, data, &self.life).await;
        let decided = plan::decide(&self.spec, &facts);
        if let Decision::Proceed(_) = decided.decision {
            tracing::warn!("{}", decided.explain());
            systemd::decide_anew().await?;
            return Ok(Next::Look("this host decides anew".into()));
        }
        let who = not_up_yet(&facts);
        Ok(Next::Look(format!("waiting for a quorum of founding {}: {why}; {who}", short(&founding.id()))))
    }
}

fn not_up_yet(facts: &Facts) -> String {
    let silent: Vec<String> = facts
        .peers
        .iter()
        .filter(|p| !matches!(p.heard, plan::facts::Heard::Cluster(_)))
        .map(|p| p.name.as_ref().map_or_else(|| p.peer_url.to_string(), ToString::to_string))
        .collect();
    if silent.is_empty() { "all peers are up".into() } else { format!("no etcd answers at {}", silent.join(", ")) }
}
