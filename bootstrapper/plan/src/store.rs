//! `store:` of the document: what it may hold, and what of it cannot be meant.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::source::{Source, misplaced, of_text};
use crate::spec::{OnTotalLoss, Problem, Secret};

/// `store:` — the cluster's home outside its disks.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreEntry {
    /// `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or `file:///directory`; holds no secret.
    pub url: String,
    /// What to do when every voter is proven gone; `wait` without it.
    #[serde(default)]
    pub on_total_loss: OnTotalLoss,
    /// Where the store answers, when it is not the provider's own; `https://` unless `allow_http`.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Region of an S3 bucket; required without an endpoint.
    #[serde(default)]
    pub region: Option<String>,
    /// Whether an S3 bucket is named in the path and not in the host name; true with an endpoint, false without.
    #[serde(default)]
    pub path_style: Option<bool>,
    /// Whether an endpoint may be `http://`, over which anybody on the way can write the claim.
    #[serde(default)]
    pub allow_http: bool,
    /// As whom the store is asked; the instance's own identity without it.
    #[serde(default)]
    pub credentials: Credentials,
    /// Through which proxy, `http://HOST:PORT`; may have a password in it.
    #[serde(default)]
    pub proxy: Option<Secret>,
}

impl StoreEntry {
    /// Whether it takes a network to know as whom it is asked.
    pub fn is_remote(&self) -> bool {
        match &self.credentials {
            Credentials::Auto => false,
            Credentials::Keys(keys) => keys.clone().secrets_mut().any(|(_, source)| source.is_remote()),
        }
    }
}

/// `store.credentials:`.
#[derive(Clone, Default)]
pub enum Credentials {
    /// `auto`: the instance's own identity.
    #[default]
    Auto,
    /// These.
    Keys(Box<Keys>),
}

/// Keys of one provider.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// S3: the public half of the key.
    #[serde(default)]
    pub access_key_id: Option<SecretText>,
    /// S3: the secret half.
    #[serde(default)]
    pub secret_access_key: Option<SecretText>,
    /// S3: for keys that end.
    #[serde(default)]
    pub session_token: Option<SecretText>,
    /// Google Cloud: the JSON of a service account's key.
    #[serde(default)]
    pub service_account: Option<SecretText>,
    /// Azure: the storage account; alone, it is asked as the instance's managed identity.
    #[serde(default)]
    pub account: Option<String>,
    /// Azure: the account's key.
    #[serde(default)]
    pub access_key: Option<SecretText>,
    /// Azure: a shared access signature.
    #[serde(default)]
    pub sas: Option<SecretText>,
}

/// A secret that need not be PEM: the text itself, or where it is.
#[derive(Clone)]
pub struct SecretText(pub Source);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        of_text(d).map(SecretText)
    }
}

impl Keys {
    /// Every secret among them, by its key.
    pub fn secrets_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Source)> {
        let all = [
            ("access_key_id", &mut self.access_key_id),
            ("secret_access_key", &mut self.secret_access_key),
            ("session_token", &mut self.session_token),
            ("service_account", &mut self.service_account),
            ("access_key", &mut self.access_key),
            ("sas", &mut self.sas),
        ];
        all.into_iter().filter_map(|(key, secret)| secret.as_mut().map(|SecretText(source)| (key, source)))
    }
}

impl<'de> Deserialize<'de> for Credentials {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct AutoOrKeys;
        impl<'de> Visitor<'de> for AutoOrKeys {
            type Value = Credentials;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`auto` or a mapping of keys")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Credentials, E> {
                if text == "auto" {
                    Ok(Credentials::Auto)
                } else {
                    Err(E::custom("expected `auto` or a mapping of keys"))
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Credentials, A::Error> {
                Keys::deserialize(MapAccessDeserializer::new(map)).map(|keys| Credentials::Keys(Box::new(keys)))
            }
        }
        d.deserialize_any(AutoOrKeys)
    }
}

/// Who keeps the objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// S3, or what speaks its language.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
    /// A directory that all hosts share.
    Directory,
}

/// A store's URL, part by part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUrl<'a> {
    /// By the scheme.
    pub provider: Provider,
    /// The bucket or the container; empty for a directory.
    pub bucket: &'a str,
    /// The prefix in it without slashes at its ends; the absolute path of a directory.
    pub prefix: &'a str,
}

