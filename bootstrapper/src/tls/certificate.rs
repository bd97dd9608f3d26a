//! What a certificate says, as far as this program asks.

use std::collections::BTreeSet;
use std::net::IpAddr;

use plan::facts::Seconds;
use rustls::pki_types::{CertificateDer, DnsName};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate that parsed.
pub struct Certificate {
    /// The certificate itself.
    pub der: CertificateDer<'static>,
    /// Its subject, as in `CN=etcd-1`.
    pub subject: String,
    /// Its issuer, as in `CN=prod etcd CA`.
    pub issuer: String,
    /// From when on it is valid.
    pub not_before: Seconds,
    /// The last second of its validity.
    pub not_after: Seconds,
    /// DNS names in lower case and addresses in their canonical form.
    pub sans: BTreeSet<String>,
    /// Whether the basic constraints say CA:TRUE.
    pub ca: bool,
    /// Whether its key usage, if it has one, allows to sign certificates.
    pub signs: bool,
    /// Whether servers may use it.
    pub server: bool,
    /// Whether clients may use it.
    pub client: bool,
    /// The public key, in the form that ring shows the other half of it.
    pub public_key: Vec<u8>,
}

impl Certificate {
    /// Reads one certificate.
    ///
    /// # Errors
    /// A sentence that begins with a verb, for a caller that names the certificate.
    pub fn read(der: CertificateDer<'static>) -> Result<Certificate, String> {
        let (_, x509) = X509Certificate::from_der(&der).map_err(|e| format!("is no X.509 certificate: {e}"))?;
        let broken = |e| format!("has an extension that cannot be read: {e}");
        let sans = x509.subject_alternative_name().map_err(broken)?;
        let constraints = x509.basic_constraints().map_err(broken)?;
        let usage = x509.key_usage().map_err(broken)?;
        let extended = x509.extended_key_usage().map_err(broken)?;
        Ok(Certificate {
            subject: x509.subject().to_string(),
            issuer: x509.issuer().to_string(),
            not_before: seconds(x509.validity().not_before.timestamp()),
            not_after: seconds(x509.validity().not_after.timestamp()),
            sans: sans.map(|s| s.value.general_names.iter().filter_map(san).collect()).unwrap_or_default(),
            ca: constraints.is_some_and(|c| c.value.ca),
            signs: usage.is_none_or(|u| u.value.key_cert_sign()),
            server: extended.as_ref().is_none_or(|e| e.value.any || e.value.server_auth),
            client: extended.as_ref().is_none_or(|e| e.value.any || e.value.client_auth),
            public_key: x509.public_key().subject_public_key.data.to_vec(),
            der: der.clone(),
        })
    }

    /// The certificate as PEM.
    pub fn pem(&self) -> String {
        super::pem::certificate_text(&self.der)
    }
}

/// A name for a certificate in its canonical form; `None` for a text that is neither an address nor a DNS name.
pub fn canonical_san(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_string());
    }
    let name = text.to_ascii_lowercase();
    let checked = name.strip_prefix("*.").unwrap_or(&name);
    // A trailing dot is for resolvers; no certificate has it.
    (DnsName::try_from(checked).is_ok() && !checked.ends_with('.')).then(|| name.clone())
}

fn san(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(octets) => {
            let v4 = <[u8; 4]>::try_from(*octets).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*octets).map(IpAddr::from)).ok().map(|a| a.to_string())
        }
        // Another crate's enum; no other kind takes part in what etcd checks.
        _ => None,
    }
}

/// Before 1970 is 1970: nothing that is asked of a certificate differs between the two.
fn seconds(timestamp: i64) -> Seconds {
    Seconds(u64::try_from(timestamp).unwrap_or(0))
}
