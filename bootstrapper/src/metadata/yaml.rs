//! YAML, and JSON with it, to a tree; bounded in size, depth and aliases.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::fault::Fault;
use super::tree::{Key, Node, Place, Style, Value};

/// Lists and mappings inside one another.
const DEPTH: usize = 32;

/// Uses of an anchor in one text.
const ALIASES: usize = 100;

/// Values in one text, those that aliases repeat included: a few MiB of memory, far more than a person writes.
const VALUES: usize = 50_000;

/// Bytes of the scalars of one text, those that aliases repeat included.
const BYTES: usize = 4 * 1024 * 1024;

/// Keys of cloud-init's configuration whose values are ours to judge.
const OUR_PARTS: [&str; 2] = ["write_files", "etcd_bootstrapper"];

/// How much was read: of one text, or of all that came packed in one.
#[derive(Clone, Copy, Default)]
pub struct Taken {
    values: usize,
    bytes: usize,
}

impl Taken {
    /// Adds a tree.
    ///
    /// # Errors
    /// When it is then more than one text may have.
    pub fn tree(&mut self, tree: &Node) -> Result<(), Fault> {
        let (values, bytes, _) = measure(tree);
        self.add(values, bytes, &tree.place)
    }

    fn add(&mut self, values: usize, bytes: usize, place: &Place) -> Result<(), Fault> {
        self.values += values;
        self.bytes += bytes;
        if self.values > VALUES || self.bytes > BYTES {
            let why = format!("more than {VALUES} values or {} MiB of text: is it the right file?", BYTES >> 20);
            return Err(Fault::here(place, why));
        }
        Ok(())
    }
}

/// Whose text it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Ours: no tags, no directives, no merge keys.
    Ours,
    /// cloud-init's: what is not ours in it is not ours to judge.
    CloudInit,
}

/// Where a text begins inside the source that a person can open.
#[derive(Clone, Debug)]
pub struct Origin {
    /// File, or what else carried the text.
    pub source: Arc<str>,
    /// Lines before it.
    pub line: usize,
    /// Characters before each of its lines.
    pub column: usize,
}

impl Origin {
    /// A text that is the whole source.
    pub fn whole(source: &str) -> Origin {
        Origin { source: source.into(), line: 0, column: 0 }
    }

    /// The place of a line and a column of the text, both from 1.
    pub fn place(&self, line: usize, column: usize) -> Place {
        Place { source: self.source.clone(), line: self.line + line, column: self.column + column }
    }
}

/// Reads a text of one document; `None` when it holds nothing but comments.
///
/// # Errors
/// Bad YAML, duplicate keys, more than one document, and everything past the limits, with the place.
pub fn read(text: &str, origin: &Origin, dialect: Dialect) -> Result<Option<Node>, Fault> {
    let options = granit_parser::options! {
        disallow_directives: dialect == Dialect::Ours,
        flow_nesting_limit: 4 * DEPTH,
        block_nesting_limit: 4 * DEPTH,
    };
    let mut builder = Builder {
        origin,
        dialect,
        open: Vec::new(),
        root: None,
        documents: 0,
        anchors: HashMap::new(),
        aliases: 0,
        taken: Taken::default(),
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| bad_yaml(&error, origin))?;
        builder.take(event, &span)?;
    }
    Ok(builder.root)
}

