//! MIME messages, as far as user-data comes in them: parts, their types, and what they are encoded in (RFC 2045, 2046).
//!
//! Read here and not by a crate for mail: each part keeps its line, one that is cut off counts as far as it goes, and
//! neither character sets nor addresses are looked at.

use super::unpack;

/// cloud-init takes for a message only what has its `MIME-Version` in this many bytes (cloudinit/user_data.py).
const LOOKED_AT: usize = 4096;

/// Messages inside one another.
const DEPTH: usize = 8;

/// Parts of one message; cloud-init's own writers put in a handful.
const PARTS: usize = 100;

/// RFC 2046 has 70; a line that long is none of ours.
const BOUNDARY: usize = 200;

/// Whether bytes are a MIME message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    /// They are.
    Message,
    /// They have the header of one so late that cloud-init does not see it.
    TooLate,
    /// They are something else.
    Other,
}

/// A part that holds no further parts.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    /// Such as `text/cloud-config`, in lower case; `text/plain` where none is said.
    pub kind: String,
    /// What it holds, without its transfer encoding; or why that cannot be taken off.
    pub content: Result<Vec<u8>, String>,
    /// Lines of the message before the content, where the content stands in the message as it is.
    pub lines: Option<usize>,
    /// Lines of the message before its header.
    pub begins: usize,
}

/// What the first bytes are.
pub fn is(bytes: &[u8]) -> Is {
    let header = Header::read(bytes);
    let names_a_type = header.get("content-type").is_some_and(|kind| kind.value.contains('/'));
    match header.get("mime-version") {
        Some(version) if version.at >= LOOKED_AT => Is::TooLate,
        Some(_) => Is::Message,
        None if names_a_type => Is::Message,
        None => Is::Other,
    }
}

/// The parts in their order, those of parts inside of parts in their place.
///
/// # Errors
/// Why this is no message that can be read, with the lines before the place.
pub fn parts(bytes: &[u8]) -> Result<Vec<Part>, (usize, String)> {
    let mut parts = Vec::new();
    collect(bytes, 0, 0, &mut parts)?;
    Ok(parts)
}

fn collect(bytes: &[u8], begins: usize, depth: usize, parts: &mut Vec<Part>) -> Result<(), (usize, String)> {
    let header = Header::read(bytes);
    let (kind, boundary) = content_type(header.get("content-type").map_or("", |field| &field.value));
    let body = &bytes[header.length..];
    let lines = begins + newlines(&bytes[..header.length]);
    if kind.starts_with("multipart/") {
        let at = begins + header.get("content-type").map_or(0, |field| newlines(&bytes[..field.at]));
        let boundary = boundary.filter(|b| !b.is_empty() && b.len() <= BOUNDARY).ok_or_else(|| {
            (at, format!("{kind} has no boundary: write boundary=\"WORD\" behind it, and --WORD before each part"))
        })?;
        if depth == DEPTH {
            return Err((at, format!("more than {DEPTH} messages inside one another: put the parts side by side")));
        }
        let (mut lines, mut counted) = (lines, 0);
        for part in split(body, &boundary) {
            lines += newlines(&body[counted..part.start]);
            counted = part.start;
            collect(&body[part], lines, depth + 1, parts)?;
        }
        return Ok(());
    }
    if parts.len() == PARTS {
        return Err((begins, format!("more than {PARTS} parts: is it the right file?")));
    }
    let encoding = header.get("content-transfer-encoding").map_or("", |field| field.value.as_str());
    let encoding = encoding.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (content, lines) = match encoding.as_str() {
        "" | "7bit" | "8bit" | "binary" => (Ok(body.to_vec()), Some(lines)),
        "base64" => (unpack::base64(body), None),
        "quoted-printable" => (quoted_printable(body), None),
        _ => (Err("this Content-Transfer-Encoding is not known: write base64, or leave it out".into()), None),
    };
    parts.push(Part { kind, content, lines, begins });
    Ok(())
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|b| **b == b'\n').count()
}

struct Field {
    name: String,
    value: String,
    /// Bytes before it.
    at: usize,
}

struct Header {
    fields: Vec<Field>,
    /// Bytes of it, the empty line behind it included.
    length: usize,
}

