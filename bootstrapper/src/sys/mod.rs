//! The only place that writes files, spawns processes and reads clocks, randomness and the environment.
#![allow(clippy::disallowed_methods)]

pub mod clock;
pub mod console;
pub mod disk;
mod disk_name;
pub mod efi;
pub mod env;
pub mod fault;
pub mod format;
pub mod fs;
pub mod imaging;
pub mod log;
#[cfg(any(test, feature = "fuzzing"))]
pub mod memory;
pub mod mount;
pub mod near;
pub mod net;
pub mod netlink;
pub mod output;
pub mod partial;
pub mod power;
pub mod probe;
pub mod process;
pub mod random;
pub mod regular;
pub mod systemd;
pub mod volume;
