//! The store: its claim against servers that fail and race, and clusters that hang on it.

mod cluster;
