//! The survivor of a lost majority: its data, with every entry of its log, becomes the data of a cluster of its own.
//!
//! The database alone is not enough. etcd acknowledges a write that is in a majority's logs, and commits the database
//! ten times a second; and what it recorded as committed is behind too, since it syncs that only with further entries.
//! `--force-new-cluster` drops the entries behind that record. So a copy of the data dir gets a hard state that commits
//! its whole log, an etcd that nobody can reach applies it, and the database that it leaves is restored like a snapshot.

mod replay;

use std::path::Path;

use anyhow::{Context, Result};
use plan::founding::Founding;
use plan::member::{MemberName, PeerUrl};

use crate::exit::Exit;
use crate::observe::data_dir::database_path;
use crate::observe::wal::{self, End};
use crate::paths::Paths;
use crate::snapshot::intake::blocking;
use crate::snapshot::restore::{Image, Restore};
use crate::snapshot::room::{BESIDE, too_small};
use crate::snapshot::stage::{home, prove, staged_from};
use crate::sys::fs::{self, Owner};
use crate::sys::random;

/// Whether the data that lies here now, to the last record of its log, is staged for this founding, whole and durable.
///
/// # Errors
/// When the log cannot be read.
pub fn kept(paths: &Paths, log: &Path, founding: &Founding) -> Result<bool> {
    Ok(staged_from(paths, &founding.id(), &end(log)?))
}

/// Stages the survivor's data for a founding of itself alone; the data dir is only read.
///
/// # Errors
/// 78 for data that cannot be replayed or does not check, and for a disk that is too small; nothing is staged then.
pub async fn keep(
    (paths, log): (&Paths, &Path),
    founding: &Founding,
    (name, peer_url): (&MemberName, &PeerUrl),
    owner: Option<Owner>,
    say: &mut (dyn FnMut(String) + Send),
) -> Result<()> {
    let home = home(paths, &founding.id());
    fs::remove(&home)?;
    fs::create_dir(&paths.staging(), 0o711, None)?;
    fs::create_dir(&home, 0o711, None)?;
    let staged = stage((paths, log), founding, (name, peer_url), owner, &home, say).await;
    if staged.is_err() {
        fs::remove(&home)?;
    }
    staged
}

async fn stage(
    (paths, log): (&Paths, &Path),
    founding: &Founding,
    (name, peer_url): (&MemberName, &PeerUrl),
    owner: Option<Owner>,
    home: &Path,
    say: &mut (dyn FnMut(String) + Send),
) -> Result<()> {
    let end = end(log)?;
    say("copying the survivor's data: the original stays as it is".into());
    // A name of its own: an etcd that outlived a crash of ours may still write under the one of before.
    let copy = home.join(format!("copy-{}", random::hex16()?));
    let (from, log, to) = (paths.data(), log.to_owned(), copy.clone());
    let room = admit(paths, &log)?;
    let last = blocking(move || {
        copy_data(&from, &log, &to, owner)?;
        commit_all(&to.join("data/member/wal"))
    })
    .await?;
    replay::replay(&copy, (name, peer_url), last, room, owner, say).await.map_err(unusable)?;
    let file = database_path(&copy.join("data"));
    replay::check(&file, room, owner).await.map_err(unusable)?;
    let snapshot = Image { file, bytes: room, sha256: None };
    let restore = Restore { founding, name, peer_url, etcdutl: "etcdutl", owner, snapshot, home: home.to_owned() };
    restore.run(say).await?;
    fs::remove(&copy)?;
    prove(&restore, None, Some(end))
}

/// Where the survivor's log ends.
fn end(log: &Path) -> Result<End> {
    wal::end(log).map_err(unusable)
}

fn unusable(error: anyhow::Error) -> anyhow::Error {
    Exit::Refused.because(format!(
        "the survivor's data cannot be kept: {error:#}; nothing was changed: name another survivor in `recover`, or reset \
         all hosts and give them a `restore`"
    ))
}

/// Bytes of the database, if copy and restore fit on the disk.
fn admit(paths: &Paths, log: &Path) -> Result<u64> {
    let size = |path: &Path| std::fs::metadata(path).map(|m| m.len()).unwrap_or_default();
    let database = size(&database_path(&paths.data()));
    let log: u64 = wal::segments(log)?.iter().map(|file| size(file)).sum();
    let room = fs::room(&paths.volume())?;
    let copies = if room.shares { 1 } else { 2 };
    // The replaying etcd rewrites what it touches, and its log begins a further file.
    let needed = database.saturating_mul(copies).saturating_add(log).saturating_add(2 * BESIDE);
    if needed <= room.free { Ok(database) } else { Err(too_small(paths, database, needed, room.free)) }
}

/// What etcd reads of a data dir: its log, its database, its raft snapshots.
fn copy_data(from: &Path, log: &Path, to: &Path, owner: Option<Owner>) -> Result<()> {
    let member = to.join("data/member");
    let (to_log, to_snap) = (member.join("wal"), member.join("snap"));
    for directory in [to, &to.join("data"), &member, &to_log, &to_snap] {
        fs::create_dir(directory, 0o700, owner)?;
    }
    let copy = |file: &Path, to: &Path| fs::copy(file, &to.join(file.file_name().unwrap_or_default()), owner);
    for file in wal::segments(log)? {
        copy(&file, &to_log)?;
    }
    let snap = from.join("member/snap");
    for entry in std::fs::read_dir(&snap).with_context(|| format!("cannot list {}", snap.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", snap.display()))?.path();
        let kind = path.extension().unwrap_or_default();
        if kind == "snap" || path.file_name().is_some_and(|n| n == "db") || path.to_string_lossy().ends_with(".snap.db")
        {
            copy(&path, &to_snap)?;
        }
    }
    Ok(())
}

/// Commits everything in a copied log; its last index.
///
/// An entry that no majority had may be among them: it was never acknowledged, and never said to have failed.
fn commit_all(log: &Path) -> Result<u64> {
    let end = wal::end(log)?;
    let last = end.commit.max(end.entry);
    anyhow::ensure!(end.term > 0, "{} holds no hard state", log.display());
    let record = wal::hard_state(end.sum, end.term, end.vote, last);
    fs::continue_at(&log.join(&end.file), end.offset, &record)?;
    let now = wal::end(log)?;
    anyhow::ensure!(now.commit == last && now.entry == end.entry, "the copied log reads as {now:?} after {end:?}");
    Ok(last)
}
