//! `{url: …}` over true TLS, by the CA of a site.

use std::fs;

use bootstrapper::exit::Exit;
use bootstrapper::paths::Paths;
use bootstrapper::secrets::Near;
use plan::source::Source;
use serde_json::json;

use crate::support::fixture::sha256;
use crate::support::scratch::Scratch;
use crate::support::store::{Asked, Reply, Store};

const CANARY: &str = "CANARY-of-a-key\n";

/// The secret behind the URL of a store, for a host that trusts it or does not.
async fn read(store: &Store, trusted: bool, sha256: Option<&str>) -> anyhow::Result<String> {
    let root = Scratch::new();
    let paths = Paths::under(root.path());
    fs::create_dir_all(paths.etc()).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    let trust = if trusted { fs::read_to_string(store.roots()).unwrap() } else { other };
    fs::write(paths.etc().join("roots.pem"), trust).unwrap();
    let entry = match sha256 {
        Some(sha256) => json!({"url": store.url(), "sha256": sha256}),
        None => json!({"url": store.url()}),
    };
    let source: Source = serde_json::from_value(entry).unwrap();
    match Near::once(&paths).source(&source, "tls.ca.key").await? {
        Source::Inline(value) => Ok(value.reveal().to_owned()),
        Source::File { .. } | Source::Credential { .. } | Source::Url(_) | Source::Kept(_) => panic!("not near"),
    }
}

#[tokio::test]
async fn a_secret_behind_a_url_comes_over_tls_from_its_own_host_or_not_at_all() {
    let honest = Store::serve(|_, _| Reply::new(200, CANARY)).await;
    assert_eq!(read(&honest, true, None).await.unwrap(), CANARY);
    assert_eq!(read(&honest, true, Some(&sha256(CANARY.as_bytes()))).await.unwrap(), CANARY);

    type Script = fn(usize, &Asked) -> Reply;
    let cases: [(Script, bool, Option<&str>, Exit, &str); 9] = [
        (|_, _| Reply::new(200, CANARY), false, None, Exit::Unavailable, "certificate"),
        (|_, _| Reply::new(200, CANARY), true, Some(EMPTY), Exit::BadInput, "another sha256 than the configuration"),
        (|_, _| Reply::new(200, "CANARY ".repeat(10_000)), true, None, Exit::BadInput, "more than any secret has"),
        (|_, _| Reply::new(200, "CANARY ".repeat(2 << 20)), true, None, Exit::Unavailable, "more than 8 MiB"),
        (|_, _| Reply::new(200, b"CANARY\xff".as_slice()), true, None, Exit::Unavailable, "no text"),
        (
            |_, _| Reply::new(307, CANARY).with("Location", "https://elsewhere.example/CANARY"),
            true,
            None,
            Exit::Unavailable,
            "HTTP 307; it redirects to https://elsewhere.example, which is not followed",
        ),
        (|_, _| Reply::new(403, CANARY), true, None, Exit::Permission, "a presigned URL may have ended"),
        (|_, _| Reply::new(404, CANARY), true, None, Exit::Unavailable, "put the secret there"),
        (|_, _| Reply::new(503, CANARY).with("Retry-After", "7"), true, None, Exit::TryAgain, "asked again later"),
    ];
    for (script, trusted, sha256, exit, why) in cases {
        let store = Store::serve(script).await;
        let error = read(&store, trusted, sha256).await.expect_err(why);
        let text = format!("{error:#}");
        assert!(text.contains(why) && Exit::of(&error) == exit, "{why}: {text}");
        assert!(text.starts_with("tls.ca.key: "), "{text}");
        assert!(!text.contains("CANARY") && !text.contains("presigned-secret"), "{text}");
        assert!(store.asked().len() <= 1, "one request, and no other by a redirect");
    }
}

/// Of nothing.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
