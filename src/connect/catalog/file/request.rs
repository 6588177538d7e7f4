//! Requests as they are written.

use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::connect::catalog) struct RequestFile {
    pub method: String,
    /// This or `url`.
    pub path: Option<String>,
    /// Another of the provider's hosts.
    pub base: Option<String>,
    pub url: Option<GivenUrlFile>,
    #[serde(default)]
    pub query: Map<String, Value>,
    #[serde(default)]
    pub headers: Map<String, Value>,
    /// At most one of the four.
    pub json: Option<Value>,
    pub form: Option<Map<String, Value>>,
    pub bytes: Option<BytesFile>,
    pub multipart: Option<MultipartFile>,
}

/// An address that an answer named.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::connect::catalog) struct GivenUrlFile {
    pub from: String,
    pub hosts: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::connect::catalog) struct BytesFile {
    #[serde(rename = "type")]
    pub content_type: Value,
    pub text: Option<Value>,
    pub base64: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::connect::catalog) struct MultipartFile {
    pub kind: String,
    pub parts: Vec<PartFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::connect::catalog) struct PartFile {
    pub name: Option<String>,
    pub filename: Option<Value>,
    pub json: Option<Value>,
    pub bytes: Option<BytesFile>,
}
