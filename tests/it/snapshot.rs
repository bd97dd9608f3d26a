//! A snapshot on its way in, with every fault that networks, stores and people have ready for it.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bootstrapper::commands;
use bootstrapper::exit::Exit;
use bootstrapper::paths::Paths;
use bootstrapper::snapshot::fetch::{Order, Progress, fetch};
use bootstrapper::snapshot::intake::Shelf;
use bootstrapper::snapshot::verify::{self, Summary};
use plan::spec::{Secret, Sha256};

use super::support::etcd::port;
use super::support::fixture::{REVISION, sha256, snapshot, trailed_again};
use super::support::scratch::Scratch;
use super::support::store::{Asked, End, Reply, Store};

const ETAG: &str = "\"one\"";
const OTHER: &str = "\"two\"";

/// What came of a fetch into a directory.
struct Outcome {
    result: anyhow::Result<Summary>,
    files: Vec<String>,
    troubles: Vec<String>,
}

struct Fetch {
    scratch: Scratch,
    url: String,
    roots: PathBuf,
    sha256: Sha256,
    idle: Duration,
    patience: Duration,
}

impl Fetch {
    fn from(store: &Store) -> Fetch {
        Fetch {
            scratch: Scratch::new(),
            url: store.url(),
            roots: store.roots(),
            sha256: sha256(snapshot()).parse().unwrap(),
            idle: Duration::from_secs(20),
            patience: Duration::from_secs(20),
        }
    }

    fn shelf(&self) -> Shelf {
        Shelf { directory: self.scratch.path().to_owned(), sha256: self.sha256.clone(), owner: None }
    }

    async fn run(&self) -> Outcome {
        let mut troubles = Vec::new();
        let mut watch = |progress: Progress<'_>| troubles.extend(progress.trouble.map(str::to_owned));
        let order = Order {
            url: &Secret::new(self.url.clone()),
            sha256: Some(&self.sha256),
            shelf: Some(self.shelf()),
            roots: std::slice::from_ref(&self.roots),
            idle: self.idle,
            patience: self.patience,
            admit: &|_| Ok(()),
        };
        let result = fetch(&order, &mut watch).await;
        let files = fs::read_dir(self.scratch.path()).unwrap();
        let mut files: Vec<String> =
            files.map(|f| f.unwrap().path().extension().unwrap().to_str().unwrap().to_owned()).collect();
        files.sort();
        for text in troubles.iter().chain(result.as_ref().err().map(|e| format!("{e:#}")).as_ref()) {
            assert!(!text.contains("presigned-secret"), "{text}");
        }
        Outcome { result, files, troubles }
    }
}

fn honest(asked: &Asked) -> Reply {
    Reply::honest(snapshot(), ETAG, asked)
}

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
async fn a_server_that_asks_for_time_gets_it() {
    let store = Store::serve(|n, asked| match n {
        0 => Reply::new(503, "slow down").with("Retry-After", "2"),
        _ => honest(asked),
    })
    .await;
    let began = Instant::now();
    let outcome = Fetch::from(&store).run().await;
    outcome.result.unwrap();
    assert_eq!(outcome.troubles, ["it answered 503 Service Unavailable (slow down)"]);
    assert!(began.elapsed() >= Duration::from_secs(2));
}

