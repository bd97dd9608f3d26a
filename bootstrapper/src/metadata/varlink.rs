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
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await?;
        let call = json!({"method": GET, "parameters": {"key": key}}).to_string();
        stream.write_all(call.as_bytes()).await?;
        stream.write_all(&[0]).await?;
        let mut message = Vec::new();
        // base64 is a third longer, and there is JSON around it.
        let mut stream = BufReader::new(stream).take(2 * ask.most as u64 + 4096);
        stream.read_until(0, &mut message).await?;
        std::io::Result::Ok(message)
    };
    let mut message = match timeout_at(deadline, exchange).await {
        Ok(Ok(message)) => message,
        Ok(Err(error)) => return Err(forbidden(format!("{} cannot be asked: {error}", socket.display()))),
        Err(_) => return Err(Exit::TryAgain.because(format!("{} has not answered {asked} in time", socket.display()))),
    };
    if message.pop() != Some(0) {
        return Err(Exit::BadInput.because(format!("systemd-imdsd ended in the middle of its answer to {asked}")));
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
