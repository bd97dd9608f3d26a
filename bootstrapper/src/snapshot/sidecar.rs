//! What is known of an object that is on its way, beside the bytes of it that are here.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::sys::fs;

/// Which version of an object the bytes so far are of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The server's ETag.
    pub etag: Option<String>,
    /// The object's length.
    pub total: Option<u64>,
    /// Who said so: the ETags of two servers are not to be compared.
    #[serde(default)]
    pub place: Option<String>,
}

impl Version {
    /// What of it can be held against the answers of this place.
    pub fn at(&self, place: &str) -> Version {
        let etag = self.etag.clone().filter(|_| self.place.as_deref() == Some(place));
        Version { etag, ..self.clone() }
    }
}

/// What lies beside an object: durable only up to `written`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Sidecar {
    /// So many bytes of it are here for sure.
    pub written: u64,
    /// Of which object.
    pub version: Version,
}

impl Sidecar {
    /// What is known; nothing when it cannot be understood.
    ///
    /// # Errors
    /// Any failing system call, with the path.
    pub fn read(path: &Path) -> Result<Sidecar> {
        Ok(fs::read_text(path, 1 << 16)?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
    }

    /// Writes it down, durably.
    ///
    /// # Errors
    /// Any failing system call, with the path.
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write_atomic(path, &serde_json::to_vec(self)?, 0o600, None)
    }
}
