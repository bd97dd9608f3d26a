//! Carriers: the files of an attached volume, or of cloud-init's seed directory.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use super::document::bad_input;
use super::fault::Fault;
use super::files;
use super::handed::Handed;
use super::layers::{Piece, Tier};
use super::network::Told;
use super::platform;
use super::text;
use super::tree::{Node, Value};
use super::user_data;
use super::yaml::{self, Dialect, Origin};
use crate::exit::Exit;
use crate::sys::regular::{read_below, read_regular};

/// Characters of an instance ID; those of all providers are shorter.
const INSTANCE_ID: usize = 255;

/// A document of ours; any case of the names, since FAT without long names has its own.
const OWN: [&str; 2] = ["etcd-bootstrapper.yaml", "etcd-bootstrapper.json"];

/// What lies where on a volume or in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// cloud-init's NoCloud.
    NoCloud,
    /// OpenStack's configuration drive.
    ConfigDrive,
    /// A volume of ours: nothing but our document.
    Own,
}

/// What a form calls what.
struct Names {
    user_data: &'static str,
    meta_data: &'static str,
    network: Option<&'static str>,
    /// Keys of the meta-data.
    id: &'static str,
    hostname: [&'static str; 2],
    /// What to do without an ID.
    remedy: &'static str,
}

impl Form {
    fn names(self) -> Option<Names> {
        match self {
            Form::NoCloud => Some(Names {
                user_data: "user-data",
                meta_data: "meta-data",
                network: Some("network-config"),
                id: "instance-id",
                hostname: ["local-hostname", "hostname"],
                remedy: "write `instance-id: NAME`, a name that no other machine has",
            }),
            Form::ConfigDrive => Some(Names {
                user_data: "openstack/latest/user_data",
                meta_data: "openstack/latest/meta_data.json",
                network: None,
                id: "uuid",
                hostname: ["hostname", "name"],
                remedy: "attach the drive that the platform made for this machine, which has its `uuid` there",
            }),
            Form::Own => None,
        }
    }

    /// Where else a document may be, for a person whose volume has none.
    fn expected(self) -> &'static str {
        match self {
            Form::NoCloud | Form::ConfigDrive => {
                "expected etcd-bootstrapper.yaml, or user-data that writes /etc/etcd-bootstrapper/config.yaml"
            }
            Form::Own => "expected etcd-bootstrapper.yaml or etcd-bootstrapper.json",
        }
    }
}

/// The files of a volume or a seed directory, read while it was there.
#[derive(Clone)]
pub struct Seed {
    /// For a person: the directory, or the volume.
    pub name: String,
    pub(super) form: Form,
    pub(super) layout: Layout,
    /// Contents by the names that the form has for them.
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
    /// Values for `{credential: NAME}`.
    pub handed: Vec<Handed>,
    /// Who the instance is.
    pub instance: Instance,
    /// What was not read, and why.
    pub notes: Vec<String>,
}

/// Reads the files of a directory; `None` when there is no such directory.
///
/// # Errors
/// When one of them is not a regular file, is there in two spellings, or cannot be read.
pub fn read(dir: &Path, name: &str, form: Form, layout: Layout) -> Result<Option<Seed>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot list {}", dir.display())),
    };
    let further = form.names().map_or(Vec::new(), |names| {
        [Some(names.user_data), Some(names.meta_data), names.network].into_iter().flatten().collect()
    });
    let (below, beside): (Vec<&str>, Vec<&str>) = further.into_iter().partition(|file| file.contains('/'));
    let mut files = BTreeMap::new();
    for file in below {
        let read =
            read_below(dir, Path::new(file), text::LIMIT as u64).with_context(|| format!("cannot use {name}"))?;
        files.extend(read.map(|bytes| (file, bytes)));
    }
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", dir.display()))?.file_name();
        let known = OWN.into_iter().chain(beside.iter().copied());
        let Some(file) = known.into_iter().find(|f| entry.to_string_lossy().eq_ignore_ascii_case(f)) else {
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
    Ok(Some(Seed { name: name.to_owned(), form, layout, files }))
}

impl Seed {
    /// Files of NoCloud that lie in no directory, by their names.
    pub fn of_files(name: &str, files: BTreeMap<&'static str, Vec<u8>>) -> Seed {
        Seed { name: name.to_owned(), form: Form::NoCloud, layout: Layout::Volume, files }
    }

    fn source(&self, file: &str) -> String {
        match self.layout {
            Layout::Directory => format!("{}/{file}", self.name),
            Layout::Volume => format!("{file} on {}", self.name),
        }
    }

