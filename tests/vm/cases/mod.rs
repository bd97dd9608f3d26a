//! The cases of `test`, in the order in which they cost least.

mod found;
mod kill;
mod power_cut;
mod reboot;
mod reimage;
mod restore;
mod system_disk;

pub use power_cut::{Moment, cut_while_founding, cut_while_replacing};

use anyhow::Result;

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
    /// Whether a person means this one.
    pub fn is(&self, name: &str) -> bool {
        self.name == name || self.letter == name
    }
}

/// All of them; the letters are those of the issue that asked for them.
pub const CASES: [Case; 7] = [
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
        what: "a member with blank disks replaces its previous life; the others never restart",
        run: reimage::run,
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
        what: "a bootstrapper that is killed while it waits comes back, and etcd comes up by itself",
        run: kill::run,
        letter: "g",
    },
    Case {
        name: "power-cut",
        what: "power cuts during a member's first boot leave one cluster of three voters",
        run: power_cut::run,
        letter: "f",
    },
    Case {
        name: "restore",
        what: "three fresh members found a new cluster from a snapshot",
        run: restore::run,
        letter: "e",
    },
];
