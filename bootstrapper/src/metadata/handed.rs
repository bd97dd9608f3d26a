//! systemd's own form of user-data: a list of credentials (systemd.system-credentials(7), systemd-imds-import).
//!
//! systemd 261 and newer import it themselves. Here it is read on every version: one credential is our document, others are
//! values for `{credential: NAME}`.

use anyhow::Result;
use plan::spec::Secret;

use super::document;
use super::fault::Fault;
use super::tree::{Node, Place, Value};
use super::unpack;
use super::user_data::{Found, Part};
use super::yaml::{self, Dialect, Origin};
use crate::exit::Exit;
use crate::secrets::PREFIX;

/// The first line that marks the form where it is not plain from a brace.
pub const HEADER: &str = "#systemd-userdata";

/// The key of the list.
pub const KEY: &str = "systemd.credentials";

/// Our document among the credentials.
pub const DOCUMENT: &str = "etcd-bootstrapper.config";

/// Bytes of a value; a PEM bundle is far below this.
const LIMIT: usize = 64 << 10;

/// Values of one list that are for us.
const MOST: usize = 16;

/// A value that user-data hands out under a name. No Debug: it is a secret.
pub struct Handed {
    /// Such as `etcd-bootstrapper.ca-key`.
    pub name: String,
    /// The value.
    pub value: Secret,
    /// Where it stands.
    pub place: Place,
}

/// The JSON below [`HEADER`].
///
/// # Errors
/// As [`read`], and what is no JSON.
pub fn after_the_header(text: &str, origin: &Origin) -> Result<Found, Fault> {
    let below = Origin { line: origin.line + 1, ..origin.clone() };
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    match yaml::read(rest, &below, Dialect::CloudInit)? {
        Some(tree) if matches!(tree.value, Value::Map(_)) => {
            let mut found = read(&tree, &below)?;
            if let Some(ours) = super::cloud_config::top_level_key(&tree)? {
                found.add(Part::whole(ours))?;
            }
            Ok(found)
        }
        Some(tree) => {
            Err(Fault::here(&tree.place, format!("expected a JSON object with `{KEY}`, found {}", tree.kind())))
        }
        None => Err(Fault::here(&below.place(1, 1), format!("expected a JSON object with `{KEY}` below {HEADER}"))),
    }
}

/// What of the list is for us; without the list, nothing.
///
/// # Errors
/// What has one of our names and cannot be used, with its place.
pub fn read(tree: &Node, origin: &Origin) -> Result<Found, Fault> {
    let mut found = Found::default();
    match tree.get(KEY).map(|list| (list, &list.value)) {
        None => {}
        Some((_, Value::List(entries))) => {
            for (i, entry) in entries.iter().enumerate() {
                let in_list = |fault: Fault| fault.at(&entry.place).in_item(i).under(KEY);
                one(entry, i, origin, &mut found).map_err(in_list)?;
            }
        }
        Some((list, Value::Text(..) | Value::Map(_))) => {
            found.notes.push(format!("has {KEY} that is {}, not a list", list.kind()));
        }
    }
    Ok(found)
}

fn one(entry: &Node, index: usize, origin: &Origin, found: &mut Found) -> Result<(), Fault> {
    let Some(name) = entry.get("name").and_then(Node::text).filter(|name| name.starts_with(PREFIX)) else {
        return Ok(());
    };
    if !name.bytes().all(|b| b.is_ascii_graphic() && b != b'/') || name.len() > 255 {
        return Err(
            Fault::new("this is not the name of a credential: letters, digits, `-`, `_` and dots").under("name")
        );
    }
    let bytes = value(entry, name)?;
    let source = format!("{} {KEY}[{index}] {name}", origin.source);
    if name == DOCUMENT {
        let tree = document::tree(&bytes, &Origin::whole(&source))?;
        return found.add(Part::whole(document::whole(tree, &source)?));
    }
    let text = String::from_utf8(bytes).map_err(|_| Fault::new(format!("{name} is not a text: write it as UTF-8")))?;
    if text.len() > LIMIT {
        return Err(Fault::new(format!("{name} is larger than {} KiB: is it the right value?", LIMIT >> 10)));
    }
    if found.handed.len() == MOST {
        return Err(Fault::new(format!(
            "more than {MOST} credentials for this program: remove those that it does not use"
        )));
    }
    found.handed.push(Handed { name: name.to_owned(), value: Secret::new(text), place: entry.place.clone() });
    Ok(())
}

fn value(entry: &Node, name: &str) -> Result<Vec<u8>, Fault> {
    let given: Vec<(&str, &Node)> =
        ["text", "data", "encrypted"].into_iter().filter_map(|key| Some((key, entry.get(key)?))).collect();
    let [(key, node)] = given[..] else {
        return Err(Fault::new(format!("{name} must have one of `text`, `data` (base64) and no other of them")));
    };
    let wrong = |why: String| Fault::here(&node.place, why).under(key);
    let Some(text) = node.text().filter(|_| !node.is_nothing()) else {
        return Err(wrong(format!("expected a text, found {}", node.kind())));
    };
    match key {
        "text" => Ok(text.as_bytes().to_vec()),
        "data" => unpack::base64(text.as_bytes()).map_err(wrong),
        _ => Err(wrong(format!(
            "{name} is encrypted, and only systemd of the machine that it was encrypted on can read it: give it as \
             `text`, or as a system credential of the machine (SMBIOS, fw_cfg, the ESP)"
        ))),
    }
}

/// Each name once.
///
/// # Errors
/// [`Exit::Refused`] when two of one name differ, naming both places.
pub fn together(handed: Vec<Handed>) -> Result<Vec<Handed>> {
    let mut once: Vec<Handed> = Vec::new();
    for one in handed {
        match once.iter().find(|other| other.name == one.name) {
            None => once.push(one),
            Some(other) if other.value.reveal() == one.value.reveal() => {}
            Some(other) => {
                return Err(Exit::Refused.because(format!(
                    "{}: {}: differs from {}, and neither counts more: make them the same, or remove one",
                    one.place, one.name, other.place
                )));
            }
        }
    }
    Ok(once)
}
