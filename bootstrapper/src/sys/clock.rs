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

/// The time, unless the clock is before this program was built: good enough for the dates of certificates.
pub fn known() -> Option<Seconds> {
    let now = now();
    (now.0 >= BUILT).then_some(now)
}

/// The time, if somebody vouches for it: a time server in this boot, or a clock that ran while the machine was off.
///
/// A host without a time server has the latter, and it is believed wherever it is later than the image. systemd sets a
/// clock that is behind the image to the image's date (`/usr/lib/clock-epoch`), which looks honest and is a guess; so what
/// counts is when this boot began, and what the machine's own clock (rtc(4), where there is one) says by itself.
pub fn vouched(paths: &Paths) -> Option<Seconds> {
    let now = known()?;
    let image = std::fs::metadata(paths.host("/usr/lib/clock-epoch")).ok().and_then(|meta| meta.modified().ok());
    let image = image.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0, |time| time.as_secs());
    let rtc = std::fs::read_to_string(paths.host("/sys/class/rtc/rtc0/since_epoch"));
    let rtc = rtc.ok().and_then(|text| text.trim().parse().ok());
    (synchronised(paths) || kept(now.0, since_boot().as_secs(), rtc, image.max(BUILT))).then_some(now)
}

/// Whether a clock that says `now` this long after the kernel's start has run since before that: a machine boots only
/// after its image was made.
fn kept(now: u64, up: u64, rtc: Option<u64>, image: u64) -> bool {
    now.saturating_sub(up) > image && rtc.is_none_or(|rtc| rtc > image)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_kept_when_it_was_ahead_of_the_image_as_the_machine_was_switched_on() {
        const IMAGE: u64 = 1_780_000_000;
        for (what, now, up, rtc, expected) in [
            ("a machine's own clock", IMAGE + 90 * 86400, 20, Some(IMAGE + 90 * 86400), true),
            ("a clock of the hypervisor's, without rtc(4)", IMAGE + 90 * 86400, 20, None, true),
            ("set to the image's date by systemd", IMAGE + 17, 20, None, false),
            ("that, and up for a month", IMAGE + 30 * 86400 - 3, 30 * 86400, None, false),
            ("that, beside a battery that is empty", IMAGE + 17, 20, Some(946_684_800), false),
            ("set to the last shutdown by timesyncd, the battery empty", IMAGE + 86400, 20, Some(946_684_800), false),
        ] {
            assert_eq!(kept(now, up, rtc, IMAGE), expected, "{what}");
        }
    }
}
