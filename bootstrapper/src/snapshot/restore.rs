//! `etcdutl` makes a data dir of a database, and what it left is held against what was asked for.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use plan::facts::{Database, Disk, Wal};
use plan::founding::{Founding, REVISION_BUMP};
use plan::member::{ClusterId, MemberId, MemberName, PeerUrl};
use plan::spec::Sha256;

use super::decode::{Most, Opening};
use super::intake::{self, blocking};
use super::warm::warm;
use crate::observe::bolt::Bolt;
use crate::observe::data_dir::{self, consistent_index};
use crate::observe::unsound::Unsound;
use crate::sys::fs::{self, Owner};
use crate::sys::process::{self, Program};
use crate::sys::random;

/// Between two reports of progress.
pub(crate) const REPORT: Duration = Duration::from_secs(5);

/// Bytes a second that the slowest disk restores, for the time after which `etcdutl` is taken for stuck.
pub(crate) const SLOWEST: u64 = 5 << 20;

/// What stands behind the database's pages, which are multiples of this, is its trailer.
const SECTOR: u64 = 512;

/// A database to restore.
pub(crate) struct Image {
    /// Where it is.
    pub file: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// What it hashes to, where it ends with its own sha256 as well.
    pub sha256: Option<Sha256>,
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
    /// Restores into `data` below the home, proven and durable; only a proof beside it makes it count.
    pub async fn run(&self, say: &mut (dyn FnMut(String) + Send)) -> Result<()> {
        // A name of its own: an etcdutl that outlived a crash of ours may still write under the one of before.
        let work = self.home.join(format!("work-{}", random::hex16()?));
        fs::create_dir(&work, 0o700, self.owner)?;
        let etcdutl = async {
            tokio::select! {
                restored = self.etcdutl(&work, self.snapshot.bytes, say) => restored,
                never = self.warmed(&work) => never,
            }
        };
        let (restored, unchanged) = tokio::join!(etcdutl, self.unchanged());
        unchanged?;
        restored?;
        say("checking the restored data and making it durable".into());
        let (id, members) = (self.founding.cluster_id(), self.founding.founders.len() as u64);
        let (member, owner, data) = (self.founding.member_id(self.peer_url), self.owner, self.home.join("data"));
        blocking(move || {
            hold_against(&work, id, member, members)?;
            fs::seal_tree(&work, owner)?;
            fs::rename(&work, &data)
        })
        .await
    }

    /// Whether the file still is what was checked as it came: beside `etcdutl`, which would do so before it begins and
    /// would have to read all of it from the disk. What it restores from shares its blocks with this file, or is a copy.
    async fn unchanged(&self) -> Result<()> {
        let Some(sha256) = self.snapshot.sha256.clone() else { return Ok(()) };
        let file = self.snapshot.file.clone();
        blocking(move || {
            let checked = intake::check(&file, Some(&sha256), Opening::plain(Most::sane()));
            // No word on the source's snapshot: whoever tries again finds out what is on this disk, and fetches it again.
            checked
                .map(drop)
                .map_err(|error| anyhow!("this disk has changed the snapshot since it was checked: {error:#}"))
        })
        .await
    }

    /// Reads ahead of `etcdutl`, whose copy of the file shares the blocks with it and not the memory, and which maps all of
    /// that before it goes on. Never ends by itself.
    async fn warmed(&self, work: &Path) -> Result<()> {
        warm(data_dir::database_path(work), self.snapshot.bytes / SECTOR * SECTOR).await;
        std::future::pending().await
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
        arguments.extend(["--mark-compacted".into(), "--skip-hash-check".into()]);
        arguments
    }
}

/// Holds what `etcdutl` left against what the founding wants: its last step of all is the database's applied index.
fn hold_against(data: &Path, cluster_id: ClusterId, member_id: MemberId, members: u64) -> Result<()> {
    let disk = data_dir::look(data, &data.join("member/wal"))?;
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
