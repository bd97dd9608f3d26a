//! The clients that stores are asked with: over TLS by the site's trust, or in the clear where that is meant.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use object_store::client::{HttpClient, HttpConnector};
use object_store::{ClientConfigKey, ClientOptions};
use plan::spec::Secret;
use reqwest::Client;
use rustls::{ClientConfig, RootCertStore};

use crate::paths::Paths;
use crate::snapshot::source;

/// An instance's own metadata service is a hop away; where there is none, nobody should wait for it.
const NEAR: Duration = Duration::from_secs(2);

/// Longest silence of one request, and the whole of one to a metadata service.
const SILENCE: Duration = Duration::from_secs(10);

/// Gives each part of the store's client one of our own.
#[derive(Debug)]
pub(super) struct Connector {
    /// Absent only where the store itself is asked in the clear and no server can be trusted.
    https: Option<Client>,
    clear: Client,
}

impl Connector {
    /// Clients of this host.
    ///
    /// # Errors
    /// When no server can be trusted and the store is asked over TLS.
    pub(super) fn of(paths: &Paths, clear: bool, proxy: Option<&Secret>) -> Result<Connector> {
        let https = match source::client(&source::roots(paths), proxy) {
            Ok(client) => Some(client),
            Err(_) if clear => None,
            Err(error) => return Err(error),
        };
        Ok(Connector { https, clear: in_the_clear()? })
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let clear = options.get_config_value(&ClientConfigKey::AllowHttp).as_deref() == Some("true");
        let client = if clear { Some(&self.clear) } else { self.https.as_ref() };
        client.cloned().map(HttpClient::new).ok_or_else(|| object_store::Error::NotSupported {
            source: "no server can be trusted: there is no CA certificate on this host".into(),
        })
    }
}

/// For metadata services, which are never behind a proxy, and for stores of one's own; trusts no server, so it cannot be
/// redirected to one either.
pub fn in_the_clear() -> Result<Client> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("cannot set up TLS")?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .connect_timeout(NEAR)
        .read_timeout(SILENCE)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .user_agent(concat!("etcd-bootstrapper/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("cannot set up an http client")
}
