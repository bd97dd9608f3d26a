//! Servers that other people wrote.

use bootstrapper::paths::Paths;
use bootstrapper::store::Store;
use bootstrapper::store::claim::{self, Swap};
use plan::facts::ClaimState;
use plan::store::{Keys, StoreEntry};

use super::{claim as a_claim, cluster, entry, text};
use crate::support::azurite::{self, Azurite};
use crate::support::moto::Moto;
use crate::support::s3s::{self, S3s};
use crate::support::scratch::Scratch;

/// A claim from its creation on, and what refuses it.
async fn keeps_a_claim(entry: StoreEntry, nowhere: &str, missing: &str) {
    let scratch = Scratch::new();
    let store = Store::open(&entry, &Paths::under(scratch.path())).expect("a store");
    let name = cluster();
    assert_eq!(claim::read(&store, &name).await.expect("a bucket"), None);
    let (one, two) = (a_claim(1, ClaimState::Founding), a_claim(1, ClaimState::Founded));
    assert_eq!(claim::write(&store, &name, &one, None).await.expect("a claim"), Swap::Done);
    assert!(matches!(claim::write(&store, &name, &two, None).await.expect("a claim"), Swap::Stale(_)));
    assert_eq!(claim::write(&store, &name, &two, Some(&one)).await.expect("a claim"), Swap::Done);
    assert!(matches!(claim::write(&store, &name, &one, Some(&one)).await.expect("a claim"), Swap::Stale(_)));
    assert_eq!(claim::read(&store, &name).await.expect("a claim"), Some(two));
    assert_eq!(store.names("").await.expect("a listing"), ["claim.json"], "what conditions were tried on is removed");
    let gone = Store::open(&StoreEntry { url: nowhere.into(), ..entry }, &Paths::under(scratch.path()));
    let error = claim::read(&gone.expect("a store"), &name).await.expect_err("no such bucket");
    assert!(error.to_string().contains(missing), "{error}");
}

#[tokio::test]
async fn a_claim_is_kept_in_moto_s_s3() {
    let moto = Moto::start();
    let keys = Keys { access_key_id: text("test"), secret_access_key: text("test"), ..Keys::default() };
    let entry = entry("s3://bucket/clusters/prod", Some(moto.endpoint.clone()), keys);
    keeps_a_claim(entry, "s3://nowhere/prod", "NoSuchBucket").await;
}

#[tokio::test]
async fn a_claim_is_kept_in_s3s_fs_which_checks_signatures() {
    let s3s = S3s::start();
    let key = |secret| Keys { access_key_id: text(s3s::KEY), secret_access_key: text(secret), ..Keys::default() };
    let of = |secret| entry("s3://bucket/clusters/prod", Some(s3s.endpoint.clone()), key(secret));
    keeps_a_claim(of(s3s::SECRET), "s3://nowhere/prod", "NoSuchBucket").await;
    let scratch = Scratch::new();
    let store = Store::open(&of("another"), &Paths::under(scratch.path())).expect("a store");
    let error = claim::read(&store, &cluster()).await.expect_err("a wrong key");
    assert!(error.to_string().contains("SignatureDoesNotMatch"), "{error}");
}

#[tokio::test]
async fn a_claim_is_kept_in_azurite() {
    let azurite = Azurite::start();
    let keys = Keys { account: Some(azurite::ACCOUNT.into()), access_key: text(azurite::KEY), ..Keys::default() };
    let entry = entry("az://container/clusters/prod", Some(azurite.endpoint.clone()), keys);
    keeps_a_claim(entry, "az://nowhere/prod", "ContainerNotFound").await;
}
