//! How long nothing new may come from a source.

use std::time::{Duration, Instant};

/// First pause before another attempt; doubled up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// How long no new byte may come, and how long to pause until then.
pub struct Patience {
    limit: Duration,
    since: Instant,
    most: u64,
    pause: Duration,
}

impl Patience {
    /// So much, from now on.
    pub fn new(limit: Duration) -> Patience {
        Patience { limit, since: Instant::now(), most: 0, pause: FIRST_PAUSE }
    }

    /// The pause before the next attempt; `None` when there is none. Bytes that came before do not count again.
    pub fn pause(&mut self, bytes: u64, after: Option<Duration>) -> Option<Duration> {
        if bytes > self.most {
            (self.most, self.since, self.pause) = (bytes, Instant::now(), FIRST_PAUSE);
        }
        let left = self.limit.checked_sub(self.since.elapsed())?;
        let pause = after.unwrap_or(self.pause);
        self.pause = (self.pause * 2).min(LAST_PAUSE);
        Some(pause.min(left))
    }
}
