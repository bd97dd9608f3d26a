//! `restore:` of the document: what it may hold, and what of it cannot be meant.

use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::check::misplaced;
use crate::document::Source;
use crate::spec::{Problem, Secret, Sha256};
use crate::store::SecretText;

/// `restore:` — the snapshot that a founding restores.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreEntry {
    /// Where it is: the first that delivers it is taken.
    pub url: Urls,
    /// sha256 of the object as it lies there.
    pub sha256: Sha256,
    /// What it is decrypted with: one age identity or several, a line each.
    #[serde(default)]
    pub age_identity: Option<SecretText>,
    /// Who must have signed it: minisign's public key; the signature lies beside it as `….minisig`.
    #[serde(default)]
    pub minisign_key: Option<String>,
}

/// One URL, or several of the same object; they may carry signatures, so they are secrets.
pub struct Urls(pub Vec<Secret>);

impl<'de> Deserialize<'de> for Urls {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Urls;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL, or a list of them")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Urls, E> {
                Ok(Urls(vec![Secret::new(text.to_owned())]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Urls, A::Error> {
                let mut urls = Vec::new();
                while let Some(url) = seq.next_element()? {
                    urls.push(url);
                }
                Ok(Urls(urls))
            }
        }
        d.deserialize_any(OneOrMore)
    }
}

/// Everything that is wrong with `restore:`.
pub(crate) fn check(restore: &RestoreEntry) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |path: String, message: &str| {
        problems.push(Problem { path: format!("restore.{path}"), message: message.into() });
    };
    let urls = &restore.url.0;
    if urls.is_empty() {
        add("url".into(), "the list is empty: write where the snapshot is");
    }
    for (i, url) in urls.iter().enumerate() {
        let scheme = url.reveal().split("://").next().unwrap_or_default().to_ascii_lowercase();
        if !matches!(scheme.as_str(), "https" | "file") {
            let path = if urls.len() == 1 { "url".into() } else { format!("url[{i}]") };
            add(path, "write an https:// or a file:// URL");
        }
    }
    match restore.age_identity.as_ref().map(|SecretText(source)| source) {
        Some(Source::Inline(text)) if !text.reveal().contains("AGE-SECRET-KEY-1") => {
            add(
                "age_identity".into(),
                "this is no age identity, which begins with AGE-SECRET-KEY-1: `age-keygen` makes one",
            );
        }
        Some(source) => {
            if let Some((key, why)) = misplaced(source) {
                add(format!("age_identity.{key}"), &why);
            }
        }
        None => {}
    }
    // 42 bytes in base64; the program that can decode them says the rest.
    let key = |text: &str| text.len() == 56 && text.starts_with("RW");
    if restore.minisign_key.as_deref().is_some_and(|text| !text.lines().any(|line| key(line.trim()))) {
        let what = "this is no public key of minisign, which has a line of 56 characters that begins with RW: \
                    it is in the file minisign.pub";
        add("minisign_key".into(), what);
    }
    problems
}
