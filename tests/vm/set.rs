//! Three machines that are, or will be, one cluster.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::aftermath::Known;
use crate::cluster::Cluster;
use crate::disk::{self, Disk};
use crate::etcdctl::View;
use crate::flavour::Images;
use crate::hardened;
use crate::lines::Line;
use crate::machine::Machine;
use crate::qemu::{Parts, Special};
use crate::tools::Tools;
use crate::world::Seat;

/// Bytes of a system disk: the image, and room for /var.
const SYSTEM: u64 = 3 << 30;
/// Bytes of a data disk.
const DATA: u64 = 2 << 30;
/// From power on, or from whatever else was waited for, to a voter; minutes on a host without acceleration.
pub const SETTLE: Duration = Duration::from_secs(900);
/// For a guest to shut down.
pub const SHUT_DOWN: Duration = Duration::from_secs(300);
/// What `finish` says last.
pub const SETTLED: &str = " settled: ";

/// What is said before the ID of a founding.
const COMMITTED: &str = ": commit founding ";

/// The two disks of a machine.
#[derive(Clone, Debug)]
pub struct Disks {
    /// Boots.
    pub system: Disk,
    /// For etcd.
    pub data: Disk,
}

impl Disks {
    /// The same, with every write recorded in this directory.
    pub fn recorded(self, directory: &Path) -> Disks {
        Disks {
            system: self.system.recorded(directory.join("system.writes")),
            data: self.data.recorded(directory.join("data.writes")),
        }
    }
}

/// What every machine of a run has in common.
pub struct Yard {
    /// The tools.
    pub tools: Tools,
    /// The images.
    pub images: Images,
    /// MiB of each machine.
    pub memory: u32,
    /// Processors of each machine.
    pub processors: u32,
    made: u32,
}

impl Yard {
    /// With these images.
    pub fn new(tools: Tools, images: Images, memory: u32) -> Yard {
        Yard { tools, images, memory, processors: 1, made: 0 }
    }

    /// A directory of its own for one boot of a machine.
    pub fn directory(&mut self, seat: Seat) -> Result<PathBuf> {
        self.made += 1;
        let directory = PathBuf::from(format!("boot-{:02}-{}", self.made, seat.name()));
        std::fs::create_dir_all(&directory)?;
        Ok(directory)
    }

    /// A system disk with the image on it, as delivered.
    pub fn system(&self, directory: &Path) -> Result<Disk> {
        self.system_of(self.images.image()?, directory)
    }

    /// A system disk with another image on it.
    pub fn system_of(&self, image: &Disk, directory: &Path) -> Result<Disk> {
        image.overlay(&self.tools, directory.join("system.qcow2"), Some(SYSTEM))
    }

    /// A data disk as a shop sells it.
    pub fn blank_data(&self, file: PathBuf) -> Result<Disk> {
        disk::blank(file, DATA)
    }

    /// Disks of a machine that never ran.
    pub fn blank(&self, directory: &Path) -> Result<Disks> {
        Ok(Disks { system: self.system(directory)?, data: self.blank_data(directory.join("data.raw"))? })
    }

    /// The same as raw files, for a replay of what a power cut left.
    pub fn blank_raw(&self, directory: &Path) -> Result<Disks> {
        let system = self.images.image()?.copy(directory.join("system.raw"), SYSTEM)?;
        Ok(Disks { system, data: self.blank_data(directory.join("data.raw"))? })
    }

    /// Disks that begin as these; these must not change any more.
    pub fn overlay(&self, disks: &Disks, directory: &Path) -> Result<Disks> {
        Ok(Disks {
            system: disks.system.overlay(&self.tools, directory.join("system.qcow2"), None)?,
            data: disks.data.overlay(&self.tools, directory.join("data.qcow2"), None)?,
        })
    }

    /// Switches a machine on.
    pub fn boot(&self, seat: Seat, directory: PathBuf, disks: Disks, seed: Option<PathBuf>) -> Result<Machine> {
        self.boot_special(Special::default(), seat, directory, disks, seed)
    }

    /// Switches a machine on that is not like others.
    pub fn boot_special(
        &self,
        special: Special,
        seat: Seat,
        directory: PathBuf,
        disks: Disks,
        seed: Option<PathBuf>,
    ) -> Result<Machine> {
        let (Disks { system, data }, memory, processors) = (disks, self.memory, self.processors);
        let data = Some(data);
        Machine::boot(&self.tools, Parts { seat, directory, system, data, seed, memory, processors, special })
    }
}

/// The machines that run.
#[derive(Default)]
pub struct Set {
    machines: BTreeMap<Seat, Machine>,
}

/// What `status --json` says, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// Where the configuration came from.
    pub carrier: Option<String>,
    /// The decisions of this boot.
    pub decisions: Vec<Decision>,
    /// Milliseconds of the kernel's clock.
    pub reached: BTreeMap<String, u64>,
}

/// One of them.
#[derive(Clone, Debug, Deserialize)]
pub struct Decision {
    /// Of the decision table.
    pub row: u8,
    /// One word.
    pub decision: String,
    /// All of it.
    pub text: String,
}

