//! The disk that the write-ahead log may have for itself: each life of the data disk has a directory of its own there.

use anyhow::Result;
use plan::progress::{Life, Record};
use plan::wal_disk::WalDisk;

use super::journal::Journal;
use crate::exit::Exit;
use crate::observe::data_dir;
use crate::paths::Paths;
use crate::sys::{fs, net, volume};

/// Gives a life in which nothing was committed or handed off the disk that is mounted for logs now, or the data dir where
/// there is none; the directory is durable before the journal names it.
pub(super) fn bind(journal: &Journal, paths: &Paths, life: Life) -> Result<Life> {
    let Some(nonce) = life.nonce.as_ref().filter(|_| !life.is_bound() && life.removed.is_none()) else {
        return Ok(life);
    };
    let wal = volume::for_log(paths)?.map(|(uuid, volume)| WalDisk { directory: nonce.to_string(), uuid, volume });
    if let Some(wal) = &wal {
        make(paths, wal)?;
    }
    if life.wal == wal {
        return Ok(life);
    }
    journal.append(&Record::WalDisk { wal })?;
    journal.read()
}

/// Puts the log of a life that has ended beside those of before, under the name that its data dir has in `trash/`; where
/// its disk is not there any more, there is nothing to do.
pub(super) fn put_away(paths: &Paths, wal: Option<&WalDisk>, to: &str) -> Result<()> {
    let Some(from) = wal.map(|wal| paths.wal_home(wal)) else { return Ok(()) };
    if !data_dir::is_dir(&from)? {
        return Ok(());
    }
    fs::create_dir(&paths.wal_trash(), 0o700, None)?;
    fs::rename(&from, &paths.wal_trash().join(to))
}

/// Puts the log alone away; the life and its directory go on.
pub(super) fn put_log_away(paths: &Paths, wal: &WalDisk, to: &str) -> Result<()> {
    let kept = paths.wal_trash().join(to);
    fs::create_dir(&paths.wal_trash(), 0o700, None)?;
    fs::create_dir(&kept, 0o700, None)?;
    fs::rename(&paths.wal(Some(wal)), &kept.join("wal"))
}

/// Makes the directory of the life that a recovery begins, on the disk that has the survivor's log.
///
/// # Errors
/// 78 when that disk is not there: the new log must not begin in another place.
pub(super) fn succeed(paths: &Paths, before: Option<&WalDisk>, founding: &str, to: &str) -> Result<Option<WalDisk>> {
    let Some(before) = before else { return Ok(None) };
    if !data_dir::is_dir(&paths.wal_home(before))? && !data_dir::is_dir(&paths.wal_trash().join(to))? {
        return Err(Exit::Refused.because(format!(
            "the recovery goes on with the log's own disk, {before}, and it is not there: attach it"
        )));
    }
    let next = before.with(founding);
    make(paths, &next)?;
    Ok(Some(next))
}

/// Durable, even where a crash came between the making and its fsync.
fn make(paths: &Paths, wal: &WalDisk) -> Result<()> {
    fs::create_dir(&paths.wal_home(wal), 0o700, net::user("etcd"))?;
    fs::sync_dir(&paths.wal_volume())
}
