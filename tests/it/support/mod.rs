//! What several tests need.

pub mod azurite;
pub mod bucket;
pub mod clock;
pub mod etcd;
pub mod fixture;
pub mod moto;
pub mod s3s;
pub mod scratch;
pub mod store;
pub mod trace;
