//! The operator's word after a majority is lost: row 3 of the decision table, why it is not carried out yet, and the
//! word to give where nobody has given one.

use crate::claims;
use crate::decide::{label, others, proceed, refuse, terminated, wait};
use crate::decision::{Aim, Code, Decided, Step};
use crate::document::Recover;
use crate::facts::{Answer, DataDir, Facts, Heard, Identity, Instance, Inventory, Past};
use crate::founding::{Founder, Founding, Terms};
use crate::founding_rows;
use crate::member::Member;
use crate::spec::{Set, Spec};

/// The word that this disk has neither carried out nor outlived.
pub fn pending<'s>(spec: &'s Spec, journal: &Past) -> Option<&'s Recover> {
    spec.recover.as_ref().filter(|r| journal.epoch.is_none_or(|e| e < r.epoch))
}

/// Row 3; `None` when the operator's word does not apply (yet).
pub(crate) fn decide(spec: &Spec, facts: &Facts, identity: &Identity) -> Option<Decided> {
    let word = pending(spec, &facts.journal)?;
    if identity.name == word.survivor {
        let carried_out = against(spec, facts, identity, word).is_empty();
        return carried_out.then(|| proceed(3, Aim::Recover, vec![keep_alone(spec, facts, identity, word)]));
    }
    let (survivor, us) = (&word.survivor, &identity.name);
    let refused = |sentence: String| {
        let hint = "run `etcd-bootstrapper reset` here: the data goes to the trash and this host joins the survivor";
        refuse(3, Code::NotTheSurvivor, sentence, hint)
    };
    if let Some(quorum) = &facts.quorum {
        let survivors = quorum.cluster_id != identity.cluster_id
            && quorum.name.as_ref() == Some(&spec.cluster)
            && quorum.members.iter().any(|l| l.member.name == word.survivor.as_str());
        return survivors.then(|| {
            refused(format!(
                "recover names {survivor} the survivor, whose cluster {} serves, and {us} has the data of the old one",
                quorum.cluster_id
            ))
        });
    }
    let own_list = facts.own_list.as_ref()?;
    let mut rest = other_voters(own_list, identity).filter(|m| m.name != word.survivor.as_str());
    let given_up = word.given_up.contains(&identity.name);
    (given_up && rest.all(|m| lost(facts, word, m)))
        .then(|| refused(format!("recover names {survivor} the survivor and gives {us} up, which has data")))
}

/// Why the survivor does not carry out the word that names it, a reason each; empty when it does.
///
/// Who else could be a quorum is known from our own data: spec and inventory may be short of somebody. But the list in it
/// is older than what was done without us, and then a group lists who has come since.
fn against(spec: &Spec, facts: &Facts, identity: &Identity, word: &Recover) -> Vec<String> {
    if let Some(quorum) = &facts.quorum {
        return vec![format!("cluster {} serves, and a cluster that serves is joined and not left", quorum.cluster_id)];
    }
    if let Some(why) = &facts.denied {
        return vec![format!("a cluster answers that does not tell this host its members: {why}")];
    }
    let Some(own_list) = &facts.own_list else {
        return vec!["the member list in this host's own database cannot be read".into()];
    };
    let newcomers = match newcomers(spec, facts, own_list) {
        Ok(newcomers) => newcomers,
        Err(why) => return vec![format!("nobody knows who is in the group by now: {why}")],
    };
    let voters = other_voters(own_list, identity).filter(|m| !lost(facts, word, m));
    let voters = voters.map(|m| (m.label(), answers_of(facts, m).next()));
    let newcomers = newcomers.into_iter().filter(|i| !word.given_up.contains(&i.id));
    let newcomers = newcomers.map(|i| (place(i), heard_from(facts, i)));
    let blocks = |(who, heard)| format!("{who} is neither blank nor terminated nor given up: {}", words(heard));
    voters.chain(newcomers).map(blocks).collect()
}

