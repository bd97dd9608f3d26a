//! `plan`, `status` and `etcd-stopped`: looking, and how etcd ended.

use std::ffi::OsString;

use anyhow::{Context, Result};
use plan::facts::{Claims, DataDir, Facts, Heard, Instance, Inventory, Me, Peer};
use plan::member::Nonce;
use plan::recovery;
use plan::spec::{Set, Spec};
use serde_json::json;

use crate::etcd::Etcd;
use crate::exit::Exit;
use crate::finish::answering;
use crate::metadata::{self, Loaded, Sources};
use crate::observe::{self, Group, Observer};
use crate::paths::Paths;
use crate::report::{self, Status};
use crate::run::etcd_version;
use crate::store::claim::word;
use crate::sys::output::say;
use crate::sys::{clock, env, fs, systemd};
use crate::tls;
use crate::who::identify;

/// The only option of these commands.
fn wants_json(args: Vec<OsString>) -> Result<bool> {
    match args.as_slice() {
        [] => Ok(false),
        [one] if one == "--json" => Ok(true),
        [first, ..] => {
            Err(Exit::Usage.because(format!("unexpected argument {}; only --json is known here", first.display())))
        }
    }
}

/// `etcd-bootstrapper plan`: the facts, the row that fires and the plan; nothing is done.
///
/// # Errors
/// As `run`, but for waits: what is not there is told instead.
pub async fn plan(paths: &Paths, args: Vec<OsString>) -> Result<()> {
    let as_json = wants_json(args)?;
    let loaded = configuration(paths)?;
    let etcd = etcd_version(paths).await?;
    let here = observe::place(paths, loaded.instance_id.clone());
    let (data, life) = observe::classify(paths, etcd, &here)?;
    let nonce = life.nonce.clone().unwrap_or("0".repeat(32).parse::<Nonce>()?);
    let group = Group::of(&loaded.host, paths, loaded.instance_id.as_deref());
    let me = identify(&loaded, group.as_deref(), nonce)
        .await?
        .context("no address of this host is in `peers`, so nobody knows which of them it is")?;
    let facts = match Observer::new(paths, etcd, &loaded.host, group.clone()) {
        Ok(mut observer) => observer.facts(&loaded.spec, &me, data, &life).await,
        Err(error) => {
            let inventory = match &group {
                Some(group) => group.now().await,
                None => Inventory::Static,
            };
            let why = format!("this host has no certificates yet: {error:#}");
            Facts { inventory, ..unasked(paths, &loaded.spec, &me, data, &life, etcd, &why) }
        }
    };
    let decided = plan::decide(&loaded.spec, &facts);
    let word = operators_word(&loaded.spec, &facts);
    if as_json {
        let last = report::read(paths)?.filter(|s| s.decisions.last().is_some_and(|d| d.row == decided.row));
        let text = json!({
            "version": 1, "carrier": loaded.carrier, "spec": loaded.spec, "facts": facts, "decided": decided,
            "text": decided.explain(), "since": last.and_then(|s| s.since), "recover": word,
            "quorum": facts.quorum.as_ref().map(plan::explain::quorum),
        });
        return say(&serde_json::to_string_pretty(&text)?);
    }
    let mut text = vec![
        format!("configuration  {}", loaded.carrier),
        format!("host           {} at {}, disk {}", me.name, me.peer_url, me.nonce),
        format!("etcd           {etcd}"),
        format!("data dir       {}", class(&facts.data)),
    ];
    if let Inventory::Listed(instances) = &facts.inventory {
        text.extend(instances.iter().map(listed));
    }
    for peer in &facts.peers {
        let at = |name| format!("{name} at {}", peer.peer_url);
        let who = peer.name.as_ref().map_or_else(|| peer.peer_url.to_string(), at);
        text.push(format!("peer           {who}: {}", said(&peer.heard)));
    }
    for listed in facts.quorum.iter().flat_map(|q| &q.members) {
        let vote = if listed.member.learner { "learner" } else { "voter" };
        let life = if listed.answers { "answers".to_owned() } else { format!("silent for {} s", listed.silent) };
        text.push(format!("member         {}: {vote}, {life}", listed.member.label()));
    }
    text.extend(stored(&facts.claim).map(|said| format!("store          {said}")));
    text.extend(facts.quorum.iter().map(|q| format!("quorum         {}", plan::explain::quorum(q))));
    text.push(decided.explain());
    if !word.is_empty() {
        text.push(format!("lost majority  {}", word.join("; ")));
    }
    say(&text.join("\n"))
}

