//! What of user-data is ours. Nothing in it is ever executed, included or rendered.

use std::cell::Cell;

use super::document;
use super::fault::Fault;
use super::handed::{self, Handed};
use super::layers::{Piece, Tier};
use super::text;
use super::tree::{Node, Place, Value};
use super::unpack;
use super::yaml::{self, Dialect, Origin};
use super::{cloud_config, mime};

/// Types of a MIME part that is a document of ours.
pub const OUR_TYPES: [&str; 2] = ["text/x-etcd-bootstrapper", "application/vnd.etcd-bootstrapper"];

/// MIME messages that are packed as a part of another.
const DEPTH: usize = 4;

/// Parts of all messages inside one another, and bytes of them: what is packed in what is packed has no other end.
const ALL_PARTS: usize = 200;
const ALL_BYTES: usize = 16 << 20;

/// What of these was taken so far, and how deep this is.
#[derive(Clone, Copy)]
struct Taken<'a> {
    depth: usize,
    parts: &'a Cell<usize>,
    bytes: &'a Cell<usize>,
}

impl Taken<'_> {
    fn one_more(self, bytes: usize, place: &Place) -> Result<(), Fault> {
        self.parts.set(self.parts.get() + 1);
        self.bytes.set(self.bytes.get() + bytes);
        if self.parts.get() > ALL_PARTS || self.bytes.get() > ALL_BYTES {
            let why = format!(
                "the messages in it have more than {ALL_PARTS} parts or {} MiB together: is it the right file?",
                ALL_BYTES >> 20
            );
            return Err(Fault::here(place, why));
        }
        Ok(())
    }
}

/// What user-data holds for us.
#[derive(Default)]
pub struct Found {
    /// Documents and fragments, low to high.
    pub parts: Vec<Part>,
    /// Values for `{credential: NAME}`.
    pub handed: Vec<Handed>,
    /// Why something was not read, for a person who wonders; each continues a sentence that begins with the source.
    pub notes: Vec<String>,
    /// Of all parts together: little that is packed may be much.
    taken: yaml::Taken,
}

/// A document, or a fragment of one.
pub struct Part {
    /// Its values.
    pub tree: Node,
    /// Whether it is a document; a fragment under `config.d/` makes no configuration by itself.
    pub whole: bool,
    /// File name below the configuration directory; orders the fragments.
    pub name: String,
}

impl Part {
    /// A document that is no file.
    pub fn whole(tree: Node) -> Part {
        Part { tree, whole: true, name: "config.yaml".into() }
    }

    /// The part as user-data carries it.
    pub fn piece(self) -> Piece {
        Piece { tier: Tier::UserData, whole: self.whole, tree: self.tree }
    }
}

impl Found {
    /// Takes one more part.
    ///
    /// # Errors
    /// When all of them are more than one text may have.
    pub fn add(&mut self, part: Part) -> Result<(), Fault> {
        self.taken.tree(&part.tree)?;
        self.parts.push(part);
        Ok(())
    }

    /// Takes all of another.
    ///
    /// # Errors
    /// As [`Found::add`].
    pub fn absorb(&mut self, other: Found) -> Result<(), Fault> {
        self.handed.extend(other.handed);
        self.notes.extend(other.notes);
        other.parts.into_iter().try_for_each(|part| self.add(part))
    }

    fn note(why: impl Into<String>) -> Found {
        Found { notes: vec![why.into()], ..Found::default() }
    }

    /// Whether anything in it is for this program.
    pub fn is_ours(&self) -> bool {
        !self.parts.is_empty() || !self.handed.is_empty()
    }
}

/// Finds our configuration in user-data, however it is packed.
///
/// # Errors
/// What is certainly meant for us and wrong, with its place.
pub fn read(bytes: &[u8], source: &str) -> Result<Found, Fault> {
    let origin = Origin::whole(source);
    if bytes.len() > text::LIMIT {
        let limit = text::LIMIT / 1024;
        return Err(Fault::here(
            &origin.place(1, 1),
            format!("user-data is larger than {limit} KiB: is it the right file?"),
        ));
    }
    let (parts, bytes_of_parts) = (Cell::new(0), Cell::new(0));
    let mut found = packed(bytes, origin, Taken { depth: 0, parts: &parts, bytes: &bytes_of_parts })?;
    // Documents as they come; what is under config.d lies over them in the order of the names, as files do.
    found.parts.sort_by(|a, b| (!a.whole, fragment(a)).cmp(&(!b.whole, fragment(b))));
    Ok(found)
}

