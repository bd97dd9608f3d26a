//! Snapshots: where they come from, whether they are whole, and how one becomes a data dir.
//!
//! One pass over the bytes writes, hashes and checks them; `etcdutl` makes the only other one, and beside it the file is
//! held against its hash once more.

pub mod about;
mod apart;
mod beside;
pub mod decode;
pub mod fetch;
mod http;
pub mod intake;
mod object;
pub mod origin;
mod patience;
mod ranges;
pub(crate) mod restore;
pub(crate) mod room;
pub mod shelf;
mod sidecar;
pub mod signature;
pub mod source;
pub mod stage;
pub mod verify;
mod volume;
mod warm;
