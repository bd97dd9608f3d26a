//! Azurite, a server of Azure's blobs that others wrote, with a container called `container`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use super::scratch::until;

/// Its only account and that account's key, which everybody knows.
pub const ACCOUNT: &str = "devstoreaccount1";
pub const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Runs until it is dropped.
pub struct Azurite {
    server: Child,
    pub endpoint: String,
}

impl Azurite {
    pub fn start() -> Azurite {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
        let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/azurite.sh");
        let found = Command::new(tool).stderr(Stdio::inherit()).output().expect("tools/azurite.sh runs");
        assert!(found.status.success(), "tools/azurite.sh failed");
        let server = Command::new(String::from_utf8(found.stdout).expect("a path").trim())
            .args(["--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck", "--blobPort"])
            .arg(address.port().to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Azurite starts");
        make_container(address);
        Azurite { server, endpoint: format!("http://{address}/{ACCOUNT}") }
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _gone_already = self.server.kill();
        let _reaped = self.server.wait();
    }
}

/// Signed as by Microsoft's "Authorize with Shared Key": the method, eleven headers that are not there, those of Microsoft's
/// own, then the account and the path, which has the account once more, and the query.
fn make_container(at: SocketAddr) {
    let date =
        Command::new("date").env("LC_ALL", "C").args(["-u", "+%a, %d %b %Y %H:%M:%S GMT"]).output().expect("date");
    let date = String::from_utf8(date.stdout).expect("a date");
    let (path, headers) =
        (format!("/{ACCOUNT}/container"), format!("x-ms-date:{}\nx-ms-version:2021-08-06\n", date.trim()));
    let signed = format!("PUT{}{headers}/{ACCOUNT}{path}\nrestype:container", "\n".repeat(12));
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(KEY).expect("a key"));
    let signature = STANDARD.encode(hmac::sign(&key, signed.as_bytes()));
    let request = format!(
        "PUT {path}?restype=container HTTP/1.1\r\nHost: {at}\r\nContent-Length: 0\r\n{}Authorization: SharedKey \
         {ACCOUNT}:{signature}\r\nConnection: close\r\n\r\n",
        headers.replace('\n', "\r\n")
    );
    let mut stream = until("Azurite answers", || TcpStream::connect(at).ok());
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}
