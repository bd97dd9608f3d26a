//! (i) A recorded boot, ended again and again where it did not end, and the look at what that leaves on the data disk.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::aftermath::{self, Known};
use crate::cases::power_cut::UNLUCKY;
use crate::record::{Cut, Loss, Record};
use crate::suite::Suite;
use crate::trace::Seen;

/// How many disks are looked at in a test.
const LOOKS: u32 = 5;
/// In the line of the journal that makes a host ready for a founding.
const READY: &[u8] = br#""event":"ready""#;

pub fn run(suite: &mut Suite) -> Result<()> {
    if suite.founding.is_none() {
        let (set, _) = suite.running()?;
        suite.leave(set);
    }
    let mut founding = suite.founding.take().context("the founding was recorded")?;
    for _ in 0..LOOKS {
        founding.look(suite)?.1?;
    }
    founding.forget_flush(suite)
}

/// A first boot with all it takes to end it at another moment than it ended.
pub struct FirstBoot {
    seen: Seen,
    data: Record,
}

impl FirstBoot {
    /// Of this boot, with the record of its data disk.
    pub fn new(seen: Seen, data: Record) -> FirstBoot {
        FirstBoot { seen, data }
    }

    /// Ends the boot at a random other moment and looks at what that leaves.
    pub fn look(&mut self, suite: &mut Suite) -> Result<(String, Result<()>)> {
        let samples = &self.seen.samples;
        ensure!(!samples.is_empty(), "the machine never wrote anything to its data disk");
        let sample = samples[usize::try_from(suite.random.below(samples.len() as u64))?];
        let mut random = suite.random.branch();
        let cut = Cut { at: Some(sample.length), loss: Loss::Some(&mut random), unflushed_from: None };
        let moment = format!("after {} bytes of the record of the data disk", sample.length);
        println!("        {moment}");
        Ok((moment, self.look_at(suite, sample.at, cut)))
    }

    /// Ends the boot as soon as others know something, with the loss of all that is not flushed; once for each thing of
    /// which `wanted` is true.
    pub fn look_when(&mut self, suite: &mut Suite, wanted: fn(&Known) -> bool) -> Result<Vec<Result<()>>> {
        let moments: Vec<Instant> = self.seen.known.iter().filter(|(_, k)| wanted(k)).map(|(at, _)| *at).collect();
        let samples: Vec<_> = moments.into_iter().filter_map(|at| self.seen.after(at)).collect();
        let all = |at| Cut { at: Some(at), loss: Loss::All, unflushed_from: None };
        Ok(samples.into_iter().map(|s| self.look_at(suite, s.at, all(s.length))).collect())
    }

    /// The same as if the program had forgotten the flush after the line of the journal that says Ready.
    ///
    /// Fails unless the look at the disk finds that out.
    pub fn forget_flush(&mut self, suite: &mut Suite) -> Result<()> {
        let ready = self.seen.known.iter().find_map(|(at, known)| match known {
            Known::Committed { .. } => Some(*at),
            Known::Said(_) | Known::Acknowledged { .. } => None,
        });
        let at = ready.context("nobody has committed a founding, so nobody counted on anything")?;
        let sample = self.seen.after(at).context("nothing was written after Ready was heard")?;
        let line = self.data.first_with(READY)?.context("the journal's Ready is not in the record of the disk")?;
        let kept = Cut { at: Some(sample.length), loss: Loss::All, unflushed_from: None };
        self.look_at(suite, sample.at, kept).context("with all flushes")?;
        let forgotten = Cut { at: Some(sample.length), loss: Loss::All, unflushed_from: Some(line) };
        match self.look_at(suite, sample.at, forgotten) {
            Ok(()) => bail!("a flush was forgotten, and the look at the disk has not noticed"),
            Err(error) => println!("        without the flush after the journal's Ready: {error:#}"),
        }
        Ok(())
    }

    fn look_at(&mut self, suite: &mut Suite, at: Instant, cut: Cut<'_>) -> Result<()> {
        let place = suite.yard.directory(UNLUCKY)?;
        let disk = suite.yard.blank_data(place.join("data.raw"))?;
        println!("          data disk: {}", self.data.replay(&disk.file, cut)?);
        let looked = look(suite, &place, &self.seen.known_at(at));
        fs::remove_dir_all(&place)?;
        looked
    }
}

/// Looks at `data.raw` in this directory, which is changed by it; it must hold all that is known of it.
pub fn look(suite: &Suite, directory: &Path, known: &[Known]) -> Result<()> {
    let seen = aftermath::look(&suite.yard.tools, &suite.cluster, UNLUCKY, directory)?;
    println!("          left: {seen}; {} things are known of it", known.len());
    seen.expect(known)
}
