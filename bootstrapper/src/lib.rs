//! etcd-bootstrapper: the program that runs before etcd on every boot.

pub mod exit;
pub mod paths;
pub mod sys;