fn fragment(part: &Part) -> &str {
    if part.whole { "" } else { &part.name }
}

/// Takes off what the bytes are packed in, and reads them by what they begin with.
fn packed(bytes: &[u8], origin: Origin, taken: Taken<'_>) -> Result<Found, Fault> {
    let (bytes, unpacked) = unpack::user_data(bytes).map_err(|why| Fault::here(&origin.place(1, 1), why))?;
    let origin = if unpacked { Origin::whole(&format!("{} (unpacked)", origin.source)) } else { origin };
    match mime::is(&bytes) {
        mime::Is::Message if taken.depth < DEPTH => return message(&bytes, &origin, taken),
        mime::Is::Message => return Ok(Found::note("has too many messages inside one another")),
        mime::Is::TooLate => {
            let why = "is not read: its MIME-Version is not in the first 4 KiB, where cloud-init looks for it: \
                       put it on the first line";
            return Ok(Found::note(why));
        }
        mime::Is::Other => {}
    }
    let text = match text::decode(&bytes, &origin, unpack::UNPACKED) {
        // A part of a message may be for anybody, and need be no text.
        Err(_) if taken.depth > 0 && !may_be_ours(&bytes) => {
            return Ok(Found::note("is not read: it is no text, and does not begin like anything for this program"));
        }
        decoded => decoded?,
    };
    let first = text.lines().next().unwrap_or_default().trim_end();
    match kind(text, first) {
        Kind::Empty => Ok(Found::default()),
        Kind::Ours => document_in(&bytes, &origin),
        Kind::CloudConfig => cloud_config::read(text, &origin),
        Kind::Json => json(text, &bytes, &origin),
        Kind::ForSystemd => handed::after_the_header(text, &origin),
        Kind::NotRead(why) => Ok(Found::note(format!("is not read: {why}"))),
        Kind::Unknown => unknown(text, first, &origin),
    }
}

/// Whether bytes that are no text begin like one of ours that was damaged or saved as UTF-16.
fn may_be_ours(bytes: &[u8]) -> bool {
    let begins: Vec<u8> = bytes.iter().take(128).copied().filter(|b| *b != 0).collect();
    let has = |word: &[u8]| begins.windows(word.len()).any(|w| w.eq_ignore_ascii_case(word));
    [&b"etcd-bootstrapper"[..], b"etcd_bootstrapper", b"#cloud-config", b"version:", b"systemd"].into_iter().any(has)
}

