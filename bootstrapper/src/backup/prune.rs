//! What is kept no longer: snapshots that are not needed for any hour, day or week, and what a broken upload left.

use plan::backup::{Keep, Taken, superfluous};
use plan::facts::{Claim, Seconds};
use plan::member::ClusterName;

use crate::store::manifest::{self, SNAPSHOTS};
use crate::store::{Store, Trouble};

/// How many are removed at a time, so that a mistake in the spec shows before all is gone.
const MOST: usize = 50;

/// After so long an upload without a manifest is none any more, seconds.
const LEFT_OVER: u64 = 24 * 3600;

/// What became of those that are not needed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// How many there are now.
    pub kept: usize,
    /// How many were removed.
    pub removed: usize,
    /// Why one could not be removed, such as a lock on the object; it is tried again next time.
    pub held: Option<String>,
}

/// Removes what is kept no longer; never the newest one, nor the one that the claim's founding restores.
///
/// # Errors
/// [`Trouble`] when the store cannot be listed.
pub async fn prune(
    store: &Store,
    cluster: &ClusterName,
    keep: &Keep,
    claim: &Claim,
    now: Seconds,
) -> Result<Pruned, Trouble> {
    let newest = manifest::newest(store, cluster).await?.map(|s| s.directory);
    let names = store.names(SNAPSHOTS).await?;
    // What this program did not name is not this program's to remove.
    let (mut whole, mut broken) = (Vec::new(), Vec::new());
    for taken in names.iter().filter_map(|name| Taken::parse(name)) {
        match has_manifest(store, &taken).await? {
            true => whole.push(taken),
            false if now.0.saturating_sub(taken.at.0) > LEFT_OVER => broken.push(taken),
            false => {}
        }
    }
    let gone: Vec<&Taken> = superfluous(&whole, keep, now).into_iter().chain(&broken).collect();
    let mut pruned = Pruned { kept: whole.len(), ..Pruned::default() };
    for taken in gone.into_iter().take(MOST) {
        let directory = format!("{SNAPSHOTS}/{}", taken.name());
        if Some(&directory) == newest.as_ref() || pins(store, cluster, claim, &directory).await? {
            continue;
        }
        match remove(store, &directory).await {
            Ok(()) => {
                pruned.removed += 1;
                pruned.kept -= usize::from(whole.contains(taken));
            }
            Err(trouble) => pruned.held = Some(trouble.to_string()),
        }
    }
    Ok(pruned)
}

async fn has_manifest(store: &Store, taken: &Taken) -> Result<bool, Trouble> {
    let names = store.names(&format!("{SNAPSHOTS}/{}", taken.name())).await?;
    Ok(names.iter().any(|name| name == "manifest.json"))
}

/// Whether the founding of the claim restores this snapshot; one that cannot be read is left alone.
async fn pins(store: &Store, cluster: &ClusterName, claim: &Claim, directory: &str) -> Result<bool, Trouble> {
    let Some(pinned) = &claim.founding.terms.snapshot else { return Ok(false) };
    match manifest::at(store, directory, cluster).await {
        Ok(found) => Ok(found.is_some_and(|s| s.manifest.sha256 == *pinned)),
        Err(Trouble::Unfit(_)) => Ok(true),
        Err(trouble) => Err(trouble),
    }
}

/// Removes a directory: the manifest first, as without it the rest is no snapshot.
async fn remove(store: &Store, directory: &str) -> Result<(), Trouble> {
    store.remove(&format!("{directory}/manifest.json")).await?;
    for name in store.names(directory).await? {
        store.remove(&format!("{directory}/{name}")).await?;
    }
    Ok(())
}
