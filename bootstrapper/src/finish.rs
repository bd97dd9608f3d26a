//! After the hand-off, beside etcd's start: promote a learner, verify, settle. While a founding has no leader, ask
//! again whether it still can get one.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use plan::decision::{Decided, Decision, short};
use plan::facts::{DataDir, Facts, Identity, Me, Quorum};
use plan::founding::Founding;
use plan::member::{Member, Version};
use plan::progress::{How, Life, Record};
use plan::recovery;
use plan::spec::{Host, Set, Spec};

use crate::apply::journal::Journal;
use crate::apply::{Tools, apply};
use crate::etcd::{Etcd, EtcdError, MemberList, Status};
use crate::exit::Exit;
use crate::metadata;
use crate::observe::{self, Observer};
use crate::paths::Paths;
use crate::prepare::renewed;
use crate::report::Report;
use crate::run::etcd_version;
use crate::snapshot::stage;
use crate::sys::{clock, fs, net, systemd};
use crate::tls;

/// Between two looks at etcd.
const LOOK: Duration = Duration::from_millis(250);

/// Without a leader for so long, a majority may be lost; when a whole site boots, its hosts come up within this.
const STUCK: Duration = Duration::from_secs(15);

/// Between two looks at what takes its time: a group that ends an instance when it likes, an etcd that did not answer.
const LATER: Duration = Duration::from_secs(2);

/// From here on a promotion survives in the v3 store (etcd issues 19557 and 20793).
const PERSISTS_PROMOTION: Version = Version { major: 3, minor: 5, patch: 24 };

/// Everything that finish looks at.
struct Finish<'a> {
    paths: &'a Paths,
    spec: Spec,
    host: Host,
    me: Me,
    identity: Identity,
    life: Life,
    journal: Journal,
    observer: Observer,
    etcd: Version,
    began: Instant,
}

/// `etcd-bootstrapper finish`: ends when this member has settled.
///
/// # Errors
/// 78 when a restored member holds other keys than the others, or etcd refuses for good.
pub async fn finish(paths: &Paths) -> Result<()> {
    let mut report = Report::open(paths);
    let mut finish = Finish::begin(paths).await?;
    loop {
        let next = match finish.step(&mut report).await {
            // A person gives the permission while this waits.
            Err(error) if matches!(error.downcast_ref(), Some(EtcdError::Denied(_))) => {
                Next::Later(format!("waiting to be allowed: {error:#}; {}", plan::NOT_ALLOWED))
            }
            // An etcd that is slow to answer is not a reason to tell the console that something failed.
            Err(error) if matches!(Exit::of(&error), Exit::TryAgain | Exit::Unavailable) => {
                Next::Later(format!("trying again: {error:#}"))
            }
            next => next?,
        };
        finish.keep_certified()?;
        match next {
            Next::Look(why) => {
                report.say(&why);
                tokio::time::sleep(LOOK).await;
            }
            Next::Later(why) => {
                report.say(&why);
                tokio::time::sleep(LATER).await;
            }
            Next::Done => return Ok(()),
        }
    }
}

enum Next {
    Look(String),
    Later(String),
    Done,
}