fn bad_yaml(error: &ScanError, origin: &Origin) -> Fault {
    use granit_parser::ErrorKind as Kind;
    let place = origin.place(error.marker().line().max(1), error.marker().col() + 1);
    let message = match error.kind() {
        Kind::TabNotAllowed
        | Kind::TabInBlockIndentation
        | Kind::TabInIndentation
        | Kind::TabInPlainScalar
        | Kind::TabAtBlockScalarStart => "a tab cannot indent YAML: use spaces".to_owned(),
        Kind::RecursionLimitExceeded => too_deep(),
        Kind::UnknownAnchor => "this alias (*name) has no anchor (&name) before it: write the value itself".to_owned(),
        Kind::DirectiveDisallowed => "lines that begin with % are YAML directives: remove it".to_owned(),
        Kind::SimpleKeyExpected => {
            "this is neither `key: value` nor part of the value above: write the colon, or indent the line deeper than its key"
                .to_owned()
        }
        Kind::MappingValueNotAllowed => {
            "`key: value` cannot stand here: indent the key like those beside it, and quote a value that has a colon in it"
                .to_owned()
        }
        Kind::BlockEntryInFlowCollection
        | Kind::UnclosedFlowCollection { .. }
        | Kind::ExpectedFlowMappingSeparator
        | Kind::ExpectedFlowSequenceSeparator => {
            "a bracket that was opened before is not closed, or a comma is missing: look here and on the line before".to_owned()
        }
        Kind::UnclosedQuotedScalar
        | Kind::InvalidQuotedScalarIndent
        | Kind::InvalidTrailingSingleQuotedScalar
        | Kind::InvalidTrailingDoubleQuotedScalar => {
            "a quote that was opened here or before is not closed, or text follows the closing one: look at the quotes".to_owned()
        }
        _ => format!("this is not YAML: {}: check indentation, quotes, brackets and colons here and on the line before", error.info()),
    };
    Fault::here(&place, message)
}

fn too_deep() -> String {
    format!("more than {DEPTH} lists and mappings inside one another: no configuration is that deep")
}

struct Anchored {
    node: Node,
    values: usize,
    bytes: usize,
    depth: usize,
}

enum Inside {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, seen: HashSet<String>, key: Option<Key> },
}

struct Open {
    place: Place,
    anchor: usize,
    inside: Inside,
}

