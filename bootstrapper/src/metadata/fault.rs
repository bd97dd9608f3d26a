//! What is wrong with a configuration text: where, which key, and what to write instead.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::tree::{Node, Place, Value};

/// A value longer than this is not quoted in a message.
const QUOTED: usize = 80;

/// One thing that is wrong. Its text never holds a secret.
#[derive(Clone, Debug, Default)]
pub struct Fault {
    /// Where; unknown until the reader that knows has passed it on.
    pub place: Option<Place>,
    /// Path such as `peers[1].peer_url`; empty for the whole text.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
    /// A required key is not there, so another carrier may still bring it.
    pub missing: bool,
    /// The keys that would have been known, where one was not.
    pub known: &'static [&'static str],
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl Fault {
    /// A fault whose place and path are still to be filled in.
    pub fn new(message: impl Into<String>) -> Fault {
        Fault { message: message.into(), ..Fault::default() }
    }

    /// A fault at a place.
    pub fn here(place: &Place, message: impl Into<String>) -> Fault {
        Fault { place: Some(place.clone()), ..Fault::new(message) }
    }

    /// Fills in the place, unless a nearer one is known.
    pub fn at(mut self, place: &Place) -> Fault {
        self.place.get_or_insert_with(|| place.clone());
        self
    }

    /// Fills in the place of a value, and takes the value out of the message when it is long or may be a secret.
    pub fn at_value(mut self, node: &Node) -> Fault {
        if let Value::Text(text, _) = &node.value
            && (text.len() > QUOTED || text.contains('\n') || text.contains("PRIVATE KEY"))
        {
            let instead = format!("this text of {} characters", text.chars().count());
            for quoted in [format!("{text:?}"), format!("`{text}`"), text.clone()] {
                self.message = self.message.replace(&quoted, &instead);
            }
        }
        self.at(&node.place)
    }

    /// Puts a key in front of the path.
    pub fn under(mut self, key: &str) -> Fault {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{}{dot}{}", short(key, "key"), self.path);
        self
    }

    /// Puts an index in front of the path.
    pub fn in_item(mut self, index: usize) -> Fault {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("[{index}]{dot}{}", self.path);
        self
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Fault {
        Fault::new(message.to_string())
    }

    // The values stay out of these messages: any of them may be a misplaced secret.
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Fault {
        let found = match found {
            Unexpected::Bool(_) => "true or false",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
            Unexpected::Float(_) => "a decimal number",
            Unexpected::Char(_) | Unexpected::Str(_) | Unexpected::Bytes(_) => "a text",
            Unexpected::Unit | Unexpected::Option => "nothing",
            Unexpected::Seq => "a list",
            Unexpected::Map => "a mapping",
            Unexpected::NewtypeStruct
            | Unexpected::Enum
            | Unexpected::UnitVariant
            | Unexpected::NewtypeVariant
            | Unexpected::TupleVariant
            | Unexpected::StructVariant
            | Unexpected::Other(_) => "something else",
        };
        Fault::new(format!("expected {expected}, found {found}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Fault {
        Fault::invalid_type(found, expected)
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Fault {
        Fault::new(format!("`{}` is not one of {}{}", short(variant, "text"), list(known), suggestion(variant, known)))
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Fault {
        let message = match suggestion(field, known) {
            near if near.is_empty() => format!("unknown key: the keys here are {}", list(known)),
            near => format!("unknown key{near}"),
        };
        Fault { known, ..Fault::new(message) }
    }

    fn missing_field(field: &'static str) -> Fault {
        Fault { path: field.to_owned(), missing: true, ..Fault::new("missing: this key is required, add it") }
    }

    fn duplicate_field(field: &'static str) -> Fault {
        Fault::new(format!("`{field}` is given twice: remove one"))
    }
}

/// A word as it may be shown: one that is too long for its purpose may be a misplaced secret.
fn short(word: &str, what: &str) -> String {
    if word.chars().count() <= 40 && !word.chars().any(char::is_control) {
        word.to_owned()
    } else {
        format!("(a {what} of {} characters)", word.chars().count())
    }
}

fn list(known: &[&str]) -> String {
    known.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")
}

fn suggestion(given: &str, known: &[&str]) -> String {
    nearest(given, known).map(|near| format!(": did you mean `{near}`?")).unwrap_or_default()
}

/// The known word that was most likely meant, if any is near.
pub fn nearest<'k>(given: &str, known: &[&'k str]) -> Option<&'k str> {
    let given = snake_case(given);
    let close = |word: &str| (distance(&given, word), word.len());
    let (near, (off, _)) = known.iter().map(|k| (*k, close(k))).min_by_key(|(_, score)| *score)?;
    let allowed = (near.chars().count().max(given.chars().count()) / 3).max(1);
    (off <= allowed).then_some(near)
}

fn snake_case(text: &str) -> String {
    let mut snake = String::new();
    for c in text.chars().take(64) {
        if c.is_ascii_uppercase() && snake.ends_with(|p: char| p.is_ascii_lowercase()) {
            snake.push('_');
        }
        snake.push(if c == '-' { '_' } else { c.to_ascii_lowercase() });
    }
    snake
}

/// Edits from one word to the other: a letter added, lost, changed, or swapped with its neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // One table in one piece: this is asked of every known word.
    let width = b.len() + 1;
    let mut table = vec![0; width * (a.len() + 1)];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            let at = |up: usize, left: usize| (i - up) * width + j - left;
            table[at(0, 0)] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = table[at(1, 1)] + usize::from(a[i - 1] != b[j - 1]);
                let mut best = change.min(table[at(1, 0)] + 1).min(table[at(0, 1)] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(table[at(2, 2)] + 1);
                }
                best
            };
        }
    }
    table[width * (a.len() + 1) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_offered_when_one_is_near() {
        let known = ["version", "cluster", "peers", "peer_url", "member", "mode", "tls"];
        for (given, near) in [
            ("peeers", Some("peers")),
            ("peer", Some("peers")),
            ("peerUrl", Some("peer_url")),
            ("peer-url", Some("peer_url")),
            ("Cluster", Some("cluster")),
            ("mdoe", Some("mode")),
            ("tsl", Some("tls")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, &known), near, "{given:?}");
        }
    }
}
