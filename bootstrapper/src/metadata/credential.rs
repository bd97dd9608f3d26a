//! Carrier: the systemd credential `etcd-bootstrapper.config`, from the firmware, the ESP or a credstore.

use std::path::PathBuf;

use anyhow::Result;

use super::document::bad_input;
use super::files;
use super::handed::DOCUMENT;
use super::layers::{Piece, Tier};
use super::text;
use crate::paths::Paths;
use crate::sys::env;
use crate::sys::regular::read_regular;

/// Where systemd puts what the unit imports; it stays there while the unit is active, so that a person's commands see it.
const UNIT: &str = "/run/credentials/etcd-bootstrapper.service";

/// The document in the credential, if there is one.
///
/// # Errors
/// 65 for one that is wrong, 77 for a person who may not read it.
pub fn piece(paths: &Paths) -> Result<Option<Piece>> {
    let directory = env::var("CREDENTIALS_DIRECTORY").map_or_else(|| paths.host(UNIT), PathBuf::from);
    let Some(bytes) = read_regular(&directory.join(DOCUMENT), text::LIMIT as u64, false)? else { return Ok(None) };
    let tree =
        files::parse(&bytes, &format!("the credential {DOCUMENT}"), true).map_err(|fault| bad_input(&[fault]))?;
    Ok(tree.map(|tree| Piece { tier: Tier::Credential, whole: true, tree }))
}
