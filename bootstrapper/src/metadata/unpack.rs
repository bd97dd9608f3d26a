//! gzip and base64, bounded: user-data comes packed in either, in both, and in cloud-init's many spellings of them.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::MultiGzDecoder;

/// Bytes that user-data may unpack to; a gzip bomb stops here.
pub const UNPACKED: usize = 4 * 1024 * 1024;

/// Times that user-data is unpacked: gzip in base64, and providers that encode what is encoded already.
const LAYERS: usize = 4;

/// Whether the bytes begin as gzip does (RFC 1952).
pub fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// Unpacks gzip.
///
/// # Errors
/// Why not: damaged, cut short, or more than [`UNPACKED`] bytes.
pub fn gunzip(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let read = MultiGzDecoder::new(bytes).take(UNPACKED as u64 + 1).read_to_end(&mut out);
    read.map_err(|_| "the gzip data is damaged or cut short: pack it again".to_owned())?;
    if out.len() > UNPACKED {
        return Err(format!("the gzip data unpacks to more than {} MiB: is it the right file?", UNPACKED >> 20));
    }
    Ok(out)
}

/// Decodes standard base64 with padding; white space is ignored.
///
/// # Errors
/// Why not, naming the URL-safe alphabet when it is that.
pub fn base64(text: &[u8]) -> Result<Vec<u8>, String> {
    let dense: Vec<u8> = text.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    let url_safe = dense.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'='));
    if url_safe && dense.iter().any(|b| matches!(b, b'-' | b'_')) {
        return Err("this is base64 of the URL-safe kind: encode it with `base64`".into());
    }
    STANDARD.decode(dense).map_err(|_| "this is not base64, or cut short: encode it with `base64`".into())
}

/// Takes user-data out of gzip and base64 as often as it is packed; text that happens to be base64 stays.
///
/// The flag tells whether anything was unpacked.
///
/// # Errors
/// As [`gunzip`] and [`base64`], where the bytes are certainly one of both.
pub fn user_data(bytes: &[u8]) -> Result<(Vec<u8>, bool), String> {
    let mut bytes = bytes.to_vec();
    for layer in 0..LAYERS {
        if is_gzip(&bytes) {
            bytes = gunzip(&bytes)?;
        } else if let Some(inner) = hidden(&bytes)? {
            bytes = inner;
        } else {
            return Ok((bytes, layer > 0));
        }
    }
    Err(format!("packed more than {LAYERS} times (gzip, base64): pack it once"))
}

/// What base64 hides, if it hides something that is certainly user-data.
fn hidden(bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let alphabet = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=') || b.is_ascii_whitespace();
    let url_safe = |b: &u8| alphabet(b) || matches!(b, b'-' | b'_');
    if bytes.is_empty() || !bytes.iter().all(url_safe) {
        return Ok(None);
    }
    let standard: Vec<u8> = bytes
        .iter()
        .map(|b| {
            if *b == b'-' {
                b'+'
            } else if *b == b'_' {
                b'/'
            } else {
                *b
            }
        })
        .collect();
    // Base64 of cut-off or unpadded text still shows its beginning.
    let dense: Vec<u8> = standard.iter().copied().filter(|b| !b.is_ascii_whitespace() && *b != b'=').take(64).collect();
    let beginning = STANDARD.decode(&dense[..dense.len() / 4 * 4]).unwrap_or_default();
    if !is_recognised(&beginning) {
        return Ok(None);
    }
    base64(bytes).map(Some)
}

fn is_recognised(bytes: &[u8]) -> bool {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let known: [&[u8]; 3] = [b"#", b"{\"", b"{\n"];
    // Base64 of base64: the inner one is looked at in the next round, and must be recognised there.
    let again = bytes.len() >= 24 && (bytes.starts_with(b"I2") || bytes.starts_with(b"H4sI"));
    is_gzip(bytes) || again || known.iter().any(|k| text.starts_with(k)) || begins_a_message(text)
}

/// Only the first bytes are here: a header of mail whose first field is one of MIME's.
fn begins_a_message(text: &[u8]) -> bool {
    let fields: [&[u8]; 3] = [b"content-type:", b"mime-version:", b"from "];
    fields.iter().any(|field| text.get(..field.len()).is_some_and(|text| text.eq_ignore_ascii_case(field)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn encode(bytes: &[u8]) -> Vec<u8> {
        STANDARD.encode(bytes).into_bytes()
    }

    const CONFIG: &[u8] = b"#cloud-config\nhostname: etcd-1\nwrite_files: []\n";

    #[test]
    fn user_data_is_unpacked_as_often_as_it_is_packed() {
        let mut broken: Vec<u8> = encode(CONFIG);
        broken.insert(20, b'\n');
        for (case, packed) in [
            ("plain", CONFIG.to_vec()),
            ("gzip", gzip(CONFIG)),
            ("base64", encode(CONFIG)),
            ("base64 with line breaks", broken),
            ("gzip in base64", encode(&gzip(CONFIG))),
            ("base64 twice", encode(&encode(CONFIG))),
            ("gzip in base64 twice", encode(&encode(&gzip(CONFIG)))),
        ] {
            let (bytes, unpacked) = user_data(&packed).unwrap();
            assert_eq!((bytes.as_slice(), unpacked), (CONFIG, case != "plain"), "{case}");
        }
    }

    #[test]
    fn text_that_happens_to_be_base64_stays_what_it_is() {
        for text in ["abcd", "hello world", "", "  \n", "deadbeefdeadbeef"] {
            assert_eq!(user_data(text.as_bytes()), Ok((text.as_bytes().to_vec(), false)), "{text:?}");
        }
    }

    #[test]
    fn what_is_certainly_packed_and_does_not_unpack_is_an_error() {
        let cut = &gzip(CONFIG)[..20];
        let url_safe = encode(b"#cloud-config\n# \xfb\xff\xbf\xfb\xff\n")
            .iter()
            .map(|b| {
                if *b == b'/' {
                    b'_'
                } else if *b == b'+' {
                    b'-'
                } else {
                    *b
                }
            })
            .collect();
        let mut unpadded = encode(b"#cloud-config\nhostname: a\n");
        unpadded.retain(|b| *b != b'=');
        unpadded.pop();
        for (case, packed, says) in [
            ("cut gzip", cut.to_vec(), "cut short"),
            ("cut gzip in base64", encode(cut), "cut short"),
            ("URL-safe base64", url_safe, "URL-safe"),
            ("unpadded base64", unpadded, "cut short"),
            ("a bomb", gzip(&vec![0; 64 << 20]), "more than 4 MiB"),
            ("packed without end", (0..6).fold(CONFIG.to_vec(), |inner, _| gzip(&inner)), "packed more than"),
        ] {
            let error = user_data(&packed).expect_err(case);
            assert!(error.contains(says), "{case}: {error}");
        }
    }
}
