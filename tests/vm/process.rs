//! Commands of the host: run to their end, with a limit.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often something is looked at that cannot tell of a change by itself.
pub const TICK: Duration = Duration::from_millis(20);

/// What a command printed to stdout.
///
/// # Errors
/// With all it printed to stderr, when it fails or takes longer than the limit.
pub fn output(command: &mut Command, limit: Duration) -> Result<String> {
    let shown = shown(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {shown}"))?;
    let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let status = wait(&mut child, limit).with_context(|| format!("while running {shown}"));
    if status.is_err() {
        child.kill().and_then(|()| child.wait())?;
    }
    let [stdout, stderr] = [stdout, stderr].map(|t| t.join().unwrap_or_default());
    let status = status?;
    if !status.success() {
        bail!("{shown} failed ({status}): {}", stderr.trim());
    }
    Ok(stdout)
}

/// Waits for the end of a child.
pub fn wait(child: &mut Child, limit: Duration) -> Result<std::process::ExitStatus> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(TICK);
    }
    bail!("no end after {} s", limit.as_secs());
}

/// Does something again and again until it gives a value.
///
/// # Errors
/// The last reason why it gave none, when the limit is reached.
pub fn until<T>(what: &str, limit: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > deadline => {
                return Err(error.context(format!("no {what} after {} s", limit.as_secs())));
            }
            Err(_) => thread::sleep(TICK),
        }
    }
}

fn drain(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What was read until an error is still worth showing.
            stream.read_to_end(&mut bytes).ok();
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
