//! moto on this host's end of the bridge: AWS as others have understood it, for as long as it runs.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::until;
use crate::tools::Tools;
use crate::world::HOST;

const PORT: u16 = 9000;
/// For an interpreter to start on a busy host.
const START: Duration = Duration::from_secs(180);
const CONNECT: Duration = Duration::from_secs(30);
/// For an answer, after a quarter of a gibibyte was taken in.
const ANSWER: Duration = Duration::from_secs(180);

/// The server, with all that is in it, until it is dropped.
pub struct Moto {
    server: Child,
}

impl Moto {
    /// Starts it, with nothing in it.
    pub fn start(tools: &Tools) -> Result<Moto> {
        let log = File::options().create(true).append(true).open("moto.log")?;
        let mut command = Command::new(tools.moto()?);
        command.args(["-H", &HOST.to_string(), "-p", &PORT.to_string()]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let moto = Moto { server: command.spawn().context("cannot start moto")? };
        until("answer of moto", START, || Ok(TcpStream::connect_timeout(&SocketAddr::from((HOST, PORT)), CONNECT)?))?;
        Ok(moto)
    }

    /// Where guests find it.
    pub fn endpoint(&self) -> String {
        format!("http://{HOST}:{PORT}")
    }

    /// What a service of a region answers to a request; moto wants to be told who asks, and believes it.
    pub fn request(&self, scope: (&str, &str), line: &str, body: impl Read, length: u64) -> Result<Vec<u8>> {
        let (region, service) = scope;
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from((HOST, PORT)), CONNECT)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        let form = if service == "s3" { "" } else { "Content-Type: application/x-www-form-urlencoded\r\n" };
        let head = format!(
            "{line} HTTP/1.0\r\nHost: {HOST}:{PORT}\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=test/20260101/{region}/{service}/aws4_request, SignedHeaders=host, Signature=0\r\n\
             {form}Content-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        io::copy(&mut body.take(length), &mut stream)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("moto's answer has no head")?;
        let status = String::from_utf8_lossy(&answer[..end]).lines().next().unwrap_or_default().to_owned();
        let body = answer.split_off(end + 4);
        let said = || String::from_utf8_lossy(&body).chars().take(500).collect::<String>();
        ensure!(status.split(' ').nth(1) == Some("200"), "moto answers {status:?} to {line}: {}", said());
        Ok(body)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have ended already, and goes with the run in any case.
        self.server.kill().ok();
        self.server.wait().ok();
    }
}
