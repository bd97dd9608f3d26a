//! What lies beside each snapshot, and which of them is the newest.

use plan::founding::FoundingId;
use plan::member::{ClusterId, ClusterName, MemberName};
use plan::spec::{Sha256, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Store, Trouble};

/// The directory of all snapshots; each has one of its own in it.
pub const SNAPSHOTS: &str = "snapshots";

/// The name of the newest one's pointer.
pub const LATEST: &str = "latest.json";

/// Of both files; a later one is refused.
pub const FORMAT: u32 = 1;

const LIMIT: u64 = 64 << 10;

/// `manifest.json`: written last, so that a directory without one is no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of this file.
    pub format: u32,
    /// `cluster.name`.
    pub cluster_name: ClusterName,
    /// Of the cluster that it was taken from.
    pub cluster_id: ClusterId,
    /// That cluster's epoch.
    pub epoch: u32,
    /// The claim's generation when it was taken.
    pub generation: u32,
    /// T.
    pub founding: FoundingId,
    /// Who took it.
    pub member: MemberName,
    /// That member's etcd.
    pub etcd_version: String,
    /// The revision that it holds.
    pub revision: u64,
    /// Bytes of the database.
    pub db_bytes: u64,
    /// Bytes of the object.
    pub object_bytes: u64,
    /// Of the object as it lies in the store; this is what a founding pins.
    pub sha256: Sha256,
    /// Of the database with its trailer.
    pub sha256_db: Sha256,
    /// How the database was packed.
    pub codec: Codec,
    /// How it was encrypted then.
    pub cipher: Cipher,
    /// When.
    pub created_at: Timestamp,
    /// By which version of this program.
    pub program: String,
}

impl Manifest {
    /// Reads one; what a later version may have added is passed over.
    ///
    /// # Errors
    /// What is wrong with it, in words that follow its name.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, String> {
        let head: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| format!("is not a manifest: {e}"))?;
        if head.get("format").and_then(serde_json::Value::as_u64).is_none_or(|format| format > FORMAT.into()) {
            return Err(format!("has no format that this program knows, which is {FORMAT}: boot a newer image"));
        }
        serde_json::from_value(head).map_err(|e| format!("is not a manifest: {e}"))
    }
}

/// How a database was packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// zstd.
    Zstd,
    /// gzip.
    Gzip,
    /// As it is.
    None,
}

/// How an object was encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cipher {
    /// age.
    Age,
    /// Not.
    None,
}

/// `latest.json`: changed by compare-and-swap, and never to an older snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latest {
    /// Of the newest snapshot; 0 where an older program wrote this, so that the next one takes its place.
    #[serde(default)]
    pub epoch: u32,
    /// Of the newest snapshot.
    pub generation: u32,
    /// Of the newest snapshot.
    pub revision: u64,
    /// Its manifest's key.
    pub manifest: String,
    /// Its object's.
    pub sha256: Sha256,
}

impl Latest {
    /// What the snapshots are ordered by: generation and revision begin anew in each epoch.
    pub fn order(&self) -> (u32, u32, u64) {
        (self.epoch, self.generation, self.revision)
    }
}

/// A snapshot of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its directory's key.
    pub directory: String,
    /// What is known of it.
    pub manifest: Manifest,
}

impl Snapshot {
    /// The object's key.
    pub fn key(&self) -> String {
        object(&self.directory, self.manifest.codec, self.manifest.cipher)
    }
}

/// The key of the object in a snapshot's directory.
pub fn object(directory: &str, codec: Codec, cipher: Cipher) -> String {
    let codec = match codec {
        Codec::Zstd => ".zst",
        Codec::Gzip => ".gz",
        Codec::None => "",
    };
    let cipher = match cipher {
        Cipher::Age => ".age",
        Cipher::None => "",
    };
    format!("{directory}/snapshot.db{codec}{cipher}")
}

/// The newest snapshot of the cluster with this name, by `latest.json`; `None` when there never was one.
///
/// # Errors
/// [`Trouble`]: what cannot be read is not absent, and neither is what another cluster left.
pub async fn newest(store: &Store, cluster: &ClusterName) -> Result<Option<Snapshot>, Trouble> {
    let Some(latest) = store.read(LATEST, LIMIT).await? else { return Ok(None) };
    let unfit = |why: String| Trouble::Unfit(format!("{}/{LATEST} {why}", store.place()));
    let latest: Latest =
        serde_json::from_slice(&latest.bytes).map_err(|e| unfit(format!("is not what it should be: {e}")))?;
    let directory = latest.manifest.strip_suffix("/manifest.json").filter(|d| d.starts_with(SNAPSHOTS));
    let directory = directory.ok_or_else(|| unfit("names no manifest of a snapshot".into()))?;
    let found = at(store, directory, cluster).await?;
    let found = found.ok_or_else(|| unfit(format!("names {}, which is not there", latest.manifest)))?;
    if found.manifest.sha256 != latest.sha256 || found.manifest.revision != latest.revision {
        return Err(unfit(format!("contradicts {}", latest.manifest)));
    }
    Ok(Some(found))
}

/// The snapshot whose object has this sha256: the newest one, or one that a founding pinned before there was a newer.
///
/// # Errors
/// [`Trouble`].
pub async fn find(store: &Store, cluster: &ClusterName, sha256: &Sha256) -> Result<Option<Snapshot>, Trouble> {
    if let Some(newest) = newest(store, cluster).await?.filter(|s| s.manifest.sha256 == *sha256) {
        return Ok(Some(newest));
    }
    // Their names begin with generation and revision, so the one that is looked for is near the end.
    for name in store.names(SNAPSHOTS).await?.iter().rev() {
        match at(store, &format!("{SNAPSHOTS}/{name}"), cluster).await {
            Ok(Some(found)) if found.manifest.sha256 == *sha256 => return Ok(Some(found)),
            // One that cannot be read is not the one that was pinned by its manifest.
            Ok(_) | Err(Trouble::Unfit(_)) => {}
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(None)
}

/// The snapshot in this directory; `None` while it has no manifest.
///
/// # Errors
/// [`Trouble`].
pub async fn at(store: &Store, directory: &str, cluster: &ClusterName) -> Result<Option<Snapshot>, Trouble> {
    let key = format!("{directory}/manifest.json");
    let Some(object) = store.read(&key, LIMIT).await? else { return Ok(None) };
    let unfit = |why: String| Trouble::Unfit(format!("{}/{key} {why}", store.place()));
    let manifest = Manifest::parse(&object.bytes).map_err(unfit)?;
    if manifest.cluster_name != *cluster {
        return Err(unfit(format!("is of cluster {}, and this host's spec says {cluster}", manifest.cluster_name)));
    }
    Ok(Some(Snapshot { directory: directory.to_owned(), manifest }))
}
