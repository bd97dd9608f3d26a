//! `test`: the cases, each on the real thing, and what they share.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::cases::{APART, CASES, Case, FirstBoot};
use crate::cluster::Cluster;
use crate::etcdctl::View;
use crate::flavour::{self, Flavour};
use crate::link::Link;
use crate::load::Load;
use crate::machine::Machine;
use crate::process::until;
use crate::qemu::Special;
use crate::random::Random;
use crate::record::Record;
use crate::sandbox;
use crate::set::{Disks, SETTLE, Set, Yard};
use crate::trace::Trace;
use crate::world::{Seat, World};

/// For the members' views to become the same.
pub const AGREE: Duration = Duration::from_secs(180);
/// Acknowledged writes before anything happens, and again before those that are down come back.
pub const UNDER_WAY: usize = 50;
/// For the writers to get through again; an election takes a second, a guest without acceleration its time.
pub const THROUGH: Duration = Duration::from_secs(300);

/// What the cases of one run share.
pub struct Suite {
    /// Machines are made here.
    pub yard: Yard,
    /// The network.
    pub world: World,
    /// The cluster that most cases look at.
    pub cluster: Cluster,
    /// Every random choice.
    pub random: Random,
    /// Requests to the system and the data disk of a member until it has settled, as counted at the founding.
    pub requests: [u64; 2],
    /// That member's boot.
    pub founding: Option<FirstBoot>,
    settled: Option<Settled>,
    running: Option<Set>,
    link: Option<Link>,
    loads: u32,
    names: u32,
}

/// Three members that have settled, switched off.
struct Settled {
    disks: Vec<(Seat, Disks)>,
    view: View,
}

impl Suite {
    /// With nothing running yet.
    pub fn new(yard: Yard, world: World, seed: u64) -> Result<Suite> {
        let cluster = Cluster::new(&yard.tools, "settled", &[])?;
        let random = Random::new(seed);
        Ok(Suite {
            yard,
            world,
            cluster,
            random,
            requests: [0; 2],
            founding: None,
            settled: None,
            running: None,
            link: None,
            loads: 0,
            names: 0,
        })
    }

    /// Runs these cases, or all of this lane but those of [`APART`], and begins none that would end after
    /// `until` if it took as long as the longest before it; true when none has failed.
    pub fn run(&mut self, names: &[String], until: Option<Instant>) -> Result<bool> {
        for name in names {
            let known = CASES.iter().map(|c| c.name).collect::<Vec<_>>().join(", ");
            CASES.iter().find(|c| c.is(name)).with_context(|| format!("there is no case {name}; there are {known}"))?;
        }
        let (mut passed, mut failed, mut left) = (0, 0, 0);
        let mut longest = Duration::ZERO;
        let flavour = self.yard.images.flavour;
        let wanted = |case: &&Case| match names {
            [] => !APART.contains(&case.name) && sandbox::lane().is_none_or(|lane| lane == case.lane()),
            names => names.iter().any(|name| case.is(name)),
        };
        for case in CASES.iter().filter(wanted) {
            let Case { name, what, .. } = case;
            if until.is_some_and(|until| Instant::now() + longest > until) {
                println!("left    {name}: too little time is left; `tests/vm.sh test {name}` runs it");
                left += 1;
                continue;
            }
            println!("case    {name}: {what}");
            let start = Instant::now();
            let result = self.choose(flavour).and_then(|()| (case.run)(self)).and_then(|()| self.world.check());
            longest = longest.max(start.elapsed());
            let seconds = start.elapsed().as_secs_f32();
            match result {
                Ok(()) => {
                    passed += 1;
                    println!("ok      {name} ({seconds:.1} s)");
                }
                Err(error) => {
                    failed += 1;
                    println!("FAILED  {name} ({seconds:.1} s)\n  {error:#}");
                    // Whatever runs is not what the next case expects.
                    self.running = None;
                }
            }
            anyhow::ensure!(!sandbox::interrupted(), "interrupted");
        }
        println!("{passed} passed, {failed} failed, {left} left out");
        Ok(failed == 0)
    }

    /// Three fresh members of the cluster, switched on and settled; every write of the last one is counted.
    pub fn found(&mut self) -> Result<(Set, View)> {
        let (mut set, mut disks) = (Set::default(), Vec::new());
        let (start, mut traced) = (Instant::now(), None);
        for seat in Seat::all() {
            let place = self.yard.directory(seat)?;
            let mut own = self.yard.blank(&place)?;
            disks.push((seat, own.clone()));
            if seat == Seat(crate::world::SEATS) {
                own = own.recorded(&place);
                let record = own.data.record.clone().context("the disk is recorded")?;
                traced = Some((Trace::begin(&self.cluster, seat, &record)?, record, own.clone()));
            }
            let seed = self.cluster.seed(&self.yard.tools, seat)?;
            set.add(self.yard.boot(seat, place, own, Some(seed))?);
        }
        set.wait_settled(SETTLE)?;
        if let Some((trace, record, disks)) = traced {
            self.requests = count(&disks)?;
            let mut seen = trace.end();
            seen.known.extend(set.committed(start));
            self.founding = Some(FirstBoot::new(seen, Record::open(&record)?));
        }
        let view = until("agreement of all members", AGREE, || set.whole(&self.cluster))?;
        self.settled = Some(Settled { disks, view: view.clone() });
        Ok((set, view))
    }

