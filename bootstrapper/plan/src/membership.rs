//! The decision table, rows 13 to 18: this disk is blank, and a cluster with quorum answers that would take it.

use std::collections::BTreeSet;

use crate::decide::{others, proceed, refuse, terminated, wait};
use crate::decision::{Aim, Code, Decided, Step};
use crate::facts::{DataDir, Facts, Heard, Identity, Inventory, Listed, Quorum};
use crate::joining::clear;
use crate::member::{Member, MemberName};
use crate::spec::{Mode, Set, Spec};

/// Rows 13 to 18.
pub(crate) fn decide(spec: &Spec, facts: &Facts, quorum: &Quorum) -> Decided {
    let added = facts.journal.added.as_ref().filter(|a| a.cluster_id == quorum.cluster_id).map(|a| a.member_id);
    // This disk never handed it off: once it has started, a copy of this disk has, and it is not ours to resume or remove.
    let ours = |l: &&Listed| Some(l.member.id) == added && l.member.learner && !l.member.started();
    let resumed = quorum.members.iter().filter(ours).find(|l| l.member.has_peer_url(&facts.me.peer_url));
    if let Some(resumed) = resumed {
        return hand_off(spec, facts, quorum, &resumed.member);
    }
    let previous = quorum.members.iter().find(|l| ours(l) || previous_life(facts, &l.member));
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
    if let Some(leaked) = leaked(spec, facts, quorum) {
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
        "it has {} members and cluster.size is {}; this host is a spare and takes the next place that is free",
        quorum.members.len(),
        spec.size
    );
    // Whoever is silent may be the next to go, and is all that a person could look after.
    let silent = quorum.members.iter().filter(|l| !may_live(facts, quorum, l));
    let who = silent.map(|l| format!("{} does not answer", l.member.label())).collect();
    wait(18, &why, who, "a member is removed")
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
    if let Some(leaked) = leaked(spec, facts, quorum) {
        return collect(quorum, leaked);
    }
    if let Some(learner) = quorum.members.iter().find(|l| l.member.learner) {
        let why = "another member is being added, and etcd takes one learner at a time";
        return wait(16, why, vec![learner.member.label()], "it votes, or is silent for replace_after");
    }
    let step = Step::Add { cluster_id: quorum.cluster_id, peer_url: facts.me.peer_url.clone(), list: list(quorum) };
    proceed(16, Aim::Join, vec![step])
}

/// Whether this member answers, or somebody of its cluster does on its peer URL, which may be it.
///
/// Who must not be touched while it lives is spared by the less certain sign; who is counted for a quorum counts by
/// [`Listed::answers`] alone.
pub(crate) fn may_live(facts: &Facts, quorum: &Quorum, listed: &Listed) -> bool {
    listed.answers
        || facts.peers.iter().filter(|p| listed.member.has_peer_url(&p.peer_url)).any(|p| match &p.heard {
            Heard::Cluster(answer) => answer.cluster_id == quorum.cluster_id,
            Heard::Waiting(_) | Heard::Founding { .. } | Heard::Holds { .. } | Heard::Unknown { .. } => false,
        })
}

/// A learner that will never vote and whose owner has been silent for long: it never started, or its instance is gone.
fn leaked<'q>(spec: &Spec, facts: &Facts, quorum: &'q Quorum) -> Option<&'q Listed> {
    let learners = quorum.members.iter().filter(|l| l.member.learner && !may_live(facts, quorum, l));
    let ended = |l: &Listed| l.member.name.parse().is_ok_and(|name| terminated(facts, &name));
    learners.filter(|l| l.silent >= spec.replace_after).find(|l| !l.member.started() || ended(l))
}

/// Row 16, where such a learner takes the one place that etcd has for learners, or the last place of the cluster.
fn collect(quorum: &Quorum, leaked: &Listed) -> Decided {
    let what = if leaked.member.started() { "its instance is terminated" } else { "it never started" };
    replace(16, quorum, leaked, &format!("it was added as a learner, {what}, and it blocks the next one"))
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
            .filter(|l| !may_live(facts, quorum, l) && l.silent >= spec.replace_after)
            .filter(|l| l.member.name.parse().is_ok_and(|name| terminated(facts, &name)))
            .min_by_key(|l| l.member.id),
    }
}

/// What a member does when a surge has left one voter too many: row 17, without a place to take.
///
/// `None` while there are no more than `cluster.size` voters, or none of them is known to be gone for good.
pub fn surplus(spec: &Spec, facts: &Facts) -> Option<Decided> {
    let quorum = facts.quorum.as_ref().filter(|q| voters(q).count() > usize::from(spec.size))?;
    let dead = removable(spec, facts, quorum)?;
    Some(replace(17, quorum, dead, "it was replaced, and the provider says that its instance is terminated"))
}

/// What a learner does that its cluster lists at another peer URL than this host has now: row 14 with its data in place.
///
/// For one that has waited long enough. A leader sends its database to the peer URL that it has listed, and etcd before
/// 3.5.31 forgets that a member is a learner when that is updated (etcd issue 21694). What a learner has, voters have too.
pub fn stranded(facts: &Facts, us: &Identity) -> Option<Decided> {
    let quorum = facts.quorum.as_ref().filter(|q| q.cluster_id == us.cluster_id)?;
    let listed = quorum.members.iter().find(|l| l.member.id == us.member_id && l.member.learner)?;
    let why = "its address has changed, and its leader cannot send it what it lacks";
    (!listed.member.has_peer_url(&facts.me.peer_url)).then(|| replace(14, quorum, listed, why))
}

fn voters(quorum: &Quorum) -> impl Iterator<Item = &Listed> {
    quorum.members.iter().filter(|l| !l.member.learner)
}

fn list(quorum: &Quorum) -> Vec<Member> {
    quorum.members.iter().map(|l| l.member.clone()).collect()
}
