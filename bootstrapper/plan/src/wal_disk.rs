//! Where a life's write-ahead log is when it has a disk of its own.
//!
//! Each life has a directory of its own there, so that nothing on two disks ever has to change at once: whoever renames
//! the data dir away ends the life, and the next life's log is in another directory.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::place::VolumeId;

/// The directory of one life's log, on which disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalDisk {
    /// Its name at the root of the disk's file system; that of no other life.
    pub directory: String,
    /// UUID of the file system; `None` for a directory that is used as it is, below another root.
    #[serde(default)]
    pub uuid: Option<String>,
    /// What the disk says of itself.
    #[serde(default)]
    pub volume: VolumeId,
}

impl WalDisk {
    /// The same disk with the directory of another life.
    #[must_use]
    pub fn with(&self, directory: impl Into<String>) -> WalDisk {
        WalDisk { directory: directory.into(), ..self.clone() }
    }

    /// Whether this is a copy of the disk that was recorded: a log that is older than its database would make etcd give
    /// new entries the places of those that it has acknowledged, and vote a second time.
    ///
    /// Only serial numbers tell: another driver or kernel gives the same disk another World Wide ID.
    pub fn is_copied_to(&self, now: &VolumeId) -> bool {
        matches!((&self.volume.serial, &now.serial), (Some(then), Some(now)) if then != now)
    }
}

impl fmt::Display for WalDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.uuid {
            Some(uuid) => write!(f, "{} (XFS with UUID {uuid})", self.volume),
            None => write!(f, "{}", self.volume),
        }
    }
}
