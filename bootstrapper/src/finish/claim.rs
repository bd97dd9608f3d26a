//! The store's claim is kept true: `founded` by the first member that sees a quorum, its voters after each change.
//!
//! The claim is read before the member list, so that what is written in its place is never older than it.

use std::collections::BTreeMap;

use plan::decision::short;
use plan::facts::{Claim, ClaimState};
use plan::founding::{Founder, Founding};
use plan::member::{Member, Nonce};

use super::Finish;
use crate::etcd::{Etcd, EtcdError, MemberList};
use crate::store::claim::{self, Swap, word};
use crate::store::{Home, Trouble};

/// Keys below our prefix in etcd: the disk of each member by its ID, and the founding of this cluster.
const DISKS: &str = "disks/";
const FOUNDING: &str = "founding";

/// Why the claim is not kept yet.
#[derive(Debug, thiserror::Error)]
enum Unkept {
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    #[error(transparent)]
    Store(#[from] Trouble),
    #[error("{0}")]
    Other(String),
}

impl Finish<'_> {
    /// Makes the claim say who the voters are; what is waited for, if anything.
    ///
    /// # Errors
    /// What etcd does not allow this host.
    pub(super) async fn keep_claim(&mut self, own: &mut Etcd) -> Result<Option<String>, EtcdError> {
        let Some(home) = self.observer.store().cloned() else { return Ok(None) };
        match self.kept(&home, own).await {
            Ok(()) => Ok(None),
            Err(Unkept::Etcd(error @ EtcdError::Denied(_))) => Err(error),
            Err(why) => Ok(Some(format!("the store's claim is not up to date: {why}"))),
        }
    }

    async fn kept(&mut self, home: &Home, own: &mut Etcd) -> Result<(), Unkept> {
        let store = home.store().await?;
        let read = claim::read(store, &self.spec.cluster).await?;
        let list = own.members().await?;
        let (disks, founding) = self.told(own, &list, read.as_ref()).await?;
        let voters = voters(&list, &disks, &founding)?;
        let (epoch, generation) = (founding.terms.epoch, founding.terms.generation);
        let wanted = Claim { generation, epoch, state: ClaimState::Founded, founding, voters };
        if read.as_ref() == Some(&wanted) {
            return Ok(());
        }
        if let Some(claim) = read.as_ref().filter(|claim| !may_replace(claim, &wanted)) {
            return Err(Unkept::Other(format!(
                "it is {} for founding {} of epoch {} and generation {}, and the cluster that serves here is another: \
                 decide which one is right, and stop the other",
                word(claim.state),
                short(&claim.founding.id()),
                claim.epoch,
                claim.generation
            )));
        }
        match claim::write(store, &self.spec.cluster, &wanted, read.as_ref()).await? {
            Swap::Done => {
                let voters: Vec<&str> = wanted.voters.iter().map(|v| v.name.as_str()).collect();
                tracing::info!("the store's claim says that this cluster was founded, with {}", voters.join(", "));
                Ok(())
            }
            Swap::Stale(why) => Err(Unkept::Other(why)),
        }
    }

    /// Tells the others through etcd what only this host knows, and learns what they have told: the disks of all
    /// members, and what this cluster was founded as.
    async fn told(
        &self,
        own: &mut Etcd,
        list: &MemberList,
        read: Option<&Claim>,
    ) -> Result<(BTreeMap<String, Nonce>, Founding), Unkept> {
        let mut disks = own.ours(DISKS).await?;
        let (id, nonce) = (self.identity.member_id.to_string(), self.life.nonce.clone());
        if let Some(nonce) = nonce
            && disks.get(&id).map(String::as_str) != Some(nonce.as_str())
        {
            own.put(&format!("{DISKS}{id}"), nonce.as_str()).await?;
            disks.insert(id, nonce.to_string());
        }
        let disks = disks.into_iter().filter_map(|(id, nonce)| Some((id, nonce.parse().ok()?))).collect();
        // A restored database brings along what it was told in the cluster that it was taken from.
        let of_this = |founding: &Founding| founding.cluster_id() == list.cluster_id;
        let told = own.ours(FOUNDING).await?.into_values().next();
        let told = told.and_then(|json| serde_json::from_str(&json).ok()).filter(of_this);
        let known = self.life.committed.clone().or_else(|| self.life.alone.clone()).filter(of_this);
        if let (None, Some(founding)) = (&told, &known) {
            let json = serde_json::to_string(founding).map_err(|e| Unkept::Other(e.to_string()))?;
            own.put(FOUNDING, &json).await?;
        }
        let claimed = read.map(|claim| claim.founding.clone()).filter(of_this);
        let founding = told.or(known).or(claimed).ok_or_else(|| {
            Unkept::Other("only a member that founded this cluster can write the first one: none has yet".into())
        })?;
        Ok((disks, founding))
    }
}

/// Whether a cluster that serves writes over this claim: one that nothing was committed for, its own, or that of the cluster
/// before, which the operator gave up by a higher epoch.
fn may_replace(claim: &Claim, wanted: &Claim) -> bool {
    claim.founding == wanted.founding
        || match claim.state {
            ClaimState::Founding => true,
            ClaimState::Committing => false,
            ClaimState::Founded => claim.epoch < wanted.epoch,
        }
}

/// Each voter with the disk that it lives on.
fn voters(list: &MemberList, disks: &BTreeMap<String, Nonce>, founding: &Founding) -> Result<Vec<Founder>, Unkept> {
    let founder = |member: &Member| {
        let of = founding.founders.iter().find(|f| founding.member_id(&f.peer_url) == member.id);
        of.map(|f| f.nonce.clone())
    };
    let voter = |member: &Member| {
        Some(Founder {
            name: member.name.parse().ok()?,
            peer_url: member.peer_urls.first()?.parse().ok()?,
            nonce: disks.get(&member.id.to_string()).cloned().or_else(|| founder(member))?,
        })
    };
    let voters = list.members.iter().filter(|m| !m.learner);
    let mut voters = voters
        .map(|m| voter(m).ok_or_else(|| Unkept::Other(format!("{} has not told its disk yet", m.label()))))
        .collect::<Result<Vec<Founder>, Unkept>>()?;
    voters.sort();
    Ok(voters)
}
