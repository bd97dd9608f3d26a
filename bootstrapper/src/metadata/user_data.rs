//! What of user-data is ours. Nothing in it is ever executed, included or rendered.

use super::document;
use super::fault::Fault;
use super::text;
use super::tree::{Meaning, Node, Style, Value};
use super::unpack;
use super::yaml::{self, Dialect, Origin};

/// Where a `write_files` entry must write for it to be our configuration.
const OURS: &str = "/etc/etcd-bootstrapper/";

/// What user-data holds for us.
#[derive(Default)]
pub struct Found {
    /// Documents and fragments, low to high.
    pub parts: Vec<Part>,
    /// Why something was not read, for a person who wonders; each continues a sentence that begins with the source.
    pub notes: Vec<String>,
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
    let (bytes, unpacked) = unpack::user_data(bytes).map_err(|why| Fault::here(&origin.place(1, 1), why))?;
    let origin = if unpacked { Origin::whole(&format!("{source} (unpacked)")) } else { origin };
    let text = text::decode(&bytes, &origin, unpack::UNPACKED)?;
    let first = text.lines().next().unwrap_or_default().trim_end();
    match kind(text, first) {
        Kind::Empty => Ok(Found::default()),
        Kind::Ours => document_in(&bytes, &origin),
        Kind::CloudConfig => cloud_config(text, &origin),
        Kind::Json => json(text, &bytes, &origin),
        Kind::NotRead(why) => Ok(Found { notes: vec![format!("is not read: {why}")], ..Found::default() }),
        Kind::Unknown => unknown(text, first, &origin),
    }
}

enum Kind {
    Empty,
    Ours,
    CloudConfig,
    Json,
    NotRead(&'static str),
    Unknown,
}

fn kind(text: &str, first: &str) -> Kind {
    let begins = |prefix: &str| first.get(..prefix.len()).is_some_and(|f| f.eq_ignore_ascii_case(prefix));
    if text.trim().is_empty() {
        Kind::Empty
    } else if first == "#etcd-bootstrapper" || first.starts_with("#etcd-bootstrapper ") {
        Kind::Ours
    } else if begins("## template:") {
        Kind::NotRead("it is a template, and templates are not rendered: write the values")
    } else if begins("#cloud-config-archive") || begins("#cloud-config-jsonp") {
        Kind::NotRead("archives and patches of cloud-config are not read: use #cloud-config")
    } else if begins("#cloud-config") {
        Kind::CloudConfig
    } else if begins("#include") {
        Kind::NotRead("includes are not fetched: write the configuration itself")
    } else if begins("#!") || begins("#cloud-boothook") || begins("#part-handler") || begins("#upstart-job") {
        Kind::NotRead("it is a script, and nothing in user-data is executed")
    } else if begins("content-type:") || begins("mime-version:") {
        Kind::NotRead("MIME messages are not read in this version: use #cloud-config or #etcd-bootstrapper")
    } else if text.trim_start().starts_with('{') {
        Kind::Json
    } else {
        Kind::Unknown
    }
}

fn document_in(bytes: &[u8], origin: &Origin) -> Result<Found, Fault> {
    let tree = document::tree(bytes, origin)?.ok_or_else(|| {
        Fault::here(&origin.place(1, 1), "there is nothing after `#etcd-bootstrapper`: write the document below it")
    })?;
    Ok(Found { parts: vec![whole(tree)], ..Found::default() })
}

fn whole(tree: Node) -> Part {
    Part { tree, whole: true, name: "config.yaml".into() }
}

fn json(text: &str, bytes: &[u8], origin: &Origin) -> Result<Found, Fault> {
    let Some(tree) = yaml::read(text, origin, Dialect::CloudInit)? else { return Ok(Found::default()) };
    if let Some(ours) = top_level_key(&tree)? {
        return Ok(Found { parts: vec![whole(ours)], ..Found::default() });
    }
    if is_document(&tree) {
        return document_in(bytes, origin);
    }
    Ok(Found { notes: vec!["is JSON without the key `etcd_bootstrapper`".into()], ..Found::default() })
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
        let found = cloud_config(text, origin).is_ok_and(|found| found.parts.is_empty());
        if (tree.get("write_files").is_some() || tree.get("etcd_bootstrapper").is_some()) && !found {
            return ours("#cloud-config");
        }
    }
    let begins: String = first.chars().filter(|c| !c.is_control()).take(20).collect();
    let note = format!("begins `{begins}`, which is neither #cloud-config nor #etcd-bootstrapper");
    Ok(Found { notes: vec![note], ..Found::default() })
}