/// Where a member has no quorum: why the operator's word is not carried out, and what it would be.
fn operators_word(spec: &Spec, facts: &Facts) -> Vec<String> {
    let held_back = match &facts.data {
        DataDir::Member(identity) => recovery::held_back(spec, facts, identity),
        DataDir::Locked => None,
        // Their rows tell it where it applies.
        DataDir::Founding { .. }
        | DataDir::Removed { .. }
        | DataDir::Empty
        | DataDir::Aborted
        | DataDir::Lost { .. }
        | DataDir::Missing { .. }
        | DataDir::Orphan
        | DataDir::Damaged { .. }
        | DataDir::Foreign { .. }
        | DataDir::Newer { .. } => return Vec::new(),
    };
    held_back.into_iter().chain(recovery::remedy(spec, facts)).collect()
}

/// What applies now, or applied at the last boot.
fn configuration(paths: &Paths) -> Result<Loaded> {
    let sources = Sources::new(paths);
    let found = sources.load()?.or(metadata::remembered(paths)?);
    found.with_context(|| sources.looked_at().to_string())
}

fn unasked(
    paths: &Paths,
    spec: &Spec,
    me: &Me,
    data: DataDir,
    life: &plan::progress::Life,
    etcd: plan::member::Version,
    why: &str,
) -> Facts {
    let peers = match &spec.set {
        Set::Static(peers) => peers.clone(),
        Set::Dynamic => Vec::new(),
    };
    let unknown = |p: plan::document::PeerEntry| Peer {
        name: Some(p.name),
        peer_url: p.peer_url,
        heard: Heard::Unknown { reason: why.to_owned() },
    };
    Facts {
        me: me.clone(),
        now: clock::vouched(paths),
        etcd,
        data,
        journal: life.past.clone(),
        peers: peers.into_iter().filter(|p| p.peer_url != me.peer_url).map(unknown).collect(),
        silence: 0,
        quorum: None,
        inventory: Inventory::Static,
        claim: plan::facts::Claims::NoStore,
        denied: None,
        own_list: None,
        certificates: None,
    }
}

fn listed(instance: &Instance) -> String {
    let at = instance.peer_url.as_ref().map_or_else(|| "without an address".into(), |url| format!("at {url}"));
    let state = if instance.terminated { "terminated" } else { "not terminated" };
    let launched = instance.launched.map_or_else(String::new, |t| format!(", launched {t}"));
    format!("instance       {} {at}: {state}{launched}", instance.id)
}

fn class(data: &DataDir) -> String {
    match data {
        DataDir::Member(i) => {
            format!("member {} ({}) of cluster {} ({})", i.name, i.member_id, i.cluster, i.cluster_id)
        }
        DataDir::Founding { founding, wal } => {
            format!(
                "founding {} is committed, {}",
                plan::decision::short(&founding.id()),
                if *wal { "with a log" } else { "without a log yet" }
            )
        }
        DataDir::Removed { identity, evidence } => format!("{} was removed: {evidence}", identity.name),
        DataDir::Empty => "empty".into(),
        DataDir::Aborted => "what a first start that failed left".into(),
        DataDir::Lost { .. } => "lost: a member lived here and its data is gone".into(),
        DataDir::Missing { what, .. } => format!("the data disk is missing: {what}"),
        DataDir::Orphan => "a database without a log".into(),
        DataDir::Damaged { what } => format!("damaged: {what}"),
        DataDir::Foreign { found, copied: true, .. } => format!("a copy of a member's disk: {found}"),
        DataDir::Foreign { found, copied: false, .. } => format!("foreign: {found}"),
        DataDir::Newer { found } => format!("written by a newer etcd: {found}"),
        DataDir::Locked => "an etcd runs on it".into(),
    }
}

fn stored(claims: &Claims) -> Option<String> {
    Some(match claims {
        Claims::NoStore => return None,
        Claims::Unreachable { reason } => format!("unknown: {reason}"),
        Claims::Unusable { reason } => format!("cannot be used: {reason}"),
        Claims::Read { claim: None, .. } => "has no claim".into(),
        Claims::Read { claim: Some(claim), .. } => {
            let voters: Vec<&str> = claim.voters.iter().map(|v| v.name.as_str()).collect();
            format!(
                "its claim is {} for founding {} of epoch {}, generation {}, with {}",
                word(claim.state),
                plan::decision::short(&claim.founding.id()),
                claim.epoch,
                claim.generation,
                voters.join(", ")
            )
        }
    })
}

