//! The decision table, rows 8 to 12: this disk is blank and somebody may have a cluster already.

use std::collections::BTreeSet;

use crate::decide::{label, proceed, refuse, wait};
use crate::decision::{Aim, Code, Decided, Step};
use crate::facts::{Answer, DataDir, Facts, Heard, Peer, Quorum};
use crate::founding::Founding;
use crate::member::{ClusterId, Version};
use crate::membership;
use crate::recovery;
use crate::spec::Spec;

/// Rows 8 to 18; `None` when no cluster answers and this host may think of founding.
pub(crate) fn decide(spec: &Spec, facts: &Facts) -> Option<Decided> {
    if let Some(founding) = pulled(facts) {
        return Some(proceed(8, Aim::Found, commit(facts, founding)));
    }
    let answers: Vec<(String, &Answer)> = facts
        .peers
        .iter()
        .filter_map(|p| match &p.heard {
            Heard::Cluster(answer) => Some((label(p.name.as_ref(), &p.peer_url), answer)),
            Heard::Waiting(_) | Heard::Founding { .. } | Heard::Holds { .. } | Heard::Unknown { .. } => None,
        })
        .collect();
    if let Some(decided) = other_cluster(spec, facts, &answers) {
        return Some(decided);
    }
    if answers.is_empty() && facts.quorum.is_none() {
        return certificates(facts);
    }
    Some(match &facts.quorum {
        None => match &facts.denied {
            Some(why) => not_allowed(&format!("etcd does not tell this host its members: {why}")),
            None => no_quorum(spec, facts, &answers),
        },
        Some(quorum) => with_quorum(spec, facts, quorum),
    })
}

/// Row 8: a founding that this nonce readied and that somebody committed.
fn pulled(facts: &Facts) -> Option<&Founding> {
    if facts.journal.spent || matches!(facts.data, DataDir::Lost { .. }) {
        return None;
    }
    let commits = |p: &&Peer| match &p.heard {
        Heard::Founding { .. } | Heard::Cluster(_) => true,
        Heard::Waiting(_) | Heard::Holds { .. } | Heard::Unknown { .. } => false,
    };
    // Mostly nobody has, and the IDs cost hashes.
    facts.peers.iter().find(commits)?;
    facts.journal.readied.iter().rev().filter(|founding| ours(facts, founding)).find(|founding| {
        let (id, cluster_id) = (founding.id(), founding.cluster_id());
        // Once it has quorum its list is the truth, and a list without us means that we were removed from it.
        let removed = facts.quorum.as_ref().is_some_and(|q| {
            q.cluster_id == cluster_id
                && !q.members.iter().any(|l| l.member.id == founding.member_id(&facts.me.peer_url))
        });
        !removed
            && facts.peers.iter().any(|p| match &p.heard {
                Heard::Founding { founding, .. } => *founding == id,
                Heard::Cluster(answer) => answer.cluster_id == cluster_id,
                Heard::Waiting(_) | Heard::Holds { .. } | Heard::Unknown { .. } => false,
            })
    })
}

/// Whether this host is of the founding with this disk; a copy of another host's journal has readied what is not its own.
pub(crate) fn ours(facts: &Facts, founding: &Founding) -> bool {
    founding.founders.iter().any(|f| f.name == facts.me.name && f.nonce == facts.me.nonce)
}

/// The steps that end in `commit{T}`, with the staging when the founding restores.
pub(crate) fn commit(facts: &Facts, founding: &Founding) -> Vec<Step> {
    let mut steps = clear(facts);
    steps.extend(prepare(facts, founding));
    steps.push(Step::Commit(founding.clone()));
    steps
}

/// The step that stages what the founding restores, unless it restores nothing or that is staged.
pub(crate) fn prepare(facts: &Facts, founding: &Founding) -> Option<Step> {
    let snapshot = founding.terms.snapshot.clone().filter(|_| facts.journal.prepared != Some(founding.id()))?;
    Some(Step::Prepare { founding: founding.clone(), snapshot })
}

