//! Where a snapshot lies on its way in, and once it is whole.

use std::path::PathBuf;

use anyhow::Result;
use plan::spec::Sha256;

use super::decode::Opening;
use super::intake::{self, Intake};
use super::verify::Summary;
use crate::sys::fs::{self, Owner};

/// Where the bytes go.
#[derive(Clone, Debug)]
pub struct Shelf {
    /// A directory of ours.
    pub directory: PathBuf,
    /// What the object must hash to; it also names the files.
    pub sha256: Sha256,
    /// Who reads the snapshot later.
    pub owner: Option<Owner>,
}

impl Shelf {
    /// The whole snapshot's path, unwrapped.
    pub fn path(&self) -> PathBuf {
        self.file("db")
    }
    /// The object's, as it lies at the source; stays beside a snapshot that was wrapped.
    pub fn object(&self) -> PathBuf {
        self.file("object")
    }
    /// What is known of the object.
    pub(super) fn sidecar(&self) -> PathBuf {
        self.file("json")
    }
    /// What comes out of the object, until it is whole.
    pub(super) fn inside(&self) -> PathBuf {
        self.file("new")
    }
    /// Who signed the object, where that was asked for.
    pub fn signature(&self) -> PathBuf {
        self.file("minisig")
    }
    /// What the object is of, where its source says so.
    pub fn manifest(&self) -> PathBuf {
        self.file("manifest")
    }
    fn file(&self, extension: &str) -> PathBuf {
        self.directory.join(format!("{}.{extension}", self.sha256.as_str()))
    }

    /// How many bytes there are so far.
    pub fn received(&self) -> u64 {
        std::fs::metadata(self.object()).map_or(0, |meta| meta.len())
    }

    /// Checks once more what has its name already; of one that was wrapped, the object, which is unwrapped again.
    ///
    /// # Errors
    /// When the disk has changed it since; any failing system call.
    pub fn check(self, opening: Opening) -> Result<Summary> {
        if self.object().exists() {
            let sha256 = self.sha256.clone();
            return Intake::resume(self, opening)?.finish(Some(&sha256));
        }
        intake::check(&self.path(), Some(&self.sha256), opening)
    }

    /// Removes whatever there is of the snapshot.
    ///
    /// # Errors
    /// Any failing system call, with the path.
    pub fn clear(&self) -> Result<()> {
        // The database first: beside one without its object nothing says what it must hash to.
        for file in [self.path(), self.inside(), self.sidecar(), self.object(), self.signature(), self.manifest()] {
            fs::remove(&file)?;
        }
        Ok(())
    }
}
