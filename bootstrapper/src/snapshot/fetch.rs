//! Downloads that survive what networks, servers and power cuts do to them.

use std::time::Duration;

use anyhow::{Context, Result};
use hyper::body::Bytes;
use minisign_verify::PublicKey;
use plan::spec::Sha256;
use tokio::sync::mpsc;

use super::decode::Opening;
use super::http::{Setback, Unreached};
use super::intake::{Intake, blocking};
use super::origin::{Body, Origin};
use super::patience::Patience;
use super::ranges::Ranges;
use super::shelf::Shelf;
use super::verify::{Summary, Unfit};
use super::{about, beside};
use crate::exit::Exit;
use crate::store::manifest::Manifest;

/// Pieces between the network and the disk: enough to keep both busy, a few megabytes.
const QUEUE: usize = 64;

/// How often the object may be another one before we stop believing in it.
const RESTARTS: u32 = 3;

/// With other sources left, this much of patience is enough with one; with a peer, which has it or has not, this much.
const OTHERS: Duration = Duration::from_secs(60);
const PEER: Duration = Duration::from_secs(5);

/// What is wanted.
pub struct Order<'a> {
    /// From where: the next one is asked when one is unavailable or has something else.
    pub origins: &'a [&'a Origin],
    /// What it must hash to, when that is known.
    pub sha256: Option<&'a Sha256>,
    /// Who must have signed it.
    pub signer: Option<&'a PublicKey>,
    /// Asked with the manifest beside it, where there is one; without, nobody looks for one.
    pub accept: Option<&'a Accept<'a>>,
    /// Where to keep it; without, it is only checked.
    pub shelf: Option<Shelf>,
    /// Silence after which a connection is given up, 30 s for people.
    pub idle: Duration,
    /// Time without a new byte after which a source is given up; however slow, a download that moves goes on.
    pub patience: Duration,
    /// Whether an object of so many bytes may come in.
    pub admit: &'a (dyn Fn(u64) -> Result<()> + Sync),
    /// What it takes to open it.
    pub opening: Opening,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// From where; no secret.
    pub place: &'a str,
    /// Bytes so far.
    pub bytes: u64,
    /// Bytes of the whole, when known.
    pub total: Option<u64>,
    /// Why it does not move, when it does not.
    pub trouble: Option<&'a str>,
}

/// Whether the snapshot that a manifest tells of may be restored here.
pub type Accept<'a> = dyn Fn(&Manifest) -> Result<()> + Sync + 'a;

/// Told of every piece and every trouble.
pub type Watch<'a> = dyn FnMut(Progress<'_>) + Send + 'a;

/// Fetches and checks a snapshot; one that is kept lies under [`Shelf::path`] when this returns, and nothing else does.
///
/// # Errors
/// 65 for a snapshot that is no good at every source, 69 when one of them may deliver it later; those of `admit`. No
/// message shows a URL's query. What was received of a source that did not deliver stays for the next attempt.
pub async fn fetch(order: &Order<'_>, watch: &mut Watch<'_>) -> Result<Summary> {
    let mut failures = Vec::new();
    let mut origins = order.origins.iter().copied().peekable();
    while let Some(origin) = origins.next() {
        let patience = match origins.peek() {
            _ if origin.is_peer() => order.patience.min(PEER),
            Some(_) => order.patience.min(OTHERS),
            None => order.patience,
        };
        let error =
            match (Transfer { order, origin, patience, intake: None, resumed: false, alone: false }).run(watch).await {
                Ok(summary) => return Ok(summary),
                Err(error) => error,
            };
        if !matches!(Exit::of(&error), Exit::Unavailable | Exit::BadInput) {
            return Err(error);
        }
        if let Some(next) = origins.peek() {
            let trouble = format!("{error:#}");
            watch(Progress { place: next.place(), bytes: 0, total: None, trouble: Some(&trouble) });
        }
        failures.push((origin, error));
    }
    Err(all(failures))
}

/// What the sources said; a person is needed only when no one of them may deliver later. Of peers it is enough to know
/// that none has it.
fn all(mut failures: Vec<(&Origin, anyhow::Error)>) -> anyhow::Error {
    if failures.len() == 1 {
        return failures.remove(0).1;
    }
    let (peers, sources): (Vec<_>, Vec<_>) = failures.into_iter().partition(|(origin, _)| origin.is_peer());
    let later = sources.iter().any(|(_, error)| Exit::of(error) == Exit::Unavailable);
    let mut texts: Vec<String> = sources.iter().map(|(_, error)| format!("{error:#}")).collect();
    if !peers.is_empty() {
        texts.push("no peer has it whole".into());
    }
    if later { Exit::Unavailable.because(texts.join("; ")) } else { Exit::BadInput.because(texts.join("; ")) }
}

/// The error of a source that is over; what can be of no use to another attempt is removed.
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
    origin: &'a Origin,
    patience: Duration,
    /// Away only while its thread has it.
    intake: Option<Intake>,
    /// Whether an earlier attempt has left some of it here.
    resumed: bool,
    /// One request at a time: several were not answered as they should.
    alone: bool,
}

