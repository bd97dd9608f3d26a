//! A secret behind a URL: over TLS by the site's trust, from the very host that is named.

use plan::source::{Remote, is_of_the_link};
use plan::spec::Secret;
use reqwest::Url;

use super::{Trouble, http};
use crate::exit::Exit;
use crate::paths::Paths;
use crate::secrets;
use crate::snapshot::source::{client_of_apis, place, roots};

/// The text that lies there; the URL's query, which may be a password, is in no error.
///
/// # Errors
/// 65 for what is too large, no text or not the pinned one, 69 for what is not there, 75 for what may be over soon, 77 for a
/// refusal.
pub async fn read(remote: &Remote, paths: &Paths) -> Result<Secret, Trouble> {
    let url = Url::parse(remote.url.reveal())
        .map_err(|error| Trouble::new(Exit::BadInput, format!("the URL cannot be understood: {error}")))?;
    let place = place(&url);
    let of_the_link = url.host_str().is_some_and(|host| is_of_the_link(host.trim_matches(['[', ']'])));
    if url.scheme() != "https" || of_the_link {
        return Err(Trouble::new(Exit::BadInput, format!("{place} is nothing that a secret is read from")));
    }
    let client =
        client_of_apis(&roots(paths)).map_err(|error| Trouble::new(Exit::of(&error), format!("{place}: {error:#}")))?;
    let unavailable = |why: &str| Trouble::new(Exit::Unavailable, format!("{place}: {why}"));
    let response =
        client.get(url).timeout(http::SILENCE).send().await.map_err(|error| unavailable(&http::why(error)))?;
    let (status, after) = (response.status().as_u16(), http::retry_after(&response));
    let (exit, why) = match status {
        200 => {
            let text = http::body(response).await.map_err(|why| unavailable(&why))?;
            return secrets::as_pinned(Secret::new(text), remote.sha256.as_ref(), &place)
                .map_err(|error| Trouble::new(Exit::of(&error), format!("{error:#}")));
        }
        300..=399 => {
            let to = response.headers().get("location").and_then(|to| Url::parse(to.to_str().ok()?).ok());
            let to = to.map_or_else(|| "elsewhere".to_owned(), |to| format!("to {}", host_of(&to)));
            (
                Exit::Unavailable,
                format!("it redirects {to}, which is not followed: write the URL where the secret lies"),
            )
        }
        401 | 403 => (Exit::Permission, "it refuses: a presigned URL may have ended, or this host may not".to_owned()),
        404 | 410 => (Exit::Unavailable, "there is nothing: put the secret there, or correct the URL".to_owned()),
        408 | 425 | 429 | 500.. => (Exit::TryAgain, "it is asked again later".to_owned()),
        _ => (Exit::Unavailable, "that is no answer with a secret: look at the URL".to_owned()),
    };
    Err(Trouble { exit, text: format!("{place} was answered HTTP {status}; {why}"), after })
}

/// Scheme and host: where a redirect leads may be as secret as where it came from.
fn host_of(url: &Url) -> String {
    format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default())
}
