//! (f) The power of a member fails at a random write, again and again, until it may boot in peace.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::cases::chaos::all_readable;
use crate::cases::first_boot::{FirstBoot, look};
use crate::disk::{Disk, Format};
use crate::etcdctl::View;
use crate::load::Load;
use crate::machine::Machine;
use crate::process::until;
use crate::qemu::Special;
use crate::random::Random;
use crate::record::{Cut, Loss, Record};
use crate::set::{Disks, SETTLE, SETTLED, Set};
use crate::suite::{AGREE, Suite};
use crate::trace::{Seen, Trace};
use crate::world::Seat;

/// The one whose power fails.
pub const UNLUCKY: Seat = Seat(3);
/// Its etcd is stopped while the unlucky one takes writes, so that each of them needs the disk of that one.
const STOPPED: Seat = Seat(2);
/// Takes the writes.
const ASKED: Seat = Seat(1);
/// Acknowledged writes before the power fails.
const WRITES: usize = 40;
/// For so many writes.
const WRITING: Duration = Duration::from_secs(300);
/// Between two looks at a record that grows: a disk sees a few hundred requests a second.
const LOOK: Duration = Duration::from_millis(2);

/// Where a moment is looked for: requests of a disk, or what comes after the last of them.
const WHERE: [&str; 3] = ["system disk", "data disk", "settled, under writes"];

pub fn run(suite: &mut Suite) -> Result<()> {
    // A founding's are those of `aftermath`, which looks at its data disk without a boot for each.
    let moments = [1, 2, 4].iter().map(|n| Moment::choose(suite, *n)).collect::<Result<Vec<_>>>()?;
    cut(suite, Doing::Replacing, &moments)?;
    Ok(())
}

/// What the member does when its power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Three blank members found a cluster.
    Founding,
    /// A blank member takes a place that is free.
    Joining,
    /// A blank member replaces its previous life.
    Replacing,
}

/// All of them.
pub const DOINGS: [Doing; 3] = [Doing::Replacing, Doing::Founding, Doing::Joining];

impl Doing {
    /// As people know it.
    pub fn name(self) -> &'static str {
        match self {
            Doing::Founding => "founding",
            Doing::Joining => "joining",
            Doing::Replacing => "replacing",
        }
    }
}

/// When the power fails.
#[derive(Clone, Debug)]
pub struct Moment {
    number: u64,
    place: usize,
    /// At which of the disk's requests.
    request: u64,
    /// Which of the writes after the last flush get lost.
    random: Random,
}

impl Moment {
    /// A random one, within what a first boot writes; of each four numbers, two have it at the data disk, one at the
    /// system disk and one after both.
    pub fn choose(suite: &mut Suite, number: u64) -> Result<Moment> {
        if suite.requests == [0; 2] {
            // The numbers come from a founding.
            let (set, _) = suite.running()?;
            suite.leave(set);
        }
        let place = [2, 1, 0, 1][usize::try_from(number % 4)?];
        let last = suite.requests.get(place).copied().unwrap_or(0);
        Ok(Moment { number, place, request: 1 + suite.random.below(last), random: suite.random.branch() })
    }

    /// The last of them all, and never the same twice.
    pub fn settled(suite: &mut Suite) -> Moment {
        Moment { number: 0, place: 2, request: 0, random: suite.random.branch() }
    }

    /// Where it was looked for.
    pub fn place(&self) -> &'static str {
        WHERE[self.place]
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.place {
            2 => write!(f, "moment {}: {}", self.number, self.place()),
            _ => write!(f, "moment {}: at request {} of the {}", self.number, self.request, self.place()),
        }
    }
}

/// Cuts the power at each of these moments in a row, each time in the boot that follows the cut before, and looks at what
/// that has left on the data disk. Then boots it: all must come to three voters of one cluster and nobody else, without
/// the loss of an acknowledged write.
pub fn cut(suite: &mut Suite, doing: Doing, moments: &[Moment]) -> Result<FirstBoot> {
    let (mut set, before) = stage(suite, doing)?;
    let place = suite.yard.directory(UNLUCKY)?;
    let left = suite.yard.blank_raw(&place)?;
    let (mut first, mut load, mut known) = (None, None, Vec::new());
    for moment in moments {
        println!("        {moment}, while {}", doing.name());
        let place = suite.yard.directory(UNLUCKY)?;
        let disks = suite.yard.overlay(&left, &place)?.recorded(&place);
        let ended = one(suite, &mut set, &disks, place, moment, Special::default())?;
        if ended.load.is_some() {
            set.machine(STOPPED)?.ask("systemctl start --no-block etcd")?;
            load = ended.load;
        }
        let [mut system, mut data] = ended.records;
        if first.is_none() {
            check_replay(suite, &mut data, &disks.data)?;
        }
        let mut random = moment.random.clone();
        println!("          system disk: {}", system.replay(&left.system.file, Cut::now(Loss::Some(&mut random)))?);
        println!("          data disk: {}", data.replay(&left.data.file, Cut::now(Loss::Some(&mut random)))?);
        let copy = suite.yard.directory(UNLUCKY)?;
        left.data.copy(copy.join("data.raw"), fs::metadata(&left.data.file)?.len())?;
        known.extend(ended.seen.known.iter().map(|(_, known)| known.clone()));
        look(suite, &copy, &known)?;
        first.get_or_insert(FirstBoot::new(ended.seen, data));
    }
    let place = suite.yard.directory(UNLUCKY)?;
    let mut machine = suite.machine(UNLUCKY, place, left)?;
    machine.wait_settled(Instant::now() + SETTLE)?;
    set.add(machine);
    set.wait_settled(SETTLE)?;
    let after = until("agreement of all members", AGREE, || set.whole(&suite.cluster))?;
    if let Some(before) = before {
        ensure!(after.cluster_id == before.cluster_id, "this is another cluster: {before} / {after}");
    }
    if let Some(load) = &load {
        let verdict = all_readable(load)?;
        ensure!(verdict.lost == 0, "{} of {} acknowledged writes are lost", verdict.lost, verdict.acknowledged);
    }
    suite.leave(set);
    first.context("there is at least one moment")
}

