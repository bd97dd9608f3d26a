//! To be filled: config.
