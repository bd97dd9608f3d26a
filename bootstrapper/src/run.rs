//! The loop: observe, decide, apply, until etcd can be handed off to.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use plan::decision::{Decision, Start};
use plan::facts::{DataDir, Facts, Heard, Identity, Me};
use plan::member::Version;
use plan::progress::{Life, Record};
use plan::recovery;

use crate::answer::Answering;
use crate::apply::hand_off::{HandOff, hand_off};
use crate::apply::journal::Journal;
use crate::apply::{Applied, Tools, apply, install};
use crate::exit::Exit;
use crate::linger::Linger;
use crate::observe::{self, Observer, own_answer};
use crate::paths::Paths;
use crate::prepare::{Prepared, prepare, renewed};
use crate::report::Report;
use crate::store::Home;
use crate::sys::{clock, fs, process};
use crate::tls;
use crate::wal_disk;

/// The pauses between two looks, while nothing changes.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// The longest pause while etcd refuses a change for now: it does for five seconds after a member came up, and whoever
/// waits for that should not wait much longer.
const STALE: Duration = Duration::from_millis(500);

/// `etcd-bootstrapper run`: ends when etcd is handed off to; waits otherwise, saying for what.
///
/// # Errors
/// 65 for bad input, 77 for missing permission, 78 for a refusal; anything else is tried again by systemd.
pub async fn run(paths: &Paths) -> Result<()> {
    let mut report = Report::open(paths);
    report.reached("run");
    // What an earlier run of this boot proved is not proof for what this one will decide.
    fs::remove(&paths.ready())?;
    let prepared = prepare(paths, &mut report).await?;
    report.reached("configured");
    let status = report.status();
    status.cluster = Some(prepared.spec.cluster.to_string());
    status.member = Some(prepared.me.name.to_string());
    status.carrier = Some(prepared.carrier.clone());
    let journal = Journal::of(paths);
    let life = journal.open()?;
    if let Some(identity) = observe::settled(paths, &life)?.filter(|_| !suspicious(paths, &prepared, &life)) {
        let facts = quiet(paths, &prepared, DataDir::Member(identity), &life);
        let decided = plan::decide(&prepared.spec, &facts);
        report.decided(&decided);
        if let Decision::Start(start) = decided.decision {
            return started(paths, &prepared, &start, &journal, &life, &mut report).await;
        }
    }
    decide_until_done(paths, &prepared, &journal, &mut report).await
}

/// A reason to look closer before a settled member is started: its etcd ended by itself, as a removed one's does, the
/// operator has named a survivor, its disk is a copy, or a newer etcd has written to it.
fn suspicious(paths: &Paths, prepared: &Prepared, life: &Life) -> bool {
    paths.left().exists()
        || recovery::pending(&prepared.spec, &life.past).is_some()
        || !matches!(observe::kept(paths), Ok(Some(kept)) if kept.copied_to(&prepared.place).is_none())
        || !matches!(observe::newer(paths, prepared.etcd), Ok(None))
}

/// Facts of a host that asked nobody.
fn quiet(paths: &Paths, prepared: &Prepared, data: DataDir, life: &Life) -> Facts {
    Facts {
        me: prepared.me.clone(),
        now: clock::vouched(paths),
        etcd: prepared.etcd,
        data,
        journal: life.past.clone(),
        peers: Vec::new(),
        silence: 0,
        quorum: None,
        inventory: plan::facts::Inventory::Static,
        claim: plan::facts::Claims::NoStore,
        denied: None,
        own_list: None,
        certificates: None,
    }
}

