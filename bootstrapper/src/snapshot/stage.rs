//! A snapshot becomes a data dir: beside it, proven, durable, and in its place by one rename.
//!
//! etcd starts happily on a restore that was cut short, serves reads and hangs on every write; so a directory that
//! `etcdutl` may not have finished never gets a name that anything starts from.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use plan::facts::{Database, Disk, Wal};
use plan::founding::{Founding, FoundingId, REVISION_BUMP};
use plan::member::{ClusterId, MemberId, MemberName, PeerUrl};
use plan::spec::{Secret, Sha256};
use serde::{Deserialize, Serialize};

use super::fetch::{Order, Progress, fetch};
use super::intake::{Shelf, blocking};
use super::source;
use super::verify::{self, Summary};
use crate::exit::Exit;
use crate::observe::bolt::Bolt;
use crate::observe::data_dir::{self, consistent_index};
use crate::observe::unsound::Unsound;
use crate::observe::wal::End;
use crate::paths::Paths;
use crate::sys::fs::{self, Owner};
use crate::sys::process::{self, Program};
use crate::sys::random;

/// Silence after which a connection is given up.
const IDLE: Duration = Duration::from_secs(30);

/// Time without a new byte after which the source is given up and the caller decides anew.
const PATIENCE: Duration = Duration::from_secs(300);

/// etcd's own advice is a quota of at most 8 GiB; a file far beyond that is a mistake.
const LARGEST: u64 = 64 << 30;

/// Two preallocated log files of 64 MB, and room for etcd to start in.
pub(crate) const BESIDE: u64 = 256 << 20;

/// Between two reports of progress.
pub(crate) const REPORT: Duration = Duration::from_secs(5);

/// Bytes a second that the slowest disk restores, for the time after which `etcdutl` is taken for stuck.
pub(crate) const SLOWEST: u64 = 5 << 20;

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
/// `etcdutl` is a path or a name. What is half done of an earlier attempt is made again, but the bytes downloaded are kept.
///
/// # Errors
/// 65 for a snapshot that is no good, 69 for a source that does not deliver, 78 for a disk that is too small; whatever
/// fails, nothing of the staging is left.
pub async fn stage(
    paths: &Paths,
    founding: &Founding,
    (name, peer_url): (&MemberName, &PeerUrl),
    url: &Secret,
    etcdutl: &str,
    owner: Option<Owner>,
    say: &mut (dyn FnMut(String) + Send),
) -> Result<()> {
    let id = founding.id();
    if staged(paths, &id) {
        return Ok(());
    }
    let home = home(paths, &id);
    fs::remove(&home)?;
    let sha256 = founding.terms.snapshot.clone().context("a founding without a snapshot has nothing to stage")?;
    let shelf = Shelf { directory: paths.download(), sha256: sha256.clone(), owner };
    let summary = on_shelf(paths, &shelf, url, say).await?;
    version_fits(&summary, &founding.terms.etcd)?;
    fs::create_dir(&paths.staging(), 0o711, None)?;
    fs::create_dir(&home, 0o711, None)?;
    let snapshot = Image { file: shelf.path(), bytes: summary.bytes, sealed: true };
    let restore = Restore { founding, name, peer_url, etcdutl, owner, snapshot, home: home.clone() };
    if let Err(error) = restore.run(say).await {
        fs::remove(&home)?;
        return Err(lack_of_space(error, paths, summary.bytes));
    }
    restore.prove(Some(sha256), None)
}

/// Whether the survivor's data is staged for this founding, whole and durable, from a log that ended here.
pub(crate) fn staged_from(paths: &Paths, id: &FoundingId, end: &End) -> bool {
    staged(paths, id) && proof(paths, id).is_some_and(|proof| proof.survivor.as_ref() == Some(end))
}

/// Whether the founding's data is staged, whole and durable.
pub fn staged(paths: &Paths, id: &FoundingId) -> bool {
    proof(paths, id).is_some() && home(paths, id).join("data").is_dir()
}