struct Builder<'o> {
    origin: &'o Origin,
    dialect: Dialect,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    anchors: HashMap<usize, Anchored>,
    aliases: usize,
    taken: Taken,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Fault> {
        let place = self.origin.place(span.start.line().max(1), span.start.col() + 1);
        match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Anchor(..) => Ok(()),
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Fault::here(
                        &place,
                        "a second document begins here (---): write one document, remove the rest",
                    ));
                }
                Ok(())
            }
            Event::Alias(anchor) => self.alias(anchor, &place),
            Event::Scalar(text, style, anchor, tag) => {
                let style = self.style(style, tag.as_deref(), &place)?;
                self.taken.add(1, text.len(), &place)?;
                self.add(Node { place, value: Value::Text(text.into_owned(), style) }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), &place)?;
                self.begin(Open { place, anchor, inside: Inside::List(Vec::new()) })
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), &place)?;
                let inside = Inside::Map { entries: Vec::new(), seen: HashSet::new(), key: None };
                self.begin(Open { place, anchor, inside })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            _ => Err(Fault::here(&place, "this kind of YAML is not read: write plain keys and values")),
        }
    }

    fn style(&self, style: ScalarStyle, tag: Option<&Tag>, place: &Place) -> Result<Style, Fault> {
        if self.dialect == Dialect::CloudInit && tag.is_some_and(|t| t.suffix() == "binary") {
            return Ok(Style::Binary);
        }
        self.refuse_tag(tag, place)?;
        Ok(match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::Literal => Style::Literal,
            _ => Style::Quoted,
        })
    }

    fn refuse_tag(&self, tag: Option<&Tag>, place: &Place) -> Result<(), Fault> {
        if tag.is_some() && self.dialect == Dialect::Ours {
            return Err(Fault::here(
                place,
                "tags (words that begin with !) are not read: remove it, and put texts in quotes",
            ));
        }
        Ok(())
    }

    fn begin(&mut self, open: Open) -> Result<(), Fault> {
        self.taken.add(1, 0, &open.place)?;
        if self.open.len() == DEPTH {
            return Err(Fault::here(&open.place, too_deep()));
        }
        self.open.push(open);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        let Some(Open { place, anchor, inside }) = self.open.pop() else { return Ok(()) };
        let value = match inside {
            Inside::List(items) => Value::List(items),
            Inside::Map { entries, .. } => Value::Map(entries),
        };
        self.add(Node { place, value }, anchor)
    }

    fn alias(&mut self, anchor: usize, place: &Place) -> Result<(), Fault> {
        self.aliases += 1;
        if self.aliases > ALIASES {
            return Err(Fault::here(
                place,
                format!("more than {ALIASES} aliases (*name): write the values themselves"),
            ));
        }
        let Some(Anchored { node, values, bytes, depth }) = self.anchors.get(&anchor) else {
            return Err(Fault::here(place, "this alias (*name) stands inside what it names: write the value itself"));
        };
        let (node, values, bytes, depth) = (node.clone(), *values, *bytes, *depth);
        if self.open.len() + depth > DEPTH {
            return Err(Fault::here(place, too_deep()));
        }
        self.taken.add(values, bytes, place)?;
        self.add(node, 0)
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        if anchor != 0 {
            let (values, bytes, depth) = measure(&node);
            // Each anchored copy is bounded by what was counted already, and anchors by the text.
            self.taken.add(values, bytes, &node.place)?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), values, bytes, depth });
        }
        let judged = self.dialect == Dialect::Ours || self.inside_ours();
        let bad_key = match self.open.last_mut().map(|open| &mut open.inside) {
            None => {
                self.root = Some(node);
                return Ok(());
            }
            Some(Inside::List(items)) => {
                items.push(node);
                return Ok(());
            }
            Some(Inside::Map { entries, key: key @ Some(_), .. }) => {
                entries.extend(key.take().map(|key| (key, node)));
                return Ok(());
            }
            Some(Inside::Map { seen, key, .. }) => match new_key(node, seen, judged) {
                Ok(new) => {
                    *key = Some(new);
                    return Ok(());
                }
                Err(fault) => fault,
            },
        };
        Err(self.in_context(bad_key))
    }

    /// Whether what is open belongs to a part of cloud-init's configuration that we read.
    fn inside_ours(&self) -> bool {
        match self.open.first().map(|open| &open.inside) {
            Some(Inside::Map { key: Some(key), .. }) => OUR_PARTS.contains(&key.name.as_str()),
            Some(Inside::Map { key: None, .. } | Inside::List(_)) | None => false,
        }
    }

    fn in_context(&self, fault: Fault) -> Fault {
        let outer = self.open.len().saturating_sub(1);
        self.open[..outer].iter().rev().fold(fault, |fault, open| match &open.inside {
            Inside::List(items) => fault.in_item(items.len()),
            Inside::Map { key: Some(key), .. } => fault.under(&key.name),
            Inside::Map { key: None, .. } => fault,
        })
    }
}

fn new_key(node: Node, seen: &mut HashSet<String>, judged: bool) -> Result<Key, Fault> {
    let Node { place, value: Value::Text(name, style) } = node else {
        return Err(Fault::here(&node.place, "a list or a mapping cannot be a key: write `key: value`"));
    };
    if name == "<<" && style == Style::Plain && judged {
        return Err(Fault::here(&place, "merge keys (<<) are not read: write the values themselves"));
    }
    if !seen.insert(name.clone()) && (judged || OUR_PARTS.contains(&name.as_str())) {
        return Err(Fault::here(&place, "this key is in the same mapping twice: remove one of both").under(&name));
    }
    Ok(Key { name, place })
}

/// Values, keys among them, bytes of scalars, and depth of a tree.
fn measure(node: &Node) -> (usize, usize, usize) {
    let sum = |parts: &mut dyn Iterator<Item = (usize, usize, usize)>| {
        parts.fold((1, 0, 1), |(v, b, d), (values, bytes, depth)| (v + values, b + bytes, d.max(depth + 1)))
    };
    let entry = |(key, value): &(Key, Node)| {
        let (values, bytes, depth) = measure(value);
        (values + 1, bytes + key.name.len(), depth)
    };
    match &node.value {
        Value::Text(text, _) => (1, text.len(), 0),
        Value::List(items) => sum(&mut items.iter().map(measure)),
        Value::Map(entries) => sum(&mut entries.iter().map(entry)),
    }
}
