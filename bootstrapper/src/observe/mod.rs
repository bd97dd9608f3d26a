//! Fills the facts. Nothing here writes, and nothing here decides.

pub mod bolt;
mod crc32c;
pub mod data_dir;
mod group;
pub mod inventory;
mod observer;
pub mod peers;
mod protobuf;
mod quorum;
pub mod unsound;
pub mod volume;
pub mod wal;
mod wal_disk;

pub use group::Group;
pub use observer::{Observer, classify, identity, kept, newer, own_answer, place, settled};
