//! etcd-bootstrapper: the program that runs before etcd on every boot.
// They panic when the other end of a pipe is closed: `sys::output`.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod answer;
pub mod apply;
pub mod backup;
pub mod cloud;
pub mod commands;
pub mod configuration;
pub mod etcd;
pub mod exit;
pub mod finish;
mod firewall;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod install;
pub mod linger;
mod logs;
pub mod metadata;
pub mod network;
pub mod observe;
pub mod paths;
pub mod prepare;
pub mod report;
pub mod run;
pub mod secrets;
mod serve;
pub mod snapshot;
pub mod store;
pub mod survivor;
pub mod sys;
pub mod system_disk;
pub mod tls;
mod wal_disk;
pub mod who;
