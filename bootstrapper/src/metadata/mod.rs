//! To be filled: metadata.
