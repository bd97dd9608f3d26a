//! What a host of the model sees, put to the real `decide`, and what it decides, put back.

use std::cell::RefCell;
use std::rc::Rc;

use plan::decision::{Decided, Decision, Start, Step as Real};
use plan::facts::{ClaimState, Identity};
use plan::founding::{Founder, Founding, FoundingId, Terms};
use plan::member::{ClusterId, MemberId};
use plan::spec::Sha256;

use super::parts::{Claim, Host, Id, MAX, Members, NOBODY, Nonce, Plan, Seen, State, Step, T};
use super::rules::Rule;
use super::search::Map;
use super::world::Config;
use crate::support::{World, name, nonce, terms, url};

/// Everything that this host knows in one round.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct View {
    pub config: Rc<Config>,
    pub h: usize,
    /// Without what it has in mind.
    pub me: Host,
    /// What each other host answered, if anything.
    pub heard: [Option<Seen>; MAX],
    /// The linearizable list of a cluster, if it was had.
    pub list: Option<(T, Members)>,
    /// The learners whose hosts are about to start them, so that nobody is silent for long.
    pub starting: Vec<Id>,
    /// The store's answer, if there is one.
    pub claim: Option<Option<Claim>>,
    /// Whether who says nothing has said nothing for long.
    pub silent: bool,
    /// The instances by the provider's word, and which of them are terminated; `None` is unknown.
    pub group: Option<Vec<(u8, bool)>>,
}

/// What follows, and whether a wait or a refusal names who.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    pub row: u8,
    pub plan: Plan,
    pub named: bool,
    pub starts: bool,
}

/// A founding with its IDs, which cost hashes.
pub struct Known {
    pub founding: Founding,
    pub id: FoundingId,
    pub cluster_id: ClusterId,
    /// What it makes of each host.
    pub identities: Vec<Identity>,
}

type Foundings = Map<(Rc<Config>, T), Rc<Known>>;

thread_local! {
    static FOUNDINGS: RefCell<Foundings> = RefCell::default();
}

impl View {
    /// What the real `decide` makes of it.
    pub fn decide(&self) -> Outcome {
        let world = World { spec: self.spec(), facts: self.facts() };
        let decided = world.decide();
        let named = match &decided.decision {
            Decision::Wait(wait) => !wait.who.is_empty() || wait.until.contains("reboots"),
            Decision::Refuse(refusal) => !refusal.hint.is_empty(),
            Decision::Start(_) | Decision::Proceed(_) => false,
        };
        let starts = matches!(decided.decision, Decision::Start(_));
        Outcome { row: decided.row, plan: self.plan(&decided, &world), named, starts }
    }

    /// What a member that serves does about one voter too many.
    pub fn surplus(&self) -> Plan {
        let world = World { spec: self.spec(), facts: self.facts() };
        plan::surplus(&world.spec, &world.facts).map(|decided| self.plan(&decided, &world)).unwrap_or_default()
    }

    fn plan(&self, decided: &Decided, world: &World) -> Plan {
        match &decided.decision {
            Decision::Start(Start::Member(_) | Start::Founding { .. }) if self.me.running => Plan::new(),
            Decision::Start(Start::Member(_) | Start::Founding { .. }) => vec![Step::Start],
            Decision::Wait(_) | Decision::Refuse(_) => Plan::new(),
            Decision::Proceed(plan) if self.waits_for_ready(plan) => Plan::new(),
            Decision::Proceed(plan) => plan.steps.iter().filter_map(|step| self.step(step, world)).collect(),
        }
    }

    /// The weaker rule: Prepared is not Ready, so there is nothing to prepare for.
    fn waits_for_ready(&self, plan: &plan::decision::Plan) -> bool {
        let prepared = |seen: &Seen| matches!(seen, Seen::Waiting { prepared: true, .. });
        self.config.rule == Rule::ReadyMeansReady
            && plan.steps.iter().any(|step| matches!(step, Real::Prepare { .. }))
            && self.heard.iter().flatten().any(prepared)
    }

