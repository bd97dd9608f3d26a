//! Makes a plan true, step by step. No choices are made here: where the world is not as the plan says, the step ends
//! and the loop decides anew.

pub mod hand_off;
pub mod journal;
mod members;
mod wal_disk;

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use plan::decision::{Plan, Step};
use plan::facts::{Claim, ClaimState, DataDir, Identity, Me};
use plan::founding::{Founding, FoundingId};
use plan::place::Place;
use plan::progress::{How, Life, Record};
use plan::spec::{Host, Sha256, Spec};

use crate::exit::Exit;
use crate::observe::{self, data_dir};
use crate::paths::Paths;
use crate::report::Report;
use crate::secrets::{Near, Places};
use crate::snapshot::origin::Origin;
use crate::snapshot::source::Access;
use crate::snapshot::stage::{self, Staging};
use crate::store::claim::{self, Swap};
use crate::store::{Home, Trouble, manifest};
use crate::survivor;
use crate::sys::fs::Owner;
use hand_off::{HandOff, hand_off};
use journal::{Journal, trash_name};

/// What every step may use.
pub struct Tools<'a> {
    /// Where everything is.
    pub paths: &'a Paths,
    /// What the user asked for.
    pub spec: &'a Spec,
    /// What only this host needs of the spec.
    pub host: &'a Host,
    /// Who this host is.
    pub me: &'a Me,
    /// An address of this host, as its peer URL may have a name instead.
    pub address: IpAddr,
    /// Where the data disk is used now.
    pub place: &'a Place,
    /// etcd's user.
    pub owner: Option<Owner>,
    /// The store, where the spec names one.
    pub store: Option<&'a Home>,
    /// Client URLs of voters, by the list that the plan was made on.
    pub voters: Vec<String>,
    /// The version of the etcd that will be started.
    pub etcd: plan::member::Version,
}

/// How a plan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Observe again.
    Again,
    /// The world was not as the plan says, or etcd refuses for now: observe again, after a pause.
    Stale,
    /// etcd owns this host now.
    HandedOff,
}

/// Makes a plan true.
///
/// # Errors
/// What kept a step from being true; running the plan's steps again later is always right.
pub async fn apply(plan: &Plan, tools: &Tools<'_>, report: &mut Report) -> Result<Applied> {
    for step in &plan.steps {
        report.say(&format!("{}: {}", plan.aim.doing(), step.text()));
        match step_true(step, tools, report).await? {
            Made::True => {}
            Made::Stale(why) => {
                report.say(&format!("deciding anew: {why}"));
                return Ok(Applied::Stale);
            }
            Made::HandedOff => return Ok(Applied::HandedOff),
        }
    }
    Ok(Applied::Again)
}

enum Made {
    True,
    Stale(String),
    HandedOff,
}

async fn step_true(step: &Step, tools: &Tools<'_>, report: &mut Report) -> Result<Made> {
    let journal = Journal::of(tools.paths);
    match step {
        Step::Archive { why, removed, only_unled, lost } => {
            if let Some(identity) = removed {
                journal.append(&Record::Removed { identity: identity.clone(), evidence: why.clone() })?;
            }
            archive(tools, &journal, why, *only_unled, *lost)
        }
        Step::Clear => journal.move_away(&trash_name()?).map(|()| Made::True),
        Step::Ready(founding) => journal.append(&Record::Ready { founding: founding.clone() }).map(|()| Made::True),
        Step::Prepare { founding, .. } => {
            prepare(tools, founding, report).await?;
            journal.append(&Record::Prepared { id: founding.id() }).map(|()| Made::True)
        }
        Step::Commit(founding) => journal.append(&Record::Commit { founding: founding.clone() }).map(|()| Made::True),
        Step::Remove { cluster_id, member, list, why } => {
            members::remove(tools, *cluster_id, *member, list, why, &journal).await
        }
        Step::Add { cluster_id, peer_url, list } => members::add(tools, *cluster_id, peer_url, list, &journal).await,
        Step::HandOff { identity, initial_cluster } => {
            let record = Record::HandedOff {
                identity: identity.clone(),
                initial_cluster: initial_cluster.clone(),
                how: How::Joined,
            };
            journal.append(&record)?;
            let initial_cluster = initial_cluster.clone();
            let to = HandOff { identity: identity.clone(), initial_cluster, new: false, unled: false };
            hand_off(tools, &to, report).await.map(|()| Made::HandedOff)
        }
        Step::Recover { identity, founding, .. } => recover(tools, identity, founding, &journal, report).await,
        Step::Claim { to, founding, read } => claim(tools, *to, founding, read.as_deref()).await,
    }
}

