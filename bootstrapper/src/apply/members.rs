//! Membership changes: under the lock, directly after a fresh linearizable list, one at a time.

use anyhow::{Result, anyhow};
use plan::member::{ClusterId, Member, MemberId, PeerUrl};
use plan::progress::Record;

use super::journal::Journal;
use super::{Made, Tools};
use crate::etcd::{Etcd, EtcdError};
use crate::exit::Exit;
use crate::tls;

/// Removes a member whose disk is gone.
pub(super) async fn remove(
    tools: &Tools<'_>,
    cluster_id: ClusterId,
    member: MemberId,
    list: &[Member],
    why: &str,
    journal: &Journal,
) -> Result<Made> {
    let mut etcd = voter(tools).await?;
    let changed = change(&mut etcd, cluster_id, list, async |etcd| etcd.remove(member).await).await?;
    if let Changed::Yes(()) = changed {
        tracing::info!(etcd_peer_id = %member, etcd_cluster_id = %cluster_id, "removed {why}");
        journal.append(&Record::RemovedPrevious { member })?;
    }
    Ok(changed.made())
}

/// Adds this host as a learner.
pub(super) async fn add(
    tools: &Tools<'_>,
    cluster_id: ClusterId,
    peer_url: &PeerUrl,
    list: &[Member],
    journal: &Journal,
) -> Result<Made> {
    let mut etcd = voter(tools).await?;
    let changed = change(&mut etcd, cluster_id, list, async |etcd| {
        let member_id = etcd.add_learner(peer_url).await?;
        Ok(member_id)
    })
    .await?;
    if let Changed::Yes(member_id) = changed {
        tracing::info!(
            etcd_member_id = %member_id,
            etcd_cluster_id = %cluster_id,
            "added to cluster {cluster_id} as the learner {member_id} at {peer_url}"
        );
        journal.append(&Record::Added { cluster_id, member_id })?;
    }
    Ok(changed.made())
}

enum Changed<T> {
    Yes(T),
    No(String),
}

impl<T> Changed<T> {
    fn made(self) -> Made {
        match self {
            Changed::Yes(_) => Made::True,
            Changed::No(why) => Made::Stale(why),
        }
    }
}

/// Runs one change under the lock if the list is still the one that the decision was made on.
async fn change<T>(
    etcd: &mut Etcd,
    cluster_id: ClusterId,
    list: &[Member],
    act: impl AsyncFnOnce(&mut Etcd) -> Result<T, EtcdError>,
) -> Result<Changed<T>> {
    let locked = match etcd.lock().await {
        Ok(locked) => locked,
        Err(error) => return passing(error).map(Changed::No),
    };
    let changed = match etcd.members().await {
        Ok(fresh) if fresh.cluster_id != cluster_id || !same(&fresh.members, list) => {
            Ok(Changed::No("the member list has changed since the decision".into()))
        }
        Ok(_) => match act(etcd).await {
            Ok(done) => Ok(Changed::Yes(done)),
            Err(error) => passing(error).map(Changed::No),
        },
        Err(error) => passing(error).map(Changed::No),
    };
    etcd.release(locked).await;
    changed
}

/// Whether two lists have the same members with the same votes; what members publish of themselves may differ.
fn same(a: &[Member], b: &[Member]) -> bool {
    let key = |m: &Member| (m.id, m.learner, m.peer_urls.clone());
    let mut a: Vec<_> = a.iter().map(key).collect();
    let mut b: Vec<_> = b.iter().map(key).collect();
    a.sort();
    b.sort();
    a == b
}

/// The reason to look around again, or the error when looking again will not help.
fn passing(error: EtcdError) -> Result<String> {
    if error.passes() { Ok(error.to_string()) } else { Err(Exit::Refused.because(error.to_string())) }
}

/// The first voter that answers.
async fn voter(tools: &Tools<'_>) -> Result<Etcd> {
    let mut reasons = Vec::new();
    for url in &tools.voters {
        let mut etcd = match Etcd::at(url, tls::etcd_tls(tools.paths)?).await {
            Ok(etcd) => etcd,
            Err(error) => {
                reasons.push(error.to_string());
                continue;
            }
        };
        match etcd.status().await {
            Ok(status) if status.led && !status.learner => return Ok(etcd),
            Ok(_) => reasons.push(format!("{url}: it is a learner or knows no leader")),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(anyhow!("no voter answers: {}", reasons.join("; ")))
}
