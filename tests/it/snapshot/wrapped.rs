//! Snapshots in zstd and gzip: what is hashed and resumed is the object, what is checked is what is inside.

use std::fs;
use std::time::Duration;

use bootstrapper::exit::Exit;

use super::super::support::fixture::{gzip, sha256, snapshot, zstd};
use super::super::support::store::{Asked, End, Reply, Store};
use super::{ETAG, Fetch};

/// Every way to wrap the snapshot that we read, each under a name that says nothing.
fn wrapped() -> Vec<(&'static str, Vec<u8>)> {
    let (first, second) = snapshot().split_at(1 << 20);
    let skippable = [&[0x5e, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4][..], &zstd(snapshot())].concat();
    vec![
        ("zstd", zstd(snapshot())),
        ("gzip", gzip(snapshot())),
        ("zstd in two frames", [zstd(first), zstd(second)].concat()),
        ("gzip in two members", [gzip(first), gzip(second)].concat()),
        ("zstd behind a frame to skip", skippable),
        ("zstd in gzip", gzip(&zstd(snapshot()))),
    ]
}

fn serving(
    object: Vec<u8>,
    ends: impl Fn(usize, &Asked) -> Option<End> + Send + Sync + 'static,
) -> impl Fn(usize, &Asked) -> Reply {
    move |n, asked| {
        let reply = Reply::honest(&object, ETAG, asked);
        match ends(n, asked) {
            Some(end) => reply.ending(end),
            None => reply,
        }
    }
}

#[tokio::test]
async fn a_wrapped_snapshot_is_told_by_its_first_bytes_and_hashed_as_it_lies_at_the_source() {
    for (name, object) in wrapped() {
        let pinned = sha256(&object);
        let store = Store::serve(serving(object.clone(), |_, _| None)).await;
        let fetch = Fetch { sha256: pinned.parse().unwrap(), ..Fetch::from(&store) };
        let outcome = fetch.run().await;
        let summary = outcome.result.unwrap_or_else(|e| panic!("{name}: {e:#}"));
        assert_eq!((summary.sha256.as_str(), summary.object_bytes), (pinned.as_str(), object.len() as u64), "{name}");
        assert_eq!(
            (summary.sha256_db.as_str(), summary.bytes),
            (&*sha256(snapshot()), snapshot().len() as u64),
            "{name}"
        );
        assert_eq!(fs::read(fetch.shelf().path()).unwrap(), snapshot(), "{name}");
        assert_eq!(fs::read(fetch.shelf().object()).unwrap(), object, "{name}");
        assert_eq!(
            (outcome.files, store.asked().len()),
            (vec!["db".into(), "json".into(), "object".into()], 1),
            "{name}"
        );
    }
}

/// One connection breaks, then the host loses its power, and no byte is asked for twice.
#[tokio::test]
async fn a_wrapped_snapshot_goes_on_where_it_was_cut_within_a_boot_and_after_one() {
    for (name, object) in wrapped() {
        let at = [object.len() / 4, object.len() / 2];
        let store = Store::serve({
            let object = object.clone();
            move |n, asked| match n {
                0 => Reply::honest(&object, ETAG, asked).ending(End::Cut(at[0])),
                1 => Reply::honest(&object, ETAG, asked).ending(End::Cut(at[1] - at[0])),
                2 => Reply::new(403, "expired"),
                _ => Reply::honest(&object, ETAG, asked),
            }
        })
        .await;
        let fetch = Fetch { sha256: sha256(&object).parse().unwrap(), ..Fetch::from(&store) };
        let error = fetch.run().await.result.unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Unavailable, "{name}: {error:#}");
        fetch.run().await.result.unwrap_or_else(|e| panic!("{name}: {e:#}"));
        assert_eq!(fs::read(fetch.shelf().path()).unwrap(), snapshot(), "{name}");
        let from: Vec<Option<u64>> = store.asked().iter().map(|asked| asked.from).collect();
        // What was in flight when the connection broke may be lost.
        assert_eq!(from.len(), 4, "{name}: {from:?}");
        assert!(
            from[0].is_none() && from[1].unwrap_or(0) <= at[0] as u64 && from[2].unwrap() <= at[1] as u64,
            "{name}: {from:?}"
        );
        assert_eq!(from[3], from[2], "{name}");
    }
}

