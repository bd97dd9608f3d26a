//! `soak`: power cuts until the time is over, going on where the last soak ended.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::cases::{Moment, cut_while_founding, cut_while_replacing};
use crate::sandbox;
use crate::suite::Suite;
use crate::tools::repository;

/// One in so many power cuts is during a founding, which takes three boots more.
const FOUNDINGS: u32 = 4;

/// Cuts power until the time is over; true when each cut was survived. One line per cut goes to `out/vm-soak.tsv`.
pub fn run(suite: &mut Suite, minutes: u64, seed: u64) -> Result<bool> {
    let path = repository()?.join("out/vm-soak.tsv");
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    let mut table = OpenOptions::new().create(true).append(true).open(&path)?;
    let mut number = before.lines().count() as u32;
    println!("{number} power cuts are in {} already; going on for {minutes} minutes", path.display());
    let end = Instant::now() + Duration::from_secs(minutes * 60);
    let (mut passed, mut failed) = (0, 0);
    while Instant::now() < end && !sandbox::interrupted() {
        number += 1;
        let start = Instant::now();
        let moment = Moment::choose(suite, number)?;
        let founding = number.is_multiple_of(FOUNDINGS);
        let result = if founding { cut_while_founding(suite, &moment) } else { cut_while_replacing(suite, &moment) };
        let seconds = start.elapsed().as_secs_f32();
        let kind = if founding { "founding" } else { "replacing" };
        let verdict = match &result {
            Ok(()) => "survived".to_owned(),
            Err(error) => format!("{error:#}").replace(['\t', '\n'], " "),
        };
        writeln!(table, "{number}\t{seed}\t{kind}\t{moment}\t{seconds:.1}\t{verdict}")
            .context("cannot note the result")?;
        table.sync_data()?;
        match result {
            Ok(()) => passed += 1,
            Err(error) => {
                failed += 1;
                println!("FAILED  {moment}, while {kind}\n  {error:#}");
                suite.stop();
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}
