//! Making certificates: leaves for this host, and for `config new` a CA and its clients.

use anyhow::{Context, Result};
use plan::facts::Seconds;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use time::OffsetDateTime;

use super::ca::CaMaterial;
use super::certificate::Certificate;
use super::verify;
use crate::exit::Exit;
use crate::sys::clock::BUILT;
use crate::sys::random;

/// How far a leaf is backdated, seconds: members whose clocks are behind by less accept it.
const BACKDATED: u64 = 3600;

/// How far a CA is backdated, seconds: it may be used the minute it was made, on hosts with a poor clock.
const CA_BACKDATED: u64 = 24 * 3600;

/// What a leaf is to say.
pub struct Request<'a> {
    /// CN, and O if there is one.
    pub name: (&'a str, Option<&'a str>),
    /// Names and addresses, canonical; a client certificate has none, as etcd holds a client to every one it has.
    pub sans: Vec<String>,
    /// Whether servers may use it.
    pub server: bool,
    /// How long it is valid, seconds; no longer than the CA in any case.
    pub validity: u64,
}

/// Issues a leaf for a key, valid from an hour ago; without a known clock, for as long as the CA is.
///
/// # Errors
/// 65 when others would not accept what this CA issues; when signing fails.
pub fn leaf(ca: &CaMaterial, key: &KeyPair, request: Request<'_>, now: Option<Seconds>) -> Result<Certificate> {
    let base = now.unwrap_or(Seconds(BUILT)).0.max(ca.not_before().0);
    let mut params = CertificateParams::new(request.sans).context("cannot write the names into a certificate")?;
    params.not_before = date(base.saturating_sub(BACKDATED).max(ca.not_before().0))?;
    params.not_after = date(match now {
        Some(_) => base.saturating_add(request.validity).min(ca.not_after().0),
        None => ca.not_after().0,
    })?;
    params.distinguished_name = distinguished(request.name);
    params.serial_number = Some(serial()?);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if request.server {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    let made = params.signed_by(key, &ca.issuer).context("cannot sign a certificate with the CA")?;
    let made = Certificate::read(made.der().clone()).map_err(anyhow::Error::msg)?;
    let first = &ca.certificates[0];
    verify::issued_by(&made, first).map_err(|why| {
        Exit::BadInput.because(format!(
            "{}: members would not accept what the CA ({}) issues here ({why}): give a CA with a plain name, such as \
             CN=etcd-ca, without name constraints that leave this host out",
            ca.field, first.subject
        ))
    })?;
    Ok(made)
}

/// Makes a CA: ECDSA P-256, backdated by a day, able to issue leaves only. Gives its PEM certificate and key.
///
/// # Errors
/// When the kernel gives no random bytes or the dates are out of range.
pub fn new_ca(common_name: &str, validity: u64, now: Seconds) -> Result<(String, KeyPair)> {
    let key = new_key()?;
    let mut params = CertificateParams::default();
    params.not_before = date(now.0.saturating_sub(CA_BACKDATED))?;
    params.not_after = date(now.0.saturating_add(validity))?;
    params.distinguished_name = distinguished((common_name, None));
    params.serial_number = Some(serial()?);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let made = params.self_signed(&key).context("cannot sign the new CA")?;
    Ok((made.pem(), key))
}

/// A new private key, ECDSA P-256.
///
/// # Errors
/// When the kernel gives no random bytes.
pub fn new_key() -> Result<KeyPair> {
    KeyPair::generate().context("cannot make a private key")
}

fn distinguished((common_name, organization): (&str, Option<&str>)) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}

/// Random, because two leaves of one key need two serial numbers; positive, as RFC 5280 section 4.1.2.2 wants it.
fn serial() -> Result<SerialNumber> {
    let mut bytes: [u8; 16] = random::bytes()?;
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn date(seconds: u64) -> Result<OffsetDateTime> {
    let date = i64::try_from(seconds).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    date.with_context(|| format!("{seconds} seconds after 1970 is no date that a certificate can have"))
}