/// Creates or swaps the claim, against exactly the one that the plan was made on.
async fn claim(tools: &Tools<'_>, to: ClaimState, founding: &Founding, read: Option<&Claim>) -> Result<Made> {
    let home = tools.store.context("a claim was planned, and the spec has no store")?;
    let written =
        async { claim::write(home.store().await?, &tools.spec.cluster, &Claim::of(founding, to), read).await };
    match written.await {
        Ok(Swap::Done) => Ok(Made::True),
        Ok(Swap::Stale(why)) => Ok(Made::Stale(why)),
        Err(Trouble::Unfit(why)) => Err(Exit::Refused.because(format!("the store cannot be used: {why}"))),
        // What was written in vain or unseen is found out by looking again.
        Err(trouble) => Ok(Made::Stale(trouble.to_string())),
    }
}

/// Ends this life of the disk: the data goes to the trash, a new nonce begins.
fn archive(tools: &Tools<'_>, journal: &Journal, why: &str, only_unled: bool, lost: bool) -> Result<Made> {
    let (class, _) = observe::classify(tools.paths, tools.etcd, tools.place)?;
    match class {
        DataDir::Locked => return Ok(Made::Stale("etcd runs on the data dir".into())),
        // Read again under no etcd: what was received from a leader since the decision must not be lost.
        DataDir::Member(_) if only_unled => {
            return Ok(Made::Stale("the data dir has received something from a leader".into()));
        }
        DataDir::Member(_)
        | DataDir::Founding { .. }
        | DataDir::Removed { .. }
        | DataDir::Empty
        | DataDir::Aborted
        | DataDir::Lost { .. }
        | DataDir::Missing { .. }
        | DataDir::Orphan
        | DataDir::Damaged { .. }
        | DataDir::Foreign { .. }
        | DataDir::Newer { .. } => {}
    }
    journal.append(&Record::Archived { to: trash_name()?, why: why.to_owned(), lost })?;
    journal.open().map(|_| Made::True)
}

/// Stages the survivor's data in one round and lets it count in the next, when everybody was asked once more: staging
/// takes its time, and a quorum that has come meanwhile must be heard.
async fn recover(
    tools: &Tools<'_>,
    identity: &Identity,
    founding: &Founding,
    journal: &Journal,
    report: &mut Report,
) -> Result<Made> {
    let (class, life) = observe::classify(tools.paths, tools.etcd, tools.place)?;
    if class != DataDir::Member(identity.clone()) {
        return Ok(Made::Stale("the data dir is not the survivor's any more".into()));
    }
    let log = tools.paths.wal(life.wal.as_ref());
    if !survivor::kept(tools.paths, &log, founding)? {
        let mut say = |text: String| report.say(&text);
        let me = (&tools.me.name, &tools.me.peer_url);
        survivor::keep((tools.paths, &log), founding, me, tools.owner, &mut say).await?;
        return Ok(Made::Stale("the survivor's data is staged and proven; everybody is asked once more".into()));
    }
    let alone = Identity::founder(founding, &tools.me.nonce).context("the recovery was planned for another disk")?;
    let (id, whole) = (founding.id(), Some(Box::new(founding.clone())));
    journal.append(&Record::Recovered { identity: alone, founding: id, alone: whole, to: trash_name()? })?;
    journal.open().map(|_| Made::True)
}

