//! A directory that all hosts share: compare-and-swap under a lock, durable before it counts.

use std::path::Path;
use std::time::{Duration, Instant};

use object_store::UpdateVersion;
use ring::digest;

use super::{Trouble, Version, Written};
use crate::sys::fs;

/// Whoever holds the lock writes one small file.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

/// What lies in a file of ours at most, bytes.
const LIMIT: u64 = 1 << 20;

/// The version of a file that holds these bytes.
pub(super) fn version(bytes: &[u8]) -> Version {
    let hash = digest::digest(&digest::SHA256, bytes);
    let hash = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    Version(UpdateVersion { e_tag: Some(hash), version: None })
}

/// Replaces the file if it still is of this version.
pub(super) async fn swap(path: &Path, bytes: &[u8], before: &Version) -> Result<Written, Trouble> {
    let unreached = |error: anyhow::Error| Trouble::Unreached(format!("{error:#}"));
    let lock = path.with_extension("lock");
    let deadline = Instant::now() + PATIENCE;
    let _held = loop {
        match fs::lock(&lock).map_err(unreached)? {
            Some(held) => break held,
            None if Instant::now() >= deadline => {
                let (holder, lock) = (fs::lock_holder(&lock), lock.display());
                return Err(Trouble::Unreached(format!(
                    "{holder} holds {lock} for more than {} s",
                    PATIENCE.as_secs()
                )));
            }
            None => tokio::time::sleep(LOOK).await,
        }
    };
    let now = fs::read_text(path, LIMIT).map_err(unreached)?;
    if now.as_ref().map(|text| version(text.as_bytes())).as_ref() != Some(before) {
        return Ok(Written::No);
    }
    fs::write_atomic(path, bytes, 0o600, None).map_err(unreached)?;
    Ok(Written::Yes)
}

/// That the directory is there: a share that is not mounted has none.
pub(super) fn is_there(directory: &Path) -> Result<(), Trouble> {
    if directory.is_dir() {
        return Ok(());
    }
    Err(Trouble::Unreached(format!("there is no directory {}: is the share mounted?", directory.display())))
}
