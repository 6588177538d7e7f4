//! The arguments of a method, wherever Slack takes them from: query, form or JSON. And Slack's own ways to write times and cursors.

use super::{super::call::Call, Code};
use crate::sandbox::urlencoded;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

pub(super) const PAGE_LIMIT: usize = 999;

pub(super) struct Arguments(Map<String, Value>);

impl Arguments {
    pub fn of(call: &Call) -> Self {
        let mut found: Map<_, _> = urlencoded::pairs(&call.query)
            .into_iter()
            .map(|(name, value)| (name, Value::String(value)))
            .collect();
        if let Value::Object(body) = &call.body {
            found.extend(body.clone());
        }
        Self(found)
    }
    pub fn is_given(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    }
    /// A time such as `1700000000.000100`, in microseconds.
    pub fn micros(&self, name: &str) -> Option<i64> {
        parse_ts(self.text(name)?)
    }
    pub fn flag(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| {
            value == &Value::Bool(true) || matches!(value.as_str(), Some("true" | "1"))
        })
    }
    pub fn limit(&self, default: usize) -> Result<usize, Code> {
        let Some(given) = self.0.get("limit") else {
            return Ok(default);
        };
        let number = given.as_u64().or_else(|| given.as_str()?.parse().ok());
        number
            .and_then(|number| usize::try_from(number).ok())
            .filter(|limit| (1..=PAGE_LIMIT + 1).contains(limit))
            .ok_or("invalid_limit")
    }
    pub fn cursor(&self) -> Result<Option<i64>, Code> {
        self.text("cursor").map(read_cursor).transpose()
    }
    /// JSON, as itself or as text, which is how it travels in a form.
    pub fn json(&self, name: &str) -> Option<Value> {
        match self.0.get(name)? {
            Value::String(text) => serde_json::from_str(text).ok(),
            other => Some(other.clone()),
        }
    }
}

pub(super) fn format_ts(micros: i64) -> String {
    format!(
        "{}.{:06}",
        micros.div_euclid(1_000_000),
        micros.rem_euclid(1_000_000)
    )
}

pub(super) fn parse_ts(text: &str) -> Option<i64> {
    let (seconds, rest) = text.split_once('.').unwrap_or((text, ""));
    let micros = format!("{rest:0<6}").get(..6)?.parse::<i64>().ok()?;
    seconds
        .parse::<i64>()
        .ok()?
        .checked_mul(1_000_000)?
        .checked_add(micros)
}

pub(super) fn write_cursor(place: i64) -> String {
    STANDARD.encode(format!("next:{place}"))
}

fn read_cursor(cursor: &str) -> Result<i64, Code> {
    let bytes = STANDARD.decode(cursor).map_err(|_| "invalid_cursor")?;
    let text = String::from_utf8(bytes).map_err(|_| "invalid_cursor")?;
    text.strip_prefix("next:")
        .and_then(|place| place.parse().ok())
        .ok_or("invalid_cursor")
}
