//! From bytes to a text that can be read: UTF-8, of a bearable size, without control characters.

use super::fault::Fault;
use super::yaml::Origin;

/// Bytes of a document, and of user-data as it is handed out; the most that any provider hands out is 256 KiB.
pub const LIMIT: usize = 1024 * 1024;

/// The text, without its byte order mark.
///
/// # Errors
/// More than `limit` bytes, UTF-16, or not UTF-8, with the place.
pub fn decode<'b>(bytes: &'b [u8], origin: &Origin, limit: usize) -> Result<&'b str, Fault> {
    let start = origin.place(1, 1);
    if bytes.len() > limit {
        return Err(Fault::here(&start, format!("larger than {} KiB: is it the right file?", limit / 1024)));
    }
    let utf16 = bytes.starts_with(&[0xff, 0xfe])
        || bytes.starts_with(&[0xfe, 0xff])
        || matches!(bytes, [0, b, ..] | [b, 0, ..] if b.is_ascii_graphic());
    if utf16 {
        return Err(Fault::here(&start, "the text is UTF-16: save it as UTF-8"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let (line, column) = position(&good, good.len());
        Fault::here(
            &origin.place(line, column),
            format!("byte {:#04x} is not UTF-8: save the text as UTF-8", bytes[error.valid_up_to()]),
        )
    })
}

/// Refuses what no text should hold, before a parser or a terminal sees it.
///
/// # Errors
/// The first control character other than tab and line ends, with its place.
pub fn refuse_control_characters(text: &str, origin: &Origin) -> Result<(), Fault> {
    let bad = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    let Some((at, found)) = text.char_indices().find(|(_, c)| bad(*c)) else { return Ok(()) };
    let (line, column) = position(text, at);
    let name = if found == '\0' { "a NUL".to_owned() } else { format!("the control character U+{:04X}", found as u32) };
    Err(Fault::here(&origin.place(line, column), format!("{name} is in the text: remove it")))
}

fn position(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
