//! Reading what came in: from the bytes of a request that was proved to an event that can be kept, searched and handed on. Pure.

pub mod blocks;
pub mod generic;
pub mod poll;
pub mod slack;

use reqwest::header::HeaderMap;
use serde_json::{Map, Value};

/// An event of the outside.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Incoming {
    /// The provider's name for it, the same each time that it is sent. `None`: it has none, and each delivery is an event.
    pub external_id: Option<String>,
    /// What happened, for example `app_mention`.
    pub kind: Option<String>,
    /// Events of one conversation keep their order.
    pub conversation: Option<String>,
    /// What a run gets as its trigger's payload. It holds no secret of the sender's.
    pub payload: Value,
    /// Why it is only an echo of what this side or another bot said; `None`: it is not.
    pub echo: Option<&'static str>,
}

/// Headers that say something about a delivery and prove nothing. No other is kept.
const KEPT: [&str; 8] = [
    "content-type",
    "user-agent",
    "x-slack-retry-num",
    "x-slack-retry-reason",
    "x-github-event",
    "x-github-delivery",
    "webhook-id",
    "webhook-timestamp",
];
/// Bytes of a header's value that are kept.
const VALUE_MAX: usize = 300;

/// The few headers that are worth keeping, as a JSON object.
pub fn kept_headers(headers: &HeaderMap) -> Value {
    let kept = KEPT.iter().filter_map(|name| {
        let value = headers.get(*name)?.to_str().ok()?;
        Some((
            (*name).to_owned(),
            Value::from(value.get(..VALUE_MAX).unwrap_or(value)),
        ))
    });
    Value::Object(kept.collect::<Map<_, _>>())
}

/// The media type of a request, without its parameters, in lower case.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let kind = value.split(';').next().unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}

const FORM: &str = "application/x-www-form-urlencoded";

/// A body that is not what its sender says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    #[error("the body is not what Slack sends: {0}")]
    NotSlack(&'static str),
}

fn json(body: &[u8]) -> Result<Value, Unreadable> {
    serde_json::from_slice(body).map_err(|error| Unreadable::NotJson(error.to_string()))
}