/// Makes room when a failed first start left something.
pub(crate) fn clear(facts: &Facts) -> Vec<Step> {
    match &facts.data {
        DataDir::Aborted | DataDir::Lost { .. } => vec![Step::Clear],
        DataDir::Empty
        | DataDir::Member(_)
        | DataDir::Founding { .. }
        | DataDir::Removed { .. }
        | DataDir::Missing { .. }
        | DataDir::Orphan
        | DataDir::Damaged { .. }
        | DataDir::Foreign { .. }
        | DataDir::Newer { .. }
        | DataDir::Locked => Vec::new(),
    }
}

/// Row 9.
fn other_cluster(spec: &Spec, facts: &Facts, answers: &[(String, &Answer)]) -> Option<Decided> {
    if let Some(name) = facts.quorum.as_ref().and_then(|q| q.name.as_ref())
        && *name != spec.cluster
    {
        let sentence = format!("the peers are members of cluster `{name}`, this host's spec says `{}`", spec.cluster);
        // A restored database says so until the first of its founders has written the new name, a moment after it serves.
        if spec.restore.is_some() {
            let until = format!(
                "they have given their restored cluster its own name, which they do by themselves; if they are of `{name}`, \
                 correct `cluster.name` or `peers` in the spec"
            );
            return Some(wait(9, &sentence, vec![], &until));
        }
        return Some(refuse(9, Code::OtherCluster, sentence, "correct `cluster.name` or `peers` in the spec"));
    }
    let mut ids: BTreeSet<ClusterId> = answers.iter().map(|(_, a)| a.cluster_id).collect();
    ids.extend(facts.quorum.as_ref().map(|q| q.cluster_id));
    if ids.len() < 2 {
        return None;
    }
    let who: Vec<String> = answers.iter().map(|(who, a)| format!("{who}: cluster {}", a.cluster_id)).collect();
    let mut led: BTreeSet<ClusterId> =
        answers.iter().filter(|(_, a)| a.cluster.is_some()).map(|(_, a)| a.cluster_id).collect();
    led.extend(facts.quorum.as_ref().map(|q| q.cluster_id));
    if led.len() < 2 {
        // Row 7 of those that are in the founding that loses makes them leave it.
        let why = if led.is_empty() {
            "two foundings are under way and neither has a leader"
        } else {
            "a cluster is there and beside it a founding that has no leader"
        };
        return Some(wait(9, why, who, "the members of one of them have left it, which they do by themselves"));
    }
    let sentence = format!("the peers belong to {} clusters: {}", ids.len(), who.join("; "));
    let hint = "decide which one is right, stop the other, and run `etcd-bootstrapper reset` on its hosts";
    Some(refuse(9, Code::TwoClusters, sentence, hint))
}

/// Row 10.
fn no_quorum(spec: &Spec, facts: &Facts, answers: &[(String, &Answer)]) -> Decided {
    let who: Vec<String> =
        answers.iter().map(|(who, a)| format!("{who}: member of cluster {}", a.cluster_id)).collect();
    let largest = answers.iter().map(|(_, a)| a.members.iter().filter(|m| !m.learner).count()).max().unwrap_or(0);
    let (answering, needed) = (answers.len(), largest / 2 + 1);
    let why = format!(
        "nobody serves its member list, which takes {needed} of its {largest} voters; {answering} of its members answer"
    );
    wait(10, &why, who, &or_recover(spec, facts, "enough of its voters are up: start those that are down"))
}

/// What ends a wait for voters, and the operator's word for when they are lost.
pub(crate) fn or_recover(spec: &Spec, facts: &Facts, until: &str) -> String {
    recovery::remedy(spec, facts).map_or_else(|| until.to_owned(), |remedy| format!("{until}; {remedy}"))
}

