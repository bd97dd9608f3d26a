//! Backups: the database of one member at a time, streamed into the store of its cluster.

mod metrics;
mod pack;
mod prune;
mod publish;
mod upload;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use plan::backup::{BackupEntry, Taken, is_due};
use plan::facts::{Claim, ClaimState, Me, Seconds};
use plan::member::ClusterId;
use plan::spec::{Host, Spec, Timestamp};
use serde::{Deserialize, Serialize};

use crate::apply::journal::Journal;
use crate::etcd::{Etcd, KEEP, Status, Turn, local_url};
use crate::exit::Exit;
use crate::metadata;
use crate::paths::Paths;
use crate::store::manifest::{self, Cipher, Codec, FORMAT, Manifest, SNAPSHOTS, Snapshot};
use crate::store::{Home, Store, Trouble, claim};
use crate::sys::{clock, fs, systemd};
use crate::tls;
use prune::Pruned;

/// Between two lines of progress on the console.
const REPORT: Duration = Duration::from_secs(5);

/// What came of it.
#[derive(Debug)]
pub enum Outcome {
    /// A backup was made.
    Made(Box<Snapshot>, Pruned),
    /// There is nothing to do, and why.
    Nothing(String),
}

/// What all members know of the last backup, under a key of ours in etcd.
#[derive(Serialize, Deserialize)]
struct Last {
    at: Seconds,
    revision: u64,
    directory: String,
}

/// A member that has settled, with all that it takes to make a backup.
pub struct Backup<'a> {
    paths: &'a Paths,
    spec: Spec,
    host: Host,
    me: Me,
    home: Home,
}

