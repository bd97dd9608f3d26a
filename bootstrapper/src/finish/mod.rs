//! After the hand-off, beside etcd's start: promote a learner, verify, settle. While a founding has no leader, ask
//! again whether it still can get one.

mod claim;
mod members;
mod pace;
mod settle;
mod unled;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use plan::facts::{Identity, Me};
use plan::member::{Member, Version};
use plan::progress::{Life, Record};
use plan::spec::{Host, Spec};

use self::pace::Pace;
pub use self::settle::answering;
use crate::apply::journal::Journal;
use crate::etcd::{Etcd, EtcdError, Status, local_url};
use crate::exit::Exit;
use crate::metadata;
use crate::observe::{self, Group, Observer};
use crate::paths::Paths;
use crate::prepare::renewed;
use crate::report::Report;
use crate::run::etcd_version;
use crate::sys::{clock, fs};
use crate::tls;

/// Between something that was done and the next look at etcd; twice as long after each round that changes nothing.
const SOON: Duration = Duration::from_millis(40);

/// As long as that becomes, since each look costs a handshake or more.
const LOOK: Duration = Duration::from_millis(250);

/// Without a leader for so long, a majority may be lost; when a whole site boots, its hosts come up within this.
const STUCK: Duration = Duration::from_secs(15);

/// Between two looks at what takes its time: a group that ends an instance when it likes, an etcd that did not answer.
const LATER: Duration = Duration::from_secs(2);

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
    group: Option<Arc<Group>>,
    /// This member has settled, and served in this process.
    votes: bool,
    /// The members that the store's claim was last written for.
    claimed: Option<Vec<Member>>,
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
    let pace = Pace::begin(paths, finish.group.as_ref());
    let (mut pause, mut did) = (SOON / 2, false);
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
        if let Some(pace) = pace.as_ref().filter(|_| finish.votes) {
            pace.votes();
        }
        let did_before = std::mem::replace(&mut did, matches!(next, Next::Did(_)));
        match next {
            Next::Did(said) | Next::Look(said) => {
                report.say(&said);
                pause = rest(pause, did, did_before);
                tokio::time::sleep(pause).await;
            }
            Next::Later(why) => {
                report.say(&why);
                tokio::time::sleep(LATER).await;
            }
            Next::Done => {
                finish.put_the_ca_key_away();
                if let Some(pace) = pace {
                    pace.ends().await;
                }
                return Ok(());
            }
        }
    }
}

/// How long to rest now, after a rest of so long: what is done in two rounds on end has changed nothing in the first.
fn rest(before: Duration, did: bool, did_before: bool) -> Duration {
    if did && !did_before { SOON } else { (before * 2).min(LOOK) }
}

enum Next {
    Did(String),
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
        let group = Group::of(&loaded.host, paths, loaded.instance_id.as_deref());
        Ok(Finish {
            paths,
            observer: Observer::new(paths, etcd, &loaded.host, group.clone())?,
            group,
            votes: false,
            spec: loaded.spec,
            host: loaded.host,
            me: serde_json::from_str(&me)?,
            identity: observe::identity(paths)?.context("finish runs after `run`, which writes identity.json")?,
            life: journal.read()?,
            journal,
            claimed: None,
            etcd,
            began: Instant::now(),
        })
    }

    async fn step(&mut self, report: &mut Report) -> Result<Next> {
        let mut own = match Etcd::local(&local_url(&self.me), tls::etcd_tls(self.paths)?).await {
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
            self.observer = Observer::new(self.paths, self.etcd, &self.host, self.group.clone())?;
        }
        Ok(())
    }

    /// Renewal alone needs the CA's key from now on; what fails here is tried again at the next boot.
    fn put_the_ca_key_away(&self) {
        let Ok(_lock) = self.journal.lock() else { return };
        if let Err(error) = tls::seal_ca_key(self.paths) {
            tracing::warn!("the CA's key is kept for root alone, and not sealed: {error:#}");
        }
        if let Err(error) = metadata::forget_ca_key(self.paths) {
            tracing::warn!("the CA's key stays in {} as well: {error:#}", self.paths.remembered().display());
        }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_again_and_again_is_not_looked_after_as_soon() {
        let rests = |rounds: &[bool]| {
            let (mut pause, mut before, mut all) = (SOON / 2, false, Vec::new());
            for did in rounds {
                pause = rest(pause, *did, before);
                before = *did;
                all.push(pause.as_millis());
            }
            all
        };
        assert_eq!(rests(&[false, false, false, false]), [40, 80, 160, 250]);
        assert_eq!(rests(&[false, false, true, false, true]), [40, 80, 40, 80, 40]);
        assert_eq!(rests(&[true, true, true, true, true]), [40, 80, 160, 250, 250]);
    }
}
