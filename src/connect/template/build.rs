//! The builders: what JSON with paths in it cannot say.

use super::as_text;
use crate::connect::{quickbooks, request::BadParams, rfc822};
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, SecondsFormat};
use reqwest::Url;
use serde_json::{Map, Value};

/// What turns a value into one that JSON templates cannot describe. Without its main input each gives nothing, so that the field is
/// left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Builder {
    /// A mail as base64url of RFC 822 text: [`rfc822::build`].
    Rfc822,
    /// A query over invoices: [`quickbooks::invoice_query`].
    QuickbooksInvoiceQuery,
    /// `{items, by}`: the items as one text.
    Join,
    /// `{text, mark}`: a literal between marks (`'` if absent), with marks and backslashes in it escaped by a backslash.
    Quote,
    /// `{url, name}`: one parameter of a URL's query.
    QueryParam,
    /// `{seconds}` since 1970 as RFC 3339 in UTC.
    Rfc3339,
    /// `{text}` or `{base64}`: its length in bytes.
    ByteLength,
    /// `{text}` in base64.
    Base64,
    /// `{value}` as JSON text in ASCII, as where a header carries it.
    JsonText,
    /// `{text}` as LinkedIn's "little text" that shows it as it is; tags such as `#hiring` stay tags.
    LittleText,
}

const NAMES: [(&str, Builder); 10] = [
    ("rfc822", Builder::Rfc822),
    ("quickbooks_invoice_query", Builder::QuickbooksInvoiceQuery),
    ("join", Builder::Join),
    ("quote", Builder::Quote),
    ("query_param", Builder::QueryParam),
    ("rfc3339", Builder::Rfc3339),
    ("byte_length", Builder::ByteLength),
    ("base64", Builder::Base64),
    ("json_text", Builder::JsonText),
    ("little_text", Builder::LittleText),
];

impl Builder {
    pub fn named(name: &str) -> Option<Self> {
        NAMES
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, builder)| builder)
    }

    pub fn build(self, with: &Map<String, Value>) -> Result<Option<Value>, BadParams> {
        let text = |name: &str| with.get(name).map(as_text);
        Ok(match self {
            Self::Rfc822 => Some(rfc822::build(with)?.into()),
            Self::QuickbooksInvoiceQuery => Some(quickbooks::invoice_query(with)?.into()),
            Self::Join => with
                .get("items")
                .map(|items| join(items, text("by")).into()),
            Self::Quote => text("text").map(|text| quote(&text, with).into()),
            Self::QueryParam => query_param(text("url"), text("name")).map(Value::String),
            Self::Rfc3339 => text("seconds").and_then(|seconds| rfc3339(&seconds)),
            Self::ByteLength => byte_length(with)?,
            Self::Base64 => text("text").map(|text| STANDARD.encode(text).into()),
            Self::JsonText => with.get("value").map(|value| ascii_json(value).into()),
            Self::LittleText => text("text").map(|text| little_text(&text).into()),
        })
    }
}

fn join(items: &Value, by: Option<String>) -> String {
    let by = by.unwrap_or_else(|| ",".into());
    match items {
        Value::Array(items) => items.iter().map(as_text).collect::<Vec<_>>().join(&by),
        one => as_text(one),
    }
}

fn quote(text: &str, with: &Map<String, Value>) -> String {
    let mark = with.get("mark").and_then(Value::as_str).unwrap_or("'");
    let escaped = text
        .replace('\\', "\\\\")
        .replace(mark, &format!("\\{mark}"));
    format!("{mark}{escaped}{mark}")
}

fn query_param(url: Option<String>, name: Option<String>) -> Option<String> {
    let (url, name) = (url?, name?);
    // Some give the path alone.
    let url = Url::parse("https://relative.invalid/")
        .ok()?
        .join(&url)
        .ok()?;
    url.query_pairs()
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value.into_owned())
}

fn rfc3339(seconds: &str) -> Option<Value> {
    let whole = seconds.split('.').next()?.parse().ok()?;
    let text = DateTime::from_timestamp(whole, 0)?.to_rfc3339_opts(SecondsFormat::Secs, true);
    Some(text.into())
}

