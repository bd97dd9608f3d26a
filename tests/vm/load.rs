//! Writers that never stop, and a checker that knows each write that was acknowledged to them.
//!
//! Each key is written once, so that nothing excuses a difference: what was acknowledged is there with its value, and
//! what was not is there with its value or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use etcd_client::{Client, ConnectOptions, GetOptions, TlsOptions};

use crate::aftermath::Known;
use crate::cluster::Cluster;
use crate::process::TICK;
use crate::random::Random;
use crate::sandbox;
use crate::world::Seat;

/// For an answer to one write; one that comes later is as good as none.
const ANSWER: Duration = Duration::from_secs(3);
/// For the answer to reading everything, by a guest that has just booted.
const READ: Duration = Duration::from_secs(90);
/// Between two writes of one writer, so that three guests on two processors have time for all else.
const PACE: Duration = Duration::from_millis(25);

/// The writers of one case, one through each seat that was named.
pub struct Load {
    shared: Arc<Shared>,
    writers: Vec<JoinHandle<Result<()>>>,
    tls: TlsOptions,
}

struct Shared {
    name: String,
    stop: AtomicBool,
    tried: AtomicU64,
    acknowledged: Mutex<Acknowledged>,
}

struct Acknowledged {
    /// A line for each key, durable before the writer goes on: the checker believes this file and nothing else.
    file: File,
    moments: Vec<Instant>,
    clusters: BTreeSet<u64>,
}

/// What reading everything has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Acknowledged writes.
    pub acknowledged: u64,
    /// Those of them that are not there with their value.
    pub lost: u64,
}

impl Load {
    /// Starts a writer through each of these members; keys begin with this name, which no other load may have.
    pub fn start(cluster: &Cluster, name: &str, seats: &[Seat]) -> Result<Load> {
        let file = OpenOptions::new().create_new(true).append(true).open(file(name))?;
        let acknowledged = Mutex::new(Acknowledged { file, moments: Vec::new(), clusters: BTreeSet::new() });
        let (name, stop, tried) = (name.to_owned(), AtomicBool::new(false), AtomicU64::new(0));
        let shared = Arc::new(Shared { name, stop, tried, acknowledged });
        let tls = tls(cluster)?;
        let writer = |seat: &Seat| {
            let (shared, tls, seat) = (shared.clone(), tls.clone(), *seat);
            thread::spawn(move || runtime()?.block_on(write(&shared, tls, seat)))
        };
        let writers = seats.iter().map(writer).collect();
        Ok(Load { shared, writers, tls })
    }

    /// Waits for so many writes more that somebody acknowledges; when the first of them was acknowledged.
    pub fn wait(&self, more: usize, limit: Duration) -> Result<Instant> {
        let before = self.shared.acknowledged().moments.len();
        let end = Instant::now() + limit;
        loop {
            let moments = self.shared.acknowledged().moments.clone();
            if moments.len() >= before + more {
                return Ok(moments[before]);
            }
            let count = moments.len() - before;
            ensure!(!sandbox::interrupted(), "interrupted after {count} of {more} writes");
            ensure!(Instant::now() < end, "{count} of {more} writes were acknowledged within {} s", limit.as_secs());
            thread::sleep(TICK);
        }
    }

    /// The longest time after this moment in which nobody acknowledged anything; none when nobody ever did again.
    pub fn silence(&self, from: Instant) -> Option<Duration> {
        let moments = self.shared.acknowledged().moments.clone();
        let after = moments.iter().filter(|m| **m > from);
        std::iter::once(&from).chain(after.clone()).zip(after).map(|(a, b)| b.duration_since(*a)).max()
    }

    /// The keys that were acknowledged until now, with their values.
    pub fn acknowledged(&self) -> Result<Vec<(String, String)>> {
        self.shared.acknowledged_keys()
    }

    /// The same with the moments, when the acknowledgements were noted.
    pub fn known(&self) -> Result<Vec<(Instant, Known)>> {
        let moments = self.shared.acknowledged().moments.clone();
        let keys = self.acknowledged()?.into_iter();
        Ok(moments.into_iter().zip(keys.map(|(key, value)| Known::Acknowledged { key, value })).collect())
    }

    /// The clusters that have acknowledged anything.
    pub fn clusters(&self) -> BTreeSet<u64> {
        self.shared.acknowledged().clusters.clone()
    }

