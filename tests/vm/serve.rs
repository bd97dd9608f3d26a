//! A file over HTTPS, for guests.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::cluster::Cluster;
use crate::process;

/// A guest that is busy with its first boot may be slow to read.
const STALL: Duration = Duration::from_secs(60);
/// Hashing a few megabytes.
const HASH: Duration = Duration::from_secs(180);

/// The server, for as long as the process lives.
pub struct Served {
    /// Of the file, in hexadecimal.
    pub sha256: String,
    address: Ipv4Addr,
    port: u16,
}

impl Served {
    /// Serves one file under every path, with a certificate of the cluster's CA for this address.
    pub fn file(cluster: &Cluster, file: &Path, address: Ipv4Addr) -> Result<Served> {
        let sum = process::output(Command::new("sha256sum").arg(file), HASH)?;
        let sha256 = sum.split_whitespace().next().context("sha256sum printed nothing")?.to_owned();
        let listener = TcpListener::bind((address, 0))?;
        let port = listener.local_addr()?.port();
        let config = Arc::new(configuration(cluster, address)?);
        let file = file.to_owned();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, file) = (config.clone(), file.clone());
                thread::spawn(move || {
                    if let Err(error) = answer(stream, config, &file) {
                        println!("        serving {}: {error:#}", file.display());
                    }
                });
            }
        });
        Ok(Served { sha256, address, port })
    }

    /// Where a guest finds it.
    pub fn url(&self, name: &str) -> String {
        format!("https://{}:{}/{name}", self.address, self.port)
    }
}

fn configuration(cluster: &Cluster, address: Ipv4Addr) -> Result<ServerConfig> {
    let text = |name: &str| std::fs::read_to_string(cluster.file(name)).with_context(|| format!("cannot read {name}"));
    let issuer = rcgen::Issuer::from_ca_cert_pem(&text("ca.crt")?, rcgen::KeyPair::from_pem(&text("ca.key")?)?)?;
    let key = rcgen::KeyPair::generate()?;
    let parameters = rcgen::CertificateParams::new([address.to_string()])?;
    let certificate = parameters.signed_by(&key, &issuer)?;
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes())?;
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    Ok(builder.with_safe_default_protocol_versions()?.with_no_client_auth().with_single_cert(chain, key)?)
}

/// One request per connection; a range that begins somewhere is honoured, so that a download can go on.
fn answer(stream: TcpStream, config: Arc<ServerConfig>, file: &PathBuf) -> Result<()> {
    stream.set_read_timeout(Some(STALL))?;
    stream.set_write_timeout(Some(STALL))?;
    let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(config)?, stream));
    let (mut line, mut from, mut head) = (String::new(), None, false);
    while stream.read_line(&mut line)? > 0 && !line.trim().is_empty() {
        head |= line.starts_with("HEAD ");
        let lower = line.to_ascii_lowercase();
        let range = lower.strip_prefix("range: bytes=").and_then(|r| r.trim().strip_suffix('-').map(str::to_owned));
        from = range.and_then(|r| r.parse::<u64>().ok()).or(from);
        line.clear();
    }
    let mut file = File::open(file)?;
    let length = file.metadata()?.len();
    let start = from.unwrap_or(0).min(length);
    file.seek(SeekFrom::Start(start))?;
    let status = if from.is_some() {
        format!("206 Partial Content\r\nContent-Range: bytes {start}-{}/{length}", length.saturating_sub(1))
    } else {
        "200 OK".to_owned()
    };
    let stream = stream.get_mut();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nAccept-Ranges: bytes\r\nConnection: close\r\n\r\n",
        length - start
    )?;
    if !head {
        io::copy(&mut file, stream)?;
    }
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(())
}
