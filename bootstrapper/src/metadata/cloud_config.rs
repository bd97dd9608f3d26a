//! Our part of `#cloud-config`: entries of `write_files`, and the key `etcd_bootstrapper`.

use super::document;
use super::fault::Fault;
use super::tree::{Meaning, Node, Place, Style, Value};
use super::unpack;
use super::user_data::{Found, Part};
use super::yaml::{self, Dialect, Origin};

/// Where a `write_files` entry must write for it to be our configuration.
const OURS: &str = "/etc/etcd-bootstrapper/";

/// Finds it.
///
/// # Errors
/// What is certainly meant for us and wrong, with its place.
pub fn read(text: &str, origin: &Origin) -> Result<Found, Fault> {
    let Some(tree) = yaml::read(text, origin, Dialect::CloudInit)? else { return Ok(Found::default()) };
    let mut found = Found::default();
    if !matches!(tree.value, Value::Map(_)) {
        found.notes.push(format!("is a #cloud-config that is {}, not a mapping", tree.kind()));
        return Ok(found);
    }
    if let Some(ours) = top_level_key(&tree)? {
        found.add(Part::whole(ours))?;
    }
    match tree.get("write_files").map(|files| (&files.value, files)) {
        None => {}
        Some((Value::List(entries), _)) => {
            for (i, entry) in entries.iter().enumerate() {
                let in_list = |fault: Fault| fault.at(&entry.place).in_item(i).under("write_files");
                write_file(entry, i, origin, &mut found).map_err(in_list)?;
            }
        }
        Some((Value::Text(..) | Value::Map(_), files)) => {
            found.notes.push(format!("has write_files that is {}, not a list", files.kind()));
        }
    }
    Ok(found)
}

/// The document under our key.
///
/// # Errors
/// A control character in it.
pub fn top_level_key(tree: &Node) -> Result<Option<Node>, Fault> {
    let Some(ours) = tree.get("etcd_bootstrapper") else { return Ok(None) };
    document::refuse_escaped_control_characters(ours).map_err(|fault| fault.under("etcd_bootstrapper"))?;
    Ok(Some(ours.clone()))
}

fn write_file(entry: &Node, index: usize, origin: &Origin, found: &mut Found) -> Result<(), Fault> {
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
    let inner = if bytes == raw.as_bytes() { literal(content) } else { None };
    let inner = inner.unwrap_or_else(|| Origin::whole(&format!("{} write_files[{index}] {path}", origin.source)));
    let tree = document::tree(&bytes, &inner).map_err(|fault| fault.under("content"))?;
    tree.map_or(Ok(()), |tree| found.add(Part { tree, whole, name: name.to_owned() }))
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

/// Where the lines of a literal block stand in the text around it: a block is placed at its first line that is not blank.
fn literal(content: &Node) -> Option<Origin> {
    let Value::Text(text, Style::Literal) = &content.value else { return None };
    let blank = text.lines().take_while(|line| line.trim().is_empty()).count();
    let Place { source, line, column } = &content.place;
    Some(Origin { source: source.clone(), line: line.checked_sub(1 + blank)?, column: column.checked_sub(1)? })
}