    /// Ends the writers.
    pub fn stop(&mut self) -> Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for writer in self.writers.drain(..) {
            writer.join().map_err(|_| anyhow::anyhow!("a writer has panicked"))??;
        }
        Ok(())
    }

    /// Reads everything through this member, linearizably, and compares.
    pub fn check(&self, seat: Seat) -> Result<Verdict> {
        let found = runtime()?.block_on(read(&self.tls, seat, &format!("/load/{}/", self.shared.name)))?;
        let acknowledged = self.shared.acknowledged_keys()?;
        let lost = acknowledged.iter().filter(|(key, value)| found.get(key) != Some(value)).count();
        for (key, found) in &found {
            ensure!(*found == value(key), "{} reads {found:?} at {key}, which nobody wrote", seat.name());
        }
        Ok(Verdict { acknowledged: acknowledged.len() as u64, lost: lost as u64 })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // A case that failed has said why already.
        self.stop().ok();
    }
}

impl Shared {
    fn acknowledged(&self) -> MutexGuard<'_, Acknowledged> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn acknowledged_keys(&self) -> Result<Vec<(String, String)>> {
        let text = fs::read_to_string(file(&self.name))?;
        Ok(text.lines().map(|key| (key.to_owned(), value(key))).collect())
    }

    fn note(&self, key: &str, cluster: u64) -> Result<()> {
        let mut acknowledged = self.acknowledged();
        writeln!(acknowledged.file, "{key}")?;
        acknowledged.file.sync_data()?;
        acknowledged.moments.push(Instant::now());
        acknowledged.clusters.insert(cluster);
        Ok(())
    }
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(format!("acknowledged-{name}"))
}

/// What is written at a key.
fn value(key: &str) -> String {
    let seed = key.bytes().fold(7, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    format!("{:016x}", Random::new(seed).below(u64::MAX))
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn tls(cluster: &Cluster) -> Result<TlsOptions> {
    let text = |name: &str| fs::read_to_string(cluster.file(name)).with_context(|| format!("cannot read {name}"));
    let certificate = etcd_client::Certificate::from_pem(text("ca.crt")?);
    let identity = etcd_client::Identity::from_pem(text("admin.crt")?, text("admin.key")?);
    Ok(TlsOptions::new().ca_certificate(certificate).identity(identity))
}

async fn connect(tls: &TlsOptions, seat: Seat, limit: Duration) -> Result<Client> {
    let url = format!("https://{}:2379", seat.address());
    let options = ConnectOptions::new().with_tls(tls.clone()).with_connect_timeout(limit).with_timeout(limit);
    Ok(tokio::time::timeout(limit, Client::connect([url], Some(options))).await??)
}

/// Writes through one member, a new key each time, until it is told to stop.
async fn write(shared: &Shared, tls: TlsOptions, seat: Seat) -> Result<()> {
    let mut client = None;
    while !shared.stop.load(Ordering::Relaxed) {
        tokio::time::sleep(PACE).await;
        let open = match client.take() {
            Some(open) => Ok(open),
            None => connect(&tls, seat, ANSWER).await,
        };
        // Nobody there: the next round asks again.
        let Ok(mut open) = open else { continue };
        let number = shared.tried.fetch_add(1, Ordering::Relaxed);
        let key = format!("/load/{}/{number:08}", shared.name);
        let put = tokio::time::timeout(ANSWER, open.put(key.clone(), value(&key), None)).await;
        // After an error a new connection: the old one may lead to a machine that is no more.
        if let Ok(Ok(done)) = put {
            shared.note(&key, done.header().map_or(0, etcd_client::ResponseHeader::cluster_id))?;
            client = Some(open);
        }
    }
    Ok(())
}

async fn read(tls: &TlsOptions, seat: Seat, prefix: &str) -> Result<BTreeMap<String, String>> {
    let mut client = connect(tls, seat, READ).await.with_context(|| format!("cannot ask {}", seat.name()))?;
    let get = client.get(prefix, Some(GetOptions::new().with_prefix()));
    let answer = tokio::time::timeout(READ, get).await?.with_context(|| format!("{} cannot be read", seat.name()))?;
    let pair = |kv: &etcd_client::KeyValue| Ok((kv.key_str()?.to_owned(), kv.value_str()?.to_owned()));
    answer.kvs().iter().map(pair).collect()
}
