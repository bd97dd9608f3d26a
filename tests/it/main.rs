//! One binary of integration tests: real etcd, real TLS.

mod data_dir;
mod support;