fn said(heard: &Heard) -> String {
    match heard {
        Heard::Cluster(a) => format!("etcd {} of cluster {} with {} members", a.server, a.cluster_id, a.members.len()),
        Heard::Waiting(w) => format!("blank, disk {}", w.nonce),
        Heard::Founding { founding, .. } => format!("has committed founding {}", plan::decision::short(founding)),
        Heard::Holds { class } => format!("holds {class}"),
        Heard::Unknown { reason } => format!("unknown: {reason}"),
    }
}

/// `etcd-bootstrapper status`: what this boot came to, and how etcd is now.
///
/// # Errors
/// 75 when `run` has not said anything in this boot.
pub async fn status(paths: &Paths, args: Vec<OsString>) -> Result<()> {
    let as_json = wants_json(args)?;
    let mut status = report::read(paths)?.context("`run` has not been started in this boot")?;
    live(paths, &mut status).await;
    if as_json {
        return say(&serde_json::to_string_pretty(&status)?);
    }
    let or = |v: &Option<String>| v.clone().unwrap_or_else(|| "-".into());
    let yes = |b: bool| if b { "yes" } else { "no" };
    let mut text = vec![
        format!("cluster            {} ({})", or(&status.cluster), or(&status.cluster_id)),
        format!("member             {} ({})", or(&status.member), or(&status.member_id)),
        format!("configuration      {}", or(&status.carrier)),
        format!("bootstrapped       {}", yes(status.bootstrapped)),
        format!("serving            {}", yes(status.serving)),
        format!("voter              {}", yes(status.voter)),
        format!("safe to continue   {}", yes(status.safe_to_continue)),
        format!("now                {}", status.now),
    ];
    text.extend(status.since.iter().map(|since| format!("since              {since}")));
    text.extend(status.ends_when.iter().map(|ends_when| format!("ends when          {ends_when}")));
    text.extend(status.decisions.iter().map(|line| format!("{}  {}", line.at, line.text)));
    say(&text.join("\n"))
}

/// Asks the local etcd, so that what is shown is not older than the question.
async fn live(paths: &Paths, status: &mut Status) {
    (status.serving, status.voter, status.safe_to_continue) = (false, false, false);
    let Ok(Some(me)) = fs::read_text(&paths.me(), 1 << 16) else { return };
    let Ok(me) = serde_json::from_str::<Me>(&me) else { return };
    let Ok(tls) = tls::etcd_tls(paths) else { return };
    let Ok(mut etcd) = Etcd::local(&me.client_url.to_string(), tls).await else { return };
    let Ok(own) = etcd.status().await else { return };
    status.voter = own.led && !own.learner;
    let Ok(list) = etcd.members().await else { return };
    status.serving = true;
    status.safe_to_continue =
        list.members.iter().all(|m| !m.learner) && answering(paths, &list.members).await == list.members.len();
}

/// `etcd-bootstrapper etcd-stopped`: ExecStopPost= of etcd.service tells how etcd ended (systemd.exec(5)).
///
/// A stop that was asked for ends etcd by SIGTERM, which it raises again after it has cleaned up, and needs nothing.
/// One that ends by itself may have been removed from its cluster (it exits 0 or 1 then), or was started on a decision
/// that does not hold any more: the cluster is asked before it starts again.
///
/// # Errors
/// When systemd cannot be told.
pub async fn etcd_stopped(paths: &Paths) -> Result<()> {
    let var = |name| env::var(name).unwrap_or_default();
    let (result, code, status) = (var("SERVICE_RESULT"), var("EXIT_CODE"), var("EXIT_STATUS"));
    if result == "success" && code == "killed" {
        return Ok(());
    }
    tracing::warn!("etcd ended by itself ({result}, {code} {status}): this host decides anew");
    fs::write_atomic(&paths.left(), b"", 0o644, None)?;
    fs::remove(&paths.ready())?;
    if systemd::is_here() { systemd::decide_anew().await } else { Ok(()) }
}