/// Rows 11 and 12, and the rest of those about a cluster with quorum.
fn with_quorum(spec: &Spec, facts: &Facts, quorum: &Quorum) -> Decided {
    let closed = || certificates(facts).or_else(|| gate(facts, quorum));
    if let Some(decided) = alive_elsewhere(facts, quorum).or_else(closed) {
        return decided;
    }
    membership::decide(spec, facts, quorum)
}

/// Row 11.
fn alive_elsewhere(facts: &Facts, quorum: &Quorum) -> Option<Decided> {
    let me = &facts.me;
    let taken = quorum
        .members
        .iter()
        .filter(|l| l.member.name == me.name.as_str() || l.member.has_peer_url(&me.peer_url))
        .find(|l| membership::may_live(facts, quorum, l))?;
    let (alive, urls) =
        if taken.answers { ("is alive", &taken.member.client_urls) } else { ("may be alive", &taken.member.peer_urls) };
    let sentence = format!(
        "{} {alive} at {}, and this host is {} at {} with a blank disk",
        taken.member.label(),
        urls.join(","),
        me.name,
        me.peer_url
    );
    let hint = "two hosts have one name or address: give this one its own, or stop the other for good";
    Some(refuse(11, Code::NameTaken, sentence, hint))
}

/// Row 12, the part that needs no cluster.
fn certificates(facts: &Facts) -> Option<Decided> {
    let why = facts.certificates.as_ref()?;
    let hint = "correct `tls` in the spec; nothing is done with certificates that others would reject";
    Some(refuse(12, Code::Certificates, format!("this host's certificates cannot be used: {why}"), hint))
}

/// What to do where etcd's users are on and this host's is none that may.
pub const NOT_ALLOWED: &str =
    "authentication is on: give root to the user that this host's client certificate names, `etcd-bootstrapper`";

/// Row 12, where etcd's users are on.
fn not_allowed(sentence: &str) -> Decided {
    refuse(12, Code::NotAllowed, sentence, NOT_ALLOWED)
}

/// The version that a joiner must fit.
///
/// A new cluster is at 3.0 until its leader has heard the version of every member (etcd server monitorVersions), which is
/// for ever where one of them is gone; what those that answer run is what it will be at.
fn agreed_version(facts: &Facts, quorum: &Quorum) -> Option<Version> {
    let servers = facts.peers.iter().filter_map(|p| match &p.heard {
        Heard::Cluster(answer) if answer.cluster_id == quorum.cluster_id => Some(answer.server),
        Heard::Cluster(_)
        | Heard::Waiting(_)
        | Heard::Founding { .. }
        | Heard::Holds { .. }
        | Heard::Unknown { .. } => None,
    });
    match quorum.version? {
        Version { major: 3, minor: 0, .. } => servers.min_by_key(|v| (v.major, v.minor)),
        decided => Some(decided),
    }
}

/// Row 12, the part that a cluster decides.
fn gate(facts: &Facts, quorum: &Quorum) -> Option<Decided> {
    let ours = facts.etcd;
    let Some(theirs) = agreed_version(facts, quorum) else {
        return Some(wait(
            12,
            "the cluster has not decided its version yet",
            vec![],
            "its leader decides one, some seconds after it is elected",
        ));
    };
    let too_old = (ours.major, ours.minor) < (theirs.major, theirs.minor);
    let too_new = ours.major != theirs.major || ours.minor > theirs.minor + 1;
    if too_old || too_new {
        let sentence = format!("this image has etcd {ours}, and the cluster is at {}", theirs.minor_text());
        let hint = "boot an image whose etcd is at the cluster's minor version or one above";
        return Some(refuse(12, Code::VersionGate, sentence, hint));
    }
    if let Some(denied) = &quorum.denied {
        return Some(not_allowed(&format!("etcd does not let this host change members: {denied}")));
    }
    if !quorum.alarms.is_empty() {
        return Some(wait(
            12,
            "the cluster has an alarm, and members are not changed under one",
            quorum.alarms.clone(),
            "somebody has freed space or repaired the member, and has run `etcdctl alarm disarm`",
        ));
    }
    None
}
