//! The JSON Schema is kept by hand; here it is held against what the types accept.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::validate::{Verdict, validate};
use super::super::yaml::{self, Dialect, Origin};
use super::{GOOD, fixtures};
use crate::commands::config::SCHEMA;

#[path = "../../../../tests/fits.rs"]
mod fits;
use fits::fits;

/// Faults that only the program finds: between values, in YAML itself, or of what a schema cannot count.
const BEYOND_A_SCHEMA: [&str; 34] = [
    "backup-no-store.yaml",
    "backup-often.yaml",
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
    "restore-bucket-keys.yaml",
    "restore-bucket-region.yaml",
    "restore-mode-join.yaml",
    "restore-nothing.yaml",
    "restore-without-sha256.yaml",
    "size-mismatch.yaml",
    "store-azure-auto.yaml",
    "store-endpoint-http.yaml",
    "store-half-a-key.yaml",
    "store-key-of-another.yaml",
    "store-no-region.yaml",
    "store-region-elsewhere.yaml",
    "url-any.yaml",
    "url-loopback-v6.yaml",
    "url-loopback.yaml",
    "url-port-large.yaml",
    "validity-short.yaml",
];

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
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
        ("/properties/store", inside("mode: auto", "store: {no such key: 1}")),
        ("/properties/backup", inside("mode: auto", "backup: {no such key: 1}")),
        ("/properties/backup/properties/keep", inside("mode: auto", "backup: {keep: {no such key: 1}}")),
        ("/$defs/credentials/oneOf/1", inside("mode: auto", "store: {url: \"gs://b\", credentials: {no such key: 1}}")),
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
