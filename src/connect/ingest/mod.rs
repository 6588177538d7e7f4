//! Reading what came in: from the bytes of a request that was proved to an event that can be kept, searched and handed on. Pure.

pub mod blocks;
pub mod body;
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

/// Headers that say something about a delivery and prove nothing. No other is kept, but for those that an endpoint names.
const KEPT: [&str; 9] = [
    "content-type",
    "content-encoding",
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

/// The few headers that are worth keeping, and those of the names in `also`, as a JSON object.
pub fn kept_headers(headers: &HeaderMap, also: &[&str]) -> Value {
    let kept = KEPT.iter().chain(also).filter_map(|name| {
        let value = headers.get(*name)?.to_str().ok()?;
        Some((
            name.to_ascii_lowercase(),
            Value::from(value.get(..VALUE_MAX).unwrap_or(value)),
        ))
    });
    Value::Object(kept.collect::<Map<_, _>>())
}

/// A body that cannot be read, though it is known who sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    #[error("the body is not what Slack sends: {0}")]
    NotSlack(&'static str),
    #[error("the form has no field `payload` with the event in it")]
    NoPayload,
    #[error("the content-encoding is {0}; it must be gzip, deflate or none")]
    Encoding(String),
    #[error("the body is not {0}, as its content-encoding says")]
    Packed(String),
    #[error("the body has more than {most} bytes when it is unpacked")]
    TooLarge { most: usize },
    #[error("the charset is {0}, which is not known here; UTF-8 is the best choice")]
    Charset(String),
    #[error(
        "the content-type is {0} and the body is not JSON; what is taken is application/json, types that end in +json, and \
         application/x-www-form-urlencoded"
    )]
    MediaType(String),
}
