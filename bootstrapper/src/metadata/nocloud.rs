//! Carrier: NoCloud, a volume labelled `cidata` or cloud-init's seed directory.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use super::document::bad_input;
use super::fault::Fault;
use super::files;
use super::layers::{Piece, Tier};
use super::text;
use super::tree::{Node, Value};
use super::user_data;
use super::yaml::{self, Dialect, Origin};
use crate::exit::Exit;
use crate::sys::regular::read_regular;

/// Characters of an instance ID; those of all providers are shorter.
const INSTANCE_ID: usize = 255;

/// The files that are read; any case of them, since FAT without long names has its own.
const FILES: [&str; 4] = ["etcd-bootstrapper.yaml", "etcd-bootstrapper.json", "user-data", "meta-data"];

/// The files of a volume or a seed directory, read while it was there.
#[derive(Clone)]
pub struct Seed {
    /// For a person: the directory, or the volume.
    pub name: String,
    layout: Layout,
    /// Contents by the names of [`FILES`].
    pub files: BTreeMap<&'static str, Vec<u8>>,
}

/// How a file of a seed is named to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// By its path.
    Directory,
    /// By its name and the volume.
    Volume,
}

/// What an instance is called by whoever made it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    /// `instance-id`.
    pub id: Option<String>,
    /// `local-hostname`, or `hostname`.
    pub hostname: Option<String>,
}

impl Instance {
    /// This one, and from the other what this one does not say.
    pub fn or(self, other: Instance) -> Instance {
        Instance { id: self.id.or(other.id), hostname: self.hostname.or(other.hostname) }
    }
}

/// What a seed holds.
#[derive(Default)]
pub struct Content {
    /// Our configuration, if any.
    pub pieces: Vec<Piece>,
    /// Who the instance is.
    pub instance: Instance,
    /// What was not read, and why.
    pub notes: Vec<String>,
}

/// Reads the files of a directory; `None` when there is no such directory.
///
/// # Errors
/// When one of them is not a regular file, is there in two spellings, or cannot be read.
pub fn read(dir: &Path, name: &str, layout: Layout) -> Result<Option<Seed>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot list {}", dir.display())),
    };
    let mut files = BTreeMap::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", dir.display()))?.file_name();
        let Some(file) = FILES.into_iter().find(|f| entry.to_string_lossy().eq_ignore_ascii_case(f)) else {
            if entry.eq_ignore_ascii_case("etcd-bootstrapper.yml") {
                return Err(Exit::BadInput.because(format!("{name}: etcd-bootstrapper.yml is not read: name it .yaml")));
            }
            continue;
        };
        let read = read_regular(&dir.join(&entry), text::LIMIT as u64, false);
        if let Some(bytes) = read.with_context(|| format!("cannot use {name}"))?
            && files.insert(file, bytes).is_some()
        {
            return Err(Exit::BadInput.because(format!("{name}: {file} is there in two spellings: keep one")));
        }
    }
    Ok(Some(Seed { name: name.to_owned(), layout, files }))
}

impl Seed {
    fn source(&self, file: &str) -> String {
        match self.layout {
            Layout::Directory => format!("{}/{file}", self.name),
            Layout::Volume => format!("{file} on {}", self.name),
        }
    }

    /// What is in it.
    ///
    /// # Errors
    /// [`Exit::BadInput`] for what is meant for us and wrong.
    pub fn content(&self) -> Result<Content> {
        self.interpret().map_err(|fault| bad_input(&[fault]))
    }

    fn interpret(&self) -> Result<Content, Fault> {
        let mut content = Content::default();
        for file in ["etcd-bootstrapper.yaml", "etcd-bootstrapper.json"] {
            let Some(bytes) = self.files.get(file) else { continue };
            let source = self.source(file);
            if !content.pieces.is_empty() {
                let place = Origin::whole(&source).place(1, 1);
                return Err(Fault::here(&place, "etcd-bootstrapper.yaml is there too: keep one"));
            }
            let tree = files::parse(bytes, &source, true)?;
            content.pieces.extend(tree.map(|tree| Piece { tier: Tier::Volume, whole: true, tree }));
        }
        let mut in_user_data = false;
        if let Some(bytes) = self.files.get("user-data") {
            let source = self.source("user-data");
            let found = user_data::read(bytes, &source)?;
            in_user_data = !found.parts.is_empty();
            content.notes.extend(found.notes.iter().map(|note| format!("{source} {note}")));
            content.pieces.extend(found.parts.into_iter().map(|p| Piece {
                tier: Tier::UserData,
                whole: p.whole,
                tree: p.tree,
            }));
        }
        if content.pieces.is_empty() && content.notes.is_empty() && self.files.keys().any(|f| *f != "meta-data") {
            content.notes.push(format!(
                "{} has no configuration of ours: expected etcd-bootstrapper.yaml, or user-data that writes \
                 /etc/etcd-bootstrapper/config.yaml",
                self.name
            ));
        }
        content.instance = self.instance(in_user_data)?;
        Ok(content)
    }

    /// Who the instance is; user-data without an instance ID would make two machines one.
    fn instance(&self, required: bool) -> Result<Instance, Fault> {
        let source = self.source("meta-data");
        let origin = Origin::whole(&source);
        let missing = |what: &str| {
            let remedy = "write `instance-id: NAME`, a name that no other machine has";
            if required {
                Err(Fault::here(&origin.place(1, 1), format!("{what}: {remedy}")))
            } else {
                Ok(Instance::default())
            }
        };
        let Some(bytes) = self.files.get("meta-data") else { return missing("there is no meta-data beside user-data") };
        let text = text::decode(bytes, &origin, text::LIMIT)?;
        let Some(tree) = yaml::read(text, &origin, Dialect::CloudInit)?.filter(|t| !t.is_nothing()) else {
            return missing("meta-data is empty");
        };
        if !matches!(tree.value, Value::Map(_)) {
            return Err(Fault::here(&tree.place, format!("expected lines of `key: value`, found {}", tree.kind())));
        }
        let id = field(&tree, "instance-id", |id| {
            (id.chars().count() <= INSTANCE_ID).then_some(()).ok_or("is longer than 255 characters: shorten it")
        })?;
        let hostname = |key| {
            field(&tree, key, |name| {
                is_hostname(name).then_some(()).ok_or("is not a host name of a-z, 0-9, - and dots")
            })
        };
        let hostname = hostname("local-hostname")?.or(hostname("hostname")?);
        if id.is_none() && required {
            return missing("instance-id is missing").map(|none| Instance { hostname, ..none });
        }
        Ok(Instance { id, hostname })
    }
}

fn field(tree: &Node, key: &str, check: impl Fn(&str) -> Result<(), &'static str>) -> Result<Option<String>, Fault> {
    let Some(node) = tree.get(key).filter(|node| !node.is_nothing()) else { return Ok(None) };
    let wrong = |why: &str| Fault::here(&node.place, why.to_owned()).under(key);
    let text = node.text().ok_or_else(|| wrong("expected a text"))?.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if text.chars().any(char::is_control) {
        return Err(wrong("has a control character: remove it"));
    }
    check(text).map_err(wrong)?;
    Ok(Some(text.to_owned()))
}

fn is_hostname(name: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}
