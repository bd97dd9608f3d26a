//! (u) Disks that were made larger: what is on them grows at the next boot, and a power cut meanwhile takes no person.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::cases::alone::{Alone, Phase, SEATS};
use crate::cluster::Cluster;
use crate::disk::Disk;
use crate::machine::Machine;
use crate::set::{Disks, SETTLE, SHUT_DOWN};
use crate::suite::Suite;
use crate::world::Seat;

/// Bytes by which each disk grows.
const MORE: u64 = 1 << 30;
const KEY: &str = "/vm/growth";

pub fn run(suite: &mut Suite) -> Result<()> {
    suite.stop();
    let mut machine = Alone::new(suite, Phase::Growing, SEATS[0])?.record(&suite.yard)?;
    machine.cut(&suite.yard).result
}

/// A member on disks that are larger than what is on them.
pub struct Grown {
    /// As they are before the boot that grows what is on them.
    pub disks: Disks,
    before: [u64; 2],
}

impl Grown {
    /// Switches the member off when it has settled and written something, and makes its disks larger.
    pub fn of(mut machine: Machine, disks: Disks, cluster: &Cluster) -> Result<Grown> {
        machine.wait_settled(Instant::now() + SETTLE)?;
        cluster.etcdctl.put(machine.parts.seat, KEY, &cluster.name)?;
        let before = sizes(&mut machine)?;
        machine.power_off(SHUT_DOWN)?;
        grow(&disks.system)?;
        grow(&disks.data)?;
        Ok(Grown { disks, before })
    }

    /// Fails unless the member has started as who it was, with all that it had, and with the room that its disks have.
    pub fn expect(&self, machine: &mut Machine, cluster: &Cluster, seat: Seat) -> Result<()> {
        machine.expect_only("start")?;
        let value = cluster.etcdctl.get(seat, KEY)?;
        ensure!(value == cluster.name, "what was written before reads {value:?}");
        let after = sizes(machine)?;
        for (place, before, after) in [("/var", self.before[0], after[0]), ("/var/lib/etcd", self.before[1], after[1])]
        {
            ensure!(
                after >= before + MORE / 10 * 9,
                "{place} had {before} bytes, and has {after} after its disk has grown"
            );
        }
        Ok(())
    }
}

fn grow(disk: &Disk) -> Result<()> {
    let file = fs::File::options().write(true).open(&disk.file)?;
    Ok(file.set_len(file.metadata()?.len() + MORE)?)
}

/// Bytes of the file systems of `/var` and of the data disk.
fn sizes(machine: &mut Machine) -> Result<[u64; 2]> {
    let said = machine.ask("df -B1 --output=size /var /var/lib/etcd")?;
    let sizes: Vec<u64> = said.lines().filter_map(|line| line.trim().parse().ok()).collect();
    <[u64; 2]>::try_from(sizes).ok().with_context(|| format!("df says {said}"))
}
