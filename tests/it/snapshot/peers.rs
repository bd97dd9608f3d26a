//! A snapshot from a member of the founding that has it whole.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bootstrapper::answer::{Answering, SNAPSHOT};
use bootstrapper::exit::Exit;
use bootstrapper::paths::Paths;
use bootstrapper::snapshot::decode::{Most, Opening};
use bootstrapper::snapshot::fetch::{Order, fetch};
use bootstrapper::snapshot::origin::Origin;
use bootstrapper::snapshot::shelf::Shelf;
use bootstrapper::snapshot::verify::Summary;
use bootstrapper::tls;
use plan::document::{Ca, Source, Tls};
use plan::facts::Heard;
use plan::founding::{Founder, Founding, Terms};
use plan::spec::{Secret, Sha256};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::super::support::etcd::port;
use super::super::support::fixture::{sha256, snapshot, zstd};
use super::super::support::scratch::Scratch;
use super::super::world::PROGRAM;

/// Two hosts of one CA; the first answers on its peer port.
struct Two {
    scratch: Scratch,
    founding: Founding,
    _answering: Answering,
}

impl Two {
    async fn new(object: &[u8]) -> Two {
        let scratch = Scratch::new();
        let out = scratch.join("prod");
        let mut new = Command::new(PROGRAM);
        new.args(["config", "new", "--name", "prod", "--size", "1", "--peer", "etcd-1=10.0.0.1", "--out"]).arg(&out);
        assert!(new.output().unwrap().status.success());
        let ports = [port(), port()];
        let founder = |i: usize| Founder {
            name: format!("etcd-{i}").parse().unwrap(),
            peer_url: format!("https://127.0.0.1:{}", ports[i - 1]).parse().unwrap(),
            nonce: format!("{i:032x}").parse().unwrap(),
        };
        let terms = Terms {
            cluster: "prod".parse().unwrap(),
            epoch: 1,
            generation: 1,
            size: 3,
            set: Vec::new(),
            store: None,
            snapshot: Some(sha256(object).parse().unwrap()),
            etcd: "3.5".into(),
        };
        let founding = Founding::new(terms, vec![founder(1), founder(2)]);
        let ca = |file: &str| Source::Inline(Secret::new(fs::read_to_string(out.join(file)).unwrap()));
        let spec = Tls { ca: Ca { cert: ca("ca.crt"), key: ca("ca.key") }, extra_sans: Vec::new(), validity: None };
        for i in [1, 2] {
            let paths = Paths::under(scratch.join(&i.to_string()));
            fs::create_dir_all(paths.download()).unwrap();
            let (ca, me) = (tls::load(&spec, &paths, None).unwrap(), founder(i));
            let names = tls::Names::new(&spec, me.name, "host", [127, 0, 0, 1].into(), me.peer_url).unwrap();
            tls::ensure(&paths, &ca, &names, Some(bootstrapper::sys::clock::now()), None).unwrap();
        }
        let first = Paths::under(scratch.join("1"));
        let (address, config) = (([127, 0, 0, 1], ports[0]).into(), tls::server_config(&first).unwrap());
        let heard = Heard::Holds { class: "nothing that is asked here".into() };
        let answering = Answering::on(address, config, heard, first.download()).await.unwrap();
        Two { scratch, founding, _answering: answering }
    }

    fn shelf(&self, of: usize) -> Shelf {
        let directory = Paths::under(self.scratch.join(&of.to_string())).download();
        Shelf { directory, sha256: self.pinned(), owner: None }
    }

    fn pinned(&self) -> Sha256 {
        self.founding.terms.snapshot.clone().unwrap()
    }

    /// The second host takes it from the first.
    async fn fetch(&self) -> anyhow::Result<Summary> {
        let paths = Paths::under(self.scratch.join("2"));
        let me = &self.founding.founders.iter().find(|f| f.name.as_str() == "etcd-2").unwrap().peer_url;
        let peers = Origin::peers(&paths, &self.founding, me, &self.pinned())?;
        let order = Order {
            origins: &peers.iter().collect::<Vec<_>>(),
            sha256: Some(&self.pinned()),
            signer: None,
            accept: None,
            shelf: Some(self.shelf(2)),
            idle: Duration::from_secs(5),
            patience: Duration::from_secs(5),
            admit: &|_| Ok(()),
            opening: Opening::plain(Most::sane()),
        };
        fetch(&order, &mut |_| ()).await
    }

    /// How it is answered to somebody with a certificate that `config new` made for people.
    async fn status_for_people(&self) -> u16 {
        let pki = self.scratch.join("prod");
        let pem = |file: &str| fs::read(pki.join(file)).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem("ca.crt")).unwrap()).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(&pem("admin.crt")).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(&pem("admin.key")).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_client_auth_cert(chain, key).unwrap();
        let client = reqwest::Client::builder().tls_backend_preconfigured(config).no_proxy().build().unwrap();
        let first = self.founding.founders.iter().find(|f| f.name.as_str() == "etcd-1").unwrap();
        let url = format!("{}{SNAPSHOT}{}", first.peer_url, self.pinned().as_str());
        client.get(url).send().await.unwrap().status().as_u16()
    }
}

#[tokio::test]
async fn a_peer_hands_out_what_it_has_whole_as_it_lay_at_the_source_and_goes_on_where_it_was_cut() {
    for (name, object, file) in [("plain", snapshot().to_vec(), "db"), ("zstd", zstd(snapshot()), "object")] {
        let two = Two::new(&object).await;
        let (first, second) = (two.shelf(1), two.shelf(2));
        let error = two.fetch().await.unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Unavailable, "{name}: {error:#}");
        assert!(format!("{error:#}").contains("from the peer etcd-1: it answered 404"), "{name}: {error:#}");

        // A part of it is nothing to hand out.
        fs::write(first.object(), &object[..object.len() / 2]).unwrap();
        assert!(two.fetch().await.is_err(), "{name}");
        fs::remove_file(first.object()).unwrap();

        fs::write(first.path(), snapshot()).unwrap();
        if file == "object" {
            fs::write(first.object(), &object).unwrap();
        }
        // What an earlier attempt left of it, wherever that came from.
        let had = object.len() / 3;
        fs::write(second.object(), &object[..had]).unwrap();
        let sidecar = format!("{{\"written\":{had},\"version\":{{\"etag\":\"theirs\",\"total\":{}}}}}", object.len());
        fs::write(second.object().with_extension("json"), sidecar).unwrap();
        let summary = two.fetch().await.unwrap_or_else(|e| panic!("{name}: {e:#}"));
        assert_eq!(summary.object_bytes, object.len() as u64, "{name}");
        assert_eq!(fs::read(second.path()).unwrap(), snapshot(), "{name}");
        assert_eq!(two.status_for_people().await, 403, "{name}");
    }
}

/// It had its name, and has rotted since: the sum is believed and not the peer.
#[tokio::test]
async fn what_a_peer_hands_out_is_checked_like_anything_else() {
    let two = Two::new(snapshot()).await;
    let mut rotten = snapshot().to_vec();
    rotten[1_000_000] ^= 1;
    fs::write(two.shelf(1).path(), rotten).unwrap();
    let error = two.fetch().await.unwrap_err();
    assert!(format!("{error:#}").contains("it is damaged or was cut"), "{error:#}");
    assert!(!two.shelf(2).path().exists() && !two.shelf(2).object().exists());
}
