//! A snapshot becomes a data dir: beside it, proven, durable, and in its place by one rename.
//!
//! etcd starts happily on a restore that was cut short, serves reads and hangs on every write; so a directory that
//! `etcdutl` may not have finished never gets a name that anything starts from.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use plan::founding::{Founding, FoundingId};
use plan::member::{ClusterId, MemberId, MemberName, PeerUrl};
use plan::restore::RestoreEntry;
use plan::spec::Sha256;
use plan::store::SecretText;
use plan::wal_disk::WalDisk;
use serde::{Deserialize, Serialize};

use super::apart::set_apart;
use super::decode::{self, Most, Opening};
use super::fetch::{Order, Progress, fetch};
use super::intake::blocking;
use super::origin::Origin;
use super::restore::{Image, REPORT, Restore};
use super::shelf::Shelf;
use super::verify::Summary;
use super::{about, room, signature};
use crate::exit::Exit;
use crate::observe::wal::{self, End};
use crate::paths::Paths;
use crate::secrets::Places;
use crate::store::manifest::Manifest;
use crate::sys::clock;
use crate::sys::fs::{self, Owner};

/// Silence after which a connection is given up.
const IDLE: Duration = Duration::from_secs(30);

/// Time without a new byte after which the source is given up and the caller decides anew.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is to be staged, and for whom.
pub struct Staging<'a> {
    /// Where everything is.
    pub paths: &'a Paths,
    /// The founding that restores.
    pub founding: &'a Founding,
    /// Which of its members this host is.
    pub me: (&'a MemberName, &'a PeerUrl),
    /// Who may have the snapshot, in the order in which they are asked.
    pub origins: Vec<Origin>,
    /// `restore` of the configuration: what the snapshot is opened with.
    pub keys: Option<&'a RestoreEntry>,
    /// Who must have signed it: its line of `minisign.pub`.
    pub signer: Option<&'a str>,
    /// The newest snapshot that the cluster's store knows of.
    pub newest: Option<&'a Manifest>,
    /// Where the secrets are.
    pub places: &'a Places<'a>,
    /// Bytes that etcd will let its database have; `None` for any.
    pub quota: Option<u64>,
    /// A path or a name.
    pub etcdutl: &'a str,
    /// etcd's user, where there is one.
    pub owner: Option<Owner>,
}

/// What `staging/<T>/proven` says of the data beside it.
#[derive(Debug, Serialize, Deserialize)]
struct Proof {
    founding: FoundingId,
    cluster_id: ClusterId,
    member_id: MemberId,
    /// Of the snapshot that was restored.
    sha256: Option<Sha256>,
    /// Where the survivor's log ended when its data was copied.
    #[serde(default)]
    survivor: Option<End>,
}

/// Fetches the founding's snapshot, checks it, and restores it into `staging/<T>/data`; nothing to do when that is proven.
///
/// What is half done of an earlier attempt is made again, but the bytes downloaded are kept.
///
/// # Errors
/// 65 for a snapshot that is no good, 69 for a source that does not deliver, 78 for a disk that is too small; whatever
/// fails, nothing of the staging is left.
pub async fn stage(staging: &Staging<'_>, say: &mut (dyn FnMut(String) + Send)) -> Result<()> {
    let (paths, id) = (staging.paths, staging.founding.id());
    if staged(paths, &id) {
        return Ok(());
    }
    let home = home(paths, &id);
    fs::remove(&home)?;
    make_room(staging, &id)?;
    let made = make(staging, home.clone(), say).await;
    made.map_err(|error| {
        // A disk that takes nothing more may not give this up either; without its proof it counts for nothing.
        if let Err(left) = fs::remove(&home) {
            tracing::warn!("{left:#}");
        }
        room::disk_trouble(error, paths, None)
    })
}

/// Removes what earlier foundings have staged and fetched, which would count against the room of this one. A founding that
/// comes back stages again.
fn make_room(staging: &Staging<'_>, id: &FoundingId) -> Result<()> {
    for left in others(staging.paths.staging(), |name| name == id.as_str()) {
        // A power cut may leave a part of it, which must not be proven then.
        fs::remove(&left.join("proven"))?;
        fs::sync_dir(&left)?;
        fs::remove(&left)?;
    }
    let sha256 = staging.founding.terms.snapshot.as_ref().map_or("", Sha256::as_str);
    others(staging.paths.download(), |name| name.starts_with(sha256)).iter().try_for_each(|left| fs::remove(left))
}

