//! The decision table, rows 8 to 18: this disk is blank and somebody may have a cluster already.

use std::collections::BTreeSet;

use crate::decide::{label, others, proceed, refuse, terminated, wait};
use crate::decision::{Aim, Code, Decided, Step};
use crate::facts::{Answer, DataDir, Facts, Heard, Identity, Inventory, Listed, Quorum};
use crate::founding::Founding;
use crate::member::{ClusterId, Member, MemberName};
use crate::spec::{Mode, Set, Spec};

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
        None => no_quorum(&answers),
        Some(quorum) => with_quorum(spec, facts, quorum),
    })
}

/// Row 8: a founding that this nonce readied and that somebody committed.
fn pulled(facts: &Facts) -> Option<&Founding> {
    if facts.journal.spent || matches!(facts.data, DataDir::Lost { .. }) {
        return None;
    }
    facts.journal.readied.iter().rev().find(|founding| {
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

/// The steps that end in `commit{T}`, with the staging when the founding restores.
pub(crate) fn commit(facts: &Facts, founding: &Founding) -> Vec<Step> {
    let mut steps = clear(facts);
    if let Some(snapshot) = &founding.terms.snapshot
        && facts.journal.prepared != Some(founding.id())
    {
        steps.push(Step::Prepare { founding: founding.clone(), snapshot: snapshot.clone() });
    }
    steps.push(Step::Commit(founding.clone()));
    steps
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
        return Some(wait(9, why, who, "the members of one of them have left it"));
    }
    let sentence = format!("the peers belong to {} clusters: {}", ids.len(), who.join("; "));
    let hint = "decide which one is right, stop the other, and run `etcd-bootstrapper reset` on its hosts";
    Some(refuse(9, Code::TwoClusters, sentence, hint))
}

/// Row 10.
fn no_quorum(answers: &[(String, &Answer)]) -> Decided {
    let who: Vec<String> =
        answers.iter().map(|(who, a)| format!("{who}: member of cluster {}", a.cluster_id)).collect();
    let largest = answers.iter().map(|(_, a)| a.members.iter().filter(|m| !m.learner).count()).max().unwrap_or(0);
    let why = format!(
        "a cluster answers, and no quorum of it: {largest} voters, {} answer on their peer URL, {} needed to add or remove anybody",
        answers.len(),
        largest / 2 + 1
    );
    wait(10, &why, who, "a quorum of its voters is up")
}

/// Rows 11 to 18: a cluster with quorum answers.
fn with_quorum(spec: &Spec, facts: &Facts, quorum: &Quorum) -> Decided {
    let closed = || certificates(facts).or_else(|| gate(facts, quorum));
    if let Some(decided) = alive_elsewhere(facts, quorum).or_else(closed) {
        return decided;
    }
    let added = facts.journal.added.as_ref().filter(|a| a.cluster_id == quorum.cluster_id).map(|a| a.member_id);
    if let Some(ours) =
        quorum.members.iter().find(|l| Some(l.member.id) == added && l.member.has_peer_url(&facts.me.peer_url))
    {
        return hand_off(spec, facts, quorum, &ours.member);
    }
    let previous = quorum.members.iter().find(|l| Some(l.member.id) == added || previous_life(facts, &l.member));
    if let Some(previous) = previous {
        return replace(14, quorum, previous, "it is this host's previous life, whose disk is gone");
    }
    if spec.mode == Mode::Init && !matches!(facts.data, DataDir::Lost { .. }) {
        let sentence =
            format!("mode is init, and cluster {} with {} members answers", quorum.cluster_id, quorum.members.len());
        return refuse(15, Code::ClusterExists, sentence, "write `mode: auto` to join it");
    }
    if quorum.members.len() < room(spec, facts, quorum) {
        return join(spec, facts, quorum);
    }
    if let Some(leaked) = leaked(spec, quorum) {
        return collect(quorum, leaked);
    }
    if let Some(dead) = removable(spec, facts, quorum) {
        if let Some(learner) = quorum.members.iter().find(|l| l.member.learner) {
            let why = "a dead voter is to be replaced, and the replacement of another does not vote yet";
            return wait(17, why, vec![learner.member.label()], "it votes");
        }
        return replace(17, quorum, dead, "the provider says that its instance is terminated");
    }
    let why = format!(
        "the cluster is full: {} members, cluster.size is {}; this host is a spare",
        quorum.members.len(),
        spec.size
    );
    wait(18, &why, vec![], "a member's place becomes free")
}

/// Row 11.
fn alive_elsewhere(facts: &Facts, quorum: &Quorum) -> Option<Decided> {
    let me = &facts.me;
    let taken = quorum
        .members
        .iter()
        .find(|l| l.answers && (l.member.name == me.name.as_str() || l.member.has_peer_url(&me.peer_url)))?;
    let sentence = format!(
        "{} is alive at {}, and this host is {} at {} with a blank disk",
        taken.member.label(),
        taken.member.client_urls.join(","),
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

/// Row 12, the part that a cluster decides.
fn gate(facts: &Facts, quorum: &Quorum) -> Option<Decided> {
    let ours = facts.etcd;
    let Some(theirs) = quorum.version else {
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
        let sentence = format!("etcd does not let this host change members: {denied}");
        let hint = "authentication is on: give root to the user that this host's client certificate names, `etcd-bootstrapper`";
        return Some(refuse(12, Code::NotAllowed, sentence, hint));
    }
    if !quorum.alarms.is_empty() {
        return Some(wait(
            12,
            "the cluster has an alarm, and members are not changed under one",
            quorum.alarms.clone(),
            "it is disarmed",
        ));
    }
    None
}

/// Row 13.
fn hand_off(spec: &Spec, facts: &Facts, quorum: &Quorum, ours: &Member) -> Decided {
    let identity = Identity {
        cluster: spec.cluster.clone(),
        cluster_id: quorum.cluster_id,
        member_id: ours.id,
        name: facts.me.name.clone(),
        peer_url: facts.me.peer_url.clone(),
        token: format!("{}.joined.{}", spec.cluster, quorum.cluster_id),
        // The word that this cluster came from must not be taken for a new one by its own members.
        epoch: spec.recover.as_ref().map_or(0, |r| r.epoch).max(spec.epoch),
    };
    let initial_cluster = initial_cluster(quorum, ours, &facts.me.name);
    let mut steps = clear(facts);
    steps.push(Step::HandOff { identity, initial_cluster });
    proceed(13, Aim::Join, steps)
}

/// Names and peer URLs of etcd's own list, ours named; etcd compares the URLs only, and its flag wants unique names.
fn initial_cluster(quorum: &Quorum, ours: &Member, name: &MemberName) -> Vec<(String, String)> {
    let mut names = BTreeSet::from([name.to_string()]);
    let mut cluster = Vec::new();
    for Listed { member, .. } in &quorum.members {
        let listed = Some(&member.name).filter(|n| n.parse::<MemberName>().is_ok() && names.insert((*n).clone()));
        let name = match listed {
            _ if member.id == ours.id => name.to_string(),
            Some(name) => name.clone(),
            None => format!("member-{}", member.id),
        };
        cluster.extend(member.peer_urls.iter().map(|url| (name.clone(), url.clone())));
    }
    cluster
}

/// Row 14: whether this member of the list is what this host was before it lost its disk.
fn previous_life(facts: &Facts, member: &Member) -> bool {
    let named_as_us = member.name == facts.me.name.as_str();
    let ended = || member.name.parse().is_ok_and(|name| terminated(facts, &name));
    named_as_us || (member.has_peer_url(&facts.me.peer_url) && (facts.me.address_bound || ended()))
}

/// Removes a member whose disk or instance is gone, unless that could cost quorum.
fn replace(row: u8, quorum: &Quorum, dead: &Listed, why: &str) -> Decided {
    let remaining: Vec<&Listed> = voters(quorum).filter(|l| l.member.id != dead.member.id).collect();
    let answering = remaining.iter().filter(|l| l.answers).count();
    let needed = remaining.len() / 2 + 1;
    if !dead.member.learner && answering < needed {
        let who = remaining.iter().filter(|l| !l.answers).map(|l| l.member.label()).collect();
        let why = format!(
            "{} is to be removed, and then {} voters remain, {answering} of them answer and a quorum is {needed}",
            dead.member.label(),
            remaining.len()
        );
        return wait(row, &why, who, "more of the remaining voters answer");
    }
    let step = Step::Remove {
        cluster_id: quorum.cluster_id,
        member: dead.member.id,
        list: list(quorum),
        why: format!("{}: {why}", dead.member.label()),
    };
    proceed(row, Aim::Replace, vec![step])
}

/// Row 16.
fn join(spec: &Spec, facts: &Facts, quorum: &Quorum) -> Decided {
    if let Some(leaked) = leaked(spec, quorum) {
        return collect(quorum, leaked);
    }
    if let Some(learner) = quorum.members.iter().find(|l| l.member.learner) {
        let why = "another member is being added, and etcd takes one learner at a time";
        return wait(16, why, vec![learner.member.label()], "it votes, or is silent for replace_after");
    }
    let step = Step::Add { cluster_id: quorum.cluster_id, peer_url: facts.me.peer_url.clone(), list: list(quorum) };
    proceed(16, Aim::Join, vec![step])
}

/// A learner that was added, never started, and whose owner has been silent for long.
fn leaked<'q>(spec: &Spec, quorum: &'q Quorum) -> Option<&'q Listed> {
    let never_started = |l: &&Listed| l.member.learner && !l.member.started() && !l.answers;
    quorum.members.iter().filter(never_started).find(|l| l.silent >= spec.replace_after)
}

/// Row 16, where such a learner takes the one place that etcd has for learners, or the last place of the cluster.
fn collect(quorum: &Quorum, leaked: &Listed) -> Decided {
    replace(16, quorum, leaked, "it was added, never started, and blocks the next one")
}

/// How many members there may be: `size`, and one more while a group launches new before it ends old.
///
/// Not beside a dead voter that can be removed: etcd adds nobody then, and removing it makes the room.
fn room(spec: &Spec, facts: &Facts, quorum: &Quorum) -> usize {
    let surge = match (&spec.set, &facts.inventory) {
        (Set::Dynamic, Inventory::Listed(_)) => {
            others(spec, facts).len() + 1 > usize::from(spec.size) && removable(spec, facts, quorum).is_none()
        }
        (Set::Dynamic, Inventory::Static | Inventory::Unknown { .. }) | (Set::Static(_), _) => false,
    };
    usize::from(spec.size) + usize::from(surge)
}

/// Row 17: the voter to remove, lowest member ID first.
fn removable<'q>(spec: &Spec, facts: &Facts, quorum: &'q Quorum) -> Option<&'q Listed> {
    match spec.set {
        Set::Static(_) => None,
        Set::Dynamic => voters(quorum)
            .filter(|l| !l.answers && l.silent >= spec.replace_after)
            .filter(|l| l.member.name.parse().is_ok_and(|name| terminated(facts, &name)))
            .min_by_key(|l| l.member.id),
    }
}

fn voters(quorum: &Quorum) -> impl Iterator<Item = &Listed> {
    quorum.members.iter().filter(|l| !l.member.learner)
}

fn list(quorum: &Quorum) -> Vec<Member> {
    quorum.members.iter().map(|l| l.member.clone()).collect()
}
