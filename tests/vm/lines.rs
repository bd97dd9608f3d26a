//! Lines that arrive from a machine, each with its moment; waiting for one that is yet to come.

use std::io::{BufRead, BufReader, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::sandbox;

/// A line and when it was complete.
#[derive(Clone, Debug)]
pub struct Line {
    /// When.
    pub at: Instant,
    /// Without terminal control sequences and line end.
    pub text: String,
}

/// All lines of a stream until now.
#[derive(Clone)]
pub struct Lines(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    lines: Vec<Line>,
    ended: bool,
}

impl Lines {
    /// Reads a stream in a thread of its own, copying every byte into the log.
    pub fn read(stream: impl Read + Send + 'static, mut log: impl Write + Send + 'static) -> Lines {
        let state = Mutex::new(State { lines: Vec::new(), ended: false });
        let lines = Lines(Arc::new(Shared { state, changed: Condvar::new() }));
        let shared = lines.clone();
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut bytes = Vec::new();
            while stream.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
                // A full disk must not stop the machine; the lines are still here.
                log.write_all(&bytes).ok();
                let line = Line { at: Instant::now(), text: plain(&String::from_utf8_lossy(&bytes)) };
                shared.state().lines.push(line);
                shared.0.changed.notify_all();
                bytes.clear();
            }
            shared.state().ended = true;
            shared.0.changed.notify_all();
        });
        lines
    }

    /// How many there are: where a later wait begins.
    pub fn count(&self) -> usize {
        self.state().lines.len()
    }

    /// A copy of those from this one on.
    pub fn from(&self, first: usize) -> Vec<Line> {
        self.state().lines.get(first..).unwrap_or_default().to_vec()
    }

    /// A copy of all.
    pub fn all(&self) -> Vec<Line> {
        self.state().lines.clone()
    }

    /// The first line from this one on for which `pick` gives a value, with its number.
    ///
    /// # Errors
    /// When the deadline passes or the stream ends before.
    pub fn wait<T>(
        &self,
        from: usize,
        deadline: Instant,
        what: &str,
        mut pick: impl FnMut(&Line) -> Option<T>,
    ) -> Result<(usize, T)> {
        let start = Instant::now();
        let mut state = self.state();
        let mut next = from;
        loop {
            while let Some(line) = state.lines.get(next) {
                if let Some(value) = pick(line) {
                    return Ok((next, value));
                }
                next += 1;
            }
            if state.ended {
                bail!("the machine ended before {what}");
            }
            if sandbox::interrupted() {
                bail!("interrupted while waiting for {what}");
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("no {what} within {:.0} s", start.elapsed().as_secs_f32());
            }
            state = match self.0.changed.wait_timeout(state, left.min(Duration::from_secs(1))) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Lines are only ever pushed whole, so a panic elsewhere leaves nothing half done.
        self.0.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The text without escape sequences and other control characters.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        if c == '\u{1b}' {
            if characters.next_if_eq(&'[').is_some() {
                while characters.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
            } else {
                characters.next();
            }
        } else if c == '\t' || !c.is_control() {
            plain.push(c);
        }
    }
    plain.trim_end().to_owned()
}
