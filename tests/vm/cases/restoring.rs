//! (k) The power fails while a machine restores a snapshot of a quarter of a gibibyte.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::bucket::Bucket;
use crate::cases::power_cut::UNLUCKY;
use crate::cluster::Cluster;
use crate::going_on::go_on;
use crate::large::Large;
use crate::lines::Line;
use crate::machine::Machine;
use crate::record::{Cut, Loss, Record};
use crate::set::{SETTLE, SETTLED};
use crate::suite::Suite;

/// In the words of the soak's table.
pub const RESTORING: &str = "restoring";
/// Power cuts in a test.
const CUTS: u32 = 5;
/// The object in the bucket.
const OBJECT: &str = "large.db";
/// What is said when a restore begins: its host is ready for the founding.
const BEGINS: &str = "(row 26";
/// Between two looks at how long the records are.
const LOOK: Duration = Duration::from_millis(2);

pub fn run(suite: &mut Suite) -> Result<()> {
    let mut restoring = Restoring::record(suite)?;
    let mut lefts = Vec::new();
    for _ in 0..CUTS {
        lefts.push(restoring.left(suite)?);
    }
    let whole = restoring.whole(suite)?;
    restoring.look_at_all(suite, &lefts, &whole)?;
    restoring.discard()
}

/// A boot that has restored, with all it takes to end it at another moment.
pub struct Restoring {
    cluster: Cluster,
    large: Large,
    seed: PathBuf,
    place: PathBuf,
    data: Record,
    system: Record,
    /// How long the records of the system disk and the data disk were, while it restored.
    lengths: Vec<[u64; 2]>,
    /// Whoever boots once more fetches from it.
    _bucket: Bucket,
}

impl Restoring {
    /// Boots a machine that founds a cluster of one from the snapshot, until it has settled.
    pub fn record(suite: &mut Suite) -> Result<Restoring> {
        suite.stop();
        let name = suite.name("large");
        let large = Large::make(&suite.yard.tools, PathBuf::from(format!("{name}.db")))?;
        let bucket = Bucket::start(&suite.yard.tools)?;
        bucket.put(OBJECT, &large.file)?;
        let cluster = Cluster::of(&suite.yard.tools, &name, &[UNLUCKY], &[])?;
        let url = format!("url: \"s3://bucket/{OBJECT}\"");
        let restore = format!("restore: {{{url}, sha256: \"{}\", {}}}", large.sha256, bucket.access());
        let seed = cluster.seed_with(&suite.yard.tools, UNLUCKY, &[restore])?;
        let place = suite.yard.directory(UNLUCKY)?;
        let disks = suite.yard.blank(&place)?.recorded(&place);
        let records = [&disks.system, &disks.data].map(|disk| disk.record.clone());
        let [Some(system), Some(data)] = records else { anyhow::bail!("both disks are recorded") };
        let gauge = Gauge::begin([system.clone(), data.clone()]);
        let mut machine = suite.yard.boot(UNLUCKY, place.clone(), disks, Some(seed.clone()))?;
        machine.wait_settled(Instant::now() + SETTLE)?;
        machine.check()?;
        let began = said(&machine, BEGINS)?;
        println!(
            "        a restore of {:.1} s is recorded",
            said(&machine, SETTLED)?.duration_since(began).as_secs_f32()
        );
        let samples = gauge.end();
        machine.kill()?;
        let first = samples.iter().rposition(|sample| sample.at <= began).unwrap_or(0);
        let lengths = samples[first..].iter().map(|sample| sample.lengths).collect();
        let (data, system) = (Record::open(&data)?, Record::open(&system)?);
        Ok(Restoring { cluster, large, seed, place, data, system, lengths, _bucket: bucket })
    }

    /// Ends the restore at a random request of the data disk, and goes on from what that leaves without booting.
    pub fn look(&mut self, suite: &mut Suite) -> Result<(String, Result<()>)> {
        let Left { moment, place } = self.left(suite)?;
        let looked = self.go_on(suite, &place, false);
        if looked.is_ok() {
            fs::remove_dir_all(&place)?;
        }
        Ok((moment, looked))
    }

    /// A data disk as the end of the restore at a random request leaves it.
    fn left(&mut self, suite: &mut Suite) -> Result<Left> {
        let bounds = self.lengths.first().zip(self.lengths.last()).context("the machine never wrote to its disks")?;
        let (from, to) = (bounds.0[1], bounds.1[1]);
        let ends: Vec<u64> =
            self.data.entries()?.iter().map(|e| e.next()).filter(|e| (from..=to).contains(e)).collect();
        ensure!(!ends.is_empty(), "a restore without a request to the data disk");
        let number = usize::try_from(suite.random.below(ends.len() as u64))?;
        let moment =
            format!("at request {} of the {} that the data disk had while it restored", number + 1, ends.len());
        let mut random = suite.random.branch();
        let cut = Cut { at: Some(ends[number]), loss: Loss::Some(&mut random), unflushed_from: None };
        let place = suite.yard.directory(UNLUCKY)?;
        println!("        {}: {moment}", place.display());
        let disk = suite.yard.blank_data(place.join("data.raw"))?;
        println!("          data disk: {}", self.data.replay(&disk.file, cut)?);
        Ok(Left { moment, place })
    }

