//! What lies in etcd's data dir, read and never written.
//!
//! A file that cannot be read is an error, not a class: not knowing is not absence (L2).

use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use plan::facts::{Database, Disk, Wal};
use plan::member::{Member, Version};

use super::bolt::Bolt;
use super::peers::PeerMember;
use super::unsound::{Unsound, finding};
use super::{crc32c, protobuf, wal};

/// bolt makes a new database as four pages and syncs them before it writes anything behind them.
const NEWBORN: u64 = 4 * 4096;

/// A list longer than this is no member list.
const MAX_MEMBERS: usize = 1000;

/// A `.snap` holds a list of members; one that is larger than this is none.
const MAX_SNAP: u64 = 64 * 1024 * 1024;

/// Reads the whole data dir: every record of its log, wherever that is, the database's meta pages, the newest `.snap`.
///
/// Takes as long as reading the log takes; [`wal::identify`] is for a disk whose owner is known. While an etcd runs on it
/// (`locked`) everything else is a moving target.
///
/// # Errors
/// When something is there and cannot be read.
pub fn look(data_dir: &Path, log: &Path) -> Result<Disk> {
    let member = data_dir.join("member");
    if !is_dir(&member)? {
        let (wal, database) = (Wal::Absent, Database::Absent);
        return Ok(Disk { member: false, wal, snap_index: None, database, locked: false });
    }
    let locked = locked(data_dir, log)?;
    let wal = wal::read(log)?;
    let database = database(&member.join("snap/db"), wal == Wal::Absent)?;
    let snap_index = newest_snap(&member.join("snap"))?;
    Ok(Disk { member: true, wal, snap_index, database, locked })
}

/// Whether an etcd runs on the data dir: it holds bolt's flock on the database and its own lock on the last log file.
///
/// # Errors
/// When a file cannot be opened or asked for its lock.
pub fn locked(data_dir: &Path, log: &Path) -> Result<bool> {
    let db = database_path(data_dir);
    if let Some(file) = open(&db)? {
        // A shared lock, as another reader's is none of our business; dropped at once with the file.
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(true),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot ask for the lock of {}", db.display()));
            }
        }
    }
    let Some(last) = wal::segments(log)?.pop() else { return Ok(false) };
    let Some(file) = open(&last)? else { return Ok(false) };
    // etcd locks the log by open file description (client/pkg/fileutil/lock_linux.go), which flock does not see.
    let mut lock = libc::flock {
        l_type: libc::F_RDLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock))
        .with_context(|| format!("cannot ask for the lock of {}", last.display()))?;
    Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
}

/// The version that the data demands of an etcd, as the database says: its storage version, else its cluster version.
///
/// # Errors
/// When the database cannot be read; one that is not there or is damaged says nothing.
pub fn written_by(data_dir: &Path) -> Result<Option<Version>> {
    let path = database_path(data_dir);
    let Some(file) = open(&path)? else { return Ok(None) };
    let version = Bolt::open(file).and_then(|bolt| version_of(&bolt));
    let version = finding(version).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(version.unwrap_or_default())
}

/// Storage version (3.6 and later), else cluster version, that a database holds.
///
/// # Errors
/// `Damaged` when the way there is.
pub fn version_of(bolt: &Bolt) -> Result<Option<Version>, Unsound> {
    for (bucket, key) in [("meta", "storageVersion"), ("cluster", "clusterVersion")] {
        if let Some(value) = bolt.get(bucket, key)? {
            return Ok(String::from_utf8_lossy(&value).parse().ok());
        }
    }
    Ok(None)
}

/// Raft index up to which a database is applied; 0 for one that never was.
///
/// # Errors
/// `Damaged` when the way there is.
pub fn consistent_index(bolt: &Bolt) -> Result<u64, Unsound> {
    let value = bolt.get("meta", "consistent_index")?;
    Ok(value.and_then(|v| v.try_into().ok()).map_or(0, u64::from_be_bytes))
}

/// [`consistent_index`] of a data dir's database; 0 where there is none, or it is damaged.
///
/// # Errors
/// When it cannot be read.
pub fn applied(data_dir: &Path) -> Result<u64> {
    let path = database_path(data_dir);
    let Some(file) = open(&path)? else { return Ok(0) };
    let index = Bolt::open(file).and_then(|bolt| consistent_index(&bolt));
    Ok(finding(index).with_context(|| format!("cannot read {}", path.display()))?.unwrap_or_default())
}

