//! The log of a staged data dir goes to the disk that logs have for themselves, before the data dir gets its name.
//!
//! Without a data dir nothing is installed, whatever lies on that disk; so until then its log may be copied again.

use std::path::Path;

use anyhow::Result;
use plan::facts::Wal;
use plan::member::{ClusterId, MemberId};

use crate::exit::Exit;
use crate::observe::{data_dir, wal};
use crate::sys::{fs, random};

/// Copies the log of `staged` into `home` and takes it out of `staged`; done already is fine. A log in the data dir too
/// would be what an etcd starts from that nobody tells of the other one.
///
/// # Errors
/// Any failing system call; 78 for a log in `home` that is not this restore's, or is more than that.
pub(super) fn set_apart(staged: &Path, home: &Path, member: (ClusterId, MemberId)) -> Result<()> {
    let (inside, outside) = (staged.join("member/wal"), home.join("wal"));
    let refused = |what: &str| Err(Exit::Refused.because(format!("{} {what}", outside.display())));
    if !data_dir::is_dir(home)? {
        return refused("is to be made, and the directory that was made for it is gone: attach the log's disk");
    }
    if data_dir::is_dir(&inside)? {
        match (wal::read(&outside)?, wal::read(&inside)?) {
            (Wal::Valid { last_index, .. }, Wal::Valid { last_index: restored, .. }) if last_index > restored => {
                return refused("holds a log that goes on behind the one that was restored: it is not replaced");
            }
            _ if wal::identify(&outside)?.is_some_and(|found| found != member) => {
                return refused("holds another member's log: it is not replaced");
            }
            _ if data_dir::is_dir(&outside)? => {
                fs::rename(&outside, &home.join(format!("cut-short-{}", random::hex16()?)))?;
            }
            _ => {}
        }
        copy(&inside, &outside)?;
        fs::rename(&inside, &staged.with_file_name("wal"))?;
    }
    if wal::identify(&outside)? == Some(member) {
        return Ok(());
    }
    refused("does not hold the log that was restored")
}

/// All of the log, durable.
fn copy(inside: &Path, outside: &Path) -> Result<()> {
    let home = outside.parent().unwrap_or(outside);
    // An older image's etcd may have been another user when this was staged.
    let owner = fs::owner_of(home);
    fs::create_dir(outside, 0o700, owner)?;
    for file in wal::segments(inside)? {
        if let Some(name) = file.file_name() {
            fs::copy(&file, &outside.join(name), owner)?;
        }
    }
    fs::seal_tree(outside, owner)?;
    fs::sync_dir(home)
}