/// Restores the snapshot beside the data dir, saying how far it is.
async fn prepare(tools: &Tools<'_>, founding: &Founding, report: &mut Report) -> Result<()> {
    let snapshot = founding.terms.snapshot.as_ref().context("the founding restores nothing")?;
    let within = Duration::from_secs(tools.host.metadata_timeout);
    let entry = match tools.host.restore.as_deref() {
        Some(entry) => Some(Near::within(tools.paths, within, &mut |text| report.say(text)).restore(entry).await?),
        None => None,
    };
    let entry = entry.as_ref();
    let wish = entry.filter(|entry| entry.sha256.as_ref() == Some(snapshot));
    let mut origins = match wish.and_then(|wish| wish.url.as_ref()) {
        Some(urls) => {
            let store = match tools.host.store.as_deref() {
                Some(store) => {
                    Some(Near::within(tools.paths, within, &mut |text| report.say(text)).store(store).await?)
                }
                None => None,
            };
            let access = Access { restore: entry, store: store.as_ref(), ..Access::without(tools.paths) };
            Origin::open(&urls.0, &access)?
        }
        None => vec![from_store(tools, snapshot).await?],
    };
    // Whoever has it whole has checked it, and it is checked here again.
    origins.extend(Origin::peers(tools.paths, founding, &tools.me.peer_url, snapshot)?);
    // Only told: which one is restored is pinned.
    let newest = match tools.store {
        Some(home) => match home.store().await {
            Ok(store) => manifest::newest(store, &tools.spec.cluster).await.ok().flatten(),
            Err(_) => None,
        },
        None => None,
    };
    let places = Places::of(tools.paths);
    let staging = Staging {
        paths: tools.paths,
        founding,
        me: (&tools.me.name, &tools.me.peer_url),
        origins,
        keys: entry,
        signer: wish.and_then(|wish| wish.minisign_key.as_deref()),
        newest: newest.as_ref().map(|snapshot| &snapshot.manifest),
        places: &places,
        quota: plan::render::quota(&tools.host.etcd),
        etcdutl: "etcdutl",
        owner: tools.owner,
    };
    stage::stage(&staging, &mut |text| report.say(&text)).await
}

/// Where the store keeps the snapshot that the founding pins.
async fn from_store(tools: &Tools<'_>, snapshot: &Sha256) -> Result<Origin> {
    let home = tools.store.context("the founding restores a snapshot that is not the spec's, and there is no store")?;
    let found = async {
        let store = home.store().await?;
        let found = manifest::find(store, &tools.spec.cluster, snapshot).await?;
        let found =
            found.ok_or_else(|| Trouble::Unfit(format!("{} has no snapshot {snapshot:?} any more", store.place())))?;
        Ok(Origin::stored(store, &found.key()))
    };
    found.await.map_err(|trouble: Trouble| Exit::Unavailable.because(trouble.to_string()))
}

/// Makes the data dir what etcd's first start in a founding needs: what was staged of its snapshot, or without a log.
///
/// # Errors
/// When the staging that was proven is not there any more, or the disk cannot be written.
pub fn install(paths: &Paths, founding: &Founding, life: &Life) -> Result<()> {
    let id: FoundingId = founding.id();
    if founding.terms.snapshot.is_some() {
        return stage::install(paths, &id, life.wal.as_ref());
    }
    // One that nothing was written to; etcd would go on from it.
    match &life.wal {
        _ if !data_dir::is_dir(&paths.wal(life.wal.as_ref()))? => Ok(()),
        Some(wal) => wal_disk::put_log_away(paths, wal, &trash_name()?),
        None => Journal::of(paths).move_away(&trash_name()?),
    }
}
