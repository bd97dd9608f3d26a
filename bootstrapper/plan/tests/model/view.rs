//! What a host of the model sees, put to the real `decide`, and what it decides, put back.

use std::cell::RefCell;

use plan::decision::{Decision, Start, Step};
use plan::facts::{Added, Answer, DataDir, Facts, Heard, Identity, Listed, Past, Quorum, Stage, Waiting};
use plan::founding::Founding;
use plan::member::{Member, MemberId, Nonce};

use super::parts::{Host, List, Mind, N, Seen, Slot, T};
use super::search::FnvMap;
use crate::support::{World, client_url, cluster, founder, founding_under, name, terms, url, version};

/// What a host sets out to do.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Act {
    Nothing,
    Start,
    Ready(T),
    Commit(T),
    Archive,
    Remove(T, usize, List),
    Add(T, List),
    HandOff(T),
}

/// What is decided by: the rules, or rules that are weaker and must be seen to fail.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rule {
    /// The real ones.
    Real,
    /// A peer that says nothing is taken for one that is as far as the other.
    MajorityOfBlanks,
    /// Every disk of a host has the same nonce, so that T does not tell a lost disk from its successor.
    WithoutNonces,
}

thread_local! {
    /// Hosts see the same things again and again.
    static KNOWN: RefCell<FnvMap<View, Act>> = RefCell::default();
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct View(Rule, usize, Host, [Option<Seen>; N]);

/// What this host does after it has heard these.
pub fn decide(rule: Rule, h: usize, host: &Host, heard: &[Option<Seen>; N]) -> Act {
    let mut durable = host.clone();
    durable.mind = Mind::Idle;
    let view = View(rule, h, durable, heard.clone());
    if let Some(act) = KNOWN.with_borrow(|known| known.get(&view).cloned()) {
        return act;
    }
    let act = View::act(&view);
    KNOWN.with_borrow_mut(|known| known.insert(view, act.clone()));
    act
}

impl View {
    fn act(&self) -> Act {
        let world = World { spec: World::blank().spec, facts: self.facts() };
        let decided = world.decide();
        let t_of = |cluster_id| {
            self.3.iter().flatten().find_map(|seen| match seen {
                Seen::Etcd { t, list: Some(list), .. } if self.founding(t).cluster_id() == cluster_id => {
                    Some((*t, list.clone()))
                }
                Seen::Etcd { .. } | Seen::Waiting { .. } | Seen::Committed { .. } | Seen::Holds => None,
            })
        };
        let step = match &decided.decision {
            Decision::Start(Start::Member(_) | Start::Founding { .. }) if self.2.running => return Act::Nothing,
            Decision::Start(Start::Member(_) | Start::Founding { .. }) => return Act::Start,
            Decision::Wait(_) => return Act::Nothing,
            Decision::Refuse(_) => panic!("a refusal needs a person: {decided:?} for {world:?}"),
            Decision::Proceed(plan) => plan.steps.last().expect("a plan has steps"),
        };
        match step {
            Step::Ready(founding) => Act::Ready(self.lives(founding)),
            Step::Commit(founding) => Act::Commit(self.lives(founding)),
            Step::Archive { .. } => Act::Archive,
            Step::Remove { cluster_id, member, .. } => {
                let (t, list) = t_of(*cluster_id).expect("the list that was seen");
                let who = (0..N).find(|h| self.member(&t, *h, &list.slots[*h]).is_some_and(|m| m.id == *member));
                Act::Remove(t, who.expect("a member of it"), list)
            }
            Step::Add { cluster_id, .. } => {
                let (t, list) = t_of(*cluster_id).expect("the list that was seen");
                Act::Add(t, list)
            }
            Step::HandOff { identity, .. } => {
                Act::HandOff(t_of(identity.cluster_id).expect("the list that was seen").0)
            }
            Step::Clear | Step::Claim { .. } | Step::Prepare { .. } | Step::Recover { .. } => {
                panic!("not in this model: {decided:?}")
            }
        }
    }

    fn nonce(&self, h: usize, life: u8) -> Nonce {
        let life = match self.0 {
            Rule::WithoutNonces => 0,
            Rule::Real | Rule::MajorityOfBlanks => life,
        };
        crate::support::nonce(h as u8 * 16 + life)
    }

    fn founding(&self, t: &T) -> Founding {
        let mut founding = founding_under(terms(), &[0; N]);
        for (h, founder) in founding.founders.iter_mut().enumerate() {
            founder.nonce = self.nonce(h, t[h]);
        }
        founding
    }

    /// The lives of a founding's disks, as its nonces tell them.
    fn lives(&self, founding: &Founding) -> T {
        let life = |h: usize| (0..16).find(|life| founding.founders[h].nonce == self.nonce(h, *life));
        std::array::from_fn(|h| life(h).expect("a nonce of this model"))
    }

    fn facts(&self) -> Facts {
        let View(_, h, host, _) = self;
        let mut facts = World::blank().facts;
        (facts.me.name, facts.me.peer_url) = (name(*h as u8 + 1), url(*h as u8 + 1));
        (facts.me.client_url, facts.me.nonce) = (client_url(*h as u8 + 1), self.nonce(*h, host.life));
        let added =
            host.added.map(|t| Added { cluster_id: self.founding(&t).cluster_id(), member_id: joiner(*h, host.id()) });
        facts.journal = Past {
            readied: host.readied.iter().map(|t| self.founding(t)).collect(),
            added,
            spent: host.committed.is_some() || host.joined.is_some(),
            ..Past::default()
        };
        facts.data = match (host.joined, host.committed) {
            (Some(t), _) if host.lost() => DataDir::Lost { identity: Some(self.joined(&t)) },
            (Some(t), _) => DataDir::Member(self.joined(&t)),
            (None, Some(t)) if host.led => DataDir::Member(founder(&self.founding(&t), *h as u8 + 1)),
            (None, Some(t)) => DataDir::Founding { founding: self.founding(&t), wal: host.wal },
            (None, None) => DataDir::Empty,
        };
        let peers = [(h + 1) % N, (h + 2) % N];
        facts.peers = peers
            .map(|p| plan::facts::Peer {
                name: Some(name(p as u8 + 1)),
                peer_url: url(p as u8 + 1),
                heard: self.heard(p, self.3[p].as_ref().or(self.guessed(p).as_ref())),
            })
            .to_vec();
        facts.quorum = self.3.iter().flatten().find_map(|seen| self.quorum(seen));
        facts
    }

    /// The weaker rule: who says nothing is blank, and as far as the other.
    fn guessed(&self, silent: usize) -> Option<Seen> {
        match self.0 {
            Rule::Real | Rule::WithoutNonces => None,
            Rule::MajorityOfBlanks => self.3.iter().enumerate().find_map(|(p, seen)| match seen {
                Some(Seen::Waiting { ready, .. }) if p != silent => Some(Seen::Waiting { life: 0, ready: *ready }),
                Some(Seen::Waiting { .. } | Seen::Committed { .. } | Seen::Holds | Seen::Etcd { .. }) | None => None,
            }),
        }
    }

    fn heard(&self, p: usize, seen: Option<&Seen>) -> Heard {
        match seen {
            None => crate::support::unknown(),
            Some(Seen::Holds) => crate::support::holds(),
            Some(Seen::Waiting { life, ready }) => Heard::Waiting(Waiting {
                stage: ready.map_or(Stage::Blank, |t| Stage::Ready(self.founding(&t).id())),
                terms: terms(),
                nonce: self.nonce(p, *life),
            }),
            Some(Seen::Committed { life, t }) => {
                Heard::Founding { founding: self.founding(t).id(), nonce: self.nonce(p, *life) }
            }
            Some(Seen::Etcd { t, led, list }) => {
                let slots = list.as_ref().map_or([Slot::Founder { served: false }; N], |l| l.slots);
                Heard::Cluster(Answer {
                    cluster_id: self.founding(t).cluster_id(),
                    members: (0..N).filter_map(|h| self.member(t, h, &slots[h])).collect(),
                    server: version(5),
                    cluster: led.then_some(version(5)),
                })
            }
        }
    }

    fn quorum(&self, seen: &Seen) -> Option<Quorum> {
        let Seen::Etcd { t, list: Some(list), .. } = seen else { return None };
        let members = (0..N).filter_map(|h| {
            let member = self.member(t, h, &list.slots[h])?;
            // A learner may always be about to start; only a dead voter is silent for long.
            Some(Listed { silent: if member.learner { 0 } else { 999 }, member, answers: list.answers[h] })
        });
        Some(Quorum {
            cluster_id: self.founding(t).cluster_id(),
            name: Some(cluster()),
            members: members.collect(),
            version: Some(version(5)),
            alarms: Vec::new(),
            denied: None,
        })
    }

    fn member(&self, t: &T, h: usize, slot: &Slot) -> Option<Member> {
        let host = h as u8 + 1;
        let (id, started, learner) = match slot {
            Slot::Nobody => return None,
            Slot::Founder { served } => (self.founding(t).member_id(&url(host)), *served, false),
            Slot::Learner { id } => (joiner(h, *id), false, true),
            Slot::Voter { id } => (joiner(h, *id), true, false),
        };
        let named = matches!(slot, Slot::Founder { .. }) || started;
        Some(Member {
            id,
            name: if named { name(host).to_string() } else { String::new() },
            peer_urls: vec![url(host).to_string()],
            client_urls: if started { vec![client_url(host).to_string()] } else { Vec::new() },
            learner,
        })
    }

    fn joined(&self, t: &T) -> Identity {
        let View(_, h, host, _) = self;
        let member_id = joiner(*h, host.id());
        Identity { member_id, token: "prod.joined".into(), ..founder(&self.founding(t), *h as u8 + 1) }
    }
}

/// The ID that etcd gives to a learner of this host: it hashes the time, so no two are alike.
fn joiner(h: usize, id: u8) -> MemberId {
    MemberId(0xb000 + h as u64 * 0x100 + u64::from(id))
}
