//! The JSON Schema is kept by hand; here it is held against what the types accept.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value;

use super::super::validate::{Verdict, validate};
use super::super::yaml::{self, Dialect, Origin};
use super::{GOOD, fixtures};
use crate::commands::config::SCHEMA;

/// Faults that only the program finds: between values, in YAML itself, or of what a schema cannot count.
const BEYOND_A_SCHEMA: [&str; 22] = [
    "discovery-and-peers.yaml",
    "etcd-option-ours.yaml",
    "etcd-option-newline.yaml",
    "name-no.yaml",
    "name-octal.yaml",
    "name-underscore-number.yaml",
    "peers-absent.yaml",
    "peers-one-of-three.yaml",
    "peers-same-name.yaml",
    "peers-same-url.yaml",
    "peers-too-many.yaml",
    "recover-given-up-survivor.yaml",
    "recover-given-up-twice.yaml",
    "recover-not-a-peer.yaml",
    "restore-absent.yaml",
    "restore-mode-join.yaml",
    "size-mismatch.yaml",
    "url-any.yaml",
    "url-loopback-v6.yaml",
    "url-loopback.yaml",
    "url-port-large.yaml",
    "validity-short.yaml",
];

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

/// Whether a value fits, for the words that the schema uses; another word fails the test.
fn fits(schema: &Value, value: &Value, root: &Value) -> bool {
    let Value::Object(words) = schema else { panic!("{schema}") };
    let object = value.as_object();
    let inner = |schema: &Value, value: &Value| fits(schema, value, root);
    words.iter().all(|(word, says)| match word.as_str() {
        "$schema" | "title" | "description" | "default" | "$defs" => true,
        "required" => {
            object.is_none_or(|o| says.as_array().unwrap().iter().all(|k| o.contains_key(k.as_str().unwrap())))
        }
        "type" => match says {
            Value::Array(types) => types.iter().any(|t| is(t, value)),
            one => is(one, value),
        },
        "const" => value == says,
        "enum" => says.as_array().unwrap().contains(value),
        "minimum" => value.as_u64().is_none_or(|n| n >= says.as_u64().unwrap()),
        "maximum" => value.as_u64().is_none_or(|n| n <= says.as_u64().unwrap()),
        "pattern" => value.as_str().is_none_or(|text| Regex::new(says.as_str().unwrap()).unwrap().is_match(text)),
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| inner(says, item))),
        "propertyNames" => object.is_none_or(|o| o.keys().all(|k| inner(says, &Value::String(k.clone())))),
        "properties" => object.is_none_or(|o| o.iter().all(|(k, v)| says.get(k).is_none_or(|s| inner(s, v)))),
        "additionalProperties" => object.is_none_or(|o| {
            let known = |k: &String| words.get("properties").is_some_and(|p| p.get(k).is_some());
            o.iter().filter(|(k, _)| !known(k)).all(|(_, v)| *says != Value::Bool(false) && inner(says, v))
        }),
        "oneOf" => says.as_array().unwrap().iter().filter(|s| inner(s, value)).count() == 1,
        "not" => !inner(says, value),
        "$ref" => inner(root.pointer(says.as_str().unwrap().trim_start_matches('#')).unwrap(), value),
        other => panic!("the schema has a word that this test does not know: {other}"),
    })
}

fn is(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        other => panic!("a type that this test does not know: {other}"),
    }
}

fn json_of(name: &str, bytes: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(bytes).ok()?.trim_start_matches('\u{feff}');
    let tree = yaml::read(text, &Origin::whole(name), Dialect::Ours).ok()??;
    Some(tree.to_json())
}

#[test]
fn the_schema_accepts_every_good_document() {
    let schema = schema();
    let documents = fixtures("good").into_iter().filter(|(name, _)| !name.starts_with("user-data"));
    for (name, bytes) in documents {
        assert!(fits(&schema, &json_of(&name, &bytes).unwrap(), &schema), "{name}");
    }
}

#[test]
fn the_schema_rejects_every_bad_document_that_a_schema_can() {
    let schema = schema();
    let documents = fixtures("bad").into_iter().filter(|(name, _)| !name.starts_with("user-data"));
    let accepted: BTreeSet<String> = documents
        .filter(|(name, bytes)| json_of(name, bytes).is_some_and(|json| fits(&schema, &json, &schema)))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(accepted, BEYOND_A_SCHEMA.map(str::to_owned).into());
}

/// The keys that the reader knows where it meets one that it does not know.
fn known_to_the_reader(text: &str) -> BTreeSet<String> {
    let Ok(Verdict::Faults(faults)) = validate(text.as_bytes(), "f") else { panic!("{text} is good") };
    let keys: BTreeSet<String> = faults[0].known.iter().map(|k| (*k).to_owned()).collect();
    assert!(!keys.is_empty(), "{}", faults[0]);
    keys
}

#[test]
fn the_schema_has_exactly_the_keys_that_the_reader_knows() {
    let schema = schema();
    let inside = |from: &str, to: &str| {
        assert!(GOOD.contains(from), "{from}");
        GOOD.replace(from, to)
    };
    for (pointer, text) in [
        ("", inside("mode: auto", "no such key: 1")),
        ("/properties/cluster", inside("  size: 3", "  no such key: 3")),
        ("/properties/peers/items", inside("{name: etcd-1,", "{no such key: etcd-1,")),
        ("/properties/member", inside("mode: auto", "member: {no such key: 1}")),
        ("/properties/restore", inside("mode: auto", "restore: {no such key: 1}")),
        ("/properties/recover", inside("mode: auto", "recover: {no such key: 1}")),
        ("/properties/tls", inside("tls:\n", "tls:\n  no such key: 1\n")),
        ("/properties/tls/properties/ca", inside("  ca:\n", "  ca:\n    no such key: 1\n")),
        ("/properties/data", inside("mode: auto", "data: {no such key: 1}")),
        ("/properties/timeouts", inside("mode: auto", "timeouts: {no such key: 1}")),
    ] {
        let properties = schema.pointer(&format!("{pointer}/properties")).unwrap().as_object().unwrap();
        let listed: BTreeSet<String> = properties.keys().cloned().collect();
        assert_eq!(listed, known_to_the_reader(&text), "{pointer}");
    }
}
