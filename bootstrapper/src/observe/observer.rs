//! The facts of now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use plan::facts::{Claims, DataDir, Facts, Heard, Identity, Inventory, Me, Peer, Stage, Waiting};
use plan::member::{Member, MemberId, MemberName, PeerUrl, Version};
use plan::place::{Kept, Place};
use plan::progress::Life;
use plan::spec::{Host, Set, Spec};

use super::group::Group;
use super::peers::Asker;
use crate::apply::journal::Journal;
use crate::paths::Paths;
use crate::snapshot::stage;
use crate::store::Home;
use crate::sys::{clock, disk, fs};
use crate::tls;

/// Where the data disk is used now: by this instance, on the volume below its directory.
pub fn place(paths: &Paths, instance_id: Option<String>) -> Place {
    Place { instance_id, volume: disk::beneath(paths.root(), &paths.volume()) }
}

/// The class of the data dir for this etcd at this place, with the life that the journal tells.
///
/// # Errors
/// When the disk cannot be read, or the journal cannot be understood.
pub fn classify(paths: &Paths, etcd: Version, here: &Place) -> Result<(DataDir, Life)> {
    let mut life = Journal::of(paths).read()?;
    // A staging decides nothing, so its loss costs only the time to make it again.
    life.past.prepared = life.past.prepared.filter(|id| stage::staged(paths, id));
    let kept = kept(paths)?;
    let mut disk = super::data_dir::look(&paths.data(), &paths.wal(life.wal.as_ref()))?;
    if let Some(astray) = super::wal_disk::astray(paths, &life)? {
        disk.wal = astray;
    }
    let class = plan::classify::classify(&disk, &life, kept.as_ref(), here);
    Ok((newer(paths, etcd)?.filter(|_| matches!(class, DataDir::Member(_))).unwrap_or(class), life))
}

/// Class `Newer`: the database is of a minor version that this etcd cannot read.
///
/// # Errors
/// When the database cannot be read.
pub fn newer(paths: &Paths, etcd: Version) -> Result<Option<DataDir>> {
    let wrote = super::data_dir::written_by(&paths.data())?;
    let newer = wrote.filter(|v| (v.major, v.minor) > (etcd.major, etcd.minor));
    Ok(newer.map(|v| DataDir::Newer { found: v.minor_text() }))
}

/// `identity.json`.
///
/// # Errors
/// When it is there and is not what this program writes.
pub fn kept(paths: &Paths) -> Result<Option<Kept>> {
    let path = paths.identity();
    let text = fs::read_text(&path, 1 << 16)?;
    text.map(|t| serde_json::from_str(&t).with_context(|| format!("{} is not an identity", path.display()))).transpose()
}

/// The identity in `identity.json`.
///
/// # Errors
/// As [`kept`].
pub fn identity(paths: &Paths) -> Result<Option<Identity>> {
    Ok(kept(paths)?.map(|kept| kept.identity))
}

/// A settled member by the journal and the head of its WAL alone: what a reboot needs to know, in milliseconds.
///
/// # Errors
/// When the disk cannot be read.
pub fn settled(paths: &Paths, life: &Life) -> Result<Option<Identity>> {
    let Some(identity) =
        identity(paths)?.filter(|_| life.settled && life.removed.is_none() && life.archiving.is_none())
    else {
        return Ok(None);
    };
    let here = super::wal::identify(&paths.wal(life.wal.as_ref()))?;
    let whole = super::wal_disk::astray(paths, life)?.is_none();
    Ok((whole && here == Some((identity.cluster_id, identity.member_id))).then_some(identity))
}

/// Looks around, and remembers how long each member has been silent.
pub struct Observer {
    pub(super) paths: Paths,
    asker: Asker,
    etcd: Version,
    group: Option<Arc<Group>>,
    store: Option<Arc<Home>>,
    pub(super) heard: BTreeMap<MemberId, Instant>,
    /// Since when each peer that is unknown now has been so.
    silent: BTreeMap<PeerUrl, Instant>,
}

