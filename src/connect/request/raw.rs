//! Requests that a client writes itself, below the base URL of an account. Pure.
//!
//! Their arguments are JSON like those of any capability, so that the ledger, a policy and a person who approves see what goes out:
//! `{"method","path","query"?,"headers"?,"content_type"?,"body"?|"body_base64"?}`.

use super::{Account, BadParams, Body, IDEMPOTENCY_HEADER, ShapedRequest, fill};
use crate::connect::{
    answer::AnswerSpec,
    catalog::{Capability, Integration},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// Headers that go through. All others are the connection's, the credential's, or could say that the request is another one than it is
/// (`X-HTTP-Method-Override`). Beside them those that choose a version of the API: `…-Version`.
const THROUGH: [&str; 10] = [
    "accept",
    "accept-language",
    "content-language",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "if-range",
    "range",
    "prefer",
];

/// Decoded over and over: a server behind a server decodes again.
const DECODINGS: usize = 4;

/// A request as a client wrote it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRequest {
    pub method: String,
    /// Below the account's base URL, percent-encoded, without a slash in front.
    pub path: String,
    /// As it was written, without the question mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// As text; or in base64, where it is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
}

impl RawRequest {
    /// Sets the body, as text where it is text.
    pub fn with_body(mut self, bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            _ if bytes.is_empty() => {}
            Ok(text) => self.body = Some(text.to_owned()),
            Err(_) => self.body_base64 = Some(STANDARD.encode(bytes)),
        }
        self
    }

    /// Whether a header of a client goes through.
    pub fn takes_header(name: &str) -> bool {
        THROUGH.contains(&name) || name.ends_with("-version")
    }

    fn bytes(&self) -> Result<Vec<u8>, BadParams> {
        match (&self.body, &self.body_base64) {
            (Some(text), _) => Ok(text.clone().into_bytes()),
            (None, Some(encoded)) => STANDARD
                .decode(encoded)
                .map_err(|_| BadParams::new("body_base64", "is not base64")),
            (None, None) => Ok(Vec::new()),
        }
    }
}

/// Whether a method changes nothing, by the word of HTTP.
pub fn is_read(method: &str) -> bool {
    matches!(method, "GET" | "HEAD")
}

pub(super) fn shape_raw(
    capability: &Capability,
    arguments: &Value,
    account: &Account,
    effect_key: Option<&str>,
) -> Result<ShapedRequest, BadParams> {
    let raw = RawRequest::deserialize(arguments)
        .map_err(|error| BadParams::new("arguments", error.to_string()))?;
    let method = raw.method.parse::<Method>();
    let method = method.map_err(|_| BadParams::new("method", "is no method"))?;
    if is_read(&raw.method) == capability.write {
        return Err(BadParams::new("method", "is not the capability's"));
    }
    let mut url = below(&account.base_url, &raw.path)?;
    url.set_query(raw.query.as_deref());
    let mut headers = Vec::new();
    for (name, value) in &raw.headers {
        let name = name.to_ascii_lowercase();
        if !RawRequest::takes_header(&name) {
            return Err(BadParams::new(
                format!("headers.{name}"),
                "is not one that goes through",
            ));
        }
        headers.push((name, fill::header_value("headers", value.clone())?));
    }
    if let Some(key) = effect_key {
        let value = fill::header_value("effect_key", key.into())?;
        headers.push((IDEMPOTENCY_HEADER.into(), value));
    }
    let bytes = raw.bytes()?;
    let content_type = raw
        .content_type
        .unwrap_or_else(|| "application/octet-stream".into());
    let body = (!bytes.is_empty()).then_some(Body::Bytes {
        content_type: fill::header_value("content_type", content_type)?,
        bytes,
    });
    Ok(ShapedRequest {
        capability: capability.id.clone(),
        method,
        url,
        headers,
        body,
        write: capability.write,
        send: capability.send.clone(),
        with_credential: true,
        answer: capability.answer.clone(),
        rest: None,
        sink: None,
    })
}

