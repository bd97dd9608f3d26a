//! To be filled: disk.
