//! The pure decision of etcd-bootstrapper: no I/O, no clock, no async.
//!
//! The program is one loop: observe fills [`facts::Facts`], [`decide()`] answers a [`decision::Decided`], apply makes
//! it true. The decision table is in `decide.rs` (data dirs), `joining.rs` and `membership.rs` (a
//! cluster answers), `founding_rows.rs` and `missing.rs` (nobody answers); the first row that matches wins and is named in the answer.

pub mod backup;
mod check;
pub mod cidr;
mod claims;
pub mod classify;
mod decide;
pub mod decision;
pub mod discovery;
pub mod document;
pub mod explain;
pub mod facts;
pub mod firewall;
pub mod founding;
mod founding_rows;
pub mod install;
pub mod installing;
mod joining;
pub mod logs;
pub mod member;
mod membership;
pub mod metadata;
mod missing;
mod options;
pub mod place;
pub mod progress;
pub mod recovery;
pub mod render;
pub mod restore;
pub mod source;
mod source_check;
pub mod spec;
pub mod store;
pub mod wal_disk;

pub use decide::{decide, silent};
pub use founding_rows::terms;
pub use joining::NOT_ALLOWED;
pub use membership::{stranded, surplus};
