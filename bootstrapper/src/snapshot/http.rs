//! One request for a snapshot and what a server can answer to it.

use std::error::Error as _;
use std::time::Duration;

use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, IF_RANGE, RANGE,
    RETRY_AFTER,
};
use reqwest::{Client, Response, StatusCode, Url};
use tokio::time::timeout;

use super::sidecar::Version;

/// Longest wait that a server may ask for.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(60);

/// Bytes of an error's body that are looked at, and characters of it that are quoted.
const EXCERPT: usize = 2048;
const QUOTED: usize = 160;

/// Why a transfer did not go on.
pub enum Setback {
    /// Trying again may help.
    Passing {
        /// What happened.
        why: String,
        /// When the server wants to be asked again.
        after: Option<Duration>,
    },
    /// The object is another one now, or the server lost count: only the first byte is sure.
    Restart {
        /// What happened.
        why: String,
    },
    /// Nothing will help but a person.
    Final(anyhow::Error),
}

impl Setback {
    /// A setback that may pass.
    pub fn passing(why: impl Into<String>) -> Setback {
        Setback::Passing { why: why.into(), after: None }
    }
    /// A setback that this source will not get over.
    pub fn unavailable(why: String) -> Setback {
        Setback::Final(Unreached(why).into())
    }
}

/// The source does not deliver; what came so far is good for another attempt.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreached(pub String);

impl From<anyhow::Error> for Setback {
    fn from(error: anyhow::Error) -> Setback {
        Setback::Final(error)
    }
}

/// An answer whose body begins at the byte that was asked for, or at the first.
pub struct Answered {
    /// With the body.
    pub response: Response,
    /// Byte of the object that it begins with.
    pub from: u64,
    /// Of which object.
    pub version: Version,
}

/// Asks for the bytes from `from` on of the object that `known` tells, up to the byte `end` where one is given; an answer
/// that begins with the first byte may hold more.
///
/// # Errors
/// A setback in words that follow the name of the place.
pub async fn ask(
    client: &Client,
    url: &Url,
    (from, end): (u64, Option<u64>),
    known: &Version,
    idle: Duration,
) -> Result<Answered, Setback> {
    // A snapshot is hashed as it is; a server that compresses on the way must not.
    let mut request = client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
    if from > 0 {
        let last = end.map_or(String::new(), |end| (end - 1).to_string());
        request = request.header(RANGE, format!("bytes={from}-{last}"));
        if let Some(strong) = known.etag.as_deref().filter(|e| !e.starts_with("W/")) {
            request = request.header(IF_RANGE, strong);
        }
    }
    let response = match timeout(idle, request.send()).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(failed(error)),
        Err(_) => return Err(Setback::passing(format!("no answer for {} s", idle.as_secs()))),
    };
    let headers = response.headers();
    if let Some(encoding) = text(headers, &CONTENT_ENCODING).filter(|e| *e != "identity") {
        return Err(Setback::unavailable(format!(
            "it sends the snapshot with Content-Encoding {encoding:?}: store it without one"
        )));
    }
    let etag = text(headers, &ETAG).map(str::to_owned);
    match response.status() {
        StatusCode::OK => {
            let total = text(headers, &CONTENT_LENGTH).and_then(|l| l.parse().ok());
            Ok(Answered { response, from: 0, version: Version { etag, total, place: None } })
        }
        StatusCode::PARTIAL_CONTENT if from > 0 => {
            let total = ranged(headers, (from, end), known)?;
            if known.etag.is_some() && etag.is_some() && known.etag != etag {
                return Err(Setback::Restart { why: "the object changed while it was downloaded".into() });
            }
            Ok(Answered {
                response,
                from,
                version: Version { etag: etag.or(known.etag.clone()), total: Some(total), place: None },
            })
        }
        StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PRECONDITION_FAILED if from > 0 => {
            Err(Setback::Restart { why: "the object changed while it was downloaded".into() })
        }
        status => Err(refused(status, response, url, idle).await),
    }
}

