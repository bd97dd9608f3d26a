//! `restore:` of the document: what it may hold, and what of it cannot be meant.

use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::member::ClusterName;
use crate::source::{Source, leads_to_the_link, misplaced};
use crate::spec::{OnTotalLoss, Problem, Secret, Sha256};
use crate::store::{self, Credentials, SecretText, StoreEntry};

/// `restore:` — the snapshot that a founding restores.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreEntry {
    /// Where it is: the first that delivers it is taken. Absent where the store keeps the snapshots.
    #[serde(default)]
    pub url: Option<Urls>,
    /// sha256 of the object as it lies there.
    #[serde(default)]
    pub sha256: Option<Sha256>,
    /// What it is decrypted with: one age identity or several, a line each.
    #[serde(default)]
    pub age_identity: Option<SecretText>,
    /// Who must have signed it: minisign's public key; the signature lies beside it as `….minisig`.
    #[serde(default)]
    pub minisign_key: Option<String>,
    /// The cluster that the snapshot is of, when that is another one than `cluster.name`.
    #[serde(default)]
    pub from_cluster: Option<ClusterName>,
    /// As `store.endpoint`, for a bucket of a URL; with it or one of the four below, none of the store's are taken.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// As `store.region`.
    #[serde(default)]
    pub region: Option<String>,
    /// As `store.path_style`.
    #[serde(default)]
    pub path_style: Option<bool>,
    /// As `store.allow_http`.
    #[serde(default)]
    pub allow_http: bool,
    /// As `store.credentials`.
    #[serde(default)]
    pub credentials: Option<Credentials>,
    /// As `store.proxy`, for `https://` URLs as well; never for the other members.
    #[serde(default)]
    pub proxy: Option<Secret>,
}

/// A URL of an object in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectUrl<'a> {
    /// `s3`, `gs` or `az`.
    pub scheme: &'a str,
    /// The bucket or the container.
    pub bucket: &'a str,
    /// The object's key in it.
    pub key: &'a str,
}

impl<'a> ObjectUrl<'a> {
    /// Reads one; `None` for a URL with another scheme.
    ///
    /// # Errors
    /// What is wrong with it; the text is not quoted, as somebody may have put a secret into it.
    pub fn parse(url: &'a str) -> Option<Result<ObjectUrl<'a>, String>> {
        let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "s3" | "gs" | "az"))?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        Some(if bucket.is_empty() || !bucket.chars().all(plain) {
            Err(format!(
                "names no bucket: write {scheme}://BUCKET/KEY; a host belongs into `endpoint`, a key into `credentials`"
            ))
        } else if key.is_empty() || key.split('/').any(|part| matches!(part, "" | "." | "..")) {
            Err(format!("names no object: write {scheme}://BUCKET/KEY, with single slashes"))
        } else if key.contains(['?', '#']) || key.chars().any(char::is_control) {
            Err("has a query or a fragment: keys belong into `credentials`".into())
        } else {
            Ok(ObjectUrl { scheme, bucket, key })
        })
    }
}

/// A URL of a file on an attached volume, such as a stick that a site's snapshots are carried on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeUrl<'a> {
    /// The label of its file system.
    pub label: &'a str,
    /// The file's path in it.
    pub path: &'a str,
}

impl<'a> VolumeUrl<'a> {
    /// Reads one; `None` for a URL with another scheme. Nothing in it is escaped.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(url: &'a str) -> Option<Result<VolumeUrl<'a>, &'static str>> {
        let rest = url.strip_prefix("volume://")?;
        let (label, path) = rest.split_once('/').unwrap_or((rest, ""));
        Some(if label.is_empty() || rest.chars().any(char::is_control) {
            Err("names no volume: write volume://LABEL/PATH, with the label of its file system")
        } else if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            Err("names no file on the volume: write volume://LABEL/PATH, with single slashes")
        } else {
            Ok(VolumeUrl { label, path })
        })
    }
}