#[tokio::test]
async fn what_does_not_unpack_to_a_snapshot_is_refused_and_nothing_of_it_stays() {
    let flip = |mut bytes: Vec<u8>, at: usize| {
        bytes[at] ^= 0x10;
        bytes
    };
    let (z, g) = (zstd(snapshot()), gzip(snapshot()));
    let deep = gzip(&gzip(&gzip(&gzip(snapshot()))));
    for (name, object, why) in [
        ("zstd cut", z[..z.len() / 2].to_vec(), "it is damaged or was cut: it does not unpack as zstd"),
        ("gzip cut", g[..g.len() / 2].to_vec(), "it is damaged or was cut: it does not unpack as gzip"),
        ("zstd flipped", flip(z.clone(), z.len() / 2), "it is damaged or was cut: "),
        ("gzip flipped", flip(g.clone(), g.len() / 2), "it is damaged or was cut: "),
        ("garbage behind zstd", [&z[..], b"garbage"].concat(), "it does not unpack as zstd"),
        ("garbage behind gzip", [&g[..], b"garbage"].concat(), "it does not unpack as gzip"),
        ("zeros behind zstd", [&z[..], &[0; 64]].concat(), "it does not unpack as zstd"),
        ("HTML in gzip", gzip(b"<html><body>Please log in to the network"), "it begins with HTML"),
        ("nothing in zstd", zstd(b""), "it is empty"),
        ("a database without a trailer", zstd(&snapshot()[..snapshot().len() - 32]), "and so no sha256 at its end"),
        ("gzip four times", deep, "it begins with gzip, once too often"),
        (
            "a bomb",
            zstd(&[&snapshot()[..4096], &vec![0; 200 << 20]].concat()),
            "it is a database of more than 83886080 bytes",
        ),
    ] {
        let pinned = sha256(&object);
        let store = Store::serve(serving(object, |_, _| None)).await;
        let fetch = Fetch { sha256: pinned.parse().unwrap(), patience: Duration::from_secs(5), ..Fetch::from(&store) };
        let outcome = fetch.run().await;
        let error = outcome.result.expect_err(name);
        assert!(format!("{error:#}").contains(why), "{name}: {error:#}");
        assert_eq!((Exit::of(&error), outcome.files), (Exit::BadInput, Vec::new()), "{name}");
    }
}

/// Whole inside, and not the object that was asked for.
#[tokio::test]
async fn another_object_with_a_whole_snapshot_inside_is_refused_by_its_sum() {
    let store = Store::serve(serving(zstd(snapshot()), |_, _| None)).await;
    let outcome = Fetch::from(&store).run().await;
    let error = outcome.result.unwrap_err();
    assert!(format!("{error:#}").contains("it is whole, but its sha256 is "), "{error:#}");
    assert_eq!((Exit::of(&error), outcome.files, store.asked().len()), (Exit::BadInput, Vec::new(), 1));
}

/// A bit that flips on the way is gone through as one of a plain snapshot is.
#[tokio::test]
async fn a_wrapped_snapshot_that_was_damaged_on_the_way_is_fetched_once_more() {
    let object = zstd(snapshot());
    let store = Store::serve({
        let object = object.clone();
        move |n, asked| {
            let mut reply = Reply::honest(&object, ETAG, asked);
            let middle = reply.body.len() / 2;
            reply.body[middle] ^= u8::from(n == 0);
            reply
        }
    })
    .await;
    let fetch = Fetch { sha256: sha256(&object).parse().unwrap(), ..Fetch::from(&store) };
    let outcome = fetch.run().await;
    outcome.result.unwrap();
    assert!(outcome.troubles.join(" | ").contains("once more from the start: it is damaged"), "{:?}", outcome.troubles);
    assert_eq!(fs::read(fetch.shelf().path()).unwrap(), snapshot());
}
