//! Exit codes, after sysexits(3); systemd does not restart the unit on 65, 77 and 78.

use std::fmt;

/// How a command that failed ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The command line is wrong.
    Usage = 64,
    /// Input is malformed: a spec, user-data, a certificate, a snapshot.
    BadInput = 65,
    /// A source could not be reached.
    Unavailable = 69,
    /// Something failed that may succeed when tried again.
    TryAgain = 75,
    /// Permission is missing.
    Permission = 77,
    /// Refused: a person has to look.
    Refused = 78,
}

/// A failure whose exit code the caller must know; wrap it into the chain with [`Exit::because`].
#[derive(Debug)]
pub struct Failure {
    /// The code to exit with.
    pub exit: Exit,
    message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl Exit {
    /// An error that ends the program with this code.
    pub fn because(self, message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Failure { exit: self, message: message.into() })
    }

    /// The code of the outermost [`Failure`] in the chain; 75 when there is none.
    pub fn of(error: &anyhow::Error) -> Exit {
        error
            .downcast_ref::<Failure>()
            .or_else(|| error.chain().find_map(|e| e.downcast_ref()))
            .map_or(Exit::TryAgain, |f| f.exit)
    }
}
