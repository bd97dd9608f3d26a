//! What a reboot needs when nobody hands the configuration out any more: a detached volume, no network.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use plan::spec::Secret;
use serde::{Deserialize, Serialize};

use super::document;
use super::tree::{Node, join};
use super::yaml::{self, Dialect, Origin};
use super::{Loaded, text};
use crate::paths::Paths;
use crate::sys::fs;

/// Of this file.
const FORMAT: u32 = 1;

/// Room for a document of [`text::LIMIT`] bytes and as much of credentials as JSON, in which every byte may be escaped.
const LIMIT: u64 = 16 * text::LIMIT as u64;

/// Where the CA's key is kept on this host, unless it is sealed.
pub const CA_KEY: &str = "/var/lib/etcd/bootstrapper/pki/ca.key";

#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    format: u32,
    carrier: String,
    instance_id: Option<String>,
    hostname: Option<String>,
    /// Values for `{credential: NAME}`; those of before had none.
    #[serde(default)]
    credentials: BTreeMap<String, String>,
    document: serde_json::Value,
}

/// Keeps what was loaded, replacing what an earlier boot kept; written only when it differs.
///
/// # Errors
/// When it cannot be written; what was kept before is then still there.
pub fn remember(paths: &Paths, loaded: &Loaded) -> Result<()> {
    let kept = Kept {
        format: FORMAT,
        carrier: loaded.carrier.clone(),
        instance_id: loaded.instance_id.clone(),
        hostname: loaded.hostname.clone(),
        credentials: loaded.handed.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect(),
        document: loaded.tree.to_json(),
    };
    let text = written(&kept)?;
    let path = paths.remembered();
    // An unreadable one is replaced like any other.
    let before = fs::read_text(&path, LIMIT).ok().flatten();
    let lean = kept.without_ca_key();
    // What was taken out after it was used is not put back.
    let same = |kept: &Kept| Ok::<_, anyhow::Error>(before.as_deref() == Some(&written(kept)?));
    if same(&kept)? || same(&lean)? {
        return Ok(());
    }
    if let Some(before) = before.and_then(|text| serde_json::from_str::<Kept>(&text).ok()) {
        let is_lean = before.document == before.without_ca_key().document;
        let keys = differing(&before.document, if is_lean { &lean.document } else { &kept.document });
        if !keys.is_empty() {
            tracing::info!("the configuration differs from the one of the last boot in {}", keys.join(", "));
        }
    }
    if let Some(dir) = path.parent() {
        fs::create_dir(dir, 0o700, None)?;
    }
    fs::write_atomic(&path, text.as_bytes(), 0o600, None)
}

/// Takes the CA's key out of what is kept, once `pki/` has it, where renewal needs it.
///
/// # Errors
/// When it cannot be written; what was kept is then still whole.
pub fn forget_ca_key(paths: &Paths) -> Result<()> {
    let path = paths.remembered();
    let Some(text) = fs::read_text(&path, LIMIT)? else { return Ok(()) };
    let Ok(kept) = serde_json::from_str::<Kept>(&text) else { return Ok(()) };
    let lean = written(&kept.without_ca_key())?;
    if lean == text { Ok(()) } else { fs::write_atomic(&path, lean.as_bytes(), 0o600, None) }
}

fn written(kept: &Kept) -> Result<String> {
    serde_json::to_string(kept).context("cannot write the configuration as JSON")
}

impl Kept {
    /// The same with the place of the CA's key instead of the key, or without the credential that brought it.
    fn without_ca_key(&self) -> Kept {
        let mut kept = self.clone();
        let Some(key) = kept.document.pointer_mut("/tls/ca/key") else { return kept };
        if key.is_string() {
            *key = serde_json::json!({"file": CA_KEY});
        } else if let Some(name) = key.get("credential").and_then(serde_json::Value::as_str) {
            kept.credentials.remove(name);
        }
        kept
    }
}

/// The keys in which two documents differ, without values: they may be secrets.
pub(super) fn differing(old: &serde_json::Value, new: &serde_json::Value) -> Vec<String> {
    fn collect(path: &str, old: &serde_json::Value, new: &serde_json::Value, keys: &mut Vec<String>) {
        if let (Some(from), Some(to)) = (old.as_object(), new.as_object()) {
            let names: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
            let none = serde_json::Value::Null;
            for name in names {
                let (from, to) = (from.get(name).unwrap_or(&none), to.get(name).unwrap_or(&none));
                collect(&join(path, name), from, to, keys);
            }
        } else if old != new {
            keys.push(path.to_owned());
        }
    }
    let mut keys = Vec::new();
    collect("", old, new, &mut keys);
    keys
}

/// What the last boot that loaded a configuration kept of it; `None` when there is nothing that can be used.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn remembered(paths: &Paths) -> Result<Option<Loaded>> {
    let path = paths.remembered();
    let Some(text) = fs::read_text(&path, LIMIT)? else { return Ok(None) };
    let loaded = restore(&text, &path.display().to_string());
    if let Err(why) = &loaded {
        tracing::warn!("{} is not used, and will be written anew: {why}", path.display());
    }
    Ok(loaded.ok())
}

/// The value of a credential that user-data brought, as the last boot that loaded a configuration kept it.
///
/// # Errors
/// When what was kept is there and cannot be read.
pub fn handed(paths: &Paths, name: &str) -> Result<Option<Secret>> {
    let Some(text) = fs::read_text(&paths.remembered(), LIMIT)? else { return Ok(None) };
    let kept: Option<Kept> = serde_json::from_str(&text).ok();
    Ok(kept.and_then(|mut kept| kept.credentials.remove(name)).map(Secret::new))
}

fn restore(text: &str, source: &str) -> Result<Loaded, String> {
    let kept: Kept = serde_json::from_str(text).map_err(|_| "it is damaged".to_owned())?;
    if kept.format != FORMAT {
        return Err(format!("its format is {}, and this program knows {FORMAT}", kept.format));
    }
    let tree = reread(&kept.document, source)?;
    let (spec, host) = document::mean(&tree)
        .map_err(|faults| faults.iter().map(|f| format!("{}: {}", f.path, f.message)).collect::<Vec<_>>().join("; "))?;
    let Kept { carrier, instance_id, hostname, credentials, .. } = kept;
    let handed = credentials.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
    Ok(Loaded { spec, host, instance_id, hostname, carrier, handed, tree })
}

fn reread(document: &serde_json::Value, source: &str) -> Result<Node, String> {
    let tree = yaml::read(&document.to_string(), &Origin::whole(source), Dialect::Ours).map_err(|f| f.message)?;
    tree.ok_or_else(|| "it is empty".to_owned())
}
