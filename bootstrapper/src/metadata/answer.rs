//! What a metadata service can answer, and how long to wait before it is asked again.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::time::Duration;

use anyhow::Result;
use hyper::header::{DATE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use hyper::{StatusCode, Uri};
use nix::errno::Errno;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::service::passes;
use crate::exit::Exit;
use crate::sys::random;

/// The longest wait that a service may ask for.
const AFTER: Duration = Duration::from_secs(10);

/// An answer. No Debug: it may hold secrets.
pub struct Answer {
    /// Method and URL.
    pub asked: String,
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// This answer, unless it will be another one soon, or sends us elsewhere.
    ///
    /// # Errors
    /// What to do instead of going on.
    pub fn stays(self, name: &str, passing: &[u16]) -> Result<Answer, Trouble> {
        let status = self.status;
        if passes(status) || passing.contains(&status.as_u16()) {
            let after = self.headers.get(RETRY_AFTER).map(|_| after(&self.headers));
            return Err(Trouble::Busy { why: format!("{} answered {status}", self.asked), status, after });
        }
        if status.is_redirection() {
            let to = text(&self.headers, &LOCATION).unwrap_or_default();
            let host = to.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
            return Err(Trouble::Final(Exit::Unavailable.because(format!(
                "{} answered {status} and points to {}, which is not followed: something between this machine and {name} \
                 answers in its place; expected: an answer of the service itself",
                self.asked,
                host.unwrap_or_else(|| "another path".into())
            ))));
        }
        Ok(self)
    }

    /// The body; `None` where the service has nothing of that name.
    ///
    /// # Errors
    /// 69 for any other refusal.
    pub fn body(self) -> Result<Option<Vec<u8>>> {
        match self.status {
            StatusCode::NOT_FOUND | StatusCode::NO_CONTENT => Ok(None),
            status if status.is_success() => Ok(Some(self.bytes)),
            _ => Err(self.refused("200, or 404 for what is not there")),
        }
    }

    /// The error for a status that stays, with what was expected and what to do.
    pub fn refused(&self, expected: &str) -> anyhow::Error {
        let hint = match self.status.as_u16() {
            400 => "the service does not know this request; is it another platform's?",
            401 => "the service does not accept the token",
            403 => "the metadata service is disabled for this instance: enable it in the instance's metadata options",
            404 => "is this another platform's service?",
            _ => "check the instance's metadata options",
        };
        Exit::Unavailable.because(format!("{} answered {}; expected {expected}; {hint}", self.asked, self.status))
    }

    /// The body of a document that must be there, as JSON.
    ///
    /// # Errors
    /// 69 when it is not there, 65 when it is no JSON.
    pub fn json(self) -> Result<serde_json::Value> {
        if !self.status.is_success() || self.status == StatusCode::NO_CONTENT {
            return Err(self.refused("200 with the instance's document"));
        }
        serde_json::from_slice(&self.bytes).map_err(|error| {
            // serde_json never quotes the input.
            Exit::BadInput.because(format!(
                "{} did not send JSON: {error}; {}expected the instance's document; is something answering in the \
                 service's place?",
                self.asked,
                begins(&self.bytes)
            ))
        })
    }
}

/// How a body begins, where that is a page for people.
fn begins(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(64)]);
    let first: String = text.trim_start().chars().take_while(|c| !c.is_control()).take(20).collect();
    if first.starts_with('<') { format!("it begins `{first}`; ") } else { String::new() }
}

/// Why there is no answer that stays.
pub enum Trouble {
    /// No route leads there, or no address is here: the kernel will tell.
    NoRoute {
        /// In words.
        why: String,
    },
    /// Something forbids the connection: a `prohibit` route, as systemd-imdsd sets it.
    Locked,
    /// Nobody is there.
    Silent {
        /// In words.
        why: String,
    },
    /// Somebody takes the connection, and no whole answer comes.
    Unanswered {
        /// In words.
        why: String,
    },
    /// A connection broke in the middle.
    Broken {
        /// In words.
        why: String,
    },
    /// The service says to come again.
    Busy {
        /// In words.
        why: String,
        /// What it said.
        status: StatusCode,
        /// When it wants to be asked again, if it says.
        after: Option<Duration>,
    },
    /// Nothing will help but a person.
    Final(anyhow::Error),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::NoRoute { why }
            | Trouble::Silent { why }
            | Trouble::Unanswered { why }
            | Trouble::Broken { why }
            | Trouble::Busy { why, .. } => f.write_str(why),
            Trouble::Locked => f.write_str("a route forbids to ask it"),
            Trouble::Final(error) => write!(f, "{error:#}"),
        }
    }
}

impl Trouble {
    /// Nobody answers.
    pub fn silent(why: impl Into<String>) -> Trouble {
        Trouble::Silent { why: why.into() }
    }

