//! To be filled: snapshot.
