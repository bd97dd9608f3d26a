//! To be filled: observe.

pub mod data_dir;
pub mod peers;