    /// What it says of the network; `None` for a form that has no place for that.
    pub fn network(&self) -> Option<Result<Told>> {
        let file = self.form.names()?.network?;
        let source = self.source(file);
        let Some(bytes) = self.files.get(file) else { return Some(Ok(Told { source, text: None })) };
        let text = text::decode(bytes, &Origin::whole(&source), text::LIMIT);
        Some(text.map(|text| Told { source: source.clone(), text: Some(text.to_owned()) }).map_err(|f| bad_input(&[f])))
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
        for file in OWN {
            let Some(bytes) = self.files.get(file) else { continue };
            let source = self.source(file);
            if !content.pieces.is_empty() {
                let place = Origin::whole(&source).place(1, 1);
                return Err(Fault::here(&place, "etcd-bootstrapper.yaml is there too: keep one"));
            }
            let tree = files::parse(bytes, &source, true)?;
            content.pieces.extend(tree.map(|tree| Piece { tier: Tier::Volume, whole: true, tree }));
        }
        let names = self.form.names();
        let mut in_user_data = false;
        let user_data = names.as_ref().map(|names| names.user_data);
        if let Some((file, bytes)) = user_data.and_then(|file| Some((file, self.files.get(file)?))) {
            let source = self.source(file);
            let found = user_data::read(bytes, &source)?;
            in_user_data = found.is_ours();
            content.notes.extend(found.notes.iter().map(|note| format!("{source} {note}")));
            content.pieces.extend(found.parts.into_iter().map(user_data::Part::piece));
            content.handed = found.handed;
        }
        let about_the_machine = |file: &str, names: &Names| file == names.meta_data || names.network == Some(file);
        let holds_something = self.form == Form::Own
            || self.files.keys().any(|f| names.as_ref().is_none_or(|names| !about_the_machine(f, names)));
        if content.pieces.is_empty() && content.notes.is_empty() && holds_something {
            let note = format!("{} has no configuration of ours: {}", self.name, self.form.expected());
            content.notes.push(note);
        }
        if let Some(names) = names {
            content.instance = self.instance(&names, in_user_data, &mut content.notes)?;
        }
        Ok(content)
    }

    /// Who the instance is; user-data without an instance ID would make two machines one.
    fn instance(&self, names: &Names, required: bool, notes: &mut Vec<String>) -> Result<Instance, Fault> {
        let source = self.source(names.meta_data);
        let origin = Origin::whole(&source);
        let missing = |what: &str| {
            if required {
                Err(Fault::here(&origin.place(1, 1), format!("{what}: {}", names.remedy)))
            } else {
                Ok(Instance::default())
            }
        };
        let base = names.meta_data.rsplit('/').next().unwrap_or(names.meta_data);
        let Some(bytes) = self.files.get(names.meta_data) else {
            return missing(&format!("there is no {base} beside user-data"));
        };
        let text = text::decode(bytes, &origin, text::LIMIT)?;
        let Some(tree) = yaml::read(text, &origin, Dialect::CloudInit)?.filter(|t| !t.is_nothing()) else {
            return missing(&format!("{base} is empty"));
        };
        if !matches!(tree.value, Value::Map(_)) {
            return Err(Fault::here(&tree.place, format!("expected lines of `key: value`, found {}", tree.kind())));
        }
        let id = field(&tree, names.id, |id| {
            (id.chars().count() <= INSTANCE_ID).then_some(()).ok_or("is longer than 255 characters: shorten it")
        })?;
        let hostname = self.hostname(names, &tree, notes)?;
        if id.is_none() && required {
            return missing(&format!("{} is missing", names.id)).map(|none| Instance { hostname, ..none });
        }
        Ok(Instance { id, hostname })
    }

    /// The name of the host. What a person wrote is a fault where it is none; a platform calls its machines what its users
    /// call them, and no member must do without its configuration for that.
    fn hostname(&self, names: &Names, tree: &Node, notes: &mut Vec<String>) -> Result<Option<String>, Fault> {
        for key in names.hostname {
            let checked = |name: &str| match self.form {
                Form::ConfigDrive => Ok(()),
                Form::NoCloud | Form::Own => {
                    is_hostname(name).then_some(()).ok_or("is not a host name of a-z, 0-9, - and dots")
                }
            };
            let Some(name) = field(tree, key, checked)? else { continue };
            let taken = platform::bearable(&name);
            if taken != Some(name.trim_end_matches('.')) {
                let instead =
                    taken.map_or_else(|| "it is passed over".into(), |taken| format!("{taken} is taken of it"));
                notes.push(format!(
                    "{} names this host {name:?}, which Linux does not take: {instead}",
                    self.source(names.meta_data)
                ));
            }
            if taken.is_some() {
                return Ok(taken.map(str::to_owned));
            }
        }
        Ok(None)
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

pub(super) fn is_hostname(name: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}
