//! The commands of the program.

pub mod backup;
pub mod certs;
pub mod config;
pub mod config_new;
pub mod iso;
pub mod metadata;
pub mod reset;
pub mod snapshot;
pub mod state;
