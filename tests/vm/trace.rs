//! A machine's data disk over time, and what others knew of it at each moment.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;
use bootstrapper::observe::peers::Asker;
use plan::facts::Heard;
use plan::member::PeerUrl;

use crate::aftermath::Known;
use crate::cluster::Cluster;
use crate::probe;
use crate::world::Seat;

/// Between two questions to the peer port; each handshake costs a guest some of its time.
const QUESTION: Duration = Duration::from_millis(100);
/// Between two looks at how long the record is.
const LOOK: Duration = Duration::from_millis(2);

/// What is seen of one boot, until it is dropped.
pub struct Trace {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    seen: Mutex<Seen>,
}

/// What was seen of a boot.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How long the record of the data disk was, each time that it had grown.
    pub samples: Vec<Sample>,
    /// What others knew of the disk, and since when.
    pub known: Vec<(Instant, Known)>,
}

/// How long a record was.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Before it was measured: what was known by then rests on writes that the length covers.
    pub at: Instant,
    /// Bytes.
    pub length: u64,
}

impl Trace {
    /// Begins with the boot; this is the record of the data disk.
    pub fn begin(cluster: &Cluster, seat: Seat, record: &Path) -> Result<Trace> {
        let shared = Arc::new(Shared::default());
        let asker = Asker::new(probe::client_config(cluster, Some("admin"))?)?;
        let url: PeerUrl = format!("https://{}:2380", seat.address()).parse()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (to_ask, to_measure, record) = (shared.clone(), shared.clone(), record.to_owned());
        let ask = thread::spawn(move || runtime.block_on(ask(&to_ask, &asker, &url)));
        let measure = thread::spawn(move || measure(&to_measure, &record));
        Ok(Trace { shared, threads: vec![ask, measure] })
    }

    /// What was seen.
    pub fn end(self) -> Seen {
        self.shared.seen().clone()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic in it has been printed, and what was seen until then is still true.
            thread.join().ok();
        }
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

impl Seen {
    /// What others knew at this moment.
    pub fn known_at(&self, at: Instant) -> Vec<Known> {
        self.known.iter().filter(|(moment, _)| *moment <= at).map(|(_, known)| known.clone()).collect()
    }

    /// The first sample that covers what was known at this moment.
    pub fn after(&self, moment: Instant) -> Option<Sample> {
        self.samples.iter().find(|s| s.at >= moment).copied()
    }
}

/// Asks on the peer port, again and again; the same answer is noted once.
async fn ask(shared: &Shared, asker: &Asker, url: &PeerUrl) {
    let mut last = None;
    while shared.goes_on() {
        for peer in asker.ask(vec![(None, url.clone())]).await {
            let silent = matches!(peer.heard, Heard::Unknown { .. });
            if !silent && last.as_ref() != Some(&peer.heard) {
                shared.seen().known.push((Instant::now(), Known::Said(peer.heard.clone())));
                last = Some(peer.heard);
            }
        }
        tokio::time::sleep(QUESTION).await;
    }
}

fn measure(shared: &Shared, record: &Path) {
    while shared.goes_on() {
        let at = Instant::now();
        // There is none before QEMU starts.
        let length = record.metadata().map_or(0, |m| m.len());
        let samples = &mut shared.seen().samples;
        if samples.last().map_or(0, |last| last.length) < length {
            samples.push(Sample { at, length });
        }
        thread::sleep(LOOK);
    }
}
