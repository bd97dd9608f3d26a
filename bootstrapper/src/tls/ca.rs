//! The cluster's CA: where its certificate and key come from, and whether they are fit to issue with.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Result;
use plan::document::{Source, Tls};
use plan::facts::Seconds;
use plan::spec::{Secret, Timestamp};
use rcgen::{Issuer, KeyPair, PublicKeyData};

use super::certificate::Certificate;
use super::pem;
use crate::exit::{Exit, Failure};
use crate::paths::Paths;
use crate::sys::clock::BUILT;
use crate::sys::{env, fs};

/// A PEM bundle of two certificates with all their text is far below this, bytes.
pub(super) const PEM_LIMIT: u64 = 64 << 10;

/// From how long before its end on a CA is warned about, seconds.
const WARN_BEFORE: u64 = 90 * 24 * 3600;

/// A CA that is fit to issue: the first certificate issues, every one is trusted. It has no Debug.
pub struct CaMaterial {
    pub(super) certificates: Vec<Certificate>,
    pub(super) issuer: Issuer<'static, KeyPair>,
    pub(super) field: String,
}

/// Loads and checks the CA that the spec names in `tls.ca`; `now` is absent when the clock is not known.
///
/// # Errors
/// 65 for a certificate or key that cannot be used, 69 for a file or credential that is not there, 75 for a CA that is
/// not valid yet by this host's clock, 77 for a key file that others can read. Every message names its field.
pub fn load(tls: &Tls, paths: &Paths, now: Option<Seconds>) -> Result<CaMaterial> {
    let certificate = read(&tls.ca.cert, "tls.ca.cert", paths, false)?;
    let key = read(&tls.ca.key, "tls.ca.key", paths, true)?;
    CaMaterial::checked(certificate.reveal(), "tls.ca.cert", &key, "tls.ca.key", now)
}

/// Loads and checks the CA that an earlier boot kept in `pki/`, for when its carrier is gone.
///
/// # Errors
/// As [`load`], with the paths of the files for the names of the fields.
pub fn stored(paths: &Paths, now: Option<Seconds>) -> Result<CaMaterial> {
    let read = |name: &str, private| {
        let path = paths.pki().join(name);
        read_file(&path, &path.display().to_string(), private)
    };
    let path = |name: &str| paths.pki().join(name).display().to_string();
    CaMaterial::checked(read("ca.crt", false)?.reveal(), &path("ca.crt"), &read("ca.key", true)?, &path("ca.key"), now)
}

impl CaMaterial {
    /// Checks a bundle and a key that belong to these fields.
    pub(crate) fn checked(
        bundle: &str,
        bundle_field: &str,
        key: &Secret,
        key_field: &str,
        now: Option<Seconds>,
    ) -> Result<CaMaterial> {
        let bad = |field: &str, why: String| Exit::BadInput.because(format!("{field}: {why}"));
        let ders = pem::certificates(bundle).map_err(|why| bad(bundle_field, why))?;
        let count = ders.len();
        if count > 2 {
            let why = format!("has {count} certificates: give the CA that issues, and one more while a CA is rotated");
            return Err(bad(bundle_field, why));
        }
        let mut certificates = Vec::new();
        for (i, der) in ders.into_iter().enumerate() {
            let which = if count == 1 { String::new() } else { format!("certificate {} of {count} ", i + 1) };
            let certificate = Certificate::read(der).map_err(|why| bad(bundle_field, format!("{which}{why}")))?;
            may_issue(&certificate).map_err(|why| bad(bundle_field, format!("{which}{why}")))?;
            certificates.push(certificate);
        }
        let key = pem::key(key.reveal()).map_err(|why| bad(key_field, why))?;
        matches(&certificates, &key).map_err(|why| bad(key_field, why))?;
        in_time(&certificates[0], bundle_field, now)?;
        let issuer = Issuer::from_ca_cert_der(&certificates[0].der, key).map_err(|_| {
            bad(bundle_field, "has a subject or extensions that this program cannot repeat in what it issues".into())
        })?;
        Ok(CaMaterial { certificates, issuer, field: bundle_field.to_owned() })
    }

    /// From when on the CA that issues is valid.
    pub fn not_before(&self) -> Seconds {
        self.certificates[0].not_before
    }

    /// The end of the CA that issues; no leaf outlives it.
    pub fn not_after(&self) -> Seconds {
        self.certificates[0].not_after
    }

