//! Words for whoever stands before the machine, on whichever of its consoles.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use nix::fcntl::OFlag;

use crate::paths::Paths;

/// All consoles that the kernel was told of.
pub struct Consoles(Vec<PathBuf>);

impl Consoles {
    /// Those of this machine.
    pub fn of(paths: &Paths) -> Consoles {
        let active = std::fs::read_to_string(paths.host("/sys/class/tty/console/active")).unwrap_or_default();
        Consoles(active.split_whitespace().map(|name| paths.host("/dev").join(name)).collect())
    }

    /// Says something on each, and in the log. One that hangs must not hang the machine.
    pub fn say(&self, text: &str) {
        tracing::info!("{text}");
        let lines: String = text.lines().map(|line| format!("{line}\r\n")).collect();
        for console in &self.0 {
            let flags = (OFlag::O_NOCTTY | OFlag::O_NONBLOCK).bits();
            let open = OpenOptions::new().append(true).custom_flags(flags).open(console);
            let _ = open.and_then(|mut terminal| terminal.write_all(lines.as_bytes()));
        }
    }
}
