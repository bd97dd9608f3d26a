//! A configuration text as a tree of values, each of which knows where it stands.

use std::fmt;
use std::sync::Arc;

/// Where something stands, for a person: `/etc/etcd-bootstrapper/config.yaml:3:5`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// File, or what else carried the text.
    pub source: Arc<str>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source, self.line, self.column)
    }
}

/// A value and its place.
#[derive(Clone)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// A value as it is written; what an unquoted text means is asked with [`meaning`]. No Debug: it may hold secrets.
#[derive(Clone)]
pub enum Value {
    /// Any scalar.
    Text(String, Style),
    /// A list.
    List(Vec<Node>),
    /// A mapping in the order of the text; its keys differ, outside what is only cloud-init's.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Clone)]
pub struct Key {
    /// Its text.
    pub name: String,
    /// Where it stands.
    pub place: Place,
}

/// How a scalar is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes: it may mean a number, true, false or nothing.
    Plain,
    /// In quotes, or folded: a text.
    Quoted,
    /// As a block after `|`: a text whose lines are lines of the source.
    Literal,
    /// Tagged `!!binary`: base64.
    Binary,
}

/// What a scalar means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning<'t> {
    /// Nothing, `~` or `null`.
    Nothing,
    /// `true` or `false`.
    Bool(bool),
    /// A decimal whole number without leading zeros.
    Whole(i128),
    /// A number with a point or an exponent.
    Decimal,
    /// Something on which YAML readers disagree; the text says what some of them take it for.
    Disputed(&'static str),
    /// A text.
    Text(&'t str),
}

impl Meaning<'_> {
    /// The kind of value, never the value.
    pub fn kind(self) -> &'static str {
        match self {
            Meaning::Nothing => "nothing",
            Meaning::Bool(_) => "true or false",
            Meaning::Whole(_) => "a whole number",
            Meaning::Decimal => "a decimal number",
            Meaning::Disputed(what) => what,
            Meaning::Text(_) => "a text",
        }
    }
}

/// What an unquoted scalar means in YAML 1.2's core schema, less what YAML 1.1 reads otherwise.
///
/// The same file is read by cloud-init, which is YAML 1.1: there `no` is false, `010` is 8 and `1:30` is 90.
pub fn meaning(text: &str) -> Meaning<'_> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Meaning::Nothing,
        "true" => return Meaning::Bool(true),
        "false" => return Meaning::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Meaning::Decimal,
        _ => {}
    }
    if ["yes", "no", "on", "off", "true", "false"].iter().any(|w| text.eq_ignore_ascii_case(w)) {
        return Meaning::Disputed("an unquoted word that some YAML readers take for true or false");
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.eq_ignore_ascii_case(".inf") {
        return Meaning::Decimal;
    }
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if !is_number {
        return Meaning::Text(text);
    }
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        if (digits.len() > 1 && digits.starts_with('0')) || text.starts_with('+') {
            return Meaning::Disputed(
                "an unquoted number with a leading zero or sign, which some YAML readers take for octal",
            );
        }
        return text.parse().map_or(Meaning::Decimal, Meaning::Whole);
    }
    let based = |prefix: &str, base: u32| {
        digits.strip_prefix(prefix).is_some_and(|d| !d.is_empty() && d.chars().all(|c| c.is_digit(base) || c == '_'))
    };
    if based("0x", 16) || based("0o", 8) || based("0b", 2) {
        return Meaning::Disputed("an unquoted number that is not decimal");
    }
    if digits.starts_with(|c: char| c.is_ascii_digit()) {
        if digits.bytes().all(|b| b.is_ascii_digit() || b == b'_') {
            return Meaning::Disputed("an unquoted number with underscores");
        }
        let sexagesimal = digits.split(':').count() > 1
            && digits.split(':').all(|p| (1..=2).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()));
        if sexagesimal {
            return Meaning::Disputed("unquoted digits with colons, which some YAML readers take for one number");
        }
    }
    let decimal = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    if decimal && digits.parse::<f64>().is_ok() { Meaning::Decimal } else { Meaning::Text(text) }
}

