//! What happens inside of a machine, over its second serial port.
//!
//! The image has no login. QEMU's firmware tables give systemd a unit and a script as credentials, for this boot only:
//! the script runs the commands that arrive on the serial port and frames what they print.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::lines::Lines;

/// A command in a busy guest without hardware acceleration.
const ANSWER: Duration = Duration::from_secs(180);

const SCRIPT: &str = r#"exec </dev/ttyS1 >/dev/ttyS1 2>&1
stty raw -echo
read -r up rest </proc/uptime
printf '\n@@ up %s\n' "$up"
while read -r id command; do
  printf '\n@@ %s begin\n' "$id"
  sh -c "$command" </dev/null 2>&1
  printf '\n@@ %s end %s\n' "$id" "$?"
done
"#;

/// The port may not be there yet when the unit starts, and whoever cannot open it ends.
const UNIT: &str = "[Unit]
Description=Evidence for a test, on the second serial port
DefaultDependencies=no
ConditionPathExists=!/etc/initrd-release
Conflicts=shutdown.target
StartLimitIntervalSec=0
[Service]
Restart=on-failure
RestartSec=1
ExecStart=/bin/sh /run/credentials/@system/evidence.sh
";

const WANT: &str = "[Unit]\nWants=evidence.service\n";

/// A kernel filter that answers `done` to every fsync and does nothing: the program is the one of the release.
const UNSYNCED: &str = "[Service]\nSystemCallFilter=~fsync:0 fdatasync:0 sync:0 syncfs:0 sync_file_range:0 msync:0\n";

/// QEMU's arguments that bring the unit into a guest, and take fsync from this service of it.
pub fn arguments(unsynced: Option<&str>) -> Vec<String> {
    let mut credentials = vec![
        ("evidence.sh".to_owned(), SCRIPT),
        ("systemd.extra-unit.evidence.service".to_owned(), UNIT),
        ("systemd.unit-dropin.multi-user.target".to_owned(), WANT),
    ];
    credentials.extend(unsynced.map(|unit| (format!("systemd.unit-dropin.{unit}"), UNSYNCED)));
    let value = |(name, text): (String, &str)| {
        format!("type=11,value=io.systemd.credential.binary:{name}={}", base64(text.as_bytes()))
    };
    credentials.into_iter().flat_map(|c| ["-smbios".to_owned(), value(c)]).collect()
}

/// The conversation with one machine.
pub struct Evidence {
    stream: UnixStream,
    lines: Lines,
    /// Everything before this line belongs to earlier boots or questions.
    seen: usize,
    asked: u32,
}

impl Evidence {
    /// Connects to the serial port's socket; everything that arrives goes to the log too.
    pub fn connect(socket: &Path, log: &Path) -> Result<Evidence> {
        let stream = UnixStream::connect(socket)?;
        stream.set_write_timeout(Some(ANSWER))?;
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        Ok(Evidence { lines: Lines::read(stream.try_clone()?, log), stream, seen: 0, asked: 0 })
    }

    /// Waits until this boot can be asked; when that was, and the kernel's age at that moment.
    pub fn wait_up(&mut self, deadline: Instant) -> Result<(Instant, Duration)> {
        let pick = |line: &crate::lines::Line| {
            let uptime: f64 = line.text.strip_prefix("@@ up ")?.parse().ok()?;
            Some((line.at, Duration::from_secs_f64(uptime)))
        };
        let (at, up) = self.lines.wait(self.seen, deadline, "sign of life on the second serial port", pick)?;
        self.seen = at + 1;
        Ok(up)
    }

    /// What a shell command prints in the guest, stderr included.
    ///
    /// # Errors
    /// When there is no answer, or the command's exit status is not 0.
    pub fn ask(&mut self, command: &str) -> Result<String> {
        self.asked += 1;
        let (begin, end) = (format!("@@ {} begin", self.asked), format!("@@ {} end ", self.asked));
        let from = self.lines.count();
        self.stream.write_all(format!("{} {command}\n", self.asked).as_bytes())?;
        let deadline = Instant::now() + ANSWER;
        let what = format!("answer to `{command}`");
        let (first, ()) = self.lines.wait(from, deadline, &what, |l| (l.text == begin).then_some(()))?;
        let (last, status) =
            self.lines.wait(first, deadline, &what, |l| l.text.strip_prefix(&end).map(str::to_owned))?;
        self.seen = last + 1;
        let lines: Vec<String> = self.lines.all()[first + 1..last].iter().map(|l| l.text.clone()).collect();
        let text = lines.join("\n").trim_end().to_owned();
        let status: u32 = status.parse().context("the guest's shell answers nonsense")?;
        if status != 0 {
            bail!("`{command}` ended with {status} in the guest: {text}");
        }
        Ok(text)
    }
}

impl Drop for Evidence {
    fn drop(&mut self) {
        // The thread that reads has the socket open too, and QEMU lets nobody else in for as long; it may be gone.
        self.stream.shutdown(Shutdown::Both).ok();
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().enumerate().fold(0u32, |bits, (i, b)| bits | u32::from(*b) << (16 - 8 * i));
        for digit in 0..4 {
            let digit =
                if digit > chunk.len() { '=' } else { char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63]) };
            text.push(digit);
        }
    }
    text
}
