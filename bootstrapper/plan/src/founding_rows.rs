//! The decision table, rows 19 to 29: this disk is blank and no cluster answers.

use crate::claims;
use crate::decide::{label, may_found, others, proceed, refuse, wait};
use crate::decision::{Aim, Code, Decided, Step, short};
use crate::facts::{ClaimState, DataDir, Facts, Heard, Inventory, Stage, Waiting};
use crate::founding::{Founder, Founding, Terms};
use crate::joining::{clear, commit};
use crate::member::{MemberName, PeerUrl};
use crate::missing;
use crate::recovery;
use crate::spec::{Set, Spec};

/// The terms that this host would found under now; it answers them to its peers.
pub fn terms(spec: &Spec, facts: &Facts) -> Terms {
    let (generation, snapshot) = claims::generation(spec, facts);
    let mut set: Vec<String> = match (claims::under_way(spec, facts), &spec.set) {
        (Some(founding), _) => founding.terms.set.clone(),
        (None, set @ Set::Static(peers)) => peers.iter().map(|p| missing::entry(set, &p.name, &p.peer_url)).collect(),
        (None, Set::Dynamic) => {
            let me = std::iter::once(facts.me.name.to_string());
            others(spec, facts).into_iter().map(|(name, _)| name.to_string()).chain(me).collect()
        }
    };
    set.sort();
    Terms {
        cluster: spec.cluster.clone(),
        epoch: spec.epoch,
        generation,
        size: spec.size,
        set,
        store: spec.store.as_ref().map(|s| s.url.clone()),
        snapshot,
        etcd: facts.etcd.minor_text(),
    }
}

/// Rows 19 to 29.
pub(crate) fn decide(spec: &Spec, facts: &Facts) -> Decided {
    if let Some(decided) = claims::committing(spec, facts) {
        return decided;
    }
    if !may_found(spec.mode) {
        return wait(19, "mode is join, and no cluster answers", everybody(spec, facts), "a cluster answers");
    }
    if let Some(decided) = claims::unread(spec, facts) {
        return decided;
    }
    if let Some(decided) = claims::left_out(spec, facts) {
        return decided;
    }
    let terms = terms(spec, facts);
    let set = match the_set(spec, facts) {
        Ok(set) => set,
        Err(who) => {
            let why = "the group has to list exactly cluster.size instances";
            return wait(20, why, who, &or_never(spec, facts, "it lists exactly that many"));
        }
    };
    let heard = match everyone_waits(spec, facts, &set) {
        Ok(heard) => heard,
        Err(who) => {
            let until = "each of them answers that it is blank, or a cluster answers";
            return match missing::leave_out(spec, facts, &terms) {
                Ok(decided) => decided,
                Err(None) => {
                    let why = "a new cluster is founded by all of its members together or not at all";
                    wait(20, why, who, &or_never(spec, facts, until))
                }
                Err(Some(or)) => {
                    let why =
                        "a new cluster is founded by all of its members, or by those whom the store's claim names";
                    wait(20, why, who, &format!("{until}; {or}"))
                }
            };
        }
    };
    for (who, waiting) in &heard {
        if let Some(difference) = terms.first_difference(&waiting.terms) {
            return wait(
                21,
                "their specs or images differ, and nothing is founded until they are the same",
                vec![format!("{who}: {difference}")],
                "all have the same spec and image",
            );
        }
    }
    if let Some(decided) = twins(facts, &heard) {
        return decided;
    }
    if let Some(decided) = claims::claimed(spec, facts) {
        return decided;
    }
    if let Some(decided) = not_now(spec, facts) {
        return decided;
    }
    let me =
        Founder { name: facts.me.name.clone(), peer_url: facts.me.peer_url.clone(), nonce: facts.me.nonce.clone() };
    let theirs = set.iter().zip(&heard).map(|((name, peer_url), (_, w))| Founder {
        name: name.clone(),
        peer_url: peer_url.clone(),
        nonce: w.nonce.clone(),
    });
    let founding = Founding::new(terms, theirs.chain([me]).collect());
    found(spec, facts, &founding, &heard)
}

/// Row 21 too: two hosts answer with one disk nonce, so one disk is a copy of the other.
///
/// A founding of both would have two hosts start as one member. Nothing is lost with a blank disk's nonce, so whoever
/// has it takes another; that is what a lost disk comes to, which every other rule can bear.
pub(crate) fn twins(facts: &Facts, heard: &[(String, &Waiting)]) -> Option<Decided> {
    let same = |a: &Waiting, b: &Waiting| a.nonce == b.nonce;
    if let Some((who, _)) = heard.iter().find(|(_, w)| w.nonce == facts.me.nonce) {
        let why = format!("{who} has the same disk nonce: one disk is a copy of the other");
        let step = Step::Archive { why, removed: None, only_unled: true, lost: false };
        return Some(proceed(21, Aim::Archive, vec![step]));
    }
    let copies = |(i, (_, w)): &(usize, &(String, &Waiting))| heard.iter().skip(i + 1).any(|(_, o)| same(w, o));
    let (_, (_, first)) = heard.iter().enumerate().find(copies)?;
    let who = heard.iter().filter(|(_, w)| same(w, first)).map(|(who, _)| who.clone()).collect();
    let why = "two hosts answer with one disk nonce, so one of their disks is a copy of the other";
    Some(wait(21, why, who, "each of them has taken a new one, which they do by themselves"))
}

