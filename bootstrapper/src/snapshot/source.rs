//! Where a snapshot comes from, named so that no secret of the URL is ever shown.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use plan::restore::{ObjectUrl, RestoreEntry, VolumeUrl};
use plan::spec::Secret;
use plan::store::StoreEntry;
use reqwest::{Client, ClientBuilder, Proxy, Url, redirect};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::exit::Exit;
use crate::paths::Paths;

/// How many redirects are followed; stores that redirect at all do so once.
const REDIRECTS: usize = 5;

/// Longest wait for a TCP connection and its TLS handshake.
const CONNECT: Duration = Duration::from_secs(10);

/// Where sources are looked for on this host, and as whom they are asked.
pub struct Access<'a> {
    /// Where everything is.
    pub paths: &'a Paths,
    /// Files of CAs that web servers are trusted by.
    pub roots: Vec<PathBuf>,
    /// `restore` of the configuration.
    pub restore: Option<&'a RestoreEntry>,
    /// `store` of the configuration, for what `restore` does not say of buckets.
    pub store: Option<&'a StoreEntry>,
}

impl<'a> Access<'a> {
    /// Without any configuration.
    pub fn without(paths: &'a Paths) -> Access<'a> {
        Access { paths, roots: roots(paths).into(), restore: None, store: None }
    }
}

/// A place that a snapshot can be had from.
pub enum Source {
    /// A web server, or an object store by a presigned URL.
    Https(Url),
    /// An object in a bucket.
    Bucket(Secret),
    /// A file of this host.
    File(PathBuf),
    /// A file of a volume, by its label.
    Volume(String, PathBuf),
}

impl Source {
    /// Reads an `https://`, `file://`, `volume://`, `s3://`, `gs://` or `az://` URL.
    ///
    /// # Errors
    /// 65 for anything else; the text is not quoted beyond its scheme, as it may be a secret.
    pub fn parse(url: &Secret) -> Result<Source> {
        let bad = |why: String| Exit::BadInput.because(format!("the snapshot's URL {why}"));
        if let Some(object) = ObjectUrl::parse(url.reveal()) {
            return object.map(|_| Source::Bucket(url.clone())).map_err(bad);
        }
        if let Some(volume) = VolumeUrl::parse(url.reveal()) {
            return volume
                .map(|v| Source::Volume(v.label.to_owned(), v.path.into()))
                .map_err(|why| bad(why.to_owned()));
        }
        let url = Url::parse(url.reveal()).map_err(|e| bad(format!("is not one: {e}")))?;
        match url.scheme() {
            "https" if !url.username().is_empty() || url.password().is_some() => Err(bad(
                "has a user or a password in it, which is not supported: use a presigned URL, or a file:// URL".into(),
            )),
            "https" => Ok(Source::Https(url)),
            "file" => url.to_file_path().map(Source::File).map_err(|()| bad("has a host: write file:///path".into())),
            "http" => Err(bad("is http, over which anybody could hand us another database: use https".into())),
            scheme => Err(bad(format!(
                "has the scheme {scheme}: use https (a presigned URL will do), file, volume, s3, gs or az"
            ))),
        }
    }