/// The members that the database of a data dir lists, as old as what is applied to it; it may be open in an etcd.
///
/// Source: etcd server/etcdserver/api/membership/store.go: bucket `members`, and `members_removed` for those whose entry
/// a version before 3.5.26 may have left behind (etcd issue 20995).
///
/// # Errors
/// When it cannot be read or is damaged; while an etcd writes it, another attempt may succeed.
pub fn own_list(data_dir: &Path) -> Result<Vec<Member>> {
    let path = database_path(data_dir);
    let list = || -> Result<Vec<Member>> {
        let bolt = Bolt::open(File::open(&path)?)?;
        let mut members = Vec::new();
        for (key, value) in bolt.entries("members", MAX_MEMBERS)? {
            if bolt.get("members_removed", &String::from_utf8_lossy(&key))?.is_none() {
                members.push(serde_json::from_slice::<PeerMember>(&value)?.into());
            }
        }
        Ok(members)
    };
    list().with_context(|| format!("cannot read the member list in {}", path.display()))
}

/// etcd's database below a data dir.
pub fn database_path(data_dir: &Path) -> PathBuf {
    data_dir.join("member/snap/db")
}

fn database(path: &Path, without_wal: bool) -> Result<Database> {
    let Some(file) = open(path)? else { return Ok(Database::Absent) };
    // What a failed first start leaves is 16 MiB long, as bolt grows in such steps: it is told by what it holds.
    let looked = file.try_clone().map_err(Unsound::from).and_then(|f| Ok(!holds_anything(&Bolt::open(f)?)?));
    Ok(match finding(looked).with_context(|| format!("cannot read {}", path.display()))? {
        Ok(true) => Database::Tiny,
        Ok(false) => Database::Sound,
        // A first start that lost its power.
        Err(_) if without_wal && newborn(file).with_context(|| format!("cannot read {}", path.display()))? => {
            Database::Tiny
        }
        Err(what) => Database::Broken { what: format!("{} {what}", path.display()) },
    })
}

/// Whether nothing was ever written behind the first pages.
fn newborn(mut file: File) -> io::Result<bool> {
    file.seek(SeekFrom::Start(NEWBORN))?;
    let mut input = BufReader::with_capacity(64 * 1024, file);
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() || buffer.iter().any(|b| *b != 0) {
            return Ok(buffer.is_empty());
        }
        let read = buffer.len();
        input.consume(read);
    }
}

fn holds_anything(bolt: &Bolt) -> Result<bool, Unsound> {
    Ok(bolt.last_key("key")?.is_some() || consistent_index(bolt)? > 0)
}

/// The index of the newest `.snap` that checks; the names are `<term>-<index>.snap`, each of 16 hexadecimal digits.
fn newest_snap(directory: &Path) -> Result<Option<u64>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot list {}", directory.display())),
    };
    let mut snaps = Vec::new();
    for entry in entries {
        let name = entry.with_context(|| format!("cannot list {}", directory.display()))?.file_name();
        let index = name.to_str().and_then(|n| n.strip_suffix(".snap")?.split_once('-'));
        if let Some(index) = index.and_then(|(_, index)| u64::from_str_radix(index, 16).ok()) {
            snaps.push((index, directory.join(name)));
        }
    }
    snaps.sort();
    for (index, path) in snaps.into_iter().rev() {
        if snap_checks(&path).with_context(|| format!("cannot read {}", path.display()))? {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// snappb.Snapshot: its own checksum in field 1, over the data in field 2.
fn snap_checks(path: &Path) -> io::Result<bool> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_SNAP).read_to_end(&mut bytes)?;
    Ok(protobuf::Fields(&bytes).any(|field| match field {
        (2, protobuf::Value::Bytes { bytes: data, length }) => {
            length == data.len() as u64
                && length > 0
                && protobuf::number(&bytes, 1) == Some(u64::from(crc32c::update(0, data)))
        }
        (_, protobuf::Value::Bytes { .. } | protobuf::Value::Number(_)) => false,
    }))
}

/// Whether this is a directory.
///
/// # Errors
/// When that cannot be told: not knowing is not absence.
pub(crate) fn is_dir(path: &Path) -> Result<bool> {
    match fs::metadata(path) {
        Ok(meta) => Ok(meta.is_dir()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot look at {}", path.display())),
    }
}

fn open(path: &Path) -> Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}