impl Header {
    fn read(bytes: &[u8]) -> Header {
        let mut header = Header { fields: Vec::new(), length: 0 };
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            let at = header.length;
            let text = String::from_utf8_lossy(line);
            let text = text.trim_end_matches(['\n', '\r']);
            if text.is_empty() {
                header.length += line.len();
                break;
            }
            let folded = text.starts_with([' ', '\t']);
            match (text.split_once(':'), header.fields.last_mut()) {
                (_, Some(last)) if folded => last.value.extend([" ", text.trim()]),
                (Some((name, value)), _) if is_name(name) => {
                    header.fields.push(Field { name: name.to_ascii_lowercase(), value: value.trim().to_owned(), at })
                }
                // How a file of mail marks where a message begins.
                _ if at == 0 && text.starts_with("From ") => {}
                // Content without an empty line before it.
                _ => break,
            }
            header.length += line.len();
        }
        header
    }

    fn get(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The type in lower case, and the boundary if it has one.
fn content_type(value: &str) -> (String, Option<String>) {
    let mut words = parameters(value).into_iter();
    let kind = words.next().unwrap_or_default().trim().to_ascii_lowercase();
    let boundary = words.find_map(|word| {
        let (name, value) = word.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| unquote(value.trim()))
    });
    (if kind.contains('/') { kind } else { "text/plain".to_owned() }, boundary)
}

/// Words between semicolons that are not in quotes.
fn parameters(value: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut escaped) = (Vec::new(), String::new(), false, false);
    for c in value.chars() {
        if c == ';' && !quoted {
            words.push(std::mem::take(&mut word));
            continue;
        }
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && quoted && !escaped;
        word.push(c);
    }
    words.push(word);
    words
}

fn unquote(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"') else { return value.to_owned() };
    let (mut out, mut escaped) = (String::new(), false);
    for c in inner.chars() {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => break,
            c => {
                out.push(c);
                escaped = false;
            }
        }
    }
    out
}

/// Where the parts are between lines of the boundary; what is before the first and behind the last is for old readers of
/// mail, and a message that was cut off ends its last part.
fn split(body: &[u8], boundary: &str) -> Vec<std::ops::Range<usize>> {
    let (mut parts, mut begun, mut at) = (Vec::new(), None, 0);
    for line in body.split_inclusive(|b| *b == b'\n') {
        if let Some(last) = delimiter(line, boundary) {
            // The line end before the boundary belongs to the boundary.
            parts.extend(begun.map(|begun| begun..without_line_end(&body[..at]).max(begun)));
            begun = (!last).then_some(at + line.len());
            if last {
                return parts;
            }
        }
        at += line.len();
    }
    parts.extend(begun.map(|begun| begun..body.len()));
    parts
}

/// Whether this line is the boundary's, and the one that ends the message.
fn delimiter(line: &[u8], boundary: &str) -> Option<bool> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary.as_bytes())?;
    let (last, rest) = rest.strip_prefix(b"--").map_or((false, rest), |rest| (true, rest));
    rest.iter().all(u8::is_ascii_whitespace).then_some(last)
}

fn without_line_end(bytes: &[u8]) -> usize {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    text.strip_suffix(b"\r").unwrap_or(text).len()
}

/// RFC 2045, section 6.7.
fn quoted_printable(body: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(body.len());
    for line in body.split_inclusive(|b| *b == b'\n') {
        let text = line.trim_ascii_end();
        let end: &[u8] = if line.ends_with(b"\n") { b"\n" } else { b"" };
        let (text, end) = text.strip_suffix(b"=").map_or((text, end), |text| (text, b""));
        let mut bytes = text.iter();
        while let Some(byte) = bytes.next() {
            if *byte != b'=' {
                out.push(*byte);
                continue;
            }
            let digit = |byte: Option<&u8>| byte.and_then(|b| char::from(*b).to_digit(16));
            let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
                return Err("this is not quoted-printable: `=` is not followed by two digits: encode it again".into());
            };
            out.extend(u8::try_from(high * 16 + low));
        }
        out.extend_from_slice(end);
    }
    Ok(out)
}
