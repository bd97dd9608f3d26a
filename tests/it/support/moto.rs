//! moto's S3, a server that others wrote, with a bucket called `bucket`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::scratch::until;
use crate::world::Host;

/// Where its EC2 has everything.
pub const REGION: &str = "eu-west-1";

/// Runs until it is dropped.
pub struct Moto {
    server: Child,
    pub endpoint: String,
}

impl Moto {
    /// On this machine's loopback.
    pub fn start() -> Moto {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
        let server = serve(Command::new(program()), address);
        make_bucket(address);
        Moto { server, endpoint: format!("http://{address}") }
    }

    /// On this machine's loopback; each request becomes a line of JSON in this file.
    pub fn recording(to: &Path) -> Moto {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
        let mut command = Command::new(program());
        command.env("MOTO_ENABLE_RECORDING", "1").env("MOTO_RECORDER_FILEPATH", to);
        let server = serve(command, address);
        until("moto answers", || TcpStream::connect(address).ok());
        Moto { server, endpoint: format!("http://{address}") }
    }

    /// On the address of a host, for all of its network; with no bucket.
    pub fn of_all(host: &Host) -> Moto {
        let address: SocketAddr = format!("{}:9000", host.address).parse().expect("an address");
        let server = serve(host.command(program()), address);
        host.inside(async move || until("moto answers", || TcpStream::connect(address).ok()));
        Moto { server, endpoint: format!("http://{address}") }
    }

    /// What `ec2` or `autoscaling` answers, asked from this host.
    pub fn ask(&self, from: &Host, service: &'static str, form: &str) -> String {
        self.post(from, service, "Content-Type: application/x-www-form-urlencoded", form)
    }

    /// What `secretsmanager` or `ssm` answers to this operation.
    pub fn operate(&self, from: &Host, service: &'static str, operation: &str, body: &str) -> String {
        let headers = format!("Content-Type: application/x-amz-json-1.1\r\nX-Amz-Target: {operation}");
        self.post(from, service, &headers, body)
    }

    fn post(&self, from: &Host, service: &'static str, headers: &str, body: &str) -> String {
        let at = self.address();
        let request = request("POST /", at, service, headers, body);
        let answer = from.inside(async move || answer(at, &request));
        String::from_utf8(answer).expect("text")
    }

    /// What `ec2` answers, asked from this machine.
    pub fn form(&self, service: &str, form: &str) -> String {
        let headers = "Content-Type: application/x-www-form-urlencoded";
        let answer = answer(self.address(), &request("POST /", self.address(), service, headers, form));
        String::from_utf8(answer).expect("text")
    }

    /// What lies at a path of a service, asked from this machine.
    pub fn get(&self, service: &str, path: &str) -> Vec<u8> {
        answer(self.address(), &request(&format!("GET {path}"), self.address(), service, "Accept: */*", ""))
    }

    fn address(&self) -> SocketAddr {
        self.endpoint.trim_start_matches("http://").parse().expect("an address")
    }

    /// On a host's own loopback.
    pub fn on(host: &Host) -> Moto {
        let address = SocketAddr::from(([127, 0, 0, 1], 9000));
        let server = serve(host.command(program()), address);
        host.inside(async move || make_bucket(address));
        Moto { server, endpoint: format!("http://{address}") }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _gone_already = self.server.kill();
        let _reaped = self.server.wait();
    }
}

fn request(line: &str, at: SocketAddr, service: &str, headers: &str, body: &str) -> String {
    format!(
        "{line} HTTP/1.0\r\nHost: {at}\r\nAuthorization: AWS4-HMAC-SHA256 \
         Credential=test/20261121/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=none\r\n\
         {headers}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The body of the answer, which must be a good one.
fn answer(at: SocketAddr, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(at).expect("moto listens");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 200") || text.starts_with("HTTP/1.0 200"), "{request}: {text}");
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
    answer.split_off(end + 4)
}

/// The interpreter that has moto, and so has boto3.
pub fn python() -> PathBuf {
    program().with_file_name("python")
}

fn program() -> PathBuf {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/moto.sh");
    let found = Command::new(tool).stderr(Stdio::inherit()).output().expect("tools/moto.sh runs");
    assert!(found.status.success(), "tools/moto.sh failed");
    String::from_utf8(found.stdout).expect("a path").trim().into()
}

fn serve(mut command: Command, at: SocketAddr) -> Child {
    command.args(["-H", &at.ip().to_string(), "-p", &at.port().to_string()]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("moto starts")
}

fn make_bucket(at: SocketAddr) {
    let mut stream = until("moto answers", || TcpStream::connect(at).ok());
    stream.write_all(b"PUT /bucket HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").expect("a request");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
}
