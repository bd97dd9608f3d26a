//! The bootstrapper's answer on the peer port while no etcd owns it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use plan::facts::Heard;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::serve::{self, Moved, Outgoing};
use crate::tls::{self, certificate::Certificate};

/// Where a bootstrapper answers; etcd has nothing there and says 404.
pub const PATH: &str = "/etcd-bootstrapper/v1/state";

/// Where a bootstrapper hands out a snapshot that it has whole: the sha256 of the object follows.
pub const SNAPSHOT: &str = "/etcd-bootstrapper/v1/snapshot/";

/// A connection that does nothing for this long is closed.
const IDLE: Duration = Duration::from_secs(10);

/// Answers peers on the peer port until it is dropped.
pub struct Answering {
    state: watch::Sender<Heard>,
    tls: watch::Sender<TlsAcceptor>,
    task: JoinHandle<()>,
}

impl Answering {
    /// Listens on the peer port; peers need a certificate of the cluster's CA. Whole snapshots lie in `downloads`.
    ///
    /// # Errors
    /// When the address cannot be bound: another process has the port, or the address is not this host's.
    pub async fn on(
        address: SocketAddr,
        tls: rustls::ServerConfig,
        state: Heard,
        downloads: PathBuf,
    ) -> Result<Answering> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on the peer port {address}: is another etcd running here?"))?;
        let (state, answer) = watch::channel(state);
        let (tls, acceptor) = watch::channel(TlsAcceptor::from(Arc::new(tls)));
        let task = tokio::spawn(serve(listener, acceptor, answer, downloads));
        Ok(Answering { state, tls, task })
    }

    /// With which certificates it is answered from now on.
    pub fn show(&self, tls: rustls::ServerConfig) {
        self.tls.send_replace(TlsAcceptor::from(Arc::new(tls)));
    }

    /// What is answered from now on; only ever something that is durable.
    pub fn say(&self, state: Heard) {
        self.state.send_replace(state);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    tls: watch::Receiver<TlsAcceptor>,
    answer: watch::Receiver<Heard>,
    downloads: PathBuf,
) {
    // Dropped with this task, so that no connection outlives it and etcd finds the port free.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (tls, answer, downloads) = (tls.borrow().clone(), answer.clone(), downloads.clone());
                connections.spawn(async move {
                    match while_it_moves(|moved| one(stream, tls, answer, downloads, moved)).await {
                        Some(Ok(())) => {}
                        Some(Err(error)) => {
                            tracing::debug!(%peer, error = format!("{error:#}"), "a peer was not answered")
                        }
                        None => tracing::debug!(%peer, "a peer was silent for {} s", IDLE.as_secs()),
                    }
                });
            }
            // Out of descriptors, for instance; the next round may have some.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a peer's connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// What it comes to, unless nothing was handed out for [`IDLE`].
async fn while_it_moves<T, W: Future<Output = T>>(work: impl FnOnce(Moved) -> W) -> Option<T> {
    let moved = Moved::default();
    let mut working = std::pin::pin!(work(Arc::clone(&moved)));
    let mut last = 0;
    loop {
        if let Ok(ended) = tokio::time::timeout(IDLE, &mut working).await {
            return Some(ended);
        }
        let now = moved.load(Ordering::Relaxed);
        if now == last {
            return None;
        }
        last = now;
    }
}

async fn one(
    stream: TcpStream,
    tls: TlsAcceptor,
    answer: watch::Receiver<Heard>,
    downloads: PathBuf,
    moved: Moved,
) -> Result<()> {
    let stream = tls.accept(stream).await.context("TLS handshake")?;
    let ours = is_bootstrapper(&stream);
    let service = service_fn(move |request: Request<Incoming>| {
        let (state, downloads, moved) = (answer.borrow().clone(), downloads.clone(), Arc::clone(&moved));
        async move {
            match request.uri().path().strip_prefix(SNAPSHOT) {
                Some(name) if ours => serve::snapshot(&downloads, name, request.headers(), &moved).await,
                Some(_) => text(StatusCode::FORBIDDEN, "only a bootstrapper is given a snapshot"),
                None => respond(&request, &state),
            }
        }
    });
    hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await?;
    Ok(())
}

/// Whether who asks shows a bootstrapper's certificate: people and programs that the CA knows may not read everything.
fn is_bootstrapper(stream: &TlsStream<TcpStream>) -> bool {
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let subject = chain.first().and_then(|der| Certificate::read(der.clone().into_owned()).ok()).map(|c| c.subject);
    subject.is_some_and(|subject| subject == format!("CN={}", tls::CLIENT_NAME))
}

fn respond(request: &Request<Incoming>, state: &Heard) -> Result<Response<Outgoing>> {
    match request.uri().path() {
        PATH => {
            let body = Outgoing::Whole(Some(serde_json::to_vec(state)?.into()));
            Ok(Response::builder().header("content-type", "application/json").body(body)?)
        }
        _ => text(StatusCode::NOT_FOUND, "etcd-bootstrapper answers here until etcd does"),
    }
}

fn text(status: StatusCode, text: &str) -> Result<Response<Outgoing>> {
    Ok(Response::builder().status(status).body(Outgoing::Whole(Some(format!("{text}\n").into())))?)
}
