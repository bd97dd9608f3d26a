//! A large snapshot, which is asked for in several ranges at a time, and what goes wrong with one of them.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bootstrapper::exit::Exit;

use super::super::support::fixture::{large, sha256};
use super::super::support::store::{Asked, End, Reply, Store};
use super::{ETAG, Fetch};

const MIB: u64 = 1 << 20;
/// Bytes of a range; the large snapshot has nine and a bit.
const RANGE: u64 = 4 * MIB;
const OTHER: &str = "\"two\"";

fn honest(asked: &Asked) -> Reply {
    Reply::honest(large(), ETAG, asked)
}

/// Another object of the same length, which differs in every range.
fn another(asked: &Asked) -> Reply {
    let mut other = large().to_vec();
    other.iter_mut().skip(1000).step_by(MIB as usize).for_each(|byte| *byte ^= 1);
    Reply::honest(&other, OTHER, asked)
}

impl Fetch {
    fn large(self) -> Fetch {
        Fetch { sha256: sha256(large()).parse().unwrap(), ..self }
    }
}

/// The first bytes of all ranges that are asked for by a request of their own when nothing goes wrong.
fn ranges() -> Vec<u64> {
    (1..).map(|n| n * RANGE).take_while(|from| *from < large().len() as u64).collect()
}

/// How often each first byte was asked for; `None` is a request without a range.
fn times(asked: &[Asked]) -> BTreeMap<Option<u64>, usize> {
    let mut times = BTreeMap::new();
    for one in asked {
        *times.entry(one.from).or_default() += 1;
    }
    times
}

/// Every answer on this server is as slow, whatever the others are: one connection would take 200 ms for each MiB.
#[tokio::test]
async fn a_server_that_gives_each_connection_little_is_asked_for_several_ranges_at_a_time() {
    let store = Store::serve(|_, asked| honest(asked).ending(End::Trickle(MIB as usize))).await;
    let fetch = Fetch::from(&store).large();
    let began = Instant::now();
    let outcome = fetch.run().await;
    let took = began.elapsed();
    outcome.result.unwrap();
    assert_eq!(fs::read(fetch.shelf().path()).unwrap(), large());
    assert_eq!((outcome.troubles, outcome.files), (vec![], vec!["db".to_owned()]));
    let asked = store.asked();
    assert_eq!(asked[0], Asked { path: "/bucket/prod.db".into(), from: None, to: None, if_range: None });
    let mut spans: Vec<(u64, u64)> = asked[1..].iter().map(|a| (a.from.unwrap(), a.to.unwrap())).collect();
    spans.sort();
    let last = |from: u64| (from + RANGE).min(large().len() as u64) - 1;
    assert_eq!(spans, ranges().into_iter().map(|from| (from, last(from))).collect::<Vec<_>>());
    assert!(asked[1..].iter().all(|a| a.if_range.as_deref() == Some(ETAG)), "{asked:?}");
    // Three beside the first answer, then four where they do not end at once.
    assert!((3..=4).contains(&store.most_ranges()), "{}", store.most_ranges());
    let alone = Duration::from_millis(200) * (large().len() as u64 / MIB) as u32;
    assert!(took < alone * 3 / 4, "{took:?} in ranges, at least {alone:?} alone");
}

