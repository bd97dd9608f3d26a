//! A machine that is alone, and whose power fails while it is installed, boots for the first time, or grows: such a boot is
//! recorded once, ended at many moments, and the machine booted from what each has left. None may need a person.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow, bail, ensure};

use crate::cases::growth::Grown;
use crate::cases::iso;
use crate::cluster::Cluster;
use crate::console;
use crate::disk::Disk;
use crate::lines::Line;
use crate::machine::Machine;
use crate::probe;
use crate::process::until;
use crate::qemu::Special;
use crate::random::Random;
use crate::sandbox;
use crate::set::{Disks, SETTLE, SETTLED, Yard};
use crate::suite::{AGREE, Suite};
use crate::timeline::{Moment, Timeline, Watch};
use crate::world::Seat;

/// So many machines at once, each a cluster of its own.
pub const SEATS: [Seat; 2] = [Seat(1), Seat(2)];
/// Cuts of one record.
const CUTS: u32 = 8;
/// Tries to find out that a disk forgets what it was told to keep.
const TRIES: u32 = 4;
/// What the installer says when nothing of it is left to be done.
const INSTALLED: &str = "Installed: ";
/// What is said where a person must do something, and what no boot after a power cut has to say.
const PERSON: [&str; 5] = [
    "]: ERROR ",
    "Not installed: ",
    "starting it has led back to this medium",
    "There is no configuration, and nothing is written",
    "This machine cannot go on booting",
];

/// What a machine does when its power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The medium installs on a blank disk.
    Installing,
    /// The image that was written to its disk boots for the first time, beside a blank data disk, and founds.
    FirstBoot,
    /// Both disks are larger than when it was switched off.
    Growing,
}

/// All of them.
pub const PHASES: [Phase; 3] = [Phase::Installing, Phase::FirstBoot, Phase::Growing];

impl Phase {
    /// As people know it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Installing => "installing",
            Phase::FirstBoot => "first boot",
            Phase::Growing => "growing",
        }
    }

    /// The same on disks that forget what was flushed.
    pub fn forgetful(self) -> &'static str {
        match self {
            Phase::Installing => "disks that forget, installing",
            Phase::FirstBoot => "disks that forget, first boot",
            Phase::Growing => "disks that forget, growing",
        }
    }

    /// Whose requests are meant.
    pub fn place(self) -> &'static str {
        match self {
            Phase::Installing => "system disk",
            Phase::FirstBoot | Phase::Growing => "both disks",
        }
    }
}

/// A cut that has been looked at.
pub struct Ended {
    /// When the power failed.
    pub moment: String,
    /// How long it took to see what comes of it.
    pub seconds: f32,
    /// What came of it.
    pub result: Result<()>,
}

/// Records a boot in each place, and cuts it until the end or until there were enough.
pub fn cuts(suite: &mut Suite, phase: Phase, end: Instant, mut ended: impl FnMut(Ended) -> Result<()>) -> Result<()> {
    suite.stop();
    let all: Vec<Alone> = SEATS.into_iter().map(|seat| Alone::new(suite, phase, seat)).collect::<Result<_>>()?;
    let yard = &suite.yard;
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for alone in all {
            let sender = sender.clone();
            scope.spawn(move || again_and_again(alone, yard, end, &sender));
        }
        drop(sender);
        // Where this ends early, those who send find nobody and end too.
        receiver.into_iter().try_for_each(&mut ended)
    })
}

fn again_and_again(alone: Alone, yard: &Yard, end: Instant, to: &Sender<Ended>) {
    let began = Instant::now();
    let mut recorded = match alone.record(yard) {
        Ok(recorded) => recorded,
        Err(error) => {
            let seconds = began.elapsed().as_secs_f32();
            // Nobody listens any more where the soak has ended.
            to.send(Ended { moment: "never".into(), seconds, result: Err(error) }).ok();
            return;
        }
    };
    for _ in 0..CUTS {
        if Instant::now() > end || sandbox::interrupted() || to.send(recorded.cut(yard)).is_err() {
            return;
        }
    }
}