/// Rows 26 to 29: all others are uncommitted and agree with us.
fn found(spec: &Spec, facts: &Facts, founding: &Founding, heard: &[(String, &Waiting)]) -> Decided {
    let id = founding.id();
    if let Some(decided) = spent(facts) {
        return decided;
    }
    if facts.journal.readied.last() != Some(founding) {
        let mut steps = clear(facts);
        if spec.store.is_some() {
            steps.push(claims::step(facts, ClaimState::Founding, founding));
        }
        steps.push(Step::Ready(founding.clone()));
        return proceed(26, Aim::Found, steps);
    }
    let ready = |w: &Waiting| matches!(&w.stage, Stage::Ready(t) | Stage::Prepared(t) if *t == id);
    let prepared = |w: &Waiting| matches!(&w.stage, Stage::Prepared(t) if *t == id);
    let behind = |done: &dyn Fn(&Waiting) -> bool| -> Vec<String> {
        heard.iter().filter(|(_, w)| !done(w)).map(|(who, w)| format!("{who}: {}", stage(&w.stage))).collect()
    };
    let not_ready = behind(&ready);
    if !not_ready.is_empty() {
        return wait(
            29,
            &format!("this host is ready for founding {}, and some are not yet", short(&id)),
            not_ready,
            "all are ready for it",
        );
    }
    if let Some(snapshot) = &founding.terms.snapshot {
        if facts.journal.prepared.as_ref() != Some(&id) {
            let step = Step::Prepare { founding: founding.clone(), snapshot: snapshot.clone() };
            return proceed(27, Aim::Found, vec![step]);
        }
        let not_prepared = behind(&prepared);
        if !not_prepared.is_empty() {
            return wait(
                29,
                "this host has the snapshot staged and proven, and some have not yet",
                not_prepared,
                "all have it",
            );
        }
    }
    if spec.store.is_some() {
        return proceed(28, Aim::Found, vec![claims::step(facts, ClaimState::Committing, founding)]);
    }
    proceed(28, Aim::Found, commit(facts, founding))
}

/// Row 26 too: a disk nonce commits once.
pub(crate) fn spent(facts: &Facts) -> Option<Decided> {
    let spent = facts.journal.spent || matches!(facts.data, DataDir::Lost { .. });
    let why = "a new founding needs a new disk nonce".into();
    let step = Step::Archive { why, removed: None, only_unled: false, lost: false };
    spent.then(|| proceed(26, Aim::Archive, vec![step]))
}

fn stage(stage: &Stage) -> String {
    match stage {
        Stage::Blank => "blank".into(),
        Stage::Ready(t) => format!("ready for founding {}", short(t)),
        Stage::Prepared(t) => format!("prepared for founding {}", short(t)),
    }
}

/// The other members of the founding.
///
/// # Errors
/// Row 20: what the group lists instead.
fn the_set(spec: &Spec, facts: &Facts) -> Result<Vec<(MemberName, PeerUrl)>, Vec<String>> {
    if let Some(founding) = claims::under_way(spec, facts) {
        let others = founding.founders.iter().filter(|f| f.peer_url != facts.me.peer_url);
        return Ok(others.map(|f| (f.name.clone(), f.peer_url.clone())).collect());
    }
    listed(spec, facts)
}

/// Everybody else of the list, or of a group that lists exactly its size.
///
/// # Errors
/// As [`the_set`].
pub(crate) fn listed(spec: &Spec, facts: &Facts) -> Result<Vec<(MemberName, PeerUrl)>, Vec<String>> {
    let others = others(spec, facts);
    match (&spec.set, &facts.inventory) {
        (Set::Static(_), _) => Ok(others),
        (Set::Dynamic, Inventory::Listed(instances)) => {
            let alive: Vec<_> = instances.iter().filter(|i| !i.terminated).collect();
            let us = alive.iter().any(|i| i.id == facts.me.name);
            if alive.len() == usize::from(spec.size) && us && others.len() + 1 == alive.len() {
                Ok(others)
            } else {
                let ids: Vec<&str> = alive.iter().map(|i| i.id.as_str()).collect();
                Err(vec![format!("{} of {} listed: {}", alive.len(), spec.size, ids.join(" "))])
            }
        }
        (Set::Dynamic, Inventory::Unknown { reason }) => Err(vec![reason.clone()]),
        (Set::Dynamic, Inventory::Static) => Err(vec!["no provider was asked".into()]),
    }
}

