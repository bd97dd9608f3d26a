//! Servers that other people wrote.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bootstrapper::paths::Paths;
use bootstrapper::store::Store;
use bootstrapper::store::claim::{self, Swap};
use plan::facts::ClaimState;
use plan::store::Keys;

use super::{claim as a_claim, cluster, entry, text};
use crate::support::scratch::{Scratch, until};

/// moto's S3 with a bucket.
struct Moto {
    server: Child,
    endpoint: String,
}

impl Moto {
    fn start() -> Moto {
        let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/moto.sh");
        let found = Command::new(tool).stderr(Stdio::inherit()).output().expect("tools/moto.sh runs");
        assert!(found.status.success(), "tools/moto.sh failed");
        let program = String::from_utf8(found.stdout).expect("a path");
        let address = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
        let mut server = Command::new(program.trim());
        server.args(["-H", "127.0.0.1", "-p", &address.port().to_string()]);
        let server = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("moto starts");
        let mut stream = until("moto answers", || TcpStream::connect(address).ok());
        stream.write_all(b"PUT /bucket HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").expect("a request");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200");
        Moto { server, endpoint: format!("http://{address}") }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _gone_already = self.server.kill();
        let _reaped = self.server.wait();
    }
}

#[tokio::test]
async fn a_claim_is_kept_in_moto_s_s3() {
    let (moto, scratch) = (Moto::start(), Scratch::new());
    let keys = Keys { access_key_id: text("test"), secret_access_key: text("test"), ..Keys::default() };
    let entry = entry("s3://bucket/clusters/prod", Some(moto.endpoint.clone()), keys);
    let store = Store::open(&entry, &Paths::under(scratch.path())).expect("a store");
    let name = cluster();
    assert_eq!(claim::read(&store, &name).await.expect("a bucket"), None);
    let (one, two) = (a_claim(1, ClaimState::Founding), a_claim(1, ClaimState::Founded));
    assert_eq!(claim::write(&store, &name, &one, None).await.expect("a claim"), Swap::Done);
    assert!(matches!(claim::write(&store, &name, &two, None).await.expect("a claim"), Swap::Stale(_)));
    assert_eq!(claim::write(&store, &name, &two, Some(&one)).await.expect("a claim"), Swap::Done);
    assert_eq!(claim::read(&store, &name).await.expect("a claim"), Some(two));
    assert_eq!(store.names("").await.expect("a listing"), ["claim.json"], "what conditions were tried on is removed");
    let gone = plan::store::StoreEntry { url: "s3://nowhere/prod".into(), ..entry };
    let gone = Store::open(&gone, &Paths::under(scratch.path())).expect("a store");
    let error = claim::read(&gone, &name).await.expect_err("no such bucket");
    assert!(error.to_string().contains("NoSuchBucket"), "{error}");
}
