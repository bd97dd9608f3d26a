//! Several ranges of an object at a time, handed on in their order: stores give each connection only so much.
//!
//! The first answer is one to a plain request, as for every object, and tells its length and its ETag. It is kept until a
//! range has come by a request of its own: a server that knows no ranges, or wants no second connection, then costs
//! nothing but a few requests. Whatever else is odd ends this; a request for all the rest finds out what is true.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use hyper::body::Bytes;
use tokio::sync::mpsc::{Sender, UnboundedSender, unbounded_channel};

use super::http::Setback;
use super::origin::{Body, Origin};
use super::patience::Patience;
use super::sidecar::Version;

/// Bytes of a range, and how many are on their way or wait for their turn: five in memory at most, with the one that is
/// being handed on.
const RANGE: u64 = 4 << 20;
const AT_ONCE: usize = 4;

/// Objects with less left than this come in one body.
const WORTH_IT: u64 = 16 << 20;

/// Between two reports of progress while no range is whole.
const REPORT: Duration = Duration::from_secs(1);

/// Told how many bytes have come, and of every trouble.
pub(super) type Tell<'a> = dyn FnMut(u64, Option<&str>) + Send + 'a;

/// What is left of an object whose first answer has come.
pub(super) struct Ranges<'a> {
    origin: &'a Origin,
    version: Version,
    left: Range<u64>,
    idle: Duration,
    patience: Duration,
    /// Bytes that have come, in whatever order.
    came: AtomicU64,
}

/// What came of one range.
struct Came {
    /// In their order, from its first byte on.
    pieces: Vec<Bytes>,
    /// The first answer, where it was that and may be read on.
    end: Result<Option<Body>, Setback>,
}

impl<'a> Ranges<'a> {
    /// What can be had in ranges of the object that this body begins, if it is worth it.
    pub fn of(origin: &'a Origin, body: &Body, idle: Duration, patience: Duration) -> Option<Ranges<'a>> {
        let version = body.version.clone();
        // Without a strong one, ranges of two objects could not be told apart.
        version.etag.as_ref().filter(|etag| !etag.starts_with("W/"))?;
        let left = body.from..version.total?;
        let worth_it = origin.has_ranges() && left.end.saturating_sub(left.start) >= WORTH_IT;
        let came = AtomicU64::new(left.start);
        // A range that does not come leaves as much again for a request without ranges.
        worth_it.then_some(Ranges { origin, version, left, idle, patience: patience / 2, came })
    }

    /// Moves all of it into the queue; what is given back is to be read on alone, as ranges are not to be had.
    ///
    /// # Errors
    /// A setback; all that came in order is in the queue.
    pub async fn pour(&self, body: Body, queue: &Sender<Bytes>, tell: &mut Tell<'_>) -> Result<Option<Body>, Setback> {
        let (troubles, mut troubled) = unbounded_channel();
        let (mut next, mut first) = (self.left.start, Some(body));
        let mut spare: Option<Body> = None;
        let mut ahead = FuturesOrdered::new();
        let mut report = tokio::time::interval(REPORT);
        loop {
            while next < self.left.end && ahead.len() + usize::from(spare.is_some()) < AT_ONCE {
                let span = next..self.left.end.min(next + RANGE);
                next = span.end;
                // With the first answer at hand, the range behind it is not waited for.
                let patient = span.start != self.left.start + RANGE;
                ahead.push_back(self.range(span, first.take(), patient.then(|| troubles.clone())));
            }
            let came = tokio::select! {
                biased;
                Some(why) = troubled.recv() => {
                    tell(self.came(), Some(&why));
                    continue;
                }
                came = ahead.next() => came,
                _ = report.tick() => {
                    tell(self.came(), None);
                    continue;
                }
            };
            let Some(Came { pieces, end }) = came else { return Ok(None) };
            if let (Err(_), Some(body)) = (&end, spare.take()) {
                return Ok(Some(body));
            }
            for piece in pieces {
                // The other end has ended, and says why.
                if queue.send(piece).await.is_err() {
                    return Ok(None);
                }
            }
            tell(self.came(), None);
            spare = end?;
        }
    }

    /// One range, out of the first answer as far as that goes; asked for again after a trouble if that may be told.
    async fn range(&self, span: Range<u64>, mut body: Option<Body>, troubles: Option<UnboundedSender<String>>) -> Came {
        let (mut at, mut pieces, mut first) = (span.start, Vec::new(), body.is_some());
        let mut patience = Patience::new(self.patience);
        loop {
            let setback = match self.read(&mut at, span.end, &mut body, &mut pieces).await {
                Ok(()) => return Came { pieces, end: Ok(body.filter(|_| first)) },
                Err(setback) => setback,
            };
            let (Setback::Passing { why, after }, Some(troubles)) = (&setback, &troubles) else {
                return Came { pieces, end: Err(setback) };
            };
            let Some(pause) = patience.pause(at, *after) else { return Came { pieces, end: Err(setback) } };
            // Whoever listens has ended only when this is dropped too.
            let _heard = troubles.send(why.clone());
            (body, first) = (None, false);
            tokio::time::sleep(pause).await;
        }
    }

    async fn read(
        &self,
        at: &mut u64,
        end: u64,
        body: &mut Option<Body>,
        pieces: &mut Vec<Bytes>,
    ) -> Result<(), Setback> {
        let body = match body {
            Some(body) => body,
            None => body.insert(self.ask(*at, end).await?),
        };
        while *at < end {
            let Some(mut piece) = body.next(self.idle).await? else {
                return Err(Setback::passing(format!("the body ended at {at} of {end} bytes")));
            };
            let wanted = piece.len().min(usize::try_from(end - *at).unwrap_or(usize::MAX));
            body.put_back(piece.split_off(wanted));
            *at += wanted as u64;
            self.came.fetch_add(wanted as u64, Ordering::Relaxed);
            // Of its own: what comes from the network may be a small part of a large buffer.
            pieces.push(Bytes::copy_from_slice(&piece));
        }
        body.from = *at;
        Ok(())
    }

    /// Asks for a range of this very object.
    async fn ask(&self, from: u64, end: u64) -> Result<Body, Setback> {
        let body = self.origin.ask(from, Some(end), &self.version, self.idle).await?;
        if body.from == from && body.version == self.version {
            return Ok(body);
        }
        let why = format!("asked for the bytes from {from} on, it sent others, or of another object");
        Err(Setback::Restart { why })
    }

    fn came(&self) -> u64 {
        self.came.load(Ordering::Relaxed)
    }
}
