//! Wall time; it enters here once per observation.

use std::time::{SystemTime, UNIX_EPOCH};

use plan::facts::Seconds;

use crate::paths::Paths;

/// When this program was built, seconds since 1970: no honest clock is before it. Set by the build, 2026-01-01 otherwise.
pub const BUILT: u64 = parse(match option_env!("SOURCE_DATE_EPOCH") {
    Some(text) => text,
    None => "1767225600",
});

const fn parse(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let (mut i, mut n) = (0, 0);
    while i < bytes.len() {
        n = n * 10 + (bytes[i] - b'0') as u64;
        i += 1;
    }
    n
}

/// Seconds since 1970, whatever the clock says.
pub fn now() -> Seconds {
    Seconds(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()))
}

/// The time, unless the clock is before this program was built.
pub fn known() -> Option<Seconds> {
    let now = now();
    (now.0 >= BUILT).then_some(now)
}

/// Time since the kernel started, suspension included; zero where the kernel does not say.
pub fn since_boot() -> std::time::Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map_or(std::time::Duration::ZERO, Into::into)
}

/// Whether systemd-timesyncd has set the clock by a server in this boot. A clock that another program sets is not seen:
/// the kernel's own flag is behind adjtimex(2), for which there is no safe call here.
pub fn synchronised(paths: &Paths) -> bool {
    paths.host("/run/systemd/timesync/synchronized").exists()
}
