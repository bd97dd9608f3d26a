//! An https server of one object in memory, faster than any client here: it honours ranges as object stores do.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned, crypto};

/// The only path that there is; everything else is 404.
pub const PATH: &str = "/snapshot.db";

const ETAG: &str = "\"one\"";

/// Serves `https://localhost` until this process ends; the certificate is written to `roots`.
pub fn serve(listener: TcpListener, object: Arc<Vec<u8>>, roots: &Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(roots, made.cert.pem()).expect("a file of roots");
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_no_client_auth()
        .with_single_cert(
            vec![made.cert.der().clone()],
            PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into(),
        )
        .expect("a key that fits");
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (config, object) = (Arc::clone(&config), Arc::clone(&object));
            // A client that goes away is none of the server's business.
            std::thread::spawn(move || stream.and_then(|tcp| answer(tcp, config, &object)));
        }
    });
}

fn answer(tcp: TcpStream, config: Arc<ServerConfig>, object: &[u8]) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let mut tls = StreamOwned::new(ServerConnection::new(config).map_err(io::Error::other)?, tcp);
    while let Some(head) = head(&mut tls)? {
        let range = head.lines().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
        let total = object.len();
        let (status, body) = match range.as_deref().and_then(|range| range.split_once('-')) {
            _ if !head.starts_with(&format!("GET {PATH} ")) => ("404 Not Found".to_owned(), &object[..0]),
            None => ("200 OK".to_owned(), object),
            Some((from, to)) => {
                let from: usize = from.parse().map_err(io::Error::other)?;
                let to = to.parse().map_or(total, |to: usize| total.min(to + 1));
                let status = format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{total}", to - 1);
                (status, &object[from..to])
            }
        };
        let length = body.len();
        write!(tls, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nETag: {ETAG}\r\nAccept-Ranges: bytes\r\n\r\n")?;
        tls.write_all(body)?;
        tls.flush()?;
    }
    Ok(())
}

/// A request up to its empty line; `None` when the client has no more.
fn head(tls: &mut impl Read) -> io::Result<Option<String>> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if tls.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}
