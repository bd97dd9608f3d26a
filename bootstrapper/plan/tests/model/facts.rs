//! The model's view as the spec and the facts that the real `decide` is given.

use plan::document::PeerEntry;
use plan::facts::{
    Added, Answer, Claim as RealClaim, ClaimState, Claims, DataDir, Facts, Heard, Identity, Instance, Inventory,
    Listed, Past, Peer, Quorum, Seconds, Stage, Waiting,
};
use plan::founding::{Founder, Terms};
use plan::member::Member as RealMember;
use plan::spec::{OnTotalLoss, Set, Spec, Store, Timestamp};

use super::parts::{Claim, Id, MAX, Member, Members, NOBODY, Seen, State, T};
use super::rules::Rule;
use super::view::{View, snapshot};
use crate::support::{FOUND_UNTIL, World, client_url, cluster, name, nonce, terms, unknown, url, version};

impl View {
    pub fn spec(&self) -> Spec {
        let entry = |h: usize| PeerEntry { name: name(h as u8 + 1), peer_url: url(h as u8 + 1) };
        // The weaker rule: who says nothing does not exist.
        let exists = |h: &usize| self.config.rule != Rule::UnknownIsAbsent || *h == self.h || self.heard[*h].is_some();
        let dated = self.config.dated || self.config.rule == Rule::DateIsNothing;
        let list = (0..self.config.hosts).filter(exists).map(entry).collect();
        Spec {
            size: self.config.size as u8,
            epoch: self.me.epoch.into(),
            set: if self.config.group { Set::Dynamic } else { Set::Static(list) },
            restore: self.config.restore.then(|| snapshot("c")),
            found_until: dated.then_some(Timestamp(Seconds(FOUND_UNTIL))),
            store: self
                .config
                .store
                .then(|| Store { url: "s3://bucket/prod".into(), on_total_loss: OnTotalLoss::Restore }),
            ..World::of_one().spec
        }
    }

    pub fn facts(&self) -> Facts {
        let host = &self.me;
        let mut facts = World::of_one().facts;
        let me = self.h as u8 + 1;
        (facts.me.name, facts.me.peer_url) = (name(me), url(me));
        (facts.me.client_url, facts.me.nonce) = (client_url(me), nonce(self.shown(host.nonce)));
        facts.journal = Past {
            readied: host.readied.iter().map(|t| self.founding(t).founding.clone()).collect(),
            prepared: host.prepared.map(|t| self.founding(&t).id.clone()),
            added: host
                .added
                .map(|(t, id)| Added { cluster_id: self.founding(&t).cluster_id, member_id: self.member_id(&t, id) }),
            spent: host.committed.is_some() || host.joined.is_some(),
            ..Past::default()
        };
        facts.data = self.data();
        facts.inventory = self.inventory();
        facts.claim = match &self.claim {
            _ if !self.config.store => Claims::NoStore,
            None => Claims::Unreachable { reason: "503".into() },
            Some(claim) => Claims::Read {
                claim: claim.as_ref().map(|c| self.claim(c)),
                newest_snapshot: self.config.follow.then(|| snapshot("d")),
            },
        };
        // Who is silent in a round may have been so for as long as it takes.
        facts.silence = if self.silent { 999 } else { 0 };
        facts.quorum = self.list.as_ref().map(|(t, members)| self.quorum(t, members));
        let asked = self.whom();
        facts.peers = (0..MAX).filter(|h| asked[*h]).map(|h| self.peer(h)).collect();
        // All are taken to agree but for their epochs: who does not agree is only waited for. A set that differs is that of
        // a claim which one of them has not read yet.
        let agreed = plan::terms(&self.spec(), &facts);
        for peer in &mut facts.peers {
            if let Heard::Waiting(waiting) = &mut peer.heard {
                waiting.terms = Terms { epoch: waiting.terms.epoch, ..agreed.clone() };
            }
        }
        facts
    }

    /// Those of the list or the group, and whoever an answer names.
    pub fn whom(&self) -> [bool; MAX] {
        let mut asked = [false; MAX];
        match &self.group {
            Some(group) => group.iter().filter(|(_, ended)| !ended).for_each(|(h, _)| asked[usize::from(*h)] = true),
            None => asked.iter_mut().take(self.config.hosts).for_each(|a| *a = !self.config.group),
        }
        let first = asked;
        for h in (0..MAX).filter(|h| first[*h] && *h != self.h) {
            if let Some(Seen::Etcd { members, .. }) = &self.heard[h] {
                members.iter().for_each(|m| asked[usize::from(m.id.host)] = true);
            }
        }
        asked[self.h] = false;
        asked
    }

    /// Whether somebody who is asked has the list that was had.
    pub fn had_the_list_from(&self, asked: &[bool; MAX]) -> bool {
        let has = |h: usize| matches!((&self.heard[h], &self.list), (Some(Seen::Etcd { t, .. }), Some(l)) if *t == l.0);
        (0..MAX).any(|h| asked[h] && has(h))
    }

    fn data(&self) -> DataDir {
        let host = &self.me;
        match (host.joined, host.committed) {
            // `decide` knows by its list whose disk it is; in a group the instance that was noted tells.
            _ if host.foreign && self.config.group => {
                DataDir::Foreign { found: "a copy".into(), expected: "its own".into(), copied: true }
            }
            (Some((t, id)), _) if host.lost() => DataDir::Lost { identity: Some(self.identity(&t, id)) },
            (Some((t, id)), _) => DataDir::Member(self.identity(&t, id)),
            (None, Some(t)) if host.log > 0 && !host.own => {
                DataDir::Member(self.identity(&t, host.founder(&t, self.h)))
            }
            (None, Some(t)) => DataDir::Founding { founding: self.founding(&t).founding.clone(), wal: host.wal },
            (None, None) => DataDir::Empty,
        }
    }

