//! What a body says once its encodings are undone: unpacked (`content-encoding`), and read as JSON or a form in its charset.
//!
//! Invariant: what is unpacked has a bound, whatever it is packed into; the bound is looked at while it is unpacked, not after.

use super::Unreadable;
use crate::connect::{form, json};
use encoding_rs::{Encoding, UTF_8};
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use serde_json::{Map, Value};
use std::{borrow::Cow, io::Read};

/// Encodings that lie over each other; more is nobody's need.
const LAYERS_MAX: usize = 2;

/// What a body is by its media type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media {
    Json,
    Form,
    /// It says nothing, or nothing that tells: text, bytes, a type that nobody here knows.
    Other(String),
}

/// The encodings of a body, outermost last, as its headers tell them; `identity` is none.
fn codings(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .flat_map(|line| line.to_str().unwrap_or("?").split(','))
        .map(|coding| coding.trim().to_ascii_lowercase())
        .filter(|coding| !coding.is_empty() && coding != "identity")
        .collect()
}

/// Whether the body is packed.
pub fn is_packed(headers: &HeaderMap) -> bool {
    !codings(headers).is_empty()
}

/// The body as it was before it was packed for the way; up to `most` bytes.
///
/// # Errors
/// `Encoding` for one that is not taken, `Packed` for what is not what its header says, `TooLarge`.
pub fn unpacked<'b>(
    headers: &HeaderMap,
    body: &'b [u8],
    most: usize,
) -> Result<Cow<'b, [u8]>, Unreadable> {
    let codings = codings(headers);
    if codings.len() > LAYERS_MAX {
        return Err(Unreadable::Encoding(codings.join(", ")));
    }
    let mut plain = Cow::Borrowed(body);
    for coding in codings.iter().rev() {
        let unpacked = match coding.as_str() {
            "gzip" | "x-gzip" => gather(MultiGzDecoder::new(&*plain), most),
            // RFC 9110 means the zlib format; some send bare deflate.
            "deflate" => match gather(ZlibDecoder::new(&*plain), most) {
                Err(Unreadable::Packed(_)) => gather(DeflateDecoder::new(&*plain), most),
                other => other,
            },
            _ => return Err(Unreadable::Encoding(coding.clone())),
        };
        plain = Cow::Owned(unpacked.map_err(|error| match error {
            Unreadable::Packed(_) => Unreadable::Packed(coding.clone()),
            other => other,
        })?);
    }
    Ok(plain)
}

fn gather(reader: impl Read, most: usize) -> Result<Vec<u8>, Unreadable> {
    let mut all = Vec::new();
    let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    match reader.take(bound).read_to_end(&mut all) {
        Ok(_) if all.len() > most => Err(Unreadable::TooLarge { most }),
        Ok(_) => Ok(all),
        Err(_) => Err(Unreadable::Packed(String::new())),
    }
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE)?.to_str().ok()
}

/// The media type of a request.
pub fn media(headers: &HeaderMap) -> Media {
    let value = content_type(headers).unwrap_or_default();
    let kind = value.split(';').next().unwrap_or_default();
    let kind = kind.trim().to_ascii_lowercase();
    let is_json = matches!(
        kind.as_str(),
        "application/json" | "text/json" | "application/x-json"
    ) || kind.ends_with("+json");
    match kind.as_str() {
        "application/x-www-form-urlencoded" => Media::Form,
        _ if is_json => Media::Json,
        _ => Media::Other(kind),
    }
}

/// The charset that the headers name; UTF-8 if they name none.
///
/// # Errors
/// `Charset` for one that nobody knows.
fn charset(headers: &HeaderMap) -> Result<&'static Encoding, Unreadable> {
    let parameters = content_type(headers).unwrap_or_default().split(';').skip(1);
    let label = parameters
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
        .map(|(_, label)| label.trim().trim_matches(['"', '\'']))
        .filter(|label| !label.is_empty());
    let known = |label: &str| match label.to_ascii_lowercase().as_str() {
        // Not an encoding of the web; the zero bytes tell which it is.
        "utf-32" | "utf-32le" | "utf-32be" => Some(UTF_8),
        label => Encoding::for_label_no_replacement(label.as_bytes()),
    };
    match label {
        None => Ok(UTF_8),
        Some(label) => known(label).ok_or_else(|| Unreadable::Charset(label.to_owned())),
    }
}

/// The JSON of an unpacked body.
///
/// # Errors
/// `NotJson`, `Charset`.
pub fn json(headers: &HeaderMap, body: &[u8]) -> Result<Value, Unreadable> {
    charset(headers)?;
    json::read_as(body, content_type(headers))
        .map_err(|error| Unreadable::NotJson(error.to_string()))
}

/// JSON that stands in a text.
///
/// # Errors
/// `NotJson`.
pub fn json_in(text: &str) -> Result<Value, Unreadable> {
    json::read(text.as_bytes()).map_err(|error| Unreadable::NotJson(error.to_string()))
}

/// The fields of an unpacked form, in order.
///
/// # Errors
/// `Charset`.
pub fn form(headers: &HeaderMap, body: &[u8]) -> Result<Vec<(String, String)>, Unreadable> {
    let encoding = charset(headers)?;
    // One that is not ASCII at its base holds the whole form; of the others the escapes are the bytes.
    if !encoding.is_ascii_compatible() || Encoding::for_bom(body).is_some() {
        let text = encoding.decode(body).0;
        return Ok(form::pairs(&text).collect());
    }
    let decode = |bytes: &[u8]| encoding.decode_without_bom_handling(bytes).0.into_owned();
    Ok(form::pairs_of(body, decode))
}

/// The fields of a form as texts; of one that is there more than once, a list.
pub fn fields(pairs: Vec<(String, String)>) -> Value {
    let mut fields: Map<String, Value> = Map::new();
    for (name, value) in pairs {
        match fields.get_mut(&name) {
            None => drop(fields.insert(name, Value::String(value))),
            Some(Value::Array(all)) => all.push(Value::String(value)),
            Some(one) => *one = Value::Array(vec![one.take(), Value::String(value)]),
        }
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests;
