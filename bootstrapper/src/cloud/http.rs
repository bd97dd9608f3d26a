//! What requests to all providers have in common: bounded bodies, whole timeouts, nothing of a redirect.

use std::time::Duration;

use anyhow::Result;
use reqwest::{Client, Response};

use crate::paths::Paths;
use crate::snapshot::source;
use crate::store;

/// For one request, from its start to the end of its answer.
pub(super) const SILENCE: Duration = Duration::from_secs(10);

/// Largest answer, bytes; a page of a thousand instances is smaller.
const LIMIT: usize = 8 << 20;

/// A client of a provider's API, or in the clear of a metadata service or a server of one's own.
///
/// # Errors
/// When no server can be trusted.
pub(super) fn client(paths: &Paths, clear: bool) -> Result<Client> {
    if clear { store::in_the_clear() } else { source::client_of_apis(&source::roots(paths)) }
}

/// The whole body, as text.
///
/// # Errors
/// When it ends early, is too large, or is no text.
pub(super) async fn body(mut response: Response) -> Result<String, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(why)? {
        if bytes.len() + chunk.len() > LIMIT {
            return Err(format!("answered more than {} MiB", LIMIT >> 20));
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| "answered what is no text".into())
}

/// `Retry-After` where it is a number of seconds.
pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    response.headers().get("retry-after")?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// Why a request failed, with all causes and without its URL.
pub(super) fn why(error: reqwest::Error) -> String {
    let late = error.is_timeout();
    let text = format!("{:#}", anyhow::Error::new(error.without_url()));
    if late { format!("has not answered within {} s ({text})", SILENCE.as_secs()) } else { text }
}

/// A text for a query or a form, every byte but the unreserved ones of RFC 3986 encoded.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
}

/// Answers that are given in their order where nobody is asked, each a status and a body, and 404 after them.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) struct Script(std::sync::Mutex<std::collections::VecDeque<(u16, String)>>);

#[cfg(any(test, feature = "fuzzing"))]
impl Script {
    pub(super) fn of(answers: impl IntoIterator<Item = (u16, String)>) -> Script {
        Script(std::sync::Mutex::new(answers.into_iter().collect()))
    }

    pub(super) fn next(&self) -> (u16, String) {
        self.0.lock().ok().and_then(|mut left| left.pop_front()).unwrap_or((404, String::new()))
    }
}

/// The beginning of a message, on one line.
pub(super) fn short(message: &str) -> String {
    message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}