    /// What to tell a person when the CA that issues ends within 90 days.
    pub fn warning(&self, now: Seconds) -> Option<String> {
        let end = self.not_after();
        (end.0.saturating_sub(now.0) < WARN_BEFORE).then(|| {
            format!(
                "the CA ends on {}, and every certificate with it: make a new CA, give all members both of them \
                 in {} (the new one second), then both with the new one first, then the new one alone",
                Timestamp(end),
                self.field
            )
        })
    }

    /// All certificates as one PEM text.
    pub(super) fn bundle(&self) -> String {
        self.certificates.iter().map(Certificate::pem).collect()
    }
}

fn may_issue(certificate: &Certificate) -> Result<(), String> {
    let subject = &certificate.subject;
    if !certificate.ca {
        Err(format!(
            "({subject}) is not a CA, its basic constraints lack CA:TRUE: give the certificate that issues, \
             not one that was issued"
        ))
    } else if !certificate.signs {
        Err(format!("({subject}) must not issue: its key usage lacks keyCertSign"))
    } else {
        Ok(())
    }
}

fn matches(certificates: &[Certificate], key: &KeyPair) -> Result<(), String> {
    let first = &certificates[0];
    match certificates.iter().position(|c| c.public_key == key.der_bytes()) {
        Some(0) => Ok(()),
        Some(_) => Err(format!(
            "belongs to the second certificate of the bundle, and the first one ({}) issues: swap the certificates \
             or give the key of the first",
            first.subject
        )),
        None => Err(format!(
            "does not belong to the certificate ({}): give the key that was made with it; `openssl pkey -pubout` \
             of the key and `openssl x509 -pubkey -noout` of the certificate must print the same",
            first.subject
        )),
    }
}

fn in_time(certificate: &Certificate, field: &str, now: Option<Seconds>) -> Result<()> {
    let Certificate { subject, not_before, not_after, .. } = certificate;
    // An unknown clock is at least not before the program was built.
    let least = now.unwrap_or(Seconds(BUILT));
    let said = if now.is_some() { "this host's clock says" } else { "this program was built on" };
    if least > *not_after {
        let message = format!(
            "{field}: the CA ({subject}) expired on {}, and {said} {}: correct the clock if it is wrong, \
             else make a new CA with `etcd-bootstrapper config new`",
            Timestamp(*not_after),
            Timestamp(least)
        );
        return Err(Exit::BadInput.because(message));
    }
    match now {
        Some(now) if now < *not_before => Err(Exit::TryAgain.because(format!(
            "{field}: the CA ({subject}) is not valid before {}, and this host's clock says {}: \
             the clock is behind; set it or give the host a time source",
            Timestamp(*not_before),
            Timestamp(now)
        ))),
        Some(_) | None => Ok(()),
    }
}

fn read(source: &Source, field: &str, paths: &Paths, private: bool) -> Result<Secret> {
    match source {
        Source::Inline(text) => Ok(text.clone()),
        Source::File { file } if !file.starts_with('/') => {
            Err(Exit::BadInput.because(format!("{field}: {file:?} is not an absolute path")))
        }
        Source::File { file } => read_file(&paths.host(file), field, private),
        Source::Credential { credential } => {
            let plain = !credential.is_empty() && !credential.starts_with('.') && !credential.contains('/');
            if !plain {
                let message =
                    format!("{field}: {credential:?} is not the name of a credential: it has no / and no leading dot");
                return Err(Exit::BadInput.because(message));
            }
            let Some(directory) = env::var("CREDENTIALS_DIRECTORY") else {
                let message = format!(
                    "{field}: the credential {credential} was not delivered: $CREDENTIALS_DIRECTORY is not set; give it \
                     to the machine as a system credential or put it into /etc/credstore"
                );
                return Err(Exit::Unavailable.because(message));
            };
            // systemd alone writes there, so its modes are not ours to judge.
            read_file(&PathBuf::from(directory).join(credential), field, false)
        }
    }
}

fn read_file(path: &Path, field: &str, private: bool) -> Result<Secret> {
    let text = if private { fs::read_private(path, PEM_LIMIT) } else { fs::read_text(path, PEM_LIMIT) };
    match text {
        Ok(Some(text)) => Ok(Secret::new(text)),
        Ok(None) => Err(Exit::Unavailable.because(format!("{field}: there is no {}: put it there", path.display()))),
        Err(error) => {
            let denied = error.chain().filter_map(|e| e.downcast_ref::<io::Error>());
            let denied = denied.map(io::Error::kind).any(|kind| kind == io::ErrorKind::PermissionDenied);
            let private = error.downcast_ref::<Failure>().map(|failure| failure.exit);
            let exit = private.unwrap_or(if denied { Exit::Permission } else { Exit::BadInput });
            Err(exit.because(format!("{field}: {error:#}")))
        }
    }
}