#[tokio::test]
async fn a_range_that_fails_is_asked_for_again_and_the_others_are_not() {
    type Faulty = fn(Reply) -> Reply;
    // Name, what goes wrong once, the range it goes wrong with, the trouble that must be told, the bytes that came before
    // at most.
    let cases: [(&str, Faulty, u64, &str, u64); 5] = [
        ("cut", |reply| reply.ending(End::Cut(1 << 20)), 2, "closed connection", MIB),
        ("reset", |reply| reply.ending(End::Reset(1 << 20)), 3, "reset", MIB),
        ("stalls", |reply| reply.ending(End::Stall(1 << 20)), 2, "nothing came for 5 s", MIB),
        ("busy", |_| Reply::new(503, "slow down").with("Retry-After", "1"), 3, "it answered 503", 0),
        (
            "shorter than it says",
            |reply| {
                let body = reply.body[..1 << 20].to_vec();
                let range = reply.headers.iter().find(|(name, _)| *name == "Content-Range").unwrap().1.clone();
                Reply::new(206, body).with("Content-Range", range).with("ETag", ETAG)
            },
            2,
            "the body ended at",
            MIB,
        ),
    ];
    for (name, fault, nth, trouble, further) in cases {
        let at = nth * RANGE;
        let once = Mutex::new(true);
        let store = Store::serve(move |_, asked| match asked.from {
            Some(from) if from == at && std::mem::take(&mut *once.lock().unwrap()) => fault(honest(asked)),
            _ => honest(asked),
        })
        .await;
        let idle = Duration::from_secs(if name == "stalls" { 5 } else { 20 });
        let fetch = Fetch { idle, ..Fetch::from(&store).large() };
        let outcome = fetch.run().await;
        outcome.result.unwrap_or_else(|e| panic!("{name}: {e:#}"));
        assert_eq!(fs::read(fetch.shelf().path()).unwrap(), large(), "{name}");
        let told = outcome.troubles.join(" | ");
        assert!(outcome.troubles.len() == 1 && told.contains(trouble), "{name}: {told:?}");
        let asked = store.asked();
        let again: Vec<&Asked> =
            asked.iter().filter(|a| a.from.is_some_and(|from| from >= at && from < at + RANGE)).collect();
        let (first, second) = (again[0], again[1]);
        assert_eq!((again.len(), second.to), (2, first.to), "{name}: {asked:?}");
        assert!(second.from.unwrap() <= at + further, "{name}: {asked:?}");
        assert_eq!(asked.len(), 1 + ranges().len() + 1, "{name}: {asked:?}");
    }
}

#[tokio::test]
async fn a_server_that_answers_no_ranges_is_read_to_the_end_of_its_first_answer() {
    type Faulty = fn(&Asked) -> Reply;
    let cases: [(&str, Faulty, usize); 6] = [
        ("knows none", |_| Reply::new(200, large()).with("ETag", ETAG), 3),
        ("refuses them", |_| Reply::new(403, "no"), 3),
        ("cannot do them", |_| Reply::new(501, ""), 3),
        ("wants one connection", |_| Reply::new(503, "").with("Retry-After", "60"), 3),
        ("says no ETag", |_| panic!("it is asked for a range"), 0),
        ("says a weak ETag", |_| panic!("it is asked for a range"), 0),
    ];
    for (name, ranged, most) in cases {
        let store = Store::serve(move |_, asked| match asked.from {
            None if name.contains("no ETag") => honest(asked).without("ETag"),
            None if name.contains("weak") => honest(asked).with("ETag", "W/\"one\""),
            None => honest(asked),
            Some(_) => ranged(asked),
        })
        .await;
        let fetch = Fetch::from(&store).large();
        let outcome = fetch.run().await;
        outcome.result.unwrap_or_else(|e| panic!("{name}: {e:#}"));
        assert_eq!(fs::read(fetch.shelf().path()).unwrap(), large(), "{name}");
        let times = times(&store.asked());
        assert!(times[&None] == 1 && times.len() <= 1 + most, "{name}: {times:?}");
        // What one of them was told is no trouble while the first answer goes on.
        assert!(outcome.troubles.iter().all(|t| t.contains("it answered 50")), "{name}: {:?}", outcome.troubles);
    }
}

#[tokio::test]
async fn what_is_odd_about_a_range_is_found_out_by_a_request_for_all_the_rest() {
    type Faulty = fn(bool, &Asked) -> Reply;
    // Name, the server by whether the last range was asked for already, the trouble, whether a plain request was made anew.
    let cases: [(&str, Faulty, &str, bool); 6] = [
        (
            "a range that was not asked for",
            |late, asked| match asked.to {
                Some(_) if late => honest(asked).with("Content-Range", format!("bytes 5-9/{}", large().len())),
                _ => honest(asked),
            },
            "it sent Content-Range \"bytes 5-9/",
            false,
        ),
        (
            "another length",
            |late, asked| match (asked.from, asked.to) {
                (Some(from), Some(to)) if late => {
                    honest(asked).with("Content-Range", format!("bytes {from}-{to}/{}", large().len() + 1))
                }
                _ => honest(asked),
            },
            "bytes and has ",
            false,
        ),
        (
            "no ranges any more",
            |late, asked| match asked.from {
                Some(_) if late => Reply::new(200, large()).with("ETag", ETAG),
                _ => honest(asked),
            },
            "it sent others, or of another object",
            false,
        ),
        (
            "another object, and If-Range",
            |late, asked| if late { honest(asked) } else { another(asked) },
            "it sent others, or of another object",
            false,
        ),
        (
            "another object, and no If-Range",
            |late, asked| match late {
                true => honest(&Asked { if_range: None, ..asked.clone() }),
                false => another(asked),
            },
            "the object changed while it was downloaded",
            true,
        ),
        (
            "no such range",
            |late, asked| if late && asked.to.is_some() { Reply::new(416, "") } else { honest(asked) },
            "the object changed while it was downloaded",
            false,
        ),
    ];
    for (name, script, trouble, anew) in cases {
        let was = Mutex::new(false);
        let store = Store::serve(move |_, asked| {
            let mut was = was.lock().unwrap();
            *was |= asked.from.is_some_and(|from| from >= 4 * RANGE);
            script(*was, asked)
        })
        .await;
        let fetch = Fetch::from(&store).large();
        let outcome = fetch.run().await;
        outcome.result.unwrap_or_else(|e| panic!("{name}: {e:#}"));
        assert_eq!(fs::read(fetch.shelf().path()).unwrap(), large(), "{name}");
        let told = outcome.troubles.join(" | ");
        assert!(told.contains(trouble), "{name}: {told:?}");
        let asked = store.asked();
        let last = asked.last().unwrap();
        assert_eq!(last.to, None, "{name}: {asked:?}");
        assert!(last.from.is_none_or(|from| from >= RANGE), "{name}: {asked:?}");
        assert_eq!(asked[1..].iter().any(|a| a.from.is_none()), anew, "{name}: {asked:?}");
    }
}

