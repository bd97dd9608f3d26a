//! Carrier: words `etcd_bootstrapper.KEY=VALUE` of the kernel command line, for what holds no secret.

use anyhow::{Context, Result};

use super::detect;
use super::document::bad_input;
use super::fault::Fault;
use super::layers::{Piece, Tier};
use super::scalars::{self, Word};
use super::tree::Node;
use super::yaml::Origin;
use crate::paths::Paths;

const PREFIX: &str = "etcd_bootstrapper.";

/// What detection reads there: who launched the machine.
const FOR_DETECTION: &str = "provider";

/// Our words, if any.
///
/// # Errors
/// [`crate::exit::Exit::BadInput`] for a key that is unknown, given twice, or may hold a secret.
pub fn piece(paths: &Paths) -> Result<Option<Piece>> {
    let path = paths.host("/proc/cmdline");
    let line = match std::fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let tree = tree(&line, &Origin::whole(&path.display().to_string())).map_err(|fault| bad_input(&[fault]))?;
    Ok(tree.map(|tree| Piece { tier: Tier::CommandLine, whole: false, tree }))
}

pub(super) fn tree(line: &str, origin: &Origin) -> Result<Option<Node>, Fault> {
    words(line, origin).and_then(scalars::tree)
}

fn words(line: &str, origin: &Origin) -> Result<Vec<Word>, Fault> {
    let mut found = Vec::new();
    for word in detect::words(line) {
        let (name, value) = word.split_once('=').map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
        // To the kernel a dash in a name is an underscore.
        let name = name.replace('-', "_");
        let Some(key) = name.strip_prefix(PREFIX).filter(|key| *key != FOR_DETECTION) else { continue };
        let before = line.split_once(word.as_str()).map_or("", |(before, _)| before);
        let place = origin.place(1, before.chars().count() + 1);
        let Some(value) = value else {
            let why = format!("has no value: write {PREFIX}{key}=VALUE");
            return Err(Fault::here(&place, why).under(key));
        };
        found.push(Word { key: key.to_owned(), value: value.to_owned(), place });
    }
    Ok(found)
}
