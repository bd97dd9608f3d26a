//! One binary of integration tests: real etcd, real TLS, real disks.
#![allow(clippy::disallowed_methods)]

mod address;
mod autoscaling;
mod backup;
mod bad_input;
mod catch_up;
mod certificates;
mod cluster;
mod copies;
#[cfg(feature = "fault-injection")]
mod crash;
mod data_dir;
mod disks;
mod dns;
mod elsewhere;
mod explain;
mod failing;
mod fences;
mod firewall;
#[path = "../fits.rs"]
mod fits;
mod group;
mod joining;
mod metadata;
mod operator;
mod options;
mod output;
mod publish;
mod restore;
mod restored;
mod secrets;
mod snapshot;
#[allow(dead_code, reason = "soaks use the rest of it")]
#[path = "../vm/soak_table.rs"]
mod soak_table;
mod soaked;
mod store;
mod support;
mod waiting;
mod wal_disk;
mod world;