impl<'a> Finish<'a> {
    async fn begin(paths: &'a Paths) -> Result<Finish<'a>> {
        let loaded =
            metadata::remembered(paths)?.context("finish runs after `run`, which keeps the configuration it used")?;
        let me =
            fs::read_text(&paths.me(), 1 << 16)?.context("finish runs after `run`, which says who this host is")?;
        let etcd = etcd_version(paths).await?;
        let journal = Journal::of(paths);
        Ok(Finish {
            paths,
            observer: Observer::new(paths, etcd, loaded.host.inventory.as_deref())?,
            spec: loaded.spec,
            host: loaded.host,
            me: serde_json::from_str(&me)?,
            identity: observe::identity(paths)?.context("finish runs after `run`, which writes identity.json")?,
            life: journal.read()?,
            journal,
            etcd,
            began: Instant::now(),
        })
    }

    async fn step(&mut self, report: &mut Report) -> Result<Next> {
        let mut own = match Etcd::local(&self.local_url(), tls::etcd_tls(self.paths)?).await {
            Ok(etcd) => etcd,
            Err(error) => return Ok(Next::Look(format!("waiting for etcd to start: {error}"))),
        };
        let status = match own.status().await {
            Ok(status) => status,
            Err(error @ EtcdError::Denied(_)) => return Err(error.into()),
            Err(error) => return self.not_up(&error, report).await,
        };
        if !status.led {
            return self.unled(report).await;
        }
        self.outlive()?;
        self.note_led(&status)?;
        if status.learner {
            return self.promote(&status, report).await;
        }
        match own.members().await {
            Ok(list) => self.settle(&mut own, &list, report).await,
            Err(error @ EtcdError::Denied(_)) => Err(error.into()),
            Err(error) => Ok(Next::Look(format!("waiting for quorum: {error}"))),
        }
    }

    /// etcd reads its certificates at every connection, so new ones heal what a clock that was wrong has left.
    fn keep_certified(&mut self) -> Result<()> {
        if tls::certificates_problem(self.paths, clock::known()).is_none() {
            return Ok(());
        }
        // Whoever else holds the lock may be at just that.
        let Ok(_lock) = self.journal.lock() else { return Ok(()) };
        if renewed(self.paths) {
            self.observer = Observer::new(self.paths, self.etcd, self.host.inventory.as_deref())?;
        }
        Ok(())
    }

    /// etcd listens on every address, unless several members share this host's loopback.
    fn local_url(&self) -> String {
        match self.me.client_url.host().parse::<std::net::IpAddr>() {
            Ok(ip) if ip.is_loopback() => self.me.client_url.to_string(),
            Ok(_) | Err(_) => format!("https://127.0.0.1:{}", self.me.client_url.port()),
        }
    }

    async fn not_up(&mut self, error: &EtcdError, report: &mut Report) -> Result<Next> {
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

    async fn unled(&mut self, report: &mut Report) -> Result<Next> {
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
    fn outlive(&mut self) -> Result<()> {
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

    /// Journalled once, so that a log that vanishes later is known to be lost.
    fn note_led(&mut self, status: &Status) -> Result<()> {
        let bootstrap = self.life.committed.as_ref().map_or(0, |f| f.founders.len() as u64);
        if self.life.led || status.raft_index <= bootstrap {
            return Ok(());
        }
        self.journal.append(&Record::Led {})?;
        self.life.led = true;
        Ok(())
    }

    async fn promote(&mut self, status: &Status, report: &mut Report) -> Result<Next> {
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
                Ok(()) => return Ok(Next::Look(self.promoted())),
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

    /// A linearizable read through self has just succeeded.
    async fn settle(&mut self, own: &mut Etcd, list: &MemberList, report: &mut Report) -> Result<Next> {
        report.reached("serving");
        let Some(listed) = list.members.iter().find(|m| m.id == self.identity.member_id) else {
            return Ok(Next::Look("waiting for etcd to end: the cluster has removed this member".into()));
        };
        if !listed.has_peer_url(&self.me.peer_url) {
            own.update(listed.id, &self.me.peer_url).await?;
            return Ok(Next::Look(format!("told the cluster the new peer URL {}", self.me.peer_url)));
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
        if self.spec.set == Set::Dynamic && voters > usize::from(self.spec.size) {
            return self.surge(voters, report).await;
        }
        Ok(Next::Done)
    }

    /// After new was launched before old is ended: the one that the provider has ended goes.
    async fn surge(&mut self, voters: usize, report: &mut Report) -> Result<Next> {
        let data = DataDir::Member(self.identity.clone());
        let facts = self.observer.facts(&self.spec, &self.me, data, &self.life).await;
        let size = self.spec.size;
        let Some(decided) = plan::surplus(&self.spec, &facts) else {
            let why = format!("there are {voters} voters and cluster.size is {size}");
            return Ok(Next::Later(format!("{why}: waiting until the group ends an instance of them")));
        };
        self.change_members(&decided, &facts, report).await
    }

    async fn change_members(&self, decided: &Decided, facts: &Facts, report: &mut Report) -> Result<Next> {
        report.decided(decided);
        let Decision::Proceed(plan) = &decided.decision else {
            return Ok(Next::Later(decided.explain()));
        };
        let tools = Tools {
            paths: self.paths,
            host: &self.host,
            me: &self.me,
            place: &observe::place(self.paths, self.me.instance_id.clone()),
            owner: net::user("etcd"),
            voters: facts.quorum.iter().flat_map(voters_of).cloned().collect(),
            etcd: self.etcd,
        };
        apply(plan, &tools, report).await?;
        Ok(Next::Look("looking at the members again".into()))
    }

    /// DESIGN section 8: a write, stale alarms disarmed, equal keys on every member. What is waited for, if anything.
    async fn accept_restore(&mut self, own: &mut Etcd, list: &MemberList) -> Result<Option<String>> {
        own.disarm_stale(&list.members).await?;
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

fn not_up_yet(facts: &Facts) -> String {
    let silent: Vec<String> = facts
        .peers
        .iter()
        .filter(|p| !matches!(p.heard, plan::facts::Heard::Cluster(_)))
        .map(|p| p.name.as_ref().map_or_else(|| p.peer_url.to_string(), ToString::to_string))
        .collect();
    if silent.is_empty() { "all peers are up".into() } else { format!("no etcd answers at {}", silent.join(", ")) }
}

fn voters_of(quorum: &Quorum) -> impl Iterator<Item = &String> {
    quorum.members.iter().filter(|l| l.answers && !l.member.learner).flat_map(|l| &l.member.client_urls)
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
