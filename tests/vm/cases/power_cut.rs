//! (f) The power fails during the first boot of a member, at a random write.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::disk::Disk;
use crate::machine::Machine;
use crate::process::until;
use crate::random::Random;
use crate::record::Record;
use crate::set::{Disks, SETTLE, SETTLED, Set};
use crate::suite::{AGREE, Suite};
use crate::world::Seat;

/// The one whose power fails.
const UNLUCKY: Seat = Seat(3);
/// Between two looks at a record that grows: a disk sees a few hundred requests a second.
const LOOK: Duration = Duration::from_millis(2);

const DISKS: [&str; 2] = ["system", "data"];

pub fn run(suite: &mut Suite) -> Result<()> {
    for number in 1..=3 {
        let moment = Moment::choose(suite, number)?;
        cut_while_replacing(suite, &moment)?;
    }
    for number in 4..=5 {
        let moment = Moment::choose(suite, number)?;
        cut_while_founding(suite, &moment)?;
    }
    Ok(())
}

/// When the power fails.
#[derive(Clone, Debug)]
pub struct Moment {
    number: u32,
    /// 0 the system disk, 1 the data disk.
    disk: usize,
    /// At which of this disk's requests.
    request: u64,
    /// Which of the writes after the last flush get lost.
    random: Random,
}

impl Moment {
    /// A random one, within what a first boot writes: one in three at the system disk, the others at the data disk.
    pub fn choose(suite: &mut Suite, number: u32) -> Result<Moment> {
        if suite.requests == [0; 2] {
            // The numbers come from a founding.
            let (set, _) = suite.running()?;
            suite.leave(set);
        }
        let disk = usize::from(!number.is_multiple_of(3));
        let request = 1 + suite.random.below(suite.requests[disk]);
        Ok(Moment { number, disk, request, random: suite.random.branch() })
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "moment {}: at request {} of the {} disk", self.number, self.request, DISKS[self.disk])
    }
}

/// A blank member replaces its previous life in a running cluster; its power fails meanwhile.
pub fn cut_while_replacing(suite: &mut Suite, moment: &Moment) -> Result<()> {
    let (mut set, before) = suite.running()?;
    set.take(UNLUCKY)?.kill()?;
    let (place, disks) = recorded(suite)?;
    let machine = suite.machine(UNLUCKY, place, disks.clone())?;
    let machine = cut_and_boot(suite, machine, &disks, moment, "replacing")?;
    set.add(machine);
    let after = whole(suite, &mut set)?;
    ensure!(after == before.cluster_id, "this is another cluster: {:x} / {after:x}", before.cluster_id);
    suite.leave(set);
    Ok(())
}

/// Three blank members found a cluster; the power of one fails meanwhile.
pub fn cut_while_founding(suite: &mut Suite, moment: &Moment) -> Result<()> {
    suite.stop();
    let mut set = Set::default();
    for seat in Seat::all().filter(|s| *s != UNLUCKY) {
        let place = suite.yard.directory(seat)?;
        let disks = suite.yard.blank(&place)?;
        set.add(suite.machine(seat, place, disks)?);
    }
    let (place, disks) = recorded(suite)?;
    let machine = suite.machine(UNLUCKY, place, disks.clone())?;
    let machine = cut_and_boot(suite, machine, &disks, moment, "founding")?;
    set.add(machine);
    set.wait_settled(SETTLE)?;
    whole(suite, &mut set)?;
    set.power_off()
}

fn recorded(suite: &mut Suite) -> Result<(PathBuf, Disks)> {
    let place = suite.yard.directory(UNLUCKY)?;
    let disks = suite.yard.blank(&place)?.recorded(&place);
    Ok((place, disks))
}

/// The cluster's ID, once all members agree that they are three voters and nobody else.
fn whole(suite: &Suite, set: &mut Set) -> Result<u64> {
    Ok(until("agreement of all members", AGREE, || set.whole(&suite.cluster))?.cluster_id)
}

/// A record without any loss must give the very disk, or else what follows would prove nothing.
fn check_replay(suite: &Suite, record: &mut Record, disk: &Disk) -> Result<()> {
    let copy = suite.yard.blank_data(disk.file.with_file_name("replayed.raw"))?;
    record.replay(&copy.file, None)?;
    let files = [&disk.file, &copy.file].map(|f| f.to_string_lossy().into_owned());
    let formats = ["-f", disk.format.name(), "-F", copy.format.name()].map(str::to_owned);
    let arguments = [vec!["compare".to_owned()], formats.to_vec(), files.to_vec()].concat();
    suite.yard.tools.run("qemu-img", arguments).context("the record of a disk does not replay to that disk").map(|_| ())
}

/// Waits for the moment, cuts the power, and boots what the disks then hold until the member has settled.
fn cut_and_boot(
    suite: &mut Suite,
    mut machine: Machine,
    disks: &Disks,
    moment: &Moment,
    doing: &str,
) -> Result<Machine> {
    let start = Instant::now();
    wait_for(&mut machine, disks, moment)?;
    let at = start.elapsed().as_secs_f32();
    let records = machine.cut()?;
    let last = machine.last_words();
    drop(machine);

    println!("        {moment}, while {doing}, {at:.1} s after power on; the last words were: {last}");
    let mut records = records.into_iter();
    let (mut system, mut data) = records.next().zip(records.next()).context("both disks are recorded")?;
    check_replay(suite, &mut data, &disks.data)?;
    let place = suite.yard.directory(UNLUCKY)?;
    let left = suite.yard.blank_raw(&place)?;
    let mut random = moment.random.clone();
    println!("          system disk: {}", system.replay(&left.system.file, Some(&mut random))?);
    println!("          data disk: {}", data.replay(&left.data.file, Some(&mut random))?);
    let mut machine = suite.machine(UNLUCKY, place, left)?;
    machine.wait_settled(Instant::now() + SETTLE)?;
    Ok(machine)
}

/// Returns at the moment, or as soon as the member has settled, if it needs fewer requests this time.
fn wait_for(machine: &mut Machine, disks: &Disks, moment: &Moment) -> Result<()> {
    let disk = [&disks.system, &disks.data][moment.disk];
    let mut record = Record::open(disk.record.as_ref().context("the disk was not recorded")?)?;
    let deadline = Instant::now() + SETTLE;
    let mut seen = 0;
    loop {
        if record.entries()?.len() as u64 >= moment.request {
            return Ok(());
        }
        let lines = machine.console.from(seen);
        seen += lines.len();
        if lines.iter().any(|line| line.text.contains(SETTLED)) {
            return Ok(());
        }
        machine.alive()?;
        if Instant::now() > deadline {
            let late = || -> Result<()> { bail!("neither {moment} nor settled after {} s", SETTLE.as_secs()) };
            return machine.explain(late());
        }
        thread::sleep(LOOK);
    }
}