fn byte_length(with: &Map<String, Value>) -> Result<Option<Value>, BadParams> {
    match (with.get("text"), with.get("base64")) {
        (Some(text), _) => Ok(Some(as_text(text).len().into())),
        (None, Some(encoded)) => {
            let bytes = STANDARD
                .decode(as_text(encoded))
                .map_err(|_| BadParams::new("content", "is not base64"))?;
            Ok(Some(bytes.len().into()))
        }
        (None, None) => Ok(None),
    }
}

/// LinkedIn cuts a text at the first reserved character that no backslash stands before.
fn little_text(text: &str) -> String {
    let mut made = String::with_capacity(text.len() + text.len() / 8);
    let (mut before, mut letters) = (' ', text.chars().peekable());
    while let Some(letter) = letters.next() {
        let tags = letter == '#'
            && !before.is_alphanumeric()
            && letters.peek().is_some_and(|next| next.is_alphanumeric());
        if !tags && "\\|{}@[]()<>#*_~".contains(letter) {
            made.push('\\');
        }
        made.push(letter);
        before = letter;
    }
    made
}

fn ascii_json(value: &Value) -> String {
    let mut text = String::new();
    for character in value.to_string().chars() {
        if character.is_ascii() {
            text.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_builds_what_it_says_and_nothing_from_nothing() {
        let cases = [
            ("join", json!({"items": ["a", 1], "by": "|"}), json!("a|1")),
            ("join", json!({"items": "a"}), json!("a")),
            ("join", json!({}), Value::Null),
            (
                "quote",
                json!({"text": "O'Hara\\"}),
                json!("'O\\'Hara\\\\'"),
            ),
            (
                "quote",
                json!({"text": "a\"b", "mark": "\""}),
                json!("\"a\\\"b\""),
            ),
            (
                "query_param",
                json!({"url": "https://x.example/?%24skiptoken=a%20b", "name": "$skiptoken"}),
                json!("a b"),
            ),
            (
                "query_param",
                json!({"url": "/v1/x?page=2", "name": "page"}),
                json!("2"),
            ),
            (
                "query_param",
                json!({"url": "/v1/x", "name": "page"}),
                Value::Null,
            ),
            (
                "rfc3339",
                json!({"seconds": "0.500000"}),
                json!("1970-01-01T00:00:00Z"),
            ),
            ("byte_length", json!({"text": "é"}), json!(2)),
            ("byte_length", json!({"base64": "AAEC"}), json!(3)),
            ("base64", json!({"text": "hi"}), json!("aGk=")),
            (
                "json_text",
                json!({"value": {"a": "é😀"}}),
                json!("{\"a\":\"\\u00e9\\ud83d\\ude00\"}"),
            ),
            (
                "little_text",
                json!({"text": "We are hiring (Zurich) #jobs"}),
                json!("We are hiring \\(Zurich\\) #jobs"),
            ),
            (
                "little_text",
                json!({"text": "a_b*c~d|e {x} [y] <z> C# #1 me@x.example \\ # 5"}),
                json!(
                    "a\\_b\\*c\\~d\\|e \\{x\\} \\[y\\] \\<z\\> C\\# #1 me\\@x.example \\\\ \\# 5"
                ),
            ),
            (
                "little_text",
                json!({"text": "plain, 50 % – “so”"}),
                json!("plain, 50 % – “so”"),
            ),
            (
                "little_text",
                json!({"text": "##x #(y) é#z"}),
                json!("\\##x \\#\\(y\\) é\\#z"),
            ),
            ("little_text", json!({}), Value::Null),
        ];
        for (name, with, expected) in cases {
            let builder = Builder::named(name).unwrap();
            let built = builder.build(with.as_object().unwrap()).unwrap();
            assert_eq!(built.unwrap_or_default(), expected, "{name} {with}");
        }
        let odd = json!({"base64": "?"});
        assert!(Builder::ByteLength.build(odd.as_object().unwrap()).is_err());
    }
}
