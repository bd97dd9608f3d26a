//! Fills the facts. Nothing here writes, and nothing here decides.

pub mod bolt;
mod crc32c;
pub mod data_dir;
pub mod peers;
mod protobuf;
pub mod unsound;
pub mod volume;
mod wal;