/// Fails unless disks that forget what they were told to keep are found out. How many cuts that took.
pub fn forgetful(suite: &mut Suite, phase: Phase) -> Result<(u64, u64)> {
    suite.stop();
    let mut recorded = Alone::new(suite, phase, SEATS[0])?.record(&suite.yard)?;
    for looks in 1..=TRIES {
        let last = recorded.timeline.last();
        if let Err(error) = recorded.survive(&suite.yard, &last, true) {
            println!("        {}, on disks that forget: {error:#}", phase.name());
            return Ok((looks.into(), 1));
        }
    }
    bail!("{TRIES} times half of all that was flushed was lost while {}, and no machine needed a person", phase.name())
}

/// A machine before it was recorded.
pub struct Alone {
    phase: Phase,
    seat: Seat,
    cluster: Cluster,
    place: PathBuf,
    medium: Option<PathBuf>,
    seed: Option<PathBuf>,
    random: Random,
}

impl Alone {
    /// With a configuration of its own.
    pub fn new(suite: &mut Suite, phase: Phase, seat: Seat) -> Result<Alone> {
        let name = suite.name("alone");
        let cluster = Cluster::of(&suite.yard.tools, &name, &[seat], &[])?;
        let (mut medium, mut seed) = (None, None);
        match phase {
            Phase::Installing => {
                fs::write(cluster.file("network-config"), iso::network(seat))?;
                medium = Some(iso::customized(suite, &cluster, &suite.yard.images.iso()?, "site", "system")?);
            }
            Phase::FirstBoot | Phase::Growing => seed = Some(cluster.seed(&suite.yard.tools, seat)?),
        }
        let place = suite.yard.directory(seat)?;
        Ok(Alone { phase, seat, cluster, place, medium, seed, random: suite.random.branch() })
    }

    /// Boots it once in peace.
    pub fn record(self, yard: &Yard) -> Result<Recorded> {
        let grown = match self.phase {
            Phase::Growing => {
                let place = self.directory("before")?;
                let disks = yard.blank_raw(&place)?;
                Some(Grown::of(self.boot(yard, place, disks.clone(), None)?, disks, &self.cluster)?)
            }
            Phase::Installing | Phase::FirstBoot => None,
        };
        let place = self.directory("recorded")?;
        let disks = self.fresh(yard, grown.as_ref(), &place)?.recorded(&place);
        let watch = Watch::begin(&disks)?;
        let mut machine = self.boot(yard, place, disks, self.medium.clone())?;
        let ends = match self.phase {
            Phase::Installing => INSTALLED,
            Phase::FirstBoot | Phase::Growing => SETTLED,
        };
        machine.wait_line(ends, Instant::now() + SETTLE)?;
        let promised = match self.phase {
            Phase::Installing => None,
            Phase::FirstBoot => Some((Instant::now(), self.id()?)),
            Phase::Growing => Some((machine.power_on, self.id()?)),
        };
        let power_on = machine.power_on;
        machine.kill()?;
        let timeline = watch.end()?;
        Ok(Recorded { alone: self, grown, timeline, promised, power_on, made: 0 })
    }

    /// Its disks as they are before the boot that is recorded.
    fn fresh(&self, yard: &Yard, grown: Option<&Grown>, place: &Path) -> Result<Disks> {
        match grown {
            Some(Grown { disks, .. }) => {
                let copy = |disk: &Disk, name: &str| disk.copy(place.join(name), fs::metadata(&disk.file)?.len());
                Ok(Disks { system: copy(&disks.system, "system.raw")?, data: copy(&disks.data, "data.raw")? })
            }
            None if self.phase == Phase::Installing => iso::blank(place),
            None => yard.blank_raw(place),
        }
    }

    fn boot(&self, yard: &Yard, place: PathBuf, disks: Disks, medium: Option<PathBuf>) -> Result<Machine> {
        let without_dhcp = self.phase == Phase::Installing;
        let special = Special { medium, without_dhcp, ..Special::default() };
        yard.boot_special(special, self.seat, place, disks, self.seed.clone())
    }

    /// The cluster's ID, of which this is the only voter.
    fn id(&self) -> Result<u64> {
        // This host may know the address by another card, for as long as nobody answers there.
        until("answer of the member", AGREE, || probe::serves(&self.cluster, self.seat.address()))?;
        let view = self.cluster.etcdctl.members(self.seat)?;
        view.expect_voters(&[self.seat])?;
        Ok(view.cluster_id)
    }

    fn directory(&self, name: &str) -> Result<PathBuf> {
        let directory = self.place.join(name);
        fs::create_dir_all(&directory)?;
        Ok(directory)
    }
}

