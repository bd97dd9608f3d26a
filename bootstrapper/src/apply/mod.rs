//! To be filled: apply.
