//! One binary of integration tests: real etcd, real TLS.

mod volume;