/// The total of a `Content-Range` that says what was asked for.
fn ranged(headers: &HeaderMap, (from, end): (u64, Option<u64>), known: &Version) -> Result<u64, Setback> {
    let range = text(headers, &CONTENT_RANGE).unwrap_or_default();
    let parsed = range.strip_prefix("bytes ").and_then(|r| {
        let (span, total) = r.split_once('/')?;
        let (first, last) = span.split_once('-')?;
        Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?, total.parse::<u64>().ok()?))
    });
    match parsed {
        Some((first, last, total)) if first == from && last < end.unwrap_or(total).min(total) => match known.total {
            Some(before) if before != total => {
                Err(Setback::Restart { why: format!("the object had {before} bytes and has {total} now") })
            }
            Some(_) | None => Ok(total),
        },
        Some(_) | None => Err(Setback::Restart {
            why: format!("asked for the bytes from {from} on, it sent Content-Range {range:?}"),
        }),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// A request without an answer.
fn failed(error: reqwest::Error) -> Setback {
    let why = cause(&error);
    if error.is_redirect() {
        return Setback::unavailable(why);
    }
    if let Some((_, said)) = why.split_once("tunnel error: ") {
        return match said {
            "proxy authorization required" => Setback::unavailable(
                "its proxy wants a user and a password, or others: write `restore.proxy` as \
                 http://USER:PASSWORD@HOST:PORT"
                    .into(),
            ),
            // Whatever it answered but 200 and 407 comes as this.
            "unsuccessful" => Setback::passing(
                "its proxy refuses to connect to it: let the proxy allow this host and port, or name another below \
                 `restore.proxy`",
            ),
            _ => Setback::passing(why),
        };
    }
    match certificate(&error) {
        Some(why) => Setback::unavailable(format!(
            "its certificate is not accepted: {why}; a site's own CA belongs into /etc/etcd-bootstrapper/roots.pem"
        )),
        None => Setback::passing(why),
    }
}

/// Why the server's certificate was refused, when that is the reason.
fn certificate(error: &reqwest::Error) -> Option<String> {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(rustls::Error::InvalidCertificate(why)) = inner.downcast_ref() {
            return Some(why.to_string());
        }
        // An io::Error is passed over by source(): it shows the source of what it holds.
        let held = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        source = held.map(|held| held as &dyn std::error::Error).or_else(|| inner.source());
    }
    None
}

/// The innermost two reasons of an error, which never hold the URL.
pub fn cause(error: &reqwest::Error) -> String {
    let mut chain: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(inner) = source {
        let text = inner.to_string();
        // rustls explains itself with a link.
        let text = text.split(": https://").next().unwrap_or_default().to_owned();
        if chain.last().is_none_or(|last| !last.contains(&text)) {
            chain.push(text);
        }
        source = inner.source();
    }
    match chain.as_slice() {
        [] => if error.is_timeout() { "timed out" } else { "the connection failed" }.into(),
        [.., outer, inner] => format!("{outer}: {inner}"),
        [only] => only.clone(),
    }
}

/// An answer that is not the snapshot.
async fn refused(status: StatusCode, response: Response, url: &Url, idle: Duration) -> Setback {
    let after = text(response.headers(), &RETRY_AFTER).and_then(|s| s.parse().ok()).map(Duration::from_secs);
    let said = excerpt(response, url, idle).await;
    let why = format!("it answered {status}{said}");
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => passing_after(why, after),
        _ if status.is_server_error() => passing_after(why, after),
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
            Setback::unavailable(format!("{why}; a presigned URL may have expired: make a new one"))
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => Setback::unavailable(format!("{why}; check the path")),
        _ => Setback::unavailable(why),
    }
}

fn passing_after(why: String, after: Option<Duration>) -> Setback {
    Setback::Passing { why, after: after.map(|a| a.min(RETRY_AFTER_LIMIT)) }
}

/// The beginning of an error's body on one line; empty when there is none, or when it repeats the URL's query.
async fn excerpt(mut response: Response, url: &Url, idle: Duration) -> String {
    let mut body = Vec::new();
    while body.len() < EXCERPT {
        match timeout(idle.min(Duration::from_secs(5)), response.chunk()).await {
            Ok(Ok(Some(piece))) => body.extend_from_slice(&piece),
            Ok(Ok(None) | Err(_)) | Err(_) => break,
        }
    }
    body.truncate(EXCERPT);
    let body = String::from_utf8_lossy(&body);
    // What a store says is in its XML; the rest of that may repeat the signed request.
    let store =
        [element(&body, "Code"), element(&body, "Message")].into_iter().flatten().collect::<Vec<_>>().join(": ");
    let said = if store.is_empty() { body.split_whitespace().collect::<Vec<_>>().join(" ") } else { store };
    let secret = url.query_pairs().any(|(_, value)| value.len() >= 4 && said.contains(value.as_ref()));
    let secret = secret || url.query().is_some_and(|q| said.contains(q));
    let said: String = said.chars().filter(|c| !c.is_control()).take(QUOTED).collect();
    if said.is_empty() || secret { String::new() } else { format!(" ({said})") }
}

fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(value, _)| value)
}
