//! A snapshot that lies whole on this host, for a peer that cannot reach its source.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as Waker, Poll};

use anyhow::Result;
use hyper::body::{Body, Bytes, Frame};
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_RANGE, RANGE};
use hyper::{HeaderMap, Response, StatusCode};
use plan::spec::Sha256;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;

use crate::snapshot::shelf::Shelf;

/// Bytes that are read at a time, and pieces between the disk and the network.
const PIECE: usize = 256 << 10;
const QUEUE: usize = 4;

/// Counts what was handed out, so that a peer that only waits is told from one that reads.
pub type Moved = Arc<AtomicU64>;

/// A body that is all there, or one that comes off the disk.
pub enum Outgoing {
    /// All of it.
    Whole(Option<Bytes>),
    /// Piece by piece.
    Pieces(mpsc::Receiver<std::io::Result<Bytes>>, Moved),
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, waker: &mut Waker<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Outgoing::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Outgoing::Pieces(pieces, moved) => pieces.poll_recv(waker).map(|piece| {
                moved.fetch_add(1, Ordering::Relaxed);
                piece.map(|piece| piece.map(Frame::data))
            }),
        }
    }
}

/// What is answered to a request for this name: a sha256, or one and `.minisig` or `.manifest`.
///
/// # Errors
/// When an answer cannot be made at all.
pub async fn snapshot(downloads: &Path, name: &str, asked: &HeaderMap, moved: &Moved) -> Result<Response<Outgoing>> {
    let Some((path, sha256)) = file(downloads, name) else { return absent() };
    let Ok(mut file) = File::open(&path).await else { return absent() };
    let total = file.metadata().await?.len();
    let etag = format!("\"{}\"", sha256.as_str());
    let from = ranged(asked, &etag);
    let response = Response::builder().header(ETAG, &etag);
    let (response, from) = match from {
        Some(from) if from >= total => {
            return Ok(response.status(StatusCode::RANGE_NOT_SATISFIABLE).body(Outgoing::Whole(None))?);
        }
        Some(from) => {
            let range = format!("bytes {from}-{}/{total}", total - 1);
            (response.status(StatusCode::PARTIAL_CONTENT).header(CONTENT_RANGE, range), from)
        }
        None => (response, 0),
    };
    file.seek(SeekFrom::Start(from)).await?;
    let (pieces, queue) = mpsc::channel(QUEUE);
    tokio::spawn(read(file, pieces));
    let body = Outgoing::Pieces(queue, Arc::clone(moved));
    Ok(response.header(CONTENT_LENGTH, total - from).body(body)?)
}

/// The object as it lay at its source: the database itself, unless that came out of something that lies beside it.
fn file(downloads: &Path, name: &str) -> Option<(PathBuf, Sha256)> {
    let (digits, beside) = name.split_once('.').unwrap_or((name, ""));
    let sha256: Sha256 = digits.parse().ok()?;
    let shelf = Shelf { directory: downloads.to_owned(), sha256: sha256.clone(), owner: None };
    // It has this name only once its sha256 was seen to match.
    if !shelf.path().exists() {
        return None;
    }
    let path = match beside {
        "minisig" => shelf.signature(),
        "manifest" => shelf.manifest(),
        "" if shelf.object().exists() => shelf.object(),
        "" => shelf.path(),
        _ => return None,
    };
    Some((path, sha256))
}

fn absent() -> Result<Response<Outgoing>> {
    let text = Bytes::from_static(b"it is not here, or not whole yet\n");
    Ok(Response::builder().status(StatusCode::NOT_FOUND).body(Outgoing::Whole(Some(text)))?)
}

/// The first byte that is asked for, when it is one of this object; other ranges are answered with all of it.
fn ranged(asked: &HeaderMap, etag: &str) -> Option<u64> {
    let text = |name| asked.get(name).and_then(|value: &hyper::header::HeaderValue| value.to_str().ok());
    if text(IF_RANGE).is_some_and(|known| known != etag) {
        return None;
    }
    text(RANGE)?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

async fn read(mut file: File, pieces: mpsc::Sender<std::io::Result<Bytes>>) {
    loop {
        let mut piece = vec![0; PIECE];
        let read = match file.read(&mut piece).await {
            Ok(0) => return,
            Ok(read) => {
                piece.truncate(read);
                Ok(piece.into())
            }
            Err(error) => Err(error),
        };
        let failed = read.is_err();
        if pieces.send(read).await.is_err() || failed {
            return;
        }
    }
}
