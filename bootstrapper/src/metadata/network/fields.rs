//! A mapping of `network-config`, key by key: what nobody has taken at its end is not supported.
//!
//! Values are taken as they are written: the text is one of YAML 1.1, in which `dhcp4: no` is false, and what is meant by an
//! address or a number is known from its key.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::Cidr;
use crate::metadata::fault::Fault;
use crate::metadata::tree::{Node, Value};

/// Linux has no longer names of interfaces, bytes.
const NAME: usize = 15;

/// What is left of a mapping.
pub struct Fields<'n> {
    node: &'n Node,
    known: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// All of it.
    pub fn of(node: &'n Node) -> Result<Fields<'n>, Fault> {
        match &node.value {
            Value::Map(_) => Ok(Fields { node, known: Vec::new() }),
            Value::Text(..) | Value::List(_) => {
                let why = format!("expected a mapping (lines of `key: value`), found {}", node.kind());
                Err(Fault::here(&node.place, why))
            }
        }
    }

    /// The value of a key; what is empty is not there.
    pub fn take<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&'n Node) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        self.known.push(key);
        let Some(node) = self.node.get(key).filter(|node| !node.is_nothing()) else { return Ok(None) };
        read(node).map(Some).map_err(|fault| fault.at(&node.place).under(key))
    }

    /// [`Fields::take`] for a key without which the mapping means nothing.
    pub fn need<T>(&mut self, key: &'static str, read: impl FnOnce(&'n Node) -> Result<T, Fault>) -> Result<T, Fault> {
        let place = &self.node.place;
        self.take(key, read)?.ok_or_else(|| Fault::here(place, "this key is required: add it").under(key))
    }

    /// Keys that change nothing here.
    pub fn pass_over(&mut self, keys: &[&'static str]) {
        self.known.extend(keys);
    }

    /// A fault of the mapping as a whole.
    pub fn wrong(&self, why: impl Into<String>) -> Fault {
        Fault::here(&self.node.place, why)
    }

    /// Refuses what was not taken.
    pub fn end(self) -> Result<(), Fault> {
        let rest = self.node.entries().iter().find(|(key, _)| !self.known.contains(&key.name.as_str()));
        let Some((key, _)) = rest else { return Ok(()) };
        let known = self.known.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
        let why = format!("this key is not supported by the image without cloud-init, which reads {known} here");
        Err(Fault::here(&key.place, why).under(&key.name))
    }
}

/// Each entry of a mapping by its name.
pub fn each<'n, T>(node: &'n Node, mut read: impl FnMut(&str, &'n Node) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
    Fields::of(node)?;
    let one = |(key, value): &'n (crate::metadata::tree::Key, Node)| {
        read(&key.name, value).map_err(|fault| fault.at(&value.place).under(&key.name))
    };
    node.entries().iter().map(one).collect()
}

