//! What a store can answer that is no answer, in words for a person.

use std::error::Error as _;

use plan::spec::Timestamp;

use crate::sys::clock;

/// Characters of a server's own words that are quoted.
const QUOTED: usize = 200;

/// Why something is not known, or was perhaps not done.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// There is no such object; inside this module only, since a missing bucket looks alike.
    #[error("there is no such object")]
    Absent,
    /// The condition of a write does not hold; inside this module only.
    #[error("another object is there")]
    Conflict,
    /// The store does not let this host: a person has to give it the right.
    #[error("{0}")]
    Denied(String),
    /// The store does not answer, or answers that it cannot now: it may later.
    #[error("{0}")]
    Unreached(String),
    /// What is there cannot be used: a person has to look.
    #[error("{0}")]
    Unfit(String),
}

/// Where cloud instances ask who they are.
const IDENTITY: [&str; 4] = ["169.254.169.254", "169.254.170.2", "169.254.170.23", "metadata.google.internal"];

/// The trouble that this error of the client is; `what` is a clause such as `cannot read s3://bucket/claim.json`.
pub(crate) fn of(error: &object_store::Error, what: &str) -> Trouble {
    use object_store::Error;
    let text = error.to_string();
    if let Some(service) = IDENTITY.iter().find(|service| text.contains(&format!("//{service}"))) {
        return Trouble::Unreached(format!(
            "{what}: this instance's own identity is not known, as {service} says: {}; attach a role that may use the \
             store, or write `store.credentials`",
            why(error, &text)
        ));
    }
    if text.contains("RequestTimeTooSkewed") {
        let now = Timestamp(clock::now());
        return Trouble::Unreached(format!(
            "{what}: {}; this host's clock says {now}: give it a time server it can reach, or set it",
            why(error, &text)
        ));
    }
    match error {
        Error::NotFound { .. } => Trouble::Absent,
        Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. } => Trouble::Conflict,
        // A listing's have no kind of their own.
        _ if matches!(status(&text), Some("401" | "403")) => Trouble::Denied(format!(
            "{what}: {}; give this host's identity the right to list the prefix and to read and write its objects, and \
             look at this host's clock",
            why(error, &text)
        )),
        Error::NotSupported { .. } | Error::NotImplemented { .. } | Error::InvalidPath { .. } => {
            Trouble::Unfit(format!("{what}: {}", why(error, &text)))
        }
        _ if status(&text) == Some("501") => Trouble::Unfit(format!(
            "{what}: {}; the store has to know conditional writes (If-Match and If-None-Match)",
            why(error, &text)
        )),
        _ => Trouble::Unreached(format!("{what}: {}", why(error, &text))),
    }
}

/// The digits of the status that the server answered with, if it answered.
fn status(text: &str) -> Option<&str> {
    text.split_once("status code: ").and_then(|(_, said)| said.get(..3))
}

/// The error of the client in a line: all that is shown of it, as a server's answer may repeat the token that it was asked with.
pub(crate) fn words(error: &object_store::Error) -> String {
    why(error, &error.to_string())
}

/// The server's words where it said any, else the innermost cause.
fn why(error: &object_store::Error, text: &str) -> String {
    if let Some((_, said)) = text.split_once("status code: ") {
        let (status, body) = said.split_once(": ").unwrap_or((said, ""));
        let part = |tag: &str| {
            let (_, rest) = body.split_once(&format!("<{tag}>"))?;
            rest.split_once(&format!("</{tag}>")).map(|(part, _)| part)
        };
        let said = match (part("Code"), part("Message")) {
            (Some(code), Some(message)) => format!("{code}, {message}"),
            (Some(said), None) | (None, Some(said)) => said.to_owned(),
            (None, None) => body.to_owned(),
        };
        return format!("the server answered {status} {}", short(&said)).trim_end().to_owned();
    }
    let mut innermost: &dyn std::error::Error = error;
    let mut source = error.source();
    while let Some(inner) = source {
        innermost = inner;
        source = inner.source();
    }
    short(&innermost.to_string())
}

fn short(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line: String = words.join(" ").chars().filter(|c| !c.is_control()).collect();
    if line.chars().count() > QUOTED { line.chars().take(QUOTED).collect::<String>() + "…" } else { line }
}
