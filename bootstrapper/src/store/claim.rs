//! The claim: which founding this cluster is, outliving every disk of it.
//!
//! Created where there is none and swapped against exactly the claim that was read. Whether a write that was not
//! answered has happened is never assumed: the claim is read again, and equal hosts write equal bytes.

use plan::facts::{Claim, ClaimState};
use plan::founding::{Founder, Founding, FoundingId};
use plan::member::{ClusterId, ClusterName};
use plan::spec::Sha256;
use serde::{Deserialize, Serialize};

use super::{Store, Trouble, Version, Written};
use crate::sys::fault;

/// Its name in the store.
pub const KEY: &str = "claim.json";

/// Of this file; a later one may say what this program must not overlook.
const FORMAT: u32 = 1;

/// A claim of seven voters has some kilobytes.
const LIMIT: u64 = 256 << 10;

/// What says in a store without a claim that a cluster was here.
const TRACES: [&str; 2] = ["latest.json", "snapshots"];

/// How a write of the claim ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swap {
    /// The claim is now what was wanted, by this host's hand or by another's.
    Done,
    /// It is another than the one that was decided on; why, for a person.
    Stale(String),
}

#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    cluster_name: ClusterName,
    epoch: u32,
    generation: u32,
    state: ClaimState,
    t: FoundingId,
    cluster_id: ClusterId,
    snapshot: Option<Sha256>,
    founding: Founding,
    voters: Vec<Founder>,
}

#[derive(Deserialize)]
struct Head {
    format: u32,
}

/// Reads the claim of the cluster with this name; `None` only when the store says that there is none and no trace of one.
///
/// # Errors
/// [`Trouble::Unfit`] for what is no claim of this cluster, or one of a later format; the rest as the store's.
pub async fn read(store: &Store, cluster: &ClusterName) -> Result<Option<Claim>, Trouble> {
    Ok(with_version(store, cluster).await?.map(|(claim, _)| claim))
}

async fn with_version(store: &Store, cluster: &ClusterName) -> Result<Option<(Claim, Version)>, Trouble> {
    let Some(object) = store.read(KEY, LIMIT).await? else {
        let names = store.names("").await?;
        return match TRACES.into_iter().find(|trace| names.iter().any(|name| name == trace)) {
            Some(trace) => Err(Trouble::Unfit(format!(
                "{} has {trace} and no {KEY}: a cluster was here whose claim is gone",
                store.place()
            ))),
            None => Ok(None),
        };
    };
    let claim =
        parse(&object.bytes, cluster).map_err(|why| Trouble::Unfit(format!("{}/{KEY} {why}", store.place())))?;
    Ok(Some((claim, object.version)))
}

/// Makes the claim this one where it still is `read`.
///
/// # Errors
/// The store's; whether the claim was written is not known then, and a second call finds out.
pub async fn write(
    store: &Store,
    cluster: &ClusterName,
    wanted: &Claim,
    read: Option<&Claim>,
) -> Result<Swap, Trouble> {
    store.honours_conditions().await?;
    let before = with_version(store, cluster).await?;
    if let Some(ended) = ended(before.as_ref().map(|(claim, _)| claim), wanted, read) {
        return Ok(ended);
    }
    let bytes = render(wanted, cluster)?;
    let point = format!("writing the claim: {}", word(wanted.state));
    fault::before(&point);
    let written = match &before {
        None => store.create(KEY, bytes).await,
        Some((_, version)) => store.swap(KEY, bytes, version).await,
    };
    fault::after(&point);
    if matches!(written, Ok(Written::Yes)) {
        return Ok(Swap::Done);
    }
    // Refused, or not answered: a first attempt may have been carried out all the same.
    let after = with_version(store, cluster).await?;
    match (ended(after.as_ref().map(|(claim, _)| claim), wanted, read), written) {
        (Some(ended), _) => Ok(ended),
        (None, Err(trouble)) => Err(trouble),
        (None, Ok(_)) => Ok(Swap::Stale("another host is writing the claim".into())),
    }
}

/// What needs no write (any more); `None` while the claim is the one that was read.
fn ended(now: Option<&Claim>, wanted: &Claim, read: Option<&Claim>) -> Option<Swap> {
    match now {
        Some(now) if now == wanted => Some(Swap::Done),
        now if now == read => None,
        Some(now) => Some(Swap::Stale(format!(
            "the store's claim is by now {} for founding {} of generation {}",
            word(now.state),
            plan::decision::short(&now.founding.id()),
            now.generation
        ))),
        None => Some(Swap::Stale("the store's claim is not there any more".into())),
    }
}

/// The state as people read it.
pub fn word(state: ClaimState) -> &'static str {
    match state {
        ClaimState::Founding => "founding",
        ClaimState::Committing => "committing",
        ClaimState::Founded => "founded",
    }
}

fn render(claim: &Claim, cluster: &ClusterName) -> Result<Vec<u8>, Trouble> {
    let file = File {
        format: FORMAT,
        cluster_name: cluster.clone(),
        epoch: claim.epoch,
        generation: claim.generation,
        state: claim.state,
        t: claim.founding.id(),
        cluster_id: claim.founding.cluster_id(),
        snapshot: claim.founding.terms.snapshot.clone(),
        founding: claim.founding.clone(),
        voters: claim.voters.clone(),
    };
    let text = serde_json::to_string_pretty(&file);
    text.map(|text| (text + "\n").into_bytes()).map_err(|e| Trouble::Unfit(format!("the claim cannot be written: {e}")))
}

/// The claim in these bytes, or why they are none of this cluster's, as a clause about the object.
pub(crate) fn parse(bytes: &[u8], cluster: &ClusterName) -> Result<Claim, String> {
    let head: Head = serde_json::from_slice(bytes).map_err(|e| format!("is not a claim: {e}"))?;
    if head.format > FORMAT {
        let what = format!("has format {}, and this program knows {FORMAT}", head.format);
        return Err(format!("{what}: boot an image that is as new as the one that wrote it"));
    }
    let file: File = serde_json::from_slice(bytes).map_err(|e| format!("is not a claim: {e}"))?;
    if file.cluster_name != *cluster {
        return Err(format!("is the claim of cluster {}, and this host's spec says {cluster}", file.cluster_name));
    }
    let File { epoch, generation, state, founding, voters, .. } = file;
    let terms = &founding.terms;
    let contradicts = [
        ("t", file.t != founding.id()),
        ("cluster_id", file.cluster_id != founding.cluster_id()),
        ("cluster_name", terms.cluster != *cluster),
        ("epoch", terms.epoch != epoch),
        ("generation", terms.generation != generation || generation == 0),
        ("snapshot", terms.snapshot != file.snapshot),
        ("founding", founding.founders.is_empty()),
        ("voters", voters.is_empty()),
    ];
    if let Some((key, _)) = contradicts.into_iter().find(|(_, wrong)| *wrong) {
        return Err(format!("contradicts itself in `{key}`: somebody has changed it by hand"));
    }
    Ok(Claim { generation, epoch, state, founding, voters })
}