    fn step(&self, step: &Real, world: &World) -> Option<Step> {
        let list = || self.list.clone().expect("the list that was seen");
        Some(match step {
            Real::Clear => return None,
            Real::Ready(founding) if self.config.rule == Rule::ReadyBeforeDurable => Step::Say(self.t(founding)),
            Real::Ready(founding) => Step::Ready(self.t(founding)),
            Real::Prepare { founding, .. } => Step::Prepare(self.t(founding)),
            Real::Commit(founding) => Step::Commit(self.t(founding)),
            Real::Claim { to: ClaimState::Committing, founding, .. } if self.config.rule == Rule::WithoutCommitting => {
                Step::Commit(self.t(founding))
            }
            Real::Claim { to, founding, .. } => {
                Step::Claim { to: state(*to), t: self.t(founding), read: self.claim.clone().expect("a store") }
            }
            Real::Archive { removed, .. } => Step::Archive { removed: removed.is_some() },
            Real::Remove { member, .. } => {
                let (t, members) = list();
                let id = members.iter().map(|m| m.id).find(|id| self.member_id(&t, *id) == *member);
                let id = id.expect("a member of it");
                match self.config.rule {
                    Rule::JoinWithoutRemove if usize::from(id.host) == self.h => Step::TakeBack(t, id),
                    _other => Step::Remove(t, id, members),
                }
            }
            Real::Add { .. } => {
                let (t, members) = list();
                Step::Add(t, members)
            }
            Real::HandOff { identity, .. } => {
                let (t, id) = self.me.added.expect("a learner of ours");
                assert_eq!(identity.member_id, self.member_id(&t, id), "L5: {world:?}");
                Step::HandOff(t, id)
            }
            Real::Recover { .. } => panic!("nobody said so: {world:?}"),
        })
    }

    /// The life of a disk as the founding tells it.
    pub fn shown(&self, n: Nonce) -> Nonce {
        if self.config.rule == Rule::WithoutNonces { n & 0xf0 } else { n }
    }

    pub fn founding(&self, t: &T) -> Rc<Known> {
        let key = (self.config.clone(), *t);
        FOUNDINGS.with_borrow_mut(|all| {
            let make = || {
                let founder = |h: usize| Founder {
                    name: name(h as u8 + 1),
                    peer_url: url(h as u8 + 1),
                    nonce: nonce(self.shown(t.nonces[h])),
                };
                let founding = Founding::new(self.terms(t), t.hosts().map(founder).collect());
                let (id, cluster_id) = (founding.id(), founding.cluster_id());
                let identities = (1..=MAX as u8).map(|host| crate::support::founder(&founding, host)).collect();
                Rc::new(Known { founding, id, cluster_id, identities })
            };
            all.entry(key).or_insert_with(make).clone()
        })
    }

    fn terms(&self, t: &T) -> Terms {
        let member = |h: usize| match self.config.group {
            true => name(h as u8 + 1).to_string(),
            false => format!("{}={}", name(h as u8 + 1), url(h as u8 + 1)),
        };
        Terms {
            epoch: t.epoch.into(),
            generation: t.generation.into(),
            size: self.config.size as u8,
            set: t.hosts().map(member).collect(),
            store: self.config.store.then(|| "s3://bucket/prod".into()),
            snapshot: match t.generation {
                1 => self.config.restore.then(|| snapshot("c")),
                _ => Some(snapshot("d")),
            },
            ..terms()
        }
    }

    fn t(&self, founding: &Founding) -> T {
        let mut nonces = [NOBODY; MAX];
        for founder in &founding.founders {
            let h = (0..MAX).find(|h| founder.name == name(*h as u8 + 1)).expect("a host of this model");
            nonces[h] = u8::from_str_radix(&founder.nonce.as_str()[30..], 16).expect("a nonce of this model");
        }
        T { nonces, epoch: founding.terms.epoch as u8, generation: founding.terms.generation as u8 }
    }

    pub fn member_id(&self, t: &T, id: Id) -> MemberId {
        // etcd hashes the time into the ID of a learner, so that no two are alike.
        match id.seq {
            0 => self.founding(t).identities[usize::from(id.host)].member_id,
            seq => MemberId(0xb000 + u64::from(id.host) * 0x100 + u64::from(seq)),
        }
    }
}

/// The snapshot that a configuration restores, told by a digit of its hash.
pub fn snapshot(digit: &str) -> Sha256 {
    digit.repeat(64).parse().expect("a hash")
}

fn state(state: ClaimState) -> State {
    match state {
        ClaimState::Founding => State::Founding,
        ClaimState::Committing => State::Committing,
        ClaimState::Founded => State::Founded,
    }
}