/// What each other member of the set answers, when all of them are uncommitted bootstrappers on blank disks.
///
/// # Errors
/// Row 20: those who are not, each with the reason.
fn everyone_waits<'f>(
    spec: &Spec,
    facts: &'f Facts,
    set: &[(MemberName, PeerUrl)],
) -> Result<Vec<(String, &'f Waiting)>, Vec<String>> {
    let mut heard = Vec::new();
    let mut who = Vec::new();
    for (name, url) in set {
        let label = label(Some(name), url);
        match facts.peers.iter().find(|p| p.peer_url == *url).map(|p| &p.heard) {
            Some(Heard::Waiting(waiting)) => heard.push((label, waiting)),
            Some(Heard::Unknown { reason }) => who.push(format!("{label}: {reason}")),
            Some(Heard::Holds { class }) => who.push(format!("{label}: holds {class}")),
            Some(Heard::Founding { founding, .. }) => {
                who.push(format!("{label}: has committed founding {}, which this disk is not in", short(founding)))
            }
            Some(Heard::Cluster(answer)) => who.push(format!("{label}: member of cluster {}", answer.cluster_id)),
            None => who.push(format!("{label}: not asked yet")),
        }
    }
    who.extend(data_beside(spec, facts, set));
    if who.is_empty() { Ok(heard) } else { Err(who) }
}

/// Those whom a claim of fewer than all leaves out, where they turn out to hold data: the cluster is older than its store.
fn data_beside(spec: &Spec, facts: &Facts, set: &[(MemberName, PeerUrl)]) -> Vec<String> {
    let left_out = |url: &PeerUrl| set.len() + 1 < usize::from(spec.size) && !set.iter().any(|(_, of_it)| of_it == url);
    let others = others(spec, facts).into_iter().filter(|(_, url)| left_out(url));
    let holds =
        |(name, url): (MemberName, PeerUrl)| match facts.peers.iter().find(|p| p.peer_url == url).map(|p| &p.heard)? {
            Heard::Holds { class } => Some(format!("{}: holds {class}", label(Some(&name), &url))),
            Heard::Founding { founding, .. } => {
                Some(format!("{}: has committed founding {}", label(Some(&name), &url), short(founding)))
            }
            Heard::Waiting(_) | Heard::Cluster(_) | Heard::Unknown { .. } => None,
        };
    others.filter_map(holds).collect()
}

fn everybody(spec: &Spec, facts: &Facts) -> Vec<String> {
    let silent = crate::decide::silent(facts);
    if silent.is_empty() { others(spec, facts).iter().map(|(n, u)| label(Some(n), u)).collect() } else { silent }
}

/// What ends a wait for a founding: nothing but a cluster where row 25 would refuse it. Who has refused does not answer
/// any more, so its peers must say it too.
fn or_never(spec: &Spec, facts: &Facts, until: &str) -> String {
    if let Some(what) = claims::refuses_after_loss(spec, facts) {
        return format!("{until}; the store says that this cluster was founded, and in its place none is: {what}");
    }
    closed(spec, facts).map_or_else(
        || until.to_owned(),
        |(_, why, hint)| format!("a cluster answers; this host founds none any more: {why}; {hint}"),
    )
}

/// Rows 3, 24 and 25.
pub(crate) fn not_now(spec: &Spec, facts: &Facts) -> Option<Decided> {
    if claims::lost_and_alone(spec, facts) {
        let why = "only a cluster can take this host back: founding anew could forget what the member had promised";
        return Some(wait(
            24,
            why,
            everybody(spec, facts),
            "a cluster answers, or a host that has its data is named by `recover` (start it: its console says how), or the operator runs `etcd-bootstrapper reset` here",
        ));
    }
    if let Some(decided) = recovery::instead(spec, facts) {
        return Some(decided);
    }
    let (code, sentence, hint) = closed(spec, facts)?;
    Some(refuse(25, code, sentence, hint))
}

/// Why no new cluster may be founded now without a store, and what to do; `None` while one may.
fn closed(spec: &Spec, facts: &Facts) -> Option<(Code, String, &'static str)> {
    if spec.store.is_some() {
        return None;
    }
    let Some(now) = facts.now else {
        let sentence = "no time server has set this machine's clock, and it was not ahead of this image at power-on, so nobody \
                        knows whether cluster.found_until has passed";
        let hint = "set this machine's clock in its firmware, or give it a time server; then boot again";
        return Some((Code::ClockUnknown, sentence.into(), hint));
    };
    let hint = "if a new and empty cluster is really meant, set `cluster.found_until` to a time ahead; else bring back a member, or restore";
    let sentence = match spec.found_until {
        None => "the spec has no cluster.found_until, so it allows no founding".into(),
        Some(until) if now > until.0 => format!("the spec allows a founding until {until}, and that has passed"),
        Some(_) => return None,
    };
    Some((Code::FoundingExpired, sentence, hint))
}
