//! What several tests need.

pub mod etcd;
pub mod scratch;