    /// Keeps the disks of a set that `found` has made, for the cases that follow.
    pub fn keep(&mut self, set: Set) -> Result<()> {
        set.power_off().inspect_err(|_| self.settled = None)
    }

    /// Switches the settled members on, all on overlays; `without` gets no configuration volume.
    pub fn boot(&mut self, without: Option<Seat>) -> Result<(Set, View)> {
        self.running = None;
        if self.settled.is_none() {
            let (set, _) = self.found()?;
            self.keep(set)?;
        }
        let settled = self.settled.as_ref().context("no set has settled")?;
        let (all, view) = (settled.disks.clone(), settled.view.clone());
        let mut set = Set::default();
        for (seat, disks) in all {
            let place = self.yard.directory(seat)?;
            let disks = self.yard.overlay(&disks, &place)?;
            let seed = self.cluster.seed(&self.yard.tools, seat)?;
            set.add(self.yard.boot(seat, place, disks, (without != Some(seat)).then_some(seed))?);
        }
        set.wait_settled(SETTLE)?;
        Ok((set, view))
    }

    /// Three voters that run: those that the case before has left, or the settled ones, or new ones.
    pub fn running(&mut self) -> Result<(Set, View)> {
        if let Some(mut set) = self.running.take()
            && let Ok(view) = set.whole(&self.cluster)
        {
            return Ok((set, view));
        }
        if self.settled.is_none() {
            let new = self.found()?;
            // They go on as they are, so that their disks are nothing to begin from.
            self.settled = None;
            return Ok(new);
        }
        let (mut set, _) = self.boot(None)?;
        let view = until("agreement of all members", AGREE, || set.whole(&self.cluster))?;
        Ok((set, view))
    }

    /// Leaves a healthy set to the next case.
    pub fn leave(&mut self, set: Set) {
        self.running = Some(set);
    }

    /// Goes on with machines of this image, and with nothing of the other's.
    pub fn choose(&mut self, flavour: Flavour) -> Result<()> {
        if self.yard.images.flavour != flavour {
            (self.running, self.settled, self.founding) = (None, None, None);
            self.yard.images.flavour = flavour;
        }
        self.yard.images.image().map(drop)
    }

    /// Fails when this machine has cloud-init, and that has something to say.
    pub fn clean(&self, machine: &mut Machine) -> Result<()> {
        match self.yard.images.flavour {
            Flavour::Minimal => Ok(()),
            Flavour::CloudInit => flavour::clean(machine, &[]),
        }
    }

    /// Switches everything off, so that a case has the processors for itself.
    pub fn stop(&mut self) {
        self.running = None;
    }

    /// Writers through these members.
    pub fn load(&mut self, seats: &[Seat]) -> Result<Load> {
        self.loads += 1;
        Load::start(&self.cluster, &self.loads.to_string(), seats)
    }

    /// Writers through these members of another cluster.
    pub fn load_of(&mut self, cluster: &Cluster, seats: &[Seat]) -> Result<Load> {
        self.loads += 1;
        Load::start(cluster, &self.loads.to_string(), seats)
    }

    /// The metadata services of clouds, which listen from the first time on.
    pub fn link(&mut self) -> Result<Link> {
        match &self.link {
            Some(link) => Ok(link.clone()),
            None => Ok(self.link.insert(Link::listen()?).clone()),
        }
    }

    /// A name that no cluster of this run has had.
    pub fn name(&mut self, word: &str) -> String {
        self.names += 1;
        format!("{word}-{}", self.names)
    }

    /// A machine with the member's name and address on blank disks.
    pub fn blank_machine(&mut self, seat: Seat, special: Special) -> Result<Machine> {
        let place = self.yard.directory(seat)?;
        let disks = self.yard.blank(&place)?;
        let seed = self.cluster.seed(&self.yard.tools, seat)?;
        self.yard.boot_special(special, seat, place, disks, Some(seed))
    }

    /// A machine in this place on blank disks, whose firmware says this of it.
    pub fn dressed(
        &mut self,
        seat: Seat,
        firmware: Vec<(&'static str, String)>,
        volume: Option<PathBuf>,
    ) -> Result<Machine> {
        let place = self.yard.directory(seat)?;
        let disks = self.yard.blank(&place)?;
        self.yard.boot_special(Special { firmware, ..Special::default() }, seat, place, disks, volume)
    }

    /// A machine with the member's name and address on these disks.
    pub fn machine(&mut self, seat: Seat, place: PathBuf, disks: Disks) -> Result<Machine> {
        let seed = self.cluster.seed(&self.yard.tools, seat)?;
        self.yard.boot(seat, place, disks, Some(seed))
    }
}

/// How many requests the records of a machine's disks hold.
pub fn count(disks: &Disks) -> Result<[u64; 2]> {
    let mut counts = [0; 2];
    for (count, disk) in counts.iter_mut().zip([&disks.system, &disks.data]) {
        if let Some(record) = &disk.record {
            *count = Record::open(record)?.entries()?.len() as u64;
        }
    }
    Ok(counts)
}
