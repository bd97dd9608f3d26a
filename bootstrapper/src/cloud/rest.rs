//! JSON over https with a token of the instance's own, as Google and Microsoft have it.

use std::time::Duration;

use anyhow::Result;
use reqwest::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use super::{Trouble, http};
use crate::exit::Exit;
use crate::metadata;
use crate::metadata::providers::Provider;
use crate::paths::Paths;

/// How an API is asked.
#[derive(Clone, Copy)]
pub(super) enum Method {
    Get,
    Post,
}

/// One endpoint.
pub(super) struct Rest {
    endpoint: String,
    paths: Paths,
    /// Whose metadata service is at an address that every network may have.
    platform: Option<Provider>,
    clients: OnceCell<(Client, Client)>,
    #[cfg(any(test, feature = "fuzzing"))]
    scripted: Option<http::Script>,
}

impl Rest {
    pub(super) fn of(endpoint: String, paths: &Paths) -> Rest {
        Rest {
            endpoint,
            paths: paths.clone(),
            platform: None,
            clients: OnceCell::new(),
            #[cfg(any(test, feature = "fuzzing"))]
            scripted: None,
        }
    }

    /// One that nobody asks: these are its answers.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn scripted(endpoint: String, paths: &Paths, answers: http::Script) -> Rest {
        Rest { scripted: Some(answers), ..Rest::of(endpoint, paths) }
    }

    /// The same on machines of this platform alone.
    pub(super) fn on(self, platform: Provider) -> Rest {
        Rest { platform: Some(platform), ..self }
    }

    /// For the API, and for the metadata service.
    async fn clients(&self) -> Result<&(Client, Client), Trouble> {
        let open = || async {
            let clear = self.endpoint.starts_with("http://");
            Ok((http::client(&self.paths, clear)?, http::client(&self.paths, true)?))
        };
        let opened: Result<_> = self.clients.get_or_try_init(open).await;
        opened.map_err(|error| Trouble::new(Exit::of(&error), format!("{}: {error:#}", self.endpoint)))
    }

    /// What the metadata service says, when it shows the header that it must.
    ///
    /// # Errors
    /// When it says nothing, or is somebody else.
    pub(super) async fn metadata(
        &self,
        url: &str,
        header: (&str, &str),
        shows: Option<(&str, &str)>,
    ) -> Result<String, Trouble> {
        let place = url.split('?').next().unwrap_or_default();
        let unavailable = |why: &str| Trouble::new(Exit::Unavailable, format!("the metadata service {place} {why}"));
        if let Some(platform) = self.platform.filter(|platform| !metadata::is_vouched_for(&self.paths, *platform)) {
            let why = format!(
                "the metadata service {place} is not asked: this machine's firmware does not say that it is one of {platform}, \
                 and whoever answers there could be anybody; if it is, write etcd_bootstrapper.provider={platform} on the \
                 kernel command line, else another `discovery`"
            );
            return Err(Trouble::new(Exit::BadInput, why));
        }
        #[cfg(any(test, feature = "fuzzing"))]
        if let Some(answers) = &self.scripted {
            let (status, body) = answers.next();
            return if status == 200 { Ok(body) } else { Err(unavailable(&format!("answers HTTP {status}"))) };
        }
        let (_, client) = self.clients().await?;
        let request = client.get(url).header(header.0, header.1).timeout(http::SILENCE);
        let response = request.send().await.map_err(|error| unavailable(&http::why(error)))?;
        let (status, after) = (response.status().as_u16(), http::retry_after(&response));
        let shown = |(name, value): (&str, &str)| response.headers().get(name).is_some_and(|v| v == value);
        if !shows.is_none_or(shown) {
            return Err(unavailable("is not who it should be: its answer lacks the header that proves it"));
        }
        if status == 200 {
            return http::body(response).await.map_err(|why| unavailable(&why));
        }
        let why = match status {
            400 | 404 => {
                "knows nothing of that: give the machine a service account or managed identity, or write the group's or project's name"
            }
            429 | 500.. => "is busy: it is asked again",
            _ => "refuses",
        };
        Err(Trouble { after, ..unavailable(&format!("answers HTTP {status}: it {why}")) })
    }

    /// An answer of the API, `None` for 404.
    ///
    /// # Errors
    /// Whatever is no answer; where a permission is missing its name.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        permission: &str,
        token: &str,
    ) -> Result<Option<T>, Trouble> {
        let Some(text) = self.text(method, path, permission, token).await? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|error| {
            let why = format!("{}: answered what is no such answer: {error}", self.place(path));
            Trouble::new(Exit::Unavailable, why)
        })
    }

    /// The text of an answer, `None` for 404; nothing of it is in any error.
    ///
    /// # Errors
    /// As [`Rest::get`].
    pub(super) async fn text(
        &self,
        method: Method,
        path: &str,
        permission: &str,
        token: &str,
    ) -> Result<Option<String>, Trouble> {
        let place = self.place(path);
        let unavailable = |why: &str| Trouble::new(Exit::Unavailable, format!("{place}: {why}"));
        #[cfg(any(test, feature = "fuzzing"))]
        if let Some(answers) = &self.scripted {
            return match answers.next() {
                (200, body) => Ok(Some(body)),
                (404, _) => Ok(None),
                (status, body) => Err(refused(&place, permission, status, None, &body)),
            };
        }
        let (client, _) = self.clients().await?;
        let url = format!("{}{path}", self.endpoint);
        let request = match method {
            Method::Get => client.get(url),
            Method::Post => client.post(url).header("content-length", "0"),
        };
        let request = request.bearer_auth(token).timeout(http::SILENCE);
        let response = request.send().await.map_err(|error| unavailable(&http::why(error)))?;
        match response.status().as_u16() {
            200 => {}
            404 => return Ok(None),
            status => {
                let after = http::retry_after(&response);
                let said = http::body(response).await.unwrap_or_default();
                return Err(refused(&place, permission, status, after, &said));
            }
        }
        http::body(response).await.map(Some).map_err(|why| unavailable(&why))
    }

    fn place(&self, path: &str) -> String {
        format!("{}{}", self.endpoint, path.split('?').next().unwrap_or_default())
    }

    /// The path of a link to this very endpoint.
    ///
    /// # Errors
    /// When it leads elsewhere.
    pub(super) fn own_path(&self, link: &str) -> Result<String, Trouble> {
        let path = link.strip_prefix(&self.endpoint).filter(|path| path.starts_with('/'));
        path.map(str::to_owned).ok_or_else(|| {
            let to = link.split('?').next().unwrap_or_default();
            Trouble::new(
                Exit::Unavailable,
                format!("{} has its next page elsewhere, at {to}: not followed", self.endpoint),
            )
        })
    }
}

fn refused(place: &str, permission: &str, status: u16, after: Option<Duration>, said: &str) -> Trouble {
    #[derive(Deserialize)]
    struct Refusal {
        error: Reason,
    }
    #[derive(Deserialize)]
    struct Reason {
        message: String,
    }
    let said = serde_json::from_str::<Refusal>(said).ok().map(|said| http::short(&said.error.message));
    let said = said.map_or_else(String::new, |said| format!(" ({said})"));
    let (exit, what) = match status {
        401 => (Exit::TryAgain, "the token is not taken: look at this machine's clock and identity".to_owned()),
        403 => (Exit::Permission, format!("allow {permission} to the identity of this machine: docs/policies")),
        429 | 500.. => (Exit::TryAgain, "it is asked again later".to_owned()),
        _ => (Exit::Unavailable, "it is asked again; look at what the configuration names".to_owned()),
    };
    Trouble { exit, text: format!("{place} was answered HTTP {status}{said}; {what}"), after }
}
