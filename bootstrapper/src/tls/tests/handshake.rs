//! Both ends of mutual TLS against each other, and what each says when the other is wrong.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::sys::clock;
use crate::tls::{client_config, ensure, explain, server_config};

/// A host whose leaves were made by this CA at this time.
fn host(ca: &CaMaterial, made: Seconds) -> Scratch {
    let scratch = Scratch::new();
    ensure(&scratch.paths(), ca, &names(), Some(made), None).expect("leaves");
    scratch
}

/// What the client and the server have to say about a connection: nothing when it worked.
async fn connect(client: ClientConfig, server: &Scratch, name: &str) -> (Option<String>, Option<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let acceptor = TlsAcceptor::from(Arc::new(server_config(&server.paths()).expect("a server")));
    let serve = async {
        let (stream, _) = listener.accept().await?;
        let mut stream = acceptor.accept(stream).await?;
        stream.write_all(b"hello").await?;
        stream.shutdown().await
    };
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let ask = async {
        let stream = TcpStream::connect(address).await?;
        let mut stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await?;
        // In TLS 1.3 a client learns only here that it was refused.
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await?;
        assert_eq!(heard, "hello");
        std::io::Result::Ok(())
    };
    let (asked, served) = tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(ask, serve) })
        .await
        .expect("both ends finish");
    let words = |result: std::io::Result<()>| result.err().map(|e| explain(&e).unwrap_or_else(|| e.to_string()));
    (words(asked), words(served))
}

#[tokio::test]
async fn members_of_one_ca_hear_each_other_under_every_name() {
    let now = clock::now();
    let ca = ca("ca", now);
    let (asking, answering) = (host(&ca, now), host(&ca, now));
    for name in ["127.0.0.1", "::1", "localhost", "10.0.0.11", "peer-1.example.com", "etcd_1", "host-1.example.com"] {
        let client = client_config(&asking.paths()).expect("a client");
        assert_eq!(connect(client, &answering, name).await, (None, None), "{name}");
    }
}

#[tokio::test]
async fn during_a_rotation_old_and_new_leaves_are_heard() {
    let now = clock::now();
    let (old, old_key) = ca_pem("old", YEAR, now);
    let (new, new_key) = ca_pem("new", YEAR, now);
    let first = host(&checked(&format!("{old}{new}"), &old_key, Some(now)).expect("a CA"), now);
    let second = host(&checked(&format!("{new}{old}"), &new_key, Some(now)).expect("a CA"), now);
    for (asking, answering) in [(&first, &second), (&second, &first)] {
        let client = client_config(&asking.paths()).expect("a client");
        assert_eq!(connect(client, answering, "localhost").await, (None, None));
    }
}

#[tokio::test]
async fn a_client_that_shows_nothing_is_not_heard() {
    let now = clock::now();
    let server = host(&ca("ca", now), now);
    let trusted = crate::tls::verify::trusted(&server.paths()).unwrap_or_else(|why| panic!("{why}"));
    let client = ClientConfig::builder_with_provider(crate::tls::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(crate::tls::verify::roots(&trusted))
        .with_no_client_auth();
    let (client, server) = connect(client, &server, "localhost").await;
    assert_eq!(client.as_deref(), Some("it wants a client certificate and got none"));
    assert_eq!(server.as_deref(), Some("TLS failed: peer sent no certificates"));
}

#[tokio::test]
async fn a_host_of_another_ca_is_neither_believed_nor_heard() {
    let now = clock::now();
    let (ours, theirs) = (ca("ours", now), ca("theirs", now));
    let (here, there) = (host(&ours, now), host(&theirs, now));
    let said = "its certificate is from another CA than ours: it belongs to another cluster, or one of both has a wrong \
                tls.ca; correct that and boot that host again";
    let refused = "it refuses our certificate: it trusts another CA, or the clocks of both hosts differ";
    let (client, server) = connect(client_config(&here.paths()).expect("a client"), &there, "localhost").await;
    assert_eq!((client.as_deref(), server.as_deref()), (Some(said), Some(refused)));

    // A client that would believe anybody of their CA, with our leaf: the server must refuse it.
    let bundle = theirs.bundle();
    fs::write_atomic(&here.paths().pki().join("ca.crt"), bundle.as_bytes(), 0o644, None).expect("ca.crt");
    let (client, server) = connect(client_config(&here.paths()).expect("a client"), &there, "localhost").await;
    assert_eq!((client.as_deref(), server.as_deref()), (Some(refused), Some(said)));
}

#[tokio::test]
async fn a_leaf_outside_its_time_is_refused_with_both_dates() {
    let now = clock::now();
    let ca = ca("ca", Seconds(now.0 - 3 * YEAR));
    let (fresh, expired) = (host(&ca, now), host(&ca, Seconds(now.0 - 2 * YEAR)));
    let ahead = host(&ca, Seconds(now.0 + YEAR));
    let (client, _) = connect(client_config(&fresh.paths()).expect("a client"), &expired, "localhost").await;
    let client = client.expect("a refusal");
    let end = plan::spec::Timestamp(Seconds(now.0 - YEAR));
    assert!(client.starts_with(&format!("its certificate expired on {end} and this host's clock says 2")), "{client}");
    let (client, _) = connect(client_config(&fresh.paths()).expect("a client"), &ahead, "localhost").await;
    let client = client.expect("a refusal");
    let start = plan::spec::Timestamp(Seconds(now.0 + YEAR - 3600));
    assert!(client.starts_with(&format!("its certificate is not valid before {start} and this host's")), "{client}");
    let (client, server) = connect(client_config(&expired.paths()).expect("a client"), &fresh, "localhost").await;
    let told = "it says that our certificate is expired or not valid yet: compare the clocks of both hosts";
    assert_eq!(client.as_deref(), Some(told));
    assert!(server.expect("a refusal").starts_with(&format!("its certificate expired on {end}")));
}

#[tokio::test]
async fn a_name_that_the_leaf_lacks_is_told_with_those_it_has() {
    let now = clock::now();
    let ca = ca("ca", now);
    let (asking, answering) = (host(&ca, now), host(&ca, now));
    let (client, _) = connect(client_config(&asking.paths()).expect("a client"), &answering, "10.9.9.9").await;
    let client = client.expect("a refusal");
    assert!(client.starts_with("its certificate is not for 10.9.9.9 but for "), "{client}");
    assert!(client.contains("10.0.0.11"), "{client}");
}