enum Kind {
    Empty,
    Ours,
    CloudConfig,
    Json,
    ForSystemd,
    NotRead(&'static str),
    Unknown,
}

const SCRIPT: &str = "it is a script, and nothing in user-data is executed";
const TEMPLATE: &str = "it is a template, and templates are not rendered: write the values";
const INCLUDE: &str = "includes are not fetched: write the configuration itself";
const ARCHIVE: &str = "archives and patches of cloud-config are not read: use #cloud-config";

fn kind(text: &str, first: &str) -> Kind {
    let begins = |prefix: &str| first.get(..prefix.len()).is_some_and(|f| f.eq_ignore_ascii_case(prefix));
    if text.trim().is_empty() {
        Kind::Empty
    } else if first == "#etcd-bootstrapper" || first.starts_with("#etcd-bootstrapper ") {
        Kind::Ours
    } else if first == handed::HEADER {
        Kind::ForSystemd
    } else if begins("## template:") {
        Kind::NotRead(TEMPLATE)
    } else if begins("#cloud-config-archive") || begins("#cloud-config-jsonp") {
        Kind::NotRead(ARCHIVE)
    } else if begins("#cloud-config") {
        Kind::CloudConfig
    } else if begins("#include") {
        Kind::NotRead(INCLUDE)
    } else if begins("#!") || begins("#cloud-boothook") || begins("#part-handler") || begins("#upstart-job") {
        Kind::NotRead(SCRIPT)
    } else if text.trim_start().starts_with('{') {
        Kind::Json
    } else {
        Kind::Unknown
    }
}

fn document_in(bytes: &[u8], origin: &Origin) -> Result<Found, Fault> {
    let nothing = "there is nothing but comments in it: write the document, which begins with `version: 1`";
    let tree = document::tree(bytes, origin)?.ok_or_else(|| Fault::here(&origin.place(1, 1), nothing))?;
    let mut found = Found::default();
    found.add(Part::whole(tree))?;
    Ok(found)
}

/// The parts of a MIME message, each as if it were handed out alone.
fn message(bytes: &[u8], origin: &Origin, taken: Taken<'_>) -> Result<Found, Fault> {
    let parts = mime::parts(bytes).map_err(|(lines, why)| Fault::here(&origin.place(lines + 1, 1), why))?;
    if parts.is_empty() {
        return Ok(Found::note("is a MIME message without any part: is its boundary written before each part?"));
    }
    let mut found = Found::default();
    for (i, part) in parts.into_iter().enumerate() {
        let name = format!("part {} ({})", i + 1, part.kind);
        let mut inside = one_part(part, &name, origin, taken)?;
        inside.notes = inside.notes.into_iter().map(|note| format!("{name} {note}")).collect();
        found.absorb(inside)?;
    }
    Ok(found)
}

fn one_part(part: mime::Part, name: &str, origin: &Origin, taken: Taken<'_>) -> Result<Found, Fault> {
    let kind = part.kind.as_str();
    let ours = OUR_TYPES.contains(&kind);
    let untyped =
        matches!(kind, "text/plain" | "text/x-not-multipart" | "application/octet-stream" | "application/json")
            || kind.starts_with("application/") && kind.contains("zip");
    let script = kind.starts_with("text/x-shellscript")
        || matches!(kind, "text/part-handler" | "text/cloud-boothook" | "text/upstart-job");
    let not_read = match kind {
        "text/jinja2" => Some(TEMPLATE),
        "text/x-include-url" | "text/x-include-once-url" => Some(INCLUDE),
        "text/cloud-config-archive" | "text/cloud-config-jsonp" => Some(ARCHIVE),
        _ if script => Some(SCRIPT),
        _ if ours || untyped || kind == "text/cloud-config" => None,
        _ => Some("it is not for this program"),
    };
    if let Some(why) = not_read {
        return Ok(Found::note(format!("is not read: {why}")));
    }
    let here = origin.place(part.begins + 1, 1);
    let content = part.content.map_err(|why| Fault::here(&here, format!("{name}: {why}")))?;
    let (content, unpacked) =
        unpack::user_data(&content).map_err(|why| Fault::here(&here, format!("{name}: {why}")))?;
    taken.one_more(content.len(), &here)?;
    let inner = match part.lines.filter(|_| !unpacked) {
        Some(lines) => Origin { source: origin.source.clone(), line: origin.line + lines, column: origin.column },
        None => Origin::whole(&format!("{} {name}", origin.source)),
    };
    if ours {
        return document_in(&content, &inner);
    }
    if kind == "text/cloud-config" {
        return cloud_config::read(text::decode(&content, &inner, unpack::UNPACKED)?, &inner);
    }
    packed(&content, inner, Taken { depth: taken.depth + 1, ..taken })
}

fn json(text: &str, bytes: &[u8], origin: &Origin) -> Result<Found, Fault> {
    let Some(tree) = yaml::read(text, origin, Dialect::CloudInit)? else { return Ok(Found::default()) };
    let mut found = handed::read(&tree, origin)?;
    if let Some(ours) = cloud_config::top_level_key(&tree)? {
        found.add(Part::whole(ours))?;
    } else if is_document(&tree) {
        return document_in(bytes, origin);
    }
    if !found.is_ours() {
        found.notes.push(format!("is JSON without the key `etcd_bootstrapper` or `{}`", handed::KEY));
    }
    Ok(found)
}

fn is_document(tree: &Node) -> bool {
    tree.get("cluster").is_some() && (tree.get("version").is_some() || tree.get("peers").is_some())
}

/// Says what to put on the first line when that is all that is missing.
fn unknown(text: &str, first: &str, origin: &Origin) -> Result<Found, Fault> {
    if let Ok(Some(tree)) = yaml::read(text, origin, Dialect::CloudInit) {
        let ours =
            |header: &str| Err(Fault::here(&origin.place(1, 1), format!("the first line must be `{header}`: add it")));
        if is_document(&tree) {
            return ours("#etcd-bootstrapper");
        }
        let found = cloud_config::read(text, origin).is_ok_and(|found| found.parts.is_empty());
        if (tree.get("write_files").is_some() || tree.get("etcd_bootstrapper").is_some()) && !found {
            return ours("#cloud-config");
        }
        if matches!(tree.get(handed::KEY).map(|list| &list.value), Some(Value::List(_))) {
            return ours(handed::HEADER);
        }
    }
    let begins: String = first.chars().filter(|c| !c.is_control()).take(20).collect();
    Ok(Found::note(format!("begins `{begins}`, which is neither #cloud-config nor #etcd-bootstrapper")))
}
