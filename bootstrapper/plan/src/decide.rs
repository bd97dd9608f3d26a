//! The decision table, rows 1 to 7: what lives in the data dir decides first.

use crate::decision::{Aim, Code, Decided, Decision, Plan, Refusal, Start, Step, Wait, short};
use crate::facts::{DataDir, Facts, Heard, Identity, Inventory};
use crate::founding::{Founder, Founding};
use crate::joining::prepare;
use crate::member::{Member, MemberName, PeerUrl};
use crate::spec::{Mode, Set, Spec};
use crate::{founding_rows, joining, recovery};

/// What to do, from what was asked for and what was observed: total, pure and deterministic.
///
/// The first row of the decision table that matches wins, and the answer names it.
pub fn decide(spec: &Spec, facts: &Facts) -> Decided {
    match &facts.data {
        DataDir::Locked => wait(1, "an etcd runs on the data dir", vec![], "that etcd ends, or this host reboots"),
        DataDir::Missing { what, overdue: false } => wait(
            1,
            "the data disk is not there yet",
            vec![what.clone()],
            "the disk is attached; without it nothing is decided",
        ),
        DataDir::Missing { what, overdue: true } => refuse(
            2,
            Code::DataDiskMissing,
            format!("the data disk is not there: {what}"),
            "attach the disk; a blank one makes this host join anew, and there is no fallback to another disk",
        ),
        DataDir::Foreign { found, expected, copied: true } => refuse(
            2,
            Code::ForeignData,
            format!(
                "the data disk is a copy: it holds {found}, and is now on {expected}; with two disks one member would \
                 vote twice, and acknowledged writes could be lost"
            ),
            "detach it and attach this host's own disk; or give this copy up by `etcd-bootstrapper reset`, which moves it \
             to the trash, and this host goes on as a blank one",
        ),
        DataDir::Foreign { found, expected, copied: false } => refuse(
            2,
            Code::ForeignData,
            format!("the data dir holds {found}, this host expects {expected}"),
            "attach the right disk, or run `etcd-bootstrapper reset` to move this data to the trash",
        ),
        DataDir::Newer { found } => refuse(
            2,
            Code::NewerData,
            format!("the data dir was written by etcd {found}, this image has etcd {}", facts.etcd),
            "boot an image with that etcd or a newer one",
        ),
        DataDir::Member(identity) => member(spec, facts, identity),
        DataDir::Removed { identity, evidence } => removed(spec, facts, identity, evidence),
        DataDir::Orphan => damaged(spec, facts, "a database without a write-ahead log"),
        DataDir::Damaged { what } => damaged(spec, facts, what),
        DataDir::Founding { founding, wal } => founding_without_leader(spec, facts, founding, *wal),
        DataDir::Empty | DataDir::Aborted | DataDir::Lost { .. } => {
            joining::decide(spec, facts).unwrap_or_else(|| founding_rows::decide(spec, facts))
        }
    }
}

/// Rows 3, 4 and, when a quorum of our own cluster does not list us, 5.
fn member(spec: &Spec, facts: &Facts, identity: &Identity) -> Decided {
    if let Some(decided) = of_another_host(spec, facts, identity) {
        return decided;
    }
    if let Some(decided) = recovery::decide(spec, facts, identity) {
        return decided;
    }
    if let Some(quorum) = &facts.quorum
        && quorum.cluster_id == identity.cluster_id
        && !quorum.members.iter().any(|l| l.member.id == identity.member_id)
    {
        return removed(spec, facts, identity, &unlisted(identity));
    }
    Decided { row: 4, decision: Decision::Start(Start::Member(identity.clone())) }
}