/// Whom the group lists, who is no voter of this list, and of whom it is not known that there is no data: it may have become
/// one since the list was written. An error says why nobody knows whom the group lists.
fn newcomers<'f>(spec: &Spec, facts: &'f Facts, list: &[Member]) -> Result<Vec<&'f Instance>, String> {
    let us = |i: &Instance| i.id == facts.me.name || i.peer_url.as_ref() == Some(&facts.me.peer_url);
    let is =
        |m: &Member, i: &Instance| m.name == i.id.as_str() || i.peer_url.as_ref().is_some_and(|u| m.has_peer_url(u));
    let listed = |i: &Instance| list.iter().any(|m| may_vote(m) && is(m, i));
    let blank = |i: &Instance| matches!(heard_from(facts, i), Some(Heard::Waiting(_)));
    match (&spec.set, &facts.inventory) {
        (Set::Static(_), _) => Ok(Vec::new()),
        (Set::Dynamic, Inventory::Listed(instances)) => {
            Ok(instances.iter().filter(|i| !(i.terminated || us(i) || listed(i) || blank(i))).collect())
        }
        (Set::Dynamic, Inventory::Unknown { reason }) => Err(reason.clone()),
        (Set::Dynamic, Inventory::Static) => Err("no provider was asked".into()),
    }
}

fn heard_from<'f>(facts: &'f Facts, instance: &Instance) -> Option<&'f Heard> {
    facts.peers.iter().find(|p| Some(&p.peer_url) == instance.peer_url.as_ref()).map(|p| &p.heard)
}

fn place(instance: &Instance) -> String {
    instance.peer_url.as_ref().map_or_else(|| instance.id.to_string(), |url| label(Some(&instance.id), url))
}

/// Row 3 where all are blank and would found: the word says that a cluster was there and whose disk has it, so no empty one
/// takes its place. A snapshot is older than that disk, unless the store proves every voter gone.
pub(crate) fn instead(spec: &Spec, facts: &Facts) -> Option<Decided> {
    let word = pending(spec, &facts.journal).filter(|_| !claims::follows_total_loss(spec, facts))?;
    let survivor = &word.survivor;
    let who = if *survivor == facts.me.name {
        format!("{}: this disk is blank", label(Some(survivor), &facts.me.peer_url))
    } else {
        match others(spec, facts).into_iter().find(|(name, _)| name == survivor) {
            Some((_, url)) => format!("{}: its disk is blank", label(Some(survivor), &url)),
            None => format!("{survivor}: it is not among the hosts that would found"),
        }
    };
    let why =
        format!("`recover` names {survivor} the survivor of this cluster, and no new one is founded in its place");
    let until = format!(
        "{survivor} is up with the disk that has its data; if that is lost too, take `recover` out of the configuration of \
         all hosts and reboot them"
    );
    Some(wait(3, &why, vec![who], &until))
}

/// Why the word that names this host, a member, the survivor is not carried out now; `None` where there is no such word.
pub fn held_back(spec: &Spec, facts: &Facts, identity: &Identity) -> Option<String> {
    let word = pending(spec, &facts.journal).filter(|word| word.survivor == identity.name)?;
    let against = against(spec, facts, identity, word);
    (!against.is_empty())
        .then(|| format!("`recover` with epoch {} is not carried out: {}", word.epoch, against.join("; ")))
}

/// Everybody who may vote but this member. A promotion is not always in the list (etcd issues 19557 and 20793), so a
/// learner counts from when it has served.
fn other_voters<'f>(list: &'f [Member], identity: &'f Identity) -> impl Iterator<Item = &'f Member> {
    list.iter().filter(|m| may_vote(m) && m.id != identity.member_id)
}

fn may_vote(member: &Member) -> bool {
    !member.learner || member.started()
}

fn lost(facts: &Facts, word: &Recover, member: &Member) -> bool {
    word.given_up.iter().any(|n| n.as_str() == member.name) || gone(facts, member)
}

/// Whether a member is known to have no data any more.
fn gone(facts: &Facts, member: &Member) -> bool {
    member.name.parse().is_ok_and(|name| terminated(facts, &name))
        || answers_of(facts, member).any(|heard| matches!(heard, Heard::Waiting(_)))
}

fn answers_of<'f>(facts: &'f Facts, member: &'f Member) -> impl Iterator<Item = &'f Heard> {
    facts.peers.iter().filter(|p| member.has_peer_url(&p.peer_url)).map(|p| &p.heard)
}

fn words(heard: Option<&Heard>) -> String {
    match heard {
        Some(Heard::Unknown { reason }) => reason.clone(),
        Some(Heard::Cluster(answer)) => format!("an etcd of cluster {} answers there", answer.cluster_id),
        Some(Heard::Holds { class }) => format!("it holds {class}"),
        Some(Heard::Founding { .. }) => "it has begun another cluster".into(),
        Some(Heard::Waiting(_)) => "it is blank".into(),
        None => "it was not asked yet".into(),
    }
}

