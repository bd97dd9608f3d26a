//! The program etcd-bootstrapper.
fn main() {}
