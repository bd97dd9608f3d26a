//! MIME messages, as far as user-data comes in them: parts, their types, and what they are encoded in (RFC 2045, 2046).

use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{HeaderName, MessageParser, MessagePart, MimeHeaders, PartType};

use super::unpack;

/// cloud-init takes for a message only what has its `MIME-Version` in this many bytes (cloudinit/user_data.py).
const LOOKED_AT: u32 = 4096;

/// Parts of one message, those that hold parts included; cloud-init's own writers put in a handful.
const PARTS: usize = 100;

/// Lines that may begin a part; those of PEM begin like them.
const BEGINNINGS: usize = 100 * PARTS;

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
    let Some(message) = reader().parse_headers(bytes) else { return Is::Other };
    let version = message.headers().iter().find(|header| header.name == HeaderName::MimeVersion);
    match version {
        Some(version) if version.offset_field >= LOOKED_AT => Is::TooLate,
        Some(_) => Is::Message,
        None if message.content_type().is_some_and(|kind| kind.c_subtype.is_some()) => Is::Message,
        None => Is::Other,
    }
}

/// The parts in their order, those of parts inside of parts in their place.
///
/// # Errors
/// Why this is no message that can be read, with the lines before the place.
pub fn parts(bytes: &[u8]) -> Result<Vec<Part>, (usize, String)> {
    let too_many = |lines| (lines, format!("more than {PARTS} parts: is it the right file?"));
    if let Some(lines) = beyond_measure(bytes) {
        return Err(too_many(lines));
    }
    let Some(message) = reader().parse(bytes) else { return Ok(Vec::new()) };
    if let Some(part) = message.parts.get(PARTS) {
        return Err(too_many(lines(bytes, part.offset_header)));
    }
    let leaves = message.parts.iter().filter(|part| !matches!(part.body, PartType::Multipart(_)));
    leaves.map(|part| leaf(part, bytes)).filter_map(Result::transpose).collect()
}

/// Where there are more parts than anybody writes: the parser looks for each one's boundary in all that follows, and keeps
/// all of them.
fn beyond_measure(bytes: &[u8]) -> Option<usize> {
    let (mut types, mut beginnings) = (0, 0);
    bytes.split(|b| *b == b'\n').position(|line| {
        types += usize::from(line.get(..13).is_some_and(|name| name.eq_ignore_ascii_case(b"content-type:")));
        beginnings += usize::from(line.starts_with(b"--"));
        types > PARTS || beginnings > BEGINNINGS
    })
}

fn reader() -> MessageParser {
    MessageParser::new().with_mime_headers()
}

/// Nothing for a message whose boundary is nowhere.
fn leaf(part: &MessagePart<'_>, bytes: &[u8]) -> Result<Option<Part>, (usize, String)> {
    let begins = lines(bytes, part.offset_header);
    let kind = part.content_type();
    if let Some(kind) = kind.filter(|kind| kind.c_type.eq_ignore_ascii_case("multipart")) {
        if kind.attribute("boundary").is_some() {
            return Ok(None);
        }
        let header = part.headers.iter().find(|header| header.name == HeaderName::ContentType);
        let kind = full(&kind.c_type, kind.c_subtype.as_deref().unwrap_or_default());
        let why = format!("{kind} has no boundary: write boundary=\"WORD\" behind it, and --WORD before each part");
        return Err((header.map_or(begins, |header| lines(bytes, header.offset_field)), why));
    }
    let kind = kind.and_then(|kind| Some(full(&kind.c_type, kind.c_subtype.as_deref()?)));
    let raw = bytes.get(part.offset_body as usize..part.offset_end as usize).unwrap_or_default();
    let encoding = part.content_transfer_encoding().unwrap_or_default();
    let encoding = encoding.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (content, lines) = match encoding.as_str() {
        "" | "7bit" | "8bit" | "binary" => (Ok(raw.to_vec()), Some(lines(bytes, part.offset_body))),
        "base64" => (unpack::base64(raw), None),
        "quoted-printable" => (quoted_printable(raw), None),
        _ => (Err("this Content-Transfer-Encoding is not known: write base64, or leave it out".into()), None),
    };
    Ok(Some(Part { kind: kind.unwrap_or_else(|| "text/plain".into()), content, lines, begins }))
}

fn full(kind: &str, subtype: &str) -> String {
    format!("{kind}/{subtype}").to_ascii_lowercase()
}

fn quoted_printable(raw: &[u8]) -> Result<Vec<u8>, String> {
    quoted_printable_decode(raw)
        .ok_or_else(|| "this is not quoted-printable: `=` is not followed by two digits: encode it again".to_owned())
}

/// How many lines end before this byte.
fn lines(bytes: &[u8], at: u32) -> usize {
    bytes[..bytes.len().min(at as usize)].iter().filter(|b| **b == b'\n').count()
}
