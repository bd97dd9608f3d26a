//! The JSON Schema has words for people that no type has, so it is a file; here it is held against the types that parse, key
//! by key and by thousands of documents that are wrong in one place.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::validate::{Verdict, validate};
use super::super::yaml::{self, Dialect, Origin};
use super::super::{document, layers, user_data};
use super::{GOOD, files, fixtures, repository};
use crate::commands::config::SCHEMA;

#[path = "../../../../tests/fits.rs"]
mod fits;
use fits::fits;

/// Faults that only the program finds: between values, in YAML itself, or of what a schema cannot count.
const BEYOND_A_SCHEMA: [&str; 47] = [
    "backup-no-store.yaml",
    "backup-often.yaml",
    "discovery-and-peers.yaml",
    "discovery-asg-http.yaml",
    "discovery-dns-address.yaml",
    "discovery-dns-count.yaml",
    "etcd-option-ours.yaml",
    "etcd-option-newline.yaml",
    "firewall-bits.yaml",
    "firewall-no-peers.yaml",
    "firewall-peer-outside.yaml",
    "install-keep-and-wipe.yaml",
    "install-path.yaml",
    "logs-key-alone.yaml",
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
    "restore-url-link-local.yaml",
    "restore-without-sha256.yaml",
    "secret-endpoint-http.yaml",
    "secret-region-of-arn.yaml",
    "secret-url-link-local.yaml",
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
fn the_schema_accepts_the_document_inside_every_example_and_every_good_user_data() {
    let schema = schema();
    let examples = files(&repository().join("cloud-init/examples"));
    let fixtures = fixtures("good").into_iter().filter(|(name, _)| name.starts_with("user-data"));
    for (name, bytes) in examples.into_iter().chain(fixtures) {
        let found = user_data::read(&bytes, &name).map_err(|fault| fault.to_string()).unwrap();
        let pieces = found.parts.into_iter().map(user_data::Part::piece).collect();
        let (tree, _) = layers::lay(pieces).unwrap().unwrap_or_else(|| panic!("{name} has no document"));
        assert!(fits(&schema, &tree.to_json(), &schema), "{name}");
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
        ("/properties/firewall", inside("mode: auto", "firewall: {no such key: 1}")),
        ("/properties/recover", inside("mode: auto", "recover: {no such key: 1}")),
        (
            "/properties/discovery/oneOf/1/properties/dns_srv",
            inside("mode: auto", "discovery: {dns_srv: {no such key: 1}}"),
        ),
        ("/properties/discovery/oneOf/2/properties/dns", inside("mode: auto", "discovery: {dns: {no such key: 1}}")),
        (
            "/properties/discovery/oneOf/3/properties/aws_asg",
            inside("mode: auto", "discovery: {aws_asg: {no such key: 1}}"),
        ),
        (
            "/properties/discovery/oneOf/4/properties/aws_tags",
            inside("mode: auto", "discovery: {aws_tags: {no such key: 1}}"),
        ),
        (
            "/properties/discovery/oneOf/5/properties/gce_mig",
            inside("mode: auto", "discovery: {gce_mig: {no such key: 1}}"),
        ),
        (
            "/properties/discovery/oneOf/6/properties/azure_vmss",
            inside("mode: auto", "discovery: {azure_vmss: {no such key: 1}}"),
        ),
        ("/properties/tls", inside("tls:\n", "tls:\n  no such key: 1\n")),
        ("/properties/tls/properties/ca", inside("  ca:\n", "  ca:\n    no such key: 1\n")),
        ("/properties/data", inside("mode: auto", "data: {no such key: 1}")),
        ("/properties/install", inside("mode: auto", "install: {no such key: 1}")),
        ("/properties/metadata", inside("mode: auto", "metadata: {no such key: 1}")),
        ("/properties/timeouts", inside("mode: auto", "timeouts: {no such key: 1}")),
    ] {
        let properties = schema.pointer(&format!("{pointer}/properties")).unwrap().as_object().unwrap();
        let listed: BTreeSet<String> = properties.keys().cloned().collect();
        assert_eq!(listed, known_to_the_reader(&text), "{pointer}");
    }
}

/// What every value of the good documents is changed into, one at a time.
fn replacements() -> Vec<Value> {
    serde_json::from_str(
        r#"[null, true, 0, 3, -1, 1.5, "", "x", "auto", "yes", "3", "5m", "a b", [], ["x"], {}, {"x": 1}]"#,
    )
    .unwrap()
}

/// Every document that differs from this one in one place: a value replaced, a key taken away, a key that nobody knows.
fn variants(document: &Value) -> Vec<(String, Value)> {
    let mut pointers = Vec::new();
    fn walk(value: &Value, at: String, pointers: &mut Vec<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| {
                walk(value, format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), pointers);
            }),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(i, item)| walk(item, format!("{at}/{i}"), pointers));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        pointers.push(at);
    }
    walk(document, String::new(), &mut pointers);
    let mut variants = Vec::new();
    for pointer in pointers {
        let changed = |change: &dyn Fn(&mut Value)| {
            let mut copy = document.clone();
            change(copy.pointer_mut(&pointer).unwrap());
            copy
        };
        variants.extend(
            replacements().into_iter().map(|new| (format!("{pointer} = {new}"), changed(&|at| *at = new.clone()))),
        );
        if let Some(map) = document.pointer(&pointer).and_then(Value::as_object) {
            variants.push((format!("{pointer} + key"), changed(&|at| at["no such key"] = Value::Bool(true))));
            for key in map.keys() {
                let without = changed(&|at| drop(at.as_object_mut().unwrap().remove(key)));
                variants.push((format!("{pointer} - {key}"), without));
            }
        }
    }
    variants
}

/// The types that parse are one half of this test, and the file the other: no change that one of them sees passes by the
/// other.
#[test]
fn the_schema_and_the_types_that_parse_agree_on_every_change_of_one_place() {
    let schema = schema();
    let (mut seen, mut apart) = (0, Vec::new());
    for (name, bytes) in fixtures("good").into_iter().filter(|(name, _)| !name.starts_with("user-data")) {
        for (change, json) in variants(&json_of(&name, &bytes).unwrap()) {
            let tree = yaml::read(&json.to_string(), &Origin::whole("f"), Dialect::Ours).unwrap().unwrap();
            let fits = fits(&schema, &json, &schema);
            let parsed = document::document(&tree).map_err(|fault| fault.to_string());
            let means = document::mean(&tree).is_ok();
            seen += 1;
            match parsed {
                Err(fault) if fits => apart.push(format!("{name}: {change}: only the program refuses it: {fault}")),
                Ok(_) if means && !fits => apart.push(format!("{name}: {change}: only the schema refuses it")),
                Ok(_) | Err(_) => {}
            }
        }
    }
    assert!(seen > 5000, "{seen}");
    assert!(apart.is_empty(), "{} of {seen}:\n{}", apart.len(), apart.join("\n"));
}
