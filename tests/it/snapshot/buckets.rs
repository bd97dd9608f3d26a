//! Objects in buckets, with the faults that their servers have.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bootstrapper::exit::Exit;
use plan::document::Source;
use plan::restore::RestoreEntry;
use plan::spec::Secret;
use plan::store::{Credentials, Keys, SecretText};

use super::super::support::fixture::{snapshot, trailed_again};
use super::super::support::store::{Asked, End, Reply, Store};
use super::{ETAG, Fetch, honest};

impl Fetch {
    /// From `s3://bucket/prod.db` of this server.
    pub fn from_bucket(store: &Store) -> Fetch {
        let text = |text: &str| Some(SecretText(Source::Inline(Secret::new(text.to_owned()))));
        let keys = Keys { access_key_id: text("AKIA"), secret_access_key: text("presigned-secret"), ..Keys::default() };
        let access = RestoreEntry {
            endpoint: Some(format!("https://localhost:{}", store.port())),
            credentials: Some(Credentials::Keys(Box::new(keys))),
            ..RestoreEntry::default()
        };
        Fetch { url: "s3://bucket/prod.db".into(), access: Some(access), ..Fetch::from(store) }
    }
}

/// With what every bucket answers.
fn bucket(asked: &Asked) -> Reply {
    dated(honest(asked))
}

fn dated(reply: Reply) -> Reply {
    reply.with("Last-Modified", "Sat, 21 Nov 2026 10:00:00 GMT")
}

#[tokio::test]
async fn a_fault_of_a_bucket_that_passes_is_gone_through() {
    type Faulty = fn(usize, &Asked) -> Reply;
    let other = || trailed_again(&[&snapshot()[..snapshot().len() - 32], &[0; 4096]].concat());
    assert_eq!(other().len(), snapshot().len() + 4096);
    // Name, the server, whether the last request was for a range.
    let cases: [(&str, Faulty, bool); 6] = [
        ("no fault", |_, asked| bucket(asked), false),
        ("cut", |n, asked| if n == 0 { bucket(asked).ending(End::Cut(1 << 20)) } else { bucket(asked) }, true),
        ("reset", |n, asked| if n == 0 { bucket(asked).ending(End::Reset(1 << 20)) } else { bucket(asked) }, true),
        ("stalls", |n, asked| if n == 0 { bucket(asked).ending(End::Stall(1 << 20)) } else { bucket(asked) }, true),
        (
            "busy",
            |n, asked| if n < 2 { Reply::new(503, "<Error><Code>SlowDown</Code></Error>") } else { bucket(asked) },
            false,
        ),
        (
            "another object",
            |n, asked| match n {
                0 => dated(Reply::honest(&vec![b'x'; snapshot().len()], "\"two\"", asked)).ending(End::Cut(16)),
                _ if asked.if_range.as_deref() == Some("\"two\"") => Reply::new(412, ""),
                _ => bucket(asked),
            },
            false,
        ),
    ];
    for (name, script, ranged) in cases {
        let store = Store::serve(script).await;
        let fetch = Fetch { idle: Duration::from_secs(1), ..Fetch::from_bucket(&store) };
        let outcome = fetch.run().await;
        let summary = outcome.result.unwrap_or_else(|e| panic!("{name}: {e:#}"));
        assert_eq!((summary.bytes, &summary.sha256), (snapshot().len() as u64, &fetch.sha256), "{name}");
        assert_eq!(fs::read(fetch.shelf().path()).unwrap(), snapshot(), "{name}");
        let last = store.asked().pop().unwrap();
        assert_eq!((last.path.as_str(), last.from.is_some()), ("/bucket/prod.db", ranged), "{name}");
    }
}

#[tokio::test]
async fn a_download_from_a_bucket_goes_on_after_a_reboot() {
    let again = Arc::new(AtomicBool::new(false));
    let works = Arc::clone(&again);
    let store = Store::serve(move |n, asked| match n {
        _ if works.load(Ordering::SeqCst) => bucket(asked),
        0 => bucket(asked).ending(End::Cut(2_000_000)),
        _ => Reply::new(403, "<Error><Code>AccessDenied</Code></Error>"),
    })
    .await;
    let fetch = Fetch::from_bucket(&store);
    let first = fetch.run().await;
    assert_eq!(Exit::of(&first.result.unwrap_err()), Exit::Unavailable);
    assert_eq!(first.files, ["json", "object"]);
    let received = fs::metadata(fetch.shelf().object()).unwrap().len();
    assert!(received > 1_000_000, "{received}");
    again.store(true, Ordering::SeqCst);
    fetch.run().await.result.unwrap();
    let asked = store.asked().pop().unwrap();
    assert_eq!((asked.from, asked.if_range.as_deref()), (Some(received), Some(ETAG)));
    assert_eq!(fs::read(fetch.shelf().path()).unwrap(), snapshot());
}

#[tokio::test]
async fn a_fault_of_a_bucket_that_stays_ends_with_its_reason() {
    type Faulty = fn(usize, &Asked) -> Reply;
    let cases: [(&str, Faulty, &str); 3] = [
        (
            "404",
            |_, _| Reply::new(404, "<Error><Code>NoSuchKey</Code></Error>"),
            "it has no such object; check bucket and key",
        ),
        (
            "403",
            |_, _| Reply::new(403, "<Error><Code>AccessDenied</Code></Error>"),
            "the server answered 403 Forbidden AccessDenied",
        ),
        ("always 503", |_, _| Reply::new(503, "<Error><Code>SlowDown</Code></Error>"), "SlowDown"),
    ];
    for (name, script, why) in cases {
        let store = Store::serve(script).await;
        let fetch = Fetch { patience: Duration::from_secs(2), ..Fetch::from_bucket(&store) };
        let outcome = fetch.run().await;
        let text = format!("{:#}", outcome.result.as_ref().expect_err(name));
        assert!(text.contains(why) && text.contains("from s3://bucket/prod.db"), "{name}: {text}");
        assert_eq!(
            (Exit::of(&outcome.result.unwrap_err()), outcome.files),
            (Exit::Unavailable, vec!["object".to_owned()]),
            "{name}"
        );
    }
}
