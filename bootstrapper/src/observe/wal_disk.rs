//! Whether the log of a life that has a disk of its own is the one that the journal names.

use std::path::Path;

use anyhow::Result;
use plan::facts::Wal;
use plan::progress::Life;
use plan::wal_disk::WalDisk;

use super::data_dir::{applied, is_dir};
use super::wal;
use crate::paths::Paths;
use crate::snapshot::stage;
use crate::sys::volume;

/// What is wrong with the place of the log, [`Wal::Missing`] or [`Wal::Broken`]; `None` when nothing is, or the log is in
/// the data dir.
///
/// # Errors
/// When a directory cannot be listed, or what is mounted cannot be told.
pub(super) fn astray(paths: &Paths, life: &Life) -> Result<Option<Wal>> {
    let Some(wal) = &life.wal else { return Ok(None) };
    if let Some(what) = elsewhere(paths, wal)? {
        return Ok(Some(Wal::Missing { what }));
    }
    let (home, data) = (paths.wal_home(wal), paths.data());
    let broken = |what: String| Ok(Some(Wal::Broken { what }));
    if !wal::segments(&paths.wal(None))?.is_empty() {
        return broken(format!("{} has a log, and {} is where it should be", data.display(), home.display()));
    }
    let log = home.join("wal");
    if wal::segments(&log)?.is_empty() {
        return Ok(None);
    }
    // A restore puts the log in its place before the data dir, and goes on from there.
    let restoring = life.committed.as_ref().is_some_and(|founding| stage::staged(paths, &founding.id()));
    if !life.is_bound() || (!is_dir(&data.join("member"))? && !restoring) {
        return broken(format!("{} holds a log that nothing on {} accounts for", home.display(), data.display()));
    }
    behind(&data, &log).map(|what| what.map(|what| Wal::Broken { what }))
}

fn elsewhere(paths: &Paths, wal: &WalDisk) -> Result<Option<String>> {
    let home = paths.wal_home(wal);
    let Some((uuid, now)) = volume::for_log(paths)? else {
        return Ok(Some(format!("the write-ahead log is not there: it is on {wal}, which is to be attached again")));
    };
    if uuid != wal.uuid || !is_dir(&home)? {
        let home = home.display();
        return Ok(Some(format!(
            "the write-ahead log is not there: it is in {home} on {wal}, which is to be attached again instead of {now}"
        )));
    }
    let copy = || format!("the write-ahead log is on {now}, a copy of {wal}, and may be older than its data");
    Ok(wal.is_copied_to(&now).then(copy))
}

/// An entry is in the log before it is in the database (etcd server/etcdserver/raft.go), whenever the power fails: where it
/// is not, the log is an older one, and what it lacks of entries and votes was acknowledged.
fn behind(data: &Path, log: &Path) -> Result<Option<String>> {
    // Before the log: an etcd that runs has more in that a moment later.
    let applied = applied(data)?;
    let Wal::Valid { last_index, .. } = wal::read(log)? else { return Ok(None) };
    Ok((applied > last_index).then(|| {
        format!(
            "the write-ahead log ends at index {last_index} and the database is at {applied}: the log is an older one"
        )
    }))
}