/// A boot that a power cut has ended.
pub struct Ended {
    /// Of the system disk and the data disk.
    pub records: [Record; 2],
    /// What was seen of it.
    pub seen: Seen,
    load: Option<Load>,
}

/// Boots on recorded disks and cuts the power at the moment.
pub fn one(
    suite: &mut Suite,
    set: &mut Set,
    disks: &Disks,
    place: PathBuf,
    moment: &Moment,
    special: Special,
) -> Result<Ended> {
    let start = Instant::now();
    let record = disks.data.record.as_ref().context("the disk is recorded")?;
    let trace = Trace::begin(&suite.cluster, UNLUCKY, record)?;
    let seed = suite.cluster.seed(&suite.yard.tools, UNLUCKY)?;
    let mut machine = suite.yard.boot_special(special, UNLUCKY, place, disks.clone(), Some(seed))?;
    let reached = wait_for(&mut machine, disks, moment)?;
    let mut load = if reached == Reached::Settled && moment.place == 2 { Some(write(suite, set)?) } else { None };
    let records = machine.cut()?;
    println!("          the last words were: {}", machine.last_words());
    drop(machine);
    let mut seen = trace.end();
    seen.known.extend(set.committed(start));
    if let Some(load) = &mut load {
        load.stop()?;
        seen.known.extend(load.known()?);
    }
    let records = <[Record; 2]>::try_from(records).ok().context("both disks are recorded")?;
    Ok(Ended { records, seen, load })
}

/// The others, and the cluster that they are in already.
pub fn stage(suite: &mut Suite, doing: Doing) -> Result<(Set, Option<View>)> {
    if doing == Doing::Founding {
        suite.stop();
        let mut set = Set::default();
        for seat in Seat::all().filter(|s| *s != UNLUCKY) {
            let machine = suite.blank_machine(seat, Special::default())?;
            set.add(machine);
        }
        return Ok((set, None));
    }
    let (mut set, before) = suite.running()?;
    set.take(UNLUCKY)?.kill()?;
    if doing == Doing::Joining {
        suite.cluster.etcdctl.remove(ASKED, before.id(UNLUCKY)?)?;
    }
    Ok((set, Some(before)))
}

/// Writes that need the unlucky one's disk, for as long as it takes to have some.
fn write(suite: &mut Suite, set: &mut Set) -> Result<Load> {
    set.wait_settled(SETTLE)?;
    set.machine(STOPPED)?.ask("systemctl stop etcd")?;
    let load = suite.load(&[ASKED])?;
    load.wait(WRITES, WRITING)?;
    Ok(load)
}

/// A record without any loss must give the very disk, or else what follows would prove nothing.
fn check_replay(suite: &Suite, record: &mut Record, disk: &Disk) -> Result<()> {
    let copy = suite.yard.blank_data(disk.file.with_file_name("replayed.raw"))?;
    record.replay(&copy.file, Cut::now(Loss::Nothing))?;
    let files = [&disk.file, &copy.file].map(|f| f.to_string_lossy().into_owned());
    let formats = ["-f", disk.format.name(), "-F", Format::Raw.name()].map(str::to_owned);
    let arguments = [vec!["compare".to_owned()], formats.to_vec(), files.to_vec()].concat();
    suite.yard.tools.run("qemu-img", arguments).context("the record of a disk does not replay to that disk").map(|_| ())
}

/// How a wait for a moment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    Request,
    Settled,
}

/// Returns at the moment, or as soon as the member has settled, if it needs fewer requests this time.
fn wait_for(machine: &mut Machine, disks: &Disks, moment: &Moment) -> Result<Reached> {
    let disk = [&disks.system, &disks.data].get(moment.place).copied();
    let mut record = disk.and_then(|d| d.record.as_ref()).map(|r| Record::open(r)).transpose()?;
    let deadline = Instant::now() + SETTLE;
    let mut seen = 0;
    loop {
        if let Some(record) = &mut record
            && record.entries()?.len() as u64 >= moment.request
        {
            return Ok(Reached::Request);
        }
        let lines = machine.console.from(seen);
        seen += lines.len();
        if lines.iter().any(|line| line.text.contains(SETTLED)) {
            return Ok(Reached::Settled);
        }
        machine.alive()?;
        if Instant::now() > deadline {
            let late = || -> Result<()> { bail!("neither {moment} nor settled after {} s", SETTLE.as_secs()) };
            return machine.explain(late()).map(|()| Reached::Settled);
        }
        thread::sleep(LOOK);
    }
}