/// Row 2, when the spec is of another cluster, or the list says that this host is somebody else, than the member on its disk: a
/// clone, or the wrong volume.
///
/// Started here, it could be a second life of a member that runs elsewhere. An address that the list does not have, or
/// another name for the same peer URL, is a change of the same host.
fn of_another_host(spec: &Spec, facts: &Facts, identity: &Identity) -> Option<Decided> {
    if identity.cluster != spec.cluster {
        let sentence = format!(
            "the data disk is that of {} of cluster {}, and this host is to be of cluster {}",
            identity.name, identity.cluster, spec.cluster
        );
        let hint = "attach the right disk, or give this host its cluster's configuration; `etcd-bootstrapper reset` moves this \
                    data to the trash";
        return Some(refuse(2, Code::ForeignData, sentence, hint));
    }
    let Set::Static(peers) = &spec.set else { return None };
    let here = peers.iter().find(|p| p.peer_url == facts.me.peer_url)?;
    let theirs = peers.iter().find(|p| p.name == identity.name)?;
    if here.name == identity.name || identity.peer_url == facts.me.peer_url {
        return None;
    }
    let sentence = format!(
        "the data disk is that of {} at {}, and this host is {} at {}",
        theirs.name, theirs.peer_url, here.name, here.peer_url
    );
    let hint =
        "attach this host's own disk; if this one is a copy that nobody needs, run `etcd-bootstrapper reset` here";
    Some(refuse(2, Code::ForeignData, sentence, hint))
}

/// Row 5.
fn removed(spec: &Spec, facts: &Facts, identity: &Identity, evidence: &str) -> Decided {
    let wanted = match &spec.set {
        Set::Static(peers) => peers.iter().any(|p| p.name == facts.me.name || p.peer_url == facts.me.peer_url),
        Set::Dynamic => !terminated(facts, &facts.me.name),
    };
    if wanted {
        let step =
            Step::Archive { why: evidence.to_owned(), removed: Some(identity.clone()), only_unled: false, lost: false };
        return proceed(5, Aim::Archive, vec![step]);
    }
    refuse(
        5,
        Code::Removed,
        format!("{} was removed from cluster {}: {evidence}", identity.name, identity.cluster),
        "put this host back into `peers` to let it join anew, or switch it off",
    )
}

/// Row 6.
fn damaged(spec: &Spec, facts: &Facts, what: &str) -> Decided {
    if facts.quorum.is_some() {
        let step = Step::Archive {
            why: format!("{what}, and a cluster with quorum answers"),
            removed: None,
            only_unled: false,
            lost: true,
        };
        return proceed(6, Aim::Archive, vec![step]);
    }
    let unknown = unheard(spec, facts);
    let cluster = facts.peers.iter().any(|p| matches!(p.heard, Heard::Cluster(_)));
    if unknown.is_empty() && !cluster {
        return refuse(
            6,
            Code::DataDamaged,
            format!("the data dir is damaged: {what}; and no cluster answers that could replace it"),
            "if there is a snapshot, give all hosts a `restore` of it; then run `etcd-bootstrapper reset` here",
        );
    }
    let why = format!("the data dir is damaged: {what}; only a cluster with quorum can replace it");
    wait(6, &why, unknown, &joining::or_recover(spec, facts, "a cluster with quorum answers"))
}

/// Row 7: a committed founding that no leader ever led, as far as this disk knows. What it restores was staged before the
/// commit, and is staged again where that is gone.
fn founding_without_leader(spec: &Spec, facts: &Facts, founding: &Founding, wal: bool) -> Decided {
    let us = Identity::founder(founding, &facts.me.nonce);
    if let Some(decided) = us.as_ref().and_then(|us| of_another_host(spec, facts, us)) {
        return decided;
    }
    if let (Some(quorum), Some(us)) = (&facts.quorum, &us)
        && quorum.cluster_id == us.cluster_id
        && !quorum.members.iter().any(|l| l.member.id == us.member_id)
    {
        return removed(spec, facts, us, &unlisted(us));
    }
    if let Some(us) = us.filter(|us| !wal && served(facts, us)) {
        return log_vanished(facts, founding, &us);
    }
    if let Some(why) = left_behind(spec, facts, founding) {
        let step = Step::Archive { why, removed: None, only_unled: true, lost: false };
        return proceed(7, Aim::Archive, vec![step]);
    }
    if let Some(step) = prepare(facts, founding).filter(|_| !wal) {
        return proceed(7, Aim::Found, vec![step]);
    }
    Decided { row: 7, decision: Decision::Start(Start::Founding { founding: founding.clone(), wal }) }
}

