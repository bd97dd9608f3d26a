//! Everybody who lists a group, by servers of our own that demand what the true ones demand.

mod aws;
mod azure;
mod dns;
mod fake;
mod gce;
mod keepers;
