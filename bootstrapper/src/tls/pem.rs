//! PEM texts taken apart, with a reason for a person when one cannot be.

use rcgen::KeyPair;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// `rsaEncryption` with its NULL, RFC 8017 appendix A.1.
const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// `id-ecPublicKey` on `secp256r1`, RFC 5480 section 2.1.1.
const P256: &[u8] =
    &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// `id-ecPublicKey` on `secp384r1`, RFC 5480 section 2.1.1.
const P384: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
const KEY: &str = "-----BEGIN PRIVATE KEY-----";
const DAMAGED: &str = "is damaged PEM: copy it again, from BEGIN to END, line by line";

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

/// All certificates of a PEM text in their order; text around them and CRLF line ends do no harm.
///
/// # Errors
/// A sentence that says what the text is instead.
pub fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        // The parser's own words quote what it met, which may be a key.
        Err(_) if text.contains("\\n") => Err(not_pem(text, CERTIFICATE)),
        Err(_) => Err(DAMAGED.into()),
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) if text.contains("PRIVATE KEY-----") => {
            Err("holds a private key and no certificate: are the certificate and the key swapped?".into())
        }
        Ok(_) => Err(not_pem(text, CERTIFICATE)),
    }
}

/// The one private key of a PEM text: PKCS#8, SEC1 (`EC PRIVATE KEY`) or PKCS#1 (`RSA PRIVATE KEY`, kubeadm's form).
///
/// # Errors
/// A sentence that says what the text is instead; it never quotes the text.
pub fn key(text: &str) -> Result<KeyPair, String> {
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err("is encrypted, and at boot there is nobody to type a passphrase: \
             write what `openssl pkey -in ENCRYPTED -out PLAIN` makes of it"
            .into());
    }
    match PrivateKeyDer::from_pem_slice(text.as_bytes()) {
        Ok(der) => understood(&der).ok_or_else(|| {
            "is no key that this program can use: it takes ECDSA P-256 and P-384, Ed25519, and RSA of 2048 to 8192 \
             bits; `openssl pkey -in KEY -text -noout` shows what it is"
                .into()
        }),
        Err(_) if text.contains("BEGIN CERTIFICATE") => {
            Err("holds a certificate and no private key: are the certificate and the key swapped?".into())
        }
        Err(rustls::pki_types::pem::Error::NoItemsFound) => Err(not_pem(text, KEY)),
        Err(_) if text.contains("\\n") => Err(not_pem(text, KEY)),
        Err(_) => Err(DAMAGED.into()),
    }
}

/// A certificate as PEM, in lines of 64 characters (RFC 7468).
pub fn certificate_text(der: &CertificateDer<'_>) -> String {
    let lines: String = der.chunks(48).map(|line| base64(line) + "\n").collect();
    format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let bits = (0..3).fold(0u32, |bits, i| bits << 8 | u32::from(*three.get(i).unwrap_or(&0)));
        let digit = move |i: usize| char::from(ALPHABET[(bits >> (18 - 6 * i)) as usize & 63]);
        let used = three.len() + 1;
        (0..4).map(move |i| if i < used { digit(i) } else { '=' })
    };
    bytes.chunks(3).flat_map(group).collect()
}

fn not_pem(text: &str, expected: &str) -> String {
    if text.trim().is_empty() {
        format!("is empty: it must hold PEM, which begins with {expected}")
    } else if text.contains("\\n") {
        format!(
            "has \\n in it instead of line breaks: in YAML, write it as a block after `|`, beginning with {expected}"
        )
    } else {
        format!(
            "is not PEM: it must have a line {expected}; DER is turned into PEM by `openssl x509` or `openssl pkey`"
        )
    }
}

/// ring reads PKCS#8 only, so the older forms are wrapped (RFC 5208 section 5).
fn understood(der: &PrivateKeyDer<'_>) -> Option<KeyPair> {
    let wrapped = |algorithm: &[u8], inner: &[u8]| {
        let content = [element(INTEGER, &[0]), element(SEQUENCE, algorithm), element(OCTET_STRING, inner)].concat();
        KeyPair::try_from(&PrivatePkcs8KeyDer::from(element(SEQUENCE, &content))).ok()
    };
    match der {
        PrivateKeyDer::Pkcs1(key) => wrapped(RSA, key.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(key) => {
            wrapped(P256, key.secret_sec1_der()).or_else(|| wrapped(P384, key.secret_sec1_der()))
        }
        other => KeyPair::try_from(other).ok(),
    }
}

/// A DER element: tag, length in the shortest form, content.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().take_while(|b| **b == 0).count()..];
    let mut der = vec![tag];
    if content.len() < 0x80 {
        der.push(content.len() as u8);
    } else {
        der.push(0x80 | significant.len() as u8);
        der.extend(significant);
    }
    der.extend(content);
    der
}
