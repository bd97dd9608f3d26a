//! The database of this host's member, streamed into an object of the store.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use hyper::body::Bytes;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::pack::{Packed, pack, recipient};
use crate::etcd::Stream;
use crate::exit::Exit;
use crate::store::{Store, words};

/// Pieces between etcd and the packer, and parts between the packer and the network: with those in flight, 40 MiB.
const PIECES: usize = 64;
const PARTS: usize = 1;
const IN_FLIGHT: usize = 2;

/// For one part, which is slow on a slow link, and for what begins and ends an upload.
const PATIENCE: Duration = Duration::from_secs(600);
const CALL: Duration = Duration::from_secs(60);

/// How far it is: bytes of the database, and of all of it.
pub type Watch<'a> = dyn FnMut(u64, u64) + 'a;

/// Writes the object, which is there only if all of it is whole.
///
/// # Errors
/// 69 when etcd or the store does not go on; then nothing is left but perhaps parts, which no object names.
pub async fn upload(
    stream: Stream,
    store: &Store,
    key: &str,
    encrypt_for: Option<&str>,
    watch: &mut Watch<'_>,
) -> Result<Packed> {
    let recipient = encrypt_for.map(recipient).transpose()?;
    let place = format!("{}/{key}", store.place());
    let unavailable = |what: &str, why: String| Exit::Unavailable.because(format!("cannot {what} {place}: {why}"));
    let path = store.path(key);
    let begun = timeout(CALL, store.objects().put_multipart(&path)).await;
    let begun = begun.map_err(|_| unavailable("begin to write", format!("no answer for {} s", CALL.as_secs())))?;
    let mut upload = begun.map_err(|error| unavailable("begin to write", words(&error)))?;
    let (pieces, packer_takes) = mpsc::channel(PIECES);
    let (packer_gives, parts) = mpsc::channel(PARTS);
    let packer = tokio::task::spawn_blocking(move || pack(packer_takes, packer_gives, recipient.as_ref()));
    let (fed, sent) = tokio::join!(feed(stream, pieces, watch), send(upload.as_mut(), parts));
    let packed = packer.await.unwrap_or_else(|_| Err(anyhow!("the thread that packs the backup died")));
    let packed = match (fed, sent, packed) {
        // Who failed first made the others end.
        (Ok(()), Ok(()), packed) => packed.with_context(|| format!("the snapshot for {place} is no good")),
        (_, Err(why), _) => Err(unavailable("write", why)),
        (Err(error), Ok(()), _) => Err(error),
    };
    match packed {
        Ok(packed) => {
            complete(upload.as_mut()).await.map_err(|why| unavailable("finish", why))?;
            Ok(packed)
        }
        Err(error) => {
            abort(upload.as_mut(), &place).await;
            Err(error)
        }
    }
}

async fn feed(mut stream: Stream, pieces: Sender<Bytes>, watch: &mut Watch<'_>) -> Result<()> {
    let mut bytes = 0;
    while let Some(piece) = stream.next().await.map_err(|e| Exit::Unavailable.because(e.to_string()))? {
        bytes += piece.len() as u64;
        watch(bytes, stream.total.unwrap_or(bytes));
        if pieces.send(piece).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Ends early with the first part that fails.
async fn send(upload: &mut dyn MultipartUpload, mut parts: Receiver<Bytes>) -> Result<(), String> {
    let mut flying = JoinSet::new();
    while let Some(part) = parts.recv().await {
        while flying.len() >= IN_FLIGHT {
            landed(flying.join_next().await)?;
        }
        flying.spawn(timeout(PATIENCE, upload.put_part(PutPayload::from(part))));
    }
    while let Some(part) = flying.join_next().await {
        landed(Some(part))?;
    }
    Ok(())
}

type Part = Result<Result<object_store::Result<()>, tokio::time::error::Elapsed>, tokio::task::JoinError>;

fn landed(part: Option<Part>) -> Result<(), String> {
    match part {
        None | Some(Ok(Ok(Ok(())))) => Ok(()),
        Some(Ok(Ok(Err(error)))) => Err(words(&error)),
        Some(Ok(Err(_))) => Err(format!("a part was not taken for {} s", PATIENCE.as_secs())),
        Some(Err(error)) => Err(error.to_string()),
    }
}

async fn complete(upload: &mut dyn MultipartUpload) -> Result<(), String> {
    match timeout(CALL, upload.complete()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(words(&error)),
        Err(_) => Err(format!("no answer for {} s", CALL.as_secs())),
    }
}

async fn abort(upload: &mut dyn MultipartUpload, place: &str) {
    match timeout(CALL, upload.abort()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(
                error = words(&error),
                "parts of {place} may be left: a lifecycle rule of the bucket ends them"
            )
        }
        Err(_) => tracing::warn!("parts of {place} may be left: a lifecycle rule of the bucket ends them"),
    }
}