impl Observer {
    /// An observer with this host's certificates, for a group and a store where the spec names them.
    ///
    /// # Errors
    /// When the certificates cannot be used at all.
    pub fn new(paths: &Paths, etcd: Version, host: &Host, group: Option<Arc<Group>>) -> Result<Observer> {
        Ok(Observer {
            paths: paths.clone(),
            asker: Asker::new(tls::client_config(paths)?)?,
            etcd,
            group,
            store: host.store.as_ref().map(|entry| Arc::new(Home::of(entry, paths))),
            heard: BTreeMap::new(),
            silent: BTreeMap::new(),
        })
    }

    /// The store, where the spec names one.
    pub fn store(&self) -> Option<&Arc<Home>> {
        self.store.as_ref()
    }

    /// The facts of now. `data` and `life` were read before anybody was asked, so that the answers are not older.
    pub async fn facts(&mut self, spec: &Spec, me: &Me, data: DataDir, life: &Life) -> Facts {
        let inventory = self.inventory().await;
        let whom = whom(spec, &inventory, me);
        let peers = self.asker.ask(whom).await;
        let own_list = own_list(&self.paths, &data);
        let further = unknown_members(&peers, own_list.as_deref(), me);
        let further = if further.is_empty() { Vec::new() } else { self.asker.ask(further).await };
        let peers: Vec<Peer> = peers.into_iter().chain(further).collect();
        let (quorum, denied) = self.quorum(&peers).await;
        let claim = self.claim(spec, &data, &peers, quorum.is_some()).await;
        if let Some(group) = &self.group {
            group.know(named(&peers, own_list.as_deref(), &claim));
        }
        let now = clock::vouched(&self.paths);
        Facts {
            me: me.clone(),
            now,
            etcd: self.etcd,
            data,
            journal: life.past.clone(),
            silence: self.silence(&peers),
            peers,
            quorum,
            denied,
            inventory,
            claim,
            own_list,
            certificates: tls::certificates_problem(&self.paths, now),
        }
    }

    /// For how many seconds those that are unknown now have been so, of them the shortest. It begins with the first question
    /// that is not answered: a round may take long, and who was not asked meanwhile was not silent.
    fn silence(&mut self, peers: &[Peer]) -> u64 {
        let now = Instant::now();
        let unknown = peers.iter().filter(|p| matches!(p.heard, Heard::Unknown { .. }));
        let unknown: BTreeSet<&PeerUrl> = unknown.map(|p| &p.peer_url).collect();
        self.silent.retain(|url, _| unknown.contains(url));
        for url in unknown {
            self.silent.entry(url.clone()).or_insert(now);
        }
        self.silent.values().map(|since| now.duration_since(*since).as_secs()).min().unwrap_or(0)
    }

    /// What the store says, where that can matter: to a blank disk while no cluster answers.
    async fn claim(&self, spec: &Spec, data: &DataDir, peers: &[Peer], quorum: bool) -> Claims {
        let cluster = quorum || peers.iter().any(|p| matches!(p.heard, Heard::Cluster(_)));
        let blank = matches!(data, DataDir::Empty | DataDir::Aborted | DataDir::Lost { .. });
        match &self.store {
            Some(store) if blank && !cluster => store.claims(spec).await,
            Some(_) | None => Claims::NoStore,
        }
    }

    /// The group as it is listed now.
    pub async fn inventory(&self) -> Inventory {
        match &self.group {
            Some(group) => group.now().await,
            None => Inventory::Static,
        }
    }
}

fn whom(spec: &Spec, inventory: &Inventory, me: &Me) -> Vec<(Option<MemberName>, PeerUrl)> {
    let all: Vec<(MemberName, PeerUrl)> = match (&spec.set, inventory) {
        (Set::Static(peers), _) => peers.iter().map(|p| (p.name.clone(), p.peer_url.clone())).collect(),
        (Set::Dynamic, Inventory::Listed(instances)) => instances
            .iter()
            .filter(|i| !i.terminated)
            .filter_map(|i| Some((i.id.clone(), i.peer_url.clone()?)))
            .collect(),
        (Set::Dynamic, Inventory::Static | Inventory::Unknown { .. }) => Vec::new(),
    };
    all.into_iter().filter(|(_, url)| *url != me.peer_url).map(|(name, url)| (Some(name), url)).collect()
}