fn cloud_config(text: &str, origin: &Origin) -> Result<Found, Fault> {
    let Some(tree) = yaml::read(text, origin, Dialect::CloudInit)? else { return Ok(Found::default()) };
    let mut found = Found::default();
    if !matches!(tree.value, Value::Map(_)) {
        found.notes.push(format!("is a #cloud-config that is {}, not a mapping", tree.kind()));
        return Ok(found);
    }
    if let Some(ours) = top_level_key(&tree)? {
        found.parts.push(whole(ours));
    }
    match tree.get("write_files").map(|files| (&files.value, files)) {
        None => {}
        Some((Value::List(entries), _)) => {
            for (i, entry) in entries.iter().enumerate() {
                let in_list = |fault: Fault| fault.at(&entry.place).in_item(i).under("write_files");
                write_file(entry, i, text, origin, &mut found).map_err(in_list)?;
            }
        }
        Some((Value::Text(..) | Value::Map(_), files)) => {
            found.notes.push(format!("has write_files that is {}, not a list", files.kind()));
        }
    }
    found.parts.sort_by(|a, b| (!a.whole, &a.name).cmp(&(!b.whole, &b.name)));
    Ok(found)
}

fn top_level_key(tree: &Node) -> Result<Option<Node>, Fault> {
    let Some(ours) = tree.get("etcd_bootstrapper") else { return Ok(None) };
    document::refuse_escaped_control_characters(ours).map_err(|fault| fault.under("etcd_bootstrapper"))?;
    Ok(Some(ours.clone()))
}

fn write_file(entry: &Node, index: usize, text: &str, origin: &Origin, found: &mut Found) -> Result<(), Fault> {
    let Some(path) = entry.get("path").and_then(Node::text) else { return Ok(()) };
    let Some(name) = path.strip_prefix(OURS) else { return Ok(()) };
    let Some(whole) = is_whole(name) else {
        if [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end)) {
            return Err(Fault::new(format!(
                "{path} is not read: write {OURS}config.yaml, or {OURS}config.d/NAME.yaml, or .json"
            ))
            .under("path"));
        }
        found.notes.push(format!("has {path} in write_files, which is for cloud-init to write and not read here"));
        return Ok(());
    };
    for refused in ["append", "source"] {
        if entry.get(refused).is_some_and(|v| v.meaning() != Some(Meaning::Bool(false))) {
            return Err(Fault::new(format!("`{refused}` is not followed for {path}: write the whole content here"))
                .under(refused));
        }
    }
    let Some(content) = entry.get("content").filter(|c| !c.is_nothing()) else {
        return Err(Fault::new(format!("{path} has no content: write it after `content: |`")));
    };
    let wrong = |why: String| Fault::here(&content.place, why).under("content");
    let Some(raw) = content.text() else {
        let why =
            format!("expected a text, found {}: write `content: |` and indent the document below it", content.kind());
        return Err(wrong(why));
    };
    let encoding = entry.get("encoding").and_then(Node::text).unwrap_or("text/plain");
    let bytes = decode(raw, encoding, content).map_err(wrong)?;
    let inner = if bytes == raw.as_bytes() { literal(content, text, origin) } else { None };
    let inner = inner.unwrap_or_else(|| Origin::whole(&format!("{} write_files[{index}] {path}", origin.source)));
    let tree = document::tree(&bytes, &inner).map_err(|fault| fault.under("content"))?;
    found.parts.extend(tree.map(|tree| Part { tree, whole, name: name.to_owned() }));
    Ok(())
}

/// Whether a file below the configuration directory is a document or a fragment; `None` when it is neither.
pub fn is_whole(name: &str) -> Option<bool> {
    let read = name.ends_with(".yaml") || name.ends_with(".json");
    match name.split_once('/') {
        None => matches!(name, "config.yaml" | "config.json").then_some(true),
        Some(("config.d", file)) if read && !file.contains('/') && !file.starts_with('.') => Some(false),
        Some(_) => None,
    }
}

/// The spellings are cloud-init's (cc_write_files).
fn decode(raw: &str, encoding: &str, content: &Node) -> Result<Vec<u8>, String> {
    let raw = match content.value {
        Value::Text(_, Style::Binary) => unpack::base64(raw.as_bytes())?,
        Value::Text(..) | Value::List(_) | Value::Map(_) => raw.as_bytes().to_vec(),
    };
    match encoding.trim().to_ascii_lowercase().as_str() {
        "" | "text/plain" => Ok(raw),
        "b64" | "base64" => unpack::base64(&raw),
        "gz" | "gzip" => unpack::gunzip(&raw),
        "gz+base64" | "gzip+base64" | "gz+b64" | "gzip+b64" => unpack::gunzip(&unpack::base64(&raw)?),
        _ => Err("this encoding is not known: write b64, gzip, gz+b64, or plain text without `encoding`".into()),
    }
}

/// Where the lines of a literal block stand in the text around it.
fn literal(content: &Node, text: &str, origin: &Origin) -> Option<Origin> {
    let Value::Text(_, Style::Literal) = content.value else { return None };
    let header = content.place.line.checked_sub(origin.line)?;
    let first = text.lines().skip(header).find(|line| !line.trim().is_empty())?;
    let indent = first.chars().take_while(|c| *c == ' ').count();
    Some(Origin { source: origin.source.clone(), line: origin.line + header, column: origin.column + indent })
}