impl<'a> StoreUrl<'a> {
    /// Reads one; no message quotes it beyond its scheme, as somebody may have put a secret into it.
    ///
    /// # Errors
    /// What is wrong with it and what to write.
    pub fn parse(url: &'a str) -> Result<StoreUrl<'a>, String> {
        const FORMS: &str = "write s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or file:///DIRECTORY";
        let Some((scheme, rest)) = url.split_once("://") else { return Err(format!("it is no URL: {FORMS}")) };
        let provider = match scheme {
            "s3" => Provider::S3,
            "gs" => Provider::Gcs,
            "az" => Provider::Azure,
            "file" => Provider::Directory,
            _ => return Err(format!("it is not one of a store: {FORMS}")),
        };
        if rest.contains(['@', '?', '#', ':']) {
            return Err("it has a user, a password, a port or a query: put secrets into `store.credentials`, a host into `store.endpoint`".into());
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let segments = |text: &str| text.split('/').all(|s| !matches!(s, "" | "." | "..") && s.chars().all(plain));
        if !prefix.is_empty() && !segments(prefix) {
            return Err(
                "its path may have letters, digits, `.`, `_` and `-` between single slashes, and no slash at the end"
                    .into(),
            );
        }
        match provider {
            Provider::Directory if !bucket.is_empty() || prefix.is_empty() => {
                Err("a directory is written with three slashes, as in file:///shared/etcd".into())
            }
            Provider::Directory => Ok(StoreUrl { provider, bucket, prefix: rest }),
            Provider::S3 | Provider::Gcs | Provider::Azure if bucket.is_empty() || !bucket.chars().all(plain) => {
                Err(format!("it names no bucket: {FORMS}"))
            }
            Provider::S3 | Provider::Gcs | Provider::Azure => Ok(StoreUrl { provider, bucket, prefix }),
        }
    }
}

/// Everything that is wrong with `store:`.
pub(crate) fn check(store: &StoreEntry) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |path: &str, message: String| {
        problems.push(Problem { path: format!("store{path}"), message });
    };
    let provider = match StoreUrl::parse(&store.url) {
        Ok(url) => url.provider,
        Err(why) => {
            add(".url", why);
            return problems;
        }
    };
    match &store.endpoint {
        Some(_) if provider == Provider::Directory => add(".endpoint", "a directory has none: remove it".into()),
        Some(endpoint) => check_endpoint(endpoint, store.allow_http, &mut |why| add(".endpoint", why)),
        None if store.allow_http => {
            add(".allow_http", "there is no `store.endpoint` to which it applies: remove it".into())
        }
        None if provider == Provider::S3 && store.region.is_none() => {
            add("", "an S3 bucket needs its `region`, or the `endpoint` of a server of your own".into());
        }
        None => {}
    }
    for (key, there) in [(".region", store.region.is_some()), (".path_style", store.path_style.is_some())] {
        if there && provider != Provider::S3 {
            add(key, "only S3 has it: remove it".into());
        }
    }
    if let Some(why) = store.proxy.as_ref().and_then(bad_proxy) {
        add(".proxy", why);
    }
    if store.proxy.is_some() && provider == Provider::Directory {
        add(".proxy", "a directory has none: remove it".into());
    }
    check_credentials(provider, &store.credentials, &mut |key, why| add(&format!(".credentials{key}"), why));
    problems
}

/// Why this is no proxy; the text is not quoted.
pub(crate) fn bad_proxy(proxy: &Secret) -> Option<String> {
    let rest = proxy.reveal().strip_prefix("http://").or_else(|| proxy.reveal().strip_prefix("https://"));
    let host = rest.map(|rest| rest.rsplit('@').next().unwrap_or_default().trim_end_matches('/'));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    let fits = host.is_some_and(|host| !host.is_empty() && host.chars().all(plain));
    (!fits).then(|| "write it as http://HOST:PORT, with USER:PASSWORD@ before the host where it wants one".into())
}

pub(crate) fn check_endpoint(endpoint: &str, allow_http: bool, add: &mut dyn FnMut(String)) {
    let rest = match endpoint.split_once("://") {
        Some(("https", rest)) => rest,
        Some(("http", rest)) if allow_http => rest,
        Some(("http", _)) => return add(
            "it is http, over which anybody on the way can answer in its place: use https, or add `allow_http: true` beside it"
                .into(),
        ),
        Some(_) | None => return add("write it as https://HOST or https://HOST:PORT".into()),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']' | '/');
    if rest.is_empty() || !rest.chars().all(plain) || rest.ends_with('/') {
        add("write it as https://HOST or https://HOST:PORT, without user, query and slash at the end".into());
    }
}

pub(crate) fn check_credentials(provider: Provider, credentials: &Credentials, add: &mut dyn FnMut(&str, String)) {
    let keys = match (credentials, provider) {
        (Credentials::Keys(keys), _) => keys,
        (Credentials::Auto, Provider::Azure) => {
            return add("", "the storage account is needed: write {account: NAME}, and `access_key` or `sas` where the instance has no managed identity".into());
        }
        (Credentials::Auto, Provider::S3 | Provider::Gcs | Provider::Directory) => return,
    };
    let secrets = [
        (".access_key_id", Provider::S3, &keys.access_key_id),
        (".secret_access_key", Provider::S3, &keys.secret_access_key),
        (".session_token", Provider::S3, &keys.session_token),
        (".service_account", Provider::Gcs, &keys.service_account),
        (".access_key", Provider::Azure, &keys.access_key),
        (".sas", Provider::Azure, &keys.sas),
    ];
    for (key, of, secret) in secrets {
        let Some(SecretText(source)) = secret else { continue };
        if of != provider {
            add(key, "another provider than that of `store.url` has it: remove it".into());
        } else if let Some((inner, why)) = misplaced(source) {
            add(&format!("{key}.{inner}"), why);
        }
    }
    match provider {
        Provider::S3 if keys.access_key_id.is_none() || keys.secret_access_key.is_none() => {
            add("", "write `access_key_id` and `secret_access_key`, or `auto`".into());
        }
        Provider::Gcs if keys.service_account.is_none() => add("", "write `service_account`, or `auto`".into()),
        Provider::Azure if keys.account.is_none() => add("", "write `account`".into()),
        Provider::Azure if keys.access_key.is_some() && keys.sas.is_some() => {
            add("", "write `access_key` or `sas`, not both".into());
        }
        Provider::Directory => add("", "a directory has none: remove them".into()),
        Provider::S3 | Provider::Gcs | Provider::Azure => {}
    }
    if keys.account.is_some() && provider != Provider::Azure {
        add(".account", "only Azure has it: remove it".into());
    }
}
