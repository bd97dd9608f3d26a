//! JSON Schema, as far as this project's schemas use it.

use std::cell::RefCell;
use std::collections::HashMap;

use regex::Regex;
use serde_json::Value;

/// Whether a value fits, for the words that the schema uses; another word fails the test.
pub fn fits(schema: &Value, value: &Value, root: &Value) -> bool {
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
        "minimum" => value.as_i64().is_none_or(|n| n >= says.as_i64().unwrap()),
        "maximum" => value.as_u64().is_none_or(|n| n <= says.as_u64().unwrap()),
        "pattern" => value.as_str().is_none_or(|text| matches(says.as_str().unwrap(), text)),
        "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= says.as_u64().unwrap()),
        "minProperties" => object.is_none_or(|o| o.len() as u64 >= says.as_u64().unwrap()),
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

thread_local! {
    /// Made once each: in a debug build that takes longer than all the rest.
    static PATTERNS: RefCell<HashMap<String, Regex>> = RefCell::default();
}

fn matches(pattern: &str, text: &str) -> bool {
    PATTERNS.with_borrow_mut(|patterns| {
        patterns.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern).unwrap()).is_match(text)
    })
}

fn is(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("a type that this test does not know: {other}"),
    }
}
