//! What both disks of a machine were told, and when: any moment of a boot can be had again, as a power cut leaves it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::random::Random;
use crate::record::{Cut, Loss, Record};
use crate::set::Disks;

/// Between two looks at how long the records are: a disk sees a few hundred requests a second.
const LOOK: Duration = Duration::from_millis(1);

/// Looks at the records of a boot until it is dropped.
pub struct Watch {
    paths: [PathBuf; 2],
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Mark>>>,
}

/// How long both records were at one moment, in bytes.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    lengths: [u64; 2],
}

impl Watch {
    /// Begins before the boot; the disks are recorded.
    pub fn begin(disks: &Disks) -> Result<Watch> {
        let path = |record: &Option<PathBuf>| record.clone().context("the disk is recorded");
        let paths = [path(&disks.system.record)?, path(&disks.data.record)?];
        let stop = Arc::new(AtomicBool::new(false));
        let (records, stopped) = (paths.clone(), stop.clone());
        let thread = thread::spawn(move || measure(&records, &stopped));
        Ok(Watch { paths, stop, thread: Some(thread) })
    }

    /// All that was seen, once the machine is off.
    pub fn end(mut self) -> Result<Timeline> {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.thread.take().and_then(|thread| thread.join().ok()).context("the records were not watched")?;
        let mut records = [Record::open(&self.paths[0])?, Record::open(&self.paths[1])?];
        let mut marks = Vec::new();
        for Mark { at, lengths } in seen {
            let mut requests = [0; 2];
            for ((requests, record), length) in requests.iter_mut().zip(&mut records).zip(lengths) {
                *requests = record.entries()?.partition_point(|entry| entry.next() <= length);
            }
            if requests != [0; 2] {
                marks.push(Moment { at, lengths, requests });
            }
        }
        ensure!(!marks.is_empty(), "the machine never wrote anything to its disks");
        Ok(Timeline { records, marks, end: Instant::now() })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn measure(records: &[PathBuf; 2], stop: &AtomicBool) -> Vec<Mark> {
    // There is none before QEMU starts.
    let length = |record: &PathBuf| record.metadata().map_or(0, |m| m.len());
    let mut marks: Vec<Mark> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let at = Instant::now();
        let lengths = [length(&records[0]), length(&records[1])];
        // Only if the first has not grown meanwhile were both so long at one moment.
        let one_moment = length(&records[0]) == lengths[0];
        if one_moment && marks.last().is_none_or(|last| last.lengths != lengths) {
            marks.push(Mark { at, lengths });
        }
        thread::sleep(LOOK);
    }
    marks
}

/// A recorded boot.
pub struct Timeline {
    records: [Record; 2],
    marks: Vec<Moment>,
    end: Instant,
}

/// When the power fails.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The moment, to a few milliseconds.
    pub at: Instant,
    lengths: [u64; 2],
    /// How many requests the system disk and the data disk had completed.
    pub requests: [usize; 2],
}

impl Timeline {
    /// A random request, or a random moment between the first one and the end: a burst has most of the requests, and a boot has
    /// most of its time without any.
    pub fn choose(&mut self, random: &mut Random, by_request: bool) -> Result<Moment> {
        if by_request {
            let all = self.last().requests.iter().sum::<usize>();
            let request = 1 + usize::try_from(random.below(all as u64))?;
            return self.at_request(request);
        }
        let first = self.marks[0].at;
        let span = u64::try_from(self.end.duration_since(first).as_micros())?;
        let at = first + Duration::from_micros(random.below(span));
        let before = self.marks.partition_point(|mark| mark.at <= at);
        Ok(Moment { at, ..self.marks[before.saturating_sub(1)] })
    }

    /// When everything has been written.
    pub fn last(&self) -> Moment {
        self.marks[self.marks.len() - 1]
    }

    fn at_request(&mut self, request: usize) -> Result<Moment> {
        let sum = |moment: &Moment| moment.requests.iter().sum::<usize>();
        let number = self.marks.partition_point(|mark| sum(mark) < request).min(self.marks.len() - 1);
        let mut moment = self.marks[number];
        let before = number.checked_sub(1).map_or([0; 2], |number| self.marks[number].requests);
        // Where one disk alone was told something since the look before, all moments in between are known.
        for (disk, other) in [(0, 1), (1, 0)] {
            if moment.requests[other] == before[other] {
                let requests = request - before[other];
                let entry = self.records[disk].entries()?.get(requests - 1).context("the request is recorded")?;
                (moment.requests[disk], moment.lengths[disk]) = (requests, entry.next());
            }
        }
        Ok(moment)
    }

    /// Makes the disks that a power cut at this moment leaves; they hold what they were before the boot. Says what was lost.
    ///
    /// `forgetful` disks have lost what was flushed as well.
    pub fn leave(&mut self, moment: &Moment, disks: &Disks, random: &mut Random, forgetful: bool) -> Result<String> {
        let mut lost = Vec::new();
        let places = [("system disk", &disks.system), ("data disk", &disks.data)];
        for ((record, length), (name, disk)) in self.records.iter_mut().zip(moment.lengths).zip(places) {
            let loss = Loss::Some(&mut *random);
            let cut = Cut { at: Some(length), loss, unflushed_from: forgetful.then_some(0) };
            lost.push(format!("{name}: {}", record.replay(&disk.file, cut)?));
        }
        Ok(lost.join("; "))
    }
}