    fn identity(&self, t: &T, id: Id) -> Identity {
        let founder = &self.founding(t).identities[usize::from(id.host)];
        Identity { member_id: self.member_id(t, id), ..founder.clone() }
    }

    fn inventory(&self) -> Inventory {
        let instance = |h: u8, terminated: bool| Instance {
            id: name(h + 1),
            peer_url: Some(url(h + 1)),
            terminated,
            launched: None,
        };
        match &self.group {
            _ if !self.config.group => Inventory::Static,
            None => Inventory::Unknown { reason: "throttled".into() },
            Some(group) => {
                let absent = (0..self.config.hosts as u8).filter(|h| !group.iter().any(|(g, _)| g == h));
                let taken_for_ended = absent.filter(|_| self.config.rule == Rule::AbsentIsTerminated);
                let ended = taken_for_ended.map(|h| instance(h, true));
                Inventory::Listed(group.iter().map(|(h, ended)| instance(*h, *ended)).chain(ended).collect())
            }
        }
    }

    fn claim(&self, claim: &Claim) -> RealClaim {
        let voter = |h: usize| Founder {
            name: name(h as u8 + 1),
            peer_url: url(h as u8 + 1),
            nonce: nonce(self.shown(claim.voters[h])),
        };
        let founding = self.founding(&claim.t).founding.clone();
        RealClaim {
            generation: founding.terms.generation,
            epoch: founding.terms.epoch,
            state: match claim.state {
                State::Founding => ClaimState::Founding,
                State::Committing => ClaimState::Committing,
                State::Founded if self.config.rule == Rule::FoundedIsNothing => ClaimState::Founding,
                State::Founded => ClaimState::Founded,
            },
            founding,
            voters: (0..MAX).filter(|h| claim.voters[*h] != NOBODY).map(voter).collect(),
        }
    }

    fn peer(&self, p: usize) -> Peer {
        let heard = match self.heard[p].as_ref().or(self.guessed(p).as_ref()) {
            None | Some(Seen::Claim(_)) => unknown(),
            Some(Seen::Holds) => crate::support::holds(),
            Some(Seen::Waiting { nonce: n, epoch, ready, prepared }) => Heard::Waiting(Waiting {
                stage: match ready.map(|t| self.founding(&t).id.clone()) {
                    None => Stage::Blank,
                    Some(id) if *prepared => Stage::Prepared(id),
                    Some(id) => Stage::Ready(id),
                },
                terms: Terms { epoch: (*epoch).into(), ..terms() },
                nonce: nonce(self.shown(*n)),
            }),
            Some(Seen::Committed { nonce: n, t }) => {
                Heard::Founding { founding: self.founding(t).id.clone(), nonce: nonce(self.shown(*n)) }
            }
            Some(Seen::Etcd { t, members, .. }) => Heard::Cluster(Answer {
                cluster_id: self.founding(t).cluster_id,
                members: members.iter().map(|m| self.member(t, m)).collect(),
                server: version(5),
                cluster: members.iter().any(|m| m.started).then_some(version(5)),
            }),
        };
        Peer { name: Some(name(p as u8 + 1)), peer_url: url(p as u8 + 1), heard }
    }

    /// The weaker rule: who says nothing is blank, and as far as another.
    fn guessed(&self, silent: usize) -> Option<Seen> {
        let others = self.heard.iter().enumerate().filter(|(p, _)| *p != silent);
        others.filter(|_| self.config.rule == Rule::MajorityOfBlanks).find_map(|(_, seen)| match seen {
            Some(Seen::Waiting { ready, prepared, epoch, .. }) => {
                let nonce = ready.map_or((silent as u8) << 4, |t| t.nonces[silent]);
                Some(Seen::Waiting { nonce, epoch: *epoch, ready: *ready, prepared: *prepared })
            }
            Some(Seen::Committed { .. } | Seen::Holds | Seen::Etcd { .. } | Seen::Claim(_)) | None => None,
        })
    }

    fn quorum(&self, t: &T, members: &Members) -> Quorum {
        let listed = |m: &Member| {
            let heard = self.heard[usize::from(m.id.host)].as_ref().filter(|_| usize::from(m.id.host) != self.h);
            let answers = matches!(heard, Some(Seen::Etcd { t: theirs, id, .. }) if theirs == t && *id == m.id);
            // Who is silent in a round may have been so for as long as it takes.
            let silent = if heard.is_some() || self.starting.contains(&m.id) { 0 } else { 999 };
            Listed { member: self.member(t, m), answers, silent }
        };
        Quorum {
            cluster_id: self.founding(t).cluster_id,
            name: Some(cluster()),
            members: members.iter().map(listed).collect(),
            version: Some(version(5)),
            alarms: Vec::new(),
            denied: None,
        }
    }

    fn member(&self, t: &T, member: &Member) -> RealMember {
        let (host, Id { seq, .. }) = (member.id.host + 1, member.id);
        RealMember {
            id: self.member_id(t, member.id),
            name: if seq == 0 || member.started { name(host).to_string() } else { String::new() },
            peer_urls: vec![url(host).to_string()],
            client_urls: if member.started { vec![client_url(host).to_string()] } else { Vec::new() },
            learner: member.learner,
        }
    }
}
