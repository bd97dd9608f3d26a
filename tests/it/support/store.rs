//! An https server that answers as it is told, byte by byte: honest, or with one fault.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::server::TlsStream;

use super::scratch::Scratch;

/// One request, as far as a store cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The path, without the query.
    pub path: String,
    /// First byte of the `Range`.
    pub from: Option<u64>,
    /// Last byte of the `Range`, when it has one.
    pub to: Option<u64>,
    /// `If-Range`, as web clients ask, or `If-Match`, as those of object stores do.
    pub if_range: Option<String>,
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All of it, then the connection is closed.
    Close,
    /// So many bytes of the body, then the connection is closed.
    Cut(usize),
    /// So many bytes of the body, then TCP's RST.
    Reset(usize),
    /// So many bytes of the body, then nothing.
    Stall(usize),
    /// All of it, so many bytes at a time with a pause of 200 ms before each.
    Trickle(usize),
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub end: End,
}

impl Reply {
    /// An answer of this status with this body and its length.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        let body = body.into();
        Reply { status, headers: vec![("Content-Length", body.len().to_string())], body, end: End::Close }
    }

    /// What a store that works answers, with this ETag.
    pub fn honest(object: &[u8], etag: &str, asked: &Asked) -> Reply {
        let same = asked.if_range.as_deref().is_none_or(|e| e == etag);
        let mut reply = match asked.from {
            Some(from) if same && from >= object.len() as u64 => Reply::new(416, ""),
            Some(from) if same => {
                let last = asked.to.unwrap_or(u64::MAX).min(object.len() as u64 - 1);
                let range = format!("bytes {from}-{last}/{}", object.len());
                Reply::new(206, &object[from as usize..=last as usize]).with("Content-Range", range)
            }
            Some(_) | None => Reply::new(200, object),
        };
        reply.headers.push(("ETag", etag.into()));
        reply
    }

    /// With one header more, or another value of it.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.retain(|(n, _)| *n != name);
        self.headers.push((name, value.into()));
        self
    }

    /// Without a header.
    pub fn without(mut self, name: &str) -> Reply {
        self.headers.retain(|(n, _)| *n != name);
        self
    }

    /// With this end.
    pub fn ending(mut self, end: End) -> Reply {
        self.end = end;
        self
    }
}

/// The answer to the nth request, from 0.
pub type Script = dyn Fn(usize, &Asked) -> Reply + Send + Sync;

/// Answers to requests for a range that trickle: now, and at most until now.
#[derive(Default)]
struct Ranges {
    now: usize,
    most: usize,
}

/// A server that runs as long as this lives.
pub struct Store {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    ranges: Arc<Mutex<Ranges>>,
    task: tokio::task::JoinHandle<()>,
    scratch: Scratch,
}

