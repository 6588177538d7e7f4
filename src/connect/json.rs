//! Reads JSON as the outside sends it, where `serde_json` reads JSON as its standard has it.
//!
//! Every body of a provider, a webhook or a token endpoint is read here. What `serde_json` takes and holds exactly is read by it and gives
//! the same value; effect keys and hashes of arguments that exist depend on that. Beyond it:
//!
//! - A byte order mark, UTF-16, UTF-32 and the charset that the content type names are decoded; bytes that are no text become U+FFFD.
//! - A surrogate without its partner (`"\ud83d"`, a text that was cut in the middle of an emoji) becomes U+FFFD.
//! - A number that neither 64 bits nor a double can hold becomes its text, so that two ids of 21 digits stay two: `1e999`, `007` and
//!   `123456789012345678901` are given as texts. `serde_json`'s `arbitrary_precision` would hold them as numbers, but it changes how every
//!   other number is compared and written, and with that the hashes of what is stored.
//! - `NaN`, `Infinity` and `-Infinity` are `null`, as `JSON.stringify` writes them.
//! - Control characters may stand in texts as they are, and an escape that JSON does not know is left as it was written.
//! - Of a name that stands twice in an object the last value counts, as before.
//! - What is nested deeper than [`DEEPEST`] is given as its JSON text: what is read here is stored within other documents, and those must
//!   be readable too.

mod decode;
mod parse;

pub use decode::{decode, text};

use serde_json::Value;

/// How many lists and objects may stand within each other and still be values. `serde_json` reads 128; the rest is for what wraps them.
pub const DEEPEST: usize = 96;

/// A body that is not JSON by any reading.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at character {at}")]
pub struct NotJson {
    pub problem: &'static str,
    /// Counted from 1, in the decoded text.
    pub at: usize,
}

/// Reads a body whose content type is not known, or says nothing of a charset.
///
/// # Errors
/// If it is not JSON.
pub fn read(bytes: &[u8]) -> Result<Value, NotJson> {
    read_as(bytes, None)
}

/// Reads a body in the charset that its content type (`application/json; charset=iso-8859-1`) names, if it names one.
///
/// # Errors
/// If it is not JSON.
pub fn read_as(bytes: &[u8], content_type: Option<&str>) -> Result<Value, NotJson> {
    if decode::is_plain_utf8(bytes, content_type)
        && is_held_exactly(bytes)
        && let Ok(value) = serde_json::from_slice(bytes)
    {
        return Ok(value);
    }
    parse::document(&decode(bytes, content_type))
}

/// Whether nothing in it asks for more than `serde_json` keeps: no number of 19 digits or more (the least that overflows 64 bits has 19), and no
/// deep nesting. In doubt `false`.
fn is_held_exactly(bytes: &[u8]) -> bool {
    let (mut in_text, mut escaped) = (false, false);
    let (mut depth, mut digits) = (0usize, 0);
    for byte in bytes {
        if in_text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        match byte {
            b'"' => in_text = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST || digits >= 19 {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests;
