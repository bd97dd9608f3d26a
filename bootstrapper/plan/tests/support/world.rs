//! What this host was told and what it sees, to be changed one thing at a time.

use std::sync::LazyLock;

use plan::decision::Decided;
use plan::document::PeerEntry;
use plan::facts::{
    Answer, Claim, ClaimState, Claims, DataDir, Facts, Heard, Instance, Inventory, Listed, Me, Past, Peer, Quorum,
    Seconds, Stage, Waiting,
};
use plan::founding::{Founder, Founding};
use plan::member::{ClusterId, Member, MemberId, Version};
use plan::spec::{Mode, OnTotalLoss, Set, Spec, Store, Timestamp};

use super::{client_url, cluster, name, nonce, url};

/// The cluster that serves in tests, unless a founding does.
pub const SERVING: ClusterId = ClusterId(0xc1);
/// `cluster.found_until` of the default spec; it is 1000 in the default facts.
pub const FOUND_UNTIL: u64 = 2_000;

/// A spec and facts; the peers that wait agree with this host's terms, whatever they are made of.
#[derive(Clone, Debug)]
pub struct World {
    pub spec: Spec,
    pub facts: Facts,
}

impl World {
    /// etcd-1, blank, in front of etcd-2 and etcd-3, which answer that they are blank and agree.
    pub fn blank() -> World {
        World { spec: spec(), facts: facts() }.agreed()
    }

    /// etcd-1, blank, with nobody in front of it.
    pub fn of_one() -> World {
        static OF_ONE: LazyLock<World> =
            LazyLock::new(|| World { spec: spec(), facts: Facts { peers: Vec::new(), ..facts() } });
        OF_ONE.clone()
    }

    /// etcd-1, blank, in front of a cluster that serves with these members; those of them that answer, answer.
    pub fn serving(members: Vec<Listed>) -> World {
        World::blank().meets(quorum(members))
    }

    /// etcd-1 with this on its disk, and nobody answers.
    pub fn alone_with(data: DataDir) -> World {
        World::blank().data(data).hears(2, unknown()).hears(3, unknown())
    }

    pub fn decide(&self) -> Decided {
        plan::decide(&self.spec, &self.facts)
    }

    /// What all would found together by the answers of now.
    pub fn founding(&self) -> Founding {
        let me = &self.facts.me;
        let mut founders =
            vec![Founder { name: me.name.clone(), peer_url: me.peer_url.clone(), nonce: me.nonce.clone() }];
        for peer in &self.facts.peers {
            if let (Heard::Waiting(waiting), Some(name)) = (&peer.heard, &peer.name) {
                let (name, peer_url, nonce) = (name.clone(), peer.peer_url.clone(), waiting.nonce.clone());
                founders.push(Founder { name, peer_url, nonce });
            }
        }
        Founding::new(plan::terms(&self.spec, &self.facts), founders)
    }

    /// Changes the spec.
    pub fn spec(mut self, change: impl FnOnce(&mut Spec)) -> World {
        change(&mut self.spec);
        self.agreed()
    }

    /// Changes the facts.
    pub fn facts(mut self, change: impl FnOnce(&mut Facts)) -> World {
        change(&mut self.facts);
        self.agreed()
    }

    pub fn mode(self, mode: Mode) -> World {
        self.spec(|s| s.mode = mode)
    }

    pub fn data(self, data: DataDir) -> World {
        self.facts(|f| f.data = data)
    }

    /// This disk answered Ready for these, oldest first.
    pub fn readied(self, foundings: &[&Founding]) -> World {
        self.facts(|f| f.journal.readied = foundings.iter().map(|t| (*t).clone()).collect())
    }

    /// What one host answers; terms in it stay as they are.
    pub fn hears(mut self, host: u8, heard: Heard) -> World {
        for peer in &mut self.facts.peers {
            if peer.peer_url == url(host) {
                peer.heard = heard.clone();
            }
        }
        self
    }

    /// Both others answer that they are this far.
    pub fn others_are(self, stage: &Stage) -> World {
        (2..=3).fold(self, |world, host| {
            let at = world.waiting(host, stage.clone());
            world.hears(host, at)
        })
    }

    /// What a host answers that agrees with us and is this far.
    pub fn waiting(&self, host: u8, stage: Stage) -> Heard {
        Heard::Waiting(Waiting { stage, terms: plan::terms(&self.spec, &self.facts), nonce: nonce(host) })
    }

    /// A cluster with quorum, and its members' answers on their peer URLs.
    pub fn meets(mut self, quorum: Quorum) -> World {
        for listed in quorum.members.iter().filter(|l| l.answers) {
            for peer in self.facts.peers.iter_mut().filter(|p| listed.member.has_peer_url(&p.peer_url)) {
                peer.heard = answers_as(&quorum, true);
            }
        }
        self.facts.quorum = Some(quorum);
        self
    }

    /// An autoscaling group instead of the static list.
    pub fn group(self, instances: Vec<Instance>) -> World {
        let world = self.spec(|s| s.set = Set::Dynamic);
        world.facts(|f| f.inventory = Inventory::Listed(instances))
    }

    /// A store with this claim in it.
    pub fn store(self, claim: Option<Claim>) -> World {
        let store = Store { url: "s3://bucket/prod".into(), on_total_loss: OnTotalLoss::Wait };
        let world = self.spec(|s| s.store = Some(store));
        world.facts(|f| f.claim = Claims::Read { claim, newest_snapshot: None })
    }

