//! One configuration out of many carriers: what is higher wins, what is as high must agree on what makes the cluster.

use std::fmt;

use anyhow::Result;

use super::tree::{Node, Value};
use crate::exit::Exit;

/// How much a carrier's word counts, low to high.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// What the image was built with.
    ImageDefaults,
    /// Tags that the platform hangs on the instance: one scalar each.
    Tags,
    /// What was handed to the instance.
    UserData,
    /// The platform's place for this program alone, such as GCE's attribute `etcd-bootstrapper`.
    ProviderKey,
    /// A file of ours on an attached volume.
    Volume,
    /// `/etc/etcd-bootstrapper`.
    Etc,
    /// A systemd credential of the unit.
    Credential,
    /// The kernel command line: one scalar a word.
    CommandLine,
}

/// What one file, or one part of user-data, says.
pub struct Piece {
    /// How much it counts.
    pub tier: Tier,
    /// Whether it is a document; without one, what is missing may still come.
    pub whole: bool,
    /// Its values; they know their source.
    pub tree: Node,
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.tree.place.source)
    }
}

/// Keys that make the cluster what it is: carriers of one tier must not differ in them.
const IDENTITY: [&str; 6] = ["cluster.name", "cluster.epoch", "mode", "restore.url", "restore.sha256", "tls.ca.cert"];

/// Mappings of which one key is chosen: laid over one another they would choose two.
const CHOICES: [&str; 9] = [
    "data.device",
    "data.wal_device",
    "logs.ca",
    "logs.cert",
    "logs.key",
    "member.address",
    "restore.age_identity",
    "tls.ca.cert",
    "tls.ca.key",
];

/// Lays pieces over one another, mappings key by key, lists and all else whole; the notes name what was overridden.
///
/// # Errors
/// [`Exit::Refused`] when pieces of one tier differ in what makes the cluster, naming both places.
pub fn lay(mut pieces: Vec<Piece>) -> Result<Option<(Node, Vec<String>)>> {
    pieces.sort_by_key(|piece| piece.tier);
    let notes = compare(&pieces)?;
    let mut pieces = pieces.into_iter().map(|piece| piece.tree);
    let Some(mut tree) = pieces.next() else { return Ok(None) };
    for over in pieces {
        lay_over(&mut tree, over, "");
    }
    Ok(Some((tree, notes)))
}

fn compare(pieces: &[Piece]) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for path in IDENTITY {
        let mut given = pieces.iter().filter_map(|p| Some((p.tier, p.tree.at(path)?)));
        let Some(mut low) = given.next() else { continue };
        for high in given {
            if low.1.to_json() != high.1.to_json() {
                let (a, b) = (&low.1.place, &high.1.place);
                if low.0 == high.0 {
                    return Err(Exit::Refused.because(format!(
                        "{b}: {path}: differs from {a}, and neither counts more: make them the same, or remove one"
                    )));
                }
                notes.push(format!("{path} of {a} is overridden by {b}"));
            }
            low = high;
        }
    }
    Ok(notes)
}

fn lay_over(under: &mut Node, over: Node, path: &str) {
    let choice = CHOICES.contains(&path);
    match (&mut under.value, over) {
        (Value::Map(entries), Node { value: Value::Map(new), place }) if !choice => {
            under.place = place;
            for (key, value) in new {
                let path = super::tree::join(path, &key.name);
                match entries.iter_mut().find(|(k, _)| k.name == key.name) {
                    Some((_, old)) => lay_over(old, value, &path),
                    None => entries.push((key, value)),
                }
            }
        }
        (Value::Map(_) | Value::Text(..) | Value::List(_), over) => *under = over,
    }
}