    /// The place for a person: no query, no fragment, no password.
    pub fn place(&self) -> String {
        match self {
            Source::Https(url) => place(url),
            Source::Bucket(url) => url.reveal().to_owned(),
            Source::File(path) => path.display().to_string(),
            Source::Volume(label, path) => format!("volume://{label}/{}", path.display()),
        }
    }
}

/// A URL without what may be a secret.
pub fn place(url: &Url) -> String {
    let port = url.port().map_or(String::new(), |p| format!(":{p}"));
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

/// Files with the CAs that web servers are trusted by: the system's, and `roots.pem` of the site beside the configuration.
pub fn roots(paths: &Paths) -> [PathBuf; 2] {
    [paths.host("/etc/ssl/certs/ca-certificates.crt"), paths.etc().join("roots.pem")]
}

/// A client that speaks https only, follows few redirects and sends nothing but what it is told to.
///
/// # Errors
/// When a file of CAs cannot be read, or none of them holds any; 65 for a proxy that is none.
pub fn client(roots: &[PathBuf], proxy: Option<&Secret>) -> Result<Client> {
    let tls = trust(roots)?;
    let builder = match proxy {
        // Its text is a secret, and reqwest's error would quote it.
        Some(proxy) => Client::builder().proxy(
            Proxy::all(proxy.reveal())
                .map_err(|_| Exit::BadInput.because("the proxy is none: write http://HOST:PORT"))?,
        ),
        None => Client::builder(),
    };
    built(builder, tls, redirect::Policy::custom(follow))
}

/// A client of a provider's API or of a secret's place, which never redirects.
///
/// # Errors
/// As [`client`].
pub fn client_of_apis(roots: &[PathBuf]) -> Result<Client> {
    built(Client::builder(), trust(roots)?, redirect::Policy::none())
}

fn built(builder: ClientBuilder, tls: ClientConfig, redirects: redirect::Policy) -> Result<Client> {
    builder
        .tls_backend_preconfigured(tls)
        .https_only(true)
        .connect_timeout(CONNECT)
        .redirect(redirects)
        .referer(false)
        .user_agent(concat!("etcd-bootstrapper/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("cannot set up an https client")
}

/// TLS that trusts these CAs.
fn trust(roots: &[PathBuf]) -> Result<ClientConfig> {
    let mut store = RootCertStore::empty();
    for path in roots {
        add(&mut store, path)?;
    }
    if store.is_empty() {
        let paths: Vec<String> = roots.iter().map(|p| p.display().to_string()).collect();
        return Err(Exit::BadInput.because(format!(
            "no server can be trusted: there is no CA certificate in {}; install ca-certificates",
            paths.join(" or ")
        )));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(builder.context("cannot set up TLS")?.with_root_certificates(store).with_no_client_auth())
}

fn add(store: &mut RootCertStore, path: &Path) -> Result<()> {
    let pem = match std::fs::read(path) {
        Ok(pem) => pem,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates
        .map_err(|e| Exit::BadInput.because(format!("{} is not a file of PEM certificates: {e}", path.display())))?;
    // Distributions ship a few that webpki cannot use; a server under one of those is refused by name later.
    store.add_parsable_certificates(certificates);
    Ok(())
}

fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    if attempt.url().scheme() != "https" {
        let to = place(attempt.url());
        return attempt.error(format!("it redirects to {to}, which is not https"));
    }
    if attempt.previous().len() > REDIRECTS {
        return attempt.error(format!("it redirects more than {REDIRECTS} times"));
    }
    attempt.follow()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_never_shows_the_query_and_a_bad_url_says_what_to_write() {
        for (url, expected) in [
            ("https://s3.example/b/prod.db?X-Amz-Signature=secret#x", Ok("https://s3.example/b/prod.db")),
            ("https://s3.example:8443/prod.db", Ok("https://s3.example:8443/prod.db")),
            ("file:///media/usb/prod%20a.db", Ok("/media/usb/prod a.db")),
            ("volume://My Stick/2026/prod%.db", Ok("volume://My Stick/2026/prod%.db")),
            ("volume://stick", Err("names no file on the volume")),
            ("volume://stick/../prod.db", Err("names no file on the volume")),
            ("volume:///prod.db", Err("names no volume")),
            ("http://s3.example/?secret", Err("is http")),
            ("https://u:secret@s3.example/", Err("a user or a password")),
            ("s3://bucket/prod+a:b.db", Ok("s3://bucket/prod+a:b.db")),
            ("s3://secret@bucket/prod.db", Err("names no bucket")),
            ("gs://bucket", Err("names no object")),
            ("az://bucket/prod.db?sig=secret", Err("has a query")),
            ("ftp://secret/prod", Err("has the scheme ftp")),
            ("file://secret/prod", Err("has a host")),
            ("secret", Err("is not one: relative URL")),
        ] {
            match (Source::parse(&Secret::new(url.to_owned())), expected) {
                (Ok(source), Ok(place)) => assert_eq!(source.place(), place),
                (Err(error), Err(why)) => {
                    assert!(error.to_string().contains(why) && !error.to_string().contains("secret"), "{url}: {error}");
                }
                (found, _) => panic!("{url}: {:?}", found.map(|s| s.place())),
            }
        }
    }
}
