//! The end of a machine's run, without a service manager: only where nothing is mounted to be written.

use anyhow::{Context, Result};
use nix::sys::reboot::{RebootMode, reboot};

/// What the machine does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// It starts again.
    Reboot,
    /// It is switched off.
    Off,
    /// It stands still, with what is on its consoles.
    Halt,
}

/// Does it; comes back only when the kernel refuses.
///
/// # Errors
/// When the kernel refuses.
pub fn end(how: Power) -> Result<()> {
    nix::unistd::sync();
    let mode = match how {
        Power::Reboot => RebootMode::RB_AUTOBOOT,
        Power::Off => RebootMode::RB_POWER_OFF,
        Power::Halt => RebootMode::RB_HALT_SYSTEM,
    };
    let Err(error) = reboot(mode);
    Err(error).with_context(|| format!("the kernel does not do it ({how:?})"))
}