/// Whether somebody of our own cluster lists us as a member that has published itself, which takes a log.
fn served(facts: &Facts, us: &Identity) -> bool {
    let ours = |m: &Member| m.id == us.member_id && m.started();
    facts.quorum.as_ref().is_some_and(|q| q.cluster_id == us.cluster_id && q.members.iter().any(|l| ours(&l.member)))
        || facts.peers.iter().any(|p| match &p.heard {
            Heard::Cluster(answer) => answer.cluster_id == us.cluster_id && answer.members.iter().any(ours),
            Heard::Waiting(_) | Heard::Founding { .. } | Heard::Holds { .. } | Heard::Unknown { .. } => false,
        })
}

/// Row 7, when our log is gone: under the old member ID we could break promises that we made in it.
fn log_vanished(facts: &Facts, founding: &Founding, us: &Identity) -> Decided {
    let id = founding.id();
    let why = format!("founding {} lists {} as a member that has served, and its log is not here", short(&id), us.name);
    if facts.quorum.is_none() {
        return wait(
            7,
            &why,
            vec![],
            "a quorum of its other members is up, which can take this host back as a new one",
        );
    }
    proceed(7, Aim::Archive, vec![Step::Archive { why, removed: None, only_unled: true, lost: true }])
}

fn unlisted(us: &Identity) -> String {
    format!("the linearizable member list of cluster {} does not have {}", us.cluster_id, us.member_id)
}

/// Why this founding will never serve, if that is known.
fn left_behind(spec: &Spec, facts: &Facts, founding: &Founding) -> Option<String> {
    let id = founding.id();
    if let Some(quorum) = &facts.quorum
        && quorum.cluster_id != founding.cluster_id()
        && quorum.name.as_ref() == Some(&spec.cluster)
    {
        return Some(format!(
            "cluster {} serves as {}, and founding {} has lost",
            quorum.cluster_id,
            spec.cluster,
            short(&id)
        ));
    }
    let of = founding.founders.len();
    let gone = founding.founders.iter().filter(|f| f.nonce != facts.me.nonce && not_in(facts, founding, f)).count();
    let (left, quorum) = (of - gone, founding.quorum());
    (left < quorum).then(|| format!("{left} of {of} disks of founding {} are left, a quorum is {quorum}", short(&id)))
}

/// Whether this founder is known to be out of the founding for good.
pub(crate) fn not_in(facts: &Facts, founding: &Founding, founder: &Founder) -> bool {
    if terminated(facts, &founder.name) {
        return true;
    }
    facts.peers.iter().filter(|p| p.peer_url == founder.peer_url).any(|p| match &p.heard {
        Heard::Waiting(w) => w.nonce != founder.nonce,
        Heard::Founding { founding: theirs, nonce } => *nonce != founder.nonce || *theirs != founding.id(),
        Heard::Cluster(answer) => answer.cluster_id != founding.cluster_id(),
        Heard::Holds { .. } | Heard::Unknown { .. } => false,
    })
}

/// Whether the disk with this nonce is known to be gone: another life answers in its place, or its instance is terminated.
pub(crate) fn nonce_gone(facts: &Facts, founder: &Founder) -> bool {
    if founder.peer_url == facts.me.peer_url {
        return founder.nonce != facts.me.nonce;
    }
    terminated(facts, &founder.name)
        || facts.peers.iter().filter(|p| p.peer_url == founder.peer_url).any(|p| match &p.heard {
            Heard::Waiting(w) => w.nonce != founder.nonce,
            Heard::Founding { nonce, .. } => *nonce != founder.nonce,
            Heard::Cluster(_) | Heard::Holds { .. } | Heard::Unknown { .. } => false,
        })
}