    /// What a connection failed of.
    pub fn of(error: &io::Error, place: &str) -> Trouble {
        let why = format!("{place}: {error}");
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EADDRNOTAVAIL | Errno::ENODEV) => {
                Trouble::NoRoute { why }
            }
            Some(Errno::EACCES) => Trouble::Locked,
            Some(_) | None => Trouble::Silent { why },
        }
    }

    /// Of what two ways ended in, what says more; what a service said says more than silence.
    pub fn worse(one: Option<Trouble>, other: Trouble) -> Trouble {
        let weight = |trouble: &Trouble| match trouble {
            Trouble::NoRoute { .. } => 0,
            Trouble::Silent { .. } => 1,
            Trouble::Unanswered { .. } | Trouble::Broken { .. } => 2,
            Trouble::Busy { .. } => 3,
            Trouble::Final(_) => 4,
            Trouble::Locked => 5,
        };
        match one {
            Some(one) if weight(&one) >= weight(&other) => one,
            Some(_) | None => other,
        }
    }

    /// As an error.
    pub fn into_error(self) -> anyhow::Error {
        match self {
            Trouble::Final(error) => error,
            other => Exit::TryAgain.because(other.to_string()),
        }
    }
}

/// The two innermost reasons of an error of a connection.
pub fn reason(error: &hyper::Error) -> String {
    match error.source() {
        Some(inner) => format!("{error}: {inner}"),
        None => error.to_string(),
    }
}

/// How long is waited before the next try of one request.
#[derive(Default)]
pub struct Patience {
    broke: bool,
    tries: u32,
}

impl Patience {
    /// Whether a connection broke for the first time: a service closes one that it has kept too long.
    pub fn first_break(&mut self) -> bool {
        !std::mem::replace(&mut self.broke, true)
    }

    /// After a connection that failed: a try costs nothing, and whoever comes late is to be heard within a second.
    pub fn for_a_connection(&mut self) -> Result<Duration> {
        self.next(Duration::from_millis(50), Duration::from_millis(800))
    }

    /// After an answer: as the service says, else a while.
    pub fn for_an_answer(&mut self, status: StatusCode, after: Option<Duration>) -> Result<Duration> {
        let own = if status == StatusCode::TOO_MANY_REQUESTS {
            self.next(Duration::from_secs(1), Duration::from_secs(4))?
        } else {
            self.next(Duration::from_millis(50), Duration::from_secs(2))?
        };
        Ok(after.map_or(own, |after| after.max(own)).min(AFTER))
    }

    /// Doubles, less up to a fifth: many machines that were started together must not go on in step.
    fn next(&mut self, first: Duration, most: Duration) -> Result<Duration> {
        let whole = first.saturating_mul(1 << self.tries.min(16)).min(most);
        self.tries += 1;
        let [jitter] = random::bytes::<1>()?;
        Ok(whole - whole * u32::from(jitter) / (5 * 256))
    }
}

/// What `Retry-After` asks for: seconds, or a date held against the service's own; a second when it is neither.
fn after(headers: &HeaderMap) -> Duration {
    let said = text(headers, &RETRY_AFTER).unwrap_or_default().trim();
    if let Ok(seconds) = said.parse::<u64>() {
        return Duration::from_secs(seconds).min(AFTER);
    }
    let moment = |text: &str| OffsetDateTime::parse(text, &Rfc2822).ok();
    let wait = moment(said).zip(text(headers, &DATE).and_then(moment)).map(|(then, now)| then - now);
    wait.map_or(Duration::from_secs(1), |wait| Duration::try_from(wait).unwrap_or_default().min(AFTER))
}

/// The text of a header.
pub fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_may_say_when_to_come_again_within_bounds() {
        const NOW: &str = "Sat, 21 Nov 2026 10:00:00 GMT";
        for (said, date, expected) in [
            ("2", None, 2),
            ("3600", None, 10),
            ("Sat, 21 Nov 2026 10:00:04 GMT", Some(NOW), 4),
            ("Sat, 21 Nov 2026 11:00:00 GMT", Some(NOW), 10),
            ("Sat, 21 Nov 2026 09:00:00 GMT", Some(NOW), 0),
            // Without the service's own clock a date says nothing: ours may be of 1970.
            ("Sat, 21 Nov 2026 10:00:04 GMT", None, 1),
            ("soon", Some(NOW), 1),
            ("-1", None, 1),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, said.parse().unwrap());
            if let Some(date) = date {
                headers.insert(DATE, date.parse().unwrap());
            }
            assert_eq!(after(&headers), Duration::from_secs(expected), "{said}");
        }
    }

    #[test]
    fn a_service_that_was_asked_too_often_is_asked_less_than_thirty_times_a_minute() {
        for after in [None, Some(Duration::ZERO)] {
            let (mut patience, mut waited, mut tries) = (Patience::default(), Duration::ZERO, 0);
            while waited < Duration::from_secs(60) {
                waited += patience.for_an_answer(StatusCode::TOO_MANY_REQUESTS, after).unwrap();
                tries += 1;
                assert!(tries < 30, "{after:?}: {waited:?}");
            }
        }
    }

    #[test]
    fn a_service_that_comes_late_is_asked_within_a_second() {
        let mut patience = Patience::default();
        for _ in 0..200 {
            assert!(patience.for_a_connection().unwrap() < Duration::from_secs(1));
        }
    }
}