impl Store {
    /// Serves `https://localhost` with a certificate that [`Store::roots`] trusts.
    pub async fn serve(script: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static) -> Store {
        let names = ["localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let scratch = Scratch::new();
        std::fs::write(scratch.join("roots.pem"), made.cert.pem()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let ranges = Arc::new(Mutex::new(Ranges::default()));
        let (seen, script): (_, Arc<Script>) = ((Arc::clone(&asked), Arc::clone(&ranges)), Arc::new(script));
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, seen, script) = (acceptor.clone(), seen.clone(), Arc::clone(&script));
                // A client that goes away is none of the server's business.
                tokio::spawn(async move { answer(tcp, acceptor, &seen.0, &seen.1, &*script).await.ok() });
            }
        });
        Store { address, asked, ranges, task, scratch }
    }

    /// A URL with a secret in its query.
    pub fn url(&self) -> String {
        format!("https://localhost:{}/bucket/prod.db?X-Amz-Signature=presigned-secret", self.address.port())
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// A file with the CA of this server.
    pub fn roots(&self) -> PathBuf {
        self.scratch.join("roots.pem")
    }

    /// A file with the CAs of this server and of another.
    pub fn roots_with(&self, other: &Store) -> PathBuf {
        let both = self.scratch.join("both.pem");
        let pem = |store: &Store| std::fs::read(store.roots()).unwrap();
        std::fs::write(&both, [pem(self), pem(other)].concat()).unwrap();
        both
    }

    /// How many ranges trickled at a time, at most.
    pub fn most_ranges(&self) -> usize {
        self.ranges.lock().unwrap().most
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    tcp: TcpStream,
    acceptor: TlsAcceptor,
    seen: &Mutex<Vec<Asked>>,
    ranges: &Mutex<Ranges>,
    script: &Script,
) -> io::Result<()> {
    let mut tls = acceptor.accept(tcp).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tls.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.strip_prefix("GET ").and_then(|head| head.split_once(" HTTP/1.1\r\n")).expect("a GET").0;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    // Presigned, or signed by whoever knows the bucket's keys.
    let signed =
        query == "X-Amz-Signature=presigned-secret" || head.to_lowercase().contains("\r\nauthorization: aws4-");
    assert!(path.starts_with("/bucket/") && signed, "{head}");
    let path = path.to_owned();
    let header = |name: &str| {
        let line = head.lines().find(|l| l.to_lowercase().starts_with(&format!("{name}:")))?;
        Some(line.split_once(": ")?.1.to_owned())
    };
    let range = header("range").map(|r| {
        let (from, to) =
            r.strip_prefix("bytes=").unwrap().split_once('-').map(|(f, t)| (f.to_owned(), t.to_owned())).unwrap();
        (from.parse().unwrap(), to.parse().ok())
    });
    let (from, to) = range.map_or((None, None), |(from, to)| (Some(from), to));
    let asked = Asked { path, from, to, if_range: header("if-range").or(header("if-match")) };
    let nth = {
        let mut seen = seen.lock().unwrap();
        seen.push(asked.clone());
        seen.len() - 1
    };
    let reply = script(nth, &asked);
    if asked.from.is_none() {
        return send(tls, reply, || ()).await;
    }
    let change = |by: isize| {
        let mut ranges = ranges.lock().unwrap();
        ranges.now = ranges.now.saturating_add_signed(by);
        ranges.most = ranges.most.max(ranges.now);
    };
    change(1);
    send(tls, reply, || change(-1)).await
}

/// Says when all but the last of a body is sent.
async fn send(mut tls: TlsStream<TcpStream>, reply: Reply, ends: impl FnOnce()) -> io::Result<()> {
    let mut out = format!("HTTP/1.1 {} Told\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        out += &format!("{name}: {value}\r\n");
    }
    tls.write_all(format!("{out}\r\n").as_bytes()).await?;
    let sent = match reply.end {
        End::Close => reply.body.len(),
        End::Trickle(_) => 0,
        End::Cut(bytes) | End::Reset(bytes) | End::Stall(bytes) => bytes.min(reply.body.len()),
    };
    tls.write_all(&reply.body[..sent]).await?;
    tls.flush().await?;
    match reply.end {
        End::Close => tls.shutdown().await,
        End::Trickle(bytes) => {
            let mut ends = Some(ends);
            let last = reply.body.len().div_ceil(bytes.max(1)).saturating_sub(1);
            for (i, piece) in reply.body.chunks(bytes).enumerate() {
                tokio::time::sleep(Duration::from_millis(200)).await;
                if i == last
                    && let Some(ends) = ends.take()
                {
                    ends();
                }
                tls.write_all(piece).await?;
                tls.flush().await?;
            }
            tls.shutdown().await
        }
        End::Cut(_) => Ok(()),
        // What the client has not read yet is lost with the RST, as on a real network; it gets no time to read.
        End::Reset(_) => tls.get_ref().0.set_zero_linger(),
        End::Stall(_) => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok(())
        }
    }
}
