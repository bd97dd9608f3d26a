//! What makes an uploaded object a backup: its manifest, and the pointer to the newest one.

use std::time::Duration;

use object_store::ObjectStoreExt;
use tokio::time::timeout;

use crate::store::manifest::{LATEST, Latest, Manifest, Snapshot};
use crate::store::{Store, Trouble, Written};

/// How often the pointer may have been moved by others meanwhile.
const TRIES: usize = 8;

/// The pointer is small.
const LIMIT: u64 = 64 << 10;

const CALL: Duration = Duration::from_secs(20);

/// Writes the manifest, after which this is a backup; then the pointer.
///
/// # Errors
/// [`Trouble`]; with [`Trouble::Unfit`] the store has something else than was written.
pub async fn publish(store: &Store, snapshot: &Snapshot) -> Result<(), Trouble> {
    has(store, &snapshot.key(), snapshot.manifest.object_bytes).await?;
    let key = format!("{}/manifest.json", snapshot.directory);
    let bytes = serde_json::to_vec_pretty(&snapshot.manifest);
    let bytes = bytes.map_err(|e| Trouble::Unfit(format!("the manifest cannot be written: {e}")))?;
    match store.create(&key, bytes).await? {
        Written::Yes => {}
        Written::No => return Err(Trouble::Unfit(format!("{}/{key} is there already", store.place()))),
    }
    let Manifest { epoch, generation, revision, .. } = snapshot.manifest;
    let sha256 = snapshot.manifest.sha256.clone();
    advance(store, &Latest { epoch, generation, revision, manifest: key, sha256 }).await
}

/// That the store has all bytes of the object.
async fn has(store: &Store, key: &str, bytes: u64) -> Result<(), Trouble> {
    let at = format!("{}/{key}", store.place());
    let meta = match timeout(CALL, store.objects().head(&store.path(key))).await {
        Ok(Ok(meta)) => meta,
        Ok(Err(error)) => return Err(Trouble::Unreached(format!("cannot look at {at}: {error}"))),
        Err(_) => return Err(Trouble::Unreached(format!("cannot look at {at}: no answer for {} s", CALL.as_secs()))),
    };
    if meta.size == bytes {
        return Ok(());
    }
    Err(Trouble::Unfit(format!("{at} has {} bytes, and {bytes} were written", meta.size)))
}

/// Moves the pointer to this snapshot, unless it is at a newer one.
async fn advance(store: &Store, to: &Latest) -> Result<(), Trouble> {
    let bytes = serde_json::to_vec_pretty(to).map_err(|e| Trouble::Unfit(format!("cannot write {LATEST}: {e}")))?;
    for _ in 0..TRIES {
        let before = store.read(LATEST, LIMIT).await?;
        let written = match &before {
            None => store.create(LATEST, bytes.clone()).await?,
            Some(object) => {
                let unfit = |why: String| Trouble::Unfit(format!("{}/{LATEST} {why}", store.place()));
                let now: Latest =
                    serde_json::from_slice(&object.bytes).map_err(|e| unfit(format!("is not one: {e}")))?;
                if now.order() >= to.order() {
                    return Ok(());
                }
                store.swap(LATEST, bytes.clone(), &object.version).await?
            }
        };
        if written == Written::Yes {
            return Ok(());
        }
    }
    Err(Trouble::Unreached(format!("{}/{LATEST} is moved by others all the time", store.place())))
}
