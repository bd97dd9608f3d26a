//! Faults that pass are gone through; faults that stay end with their reason.

use std::fs;
use std::time::Duration;

use bootstrapper::exit::Exit;

use super::super::support::fixture::{REVISION, snapshot, trailed_again};
use super::super::support::store::{Asked, End, Reply, Store};
use super::{Fetch, honest};

const OTHER: &str = "\"two\"";

/// A server with one fault, then without; what the client asked, and what it was troubled by.
#[tokio::test]
async fn a_fault_that_passes_is_gone_through() {
    type Faulty = fn(usize, &Asked) -> Reply;
    // Name, the server, the trouble that must be told, requests in all, whether the last one was for a range.
    let cases: [(&str, Faulty, Option<&str>, usize, bool); 12] = [
        ("no fault", |_, asked| honest(asked), None, 1, false),
        ("no length", |_, asked| honest(asked).without("Content-Length"), None, 1, false),
        (
            "cut",
            |n, asked| if n == 0 { honest(asked).ending(End::Cut(1 << 20)) } else { honest(asked) },
            Some("closed connection"),
            2,
            true,
        ),
        (
            "reset",
            |n, asked| if n == 0 { honest(asked).ending(End::Reset(1 << 20)) } else { honest(asked) },
            Some("reset"),
            2,
            true,
        ),
        (
            "cut often",
            |n, asked| if n < 4 { honest(asked).ending(End::Cut(500_000)) } else { honest(asked) },
            Some("closed connection"),
            5,
            true,
        ),
        (
            "stalls",
            |n, asked| if n == 0 { honest(asked).ending(End::Stall(1 << 20)) } else { honest(asked) },
            Some("nothing came for 1 s"),
            2,
            true,
        ),
        (
            "knows no ranges",
            |n, asked| match n {
                0 => honest(asked).ending(End::Cut(1 << 20)),
                _ => honest(&Asked { from: None, ..asked.clone() }),
            },
            Some("closed connection"),
            2,
            true,
        ),
        (
            "a range that was not asked for",
            |n, asked| match n {
                0 => honest(asked).ending(End::Cut(1 << 20)),
                1 => honest(asked).with("Content-Range", format!("bytes 5-9/{}", snapshot().len())),
                _ => honest(asked),
            },
            Some("it sent Content-Range \"bytes 5-9/"),
            3,
            false,
        ),
        (
            "another object, and If-Range",
            |n, asked| match n {
                0 => Reply::honest(&vec![b'x'; snapshot().len()], OTHER, asked).ending(End::Cut(16)),
                _ => honest(asked),
            },
            Some("closed connection"),
            2,
            true,
        ),
        (
            "another object, and no If-Range",
            |n, asked| match n {
                0 => Reply::honest(&vec![b'x'; snapshot().len()], OTHER, asked).ending(End::Cut(16)),
                _ => honest(&Asked { if_range: None, ..asked.clone() }),
            },
            Some("the object changed while it was downloaded"),
            3,
            false,
        ),
        (
            "a shorter object, so no such range",
            |n, asked| match n {
                0 => honest(asked).ending(End::Cut(1 << 20)),
                1 => Reply::new(416, ""),
                _ => honest(asked),
            },
            Some("the object changed while it was downloaded"),
            3,
            false,
        ),
        (
            "a bit that flipped on the way",
            |n, asked| {
                let mut reply = honest(asked);
                reply.body[1_000_000] ^= u8::from(n == 0);
                reply
            },
            Some("once more from the start: it is damaged or was cut"),
            2,
            false,
        ),
    ];
    for (name, script, trouble, requests, ranged) in cases {
        let store = Store::serve(script).await;
        let fetch = Fetch { idle: Duration::from_secs(1), ..Fetch::from(&store) };
        let outcome = fetch.run().await;
        let summary = outcome.result.unwrap_or_else(|e| panic!("{name}: {e:#}"));
        assert_eq!((summary.bytes, &summary.sha256), (snapshot().len() as u64, &fetch.sha256), "{name}");
        assert_eq!(
            (summary.revision, summary.version.unwrap().to_string().as_str()),
            (Some(REVISION), "3.5.0"),
            "{name}"
        );
        assert_eq!(fs::read(fetch.shelf().path()).unwrap(), snapshot(), "{name}");
        assert_eq!(outcome.files, ["db"], "{name}");
        let asked = store.asked();
        assert_eq!((asked.len(), asked.last().unwrap().from.is_some()), (requests, ranged), "{name}: {asked:?}");
        let told = outcome.troubles.join(" | ");
        match trouble {
            Some(trouble) => assert!(told.contains(trouble), "{name}: {told:?}"),
            None => assert_eq!(told, "", "{name}"),
        }
    }
}