/// All that is in a directory but what is ours; nothing before there is one.
fn others(directory: PathBuf, ours: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter(|entry| !ours(&entry.file_name().to_string_lossy())).map(|entry| entry.path()).collect()
}

async fn make(staging: &Staging<'_>, home: PathBuf, say: &mut (dyn FnMut(String) + Send)) -> Result<()> {
    let &Staging { paths, founding, me: (name, peer_url), etcdutl, owner, .. } = staging;
    let sha256 = founding.terms.snapshot.clone().context("a founding without a snapshot has nothing to stage")?;
    let shelf = Shelf { directory: paths.download(), sha256: sha256.clone(), owner };
    let summary = staging.on_shelf(&shelf, say).await?;
    let manifest = fs::read_text(&shelf.manifest(), 1 << 16)?.and_then(|text| Manifest::parse(text.as_bytes()).ok());
    if let Some(manifest) = &manifest {
        staging.wanted(manifest)?;
    }
    say(about::told(manifest.as_ref(), &summary, clock::vouched(paths), staging.newest));
    version_fits(&summary, &founding.terms.etcd)?;
    quota_fits(summary.bytes, staging.quota)?;
    room::restorable(paths, summary.bytes)?;
    fs::create_dir(&paths.staging(), 0o711, None)?;
    fs::create_dir(&home, 0o711, None)?;
    let snapshot = Image { file: shelf.path(), bytes: summary.bytes, sha256: Some(summary.sha256_db.clone()) };
    let restore = Restore { founding, name, peer_url, etcdutl, owner, snapshot, home };
    let restored = restore.run(say).await;
    restored.map_err(|error| room::disk_trouble(error, paths, Some(summary.bytes)))?;
    prove(&restore, Some(sha256), None)
}

/// Writes down that what was restored is whole.
pub(crate) fn prove(restored: &Restore<'_>, sha256: Option<Sha256>, survivor: Option<End>) -> Result<()> {
    let (cluster_id, member_id) = (restored.founding.cluster_id(), restored.founding.member_id(restored.peer_url));
    let proof = Proof { founding: restored.founding.id(), cluster_id, member_id, sha256, survivor };
    fs::write_atomic(&restored.home.join("proven"), &serde_json::to_vec(&proof)?, 0o600, None)
}

/// Whether the survivor's data is staged for this founding, whole and durable, from a log that ended here.
pub(crate) fn staged_from(paths: &Paths, id: &FoundingId, end: &End) -> bool {
    staged(paths, id) && proof(paths, id).is_some_and(|proof| proof.survivor.as_ref() == Some(end))
}

/// Whether the founding's data is staged, whole and durable.
pub fn staged(paths: &Paths, id: &FoundingId) -> bool {
    proof(paths, id).is_some() && home(paths, id).join("data").is_dir()
}

/// Puts the staged data in the place of the data dir, and its log on a disk of its own where it has one; done already is
/// fine, and never over data.
///
/// # Errors
/// When it was never proven, or something else lies in the data dir.
pub fn install(paths: &Paths, id: &FoundingId, wal: Option<&WalDisk>) -> Result<()> {
    let (home, data) = (home(paths, id), paths.data());
    let Some(proof) = proof(paths, id) else {
        bail!("{} holds no proof that the snapshot was restored whole, so it is not used", home.display());
    };
    let staged = home.join("data");
    if !staged.is_dir() {
        return match wal::identify(&paths.wal(wal))? {
            Some(found) if found == (proof.cluster_id, proof.member_id) => Ok(()),
            Some(_) | None => bail!(
                "{} is gone and {} is not what was restored there (member {} of cluster {})",
                staged.display(),
                data.display(),
                proof.member_id,
                proof.cluster_id
            ),
        };
    }
    if let Some(wal) = wal {
        set_apart(&staged, &paths.wal_home(wal), (proof.cluster_id, proof.member_id))?;
    }
    // rename(2) replaces a directory by a directory only when it is empty, and nothing else at all.
    fs::rename(&staged, &data).with_context(|| format!("{} must be empty or absent for a restore", data.display()))
}

/// Removes what a restore leaves behind once its cluster has settled: the download and the proof.
///
/// # Errors
/// Any failing system call, with the path.
pub fn discard(paths: &Paths) -> Result<()> {
    fs::remove(&paths.staging())?;
    fs::remove(&paths.download())
}

pub(crate) fn home(paths: &Paths, id: &FoundingId) -> PathBuf {
    paths.staging().join(id.as_str())
}

