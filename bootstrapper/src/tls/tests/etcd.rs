//! A real etcd with these leaves: it serves, it refuses strangers, and it takes renewed ones while it runs.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_rustls::TlsConnector;

use super::*;
use crate::sys::clock;
use crate::tls::{LEAVES, client_config, ensure, etcd_tls, install_provider, read_certificate};

/// Longest wait for anything that etcd does here.
const PATIENCE: Duration = Duration::from_secs(60);

#[allow(clippy::disallowed_methods)] // The test starts a server and ends it; sys::process only runs what ends by itself.
fn binaries() -> PathBuf {
    if let Some(dir) = crate::sys::env::var("ETCD_BIN_DIR") {
        return PathBuf::from(dir);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/etcd.sh");
    let output = std::process::Command::new(script).output().expect("tools/etcd.sh runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

struct Etcd {
    _child: Child,
    client: u16,
    peer: u16,
}

/// Two ports that were free a moment ago.
fn ports() -> (u16, u16) {
    let listeners = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    let [a, b] = listeners.map(|l| l.local_addr().expect("its address").port());
    (a, b)
}

#[allow(clippy::disallowed_methods)] // As above.
async fn start(scratch: &Scratch) -> Etcd {
    let (client, peer) = ports();
    let pki = |file: &str| scratch.paths().pki().join(file).display().to_string();
    let url = |port: u16| format!("https://127.0.0.1:{port}");
    let data = scratch.0.join("data").display().to_string();
    let mut child = Command::new(binaries().join("etcd"))
        .args(["--name=etcd_1", "--client-cert-auth=true", "--peer-client-cert-auth=true"])
        .args(["--data-dir", &data])
        .args(["--listen-client-urls", &format!("{},https://[::1]:{client}", url(client))])
        .args(["--advertise-client-urls", &url(client)])
        .args(["--listen-peer-urls", &url(peer), "--initial-advertise-peer-urls", &url(peer)])
        .args(["--initial-cluster", &format!("etcd_1={}", url(peer))])
        .args(["--cert-file", &pki("server.crt"), "--key-file", &pki("server.key")])
        .args(["--peer-cert-file", &pki("peer.crt"), "--peer-key-file", &pki("peer.key")])
        .args(["--trusted-ca-file", &pki("ca.crt"), "--peer-trusted-ca-file", &pki("ca.crt")])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("etcd starts");
    let mut log = BufReader::new(child.stderr.take().expect("its log")).lines();
    let ready = async {
        let mut seen = String::new();
        while let Some(line) = log.next_line().await.expect("a log line") {
            if line.contains("ready to serve client requests") {
                return;
            }
            seen.push_str(&line);
            seen.push('\n');
        }
        panic!("etcd ended:\n{seen}");
    };
    tokio::time::timeout(PATIENCE, ready).await.expect("etcd becomes ready");
    // A full pipe would stop etcd.
    tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
    Etcd { _child: child, client, peer }
}

async fn write_and_read(pki: &Scratch, endpoint: &str) -> Result<String, String> {
    let options = ConnectOptions::new()
        .with_tls(etcd_tls(&pki.paths()).expect("TLS options"))
        .with_connect_timeout(Duration::from_secs(5))
        .with_timeout(Duration::from_secs(20));
    let ask = async {
        let mut client = Client::connect([endpoint], Some(options)).await?;
        client.put("key", endpoint, None).await?;
        let found = client.get("key", None).await?;
        Ok::<_, etcd_client::Error>(found.kvs()[0].value_str()?.to_owned())
    };
    tokio::time::timeout(PATIENCE, ask).await.map_err(|_| "no answer".to_owned())?.map_err(|e| e.to_string())
}

/// The certificate that etcd shows on this port right now.
async fn shown(scratch: &Scratch, port: u16) -> Vec<u8> {
    let config = client_config(&scratch.paths()).expect("a client");
    let ask = async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let certificates = stream.get_ref().1.peer_certificates().expect("certificates").to_vec();
        std::io::Result::Ok(certificates[0].to_vec())
    };
    tokio::time::timeout(PATIENCE, ask).await.expect("an answer").expect("a connection")
}

#[tokio::test]
async fn etcd_serves_with_these_leaves_refuses_strangers_and_takes_renewed_ones() {
    install_provider();
    let now = clock::now();
    let (scratch, ours) = (Scratch::new(), ca("prod etcd CA", now));
    let made = Seconds(now.0 - YEAR * 3 / 4);
    ensure(&scratch.paths(), &ours, &names(), Some(made), None).expect("leaves");
    let etcd = start(&scratch).await;

    for endpoint in [format!("https://127.0.0.1:{}", etcd.client), format!("https://[::1]:{}", etcd.client)] {
        assert_eq!(write_and_read(&scratch, &endpoint).await, Ok(endpoint));
    }

    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(client_config(&scratch.paths()).expect("a client"))
        .timeout(PATIENCE)
        .build()
        .expect("an HTTP client");
    let members = http.get(format!("https://127.0.0.1:{}/members", etcd.peer)).send().await.expect("an answer");
    assert!(members.text().await.expect("a body").contains("\"name\":\"etcd_1\""));

    // A stranger who trusts our CA, and shows a leaf of another one.
    let stranger = Scratch::new();
    ensure(&stranger.paths(), &ca("stranger", now), &names(), Some(now), None).expect("leaves");
    fs::write_atomic(&stranger.paths().pki().join("ca.crt"), ours.bundle().as_bytes(), 0o644, None).expect("ca.crt");
    let refused = write_and_read(&stranger, &format!("https://127.0.0.1:{}", etcd.client)).await;
    assert!(refused.is_err(), "{refused:?}");

    let on_disk = |leaf: usize| read_certificate(&scratch.paths().pki(), &LEAVES[leaf]).expect("a leaf").der.to_vec();
    let (server, peer) = (on_disk(0), on_disk(1));
    assert_eq!((shown(&scratch, etcd.client).await, shown(&scratch, etcd.peer).await), (server.clone(), peer));
    let outcome = crate::tls::renew(&scratch.paths(), None, Some(now)).expect("renewal");
    assert_eq!(outcome.issued.len(), 3);
    assert_ne!(on_disk(0), server);
    assert_eq!((shown(&scratch, etcd.client).await, shown(&scratch, etcd.peer).await), (on_disk(0), on_disk(1)));
}
