//! Keys of the document that a carrier of single words can give: the kernel command line, and tags of an instance.
//!
//! Everybody on the machine, and everybody who may list instances, can read both: no key that holds a secret is here.

use super::document;
use super::fault::{Fault, nearest};
use super::tree::{Key, Node, Place, Style, Value};

/// Each key, and whether its value is a text whatever it looks like, or a number, true or false.
const KEYS: [(&str, Style); 31] = [
    ("allow_inline_secrets", Style::Plain),
    ("cluster.epoch", Style::Plain),
    ("cluster.found_until", Style::Quoted),
    ("cluster.name", Style::Quoted),
    ("cluster.size", Style::Plain),
    ("data.device", Style::Quoted),
    ("data.device.label", Style::Quoted),
    ("data.device.lun", Style::Plain),
    ("data.device.name", Style::Quoted),
    ("data.device.serial", Style::Quoted),
    ("data.device.wwid", Style::Quoted),
    ("data.wal_device.label", Style::Quoted),
    ("data.wal_device.lun", Style::Plain),
    ("data.wal_device.name", Style::Quoted),
    ("data.wal_device.serial", Style::Quoted),
    ("data.wal_device.wwid", Style::Quoted),
    ("discovery.file", Style::Quoted),
    ("member.address", Style::Quoted),
    ("member.address.cidr", Style::Quoted),
    ("member.address.interface", Style::Quoted),
    ("member.name", Style::Quoted),
    ("metadata.allow_imdsv1", Style::Plain),
    ("metadata.cross_check", Style::Quoted),
    ("metadata.provider", Style::Quoted),
    ("mode", Style::Quoted),
    ("recover.epoch", Style::Plain),
    ("recover.survivor", Style::Quoted),
    ("replace_after", Style::Quoted),
    ("timeouts.data_device", Style::Quoted),
    ("timeouts.metadata", Style::Quoted),
    ("timeouts.time_sync", Style::Quoted),
];

/// A key with its value, as the carrier has it.
pub struct Word {
    /// A path such as `cluster.size`.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Where it stands.
    pub place: Place,
}

/// The words as a tree; `None` without any.
///
/// # Errors
/// A key that is not one of these, or is given twice, and a value that cannot be; the message has the key and never the
/// value.
pub fn tree(words: Vec<Word>) -> Result<Option<Node>, Fault> {
    let Some(first) = words.first() else { return Ok(None) };
    let mut tree = Node { place: first.place.clone(), value: Value::Map(Vec::new()) };
    for Word { key, value, place } in words {
        let Some((known, style)) = KEYS.into_iter().find(|(known, _)| *known == key) else {
            return Err(unknown(&key, &place));
        };
        let value = Node { place: place.clone(), value: Value::Text(value, style) };
        insert(&mut tree, known, value)
            .map_err(|()| Fault { path: key, ..Fault::here(&place, "given twice: remove one of both") })?;
    }
    document::refuse_escaped_control_characters(&tree)?;
    Ok(Some(tree))
}

fn insert(tree: &mut Node, path: &str, value: Node) -> Result<(), ()> {
    let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
    let Value::Map(entries) = &mut tree.value else { return Err(()) };
    let at = entries.iter().position(|(k, _)| k.name == key);
    match (at, rest) {
        (Some(at), Some(rest)) => insert(&mut entries[at].1, rest, value),
        (Some(_), None) => Err(()),
        (None, rest) => {
            let place = value.place.clone();
            let mut inner = value;
            // From the last key outwards.
            for name in rest.into_iter().flat_map(|rest| rest.rsplit('.')) {
                let key = Key { name: name.to_owned(), place: place.clone() };
                inner = Node { place: place.clone(), value: Value::Map(vec![(key, inner)]) };
            }
            entries.push((Key { name: key.to_owned(), place }, inner));
            Ok(())
        }
    }
}

fn unknown(key: &str, place: &Place) -> Fault {
    let known = KEYS.map(|(known, _)| known);
    let message = match nearest(key, &known) {
        Some(near) => format!("unknown key: did you mean `{near}`?"),
        None => "this key is not taken from where everybody can read it: give it in a document, and a secret as a \
                 credential or a file"
            .to_owned(),
    };
    Fault { place: Some(place.clone()), ..Fault::new(message).under(key) }
}

#[cfg(test)]
mod tests {
    use super::super::yaml::Origin;
    use super::*;

    fn words(words: &[(&str, &str)]) -> Vec<Word> {
        let place = Origin::whole("f").place(1, 1);
        let word =
            |(key, value): &(&str, &str)| Word { key: (*key).into(), value: (*value).into(), place: place.clone() };
        words.iter().map(word).collect()
    }

    #[test]
    fn words_become_the_tree_that_a_document_would() {
        let given = words(&[
            ("cluster.name", "123"),
            ("mode", "join"),
            ("cluster.size", "3"),
            ("data.device.serial", "a=b"),
            ("metadata.allow_imdsv1", "true"),
        ]);
        let expected = serde_json::json!({
            "cluster": {"name": "123", "size": 3}, "mode": "join", "data": {"device": {"serial": "a=b"}},
            "metadata": {"allow_imdsv1": true},
        });
        assert_eq!(tree(given).unwrap().map(|tree| tree.to_json()), Some(expected));
        assert!(tree(Vec::new()).unwrap().is_none());
    }

    #[test]
    fn a_key_that_is_unknown_twice_or_a_secret_is_a_fault_without_its_value() {
        let elsewhere = "this key is not taken from where everybody can read it: give it in a document, and a secret \
                         as a credential or a file";
        for (given, expected) in [
            (words(&[("mdoe", "CANARY")]), "f:1:1: mdoe: unknown key: did you mean `mode`?".to_owned()),
            (words(&[("tls.ca.key", "CANARY")]), format!("f:1:1: tls.ca.key: {elsewhere}")),
            (words(&[("store.url", "CANARY")]), format!("f:1:1: store.url: {elsewhere}")),
            (words(&[("mode", "a"), ("mode", "a")]), "f:1:1: mode: given twice: remove one of both".to_owned()),
            (
                words(&[("data.device", "auto"), ("data.device.serial", "a")]),
                "f:1:1: data.device.serial: given twice: remove one of both".to_owned(),
            ),
            (
                words(&[("mode", "CANARY\u{1b}")]),
                "f:1:1: mode: the control character U+001B is inside this text: remove it".to_owned(),
            ),
        ] {
            assert_eq!(tree(given).map(drop).expect_err(&expected).to_string(), expected);
        }
        assert!(KEYS.is_sorted_by_key(|(key, _)| *key));
    }
}
