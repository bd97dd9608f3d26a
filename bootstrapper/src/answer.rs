//! The bootstrapper's answer on the peer port while no etcd owns it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use plan::facts::Heard;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Where a bootstrapper answers; etcd has nothing there and says 404.
pub const PATH: &str = "/etcd-bootstrapper/v1/state";

/// A connection that does nothing for this long is closed.
const IDLE: Duration = Duration::from_secs(10);

/// Answers peers on the peer port until it is dropped.
pub struct Answering {
    state: watch::Sender<Heard>,
    tls: watch::Sender<TlsAcceptor>,
    task: JoinHandle<()>,
}

impl Answering {
    /// Listens on the peer port; peers need a certificate of the cluster's CA.
    ///
    /// # Errors
    /// When the address cannot be bound: another process has the port, or the address is not this host's.
    pub async fn on(address: SocketAddr, tls: rustls::ServerConfig, state: Heard) -> Result<Answering> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on the peer port {address}: is another etcd running here?"))?;
        let (state, answer) = watch::channel(state);
        let (tls, acceptor) = watch::channel(TlsAcceptor::from(Arc::new(tls)));
        let task = tokio::spawn(serve(listener, acceptor, answer));
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

async fn serve(listener: TcpListener, tls: watch::Receiver<TlsAcceptor>, answer: watch::Receiver<Heard>) {
    // Dropped with this task, so that no connection outlives it and etcd finds the port free.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (tls, answer) = (tls.borrow().clone(), answer.clone());
                connections.spawn(async move {
                    match tokio::time::timeout(IDLE, one(stream, tls, answer)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => {
                            tracing::debug!(%peer, error = format!("{error:#}"), "a peer was not answered")
                        }
                        Err(_) => tracing::debug!(%peer, "a peer was silent for {} s", IDLE.as_secs()),
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

async fn one(stream: tokio::net::TcpStream, tls: TlsAcceptor, answer: watch::Receiver<Heard>) -> Result<()> {
    let stream = tls.accept(stream).await.context("TLS handshake")?;
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(&request, &answer.borrow());
        async move { response }
    });
    hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await?;
    Ok(())
}

fn respond(request: &Request<Incoming>, state: &Heard) -> Result<Response<Full<Bytes>>> {
    let (status, body) = match request.uri().path() {
        PATH => (StatusCode::OK, serde_json::to_vec(state)?),
        _ => (StatusCode::NOT_FOUND, b"etcd-bootstrapper answers here until etcd does\n".to_vec()),
    };
    Ok(Response::builder().status(status).header("content-type", "application/json").body(Full::new(body.into()))?)
}
