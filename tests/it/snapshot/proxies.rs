//! Sources behind a proxy.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bootstrapper::exit::Exit;
use plan::restore::RestoreEntry;
use plan::spec::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::super::support::etcd::port;
use super::super::support::store::Store;
use super::{Fetch, honest};

/// A proxy as large sites have them, which wants a password; with all that it was asked.
async fn proxy() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that goes away is none of the proxy's business.
            tokio::spawn(tunnel(stream, Arc::clone(&all)));
        }
    });
    (port, asked)
}

async fn tunnel(mut client: TcpStream, asked: Arc<Mutex<Vec<String>>>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let (first, rest) = head.split_once("\r\n").unwrap();
    asked.lock().unwrap().push(first.to_owned());
    // user:password
    if !rest.to_lowercase().contains("proxy-authorization: basic dxnlcjpwyxnzd29yza==") {
        return client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n").await;
    }
    let to = first.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap();
    if to.starts_with("forbidden.example") {
        return client.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
    }
    let mut server = TcpStream::connect(to).await?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

fn through(entry: Option<RestoreEntry>, proxy: String) -> Option<RestoreEntry> {
    Some(RestoreEntry { proxy: Some(Secret::new(proxy)), ..entry.unwrap_or_default() })
}

#[tokio::test]
async fn a_web_server_and_a_bucket_are_asked_through_the_proxy_and_by_no_other_way() {
    let store = Store::serve(|_, asked| honest(asked).with("Last-Modified", "Sat, 21 Nov 2026 10:00:00 GMT")).await;
    for fetch in [Fetch::from(&store), Fetch::from_bucket(&store)] {
        let url = fetch.url.split('?').next().unwrap().to_owned();
        let (port, asked) = proxy().await;
        let good = format!("http://user:password@127.0.0.1:{port}");
        let fetch = Fetch { access: through(fetch.access, good), ..fetch };
        fetch.run().await.result.unwrap_or_else(|e| panic!("{url}: {e:#}"));
        let tunnel = format!("CONNECT localhost:{} HTTP/1.1", store.port());
        assert_eq!(*asked.lock().unwrap(), [tunnel], "{url}");
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_or_is_not_there_is_told_without_its_password() {
    let store = Store::serve(|_, asked| honest(asked)).await;
    let (refusing, _) = proxy().await;
    let elsewhere = || "https://forbidden.example/bucket/prod.db?presigned-secret".to_owned();
    for (name, proxy, why) in [
        (
            "wrong password",
            format!("http://user:presigned-secret@127.0.0.1:{refusing}"),
            "its proxy wants a user and a password, or others: write `restore.proxy` as",
        ),
        (
            "a host that is not allowed",
            format!("http://user:password@127.0.0.1:{refusing}"),
            "its proxy refuses to connect to it: let the proxy allow this host and port",
        ),
        ("nobody there", format!("http://user:presigned-secret@127.0.0.1:{}", port()), "Connection refused"),
    ] {
        let mut fetch = Fetch { access: through(None, proxy), patience: Duration::from_secs(1), ..Fetch::from(&store) };
        if name.contains("not allowed") {
            fetch.url = elsewhere();
        }
        let error = fetch.run().await.result.expect_err(name);
        assert_eq!(Exit::of(&error), Exit::Unavailable, "{name}: {error:#}");
        assert!(format!("{error:#}").contains(why), "{name}: {error:#}");
        assert_eq!(store.asked(), [], "{name}");
    }
}
