//! To be filled: etcd.
