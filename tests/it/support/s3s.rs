//! s3s-fs, an S3 that others wrote and that checks signatures, with a bucket called `bucket`.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::scratch::{Scratch, until};

/// Its only key.
pub const KEY: &str = "AKIA";
pub const SECRET: &str = "the-secret-half";

/// Runs until it is dropped.
pub struct S3s {
    server: Child,
    pub endpoint: String,
    _objects: Scratch,
}

impl S3s {
    pub fn start() -> S3s {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
        let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/s3s.sh");
        let found = Command::new(tool).stderr(Stdio::inherit()).output().expect("tools/s3s.sh runs");
        assert!(found.status.success(), "tools/s3s.sh failed");
        let objects = Scratch::new();
        std::fs::create_dir(objects.join("bucket")).expect("a bucket");
        let server = Command::new(String::from_utf8(found.stdout).expect("a path").trim())
            .args(["--host", "127.0.0.1", "--port", &address.port().to_string()])
            .args(["--access-key", KEY, "--secret-key", SECRET])
            .arg(objects.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("s3s-fs starts");
        until("s3s-fs answers", || TcpStream::connect(address).ok());
        S3s { server, endpoint: format!("http://{address}"), _objects: objects }
    }
}

impl Drop for S3s {
    fn drop(&mut self) {
        let _gone_already = self.server.kill();
        let _reaped = self.server.wait();
    }
}