    /// The data disk with all that the restore has written.
    fn whole(&mut self, suite: &mut Suite) -> Result<PathBuf> {
        let place = suite.yard.directory(UNLUCKY)?;
        let disk = suite.yard.blank_data(place.join("data.raw"))?;
        self.data.replay(&disk.file, Cut::now(Loss::Nothing))?;
        Ok(place)
    }

    /// Goes on from each of these and from the whole one, each in a world of its own, as many at once as there are
    /// processors.
    fn look_at_all(&self, suite: &Suite, lefts: &[Left], whole: &Path) -> Result<()> {
        let next = AtomicUsize::new(0);
        let look = || -> Result<()> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                match lefts.get(number.wrapping_sub(1)) {
                    // The one that takes longest comes first.
                    None if number == 0 => self.end(suite, whole)?,
                    None => return Ok(()),
                    Some(Left { moment, place }) => {
                        self.go_on(suite, place, false).with_context(|| moment.clone())?;
                        fs::remove_dir_all(place)?;
                    }
                }
            }
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..thread::available_parallelism()?.get()).map(|_| scope.spawn(look)).collect();
            let ended = threads.into_iter().map(|t| t.join().map_err(|_| anyhow::anyhow!("a look has panicked"))?);
            ended.collect()
        })
    }

    /// Ends the restore at a random moment and boots the machine from both disks as that leaves them.
    pub fn boot(&mut self, suite: &mut Suite) -> Result<(String, Result<()>)> {
        let number = usize::try_from(suite.random.below(self.lengths.len() as u64))?;
        let lengths = self.lengths[number];
        let moment = format!("after {} and {} bytes of the records of both disks", lengths[0], lengths[1]);
        println!("        {moment}");
        let booted = self.booted(suite, lengths);
        Ok((moment, booted))
    }

    fn booted(&mut self, suite: &mut Suite, [system, data]: [u64; 2]) -> Result<()> {
        let place = suite.yard.directory(UNLUCKY)?;
        let disks = suite.yard.blank_raw(&place)?;
        let mut random = suite.random.branch();
        for (what, record, disk, at) in
            [("system", &mut self.system, &disks.system, system), ("data", &mut self.data, &disks.data, data)]
        {
            let cut = Cut { at: Some(at), loss: Loss::Some(&mut random), unflushed_from: None };
            println!("          {what} disk: {}", record.replay(&disk.file, cut)?);
        }
        let mut machine = suite.yard.boot(UNLUCKY, place.clone(), disks, Some(self.seed.clone()))?;
        machine.wait_settled(Instant::now() + SETTLE)?;
        machine.check()?;
        machine.kill()?;
        self.go_on(suite, &place, false)?;
        Ok(fs::remove_dir_all(&place)?)
    }

    /// The whole restore is found to be whole, and holes in its database are found out.
    fn end(&self, suite: &Suite, place: &Path) -> Result<()> {
        self.go_on(suite, place, false).context("nothing was cut off")?;
        match self.go_on(suite, place, true) {
            Ok(()) => anyhow::bail!("the database has holes, and going on from it has not noticed"),
            Err(error) => println!("        with holes in its database: {}", first_line(&error)),
        }
        Ok(fs::remove_dir_all(place)?)
    }

    /// Removes what takes a gigabyte of the disk, when nothing of it has to be looked at by a person.
    pub fn discard(self) -> Result<()> {
        fs::remove_file(&self.large.file)?;
        Ok(fs::remove_dir_all(&self.place)?)
    }

    fn go_on(&self, suite: &Suite, place: &Path, damage: bool) -> Result<()> {
        go_on(&suite.yard.tools, &self.cluster, &self.large, UNLUCKY, place, damage).map(|_| ())
    }
}

fn first_line(error: &anyhow::Error) -> String {
    format!("{error:#}").lines().next().unwrap_or_default().to_owned()
}

/// What a power cut has left.
struct Left {
    moment: String,
    /// Where the data disk is.
    place: PathBuf,
}

/// When its console said this first.
fn said(machine: &Machine, part: &str) -> Result<Instant> {
    let first = |line: &Line| line.text.contains(part).then_some(line.at);
    let found = machine.console.all().iter().find_map(first);
    found.with_context(|| format!("the console of {} never showed {part:?}", machine.name()))
}

/// Measures how long two records are, until it is ended.
struct Gauge {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Sample>>>,
}

/// How long the records of the system disk and the data disk were.
struct Sample {
    /// Before they were measured.
    at: Instant,
    lengths: [u64; 2],
}

impl Gauge {
    fn begin(records: [PathBuf; 2]) -> Gauge {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut samples: Vec<Sample> = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let at = Instant::now();
                // There are none before QEMU starts.
                let lengths = records.each_ref().map(|record| record.metadata().map_or(0, |m| m.len()));
                if samples.last().is_none_or(|last| last.lengths != lengths) {
                    samples.push(Sample { at, lengths });
                }
                thread::sleep(LOOK);
            }
            samples
        });
        Gauge { stop, thread: Some(thread) }
    }

    fn end(mut self) -> Vec<Sample> {
        self.stop.store(true, Ordering::Relaxed);
        // A panic in it has been printed.
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
