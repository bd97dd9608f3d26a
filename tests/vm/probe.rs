//! What another host on the network can reach of a machine.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::cluster::Cluster;

/// Where etcd's clients ask.
pub const CLIENTS: u16 = 2379;
/// A closed port of a guest that runs refuses at once; a busy guest may take a second.
const CONNECT: Duration = Duration::from_secs(4);
/// For a guest that may not be up yet.
const SOON: Duration = Duration::from_millis(250);
/// For an answer on a connection.
const ANSWER: Duration = Duration::from_secs(10);
/// What etcd says to everybody whom it lets in.
const VERSION: &str = "/version";
/// Those of these that answer, be it by a refusal.
pub fn answering(all: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let ask = |at: SocketAddr| (at, thread::spawn(move || TcpStream::connect_timeout(&at, CONNECT)));
    let asked: Vec<_> = all.map(ask).collect();
    let answers = asked.into_iter().filter_map(|(at, thread)| match thread.join() {
        Ok(Err(error)) if error.kind() == ErrorKind::TimedOut => None,
        Ok(_) | Err(_) => Some(at),
    });
    answers.collect()
}

/// Whether a port refuses connections: nobody listens there.
///
/// # Errors
/// When it neither accepts nor refuses: then it is not known to be closed.
pub fn refuses(address: Ipv4Addr, port: u16) -> Result<bool> {
    let mut tries = 3;
    loop {
        match TcpStream::connect_timeout(&SocketAddr::new(address.into(), port), CONNECT) {
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(true),
            Err(_) if tries > 0 => tries -= 1,
            Err(error) => return Err(error).with_context(|| format!("cannot tell whether {address}:{port} is open")),
        }
    }
}

/// Fails unless this port speaks only to clients with a certificate of the cluster.
pub fn only_mutual_tls(cluster: &Cluster, address: Ipv4Addr, port: u16) -> Result<()> {
    let at = SocketAddr::new(address.into(), port);
    let plain = request(connect(at)?, VERSION);
    if let Ok(answer) = &plain
        && !answer.is_empty()
        && !answer.starts_with("HTTP/1.0 400")
    {
        bail!("{at} answers without TLS: {answer}");
    }
    if let Ok(answer) = tls(cluster, at, None)
        && !answer.is_empty()
    {
        bail!("{at} answers without a client certificate: {answer}");
    }
    // The same request with a certificate: or else the refusals above would prove nothing.
    let answer = tls(cluster, at, Some("admin"))?;
    if !answer.starts_with("HTTP/1.1 200") {
        bail!("{at} refuses the admin certificate: {answer:?}");
    }
    Ok(())
}

fn connect(at: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&at, CONNECT).with_context(|| format!("cannot connect to {at}"))?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    Ok(stream)
}

/// Fails unless etcd answers here, over mutual TLS, that it has made a linearizable read.
pub fn serves(cluster: &Cluster, address: Ipv4Addr) -> Result<()> {
    let at = SocketAddr::new(address.into(), CLIENTS);
    // A port that nobody has opened yet is found out soon, and none is opened behind a connection that waits.
    let stream = TcpStream::connect_timeout(&at, SOON)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let answer = request(encrypted(cluster, stream, Some("admin"))?, "/health")?;
    ensure!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"health\":\"true\""), "{at} answers {answer}");
    Ok(())
}

/// The first bytes of an answer to a GET.
fn request(mut stream: impl Read + Write, path: &str) -> Result<String> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut bytes = [0; 1024];
    let length = stream.read(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

fn tls(cluster: &Cluster, at: SocketAddr, client: Option<&str>) -> Result<String> {
    request(encrypted(cluster, connect(at)?, client)?, VERSION)
}

fn encrypted(
    cluster: &Cluster,
    stream: TcpStream,
    client: Option<&str>,
) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    let config = client_config(cluster, client)?;
    let name = ServerName::IpAddress(stream.peer_addr()?.ip().into());
    Ok(StreamOwned::new(ClientConnection::new(Arc::new(config), name)?, stream))
}

/// The cluster's CA, and this certificate of `config new` if any.
pub fn client_config(cluster: &Cluster, client: Option<&str>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(cluster, "ca.crt")? {
        roots.add(certificate)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.with_root_certificates(roots);
    let Some(name) = client else { return Ok(builder.with_no_client_auth()) };
    let key = PrivateKeyDer::from_pem_file(cluster.file(&format!("{name}.key")))?;
    Ok(builder.with_client_auth_cert(certificates(cluster, &format!("{name}.crt"))?, key)?)
}

fn certificates(cluster: &Cluster, name: &str) -> Result<Vec<CertificateDer<'static>>> {
    Ok(CertificateDer::pem_file_iter(cluster.file(name))?.collect::<Result<_, _>>()?)
}

/// Sockets of `/proc/net/{tcp,udp}{,6}` that other hosts can reach, as `udp 68`; established connections do not count.
pub fn listeners(protocol: &str, table: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in table.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, remote, state, ..] = fields.as_slice() else { continue };
        let (Some((address, port)), Some((_, far))) = (local.split_once(':'), remote.split_once(':')) else { continue };
        let Ok(port) = u16::from_str_radix(port, 16) else { continue };
        // Little-endian 127/8 and ::1; state 0A is a listener, 07 an unconnected UDP socket.
        let loopback = (address.len() == 8 && address.ends_with("7F")) || address == "00000000000000000000000001000000";
        let waits = matches!(*state, "0A" | "07") && far == "0000";
        if waits && !loopback {
            found.push(format!("{protocol} {port}"));
        }
    }
    found
}