/// The list in this host's own database, where a member lives; what cannot be read is not known.
fn own_list(paths: &Paths, data: &DataDir) -> Option<Vec<Member>> {
    match data {
        DataDir::Member(_) | DataDir::Locked => super::data_dir::own_list(&paths.data())
            .inspect_err(|error| tracing::debug!(error = format!("{error:#}"), "this host's own list is not known"))
            .ok(),
        DataDir::Founding { .. }
        | DataDir::Removed { .. }
        | DataDir::Empty
        | DataDir::Aborted
        | DataDir::Lost { .. }
        | DataDir::Missing { .. }
        | DataDir::Orphan
        | DataDir::Damaged { .. }
        | DataDir::Foreign { .. }
        | DataDir::Newer { .. } => None,
    }
}

/// Everybody whom an answer, our own database or the claim calls a member.
fn named(peers: &[Peer], own_list: Option<&[Member]>, claim: &Claims) -> impl Iterator<Item = String> {
    let answered = peers.iter().flat_map(|p| match &p.heard {
        Heard::Cluster(answer) => answer.members.as_slice(),
        Heard::Waiting(_) | Heard::Founding { .. } | Heard::Holds { .. } | Heard::Unknown { .. } => &[],
    });
    let members = answered.chain(own_list.unwrap_or_default()).map(|m| m.name.clone());
    let claimed = match claim {
        Claims::Read { claim: Some(claim), .. } => claim.founding.founders.iter().chain(&claim.voters).collect(),
        Claims::Read { claim: None, .. } | Claims::NoStore | Claims::Unreachable { .. } | Claims::Unusable { .. } => {
            Vec::new()
        }
    };
    let names: Vec<String> = members.chain(claimed.into_iter().map(|f| f.name.to_string())).collect();
    names.into_iter().filter(|name| !name.is_empty())
}

/// Members that the answers or our own database name and nobody asked, such as those of a list that the spec does not
/// have any more.
fn unknown_members(peers: &[Peer], own_list: Option<&[Member]>, me: &Me) -> Vec<(Option<MemberName>, PeerUrl)> {
    let asked: BTreeSet<&PeerUrl> = peers.iter().map(|p| &p.peer_url).collect();
    let answered = peers.iter().flat_map(|p| match &p.heard {
        Heard::Cluster(answer) => answer.members.as_slice(),
        Heard::Waiting(_) | Heard::Founding { .. } | Heard::Holds { .. } | Heard::Unknown { .. } => &[],
    });
    let mut further = BTreeMap::new();
    for member in answered.chain(own_list.unwrap_or_default()) {
        for url in member.peer_urls.iter().filter_map(|u| u.parse::<PeerUrl>().ok()) {
            if !asked.contains(&url) && url != me.peer_url {
                further.insert(url, member.name.parse().ok());
            }
        }
    }
    further.into_iter().map(|(url, name)| (name, url)).collect()
}

/// What this host answers to its peers, from what is durable.
pub fn own_answer(spec: &Spec, facts: &Facts, life: &Life) -> Heard {
    match &facts.data {
        DataDir::Empty | DataDir::Aborted | DataDir::Lost { .. } => {
            let stage = match life.past.readied.last() {
                None => Stage::Blank,
                Some(founding) if life.past.prepared == Some(founding.id()) => Stage::Prepared(founding.id()),
                Some(founding) => Stage::Ready(founding.id()),
            };
            Heard::Waiting(Waiting { stage, terms: plan::terms(spec, facts), nonce: facts.me.nonce.clone() })
        }
        DataDir::Founding { founding, .. } => {
            Heard::Founding { founding: founding.id(), nonce: facts.me.nonce.clone() }
        }
        DataDir::Member(_) => Heard::Holds { class: "a member's data".into() },
        DataDir::Removed { .. } => Heard::Holds { class: "the data of a removed member".into() },
        DataDir::Missing { what, .. } => Heard::Holds { class: format!("a data disk that is not attached: {what}") },
        DataDir::Orphan => Heard::Holds { class: "a database without a log".into() },
        DataDir::Damaged { .. } => Heard::Holds { class: "damaged data".into() },
        DataDir::Foreign { copied: true, .. } => Heard::Holds { class: "a copy of a member's disk".into() },
        DataDir::Foreign { copied: false, .. } => Heard::Holds { class: "another cluster's data".into() },
        DataDir::Newer { .. } => Heard::Holds { class: "data of a newer etcd".into() },
        DataDir::Locked => Heard::Holds { class: "data that an etcd has open".into() },
    }
}
