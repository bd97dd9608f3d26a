//! To be filled: tls.