impl Node {
    /// The kind of value, never the value.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Text(..) => self.meaning().map_or("a text", Meaning::kind),
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// What a scalar means; `None` for a list or a mapping.
    pub fn meaning(&self) -> Option<Meaning<'_>> {
        match &self.value {
            Value::Text(text, Style::Plain) => Some(meaning(text)),
            Value::Text(text, Style::Quoted | Style::Literal | Style::Binary) => Some(Meaning::Text(text)),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Whether there is nothing here: an empty text, `~` or `null`.
    pub fn is_nothing(&self) -> bool {
        self.meaning() == Some(Meaning::Nothing)
    }

    /// Whether this is a list or a mapping without anything in it.
    pub fn is_empty(&self) -> bool {
        match &self.value {
            Value::Text(..) => false,
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
        }
    }

    /// The scalar as it is written, whatever it means.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text, _) => Some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The entries of a mapping; none when it is something else.
    pub fn entries(&self) -> &[(Key, Node)] {
        match &self.value {
            Value::Map(entries) => entries,
            Value::Text(..) | Value::List(_) => &[],
        }
    }

    /// The value of a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(k, _)| k.name == key).map(|(_, v)| v)
    }

    /// The value at a path such as `peers[1].peer_url`; keys with dots in them are found too.
    pub fn at(&self, path: &str) -> Option<&Node> {
        let (node, rest) = self.towards(path);
        rest.is_empty().then_some(node)
    }

    /// Where a path such as `peers[1].peer_url` stands, or as much of it as there is.
    pub fn place_of(&self, path: &str) -> &Place {
        &self.towards(path).0.place
    }

    fn towards<'p>(&self, path: &'p str) -> (&Node, &'p str) {
        let (mut node, mut rest) = (self, path);
        while let Some((next, after)) = node.step(rest) {
            (node, rest) = (next, after);
        }
        (node, rest)
    }

    fn step<'p>(&self, path: &'p str) -> Option<(&Node, &'p str)> {
        if path.is_empty() {
            return None;
        }
        match &self.value {
            Value::Text(..) => None,
            Value::List(items) => {
                let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
                Some((items.get(index.parse::<usize>().ok()?)?, rest))
            }
            Value::Map(entries) => {
                let path = path.strip_prefix('.').unwrap_or(path);
                entries
                    .iter()
                    .filter_map(|(key, value)| Some((value, path.strip_prefix(key.name.as_str())?)))
                    .filter(|(_, rest)| rest.is_empty() || rest.starts_with(['.', '[']))
                    .min_by_key(|(_, rest)| rest.len())
            }
        }
    }

    /// Calls with the path and the node of every scalar.
    pub fn each_text(&self, visit: &mut impl FnMut(&str, &Node)) {
        self.each_below(&mut String::new(), visit);
    }

    fn each_below(&self, path: &mut String, visit: &mut impl FnMut(&str, &Node)) {
        let above = path.len();
        match &self.value {
            Value::Text(..) => visit(path, self),
            Value::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    *path += &format!("[{i}]");
                    item.each_below(path, visit);
                    path.truncate(above);
                }
            }
            Value::Map(entries) => {
                for (key, value) in entries {
                    *path += if above == 0 { "" } else { "." };
                    *path += &key.name;
                    value.each_below(path, visit);
                    path.truncate(above);
                }
            }
        }
    }

    /// The tree as JSON that reads back as the same tree.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Text(text, Style::Plain) => match meaning(text) {
                Meaning::Nothing => serde_json::Value::Null,
                Meaning::Bool(b) => b.into(),
                Meaning::Whole(_) | Meaning::Decimal => {
                    serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into())
                }
                Meaning::Disputed(_) | Meaning::Text(_) => text.as_str().into(),
            },
            Value::Text(text, Style::Quoted | Style::Literal | Style::Binary) => text.as_str().into(),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(entries) => entries.iter().map(|(k, v)| (k.name.clone(), v.to_json())).collect(),
        }
    }
}

/// A path and a key under it.
pub fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unquoted_scalar_means_what_every_reader_agrees_on_or_is_disputed() {
        for (text, kind) in [
            ("", "nothing"),
            ("~", "nothing"),
            ("null", "nothing"),
            ("true", "true or false"),
            ("3", "a whole number"),
            ("-3", "a whole number"),
            ("3.0", "a decimal number"),
            ("3e2", "a decimal number"),
            (".inf", "a decimal number"),
            ("etcd-1", "a text"),
            ("3.5.30", "a text"),
            ("10.0.0.11", "a text"),
            ("60s", "a text"),
            ("fd00::1", "a text"),
            ("2026-12-01T00:00:00Z", "a text"),
            ("https://10.0.0.11:2380", "a text"),
        ] {
            assert_eq!(meaning(text).kind(), kind, "{text:?}");
        }
        for text in ["no", "Yes", "ON", "True", "010", "0123", "+3", "0x1f", "0o10", "0b1", "1_000", "1:30"] {
            assert!(matches!(meaning(text), Meaning::Disputed(_)), "{text:?}");
        }
    }
}
