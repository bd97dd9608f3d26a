//! The cases of `test`, lane by lane, each in the order in which they cost least, and last what a slow host may leave out.

mod alone;
mod chaos;
mod cloud_init;
mod debug;
mod disks;
mod first_boot;
mod found;
mod group;
mod growing;
mod growth;
mod iso;
mod kill;
mod network;
mod platforms;
mod power_cut;
mod reboot;
mod restore;
mod restoring;
mod secure_boot;
mod stuck;
mod system_disk;
mod total_loss;
mod unsynced;
mod verity;
mod wal_disk;

pub use alone::{PHASES, Phase, cuts, forgetful};
pub use chaos::{CHAOS, Chaos, Outcome, judge, run as chaos};
pub use first_boot::FirstBoot;
pub use group::{NAME as GROUP, group};
pub use power_cut::{DOINGS, Doing, Moment, cut};
pub use restoring::{RESTORING, Restoring};
pub use total_loss::{NAME as TOTAL_LOSS, total_loss};
pub use unsynced::{Unsynced, run as unsynced};

use anyhow::Result;

use crate::flavour::Flavour;
use crate::suite::Suite;

/// A case.
pub struct Case {
    /// What to type.
    pub name: &'static str,
    /// What must be so.
    pub what: &'static str,
    /// Makes it so, or says why not.
    pub run: fn(&mut Suite) -> Result<()>,
    letter: &'static str,
}

impl Case {
    /// Where it runs when all of them do.
    pub fn lane(&self) -> usize {
        if BESIDE.contains(&self.name) { LANES } else { 1 }
    }

    /// Whether a person means this one.
    pub fn is(&self, name: &str) -> bool {
        self.name == name || self.letter == name
    }
}

fn under_load(suite: &mut Suite, what: Chaos) -> Result<()> {
    let outcome = chaos(suite, what)?;
    println!("        {outcome}");
    judge(what, &outcome)
}

/// How many processes share the cases.
pub const LANES: usize = 2;

/// Those that want nothing of the machines of other cases; most have one machine at a time. They run beside the others.
const BESIDE: [&str; 10] =
    ["verity", "secure-boot", "iso", "disks", "growth", "wal-disk", "network", "platforms", "total-loss", "restoring"];

/// Only run where they are named, and by soaks: the images of three are built apart and take minutes, and `tests/it` grows a
/// cluster in seconds.
pub const APART: [&str; 4] = ["cloud-init", "debug", "growing", "stuck"];