/// A boot that can be ended at any of its moments.
pub struct Recorded {
    alone: Alone,
    grown: Option<Grown>,
    timeline: Timeline,
    /// Since when the cluster is this one.
    promised: Option<(Instant, u64)>,
    power_on: Instant,
    made: u32,
}

impl Recorded {
    /// Ends the boot, by request and by time in turn, and boots the machine from what that leaves.
    pub fn cut(&mut self, yard: &Yard) -> Ended {
        let (began, by_request) = (Instant::now(), self.made.is_multiple_of(2));
        let (moment, result) = match self.timeline.choose(&mut self.alone.random, by_request) {
            Ok(moment) => (self.describe(&moment, by_request), self.survive(yard, &moment, false)),
            Err(error) => ("never".into(), Err(error)),
        };
        Ended { moment, seconds: began.elapsed().as_secs_f32(), result }
    }

    fn describe(&self, moment: &Moment, by_request: bool) -> String {
        let seconds = moment.at.saturating_duration_since(self.power_on).as_secs_f32();
        let ([system, data], by) = (moment.requests, if by_request { "request" } else { "time" });
        format!(
            "by {by}: {seconds:.1} s after power on, at request {system} of the system disk and {data} of the data disk"
        )
    }

    /// Fails when the machine does not become, by itself, the member that it was to be.
    fn survive(&mut self, yard: &Yard, moment: &Moment, forgetful: bool) -> Result<()> {
        self.made += 1;
        let place = self.alone.directory(&format!("cut-{:02}", self.made))?;
        let disks = self.alone.fresh(yard, self.grown.as_ref(), &place)?;
        let lost = self.alone.random.branch();
        println!("        {}", self.timeline.leave(moment, &disks, &mut lost.clone(), forgetful)?);
        // What starts must do so without the medium as well.
        let out = starts(&disks.system)? && self.alone.random.below(2) == 0;
        let medium = self.alone.medium.clone().filter(|_| !out);
        let result = self.settles(yard, place.clone(), disks, medium, moment);
        for disk in ["system.raw", "data.raw"] {
            fs::remove_file(place.join(disk))?;
        }
        if result.is_err() && !forgetful {
            self.keep(yard, &place, moment, lost)?;
        }
        result
    }

    fn settles(
        &self,
        yard: &Yard,
        place: PathBuf,
        disks: Disks,
        medium: Option<PathBuf>,
        moment: &Moment,
    ) -> Result<()> {
        let Alone { cluster, seat, .. } = &self.alone;
        let mut machine = self.alone.boot(yard, place, disks, medium)?;
        let told = |line: &Line| match &line.text {
            text if text.contains(SETTLED) => Some(None),
            text if console::is_alarm(text) => Some(Some(text.clone())),
            text => PERSON.iter().any(|word| text.contains(word)).then(|| Some(text.clone())),
        };
        let said = machine.console.wait(0, Instant::now() + SETTLE, "word of the member that it has settled", told);
        let (_, person) = machine.explain(said)?;
        machine.explain(person.map_or(Ok(()), |line| Err(anyhow!("a person is needed: {line}"))))?;
        let id = self.alone.id()?;
        if let Some((since, promised)) = self.promised {
            ensure!(moment.at < since || id == promised, "it was of the cluster {promised:x}, and now is of {id:x}");
        }
        if let Some(grown) = &self.grown {
            grown.expect(&mut machine, cluster, *seat)?;
        }
        machine.check()
    }

    /// The disks as the cut has left them, where no tidying takes them away.
    fn keep(&mut self, yard: &Yard, place: &Path, moment: &Moment, mut lost: Random) -> Result<()> {
        let disks = self.alone.fresh(yard, self.grown.as_ref(), place)?;
        self.timeline.leave(moment, &disks, &mut lost, false)?;
        for disk in [&disks.system, &disks.data] {
            fs::rename(&disk.file, disk.file.with_extension("kept"))?;
        }
        println!("        the disks are kept in {}", place.display());
        Ok(())
    }
}

/// Whether firmware finds something on a disk.
fn starts(disk: &Disk) -> Result<bool> {
    let mut first = [0; 512];
    File::open(&disk.file)?.read_exact_at(&mut first, 0)?;
    Ok(first != [0; 512])
}
