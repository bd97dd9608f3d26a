//! Standard output and standard error, of which neither is there for ever: a pipe closes, a disk fills, a console hangs up.

use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result};

/// Prints a text to standard output at once, with a line break at its end.
///
/// A reader that has seen enough (`| head -1`, `| grep -q`) is no error, and the text is dropped. Other programs are
/// killed by SIGPIPE then; a command of this one goes on, since it may be in the midst of a change (`reset`,
/// `certs renew`), and since its exit code is its verdict (`config validate`, `certs show`), whoever reads along.
///
/// # Errors
/// Any other failing write, such as that of a full disk.
pub fn say(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    // Flushed here: what is flushed at exit fails unseen.
    let written =
        out.write_all(text.as_bytes()).and_then(|()| out.write_all(end.as_bytes())).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

/// Prints a line to standard error; there is nobody to tell when that fails.
pub fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
