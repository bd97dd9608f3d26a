//! The store: its claim against servers that fail and race, and clusters that hang on it.

mod claims;
pub mod cluster;
mod faults;
mod identity;
mod servers;

use bootstrapper::paths::Paths;
use bootstrapper::store::Store;
use plan::document::Source;
use plan::facts::{Claim, ClaimState};
use plan::founding::{Founder, Founding, Terms};
use plan::member::ClusterName;
use plan::spec::Secret;
use plan::store::{Credentials, Keys, SecretText, StoreEntry};

use crate::support::bucket::Bucket;
use crate::support::scratch::Scratch;

/// The secret half of a key, which nobody may read in a message.
const SECRET: &str = "CANARY-of-a-secret-key";

fn text(text: &str) -> Option<SecretText> {
    Some(SecretText(Source::Inline(Secret::new(text.to_owned()))))
}

fn entry(url: &str, endpoint: Option<String>, keys: Keys) -> StoreEntry {
    let allow_http = endpoint.is_some();
    let credentials = Credentials::Keys(Box::new(keys));
    StoreEntry {
        url: url.into(),
        on_total_loss: Default::default(),
        endpoint,
        region: None,
        path_style: None,
        allow_http,
        credentials,
        proxy: None,
    }
}

/// A bucket as S3.
fn s3(bucket: &Bucket, scratch: &Scratch) -> Store {
    let keys = Keys { access_key_id: text("AKIA"), secret_access_key: text(SECRET), ..Keys::default() };
    Store::open(&entry("s3://bucket/prod", Some(bucket.endpoint()), keys), &Paths::under(scratch.path()))
        .expect("a store")
}

/// The same bucket as Google's.
fn gcs(bucket: &Bucket, scratch: &Scratch) -> Store {
    let key = format!(
        "{{\"private_key\":\"{SECRET}\",\"private_key_id\":\"1\",\"client_email\":\"e@example\",\"disable_oauth\":true}}"
    );
    let keys = Keys { service_account: text(&key), ..Keys::default() };
    Store::open(&entry("gs://bucket/prod", Some(bucket.endpoint()), keys), &Paths::under(scratch.path()))
        .expect("a store")
}

/// A directory below the root of every host.
fn directory(scratch: &Scratch) -> Store {
    let entry = StoreEntry { credentials: Credentials::Auto, ..entry("file:///shared", None, Keys::default()) };
    std::fs::create_dir_all(scratch.join("shared")).expect("a directory");
    Store::open(&entry, &Paths::under(scratch.path())).expect("a store")
}

fn cluster() -> ClusterName {
    "prod".parse().expect("a name")
}

/// The founding that a host alone would make of itself and two others.
fn founding(host: u8) -> Founding {
    let founder = |i: u8, nonce: u8| Founder {
        name: format!("etcd-{i}").parse().expect("a name"),
        peer_url: format!("https://10.0.0.{i}:2380").parse().expect("a URL"),
        nonce: format!("{nonce:032x}").parse().expect("a nonce"),
    };
    let terms = Terms {
        cluster: cluster(),
        epoch: 1,
        generation: 1,
        size: 3,
        set: vec!["etcd-1".into(), "etcd-2".into(), "etcd-3".into()],
        store: Some("s3://bucket/prod".into()),
        snapshot: None,
        etcd: "3.5".into(),
    };
    Founding::new(terms, vec![founder(1, host), founder(2, 201), founder(3, 202)])
}

fn claim(host: u8, state: ClaimState) -> Claim {
    Claim::of(&founding(host), state)
}
