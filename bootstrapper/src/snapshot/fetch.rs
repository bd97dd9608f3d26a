//! Downloads that survive what networks, servers and power cuts do to them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hyper::body::Bytes;
use plan::spec::{Secret, Sha256};
use reqwest::{Client, Url};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use super::decode::Most;
use super::http::{self, Setback, Unreached};
use super::intake::{Intake, blocking};
use super::shelf::Shelf;
use super::source::{self, Source};
use super::verify::{Summary, Unfit};
use crate::exit::Exit;

/// Pieces between the network and the disk: enough to keep both busy, a few megabytes.
const QUEUE: usize = 64;

/// First pause before another attempt; doubled up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// How often the object may be another one before we stop believing in it.
const RESTARTS: u32 = 3;

/// What is wanted.
pub struct Order<'a> {
    /// From where; `https://` or `file://`.
    pub url: &'a Secret,
    /// What it must hash to, when that is known.
    pub sha256: Option<&'a Sha256>,
    /// Where to keep it; without, it is only checked.
    pub shelf: Option<Shelf>,
    /// Files of CAs that servers are trusted by.
    pub roots: &'a [PathBuf],
    /// Silence after which a connection is given up, 30 s for people.
    pub idle: Duration,
    /// Time without a new byte after which the source is given up; however slow, a download that moves goes on.
    pub patience: Duration,
    /// Whether an object of so many bytes may come in.
    pub admit: &'a (dyn Fn(u64) -> Result<()> + Sync),
    /// How large a database may come out of it.
    pub most: Most,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Bytes so far.
    pub bytes: u64,
    /// Bytes of the whole, when known.
    pub total: Option<u64>,
    /// Why it does not move, when it does not.
    pub trouble: Option<&'a str>,
}

/// Told of every piece and every trouble.
pub type Watch<'a> = dyn FnMut(Progress<'_>) + Send + 'a;

/// Fetches and checks a snapshot; one that is kept lies under [`Shelf::path`] when this returns, and nothing else does.
///
/// # Errors
/// 65 for a URL or a snapshot that is no good, 69 for a source that does not deliver; those of `admit`. No message shows
/// the URL's query. What was received of a source that did not deliver stays for the next attempt.
pub async fn fetch(order: &Order<'_>, watch: &mut Watch<'_>) -> Result<Summary> {
    let source = Source::parse(order.url)?;
    let place = source.place();
    let client = match &source {
        Source::Https(_) => Some(source::client(order.roots)?),
        Source::File(_) => None,
    };
    let (mut once_more, mut again) = (client.is_some(), false);
    loop {
        let (shelf, most) = (order.shelf.clone(), order.most.clone());
        let intake = blocking(move || match shelf {
            Some(shelf) => Intake::resume(shelf, most),
            None => Ok(Intake::checking(most)),
        })
        .await?;
        // What is here of an earlier attempt may have rotted here.
        once_more |= intake.bytes() > 0;
        let mut transfer = Transfer { order, intake: Some(intake) };
        let moved = match (&source, &client) {
            (Source::Https(url), Some(client)) => transfer.download(client, url, watch).await,
            (Source::File(path), _) => transfer.copy(path, watch).await,
            (Source::Https(_), None) => Err(anyhow::anyhow!("no client for https")),
        };
        if let Err(error) = moved {
            return Err(failed(order, &place, error));
        }
        let (intake, expected) = (transfer.taken()?, order.sha256.cloned());
        let error = match blocking(move || intake.finish(expected.as_ref())).await {
            Ok(summary) => return Ok(summary),
            Err(error) => error,
        };
        // Damage may have happened on the way, and pieces may be of two objects: once from the start.
        let worth_it = matches!(error.downcast_ref(), Some(Unfit::Broken(_)));
        if !(once_more && worth_it) || again {
            return Err(failed(order, &place, error));
        }
        again = true;
        watch(Progress { bytes: 0, total: None, trouble: Some(&format!("once more from the start: {error}")) });
    }
}

/// The error of a fetch that is over; what can be of no use to another attempt is removed.
fn failed(order: &Order<'_>, place: &str, error: anyhow::Error) -> anyhow::Error {
    if error.downcast_ref::<Unreached>().is_some() {
        return Exit::Unavailable.because(format!("cannot fetch the snapshot from {place}: {error}"));
    }
    if let Some(Err(error)) = order.shelf.as_ref().map(Shelf::clear) {
        return error;
    }
    match error.downcast_ref::<Unfit>() {
        Some(unfit) => Exit::BadInput.because(format!("the snapshot from {place} cannot be restored: {unfit}")),
        None => error.context(format!("cannot fetch the snapshot from {place}")),
    }
}

struct Transfer<'a> {
    order: &'a Order<'a>,
    /// Away only while its thread has it.
    intake: Option<Intake>,
}