impl RestoreEntry {
    /// How the bucket of a URL is asked: as this entry says, else as the store of the same provider, else by the
    /// instance's own identity.
    pub fn access(entry: Option<&RestoreEntry>, store: Option<&StoreEntry>, url: &ObjectUrl<'_>) -> StoreEntry {
        let bucket = format!("{}://{}", url.scheme, url.bucket);
        let of_store = store.filter(|store| store.url.starts_with(&format!("{}://", url.scheme)));
        let proxy = entry.and_then(|e| e.proxy.clone()).or_else(|| of_store.and_then(|store| store.proxy.clone()));
        match (entry.filter(|entry| entry.has_access()), of_store) {
            (None, Some(store)) => StoreEntry { url: bucket, proxy, ..store.clone() },
            (entry, _) => StoreEntry {
                url: bucket,
                on_total_loss: OnTotalLoss::Wait,
                endpoint: entry.and_then(|e| e.endpoint.clone()),
                region: entry.and_then(|e| e.region.clone()),
                path_style: entry.and_then(|e| e.path_style),
                allow_http: entry.is_some_and(|e| e.allow_http),
                credentials: entry.and_then(|e| e.credentials.clone()).unwrap_or_default(),
                proxy,
            },
        }
    }

    fn has_access(&self) -> bool {
        self.endpoint.is_some()
            || self.region.is_some()
            || self.path_style.is_some()
            || self.allow_http
            || self.credentials.is_some()
    }
}

/// One URL, or several of the same object; they may carry signatures, so they are secrets.
#[derive(Clone)]
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
pub(crate) fn check(restore: &RestoreEntry, of_store: Option<&StoreEntry>) -> Vec<Problem> {
    let mut problems = check_urls(restore, of_store);
    let mut add = |path: String, message: &str| {
        problems.push(Problem { path: format!("restore.{path}"), message: message.into() });
    };
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

fn check_urls(restore: &RestoreEntry, of_store: Option<&StoreEntry>) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    let mut add = |path: &str, message: String| problems.push(Problem { path: format!("restore{path}"), message });
    let missing = |key: &str| format!("`{key}` is missing: a snapshot is restored by its `url` and its `sha256`");
    let urls = match (&restore.url, &restore.sha256) {
        (Some(urls), Some(_)) => urls.0.as_slice(),
        (Some(_), None) => return vec![Problem { path: "restore.sha256".into(), message: missing("sha256") }],
        (None, Some(_)) => return vec![Problem { path: "restore.url".into(), message: missing("url") }],
        (None, None) => {
            if of_store.is_none() {
                add("", "there is no `url`, and no `store` whose snapshots it could be about".into());
            }
            return problems;
        }
    };
    if urls.is_empty() {
        add(".url", "the list is empty: write where the snapshot is".into());
    }
    let mut buckets = 0;
    for (i, url) in urls.iter().enumerate() {
        let path = if urls.len() == 1 { ".url".into() } else { format!(".url[{i}]") };
        let scheme = url.reveal().split("://").next().unwrap_or_default().to_ascii_lowercase();
        match ObjectUrl::parse(url.reveal()) {
            Some(Ok(url)) => {
                buckets += 1;
                let access = RestoreEntry::access(Some(restore), of_store, &url);
                // The store's own faults are said where it stands.
                if buckets == 1 && (restore.has_access() || access.endpoint.is_none()) {
                    let own = |path: &str| path.strip_prefix("store").unwrap_or(path).to_owned();
                    store::check(&access).into_iter().for_each(|p| add(&own(&p.path), p.message));
                }
            }
            Some(Err(why)) => add(&path, format!("it {why}")),
            None => match VolumeUrl::parse(url.reveal()) {
                Some(Ok(_)) => {}
                Some(Err(why)) => add(&path, format!("it {why}")),
                None if leads_to_the_link(url.reveal()) => {
                    add(
                        &path,
                        "its host is of this machine's own link, where no snapshot is kept: name another one".into(),
                    );
                }
                None if matches!(scheme.as_str(), "https" | "file") => {}
                None => add(&path, "write an https://, file://, volume://, s3://, gs:// or az:// URL".into()),
            },
        }
    }
    if let Some(why) = restore.proxy.as_ref().and_then(store::bad_proxy) {
        add(".proxy", why);
    }
    if buckets == 0 && restore.has_access() {
        add("", "`endpoint`, `region`, `path_style`, `allow_http` and `credentials` are for s3://, gs:// and az:// URLs, and there is none".into());
    }
    problems
}