impl Transfer<'_> {
    /// From one source, until it is whole or the source is given up.
    async fn run(&mut self, watch: &mut Watch<'_>) -> Result<Summary> {
        let mut again = false;
        loop {
            let error = match self.attempted(watch).await {
                Ok(summary) => return Ok(summary),
                Err(error) => error,
            };
            // Damage may have happened on the way, pieces may be of two objects, and what was here before may have
            // rotted here: once from the start.
            let worth_it = match error.downcast_ref() {
                Some(Unfit::Broken(_)) => true,
                // Not all that rots in an object changes what it unpacks to.
                Some(Unfit::Another(_)) => self.resumed,
                Some(Unfit::Unusable(_)) | None => false,
            };
            if again || !worth_it {
                return Err(failed(self.order, self.origin.place(), error));
            }
            again = true;
            self.told(watch, 0, None, Some(&format!("once more from the start: {error}")));
        }
    }

    async fn attempted(&mut self, watch: &mut Watch<'_>) -> Result<Summary> {
        let (shelf, mut opening) = (self.order.shelf.clone(), self.order.opening.clone());
        if let Some(key) = self.order.signer {
            let mut say = |why: &str| self.told(watch, 0, None, Some(why));
            opening.signed = Some(beside::signed(self.origin, key, shelf.as_ref(), self.timing(), &mut say).await?);
        }
        let manifest = match self.order.accept {
            Some(accept) => beside::manifest(self.origin, self.order, accept).await?,
            None => None,
        };
        let intake = blocking(move || match shelf {
            Some(shelf) => Intake::resume(shelf, opening),
            None => Ok(Intake::checking(opening)),
        });
        let intake = intake.await?;
        self.resumed = intake.bytes() > 0;
        self.intake = Some(intake);
        self.download(watch).await?;
        let (intake, expected) = (self.taken()?, self.order.sha256.cloned());
        let shelf = self.order.shelf.clone();
        blocking(move || {
            let summary = intake.finish(expected.as_ref())?;
            let Some(manifest) = manifest.filter(|manifest| manifest.sha256 == summary.sha256) else {
                return Ok(summary);
            };
            match about::agrees(&manifest, &summary) {
                Ok(()) => Ok(Summary { manifest: Some(Box::new(manifest)), ..summary }),
                Err(unfit) => shelf.map_or(Ok(()), |shelf| shelf.clear()).and(Err(unfit.into())),
            }
        })
        .await
    }

    fn timing(&self) -> (Patience, Duration) {
        (Patience::new(self.patience), self.order.idle)
    }

    /// Downloads until the object is whole, however often it takes.
    async fn download(&mut self, watch: &mut Watch<'_>) -> Result<()> {
        let mut patience = Patience::new(self.patience);
        let mut restarts = 0;
        loop {
            let setback = match self.attempt(watch).await {
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
                let waited = self.patience.as_secs();
                return Err(
                    Unreached(format!("no new byte for {waited} s; the last thing that happened: {why}")).into()
                );
            };
            self.say(watch, Some(&why))?;
            tokio::time::sleep(pause).await;
        }
    }

    /// One request, and its body to the end of the object.
    async fn attempt(&mut self, watch: &mut Watch<'_>) -> Result<(), Setback> {
        if self.intake()?.is_whole() {
            return Ok(());
        }
        let from = self.bytes()?;
        let known = self.intake()?.version.clone();
        let body = self.origin.ask(from, None, &known, self.order.idle).await?;
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
        let poured = self.pour(body, pieces, watch).await;
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

    /// Moves all that a body begins into the queue, in several ranges at a time where they are to be had.
    async fn pour(&mut self, body: Body, pieces: mpsc::Sender<Bytes>, watch: &mut Watch<'_>) -> Result<(), Setback> {
        let ranges = Ranges::of(self.origin, &body, self.order.idle, self.patience);
        let Some(ranges) = ranges.filter(|_| !self.alone) else { return self.pour_alone(body, pieces, watch).await };
        let (place, total) = (self.origin.place(), body.version.total);
        let mut tell = |bytes, trouble: Option<&str>| watch(Progress { place, bytes, total, trouble });
        let poured = ranges.pour(body, &pieces, &mut tell).await;
        self.alone = !matches!(poured, Ok(None));
        match poured {
            Ok(None) => Ok(()),
            Ok(Some(body)) => self.pour_alone(body, pieces, watch).await,
            // A request alone tells whether the object is another one.
            Err(Setback::Restart { why }) => Err(Setback::Passing { why, after: Some(Duration::ZERO) }),
            Err(setback) => Err(setback),
        }
    }

    /// Moves a body into the queue; ends early when the other end has, which then says why.
    async fn pour_alone(
        &self,
        mut body: Body,
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
            self.told(watch, bytes, total, None);
            if pieces.send(piece).await.is_err() {
                break;
            }
        }
        Ok(())
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
        self.told(watch, intake.bytes(), intake.version.total, trouble);
        Ok(())
    }

    fn told(&self, watch: &mut Watch<'_>, bytes: u64, total: Option<u64>, trouble: Option<&str>) {
        watch(Progress { place: self.origin.place(), bytes, total, trouble });
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
