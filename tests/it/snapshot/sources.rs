//! Several sources of one object.

use std::fs;
use std::time::Duration;

use bootstrapper::exit::Exit;

use super::super::support::fixture::{snapshot, trailed_again};
use super::super::support::scratch::Scratch;
use super::super::support::store::{Asked, End, Reply, Store};
use super::{ETAG, Fetch, honest};

/// What the first source does, and what the second is asked for then.
#[tokio::test]
async fn the_next_source_is_asked_when_one_does_not_deliver_and_goes_on_with_the_bytes_of_the_first() {
    type Faulty = fn(usize, &Asked) -> Reply;
    let other = || trailed_again(&[&snapshot()[..snapshot().len() - 32], &[0; 4096]].concat());
    assert_ne!(other(), snapshot());
    let cases: [(&str, Faulty, &str, bool); 4] = [
        ("absent", |_, _| Reply::new(404, ""), "it answered 404", false),
        (
            "ends in the middle",
            |n, asked| if n == 0 { honest(asked).ending(End::Cut(2_000_000)) } else { Reply::new(403, "") },
            "it answered 403",
            true,
        ),
        (
            "a page of a portal",
            |_, _| Reply::new(200, "<html><body>log in"),
            "it is HTML, perhaps an error or a login page",
            false,
        ),
        (
            "another snapshot",
            |_, asked| {
                let other = trailed_again(&[&snapshot()[..snapshot().len() - 32], &[0; 4096]].concat());
                Reply::honest(&other, ETAG, asked)
            },
            "it is whole, but its sha256 is ",
            false,
        ),
    ];
    for (name, first, why, goes_on) in cases {
        // The second source has the same object under an ETag of its own.
        let (first, second) =
            (Store::serve(first).await, Store::serve(|_, asked| Reply::honest(snapshot(), "\"theirs\"", asked)).await);
        let url = format!("{} {}", first.url(), second.url());
        let fetch = Fetch { url, roots: first.roots_with(&second), ..Fetch::from(&second) };
        let outcome = fetch.run().await;
        outcome.result.unwrap_or_else(|e| panic!("{name}: {e:#}"));
        assert!(outcome.troubles.join(" | ").contains(why), "{name}: {:?}", outcome.troubles);
        assert_eq!(fs::read(fetch.shelf().path()).unwrap(), snapshot(), "{name}");
        let asked = second.asked();
        assert_eq!((asked.len(), asked[0].from.is_some(), &asked[0].if_range), (1, goes_on, &None), "{name}");
    }
}

/// Two sources hold two objects, and the first one's bytes came first: the sum tells, and the second is read anew.
#[tokio::test]
async fn bytes_of_another_object_do_not_spoil_the_right_source() {
    let wrong = [&snapshot()[..1_500_000], &vec![7; snapshot().len() - 1_500_000]].concat();
    let first = Store::serve(move |n, asked| match n {
        0 => Reply::honest(&wrong, ETAG, asked).ending(End::Cut(3_000_000)),
        _ => Reply::new(403, ""),
    })
    .await;
    let second = Store::serve(|_, asked| honest(asked)).await;
    let url = format!("{} {}", first.url(), second.url());
    let fetch = Fetch { url, roots: first.roots_with(&second), ..Fetch::from(&second) };
    let outcome = fetch.run().await;
    outcome.result.unwrap();
    assert!(outcome.troubles.join(" | ").contains("once more from the start"), "{:?}", outcome.troubles);
    assert_eq!(fs::read(fetch.shelf().path()).unwrap(), snapshot());
    let from: Vec<bool> = second.asked().iter().map(|asked| asked.from.is_some()).collect();
    assert_eq!(from, [true, false]);
}

#[tokio::test]
async fn when_no_source_delivers_a_person_is_needed_only_if_none_may_later() {
    let usb = Scratch::new();
    fs::write(usb.join("broken.db"), &snapshot()[..1_000_000]).unwrap();
    let absent = Store::serve(|_, _| Reply::new(404, "")).await;
    let file = |name: &str| format!("file://{}", usb.join(name).display());
    for (name, url, exit) in [
        ("both bad", format!("{0} {0}", file("broken.db")), Exit::BadInput),
        ("one absent", format!("{} {}", file("broken.db"), absent.url()), Exit::Unavailable),
        ("both absent", format!("{} {}", file("gone.db"), absent.url()), Exit::Unavailable),
    ] {
        let fetch = Fetch { url, patience: Duration::from_secs(1), ..Fetch::from(&absent) };
        let error = fetch.run().await.result.expect_err(name);
        assert_eq!(Exit::of(&error), exit, "{name}: {error:#}");
        assert_eq!(error.to_string().matches("the snapshot from ").count(), 2, "{name}: {error:#}");
    }
}
