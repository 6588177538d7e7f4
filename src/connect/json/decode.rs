//! From bytes to text: which encoding a body is in. Pure.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use std::borrow::Cow;

/// The text of a JSON body. A byte order mark counts first, then where the zero bytes of the first character stand (JSON begins with ASCII,
/// so this is certain), then the content type's charset; else it is UTF-8. What is no text in that encoding becomes U+FFFD.
pub fn decode<'a>(bytes: &'a [u8], content_type: Option<&str>) -> Cow<'a, str> {
    if let Some(text) = utf_32(bytes) {
        return text.into();
    }
    match (Encoding::for_bom(bytes), utf_16(bytes)) {
        (None, Some(encoding)) => encoding.decode_without_bom_handling(bytes).0,
        _ => text(bytes, content_type),
    }
}

/// The text of a body that need not be JSON: by its byte order mark, by its content type's charset, else UTF-8.
pub fn text<'a>(bytes: &'a [u8], content_type: Option<&str>) -> Cow<'a, str> {
    // `decode` looks at the byte order mark itself, and takes it off.
    charset(content_type).unwrap_or(UTF_8).decode(bytes).0
}

/// Whether these bytes can be given to a parser of UTF-8 as they are.
pub(super) fn is_plain_utf8(bytes: &[u8], content_type: Option<&str>) -> bool {
    let is_utf_8 = charset(content_type).is_none_or(|encoding| encoding == UTF_8);
    is_utf_8 && Encoding::for_bom(bytes).is_none() && !bytes.iter().take(4).any(|byte| *byte == 0)
}

/// The charset of a content type; `None` if there is none or nobody knows it.
fn charset(content_type: Option<&str>) -> Option<&'static Encoding> {
    let parameters = content_type?.split(';').skip(1);
    let label = parameters
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
        .map(|(_, label)| label.trim().trim_matches(['"', '\'']))?;
    Encoding::for_label_no_replacement(label.as_bytes())
}

fn utf_16(bytes: &[u8]) -> Option<&'static Encoding> {
    match bytes {
        [0, second, ..] if *second != 0 => Some(UTF_16BE),
        [first, 0, ..] if *first != 0 => Some(UTF_16LE),
        _ => None,
    }
}

/// `encoding_rs` knows the encodings of the web, and UTF-32 is none of them.
fn utf_32(bytes: &[u8]) -> Option<String> {
    let unit: fn([u8; 4]) -> u32 = match bytes {
        [0, 0, 0xfe, 0xff, ..] => u32::from_be_bytes,
        [0, 0, 0, ascii, ..] if *ascii != 0 => u32::from_be_bytes,
        [0xff, 0xfe, 0, 0, ..] => u32::from_le_bytes,
        [ascii, 0, 0, 0, ..] if *ascii != 0 => u32::from_le_bytes,
        _ => return None,
    };
    let characters = bytes.chunks(4).map(|chunk| {
        let unit = <[u8; 4]>::try_from(chunk).map(unit).ok();
        unit.and_then(char::from_u32)
            .unwrap_or(char::REPLACEMENT_CHARACTER)
    });
    let text: String = characters.collect();
    Some(text.trim_start_matches('\u{feff}').to_owned())
}
