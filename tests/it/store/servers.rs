//! Servers that other people wrote.

use bootstrapper::paths::Paths;
use bootstrapper::store::Store;
use bootstrapper::store::claim::{self, Swap};
use plan::facts::ClaimState;
use plan::store::Keys;

use super::{claim as a_claim, cluster, entry, text};
use crate::support::moto::Moto;
use crate::support::scratch::Scratch;

#[tokio::test]
async fn a_claim_is_kept_in_moto_s_s3() {
    let (moto, scratch) = (Moto::start(), Scratch::new());
    let keys = Keys { access_key_id: text("test"), secret_access_key: text("test"), ..Keys::default() };
    let entry = entry("s3://bucket/clusters/prod", Some(moto.endpoint.clone()), keys);
    let store = Store::open(&entry, &Paths::under(scratch.path())).expect("a store");
    let name = cluster();
    assert_eq!(claim::read(&store, &name).await.expect("a bucket"), None);
    let (one, two) = (a_claim(1, ClaimState::Founding), a_claim(1, ClaimState::Founded));
    assert_eq!(claim::write(&store, &name, &one, None).await.expect("a claim"), Swap::Done);
    assert!(matches!(claim::write(&store, &name, &two, None).await.expect("a claim"), Swap::Stale(_)));
    assert_eq!(claim::write(&store, &name, &two, Some(&one)).await.expect("a claim"), Swap::Done);
    assert_eq!(claim::read(&store, &name).await.expect("a claim"), Some(two));
    assert_eq!(store.names("").await.expect("a listing"), ["claim.json"], "what conditions were tried on is removed");
    let gone = plan::store::StoreEntry { url: "s3://nowhere/prod".into(), ..entry };
    let gone = Store::open(&gone, &Paths::under(scratch.path())).expect("a store");
    let error = claim::read(&gone, &name).await.expect_err("no such bucket");
    assert!(error.to_string().contains("NoSuchBucket"), "{error}");
}
