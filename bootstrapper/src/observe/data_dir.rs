//! To be filled: data_dir.
