//! Words for whoever stands before the machine, on whichever of its consoles.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use crate::paths::Paths;

/// All consoles that the kernel was told of.
pub struct Consoles(Vec<PathBuf>);

impl Consoles {
    /// Those of this machine.
    pub fn of(paths: &Paths) -> Consoles {
        Consoles::listed(&paths.host("/sys/class/tty/console/active"), &paths.host("/dev"))
    }

    /// Those that a file has as its words, in a directory of devices; none when there is no such file.
    pub fn listed(list: &Path, devices: &Path) -> Consoles {
        let active = std::fs::read_to_string(list).unwrap_or_default();
        Consoles(active.split_whitespace().map(|name| devices.join(name)).collect())
    }

    /// Says something on each, and in the log.
    pub fn say(&self, text: &str) {
        tracing::info!("{text}");
        self.show(&text.lines().map(|line| format!("{line}\r\n")).collect::<String>());
    }

    /// Writes to each as it is. One that hangs must not hang the machine.
    pub fn show(&self, text: &str) {
        for console in &self.0 {
            let flags = (OFlag::O_NOCTTY | OFlag::O_NONBLOCK).bits();
            let open = OpenOptions::new().append(true).custom_flags(flags).open(console);
            let _ = open.and_then(|mut terminal| terminal.write_all(text.as_bytes()));
        }
    }
}
