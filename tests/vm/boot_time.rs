//! `bench`: from power on until etcd serves, for the images, and for a Debian that a shell script in user-data makes a member.
//!
//! All have the same machine, a NoCloud volume, a blank disk for etcd, and become a cluster of one that speaks mutual TLS.
//! A member serves when it answers this host that it has made a linearizable read. The script has ready certificates; the
//! images issue their own.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::cluster::Cluster;
use crate::disk::{self, Disk};
use crate::flavour::FLAVOURS;
use crate::probe;
use crate::process::until;
use crate::qemu::Special;
use crate::set::{Disks, SETTLE, Yard};
use crate::tools::Tools;
use crate::world::{Seat, World};

const ALONE: Seat = Seat(1);
/// What most people launch has at least two.
const PROCESSORS: u32 = 2;

/// What boots.
struct Contender {
    name: &'static str,
    what: &'static str,
    /// By how much it may take of the time of the baseline.
    target: Option<f64>,
    image: Disk,
    times: Vec<Times>,
}

/// Of one boot, since power on.
#[derive(Clone, Copy)]
struct Times {
    /// Firmware and boot loader are over.
    kernel: Duration,
    serving: Duration,
    /// What QEMU needed of this host's processors: without acceleration, the same on a busy host too.
    cost: Duration,
}

/// Boots all of them in turn, in so many rounds, and prints the medians.
pub fn run(yard: &mut Yard, world: &mut World, rounds: u32) -> Result<()> {
    yard.processors = PROCESSORS;
    let tools = &yard.tools;
    // Whoever boots is not asked for its hardware address, which is asked for once a second only.
    tools.run("ip", ["neigh", "replace", &ALONE.address().to_string(), "lladdr", &ALONE.mac(), "dev", "br0"])?;
    let [minimal, with_cloud_init] = FLAVOURS.map(|flavour| yard.images.of(flavour).cloned());
    let baseline = disk::adopt(&tools.baseline()?.join("disk.raw"), "image-baseline.raw")?;
    let contender = |name, what, target, image| Contender { name, what, target, image, times: Vec::new() };
    let mut all = [
        contender("minimal", "power on to etcd serving, minimal", Some(0.5), minimal?),
        contender("cloud-init", "the same, flavour cloud-init", Some(0.85), with_cloud_init?),
        contender("baseline", "", None, baseline),
    ];
    let count = all.len();
    for round in 1..=rounds {
        // Whoever comes first meets this host as the last one of the round before has left it.
        for turn in 0..count {
            let contender = &mut all[(turn + round as usize) % count];
            let times = boot(yard, contender, round)?;
            let [kernel, serving, cost] = [times.kernel, times.serving, times.cost].map(|time| time.as_secs_f32());
            let name = contender.name;
            println!(
                "round {round}: {name}: kernel after {kernel:.1} s, serving after {serving:.1} s, processors {cost:.1} s"
            );
            contender.times.push(times);
        }
        world.check()?;
    }
    print(&all, yard, rounds);
    Ok(())
}

fn boot(yard: &mut Yard, contender: &Contender, round: u32) -> Result<Times> {
    let cluster = Cluster::of(&yard.tools, &format!("{}-{round}", contender.name), &[ALONE], &[])?;
    let seed = match contender.target {
        Some(_) => cluster.seed(&yard.tools, ALONE)?,
        None => cluster.seed_of(&yard.tools, ALONE, script(&yard.tools, &cluster)?.as_bytes(), &[])?,
    };
    let place = yard.directory(ALONE)?;
    let system = yard.system_of(&contender.image, &place)?;
    let disks = Disks { system, data: yard.blank_data(place.join("data.raw"))? };
    let before = spent()?;
    let mut machine = yard.boot_special(Special::default(), ALONE, place.clone(), disks, Some(seed))?;
    let served = until("answer of etcd", SETTLE, || {
        machine.alive()?;
        probe::serves(&cluster, ALONE.address())?;
        Ok(Instant::now())
    });
    let serving = machine.explain(served)?.duration_since(machine.power_on);
    let kernel = machine.kernel(SETTLE)?.duration_since(machine.power_on);
    machine.kill()?;
    let cost = spent()?.saturating_sub(before);
    for disk in ["system.qcow2", "data.raw"] {
        fs::remove_file(place.join(disk))?;
    }
    Ok(Times { kernel, serving, cost })
}

/// Processor time of all processes of this one that have ended.
fn spent() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = [usage.user_time(), usage.system_time()].map(|time| time.num_microseconds());
    Ok(Duration::from_micros(micros.iter().sum::<i64>().try_into()?))
}

/// The script that makes a member of it, with certificates of the cluster's CA.
fn script(tools: &Tools, cluster: &Cluster) -> Result<String> {
    let (name, address) = (ALONE.name(), ALONE.address().to_string());
    let [leaf, key] = cluster.leaf(tools, "etcd", ALONE.address())?;
    let script = include_str!("../bench/baseline/user-data");
    let mut script = script.replace("@name@", &name).replace("@address@", &address);
    for file in [&cluster.file("ca.crt"), &leaf, &key] {
        let word = format!("@{}@", file.file_name().unwrap_or_default().display());
        script = script.replace(&word, fs::read_to_string(file)?.trim_end());
    }
    Ok(script)
}

/// As the rest of `make bench` prints it.
fn print(all: &[Contender], yard: &Yard, rounds: u32) {
    let Some((baseline, ours)) = all.split_last() else { return };
    let accelerator = &yard.tools.accelerator;
    let what = format!("median of {rounds}, {accelerator}, {PROCESSORS} processors, {} MiB", yard.memory);
    println!("{what:<44} {:>9} {:>9} {:>9}   {:>18}", "ours", "baseline", "ratio", "target");
    for contender in ours {
        let target = contender.target.map_or_else(String::new, |target| format!("<= {target}x"));
        for (what, of, target) in [
            (contender.what, (|times| times.serving) as fn(Times) -> Duration, target.as_str()),
            ("  firmware and boot loader of it", |times| times.kernel, ""),
            ("  processor time of this host until then", |times| times.cost, ""),
        ] {
            let [mine, theirs] = [contender, baseline].map(|c| median(&c.times, of).as_secs_f64());
            let ratio = mine / theirs;
            println!("{what:<44} {mine:>7.1} s {theirs:>7.1} s {ratio:>9.2}   {target:>18}");
        }
    }
}

fn median(times: &[Times], of: fn(Times) -> Duration) -> Duration {
    let mut times: Vec<Duration> = times.iter().map(|times| of(*times)).collect();
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
