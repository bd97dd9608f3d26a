//! Whether the leaves on disk would pass at the other end, asked of the same verifier that connections use.

use std::sync::Arc;
use std::time::Duration;

use plan::facts::Seconds;
use plan::spec::Timestamp;
use rcgen::PublicKeyData;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, Error, RootCertStore};

use super::ca::PEM_LIMIT;
use super::certificate::Certificate;
use super::ensure::{LEAVES, Leaf, names, read_certificate};
use super::pem;
use crate::paths::Paths;
use crate::sys::fs;

/// Why this host's certificates cannot be used, if so: chain, names, usage, dates or keys; `now` absent skips dates.
pub fn certificates_problem(paths: &Paths, now: Option<Seconds>) -> Option<String> {
    let trusted = match trusted(paths) {
        Ok(trusted) => trusted,
        Err(why) => return Some(format!("{}: {why}", paths.pki().join("ca.crt").display())),
    };
    let names = match names(paths) {
        Ok(names) => names.map(|n| n.sans()).unwrap_or_default(),
        Err(error) => return Some(format!("{error:#}")),
    };
    LEAVES.iter().find_map(|leaf| {
        let file = paths.pki().join(leaf.file);
        let certificate = match read_certificate(&paths.pki(), leaf) {
            Ok(certificate) => certificate,
            Err(why) => return Some(format!("{}.crt: {why}", file.display())),
        };
        let problem = leaf_problem(leaf, &certificate, &trusted, now)
            .or_else(|| {
                let lacking = names.iter().find(|n| leaf.server && !certificate.sans.contains(*n))?;
                Some(format!("it lacks the name {lacking}, so members and clients that use it are refused"))
            })
            .map(|why| format!("{}.crt: {why}", file.display()));
        problem.or_else(|| {
            let path = file.with_extension("key");
            key_problem(&path, &certificate).map(|why| format!("{}: {why}", path.display()))
        })
    })
}

/// The certificates of `pki/ca.crt`.
///
/// # Errors
/// A sentence about the file, beginning with `it`.
pub fn trusted(paths: &Paths) -> Result<Vec<Certificate>, String> {
    let text =
        fs::read_text(&paths.pki().join("ca.crt"), PEM_LIMIT).map_err(|e| format!("it cannot be read: {e:#}"))?;
    let ders = pem::certificates(&text.ok_or("it is missing")?).map_err(|why| format!("it {why}"))?;
    ders.into_iter().map(|der| Certificate::read(der).map_err(|why| format!("it {why}"))).collect()
}

/// Whether this CA issued a certificate that members accept, whatever the time is.
///
/// # Errors
/// Why not, in the verifier's words.
pub fn issued_by(certificate: &Certificate, ca: &Certificate) -> Result<(), Error> {
    as_client(certificate, std::slice::from_ref(ca), certificate.not_before.max(ca.not_before))
}

/// Trust in these certificates; rustls keeps what can be an anchor of trust.
pub fn roots(cas: &[Certificate]) -> Arc<RootCertStore> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(cas.iter().map(|c| c.der.clone()));
    Arc::new(store)
}

fn leaf_problem(leaf: &Leaf, certificate: &Certificate, cas: &[Certificate], now: Option<Seconds>) -> Option<String> {
    let when = now.unwrap_or_else(|| cas.iter().map(|c| c.not_before).fold(certificate.not_before, Seconds::max));
    let checked = as_client(certificate, cas, when).and_then(|()| match certificate.sans.iter().next() {
        Some(name) if leaf.server => as_server(certificate, cas, when, name),
        Some(_) | None => Ok(()),
    });
    checked.err().map(|error| in_words(certificate, cas, &error, when))
}

fn as_client(certificate: &Certificate, cas: &[Certificate], when: Seconds) -> Result<(), Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(cas), super::provider())
        .build()
        .map_err(|e| Error::General(e.to_string()))?;
    verifier.verify_client_cert(&certificate.der, &[], unix(when)).map(|_| ())
}

fn as_server(certificate: &Certificate, cas: &[Certificate], when: Seconds, name: &str) -> Result<(), Error> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(cas), super::provider())
        .build()
        .map_err(|e| Error::General(e.to_string()))?;
    let name = ServerName::try_from(name.to_owned()).map_err(|e| Error::General(e.to_string()))?;
    verifier.verify_server_cert(&certificate.der, &[], &name, &[], unix(when)).map(|_| ())
}

fn unix(when: Seconds) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(when.0))
}

fn in_words(certificate: &Certificate, cas: &[Certificate], error: &Error, when: Seconds) -> String {
    let Error::InvalidCertificate(error) = error else { return format!("it cannot be used: {error}") };
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
            "it expired on {}, and this host's clock says {}: correct the clock if it is wrong, else boot with the CA in \
             the spec, or see `etcd-bootstrapper certs renew`",
            Timestamp(certificate.not_after),
            Timestamp(when)
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => format!(
            "it is not valid before {}, and this host's clock says {}: the clock is behind",
            Timestamp(certificate.not_before),
            Timestamp(when)
        ),
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            let trusted: Vec<&str> = cas.iter().map(|c| c.subject.as_str()).collect();
            format!("its issuer ({}) is none of the CAs in ca.crt ({})", certificate.issuer, trusted.join("; "))
        }
        // Another crate's open enum; its own words are meant for people.
        other => format!("it cannot be used: {other}"),
    }
}

fn key_problem(path: &std::path::Path, certificate: &Certificate) -> Option<String> {
    let text = match fs::read_text(path, PEM_LIMIT) {
        Ok(Some(text)) => text,
        Ok(None) => return Some("it is missing".into()),
        Err(error) => return Some(format!("{error:#}")),
    };
    match pem::key(&text) {
        Err(why) => Some(format!("it {why}")),
        Ok(key) if key.der_bytes() != certificate.public_key => {
            Some("it does not belong to the certificate beside it".into())
        }
        Ok(_) => None,
    }
}
