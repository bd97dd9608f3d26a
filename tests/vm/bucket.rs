//! moto's S3 on this host's end of the bridge: a server that others wrote, with a bucket called `bucket`.
//!
//! What it makes of two conditional writes in one moment is not defined; here three slow machines write equal claims, and
//! `tests/it` lets claims race in a bucket of our own that is atomic.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::until;
use crate::tools::Tools;
use crate::world::HOST;

const PORT: u16 = 9000;
/// moto wants to be told who asks for an object, and believes it.
const SOMEBODY: &str =
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
/// For an interpreter to start on a busy host.
const START: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(10);
/// For an answer, after a quarter of a gibibyte was taken in.
const ANSWER: Duration = Duration::from_secs(60);

/// The server, with all that is in it, until it is dropped.
pub struct Bucket {
    server: Child,
}

impl Bucket {
    /// Starts it, with an empty bucket.
    pub fn start(tools: &Tools) -> Result<Bucket> {
        let log = File::options().create(true).append(true).open("moto.log")?;
        let mut command = Command::new(tools.moto()?);
        command.args(["-H", &HOST.to_string(), "-p", &PORT.to_string()]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let bucket = Bucket { server: command.spawn().context("cannot start moto")? };
        until("bucket at moto", START, || bucket.request("PUT", "", io::empty(), 0))?;
        Ok(bucket)
    }

    /// The keys of `store` or `restore` that say where it is and as whom it is asked.
    pub fn access(&self) -> String {
        let credentials = "credentials: {access_key_id: test, secret_access_key: test}";
        format!("endpoint: \"http://{HOST}:{PORT}\", path_style: true, allow_http: true, {credentials}")
    }

    /// An object.
    pub fn get(&self, key: &str) -> Result<Vec<u8>> {
        self.request("GET", key, io::empty(), 0)
    }

    /// Puts a file into it.
    pub fn put(&self, key: &str, file: &Path) -> Result<()> {
        let file = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
        let length = file.metadata()?.len();
        self.request("PUT", key, file, length).map(|_| ())
    }

    fn request(&self, method: &str, key: &str, mut body: impl Read, length: u64) -> Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from((HOST, PORT)), CONNECT)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        let head = format!(
            "{method} /bucket/{key} HTTP/1.0\r\nHost: {HOST}:{PORT}\r\nAuthorization: {SOMEBODY}\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        io::copy(&mut body, &mut stream)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("moto's answer has no head")?;
        let status = String::from_utf8_lossy(&answer[..end]).lines().next().unwrap_or_default().to_owned();
        ensure!(status.split(' ').nth(1) == Some("200"), "moto answers {status:?} to {method} {key}");
        Ok(answer.split_off(end + 4))
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        // It may have ended already, and goes with the run in any case.
        self.server.kill().ok();
        self.server.wait().ok();
    }
}
