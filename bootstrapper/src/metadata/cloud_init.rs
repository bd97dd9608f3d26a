//! Carrier: what cloud-init has made of user-data, in an image that has it.
//!
//! It is the merged result of all its sources: what `write_files` writes, the key `etcd_bootstrapper`, and the parts that
//! our handler (`cloud-init/etcd_bootstrapper.py`) has kept. While cloud-init has not come so far there is no configuration.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::document::bad_input;
use super::layers::{Piece, Tier};
use super::nocloud::{Content, Instance, is_hostname};
use super::platform::Machine;
use super::user_data::{self, Found, Part};
use super::yaml::{Origin, Taken};
use super::{cloud_config, files, text, unpack};
use crate::paths::Paths;
use crate::sys::fs;

/// Bytes of a file that cloud-init writes; user-data is in one of them as JSON.
const LIMIT: u64 = 16 << 20;

/// What cloud-init has to say.
pub enum Word {
    /// It is not in this image, does not run in this boot, or has found no datasource.
    None,
    /// It has not come so far; with what is waited for.
    Waiting(String),
    /// All that it found.
    Said(Box<Said>),
}

/// What it found.
pub struct Said {
    /// What of it is for us.
    pub content: Content,
    /// The files that it wrote below `/etc/etcd-bootstrapper`: what is in them is in the content already.
    pub written: Vec<PathBuf>,
}

/// Its `instance-data`, of which the rest, whatever a platform says, need not be in memory.
#[derive(Default, Deserialize)]
pub(super) struct InstanceData {
    #[serde(default)]
    v1: Standardized,
}

#[derive(Default, Deserialize)]
struct Standardized {
    instance_id: Option<String>,
    local_hostname: Option<String>,
}

/// Looks once, without waiting.
///
/// # Errors
/// 65 for what is certainly meant for us and wrong.
pub fn look(paths: &Paths, launched: Option<&Machine>) -> Result<Word> {
    let dir = paths.host("/run/cloud-init");
    // systemd's generator makes it where a datasource was recognised.
    if !dir.join("enabled").exists() {
        return Ok(Word::None);
    }
    let Some(status) = json::<Value>(&dir.join("status.json"))? else {
        return Ok(Word::Waiting("cloud-init has not started".into()));
    };
    if let Some(word) = before_the_end(&status) {
        return Ok(word);
    }
    // By this name it is known who else can read it.
    let source = launched.map_or_else(|| "user-data".to_owned(), |machine| machine.source("user-data"));
    let source = format!("{source}, merged by cloud-init");
    let data: InstanceData = json(&dir.join("instance-data-sensitive.json"))?.unwrap_or_default();
    let merged = fs::read_text(&dir.join("combined-cloud-config.json"), LIMIT)?;
    let kept = parts(&dir.join("etcd-bootstrapper"))?.into_iter().map(|(name, path)| {
        let bytes = crate::sys::regular::read_regular(&path, text::LIMIT as u64, false)?;
        Ok((name, bytes.unwrap_or_default()))
    });
    said(paths, &source, data, merged.as_deref(), kept).map(Box::new).map(Word::Said)
}

/// Why there is nothing to be read, if so.
pub(super) fn before_the_end(status: &Value) -> Option<Word> {
    let stage = &status["v1"]["init"];
    if stage["finished"].is_null() {
        let stage = status["v1"]["stage"].as_str().unwrap_or("before its first");
        return Some(Word::Waiting(format!("cloud-init has not read user-data yet; its stage is {stage}")));
    }
    let none = status["v1"]["datasource"].as_str().is_some_and(|source| source.starts_with("DataSourceNone"));
    none.then_some(Word::None)
}

/// What these files of it say: what it knows of the instance, the merged result, and what our handler has kept, by name.
pub(super) fn said(
    paths: &Paths,
    source: &str,
    data: InstanceData,
    merged: Option<&str>,
    kept: impl Iterator<Item = Result<(String, Vec<u8>)>>,
) -> Result<Said> {
    let (mut content, mut taken) = (Content::default(), Taken::default());
    content.instance = Instance {
        id: data.v1.instance_id.filter(|id| !id.is_empty()),
        hostname: data.v1.local_hostname.filter(|name| is_hostname(name)),
    };
    if let Some(text) = merged {
        let found = cloud_config::read(text, &Origin::whole(source)).map_err(|fault| bad_input(&[fault]))?;
        take(&mut content, &mut taken, found, source)?;
    }
    let written = content.pieces.iter().filter_map(|piece| written(paths, piece)).collect();
    for file in kept {
        let (name, bytes) = file?;
        let source = format!("{source}, {name}");
        let found = if name.ends_with(".yaml") { document(&bytes, &source) } else { user_data::read(&bytes, &source) };
        take(&mut content, &mut taken, found.map_err(|fault| bad_input(&[fault]))?, &source)?;
    }
    if content.pieces.is_empty() && content.notes.is_empty() {
        content.notes.push(format!("{source} has no configuration of ours"));
    }
    Ok(Said { content, written })
}

fn document(bytes: &[u8], source: &str) -> Result<Found, super::fault::Fault> {
    let whole = |why: String| super::fault::Fault::here(&Origin::whole(source).place(1, 1), why);
    let (bytes, _) = unpack::user_data(bytes).map_err(whole)?;
    let mut found = Found::default();
    files::parse(&bytes, source, true)?.map_or(Ok(()), |tree| found.add(Part::whole(tree)))?;
    Ok(found)
}

fn take(content: &mut Content, taken: &mut Taken, found: Found, source: &str) -> Result<()> {
    let all = found.parts.iter().try_for_each(|part| taken.tree(&part.tree));
    all.map_err(|fault| bad_input(&[fault]))?;
    content.notes.extend(found.notes.iter().map(|note| format!("{source} {note}")));
    content.handed.extend(found.handed);
    content.pieces.extend(found.parts.into_iter().map(Part::piece));
    Ok(())
}

/// The file of a piece that `write_files` writes: its name ends the piece's.
fn written(paths: &Paths, piece: &Piece) -> Option<PathBuf> {
    let (_, file) = piece.tree.place.source.rsplit_once(" /etc/etcd-bootstrapper/")?;
    (piece.tier == Tier::UserData).then(|| paths.etc().join(file))
}

/// What our handler has kept, in the order of the parts.
fn parts(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot list {}", dir.display())),
    };
    let mut parts = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", dir.display()))?;
        parts.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    parts.sort();
    Ok(parts)
}

/// `None` for what is not there, or is being written just now.
fn json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    Ok(fs::read_text(path, LIMIT)?.and_then(|text| serde_json::from_str(&text).ok()))
}