fn keep_alone(spec: &Spec, facts: &Facts, identity: &Identity, recover: &Recover) -> Step {
    let terms = Terms {
        epoch: recover.epoch,
        generation: 1,
        size: 1,
        set: vec![identity.name.to_string()],
        snapshot: None,
        ..founding_rows::terms(spec, facts)
    };
    let (name, peer_url, nonce) = (identity.name.clone(), facts.me.peer_url.clone(), facts.me.nonce.clone());
    let founding = Founding::new(terms, vec![Founder { name, peer_url, nonce }]);
    Step::Recover { recover: recover.clone(), identity: identity.clone(), founding }
}

/// Where a majority does not answer: the word that would end it if those are lost for good, ready to paste.
///
/// `None` while a quorum serves or can still come by itself, or when nobody is known who has the data.
pub fn remedy(spec: &Spec, facts: &Facts) -> Option<String> {
    if facts.quorum.is_some() {
        return None;
    }
    let (list, cluster_id) = match &facts.own_list {
        Some(own_list) => (own_list, None),
        None => largest(facts).map(|answer| (&answer.members, Some(answer.cluster_id)))?,
    };
    let us = |m: &&Member| m.name == facts.me.name.as_str() || m.has_peer_url(&facts.me.peer_url);
    let voters: Vec<&Member> = list.iter().filter(|m| may_vote(m)).collect();
    let has_data = |heard: &Heard| match heard {
        Heard::Cluster(answer) => cluster_id.is_none_or(|id| id == answer.cluster_id),
        Heard::Holds { .. } => true,
        Heard::Waiting(_) | Heard::Founding { .. } | Heard::Unknown { .. } => false,
    };
    let alive = |m: &&Member| answers_of(facts, m).any(has_data);
    let mut with_data: Vec<&str> =
        voters.iter().filter(|m| !us(m) && !m.name.is_empty() && alive(m)).map(|m| m.name.as_str()).collect();
    if facts.own_list.is_some() {
        with_data.insert(0, facts.me.name.as_str());
    }
    if with_data.len() > voters.len() / 2 {
        return None;
    }
    let (survivor, rest) = with_data.split_first()?;
    let without_data = |m: &Member| gone(facts, m) || (us(&m) && is_blank(&facts.data));
    let not_proven = voters.iter().filter(|m| m.name != *survivor && !without_data(m));
    let newcomers = newcomers(spec, facts, list).unwrap_or_default();
    let with_data = newcomers.iter().filter(|i| heard_from(facts, i).is_some_and(has_data)).map(|i| i.id.as_str());
    let rest: Vec<&str> = rest.iter().copied().chain(with_data).collect();
    let given_up = not_proven.map(|m| m.name.as_str()).filter(|name| !name.is_empty());
    let given_up: Vec<&str> = given_up.chain(newcomers.iter().map(|i| i.id.as_str())).collect();
    let epoch = [Some(spec.epoch), spec.recover.as_ref().map(|r| r.epoch), facts.journal.epoch];
    let epoch = epoch.into_iter().flatten().max().unwrap_or(spec.epoch).saturating_add(1);
    let given_up = if given_up.is_empty() { String::new() } else { format!(", given_up: [{}]", given_up.join(", ")) };
    let choice = if rest.is_empty() {
        String::new()
    } else {
        let rest = rest.join(", ");
        format!(
            "; {rest} has data too: name the one whose `etcdctl endpoint status` has the higher raft index, and reset the other"
        )
    };
    Some(format!(
        "if a majority is lost for good, put `recover: {{survivor: {survivor}, epoch: {epoch}{given_up}}}` into the \
         configuration of all hosts and reboot them: {survivor} goes on alone with its data, and blank hosts join it{choice}"
    ))
}

fn is_blank(data: &DataDir) -> bool {
    match data {
        DataDir::Empty | DataDir::Aborted | DataDir::Lost { .. } => true,
        DataDir::Member(_)
        | DataDir::Founding { .. }
        | DataDir::Removed { .. }
        | DataDir::Missing { .. }
        | DataDir::Orphan
        | DataDir::Damaged { .. }
        | DataDir::Foreign { .. }
        | DataDir::Newer { .. }
        | DataDir::Locked => false,
    }
}

/// The answer that lists most voters: a member that is behind does not know of all.
fn largest(facts: &Facts) -> Option<&Answer> {
    let answers = facts.peers.iter().filter_map(|p| match &p.heard {
        Heard::Cluster(answer) => Some(answer),
        Heard::Waiting(_) | Heard::Founding { .. } | Heard::Holds { .. } | Heard::Unknown { .. } => None,
    });
    answers.max_by_key(|a| a.members.iter().filter(|m| may_vote(m)).count())
}