    /// Makes all that wait agree with this host.
    pub fn agreed(mut self) -> World {
        let terms = plan::terms(&self.spec, &self.facts);
        for peer in &mut self.facts.peers {
            if let Heard::Waiting(waiting) = &mut peer.heard {
                waiting.terms = terms.clone();
            }
        }
        self
    }
}

fn spec() -> Spec {
    Spec {
        cluster: cluster(),
        size: 3,
        epoch: 1,
        found_until: Some(Timestamp(Seconds(FOUND_UNTIL))),
        mode: Mode::Auto,
        set: Set::Static((1..=3).map(|i| PeerEntry { name: name(i), peer_url: url(i) }).collect()),
        replace_after: 60,
        restore: None,
        store: None,
        recover: None,
    }
}

fn facts() -> Facts {
    let waiting = Waiting { stage: Stage::Blank, terms: super::terms(), nonce: nonce(0) };
    let peer = |i| Peer {
        name: Some(name(i)),
        peer_url: url(i),
        heard: Heard::Waiting(Waiting { nonce: nonce(i), ..waiting.clone() }),
    };
    Facts {
        me: Me {
            name: name(1),
            peer_url: url(1),
            client_url: client_url(1),
            nonce: nonce(1),
            instance_id: None,
            address_bound: true,
        },
        now: Some(Seconds(1_000)),
        etcd: version(5),
        data: DataDir::Empty,
        journal: Past::default(),
        peers: vec![peer(2), peer(3)],
        silence: 0,
        quorum: None,
        inventory: Inventory::Static,
        claim: Claims::NoStore,
        denied: None,
        own_list: None,
        certificates: None,
    }
}

/// etcd 3.`minor`.30.
pub fn version(minor: u16) -> Version {
    Version { major: 3, minor, patch: 30 }
}

pub fn unknown() -> Heard {
    Heard::Unknown { reason: "no answer within 2 s".into() }
}

pub fn holds() -> Heard {
    Heard::Holds { class: "a member's data".into() }
}

/// A bootstrapper that has committed this founding.
pub fn committed(host: u8, founding: &Founding) -> Heard {
    Heard::Founding { founding: founding.id(), nonce: nonce(host) }
}

/// A host whose disk was replaced: the answer, with another nonce.
pub fn on_new_disk(heard: Heard) -> Heard {
    match heard {
        Heard::Waiting(w) => Heard::Waiting(Waiting { nonce: nonce(99), ..w }),
        Heard::Founding { founding, .. } => Heard::Founding { founding, nonce: nonce(99) },
        heard @ (Heard::Cluster(_) | Heard::Holds { .. } | Heard::Unknown { .. }) => heard,
    }
}

/// An etcd of this cluster, with or without a leader in its past.
pub fn answers_as(quorum: &Quorum, led: bool) -> Heard {
    Heard::Cluster(Answer {
        cluster_id: quorum.cluster_id,
        members: quorum.members.iter().map(|l| l.member.clone()).collect(),
        server: version(5),
        cluster: led.then_some(version(5)),
    })
}

/// A voter on a host, alive: ID a2 is the one on etcd-2.
pub fn voter(host: u8) -> Listed {
    let member = Member {
        id: MemberId(0xa0 + u64::from(host)),
        name: name(host).to_string(),
        peer_urls: vec![url(host).to_string()],
        client_urls: vec![client_url(host).to_string()],
        learner: false,
    };
    Listed { member, answers: true, silent: 0 }
}

/// A voter that has been silent for this long.
pub fn dead(host: u8, silent: u64) -> Listed {
    Listed { answers: false, silent, ..voter(host) }
}

/// A learner on a host that was added and has not started.
pub fn added_learner(host: u8, silent: u64) -> Listed {
    let added = voter(host);
    let member = Member { name: String::new(), client_urls: Vec::new(), learner: true, ..added.member };
    Listed { member, answers: false, silent }
}

/// The cluster that serves, with these members.
pub fn quorum(members: Vec<Listed>) -> Quorum {
    Quorum {
        cluster_id: SERVING,
        name: Some(cluster()),
        members,
        version: Some(version(5)),
        alarms: Vec::new(),
        denied: None,
    }
}

/// A founding that serves, with the members that its hosts became.
pub fn served(founding: &Founding) -> Quorum {
    let members = (1..).zip(&founding.founders).map(|(host, f)| {
        let mut listed = voter(host);
        listed.member.id = founding.member_id(&f.peer_url);
        listed
    });
    Quorum { cluster_id: founding.cluster_id(), ..quorum(members.collect()) }
}

/// A founding whose etcds are up and have no leader: nobody has published itself.
pub fn unled(founding: &Founding) -> Heard {
    let mut quorum = served(founding);
    quorum.members.iter_mut().for_each(|l| l.member.client_urls.clear());
    answers_as(&quorum, false)
}

/// An instance of a group that runs.
pub fn running(host: u8) -> Instance {
    Instance { id: name(host), peer_url: Some(url(host)), terminated: false, launched: None }
}

/// An instance that the provider says is terminated.
pub fn terminated(host: u8) -> Instance {
    Instance { terminated: true, ..running(host) }
}

/// A claim in this state for this founding, with the founders as voters.
pub fn claim(state: ClaimState, founding: &Founding) -> Claim {
    Claim {
        generation: founding.terms.generation,
        epoch: founding.terms.epoch,
        state,
        founding: founding.clone(),
        voters: founding.founders.clone(),
    }
}