/// All of them; the letters are those of the issues that asked for them.
pub const CASES: [Case; 24] = [
    Case {
        name: "found",
        what: "three fresh members become one cluster that speaks mutual TLS and nothing else",
        run: found::run,
        letter: "a",
    },
    Case {
        name: "reboot",
        what: "all three boot again as who they were, one of them without its configuration volume",
        run: reboot::run,
        letter: "b",
    },
    Case {
        name: "reimage",
        what: "a member with blank disks replaces its previous life under a write load; the others never restart",
        run: |suite| under_load(suite, Chaos::WipeOne),
        letter: "c",
    },
    Case {
        name: "system-disk",
        what: "a member with a new system disk and its old data disk starts as who it was",
        run: system_disk::run,
        letter: "d",
    },
    Case {
        name: "kill",
        what: "a bootstrapper that crashes while it waits comes back, etcd comes up by itself, and no core dump is left",
        run: kill::run,
        letter: "g",
    },
    Case {
        name: "power-cut",
        what: "power cuts in a row leave one cluster of three voters, and disks that hold what was promised",
        run: power_cut::run,
        letter: "f",
    },
    Case {
        name: "aftermath",
        what: "the disk of a founding holds what was promised whenever its power fails; a forgotten flush is found out",
        run: first_boot::run,
        letter: "i",
    },
    Case {
        name: "wipe-majority",
        what: "two of three lose their disks under a write load; all wait, until a person writes what the console says",
        run: |suite| under_load(suite, Chaos::WipeMajority),
        letter: "h",
    },
    Case {
        name: "group",
        what: "EC2 instances of a group find one another; one is terminated, and whom the group launches takes its place",
        run: group::run,
        letter: "o",
    },
    Case {
        name: "restore",
        what: "three fresh members found a new cluster from a snapshot",
        run: restore::run,
        letter: "e",
    },
    Case {
        name: "verity",
        what: "of a root that is not the one that was built nothing runs; the machine says why and tries again, as without one",
        run: verity::run,
        letter: "r",
    },
    Case {
        name: "secure-boot",
        what: "firmware takes the keys of a signed disk and starts nothing else; a TPM holds what was predicted",
        run: secure_boot::run,
        letter: "t",
    },
    Case {
        name: "iso",
        what: "the installation medium makes a blank disk a member without DHCP, refuses what it must, and installs once",
        run: iso::run,
        letter: "s",
    },
    Case {
        name: "disks",
        what: "of every wrong disk nothing is written to, and no etcd starts beside it; the right one is taken when it comes",
        run: disks::run,
        letter: "v",
    },
    Case {
        name: "growth",
        what: "what lies on disks that were made larger grows with them, whenever the power fails meanwhile",
        run: growth::run,
        letter: "u",
    },
    Case {
        name: "wal-disk",
        what: "the write-ahead log has a disk of its own, and etcd never starts with a copy of it",
        run: wal_disk::run,
        letter: "x",
    },
    Case {
        name: "network",
        what: "without DHCP a machine has the network of its volume, and without its volume the one of before",
        run: network::run,
        letter: "l",
    },
    Case {
        name: "platforms",
        what: "machines dressed as Compute Engine's, Azure's and OpenStack's become members by what those hand out",
        run: platforms::run,
        letter: "n",
    },
    Case {
        name: "total-loss",
        what: "after its machine the store is left: the policy is followed, and detached volumes are not restored over",
        run: total_loss::run,
        letter: "j",
    },
    Case {
        name: "restoring",
        what: "power cuts in the restore of a large snapshot leave all of it or nothing, and the next boot goes on",
        run: restoring::run,
        letter: "k",
    },
    Case {
        name: "cloud-init",
        what: "the image with cloud-init makes a member of its merged result, and has nothing to warn of",
        run: cloud_init::run,
        letter: "m",
    },
    Case {
        name: "growing",
        what: "a cluster of one becomes one of three by machines whose user-data says so; its member never restarts",
        run: growing::run,
        letter: "p",
    },
    Case {
        name: "debug",
        what: "into the image for labs root logs in, by a key that was named when it was built",
        run: debug::run,
        letter: "w",
    },
    Case {
        name: "stuck",
        what: "where cloud-init is switched off or hangs, the image with it makes a member of user-data all the same",
        run: stuck::run,
        letter: "q",
    },
];

/// A way to become a member that a soak shows with either image; what it asks of the machines is its case's.
#[derive(Clone, Copy, Debug)]
pub struct Formation {
    /// In the words of the soak's table.
    pub name: &'static str,
    /// The image without which there is nothing to show.
    pub only: Option<Flavour>,
    /// Makes it so, or says why not.
    pub run: fn(&mut Suite) -> Result<()>,
}

/// Those that no other kind of a soak has.
pub const FORMATIONS: [Formation; 7] = [
    Formation { name: "a list of three founds", only: None, run: found::run },
    Formation { name: "one founds and two join", only: None, run: growing::run },
    Formation { name: "one founds on each platform", only: None, run: platforms::run },
    Formation { name: "three found from a snapshot", only: None, run: restore::run },
    Formation { name: "three found that the ISO has installed", only: Some(Flavour::Minimal), run: iso::three },
    Formation { name: "one founds by a message of parts", only: Some(Flavour::CloudInit), run: cloud_init::run },
    Formation { name: "one founds without the cloud-init it has", only: Some(Flavour::CloudInit), run: stuck::run },
];
