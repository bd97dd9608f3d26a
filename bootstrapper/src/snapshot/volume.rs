//! A file on an attached volume, for sites that carry their snapshots: mounted only to be read, and only to open the file.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::http::{Setback, Unreached};
use crate::paths::Paths;
use crate::sys::disk::{self, Disk};
use crate::sys::{fs, regular};

/// Which file of which volume.
#[derive(Clone)]
pub(super) struct OnVolume {
    pub paths: Paths,
    /// Label of the file system, whatever the case: FAT and ISO 9660 make capitals of it.
    pub label: String,
    /// Below the root of the volume.
    pub file: PathBuf,
}

impl OnVolume {
    /// The file, and what tells its volume. It can be read for as long as it is open, mounted or not.
    ///
    /// # Errors
    /// A setback in words that follow the name of the place.
    pub fn open(&self) -> Result<(File, String), Setback> {
        let disks = disk::list(self.paths.root())?;
        let volume = match disk::labelled(&disks, &self.label).as_slice() {
            [volume] => *volume,
            [] => return Err(self.absent(&disks)),
            [one, other, ..] => {
                return Err(Setback::unavailable(format!(
                    "two volumes have that label, and neither counts more: {one}, and {other}: detach one of them"
                )));
            }
        };
        let Some(fstype) = volume.probe.kind.fstype() else {
            return Err(Setback::unavailable(format!("{volume} cannot be read: make it FAT, ISO 9660, ext4 or XFS")));
        };
        let file = self.opened(volume, fstype)?.map_err(|error| {
            Setback::unavailable(format!(
                "{volume} has no such file for us: {error}; look at the path, and put the file itself there"
            ))
        })?;
        Ok((file, volume.probe.uuid.clone().unwrap_or_default()))
    }

    fn opened(&self, volume: &Disk, fstype: &str) -> Result<std::io::Result<File>> {
        // Two processes may be at it.
        let dir = self.paths.run().join(format!("volume-{}", std::process::id()));
        fs::create_dir(&dir, 0o700, None)?;
        disk::unmount(&dir)?;
        disk::mount_read_only(&volume.device, &dir, fstype)?;
        let file = regular::open_below(&dir, &self.file);
        disk::unmount(&dir).map(|()| file)
    }

    fn absent(&self, disks: &[Disk]) -> Setback {
        let labels: Vec<&str> = disks.iter().filter_map(|disk| disk.probe.label.as_deref()).collect();
        let there =
            if labels.is_empty() { "no volume has one".into() } else { format!("there are {}", labels.join(", ")) };
        Setback::Final(
            Unreached(format!("no volume labelled {} is attached: {there}; is the medium in?", self.label)).into(),
        )
    }

    /// Another file of the volume.
    pub fn file(&self, file: impl AsRef<Path>) -> OnVolume {
        OnVolume { file: file.as_ref().to_owned(), ..self.clone() }
    }
}