async fn decide_until_done(paths: &Paths, prepared: &Prepared, journal: &Journal, report: &mut Report) -> Result<()> {
    let spec = &prepared.spec;
    let mut observer = Observer::new(paths, prepared.etcd, &prepared.host, prepared.group.clone())?;
    let mut answering: Option<Answering> = None;
    let mut last: Option<Facts> = None;
    let mut pause = PAUSES.0;
    let mut lingers: Option<Linger> = None;
    loop {
        let (data, life) = observe::classify(paths, prepared.etcd, &prepared.place)?;
        wal_disk::counts(&life, &prepared.host)?;
        let me = Me { nonce: life.nonce.clone().unwrap_or_else(|| prepared.me.nonce.clone()), ..prepared.me.clone() };
        // Say what is durable before asking: a peer that asks in the same moment must not hear the past.
        let before = match last.clone() {
            Some(last) => last,
            None => {
                let inventory = observer.inventory().await;
                Facts { inventory, ..quiet(paths, prepared, data.clone(), &life) }
            }
        };
        let known = Facts { data: data.clone(), me: me.clone(), ..before };
        say(paths, prepared, &mut answering, own_answer(spec, &known, &life)).await?;
        let facts = observer.facts(spec, &me, data, &life).await;
        if facts.certificates.is_some() && renewed(paths) {
            observer = Observer::new(paths, prepared.etcd, &prepared.host, prepared.group.clone())?;
            if let Some(answering) = &answering {
                answering.show(tls::server_config(paths)?);
            }
            tokio::time::sleep(pause).await;
            continue;
        }
        let decided = plan::decide(spec, &facts);
        if last.as_ref().is_none_or(|l| l.peers != facts.peers || l.data != facts.data || l.claim != facts.claim) {
            pause = PAUSES.0;
        }
        report.decided(&decided);
        match &decided.decision {
            Decision::Start(Start::Founding { founding, wal: false })
                if !lingers.get_or_insert_default().is_over(founding, &facts) =>
            {
                tokio::time::sleep(PAUSES.0).await;
            }
            Decision::Start(start) => {
                if let Start::Member(identity) = start
                    && let Some(why) = recovery::held_back(spec, &facts, identity)
                {
                    tracing::warn!("{why}");
                }
                drop(answering);
                return started(paths, prepared, start, journal, &life, report).await;
            }
            Decision::Refuse(refusal) => {
                return Err(Exit::Refused.because(format!("{}; {}", refusal.sentence, refusal.hint)));
            }
            Decision::Wait(_) => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
            Decision::Proceed(plan) => {
                let tools = tools(paths, prepared, &me, &facts, observer.store());
                match apply(plan, &tools, report).await {
                    Ok(Applied::HandedOff) => return Ok(()),
                    Ok(Applied::Again) => pause = PAUSES.0,
                    Ok(Applied::Stale) => {
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(STALE);
                    }
                    // A refusal or bad input ends the run; anything else may be over the next time.
                    Err(error) if matches!(Exit::of(&error), Exit::TryAgain | Exit::Unavailable) => {
                        report.say(&format!("trying again: {error:#}"));
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(PAUSES.1);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        last = Some(facts);
    }
}

/// Starts or updates the answer on the peer port.
async fn say(paths: &Paths, prepared: &Prepared, answering: &mut Option<Answering>, heard: Heard) -> Result<()> {
    if let Some(answering) = answering {
        answering.say(heard);
        return Ok(());
    }
    let address = (plan::render::listen_on(prepared.address), prepared.me.peer_url.port()).into();
    *answering = Some(Answering::on(address, tls::server_config(paths)?, heard, paths.download()).await?);
    Ok(())
}

fn tools<'a>(
    paths: &'a Paths,
    prepared: &'a Prepared,
    me: &'a Me,
    facts: &Facts,
    store: Option<&'a Arc<Home>>,
) -> Tools<'a> {
    let voters = facts.quorum.iter().flat_map(|q| &q.members).filter(|l| l.answers && !l.member.learner);
    Tools {
        paths,
        spec: &prepared.spec,
        host: &prepared.host,
        me,
        address: prepared.address,
        place: &prepared.place,
        owner: prepared.owner,
        store: store.map(Arc::as_ref),
        voters: voters.flat_map(|l| l.member.client_urls.clone()).collect(),
        etcd: prepared.etcd,
    }
}

/// Hands off to etcd on data that is there, or that a committed founding has staged.
async fn started(
    paths: &Paths,
    prepared: &Prepared,
    start: &Start,
    journal: &Journal,
    life: &Life,
    report: &mut Report,
) -> Result<()> {
    let me = &prepared.me;
    let to = match start {
        Start::Member(identity) => member(me, identity),
        Start::Founding { founding, wal } => {
            if !wal {
                install(paths, founding, life)?;
            }
            // By the peer URL that the founding knows, which is not always the one that the spec gives today.
            let identity = life.founder().context("a founding is committed that this disk is not in")?;
            // Restored data has its WAL already.
            let new = !wal && founding.terms.snapshot.is_none();
            HandOff { identity, initial_cluster: founding.initial_cluster(), new, unled: true }
        }
    };
    if let Start::Founding { founding, .. } = start
        && life.handed_off.is_none()
    {
        let how = if founding.terms.snapshot.is_some() {
            plan::progress::How::Restored
        } else {
            plan::progress::How::Founded
        };
        journal.append(&Record::HandedOff {
            identity: to.identity.clone(),
            initial_cluster: to.initial_cluster.clone(),
            how,
        })?;
    }
    let tools = Tools {
        paths,
        spec: &prepared.spec,
        host: &prepared.host,
        me,
        address: prepared.address,
        place: &prepared.place,
        owner: prepared.owner,
        store: None,
        voters: Vec::new(),
        etcd: prepared.etcd,
    };
    fs::remove(&paths.left())?;
    hand_off(&tools, &to, report).await
}

/// A member starts under its own name and ID; etcd wants to find itself in `--initial-cluster`, and reads no more of it.
fn member(me: &Me, identity: &Identity) -> HandOff {
    HandOff {
        identity: identity.clone(),
        initial_cluster: vec![(identity.name.to_string(), me.peer_url.to_string())],
        new: false,
        unled: false,
    }
}

/// The version of the etcd that will be started: the image says, or etcd itself.
///
/// # Errors
/// When there is no etcd, or it does not say its version.
pub async fn etcd_version(paths: &Paths) -> Result<Version> {
    let path = paths.defaults().join("etcd-version");
    if let Some(text) = fs::read_text(&path, 64)? {
        return Ok(text.trim().parse()?);
    }
    let arguments = vec!["--version".to_owned()];
    let said =
        process::run(process::Program { program: "etcd", arguments, owner: None, timeout: Duration::from_secs(10) })
            .await?;
    let version = said.lines().find_map(|l| l.strip_prefix("etcd Version: "));
    version
        .unwrap_or_default()
        .trim()
        .parse()
        .map_err(|e| Exit::Refused.because(format!("`etcd --version` says {said:?}: {e}")))
}
