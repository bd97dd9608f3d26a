//! Fills the facts. Nothing here writes, and nothing here decides.

pub mod data_dir;
pub mod peers;