/// The URL of a path below a base. A path that any server could read as leading out of it is refused: with `.` or `..` as a segment, in
/// whatever encoding, with an empty segment (`//host`), a backslash or a control character.
fn below(base: &str, path: &str) -> Result<Url, BadParams> {
    let wrong = |message: &str| BadParams::new("path", message);
    let mut url = base
        .parse::<Url>()
        .map_err(|_| BadParams::new("account.base_url", "is not an http or https URL"))?;
    let path = path
        .strip_suffix('/')
        .map_or((path, ""), |path| (path, "/"));
    if !path.0.is_empty() {
        for segment in path.0.split('/') {
            check_segment(segment).map_err(wrong)?;
        }
    }
    let wanted = format!("{}/{}{}", url.path().trim_end_matches('/'), path.0, path.1);
    url.set_path(&wanted);
    // The parser has changed nothing, so nothing was in it that it reads differently.
    match url.path() == wanted {
        true => Ok(url),
        false => Err(wrong("must be percent-encoded")),
    }
}

fn check_segment(segment: &str) -> Result<(), &'static str> {
    if segment.is_empty() {
        return Err("must have no empty segment");
    }
    let mut bytes = segment.as_bytes().to_vec();
    for _ in 0..DECODINGS {
        if bytes
            .iter()
            .any(|byte| byte.is_ascii_control() || *byte == b'\\')
        {
            return Err("must have no backslash and no control character");
        }
        let mut parts = bytes.split(|byte| *byte == b'/');
        // Some servers take what follows a semicolon for parameters of the segment.
        let leads_out = |part: &[u8]| {
            let name = part.split(|byte| *byte == b';').next().unwrap_or_default();
            matches!(name, b"." | b"..")
        };
        if parts.any(leads_out) {
            return Err("must not lead out of the account's base URL");
        }
        let decoded = decoded(&bytes);
        if decoded == bytes {
            return Ok(());
        }
        bytes = decoded;
    }
    Err("is encoded too often")
}

fn decoded(bytes: &[u8]) -> Vec<u8> {
    let hex = |byte: u8| (byte as char).to_digit(16);
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let pair = (bytes.get(at + 1).copied(), bytes.get(at + 2).copied());
        match (bytes[at], pair) {
            (b'%', (Some(high), Some(low))) if hex(high).is_some() && hex(low).is_some() => {
                let value = hex(high).unwrap_or(0) * 16 + hex(low).unwrap_or(0);
                out.push(value as u8);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

impl AnswerSpec {
    /// How to read the answer of a raw request: whatever it is, by the provider's rules for failures.
    pub(crate) fn raw(of: &Integration, write: bool) -> Self {
        Self {
            write,
            text: true,
            quota: of.limits.learn.clone().map(Arc::new),
            ..Self::of(of.answers.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_below_its_base() {
        let base = "https://api.example.com/v3/";
        for (path, url) in [
            ("users", "https://api.example.com/v3/users"),
            ("users/", "https://api.example.com/v3/users/"),
            ("users/a%20b", "https://api.example.com/v3/users/a%20b"),
            (
                "projects/group%2Fname",
                "https://api.example.com/v3/projects/group%2Fname",
            ),
            (
                "files/a..b/.hidden",
                "https://api.example.com/v3/files/a..b/.hidden",
            ),
            ("users/%C3%BC", "https://api.example.com/v3/users/%C3%BC"),
            ("a:b@c", "https://api.example.com/v3/a:b@c"),
            ("", "https://api.example.com/v3/"),
        ] {
            assert_eq!(below(base, path).unwrap().as_str(), url, "{path}");
        }
        for path in [
            "../admin",
            "users/../../admin",
            "users/..",
            "./users",
            "users/.",
            "%2e%2e/admin",
            "%2E./admin",
            ".%2e/admin",
            "%252e%252e/admin",
            "a%2f..%2f..%2fadmin",
            "a%5c..%5cadmin",
            "..;/admin",
            "..%3b/admin",
            "//evil.example/x",
            "/evil.example",
            "users//x",
            "users\\..\\x",
            "a%00b",
            "a\nb",
            "a?b",
            "a#b",
            "a b",
        ] {
            assert!(below(base, path).is_err(), "{path}");
        }
        // What looks like an address is a segment.
        let url = below(base, "https:%2F%2Fevil.example").unwrap();
        assert_eq!(url.host_str(), Some("api.example.com"));
        assert!(below(base, "https://evil.example").is_err());
    }

    #[test]
    fn few_headers_go_through() {
        for good in [
            "accept",
            "range",
            "if-match",
            "notion-version",
            "x-github-api-version",
        ] {
            assert!(RawRequest::takes_header(good), "{good}");
        }
        for bad in [
            "authorization",
            "cookie",
            "host",
            "connection",
            "x-http-method-override",
            "x-forwarded-for",
            "transfer-encoding",
            "idempotency-key",
        ] {
            assert!(!RawRequest::takes_header(bad), "{bad}");
        }
    }
}
