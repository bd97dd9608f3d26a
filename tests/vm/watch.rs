//! Prints what machines say while one waits for them.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::process::TICK;
use crate::set::Set;
use crate::world::Seat;

/// How the console marks our lines.
const OURS: &str = "etcd-bootstrapper[";
/// The last thing said before the kernel takes over, which itself is silent.
const KERNEL: &str = "EFI stub: ";
/// How long a line may be on a terminal.
const WIDTH: usize = 150;

/// Prints a line with the time since the start.
pub fn say(start: Instant, text: &str) {
    println!("{:7.1} s  {text}", start.elapsed().as_secs_f32());
}

/// Prints each new line of the bootstrapper from each console until each machine has settled.
pub fn until_settled(set: &mut Set, start: Instant, limit: Duration) -> Result<()> {
    let deadline = start + limit;
    let mut seen: BTreeMap<Seat, usize> = BTreeMap::new();
    let mut last: BTreeMap<Seat, String> = BTreeMap::new();
    let mut waiting = set.seats();
    while !waiting.is_empty() {
        for machine in set.machines() {
            let seat = machine.parts.seat;
            let next = seen.entry(seat).or_insert(0);
            let lines = machine.console.from(*next);
            *next += lines.len();
            for line in lines {
                let Some(text) = message(&line.text) else { continue };
                if last.get(&seat) == Some(&text) {
                    continue;
                }
                println!("{:7.1} s  {}  {text}", line.at.duration_since(start).as_secs_f32(), seat.name());
                if text.starts_with("settled: ") {
                    waiting.retain(|s| *s != seat);
                }
                last.insert(seat, text);
            }
            machine.alive()?;
            if Instant::now() > deadline && waiting.contains(&seat) {
                let late: Result<()> = Err(anyhow::anyhow!("not settled within {} s", limit.as_secs()));
                return machine.explain(late);
            }
        }
        if crate::sandbox::interrupted() {
            bail!("interrupted");
        }
        thread::sleep(TICK);
    }
    Ok(())
}

/// What the bootstrapper said, without the time, the level and details on further lines; and that there is a kernel.
fn message(line: &str) -> Option<String> {
    if line.starts_with(KERNEL) {
        return Some("the kernel starts".into());
    }
    let (_, text) = line.split_once(OURS)?;
    let (_, text) = text.split_once("]: ")?;
    let text = text.trim_start();
    let text = text.strip_prefix("INFO ").unwrap_or(text);
    if line.split_once("]: ").is_some_and(|(_, rest)| rest.starts_with("  ")) {
        return None;
    }
    Some(if text.chars().count() > WIDTH {
        text.chars().take(WIDTH - 1).chain(['…']).collect()
    } else {
        text.to_owned()
    })
}
