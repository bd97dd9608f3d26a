//! Damage is a finding, a failing system call is not: what reads etcd's files keeps the two apart.

use std::io;

/// Why a file could not be made sense of.
#[derive(Debug, thiserror::Error)]
pub enum Unsound {
    /// It was read and is not what it should be; says what is wrong and where.
    #[error("{0}")]
    Damaged(String),
    /// It could not be read at all, which says nothing about what it holds.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Unsound {
    /// A finding in words.
    pub fn damaged(what: impl Into<String>) -> Unsound {
        Unsound::Damaged(what.into())
    }
}

/// What was read, or the damage in words.
///
/// # Errors
/// Only for a file that could not be read at all.
pub fn finding<T>(read: Result<T, Unsound>) -> io::Result<Result<T, String>> {
    match read {
        Ok(value) => Ok(Ok(value)),
        Err(Unsound::Damaged(what)) => Ok(Err(what)),
        Err(Unsound::Io(error)) => Err(error),
    }
}
