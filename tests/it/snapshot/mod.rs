//! A snapshot on its way in, with every fault that networks, stores and people have ready for it.

mod buckets;
mod faults;
mod keys;
mod manifests;
mod peers;
mod proxies;
mod ranges;
mod sources;
mod volumes;
mod wrapped;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bootstrapper::commands;
use bootstrapper::exit::Exit;
use bootstrapper::paths::Paths;
use bootstrapper::snapshot::decode::{Most, Opening};
use bootstrapper::snapshot::fetch::{Order, Progress, fetch};
use bootstrapper::snapshot::intake;
use bootstrapper::snapshot::origin::Origin;
use bootstrapper::snapshot::shelf::Shelf;
use bootstrapper::snapshot::signature;
use bootstrapper::snapshot::source::Access;
use bootstrapper::snapshot::verify::Summary;
use bootstrapper::store::manifest::Manifest;
use plan::restore::RestoreEntry;
use plan::spec::{Secret, Sha256};

use super::support::etcd::port;
use super::support::fixture::{REVISION, sha256, snapshot, trailed_again, zstd};
use super::support::scratch::Scratch;
use super::support::store::{Asked, End, Reply, Store};

const ETAG: &str = "\"one\"";

/// What came of a fetch into a directory.
struct Outcome {
    result: anyhow::Result<Summary>,
    files: Vec<String>,
    troubles: Vec<String>,
}

struct Fetch {
    scratch: Scratch,
    home: Scratch,
    url: String,
    roots: PathBuf,
    sha256: Sha256,
    identities: Vec<age::x25519::Identity>,
    signer: Option<String>,
    access: Option<RestoreEntry>,
    accept: Option<fn(&Manifest) -> anyhow::Result<()>>,
    idle: Duration,
    patience: Duration,
}

