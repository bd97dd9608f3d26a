//! Carrier: files of this host, `/etc/etcd-bootstrapper` and the image's defaults.

use std::path::Path;

use anyhow::{Context, Result};

use super::cloud_config::is_whole;
use super::document::{self, bad_input};
use super::fault::Fault;
use super::layers::{Piece, Tier};
use super::text;

use super::yaml::Origin;
use crate::exit::Exit;
use crate::paths::Paths;
use crate::sys::regular::read_regular;

/// `config.yaml` or `config.json`, then `config.d` in lexical order.
pub fn etc(paths: &Paths) -> Result<Vec<Piece>> {
    let dir = paths.etc();
    let mut pieces: Vec<Piece> = Vec::new();
    for name in ["config.yaml", "config.json"] {
        let path = dir.join(name);
        if let Some(piece) = piece(&path, Tier::Etc, true)? {
            if let Some(other) = pieces.first() {
                return Err(Exit::BadInput.because(format!("{other} and {} are both there: keep one", path.display())));
            }
            pieces.push(piece);
        }
    }
    if let Ok(true) = dir.join("config.yml").try_exists() {
        return Err(Exit::BadInput.because(format!("{}/config.yml is not read: name it config.yaml", dir.display())));
    }
    pieces.extend(fragments(&dir.join("config.d"), Tier::Etc)?);
    Ok(pieces)
}

/// The image's `config.d`.
pub fn image_defaults(paths: &Paths) -> Result<Vec<Piece>> {
    fragments(&paths.defaults().join("config.d"), Tier::ImageDefaults)
}

fn fragments(dir: &Path, tier: Tier) -> Result<Vec<Piece>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot list {}", dir.display())),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.with_context(|| format!("cannot list {}", dir.display()))?.file_name();
        let name = name.to_string_lossy().into_owned();
        if name.ends_with(".yml") {
            return Err(Exit::BadInput.because(format!("{}/{name} is not read: name it .yaml", dir.display())));
        }
        if is_whole(&format!("config.d/{name}")) == Some(false) {
            names.push(name);
        }
    }
    names.sort();
    let mut pieces = Vec::new();
    for name in names {
        pieces.extend(piece(&dir.join(name), tier, false)?);
    }
    Ok(pieces)
}

fn piece(path: &Path, tier: Tier, whole: bool) -> Result<Option<Piece>> {
    let Some(bytes) = read_regular(path, text::LIMIT as u64, true)? else { return Ok(None) };
    let source = path.display().to_string();
    let tree = parse(&bytes, &source, whole).map_err(|fault| bad_input(&[fault]))?;
    Ok(tree.map(|tree| Piece { tier, whole, tree }))
}

/// A file of ours; only a fragment may be empty, and what is named `.json` is JSON.
pub(super) fn parse(bytes: &[u8], source: &str, whole: bool) -> Result<Option<super::tree::Node>, Fault> {
    let origin = Origin::whole(source);
    if source.ends_with(".json") {
        document::refuse_other_than_json(bytes, &origin)?;
    }
    let tree = document::tree(bytes, &origin)?;
    if tree.is_none() && whole {
        return document::whole(None, source).map(Some);
    }
    Ok(tree)
}