/// Whether the provider says that this instance is terminated; absence from its list says nothing.
pub(crate) fn terminated(facts: &Facts, name: &MemberName) -> bool {
    match &facts.inventory {
        Inventory::Listed(instances) => instances.iter().any(|i| i.id == *name && i.terminated),
        Inventory::Static | Inventory::Unknown { .. } => false,
    }
}

/// Everybody of the set but this host.
pub(crate) fn others(spec: &Spec, facts: &Facts) -> Vec<(MemberName, PeerUrl)> {
    let me = |url: &PeerUrl| *url == facts.me.peer_url;
    match (&spec.set, &facts.inventory) {
        (Set::Static(peers), _) => {
            peers.iter().filter(|p| !me(&p.peer_url)).map(|p| (p.name.clone(), p.peer_url.clone())).collect()
        }
        (Set::Dynamic, Inventory::Listed(instances)) => instances
            .iter()
            .filter(|i| !i.terminated)
            .filter_map(|i| Some((i.id.clone(), i.peer_url.clone()?)))
            .filter(|(_, url)| !me(url))
            .collect(),
        (Set::Dynamic, Inventory::Static | Inventory::Unknown { .. }) => Vec::new(),
    }
}

/// Those who said nothing, each with the reason.
pub fn silent(facts: &Facts) -> Vec<String> {
    facts
        .peers
        .iter()
        .filter_map(|p| match &p.heard {
            Heard::Unknown { reason } => Some(format!("{}: {reason}", label(p.name.as_ref(), &p.peer_url))),
            Heard::Cluster(_) | Heard::Waiting(_) | Heard::Founding { .. } | Heard::Holds { .. } => None,
        })
        .collect()
}

/// Everybody of whom nothing is known, with the reason: those who said nothing, were not asked, or may not be listed.
pub(crate) fn unheard(spec: &Spec, facts: &Facts) -> Vec<String> {
    let mut who = silent(facts);
    let asked = |url: &PeerUrl| facts.peers.iter().any(|p| p.peer_url == *url);
    let unasked = others(spec, facts).into_iter().filter(|(_, url)| !asked(url));
    who.extend(unasked.map(|(name, url)| format!("{}: not asked yet", label(Some(&name), &url))));
    match (&spec.set, &facts.inventory) {
        (Set::Dynamic, Inventory::Unknown { reason }) => who.push(reason.clone()),
        (Set::Dynamic, Inventory::Static) => who.push("no provider was asked".into()),
        (Set::Dynamic, Inventory::Listed(_)) | (Set::Static(_), _) => {}
    }
    who
}

pub(crate) fn label(name: Option<&MemberName>, url: &PeerUrl) -> String {
    name.map_or_else(|| url.to_string(), |n| format!("{n} at {url}"))
}

pub(crate) fn wait(row: u8, why: &str, who: Vec<String>, until: &str) -> Decided {
    Decided { row, decision: Decision::Wait(Wait { why: why.to_owned(), who, until: until.to_owned() }) }
}

pub(crate) fn refuse(row: u8, code: Code, sentence: impl Into<String>, hint: &str) -> Decided {
    Decided { row, decision: Decision::Refuse(Refusal { code, sentence: sentence.into(), hint: hint.to_owned() }) }
}

pub(crate) fn proceed(row: u8, aim: Aim, steps: Vec<Step>) -> Decided {
    Decided { row, decision: Decision::Proceed(Plan { aim, steps }) }
}

pub(crate) fn may_found(mode: Mode) -> bool {
    match mode {
        Mode::Auto | Mode::Init | Mode::Restore => true,
        Mode::Join => false,
    }
}