/// Puts the staged data in the place of the data dir; done already is fine, and never over data.
///
/// # Errors
/// When it was never proven, or something else lies in the data dir.
pub fn install(paths: &Paths, id: &FoundingId) -> Result<()> {
    let (home, data) = (home(paths, id), paths.data());
    let Some(proof) = proof(paths, id) else {
        bail!("{} holds no proof that the snapshot was restored whole, so it is not used", home.display());
    };
    let staged = home.join("data");
    if !staged.is_dir() {
        return match data_dir::identify(&data)? {
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

/// The checked snapshot, fetched unless an earlier boot did.
async fn on_shelf(paths: &Paths, shelf: &Shelf, url: &Secret, say: &mut (dyn FnMut(String) + Send)) -> Result<Summary> {
    fs::create_dir(&shelf.directory, 0o711, None)?;
    if shelf.path().exists() {
        say("checking the snapshot that was fetched before".into());
        let (path, sha256) = (shelf.path(), shelf.sha256.clone());
        match blocking(move || verify::file(&path, Some(&sha256))).await {
            Ok(summary) => return Ok(summary),
            // It was good when it got its name, so the disk has changed it; the source is asked again.
            Err(error) => say(format!("fetching the snapshot again: {error:#}")),
        }
        shelf.clear()?;
    }
    let place = source::Source::parse(url)?.place();
    let admit = |bytes: u64| admit(paths, shelf, bytes);
    let order = Order {
        url,
        sha256: Some(&shelf.sha256),
        shelf: Some(shelf.clone()),
        roots: &source::roots(paths),
        idle: IDLE,
        patience: PATIENCE,
        admit: &admit,
    };
    let mut last: Option<Instant> = None;
    let mut watch = |progress: Progress<'_>| {
        if progress.trouble.is_some() || last.is_none_or(|at| at.elapsed() >= REPORT) {
            last = Some(Instant::now());
            say(format!("fetching the snapshot from {place}: {}", so_far(&progress)));
        }
    };
    fetch(&order, &mut watch).await
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

/// Whether a snapshot of so many bytes can be fetched and restored on this disk.
fn admit(paths: &Paths, shelf: &Shelf, bytes: u64) -> Result<()> {
    if bytes > LARGEST {
        return Err(Exit::BadInput.because(format!("it has {bytes} bytes, and no database of etcd is that large")));
    }
    let room = fs::room(&shelf.directory)?;
    let (needed, free) = (needed(bytes, room.shares), room.free + shelf.received());
    if needed <= free { Ok(()) } else { Err(too_small(paths, bytes, needed, free)) }
}

fn needed(bytes: u64, shares: bool) -> u64 {
    bytes.saturating_mul(if shares { 1 } else { 2 }).saturating_add(BESIDE)
}

pub(crate) fn too_small(paths: &Paths, bytes: u64, needed: u64, free: u64) -> anyhow::Error {
    Exit::Refused.because(format!(
        "the disk of {} is too small: a snapshot of {bytes} bytes needs {needed} bytes free there to be fetched and \
         restored, and {free} are; attach a larger one or make room",
        paths.volume().display()
    ))
}

/// A full disk in the words that help; any other error as it is.
fn lack_of_space(error: anyhow::Error, paths: &Paths, bytes: u64) -> anyhow::Error {
    if !format!("{error:#}").to_lowercase().contains("no space left on device") {
        return error;
    }
    match fs::room(&paths.volume()) {
        Ok(room) => too_small(paths, bytes, needed(bytes, room.shares) - bytes, room.free),
        Err(_) => error,
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

/// A database to restore.
pub(crate) struct Image {
    /// Where it is.
    pub file: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Whether it ends with its own sha256, which `etcdutl` then holds it against.
    pub sealed: bool,
}

/// A restore into `staging/<T>`.
pub(crate) struct Restore<'a> {
    pub founding: &'a Founding,
    pub name: &'a MemberName,
    pub peer_url: &'a PeerUrl,
    pub etcdutl: &'a str,
    pub owner: Option<Owner>,
    pub snapshot: Image,
    pub home: PathBuf,
}

impl Restore<'_> {
    /// Restores into `data` below the home, proven and durable; only [`Restore::prove`] makes it count.
    pub async fn run(&self, say: &mut (dyn FnMut(String) + Send)) -> Result<()> {
        // A name of its own: an etcdutl that outlived a crash of ours may still write under the one of before.
        let work = self.home.join(format!("work-{}", random::hex16()?));
        fs::create_dir(&work, 0o700, self.owner)?;
        self.etcdutl(&work, self.snapshot.bytes, say).await?;
        say("checking the restored data and making it durable".into());
        let (id, members) = (self.founding.cluster_id(), self.founding.founders.len() as u64);
        let (member, owner, data) = (self.founding.member_id(self.peer_url), self.owner, self.home.join("data"));
        blocking(move || {
            prove(&work, id, member, members)?;
            fs::seal_tree(&work, owner)?;
            fs::rename(&work, &data)
        })
        .await
    }

    /// Writes down that what lies in `data` below the home is whole.
    pub fn prove(&self, sha256: Option<Sha256>, survivor: Option<End>) -> Result<()> {
        let (cluster_id, member_id) = (self.founding.cluster_id(), self.founding.member_id(self.peer_url));
        let proof = Proof { founding: self.founding.id(), cluster_id, member_id, sha256, survivor };
        fs::write_atomic(&self.home.join("proven"), &serde_json::to_vec(&proof)?, 0o600, None)
    }

    async fn etcdutl(&self, work: &Path, bytes: u64, say: &mut (dyn FnMut(String) + Send)) -> Result<()> {
        let program = Program {
            program: self.etcdutl,
            arguments: self.arguments(work),
            owner: self.owner,
            timeout: Duration::from_secs(120 + bytes / SLOWEST),
        };
        let began = Instant::now();
        let mut running = std::pin::pin!(process::run(program));
        loop {
            let seconds = began.elapsed().as_secs();
            say(format!("restoring the snapshot of {} MiB: {seconds} s", bytes.div_ceil(1 << 20)));
            if let Ok(ended) = tokio::time::timeout(REPORT, &mut running).await {
                return ended.map(drop).context("the snapshot could not be restored");
            }
        }
    }

    fn arguments(&self, work: &Path) -> Vec<String> {
        let cluster: Vec<String> =
            self.founding.initial_cluster().into_iter().map(|(name, url)| format!("{name}={url}")).collect();
        let options = [
            ("--data-dir", work.display().to_string()),
            ("--name", self.name.to_string()),
            ("--initial-advertise-peer-urls", self.peer_url.to_string()),
            ("--initial-cluster", cluster.join(",")),
            ("--initial-cluster-token", self.founding.token()),
            ("--bump-revision", REVISION_BUMP.to_string()),
        ];
        let mut arguments = vec!["snapshot".into(), "restore".into(), self.snapshot.file.display().to_string()];
        arguments.extend(options.into_iter().flat_map(|(option, value)| [option.to_owned(), value]));
        arguments.push("--mark-compacted".into());
        if !self.snapshot.sealed {
            arguments.push("--skip-hash-check".into());
        }
        arguments
    }
}

/// Holds what `etcdutl` left against what the founding wants: its last step of all is the database's applied index.
fn prove(data: &Path, cluster_id: ClusterId, member_id: MemberId, members: u64) -> Result<()> {
    let disk = data_dir::look(data)?;
    let wal = Wal::Valid { member_id, cluster_id, last_index: members, commit: members, torn: false };
    let wanted = Disk { member: true, wal, snap_index: disk.snap_index, database: Database::Sound, locked: false };
    if disk != wanted {
        bail!("etcdutl said it had restored the snapshot and left {disk:?} where {wanted:?} was expected");
    }
    let path = data_dir::database_path(data);
    let file = std::fs::File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let applied = Bolt::open(file).and_then(|bolt| consistent_index(&bolt));
    match applied {
        Ok(applied) if applied == members => Ok(()),
        Ok(applied) => bail!("etcdutl left the applied index {applied} in {}, not {members}", path.display()),
        Err(Unsound::Damaged(what)) => bail!("etcdutl left a broken {}: {what}", path.display()),
        Err(Unsound::Io(error)) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}
