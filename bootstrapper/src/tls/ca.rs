//! The cluster's CA: where its certificate and key come from, and whether they are fit to issue with.

use std::path::{Path, PathBuf};

use anyhow::Result;
use plan::document::{Source, Tls};
use plan::facts::Seconds;
use plan::spec::{Secret, Timestamp};
use rcgen::{Issuer, KeyPair, PublicKeyData};

use super::certificate::Certificate;
use super::{pem, seal};
use crate::exit::Exit;
use crate::metadata::CA_KEY;
use crate::paths::Paths;
use crate::secrets::{Places, read_file};
use crate::sys::clock::BUILT;
use crate::sys::env;

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
/// Where a file or a credential is gone, the CA that an earlier boot kept on the data disk serves, unless the spec has
/// another certificate by now: a credential is often given to a machine for its first boot only.
///
/// # Errors
/// 65 for a certificate or key that cannot be read, 69 for a file or credential that is not there, 75 for a CA that is
/// not valid by this host's clock, 77 for a key file that others can read, 78 for a certificate that is no CA's or a key
/// that is not its. Every message names its field.
pub fn load(tls: &Tls, paths: &Paths, now: Option<Seconds>) -> Result<CaMaterial> {
    load_with(tls, paths, env::var("CREDENTIALS_DIRECTORY").map(PathBuf::from).as_deref(), now)
}

pub(super) fn load_with(
    tls: &Tls,
    paths: &Paths,
    credentials: Option<&Path>,
    now: Option<Seconds>,
) -> Result<CaMaterial> {
    let at = Places { paths, credentials: credentials.map(Path::to_owned) };
    let certificate = at.read(&tls.ca.cert, "tls.ca.cert", false);
    let key = at.read(&tls.ca.key, "tls.ca.key", true);
    let (given, error) = match (certificate, key) {
        (Ok(certificate), Ok(key)) => {
            return CaMaterial::checked(certificate.reveal(), "tls.ca.cert", &key, "tls.ca.key", now);
        }
        (Ok(certificate), Err(error)) => (Some(certificate), error),
        (Err(error), Ok(_) | Err(_)) => (None, error),
    };
    if Exit::of(&error) != Exit::Unavailable {
        return Err(error);
    }
    let ours = is_ours(&tls.ca.key);
    let kept = match kept(paths, given, now) {
        Ok(kept) => kept,
        Err(_) if !ours => return Err(error),
        Err(error) => {
            return Err(error.context(
                "tls.ca.key: the CA's key was kept on the data disk alone, which does not have it: give this host its \
                 configuration again",
            ));
        }
    };
    let subject = &kept.certificates[0].subject;
    if is_put_away(tls) {
        tracing::info!("going on with the CA {subject} that this data disk keeps: nobody is asked for it");
    } else {
        tracing::warn!("{error:#}; going on with the key of {subject} that this data disk keeps");
    }
    Ok(kept)
}

/// Whether the CA's key is nowhere at hand but where an earlier boot put it for renewal; opening that may take its time.
pub fn is_put_away(tls: &Tls) -> bool {
    is_ours(&tls.ca.key) || tls.ca.cert.is_remote() || tls.ca.key.is_remote()
}

fn is_ours(key: &Source) -> bool {
    matches!(key, Source::File { file } if file == CA_KEY)
}

/// The CA of these certificates, or of those kept, with the key that `pki/` keeps.
fn kept(paths: &Paths, given: Option<Secret>, now: Option<Seconds>) -> Result<CaMaterial> {
    let certificate = paths.pki().join("ca.crt");
    let certificate_field = certificate.display().to_string();
    let (key, key_field) = seal::kept(paths)?;
    let (bundle, bundle_field) = match given {
        Some(given) => (given, "tls.ca.cert"),
        None => (read_file(&certificate, &certificate_field, false)?, certificate_field.as_str()),
    };
    CaMaterial::checked(bundle.reveal(), bundle_field, &key, &key_field, now)
}

/// Loads and checks the CA that an earlier boot kept in `pki/`, for when its carrier is gone.
///
/// # Errors
/// As [`load`], with the paths of the files for the names of the fields.
pub fn stored(paths: &Paths, now: Option<Seconds>) -> Result<CaMaterial> {
    kept(paths, None, now)
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
        // Well-formed each, and not what they are given for.
        let refused = |field: &str, why: String| Exit::Refused.because(format!("{field}: {why}"));
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
            may_issue(&certificate).map_err(|why| refused(bundle_field, format!("{which}{why}")))?;
            certificates.push(certificate);
        }
        let key = pem::key(key.reveal()).map_err(|why| bad(key_field, why))?;
        matches(&certificates, &key).map_err(|why| refused(key_field, why))?;
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
    if least > *not_after {
        // Time alone can heal the one and never the other.
        let (exit, said) = match now {
            Some(_) => (Exit::TryAgain, "this host's clock says"),
            None => (Exit::Refused, "this program was built on"),
        };
        return Err(exit.because(format!(
            "{field}: the CA ({subject}) expired on {}, and {said} {}: correct the clock if it is wrong, \
             else make a new CA with `etcd-bootstrapper config new`",
            Timestamp(*not_after),
            minute(least)
        )));
    }
    match now {
        Some(now) if now < *not_before => Err(Exit::TryAgain.because(format!(
            "{field}: the CA ({subject}) is not valid before {}, and this host's clock says {}: \
             the clock is behind; set it or give the host a time source",
            Timestamp(*not_before),
            minute(now)
        ))),
        Some(_) | None => Ok(()),
    }
}

/// A text with the seconds of the clock would be another one at each look.
fn minute(now: Seconds) -> Timestamp {
    Timestamp(Seconds(now.0 / 60 * 60))
}
