//! One binary of integration tests: real etcd, real TLS.
fn main() {}