impl Set {
    /// Adds a machine that was switched on.
    pub fn add(&mut self, machine: Machine) {
        self.machines.insert(machine.parts.seat, machine);
    }

    /// Takes a machine out of the set, for whatever is to become of it.
    pub fn take(&mut self, seat: Seat) -> Result<Machine> {
        self.machines.remove(&seat).with_context(|| format!("{} does not run", seat.name()))
    }

    /// A machine.
    pub fn machine(&mut self, seat: Seat) -> Result<&mut Machine> {
        self.machines.get_mut(&seat).with_context(|| format!("{} does not run", seat.name()))
    }

    /// Who runs.
    pub fn seats(&self) -> Vec<Seat> {
        self.machines.keys().copied().collect()
    }

    /// All machines.
    pub fn machines(&mut self) -> impl Iterator<Item = &mut Machine> {
        self.machines.values_mut()
    }

    /// Waits until each machine says that its member has settled.
    pub fn wait_settled(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        for machine in self.machines.values_mut() {
            machine.wait_settled(deadline)?;
        }
        Ok(())
    }

    /// Which foundings these machines have committed after this moment, and when.
    pub fn committed(&self, since: Instant) -> Vec<(Instant, Known)> {
        let lines = self.machines.values().flat_map(|m| m.console.all()).filter(|line| line.at >= since);
        let commit = |line: Line| {
            let (_, id) = line.text.split_once(COMMITTED)?;
            let founding = id.chars().take_while(char::is_ascii_hexdigit).collect();
            Some((line.at, Known::Committed { founding }))
        };
        lines.filter_map(commit).collect()
    }

    /// The cluster as every member sees it: all of these voters, one cluster, nobody else.
    pub fn whole(&mut self, cluster: &Cluster) -> Result<View> {
        let names: Vec<String> = self.seats().into_iter().map(Seat::name).collect();
        self.whole_of(cluster, &names)
    }

    /// The same where the members have other names than their machines; in their order.
    pub fn whole_of(&mut self, cluster: &Cluster, names: &[String]) -> Result<View> {
        let mut first: Option<View> = None;
        for seat in &self.seats() {
            let view = cluster.etcdctl.members(*seat).and_then(|v| v.expect_named(names).map(|()| v));
            let view = view.with_context(|| format!("asked through {}", seat.name()))?;
            match &first {
                Some(first) if *first != view => bail!("{} sees another cluster: {first} / {view}", seat.name()),
                Some(_) => {}
                None => first = Some(view),
            }
        }
        for machine in self.machines.values() {
            machine.check()?;
        }
        first.context("no machine runs")
    }

    /// Presses all power buttons and waits; the machines are gone then.
    pub fn power_off(self) -> Result<()> {
        let ends: Vec<_> = self.machines.into_values().map(|m| thread::spawn(move || m.power_off(SHUT_DOWN))).collect();
        for end in ends {
            end.join().map_err(|_| anyhow::anyhow!("the thread that powers off has panicked"))??;
        }
        Ok(())
    }
}

impl Machine {
    /// What the bootstrapper says about this boot; fails when something has kept it or etcd from what they do.
    pub fn report(&mut self) -> Result<Report> {
        hardened::undenied(self)?;
        let text = self.ask("etcd-bootstrapper status --json")?;
        self.explain(serde_json::from_str(&text).with_context(|| format!("not a status: {text}")))
    }

    /// Waits until its member has settled.
    pub fn wait_settled(&mut self, deadline: Instant) -> Result<()> {
        self.wait_line(SETTLED, deadline)
    }

    /// What it said last.
    pub fn last_words(&self) -> String {
        let lines = self.console.all();
        lines.last().map_or_else(|| "nothing".into(), |line| line.text.clone())
    }

    /// Fails unless all that was decided in this boot is this.
    pub fn expect_only(&mut self, word: &str) -> Result<()> {
        let decisions = self.report()?.decisions;
        if !decisions.is_empty() && decisions.iter().all(|d| d.decision == word) {
            return Ok(());
        }
        let made: Vec<&str> = decisions.iter().map(|d| d.text.as_str()).collect();
        bail!("{}: expected nothing but the decision `{word}`, it decided\n    {}", self.name(), made.join("\n    "))
    }

    /// Fails unless this was decided in this boot.
    pub fn expect_decision(&mut self, word: &str) -> Result<()> {
        let report = self.report()?;
        if report.decisions.iter().any(|d| d.decision == word) {
            return Ok(());
        }
        let made: Vec<&str> = report.decisions.iter().map(|d| d.text.as_str()).collect();
        bail!("{}: expected the decision `{word}`, it decided\n    {}", self.name(), made.join("\n    "))
    }

    /// etcd's process and when it started: equal as long as it was never restarted.
    pub fn etcd_life(&mut self) -> Result<String> {
        self.ask("systemctl show etcd -p MainPID -p ExecMainStartTimestampMonotonic -p NRestarts")
    }

    /// Waits for a line on the console.
    pub fn wait_line(&mut self, part: &str, deadline: Instant) -> Result<()> {
        let what = format!("line with {:?} on the console", part.trim());
        let seen = self.console.wait(0, deadline, &what, |line| line.text.contains(part).then_some(()));
        self.explain(seen).map(|_| ())
    }
}
