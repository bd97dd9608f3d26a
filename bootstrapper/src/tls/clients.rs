//! Both ends of mutual TLS, from the files in `pki/`.

use std::error::Error;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use etcd_client::TlsOptions;
use plan::facts::Seconds;
use plan::spec::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{AlertDescription, CertificateError, ClientConfig, ServerConfig};

use super::ca::PEM_LIMIT;
use super::verify::{roots, trusted};
use crate::paths::Paths;
use crate::sys::fs;

/// How this program asks members: it trusts the CAs of `ca.crt` and shows `client.crt`.
///
/// For reqwest: `ClientBuilder::tls_backend_preconfigured`.
///
/// # Errors
/// When a file is missing or damaged, with its path.
pub fn client_config(paths: &Paths) -> Result<ClientConfig> {
    let (chain, key) = identity(paths, "client")?;
    ClientConfig::builder_with_provider(super::provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(&cas(paths)?))
        .with_client_auth_cert(chain, key)
        .context("client.crt and client.key do not work together")
}

/// How this program answers on the peer port: it shows `peer.crt` and hears only who shows a certificate of the CA.
///
/// # Errors
/// When a file is missing or damaged, with its path.
pub fn server_config(paths: &Paths) -> Result<ServerConfig> {
    let (chain, key) = identity(paths, "peer")?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(&cas(paths)?), super::provider())
        .build()
        .context("ca.crt has no certificate that can be trusted")?;
    ServerConfig::builder_with_provider(super::provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .context("peer.crt and peer.key do not work together")
}

/// The same as [`client_config`], for etcd-client.
///
/// # Errors
/// When a file is missing or damaged, with its path.
pub fn etcd_tls(paths: &Paths) -> Result<TlsOptions> {
    let certificate = etcd_client::Certificate::from_pem(text(paths, "ca.crt")?);
    let identity = etcd_client::Identity::from_pem(text(paths, "client.crt")?, text(paths, "client.key")?);
    Ok(TlsOptions::new().ca_certificate(certificate).identity(identity))
}

/// What a failed connection says about certificates, for a person; `None` when TLS was not the reason.
///
/// Looks through the whole chain of sources, also inside `io::Error`, whose `source()` leaves out what it wraps.
pub fn explain(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(in_words(tls));
        }
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

fn in_words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(error) => presented(error),
        rustls::Error::AlertReceived(alert) => alerted(*alert),
        // Another crate's open enum; its own words are meant for people.
        other => format!("TLS failed: {other}"),
    }
}

fn presented(error: &CertificateError) -> String {
    match error {
        CertificateError::ExpiredContext { time, not_after } => format!(
            "its certificate expired on {} and this host's clock says {}: one of both clocks is wrong, or it was not renewed",
            moment(*not_after),
            minute(*time)
        ),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "its certificate is not valid before {} and this host's clock says {}: one of both clocks is wrong",
            moment(*not_before),
            minute(*time)
        ),
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is from another CA than ours: it belongs to another cluster, or one of both has a wrong \
             tls.ca; correct that and boot that host again"
                .into()
        }
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "its certificate is not for {} but for {}: another host answers there, or its tls.extra_sans lacks the name",
            expected.to_str(),
            presented.join(", ")
        ),
        // Another crate's open enum; its own words are meant for people.
        other => format!("its certificate is refused: {other}"),
    }
}

fn alerted(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateExpired => {
            "it says that our certificate is expired or not valid yet: compare the clocks of both hosts".into()
        }
        AlertDescription::UnknownCA | AlertDescription::BadCertificate | AlertDescription::DecryptError => {
            "it refuses our certificate: it trusts another CA, or the clocks of both hosts differ".into()
        }
        AlertDescription::CertificateRequired => "it wants a client certificate and got none".into(),
        // Another crate's open enum.
        other => format!("it ended TLS with the alert {other:?}"),
    }
}

fn moment(time: UnixTime) -> Timestamp {
    Timestamp(Seconds(time.as_secs()))
}

/// The clock of now. A text with its seconds would be another one at each look.
fn minute(time: UnixTime) -> Timestamp {
    Timestamp(Seconds(time.as_secs() / 60 * 60))
}

fn cas(paths: &Paths) -> Result<Vec<super::certificate::Certificate>> {
    trusted(paths).map_err(|why| anyhow!("{}: {why}", paths.pki().join("ca.crt").display()))
}

fn identity(paths: &Paths, name: &str) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let certificate = format!("{name}.crt");
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text(paths, &certificate)?.as_bytes()).collect();
    let chain = chain.with_context(|| format!("{} is damaged", paths.pki().join(certificate).display()))?;
    let key = format!("{name}.key");
    let der = PrivateKeyDer::from_pem_slice(text(paths, &key)?.as_bytes())
        .with_context(|| format!("{} is damaged", paths.pki().join(key).display()))?;
    Ok((chain, der))
}

fn text(paths: &Paths, file: &str) -> Result<String> {
    let path = paths.pki().join(file);
    fs::read_text(&path, PEM_LIMIT)?.with_context(|| format!("there is no {}: run makes it", path.display()))
}

/// Installs ring as what every TLS of this process computes with; calling it again does no harm.
pub fn install_provider() {
    // The only failure is that one is installed already, and no other than ring is linked.
    let _installed_before = Arc::unwrap_or_clone(super::provider()).install_default();
}
