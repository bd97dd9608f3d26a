//! A document, from bytes or text to what it means; every fault with its line, and none with a secret.

use anyhow::Result;
use plan::document::Document;
use plan::spec::{Host, Problem, Spec};

use super::fault::Fault;
use super::tree::{Meaning, Node, Value};
use super::yaml::{self, Dialect, Origin};
use super::{text, typed};
use crate::exit::Exit;

/// Parses a document, YAML or JSON, and checks its form; [`Document::check`] tells what it means.
///
/// # Errors
/// [`Exit::BadInput`], naming source, line, column, path and remedy.
pub fn parse(text: &str, source: &str) -> Result<Document> {
    parse_bytes(text.as_bytes(), source)
}

/// [`parse`] for bytes that may not even be text.
///
/// # Errors
/// As [`parse`].
pub fn parse_bytes(bytes: &[u8], source: &str) -> Result<Document> {
    tree(bytes, &Origin::whole(source))
        .and_then(|tree| document(&whole(tree, source)?))
        .map_err(|fault| bad_input(&[fault]))
}

/// The tree of a document's text; `None` when it holds nothing.
pub(super) fn tree(bytes: &[u8], origin: &Origin) -> Result<Option<Node>, Fault> {
    let text = text::decode(bytes, origin, text::LIMIT)?;
    text::refuse_control_characters(text, origin)?;
    let Some(tree) = yaml::read(text, origin, Dialect::Ours)? else { return Ok(None) };
    refuse_escaped_control_characters(&tree)?;
    if tree.is_nothing() {
        return Ok(None);
    }
    Ok(Some(tree))
}

pub(super) fn whole(tree: Option<Node>, source: &str) -> Result<Node, Fault> {
    tree.ok_or_else(|| {
        let place = Origin::whole(source).place(1, 1);
        Fault::here(&place, "there is nothing but comments in it: a document begins with `version: 1`")
    })
}

/// The tree as a document.
pub(super) fn document(tree: &Node) -> Result<Document, Fault> {
    match &tree.value {
        Value::Map(_) => typed::read(tree).and_then(|document| refuse_line_breaks(tree).map(|()| document)),
        Value::Text(..) | Value::List(_) => Err(Fault::here(
            &tree.place,
            format!("a document is a mapping that begins with `version: 1`, and this is {}", tree.kind()),
        )),
    }
}

/// What the tree of a document means, or everything that is wrong with it.
pub(super) fn mean(tree: &Node) -> Result<(Spec, Host), Vec<Fault>> {
    let document = document(tree).map_err(|fault| vec![fault])?;
    document.check().map_err(|problems| {
        let place = |problem: Problem| Fault {
            place: Some(tree.place_of(&problem.path).clone()),
            path: problem.path,
            ..Fault::new(problem.message)
        };
        problems.into_iter().map(place).collect()
    })
}

/// Refuses what YAML would read and JSON does not, in what is named JSON.
pub(super) fn refuse_other_than_json(bytes: &[u8], origin: &Origin) -> Result<(), Fault> {
    let text = text::decode(bytes, origin, text::LIMIT)?;
    serde_json::from_str::<serde::de::IgnoredAny>(text).map(drop).map_err(|error| {
        // serde_json's text ends with its own account of the place; it never quotes the input.
        let says = error.to_string();
        let says = says.split(" at line ").next().unwrap_or(&says).to_owned();
        Fault::here(
            &origin.place(error.line().max(1), error.column().max(1)),
            format!("this is not JSON: {says}: correct it, or name the file .yaml"),
        )
    })
}

/// The error for faults: one line each, exit code 65.
pub(super) fn bad_input(faults: &[Fault]) -> anyhow::Error {
    Exit::BadInput.because(faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n"))
}

/// Escapes bring in what the text itself may not hold.
pub(super) fn refuse_escaped_control_characters(tree: &Node) -> Result<(), Fault> {
    let bad = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    let found = first(tree, |_, text| {
        text.chars()
            .find(|c| bad(*c))
            .map(|c| format!("the control character U+{:04X} is inside this text: remove it", c as u32))
    });
    keys(tree).or(found).map_or(Ok(()), Err)
}

/// Beside `tls.ca`, what may have lines.
const LINES: [&str; 6] = [
    "logs.ca",
    "logs.cert",
    "logs.key",
    "restore.age_identity",
    "restore.credentials.service_account",
    "store.credentials.service_account",
];

/// Only keys and certificates have lines; anywhere else they could end up as lines of an environment file.
fn refuse_line_breaks(tree: &Node) -> Result<(), Fault> {
    let found = first(tree, |path, text| {
        let lines = path.starts_with("tls.ca.") || LINES.contains(&path);
        let broken = text.contains(char::is_control) && !lines;
        broken.then(|| "a line break or a tab is inside this text: remove it".to_owned())
    });
    found.map_or(Ok(()), Err)
}

/// The first text of which something is wrong.
fn first(tree: &Node, wrong: impl Fn(&str, &str) -> Option<String>) -> Option<Fault> {
    let mut fault = None;
    tree.each_text(&mut |path, node| {
        if let (Some(Meaning::Text(text)), None) = (node.meaning(), &fault)
            && let Some(message) = wrong(path, text)
        {
            fault = Some(Fault { path: path.to_owned(), ..Fault::here(&node.place, message) });
        }
    });
    fault
}

fn keys(node: &Node) -> Option<Fault> {
    match &node.value {
        Value::Text(..) => None,
        Value::List(items) => items.iter().enumerate().find_map(|(i, item)| Some(keys(item)?.in_item(i))),
        Value::Map(entries) => entries.iter().find_map(|(key, value)| {
            if key.name.chars().any(char::is_control) {
                return Some(Fault::here(&key.place, "a control character is inside a key: remove it"));
            }
            Some(keys(value)?.under(&key.name))
        }),
    }
}
