//! systemd-imdsd, which asks a metadata service for others where the kernel lets nobody else: systemd 261 and later.
//!
//! Its interface is `io.systemd.InstanceMetadata` in systemd's `src/shared/varlink-io.systemd.InstanceMetadata.c`; a
//! message is JSON and a zero byte.

use std::path::Path;

use anyhow::Result;
use hyper::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

use super::answer::Answer;
use super::service::Ask;
use super::unpack;
use crate::exit::Exit;

/// Where systemd-imdsd listens.
pub const SOCKET: &str = "/run/systemd/io.systemd.InstanceMetadata";

const GET: &str = "io.systemd.InstanceMetadata.Get";

/// No Debug: it may hold secrets.
#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    parameters: Parameters,
    error: Option<String>,
}

#[derive(Default, Deserialize)]
struct Parameters {
    data: Option<String>,
}

/// Asks systemd for what a request would have asked for; its answer in terms of HTTP.
///
/// # Errors
/// 77 when there is no such service of systemd's here, or it cannot ask for this; 75 when it fails.
pub async fn get(socket: &Path, below: &str, name: &str, ask: &Ask<'_>, deadline: Instant) -> Result<Answer> {
    let asked = format!("{GET} of {}", ask.path);
    let answer = |status, bytes| Answer { asked: asked.clone(), status, headers: HeaderMap::new(), bytes };
    if ask.method == Method::PUT {
        // It has a token of its own.
        return Ok(answer(StatusCode::OK, Vec::new()));
    }
    let forbidden = |why: String| {
        Exit::Permission.because(format!(
            "a route of this machine forbids to ask {name} (EACCES), as systemd sets it where only systemd-imdsd may, and \
             {why}; boot with systemd.imds.network=unlocked, or start systemd-imdsd.socket"
        ))
    };
    let Some(key) = ask.path.strip_prefix(below).filter(|key| !below.is_empty() && key.starts_with('/')) else {
        return Err(forbidden(format!("{} is nothing that systemd-imdsd can be asked for", ask.path)));
    };
    let late = |_| Exit::TryAgain.because(format!("{} has not answered {asked} in time", socket.display()));
    let stream = timeout_at(deadline, UnixStream::connect(socket)).await.map_err(late)?;
    let mut stream = stream.map_err(|error| forbidden(format!("{} cannot be asked: {error}", socket.display())))?;
    let broken =
        |why: &str| Exit::TryAgain.because(format!("{} broke off its answer to {asked}: {why}", socket.display()));
    // base64 is a third longer, and there is JSON around it.
    let room = 2 * ask.most as u64 + 4096;
    let exchange = async {
        let call = json!({"method": GET, "parameters": {"key": key}}).to_string();
        stream.write_all(call.as_bytes()).await?;
        stream.write_all(&[0]).await?;
        let mut message = Vec::new();
        let mut stream = BufReader::new(stream).take(room);
        stream.read_until(0, &mut message).await?;
        std::io::Result::Ok(message)
    };
    let exchanged = timeout_at(deadline, exchange).await.map_err(late)?;
    let mut message = exchanged.map_err(|error| broken(&error.to_string()))?;
    let whole = message.pop_if(|last| *last == 0).is_some();
    if !whole && message.len() as u64 >= room {
        return Err(Exit::BadInput.because(format!("{asked} gives more than {} bytes", ask.most)));
    }
    if !whole {
        return Err(broken("it ends in the middle"));
    }
    let reply: Reply = serde_json::from_slice(&message)
        .map_err(|_| Exit::BadInput.because(format!("systemd-imdsd's answer to {asked} is not what Varlink speaks")))?;
    match (reply.error.as_deref(), reply.parameters.data) {
        (Some("io.systemd.InstanceMetadata.KeyNotFound" | "io.systemd.InstanceMetadata.WellKnownKeyUnset"), _) => {
            Ok(answer(StatusCode::NOT_FOUND, Vec::new()))
        }
        (Some("io.systemd.InstanceMetadata.NotAvailable" | "io.systemd.InstanceMetadata.NotSupported"), _) => {
            Err(Exit::Unavailable.because(format!("systemd-imdsd says that {name} is not available here")))
        }
        (Some(error), _) => {
            let error: String = error.chars().filter(char::is_ascii_graphic).take(80).collect();
            Err(Exit::TryAgain.because(format!("systemd-imdsd answered {asked} with {error}")))
        }
        (None, Some(data)) => {
            let bytes = unpack::base64(data.as_bytes())
                .map_err(|why| Exit::BadInput.because(format!("systemd-imdsd's answer to {asked}: {why}")))?;
            if bytes.len() > ask.most {
                return Err(Exit::BadInput.because(format!("{asked} gives more than {} bytes", ask.most)));
            }
            Ok(answer(StatusCode::OK, bytes))
        }
        (None, None) => Err(Exit::BadInput.because(format!("systemd-imdsd's answer to {asked} has no data"))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn what_breaks_off_is_asked_again_and_what_is_not_there_or_too_long_is_told() {
        let long = "x".repeat(5000);
        for (said, expected, why) in [
            (None, Some(Exit::Permission), "cannot be asked"),
            (Some(""), Some(Exit::TryAgain), "ends in the middle"),
            (Some("{\"parameters\": {\"da"), Some(Exit::TryAgain), "ends in the middle"),
            (Some("{}\0"), Some(Exit::BadInput), "has no data"),
            (Some(long.as_str()), Some(Exit::BadInput), "more than 16 bytes"),
            (Some("{\"parameters\": {\"data\": \"AAAA\"}}\0"), None, ""),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let socket = directory.path().join("imdsd");
            if let Some(said) = said {
                let (listener, said) = (UnixListener::bind(&socket).unwrap(), said.to_owned());
                tokio::spawn(async move {
                    let mut stream = BufReader::new(listener.accept().await.unwrap().0);
                    stream.read_until(0, &mut Vec::new()).await.unwrap();
                    stream.write_all(said.as_bytes()).await.ok();
                });
            }
            let ask = Ask::get("/latest/user-data", &[], 16);
            let deadline = Instant::now() + Duration::from_secs(10);
            let got = get(&socket, "/latest", "EC2's metadata service", &ask, deadline).await;
            let (exit, text) = got.map_or_else(|e| (Some(Exit::of(&e)), e.to_string()), |_| (None, String::new()));
            assert_eq!((exit, text.contains(why)), (expected, true), "{said:?}: {text}");
        }
    }
}