#[tokio::test]
async fn a_fault_that_stays_ends_with_its_reason_and_its_exit_code() {
    type Faulty = fn(usize, &Asked) -> Reply;
    const DENIED: &str = "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message>\
                          <StringToSign>presigned-secret</StringToSign></Error>";
    let cases: [(&str, Faulty, Exit, &str); 19] = [
        (
            "404",
            |_, _| Reply::new(404, "no such key"),
            Exit::Unavailable,
            "it answered 404 Not Found (no such key); check the path",
        ),
        (
            "403 of a store",
            |_, _| Reply::new(403, DENIED),
            Exit::Unavailable,
            "403 Forbidden (AccessDenied: Request has expired); a presigned URL may have",
        ),
        (
            "403 that repeats the URL",
            |_, _| Reply::new(403, "no /prod.db?presigned-secret here"),
            Exit::Unavailable,
            "403 Forbidden; a presigned",
        ),
        (
            "always 503",
            |_, _| Reply::new(503, ""),
            Exit::Unavailable,
            "no new byte for 2 s; the last thing that happened: it answered 503",
        ),
        (
            "redirect to http",
            |_, _| Reply::new(302, "").with("Location", "http://localhost/x?presigned-secret"),
            Exit::Unavailable,
            "it redirects to http://localhost/x, which is not https",
        ),
        (
            "redirects in a circle",
            |_, _| Reply::new(302, "").with("Location", "?X-Amz-Signature=presigned-secret"),
            Exit::Unavailable,
            "it redirects more than 5 times",
        ),
        (
            "compressed on the way",
            |_, asked| honest(asked).with("Content-Encoding", "gzip"),
            Exit::Unavailable,
            "Content-Encoding \"gzip\": store it without one",
        ),
        (
            "HTML",
            |_, _| Reply::new(200, "<html><body>Please log in to the network</body></html>"),
            Exit::BadInput,
            "it begins with HTML, perhaps an error or a login page: \"<html><body>Please",
        ),
        ("XML", |_, _| Reply::new(200, DENIED), Exit::BadInput, "it begins with XML, perhaps a store's error"),
        ("empty", |_, _| Reply::new(200, ""), Exit::BadInput, "it is empty"),
        (
            "gzip",
            |_, _| Reply::new(200, [&[0x1f, 0x8b, 8, 0][..], &[0; 100]].concat()),
            Exit::BadInput,
            "it does not unpack as gzip",
        ),
        (
            "a database without a trailer",
            |_, _| Reply::new(200, &snapshot()[..snapshot().len() - 32]),
            Exit::BadInput,
            "and so no sha256 at its end",
        ),
        (
            "one byte short",
            |_, _| Reply::new(200, &snapshot()[..snapshot().len() - 1]),
            Exit::BadInput,
            "and so no sha256 at its end",
        ),
        (
            "garbage behind",
            |_, _| Reply::new(200, [snapshot(), &[0; 512]].concat()),
            Exit::BadInput,
            "it is damaged or was cut",
        ),
        (
            "flipped",
            |_, asked| {
                let mut reply = honest(asked);
                reply.body[1_000_000] ^= 1;
                reply
            },
            Exit::BadInput,
            "it is damaged or was cut",
        ),
        (
            "no database, and signed as one",
            |_, _| Reply::new(200, trailed_again(&vec![b'x'; 1 << 20])),
            Exit::BadInput,
            "it is no snapshot: it begins with",
        ),
        (
            "pages of nothing, and signed as a database",
            |_, _| {
                let mut pages = vec![0; 1 << 20];
                pages[16..20].copy_from_slice(&snapshot()[16..20]);
                Reply::new(200, trailed_again(&pages))
            },
            Exit::BadInput,
            "it is whole, but its sha256 is ",
        ),
        (
            "cut by pages",
            |_, _| Reply::new(200, &snapshot()[..1_048_576 + 32]),
            Exit::BadInput,
            "it is damaged or was cut",
        ),
        (
            "not the one that is pinned",
            |_, _| {
                let mut other = snapshot().to_vec();
                other.truncate(other.len() - 32);
                other[1_000_000] ^= 1;
                Reply::new(200, trailed_again(&other))
            },
            Exit::BadInput,
            "it is whole, but its sha256 is ",
        ),
    ];
    for (name, script, exit, why) in cases {
        let store = Store::serve(script).await;
        let fetch = Fetch { patience: Duration::from_secs(2), ..Fetch::from(&store) };
        let outcome = fetch.run().await;
        let error = outcome.result.expect_err(name);
        let text = format!("{error:#}");
        let place = fetch.url.split('?').next().unwrap();
        assert!(text.contains(why) && text.contains(&format!("the snapshot from {place}")), "{name}: {text}");
        assert_eq!(Exit::of(&error), exit, "{name}");
        let whole: Vec<&String> = outcome.files.iter().filter(|f| *f == "db").collect();
        assert!(
            whole.is_empty() && (exit == Exit::Unavailable || outcome.files.is_empty()),
            "{name}: {:?}",
            outcome.files
        );
    }
}