impl<'a> Backup<'a> {
    /// What this host was told, as `run` has kept it.
    ///
    /// # Errors
    /// 65 without a store, 75 before `run` has ended once.
    pub fn of(paths: &'a Paths) -> Result<Backup<'a>> {
        let loaded = metadata::remembered(paths)?.context("no configuration is kept here: `run` has not ended yet")?;
        let me =
            fs::read_text(&paths.me(), 1 << 16)?.context("who this host is is not known: `run` has not ended yet")?;
        let store = loaded.host.store.as_ref();
        let store =
            store.ok_or_else(|| Exit::BadInput.because("the configuration has no `store`, where backups go"))?;
        let home = Home::of(store, paths);
        Ok(Backup { paths, me: serde_json::from_str(&me)?, home, spec: loaded.spec, host: loaded.host })
    }

    /// The spec.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// What only this host needs of the spec.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The store.
    ///
    /// # Errors
    /// 69 while it cannot be opened.
    pub async fn store(&self) -> Result<&Store> {
        self.home.store().await.map_err(told)
    }

    /// Makes a backup if it is this member's turn and time; `now` makes it in any case.
    ///
    /// # Errors
    /// 69 when etcd or the store does not answer, 78 when the store belongs to another cluster.
    pub async fn make(&self, now: bool) -> Result<Outcome> {
        let entry = match &self.host.backup {
            Some(entry) => entry.clone(),
            None if now => serde_json::from_str("{}")?,
            None => return Ok(Outcome::Nothing("the configuration has no `backup`".into())),
        };
        let began = Instant::now();
        let outcome = self.made(&entry, now).await;
        metrics::write(self.paths, &outcome, began.elapsed());
        outcome
    }

    async fn made(&self, entry: &BackupEntry, now: bool) -> Result<Outcome> {
        if !Journal::of(self.paths).read()?.settled {
            return Ok(Outcome::Nothing("this member has not settled yet".into()));
        }
        let mut own = self.etcd().await?;
        let (status, cluster) = match self.healthy(&mut own).await? {
            Ok(healthy) => healthy,
            Err(why) => return Ok(Outcome::Nothing(why)),
        };
        if let Some(why) = self.not_due(&mut own, entry, &status, now).await? {
            return Ok(Outcome::Nothing(why));
        }
        let store = self.store().await?;
        let claim = self.claim(store, cluster).await?;
        let turn = match own.take_turn(cluster, self.me.name.as_str()).await? {
            Ok(turn) => turn,
            Err(who) => return Ok(Outcome::Nothing(format!("{who} makes a backup right now"))),
        };
        // Another may have ended its turn since we looked.
        let made = match self.not_due(&mut own, entry, &status, now).await? {
            Some(why) => Ok(Outcome::Nothing(why)),
            None => self.under_turn(&mut own, &turn, entry, store, &claim).await,
        };
        let noted = match &made {
            Ok(Outcome::Made(snapshot, _)) => Some(serde_json::to_string(&Last {
                at: snapshot.manifest.created_at.0,
                revision: snapshot.manifest.revision,
                directory: snapshot.directory.clone(),
            })?),
            Ok(Outcome::Nothing(_)) | Err(_) => None,
        };
        own.end_turn(turn, noted.as_deref()).await.or_else(|e| if made.is_err() { Ok(()) } else { Err(e) })?;
        made
    }

    async fn etcd(&self) -> Result<Etcd> {
        Ok(Etcd::at(&local_url(&self.me), tls::etcd_tls(self.paths)?).await?)
    }

    /// The member's status after a linearizable read through it, or why it is none to copy.
    async fn healthy(&self, own: &mut Etcd) -> Result<Result<(Status, ClusterId), String>> {
        let status = own.status().await?;
        if status.learner {
            return Ok(Err("this member is a learner, and may lack what the others have".into()));
        }
        let list = own.members().await?;
        let corrupt: Vec<String> = own.alarms().await?.into_iter().filter(|a| a.starts_with("CORRUPT")).collect();
        let wrong: Vec<String> = corrupt.into_iter().chain(status.errors.iter().cloned()).collect();
        // A lack of space harms no copy.
        let wrong: Vec<String> = wrong.into_iter().filter(|w| !w.contains("NOSPACE")).collect();
        if !wrong.is_empty() {
            let why = format!("no backup of a member that is not well: {}", wrong.join("; "));
            return Err(Exit::Refused.because(why));
        }
        Ok(Ok((status, list.cluster_id)))
    }

    /// Why there is nothing to do now, if so.
    async fn not_due(&self, own: &mut Etcd, entry: &BackupEntry, status: &Status, now: bool) -> Result<Option<String>> {
        if now {
            return Ok(None);
        }
        let Some(clock) = clock::known() else { return Ok(Some("this host's clock is not set".into())) };
        let noted = own.last_backup().await?;
        let last = noted.as_ref().and_then(|noted| serde_json::from_str::<Last>(&noted.text).ok());
        let at = last.as_ref().map(|last| last.at);
        let every = entry.every.0.as_secs();
        if !is_due(entry, at, clock, status.leads && self.spec.size > 1) {
            let at = at.map_or_else(String::new, |at| format!(", the last was at {}", Timestamp(at)));
            return Ok(Some(format!("a backup is due every {every} s{at}")));
        }
        match (last, noted) {
            (Some(last), Some(noted)) if noted.unchanged => {
                Ok(Some(format!("nothing was written since the backup of revision {}", last.revision)))
            }
            (_, _) => Ok(None),
        }
    }

    /// The claim, which must name the cluster that is copied.
    async fn claim(&self, store: &Store, cluster: ClusterId) -> Result<Claim> {
        let claim = claim::read(store, &self.spec.cluster).await.map_err(told)?;
        let place = store.place();
        match claim {
            None => Err(Exit::TryAgain.because(format!("{place} has no claim yet: `finish` writes it"))),
            Some(claim) if claim.state != ClaimState::Founded => Err(Exit::TryAgain.because(format!(
                "the claim in {place} is {} and not founded yet: `finish` writes it",
                claim::word(claim.state)
            ))),
            Some(claim) if claim.founding.cluster_id() != cluster => Err(Exit::Refused.because(format!(
                "the claim in {place} is of cluster {}, and this member is of cluster {cluster}: nothing is written into \
                 another cluster's store",
                claim.founding.cluster_id()
            ))),
            Some(claim) => Ok(claim),
        }
    }

    async fn under_turn(
        &self,
        own: &mut Etcd,
        turn: &Turn,
        entry: &BackupEntry,
        store: &Store,
        claim: &Claim,
    ) -> Result<Outcome> {
        let mut keeper = self.etcd().await?;
        let keep = async {
            loop {
                tokio::time::sleep(KEEP).await;
                if let Err(error) = keeper.keep_turn(turn).await {
                    tracing::warn!(%error, "another member may begin a backup beside this one");
                }
            }
        };
        let snapshot = tokio::select! {
            snapshot = self.upload(own, entry, store, claim) => snapshot?,
            never = keep => never,
        };
        // A cluster that was founded since, with all disks of this one gone, has its own backups in this store.
        let still = self.claim(store, claim.founding.cluster_id()).await?;
        publish::publish(store, &snapshot).await.map_err(told)?;
        let now = clock::now();
        let pruned = match prune::prune(store, &self.spec.cluster, &entry.keep, &still, now).await {
            Ok(pruned) => pruned,
            // The backup is made; what is kept too long costs space only.
            Err(trouble) => Pruned { held: Some(trouble.to_string()), ..Pruned::default() },
        };
        Ok(Outcome::Made(Box::new(snapshot), pruned))
    }

    async fn upload(&self, own: &mut Etcd, entry: &BackupEntry, store: &Store, claim: &Claim) -> Result<Snapshot> {
        let now = clock::now();
        // The snapshot is taken after this, so that it holds this revision at least.
        let status = own.status().await?;
        let member = self.me.name.clone();
        let taken =
            Taken { generation: claim.generation, revision: status.revision, at: now, member: member.to_string() };
        let directory = format!("{SNAPSHOTS}/{}", taken.name());
        let cipher = if entry.age_recipient.is_some() { Cipher::Age } else { Cipher::None };
        let key = manifest::object(&directory, Codec::Zstd, cipher);
        let stream = own.snapshot().await?;
        let mut last = Instant::now();
        let mut watch = |bytes: u64, total: u64| {
            if last.elapsed() >= REPORT {
                last = Instant::now();
                let text =
                    format!("backup: {} of {} MiB are on their way to {}", bytes >> 20, total >> 20, store.place());
                systemd::status(&text);
                tracing::info!("{text}");
            }
        };
        let packed = upload::upload(stream, store, &key, entry.age_recipient.as_deref(), &mut watch).await?;
        let manifest = Manifest {
            format: FORMAT,
            cluster_name: self.spec.cluster.clone(),
            cluster_id: claim.founding.cluster_id(),
            epoch: claim.epoch,
            generation: claim.generation,
            founding: claim.founding.id(),
            member,
            etcd_version: status.version.map(|v| v.to_string()).unwrap_or_default(),
            revision: status.revision,
            db_bytes: packed.summary.bytes,
            object_bytes: packed.bytes,
            sha256: packed.sha256,
            sha256_db: packed.summary.sha256_db,
            codec: Codec::Zstd,
            cipher,
            created_at: Timestamp(now),
            program: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Ok(Snapshot { directory, manifest })
    }
}

/// The store's trouble as the end of a command.
pub fn told(trouble: Trouble) -> anyhow::Error {
    let exit = match trouble {
        Trouble::Denied(_) => Exit::Permission,
        Trouble::Unfit(_) => Exit::Refused,
        Trouble::Unreached(_) | Trouble::Absent | Trouble::Conflict => Exit::Unavailable,
    };
    exit.because(trouble.to_string())
}