impl Fetch {
    fn from(store: &Store) -> Fetch {
        Fetch {
            scratch: Scratch::new(),
            home: Scratch::new(),
            url: store.url(),
            roots: store.roots(),
            sha256: sha256(snapshot()).parse().unwrap(),
            identities: Vec::new(),
            signer: None,
            access: None,
            accept: None,
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
        let urls: Vec<Secret> = self.url.split(' ').map(|url| Secret::new(url.to_owned())).collect();
        let paths = Paths::under(self.home.path());
        let restore = self.access.as_ref();
        fs::create_dir_all(paths.etc()).unwrap();
        fs::copy(&self.roots, paths.etc().join("roots.pem")).ok();
        let access = Access { paths: &paths, roots: vec![self.roots.clone()], restore, store: None };
        let origins = match Origin::open(&urls, &access) {
            Ok(origins) => origins,
            Err(error) => return Outcome { result: Err(error), files: Vec::new(), troubles },
        };
        let signer = self.signer.as_deref().map(|key| signature::key(key).unwrap());
        let mut opening = Opening::plain(Most::of_quota(Some(64 << 20)));
        opening.identities = self.identities.clone();
        let order = Order {
            origins: &origins.iter().collect::<Vec<_>>(),
            signer: signer.as_ref(),
            accept: self.accept.as_ref().map(|accept| accept as _),
            sha256: Some(&self.sha256),
            shelf: Some(self.shelf()),
            idle: self.idle,
            patience: self.patience,
            admit: &|_| Ok(()),
            opening,
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
async fn a_snapshot_cut_and_signed_again_is_refused_before_etcdutl_dies_of_it() {
    let cut = trailed_again(&snapshot()[..1_048_576]);
    let pinned = sha256(&cut).parse().unwrap();
    let store = Store::serve(move |_, asked| Reply::honest(&cut, ETAG, asked)).await;
    let fetch = Fetch { sha256: pinned, ..Fetch::from(&store) };
    let error = fetch.run().await.result.unwrap_err();
    assert!(error.to_string().contains("it is cut short: its pages need"), "{error:#}");
}

/// Longer than both limits together: nothing bounds a download that moves.
#[tokio::test]
async fn a_slow_link_is_slow_and_no_fault() {
    let store = Store::serve(|_, asked| honest(asked).ending(End::Trickle(snapshot().len() / 20))).await;
    let limit = Duration::from_secs(1);
    let began = Instant::now();
    let outcome = Fetch { idle: limit, patience: limit, ..Fetch::from(&store) }.run().await;
    outcome.result.unwrap();
    assert_eq!((outcome.troubles, store.asked().len()), (Vec::<String>::new(), 1));
    assert!(began.elapsed() > limit * 3, "it was not slow: {:?}", began.elapsed());
}

#[tokio::test]
async fn a_server_that_cannot_be_trusted_or_reached_is_told_apart() {
    let (store, stranger) =
        (Store::serve(|_, asked| honest(asked)).await, Store::serve(|_, asked| honest(asked)).await);
    let nobody = format!("https://localhost:{}/prod.db?presigned-secret", port());
    let short = Duration::from_secs(1);
    for (name, fetch, why) in [
        ("another CA", Fetch { roots: stranger.roots(), ..Fetch::from(&store) }, "its certificate is not accepted: "),
        (
            "another name",
            Fetch { url: store.url().replace("localhost", "127.0.0.1"), ..Fetch::from(&store) },
            "its certificate is not accepted: ",
        ),
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
        assert_eq!(first.files, ["json", "object"]);
        let part = fetch.shelf().path().with_extension("object");
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
        assert_eq!(
            asked[2],
            Asked { path: "/bucket/prod.db".into(), from: Some(received), to: None, if_range: Some(ETAG.into()) }
        );
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
    fs::write(usb.join("shadow"), "root:$y$j9T$CANARY:20000:0:99999:7:::\n".repeat(100)).unwrap();
    let error = Fetch { url: url("shadow"), ..Fetch::from(&store) }.run().await.result.unwrap_err();
    let told = format!("{error:#}");
    assert!(told.contains("it begins with a text") && !told.contains("CANARY") && !told.contains("root"), "{told}");
    assert_eq!(Exit::of(&error), Exit::BadInput);
    assert_eq!(store.asked(), []);
}

#[tokio::test]
async fn snapshot_verify_tells_a_whole_one_from_a_bad_one() {
    let scratch = Scratch::new();
    let (good, bad, packed) = (scratch.join("good.db"), scratch.join("bad.db"), scratch.join("good.db.zst"));
    fs::write(&packed, zstd(snapshot())).unwrap();
    fs::write(&good, snapshot()).unwrap();
    let mut bytes = snapshot().to_vec();
    bytes[1_000_000] ^= 1;
    fs::write(&bad, &bytes).unwrap();
    let store = Store::serve(move |n, asked| match asked.path.ends_with("/manifest.json") {
        true => Reply::new(404, ""),
        false => Reply::honest(if n <= 1 { snapshot() } else { &bytes }, ETAG, asked),
    })
    .await;
    let paths = Paths::under(scratch.path());
    fs::create_dir_all(paths.etc()).unwrap();
    fs::copy(store.roots(), paths.etc().join("roots.pem")).unwrap();
    let other = "0".repeat(64);
    let url = store.url();
    for (args, exit) in [
        (vec![good.to_str().unwrap()], None),
        (vec![packed.to_str().unwrap()], None),
        (vec![bad.to_str().unwrap()], Some(Exit::BadInput)),
        (vec!["--sha256", &other, good.to_str().unwrap()], Some(Exit::BadInput)),
        (vec![&url], None),
        (vec![&url], Some(Exit::BadInput)),
    ] {
        let args: Vec<_> = [&["verify"][..], &args].concat().into_iter().map(Into::into).collect();
        let error = commands::snapshot::run(&paths, args.clone()).await.err();
        assert_eq!(error.as_ref().map(Exit::of), exit, "{args:?}: {error:?}");
    }
    assert_eq!(intake::check(&good, None, Opening::plain(Most::sane())).unwrap().revision, Some(REVISION));
}