/// Each value of a list.
pub fn list<'n, T>(node: &'n Node, mut read: impl FnMut(&'n Node) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
    let Value::List(items) = &node.value else {
        let why = format!("expected a list (lines that begin with `- `), found {}", node.kind());
        return Err(Fault::here(&node.place, why));
    };
    let one = |(i, item): (usize, &'n Node)| read(item).map_err(|fault| fault.at(&item.place).in_item(i));
    items.iter().enumerate().map(one).collect()
}

/// A list, or one value that stands for a list of one.
pub fn some<'n, T>(node: &'n Node, mut read: impl FnMut(&'n Node) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
    if node.text().is_some() { Ok(vec![read(node)?]) } else { list(node, read) }
}

/// A text, as it is written.
pub fn text(node: &Node) -> Result<&str, Fault> {
    match node.text().map(str::trim) {
        Some(text) if !text.is_empty() => Ok(text),
        Some(_) | None => Err(Fault::here(&node.place, format!("expected a text, found {}", node.kind()))),
    }
}

/// One of these words, in any case.
pub fn word(node: &Node, known: &[&'static str]) -> Result<&'static str, Fault> {
    let given = text(node)?;
    known
        .iter()
        .copied()
        .find(|word| word.eq_ignore_ascii_case(given))
        .ok_or_else(|| Fault::here(&node.place, format!("expected one of {}", known.join(", "))))
}

/// True or false, in all of YAML 1.1's spellings.
pub fn flag(node: &Node) -> Result<bool, Fault> {
    match text(node).map(str::to_ascii_lowercase).as_deref() {
        Ok("true" | "yes" | "on") => Ok(true),
        Ok("false" | "no" | "off") => Ok(false),
        Ok(_) | Err(_) => Err(Fault::here(&node.place, "expected true or false")),
    }
}

/// A whole number.
pub fn number(node: &Node, least: u32, most: u32) -> Result<u32, Fault> {
    let range: RangeInclusive<u32> = least..=most;
    let digits = node.text().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    digits
        .and_then(|text| text.parse().ok())
        .filter(|number| range.contains(number))
        .ok_or_else(|| Fault::here(&node.place, format!("expected a whole number from {least} to {most}")))
}

/// Bytes of a packet.
pub fn mtu(node: &Node) -> Result<u32, Fault> {
    number(node, 68, 65536)
}

/// Milliseconds.
pub fn milliseconds(node: &Node) -> Result<String, Fault> {
    let digits = text(node)?.trim_end_matches("ms");
    match digits.parse::<u32>() {
        Ok(number) => Ok(format!("{number}ms")),
        Err(_) => Err(Fault::here(&node.place, "expected milliseconds, such as 100")),
    }
}

/// The address of a card, in lower case.
pub fn mac(node: &Node) -> Result<String, Fault> {
    let mac = text(node)?.replace('-', ":").to_ascii_lowercase();
    let pairs = mac.split(':').all(|pair| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()));
    if pairs && mac.split(':').count() == 6 {
        Ok(mac)
    } else {
        Err(Fault::here(&node.place, "expected the address of a card, such as \"52:54:00:12:34:56\""))
    }
}

/// A name of an interface.
pub fn name(node: &Node) -> Result<String, Fault> {
    let name = text(node)?;
    is_name(name).then(|| name.to_owned()).ok_or_else(|| no_name(node))
}

/// The name that an interface gets, where it is made.
pub fn made(node: &Node, name: &str) -> Result<String, Fault> {
    is_name(name).then(|| name.to_owned()).ok_or_else(|| no_name(node))
}

/// What a text calls an interface, which is no more than a word there.
pub fn label(node: &Node, name: &str) -> Result<String, Fault> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    if (1..=64).contains(&name.len()) && name.chars().all(fits) && !name.starts_with('.') {
        return Ok(name.to_owned());
    }
    Err(Fault::here(&node.place, "expected a name of letters, digits, `.`, `_`, `-` and `:`"))
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=NAME).contains(&name.len()) && name.chars().all(fits) && !name.starts_with('.')
}

fn no_name(node: &Node) -> Fault {
    let why = format!("expected a name of an interface: at most {NAME} letters, digits, `.`, `_` and `-`");
    Fault::here(&node.place, why)
}

/// A name of an interface or of a driver, with wildcards.
pub fn pattern(node: &Node) -> Result<String, Fault> {
    let name = text(node)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '*' | '?' | '[' | ']');
    if name.len() <= 64 && name.chars().all(fits) {
        return Ok(name.to_owned());
    }
    Err(Fault::here(&node.place, "expected one name, in which `*`, `?` and `[…]` stand for others"))
}

/// An address.
pub fn ip(node: &Node) -> Result<IpAddr, Fault> {
    text(node)?.parse().map_err(|_| Fault::here(&node.place, "expected an address, such as 10.0.0.1 or fd00::1"))
}

/// An address with the length of its network.
pub fn cidr(node: &Node) -> Result<Cidr, Fault> {
    let text = text(node)?;
    Cidr::parse(text)
        .filter(|_| text.contains('/'))
        .ok_or_else(|| Fault::here(&node.place, "expected an address and the length of its network: 10.0.0.11/24"))
}

/// Where a route leads; `None` for everywhere.
pub fn destination(node: &Node) -> Result<Option<Cidr>, Fault> {
    let text = text(node)?;
    if text == "default" {
        return Ok(None);
    }
    let to = Cidr::parse(text)
        .ok_or_else(|| Fault::here(&node.place, "expected `default`, or a network such as 10.1.0.0/16"))?;
    Ok((!to.is_everything()).then_some(to))
}

/// A domain.
pub fn domain(node: &Node) -> Result<String, Fault> {
    let domain = text(node)?;
    if crate::metadata::nocloud::is_hostname(domain.trim_end_matches('.')) {
        return Ok(domain.trim_end_matches('.').to_owned());
    }
    Err(Fault::here(&node.place, "expected a domain, such as example.com"))
}