#[tokio::test]
async fn a_fault_that_stays_ends_with_its_reason_and_its_exit_code() {
    type Faulty = fn(usize, &Asked) -> Reply;
    const DENIED: &str = "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message>\
                          <StringToSign>presigned-secret</StringToSign></Error>";
    let cases: [(&str, Faulty, Exit, &str); 17] = [
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
            "it begins with gzip: decompress it first",
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

#[tokio::test]
async fn a_snapshot_cut_and_signed_again_is_refused_before_etcdutl_dies_of_it() {
    let cut = trailed_again(&snapshot()[..1_048_576]);
    let pinned = sha256(&cut).parse().unwrap();
    let store = Store::serve(move |_, asked| Reply::honest(&cut, ETAG, asked)).await;
    let fetch = Fetch { sha256: pinned, ..Fetch::from(&store) };
    let error = fetch.run().await.result.unwrap_err();
    assert!(error.to_string().contains("it is cut short: its pages need"), "{error:#}");
}

#[tokio::test]
async fn a_server_that_cannot_be_trusted_or_reached_is_told_apart() {
    let (store, stranger) =
        (Store::serve(|_, asked| honest(asked)).await, Store::serve(|_, asked| honest(asked)).await);
    let nobody = format!("https://localhost:{}/prod.db?presigned-secret", port());
    let short = Duration::from_secs(1);
    for (name, fetch, why) in [
        ("another CA", Fetch { roots: stranger.roots(), ..Fetch::from(&store) }, "its certificate is not accepted: "),
        ("nobody there", Fetch { url: nobody, patience: short, ..Fetch::from(&store) }, "Connection refused"),
    ] {
        let error = fetch.run().await.result.expect_err(name);
        assert!(format!("{error:#}").contains(why), "{name}: {error:#}");
        assert_eq!(Exit::of(&error), Exit::Unavailable, "{name}");
    }
    let fetch = Fetch { roots: "/nowhere".into(), ..Fetch::from(&store) };
    let error = fetch.run().await.result.unwrap_err();
    assert!(error.to_string().contains("there is no CA certificate in /nowhere"), "{error:#}");
}

#[tokio::test]
async fn a_download_goes_on_after_a_reboot_and_believes_no_byte_of_the_disk() {
    for flipped in [false, true] {
        let store = Store::serve(|n, asked| match n {
            0 => honest(asked).ending(End::Cut(2_000_000)),
            1 => Reply::new(403, "expired"),
            _ => honest(asked),
        })
        .await;
        let fetch = Fetch::from(&store);
        let first = fetch.run().await;
        assert_eq!(Exit::of(&first.result.unwrap_err()), Exit::Unavailable);
        assert_eq!(first.files, ["json", "part"]);
        let part = fetch.shelf().path().with_extension("part");
        let mut bytes = fs::read(&part).unwrap();
        let received = bytes.len() as u64;
        assert!(received > 0);
        bytes[100_000] ^= u8::from(flipped);
        // What was written behind the last sync may be anything.
        bytes.extend_from_slice(&[0; 5000]);
        fs::write(&part, bytes).unwrap();

        let second = fetch.run().await;
        second.result.unwrap();
        assert_eq!(second.files, ["db"]);
        assert_eq!(fs::read(fetch.shelf().path()).unwrap(), snapshot());
        let asked = store.asked();
        assert_eq!(asked[2], Asked { from: Some(received), if_range: Some(ETAG.into()) });
        assert_eq!(asked.len(), if flipped { 4 } else { 3 }, "{asked:?}");
    }
}

#[tokio::test]
async fn a_file_of_this_host_is_a_source_like_another() {
    let store = Store::serve(|_, asked| honest(asked)).await;
    let usb = Scratch::new();
    fs::write(usb.join("prod.db"), snapshot()).unwrap();
    let url = |name: &str| format!("file://{}", usb.join(name).display());
    let fetch = Fetch { url: url("prod.db"), ..Fetch::from(&store) };
    fetch.run().await.result.unwrap();
    assert_eq!(fs::read(fetch.shelf().path()).unwrap(), snapshot());
    for (name, why) in [("gone.db", "is the medium attached and mounted?"), ("", "it is not a file")] {
        let error = Fetch { url: url(name), ..Fetch::from(&store) }.run().await.result.unwrap_err();
        assert!(error.to_string().contains(why), "{error:#}");
        assert_eq!(Exit::of(&error), Exit::Unavailable);
    }
    assert_eq!(store.asked(), []);
}

#[tokio::test]
async fn snapshot_verify_tells_a_whole_one_from_a_bad_one() {
    let scratch = Scratch::new();
    let (good, bad) = (scratch.join("good.db"), scratch.join("bad.db"));
    fs::write(&good, snapshot()).unwrap();
    let mut bytes = snapshot().to_vec();
    bytes[1_000_000] ^= 1;
    fs::write(&bad, &bytes).unwrap();
    let store =
        Store::serve(move |n, asked| Reply::honest(if n == 0 { snapshot() } else { &bytes }, ETAG, asked)).await;
    let paths = Paths::under(scratch.path());
    fs::create_dir_all(paths.etc()).unwrap();
    fs::copy(store.roots(), paths.etc().join("roots.pem")).unwrap();
    let other = "0".repeat(64);
    let url = store.url();
    for (args, exit) in [
        (vec![good.to_str().unwrap()], None),
        (vec![bad.to_str().unwrap()], Some(Exit::BadInput)),
        (vec!["--sha256", &other, good.to_str().unwrap()], Some(Exit::BadInput)),
        (vec![&url], None),
        (vec![&url], Some(Exit::BadInput)),
    ] {
        let args: Vec<_> = [&["verify"][..], &args].concat().into_iter().map(Into::into).collect();
        let error = commands::snapshot::run(&paths, args.clone()).await.err();
        assert_eq!(error.as_ref().map(Exit::of), exit, "{args:?}: {error:?}");
    }
    assert_eq!(verify::file(&good, None).unwrap().revision, Some(REVISION));
}