#[tokio::test]
async fn a_first_answer_that_breaks_off_and_a_flipped_bit_cost_no_more_than_elsewhere() {
    for flipped in [false, true] {
        let store = Store::serve(move |n, asked| {
            let mut reply = honest(asked);
            match (n, asked.from, flipped) {
                (0, _, false) => reply.ending(End::Cut(1 << 20)),
                (1..=4, Some(from), true) if from == RANGE => {
                    reply.body[1000] ^= 1;
                    reply
                }
                _ => reply,
            }
        })
        .await;
        let fetch = Fetch::from(&store).large();
        let outcome = fetch.run().await;
        outcome.result.unwrap();
        assert_eq!(fs::read(fetch.shelf().path()).unwrap(), large());
        let told = outcome.troubles.join(" | ");
        let times = times(&store.asked());
        match flipped {
            true => assert!(told.contains("once more from the start: it is damaged or was cut"), "{told}"),
            false => {
                assert!(told.contains("closed connection") && times[&None] == 1, "{told} {times:?}");
                assert!(times.keys().any(|from| from.is_some_and(|from| from <= MIB)), "{times:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_presigned_url_that_expires_on_the_way_leaves_what_came_in_order() {
    // The next attempt has a new one.
    let once = Mutex::new(true);
    let store = Store::serve(move |_, asked| match asked.from {
        Some(from) if from == 4 * RANGE && std::mem::take(&mut *once.lock().unwrap()) => {
            Reply::new(403, "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
        }
        _ => honest(asked),
    })
    .await;
    let fetch = Fetch::from(&store).large();
    let first = fetch.run().await;
    let error = first.result.unwrap_err();
    assert_eq!(Exit::of(&error), Exit::Unavailable);
    assert!(format!("{error:#}").contains("a presigned URL may have expired"), "{error:#}");
    assert_eq!(first.files, ["json", "object"]);
    let received = fs::metadata(fetch.shelf().object()).unwrap().len();
    assert_eq!(received, 4 * RANGE);
    fetch.run().await.result.unwrap();
    let asked = store.asked();
    assert_eq!(asked.iter().rfind(|a| a.to.is_none()).unwrap().from, Some(received), "{asked:?}");
    assert_eq!(fs::read(fetch.shelf().path()).unwrap(), large());
}

#[tokio::test]
async fn a_bucket_is_asked_for_ranges_too() {
    let dated = |reply: Reply| reply.with("Last-Modified", "Sat, 21 Nov 2026 10:00:00 GMT");
    let once = Mutex::new(true);
    let store = Store::serve(move |_, asked| match asked.from {
        Some(from) if from == 2 * RANGE && std::mem::take(&mut *once.lock().unwrap()) => {
            dated(honest(asked)).ending(End::Cut(1 << 20))
        }
        _ => dated(honest(asked)),
    })
    .await;
    let fetch = Fetch::from_bucket(&store).large();
    fetch.run().await.result.unwrap();
    assert_eq!(fs::read(fetch.shelf().path()).unwrap(), large());
    let asked = store.asked();
    assert_eq!((asked[0].from, asked[0].to), (None, None));
    assert!(asked[1..].iter().all(|a| a.to.is_some() && a.if_range.as_deref() == Some(ETAG)), "{asked:?}");
}
