//! (b) All members reboot; a settled member needs no metadata for it. One of them is looked at from inside.

use anyhow::{Result, ensure};

use crate::hardened;
use crate::process::until;
use crate::suite::{AGREE, Suite};
use crate::world::Seat;

/// Boots without its configuration volume.
const BARE: Seat = Seat(2);

pub fn run(suite: &mut Suite) -> Result<()> {
    let (mut set, before) = suite.boot(Some(BARE))?;
    let after = until("agreement of all members", AGREE, || set.whole(&suite.cluster))?;
    ensure!(after == before, "they were {before}, and now are {after}");
    for machine in set.machines() {
        machine.expect_only("start")?;
    }
    hardened::look(suite.yard.images.flavour, set.machine(BARE)?, &suite.yard.tools)?;
    suite.leave(set);
    Ok(())
}