fn proof(paths: &Paths, id: &FoundingId) -> Option<Proof> {
    let text = fs::read_text(&home(paths, id).join("proven"), 1 << 16).ok()??;
    serde_json::from_str(&text).ok().filter(|proof: &Proof| proof.founding == *id)
}

impl Staging<'_> {
    /// Whether it is of a cluster that is meant, and small enough.
    fn wanted(&self, manifest: &Manifest) -> Result<()> {
        let from = self.keys.and_then(|keys| keys.from_cluster.as_ref());
        about::wanted(manifest, &self.founding.terms.cluster, from)?;
        quota_fits(manifest.db_bytes, self.quota)
    }

    /// What it takes to open the object.
    fn opening(&self) -> Result<Opening> {
        let mut opening = Opening::plain(Most::of_quota(self.quota));
        if let Some(SecretText(source)) = self.keys.and_then(|keys| keys.age_identity.as_ref()) {
            let text = self.places.read(source, "restore.age_identity", true)?;
            opening.identities = decode::identities(&text).context("restore.age_identity")?;
        }
        Ok(opening)
    }

    /// The checked snapshot, fetched unless an earlier boot did.
    async fn on_shelf(&self, shelf: &Shelf, say: &mut (dyn FnMut(String) + Send)) -> Result<Summary> {
        fs::create_dir(&shelf.directory, 0o711, None)?;
        let opening = self.opening()?;
        if shelf.path().exists() {
            say("checking the snapshot that was fetched before".into());
            let (there, opening) = (shelf.clone(), opening.clone());
            match blocking(move || there.check(opening)).await {
                Ok(summary) => return Ok(summary),
                // It was good when it got its name, so the disk has changed it; the source is asked again.
                Err(error) => say(format!("fetching the snapshot again: {error:#}")),
            }
            shelf.clear()?;
        }
        let origins: Vec<&Origin> = self.origins.iter().collect();
        let admit = |bytes: u64| {
            opening.most.allows(bytes)?;
            room::admit(self.paths, shelf, bytes)
        };
        let signer = self.signer.map(signature::key).transpose();
        let signer = signer.context("restore.minisign_key")?;
        let order = Order {
            origins: &origins,
            sha256: Some(&shelf.sha256),
            signer: signer.as_ref(),
            accept: Some(&|manifest| self.wanted(manifest)),
            shelf: Some(shelf.clone()),
            idle: IDLE,
            patience: PATIENCE,
            admit: &admit,
            opening: opening.clone(),
        };
        let mut last: Option<Instant> = None;
        let mut watch = |progress: Progress<'_>| {
            if progress.trouble.is_some() || last.is_none_or(|at| at.elapsed() >= REPORT) {
                last = Some(Instant::now());
                say(format!("fetching the snapshot from {}: {}", progress.place, so_far(&progress)));
            }
        };
        fetch(&order, &mut watch).await
    }
}

fn so_far(progress: &Progress<'_>) -> String {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let bytes = match progress.total {
        Some(total) if total > 0 => format!("{} of {} MiB", mib(progress.bytes), mib(total)),
        Some(_) | None => format!("{} MiB", mib(progress.bytes)),
    };
    match progress.trouble {
        Some(trouble) => format!("{bytes}, trying again: {trouble}"),
        None => bytes,
    }
}

/// etcd ends at once on data of a newer minor version than its own.
fn version_fits(summary: &Summary, etcd: &str) -> Result<()> {
    let minor = |text: &str| text.parse::<plan::member::Version>().map(|v| (v.major, v.minor));
    match (summary.version, minor(etcd)) {
        (Some(version), Ok(ours)) if (version.major, version.minor) > ours => Err(Exit::Refused.because(format!(
            "the snapshot is of an etcd {} cluster and this host has etcd {etcd}, which cannot read it: use an image with \
             etcd {0} or newer",
            version.minor_text()
        ))),
        (Some(_) | None, _) => Ok(()),
    }
}

/// etcd raises its alarm and refuses all writes as soon as it starts on a database above its quota.
fn quota_fits(bytes: u64, quota: Option<u64>) -> Result<()> {
    match quota {
        Some(quota) if bytes > quota => Err(Exit::Refused.because(format!(
            "the snapshot is a database of {bytes} bytes and etcd's quota is {quota}, so that etcd would refuse every write: \
             raise quota-backend-bytes below `etcd` in the configuration of all hosts"
        ))),
        Some(_) | None => Ok(()),
    }
}