impl Transfer<'_> {
    /// Downloads until the object is whole, however often it takes.
    async fn download(&mut self, client: &Client, url: &Url, watch: &mut Watch<'_>) -> Result<()> {
        let mut patience = Patience::new(self.order.patience);
        let mut restarts = 0;
        loop {
            let setback = match self.attempt(client, url, watch).await {
                Ok(()) => return Ok(()),
                Err(setback) => setback,
            };
            let (why, after) = match setback {
                Setback::Final(error) => return Err(error),
                Setback::Passing { why, after } => (why, after),
                Setback::Restart { why } => {
                    restarts += 1;
                    if restarts > RESTARTS {
                        return Err(Unreached(format!("{why}, for the {restarts}th time")).into());
                    }
                    self.restart().await?;
                    (why, None)
                }
            };
            let Some(pause) = patience.pause(self.bytes()?, after) else {
                let waited = self.order.patience.as_secs();
                return Err(
                    Unreached(format!("no new byte for {waited} s; the last thing that happened: {why}")).into()
                );
            };
            self.say(watch, Some(&why))?;
            tokio::time::sleep(pause).await;
        }
    }

    /// One request, and its body to the end of the object.
    async fn attempt(&mut self, client: &Client, url: &Url, watch: &mut Watch<'_>) -> Result<(), Setback> {
        if self.intake()?.is_whole() {
            return Ok(());
        }
        let from = self.bytes()?;
        let known = self.intake()?.version.clone();
        let mut body = http::ask(client, url, from, &known, self.order.idle).await?;
        if body.from < from {
            // The object is another one, or the server knows no ranges: what we have is not the beginning of this body.
            self.restart().await?;
        }
        if let Some(total) = body.version.total {
            self.admit(total)?;
        }
        self.intake.as_mut().context(AWAY)?.version = body.version.clone();
        let (pieces, queue) = mpsc::channel(QUEUE);
        let intake = self.taken()?;
        let writer = tokio::task::spawn_blocking(move || intake.drain(queue));
        let poured = self.pour(&mut body, pieces, watch).await;
        let (intake, written) = writer.await.context("the thread that writes the snapshot died")?;
        let (bytes, total) = (intake.bytes(), intake.version.total);
        self.intake = Some(intake);
        written?;
        poured?;
        match total {
            Some(total) if bytes != total => {
                Err(Setback::passing(format!("the body ended at {bytes} of {total} bytes")))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Moves a body into the queue; ends early when the other end has, which then says why.
    async fn pour(
        &self,
        body: &mut http::Body,
        pieces: mpsc::Sender<Bytes>,
        watch: &mut Watch<'_>,
    ) -> Result<(), Setback> {
        let total = body.version.total;
        let mut bytes = body.from;
        while let Some(piece) = body.next(self.order.idle).await? {
            bytes += piece.len() as u64;
            if total.is_none() {
                self.admit(bytes)?;
            } else if total.is_some_and(|t| bytes > t) {
                return Err(Setback::Restart { why: "more bytes came than the server announced".into() });
            }
            watch(Progress { bytes, total, trouble: None });
            if pieces.send(piece).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Copies a file of this host.
    async fn copy(&mut self, path: &Path, watch: &mut Watch<'_>) -> Result<()> {
        let lost = |error: std::io::Error| {
            let hint =
                if error.kind() == std::io::ErrorKind::NotFound { "; is the medium attached and mounted?" } else { "" };
            anyhow::Error::new(Unreached(format!("{error}{hint}")))
        };
        if self.intake()?.is_whole() {
            return Ok(());
        }
        self.restart().await?;
        let mut file = tokio::fs::File::open(path).await.map_err(lost)?;
        let meta = file.metadata().await.map_err(lost)?;
        if !meta.is_file() {
            return Err(Unreached("it is not a file".into()).into());
        }
        let total = meta.len();
        (self.order.admit)(total)?;
        let (pieces, queue) = mpsc::channel(4);
        let intake = self.taken()?;
        let writer = tokio::task::spawn_blocking(move || intake.drain(queue));
        let mut bytes = 0;
        let read = loop {
            let mut piece = vec![0; 1 << 20];
            match file.read(&mut piece).await {
                Err(error) => break Err(lost(error)),
                Ok(0) => break Ok(()),
                Ok(read) => {
                    piece.truncate(read);
                    bytes += read as u64;
                    watch(Progress { bytes, total: Some(total), trouble: None });
                    if pieces.send(piece.into()).await.is_err() {
                        break Ok(());
                    }
                }
            }
        };
        drop(pieces);
        let (intake, written) = writer.await.context("the thread that writes the snapshot died")?;
        self.intake = Some(intake);
        written.and(read)
    }

    async fn restart(&mut self) -> Result<()> {
        let mut intake = self.taken()?;
        self.intake = Some(blocking(move || intake.restart().map(|()| intake)).await?);
        Ok(())
    }

    fn admit(&self, bytes: u64) -> Result<(), Setback> {
        (self.order.admit)(bytes).map_err(Setback::Final)
    }

    fn say(&self, watch: &mut Watch<'_>, trouble: Option<&str>) -> Result<()> {
        let intake = self.intake()?;
        watch(Progress { bytes: intake.bytes(), total: intake.version.total, trouble });
        Ok(())
    }

    fn bytes(&self) -> Result<u64> {
        self.intake().map(Intake::bytes)
    }

    fn intake(&self) -> Result<&Intake> {
        self.intake.as_ref().context(AWAY)
    }

    fn taken(&mut self) -> Result<Intake> {
        self.intake.take().context(AWAY)
    }
}

/// A defect of this file: two threads would have to hold one intake.
const AWAY: &str = "the snapshot's receiving end is gone";

/// How long no new byte may come, and how long to pause until then.
struct Patience {
    limit: Duration,
    since: Instant,
    most: u64,
    pause: Duration,
}

impl Patience {
    fn new(limit: Duration) -> Patience {
        Patience { limit, since: Instant::now(), most: 0, pause: FIRST_PAUSE }
    }

    /// The pause before the next attempt; `None` when there is none. Bytes that came before do not count again.
    fn pause(&mut self, bytes: u64, after: Option<Duration>) -> Option<Duration> {
        if bytes > self.most {
            (self.most, self.since, self.pause) = (bytes, Instant::now(), FIRST_PAUSE);
        }
        let left = self.limit.checked_sub(self.since.elapsed())?;
        let pause = after.unwrap_or(self.pause);
        self.pause = (self.pause * 2).min(LAST_PAUSE);
        Some(pause.min(left))
    }
}
