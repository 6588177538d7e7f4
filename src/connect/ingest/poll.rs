//! Asking for news: where in an answer the items are, what tells them apart, and how far has been read.
//!
//! Invariant: the cursor only moves past what was read. It goes back by an overlap each time, for providers that show a change late or give
//! several the same time; what comes twice that way is known by its id.

use crate::domain::{ContentHash, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::{cmp::Ordering, time::Duration};

/// Where the cursor goes in the arguments.
const PLACE: &str = "{cursor}";
const OVERLAP_MAX: u64 = 7 * 24 * 3_600;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PollRule {
    /// JSON pointer to the list of items in the capability's result.
    pub items: String,
    /// JSON pointers into an item, one or several, that name it together; with its version, each change is an event.
    #[serde(deserialize_with = "one_or_more")]
    pub item_id: Vec<String>,
    /// The type of the events, for example `invoice.changed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    pub cursor: CursorRule,
}

/// A list, or a single text for a list of one.
///
/// # Errors
/// If it is neither.
pub fn one_or_more<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a JSON pointer or a list of them")]
    enum Given {
        One(String),
        More(Vec<String>),
    }
    Ok(match Given::deserialize(d)? {
        Given::One(text) => vec![text],
        Given::More(texts) => texts,
    })
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CursorRule {
    pub kind: CursorKind,
    /// `greatest`: JSON pointer into an item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Where to begin: an RFC 3339 time or another value of the provider's. Absent: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// How a time is written in the arguments.
    #[serde(default)]
    pub format: TimeFormat,
    /// How far a time goes back each time, up to a week. Default 60.
    #[serde(default = "overlap")]
    pub overlap_seconds: u64,
}

fn overlap() -> u64 {
    60
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CursorKind {
    /// The greatest value that was seen at a place of the items: a time, a number or a text.
    Greatest,
    /// The time at which was last asked.
    Time,
    /// There is none: the same is asked each time, and what is known already is passed over.
    None,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeFormat {
    /// `2025-06-09T18:00:00Z`
    #[default]
    Rfc3339,
    /// Seconds since 1970, as Gmail's `after:` takes them.
    Unix,
    UnixMs,
    /// `2025-06-09`, in UTC. Goes back to the beginning of the day.
    Date,
}

impl PollRule {
    /// The first thing that is wrong: the field and what would be right.
    pub fn wrong(&self, arguments: &Value) -> Option<(&'static str, &'static str)> {
        let pointer = |text: &String| text.starts_with('/') && text.len() <= 200;
        if !self.items.is_empty() && !pointer(&self.items) {
            return Some(("items", "must be a JSON pointer such as /messages"));
        }
        if self.item_id.is_empty() || self.item_id.len() > 5 || !self.item_id.iter().all(pointer) {
            return Some(("item_id", "must be one to five JSON pointers such as /id"));
        }
        let CursorRule {
            kind,
            at,
            overlap_seconds,
            ..
        } = &self.cursor;
        match (kind, at) {
            (CursorKind::Greatest, Some(at)) if pointer(at) => {}
            (CursorKind::Greatest, _) => {
                return Some(("cursor.at", "must be a JSON pointer such as /updated_at"));
            }
            (_, Some(_)) => return Some(("cursor.at", "is for the kind `greatest` alone")),
            (_, None) => {}
        }
        if *overlap_seconds > OVERLAP_MAX {
            return Some(("cursor.overlap_seconds", "must be 0 to 604800"));
        }
        let placed = has_place(arguments);
        match kind {
            CursorKind::None if placed => Some((
                "arguments",
                "must not have {cursor} in them without a cursor",
            )),
            CursorKind::Greatest | CursorKind::Time if !placed => {
                Some(("arguments", "must have {cursor} in one of their texts"))
            }
            _ => None,
        }
    }

    /// Where reading begins.
    pub fn start(&self, now: Timestamp) -> Option<String> {
        match self.cursor.kind {
            CursorKind::None => None,
            _ => Some(self.cursor.start.clone().unwrap_or_else(|| now.to_string())),
        }
    }

    /// The arguments of the next question.
    pub fn arguments(&self, arguments: &Value, cursor: Option<&str>) -> Value {
        match cursor {
            Some(cursor) => filled(arguments, &self.cursor.written(cursor)),
            None => arguments.clone(),
        }
    }

    /// The items of an answer.
    ///
    /// # Errors
    /// If there is no list where it should be.
    pub fn items<'v>(&self, output: &'v Value) -> Result<&'v [Value], String> {
        match output.pointer(&self.items) {
            Some(Value::Array(items)) => Ok(items),
            Some(Value::Null) => Ok(&[]),
            _ => Err(format!("the answer has no list at `{}`", self.items)),
        }
    }

    /// What tells an item from all others. One that has not what the rule names is told by all that it is.
    pub fn id_of(&self, item: &Value) -> String {
        let parts = self
            .item_id
            .iter()
            .map(|pointer| match item.pointer(pointer)? {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            });
        match parts.collect::<Option<Vec<_>>>() {
            Some(parts) if !parts.iter().any(|part| part.contains('\0')) => parts.join(":"),
            _ => ContentHash::of_json(item).to_string(),
        }
    }

    /// How far has been read when all these items are kept. `asked` is when the first question left.
    pub fn advance(
        &self,
        cursor: Option<&str>,
        items: &[Value],
        asked: Timestamp,
    ) -> Option<String> {
        match self.cursor.kind {
            CursorKind::None => None,
            CursorKind::Time => Some(asked.to_string()),
            CursorKind::Greatest => {
                let at = self.cursor.at.as_deref().unwrap_or_default();
                let seen = items.iter().filter_map(|item| match item.pointer(at)? {
                    Value::String(text) => Some(text.clone()),
                    Value::Number(number) => Some(number.to_string()),
                    _ => None,
                });
                cursor
                    .map(str::to_owned)
                    .into_iter()
                    .chain(seen)
                    .max_by(|a, b| compare(a, b))
            }
        }
    }
}

impl CursorRule {
    fn written(&self, cursor: &str) -> String {
        let Some(at) = Timestamp::parse(cursor) else {
            return cursor.to_owned();
        };
        let back = i64::try_from(Duration::from_secs(self.overlap_seconds).as_micros());
        let at = Timestamp::from_micros(at.micros().saturating_sub(back.unwrap_or(i64::MAX)));
        match self.format {
            TimeFormat::Rfc3339 => at.to_string(),
            TimeFormat::Unix => at.micros().div_euclid(1_000_000).to_string(),
            TimeFormat::UnixMs => at.micros().div_euclid(1_000).to_string(),
            TimeFormat::Date => at.to_chrono().format("%Y-%m-%d").to_string(),
        }
    }
}

/// Times by time, whatever their offsets; numbers by size; texts by their letters.
fn compare(a: &str, b: &str) -> Ordering {
    match (Timestamp::parse(a), Timestamp::parse(b)) {
        (Some(a), Some(b)) => return a.cmp(&b),
        // A provider's own values are further than the time at which reading began.
        (Some(_), None) => return Ordering::Less,
        (None, Some(_)) => return Ordering::Greater,
        (None, None) => {}
    }
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.total_cmp(&b),
        _ => a.cmp(b),
    }
}

fn has_place(arguments: &Value) -> bool {
    match arguments {
        Value::String(text) => text.contains(PLACE),
        Value::Array(items) => items.iter().any(has_place),
        Value::Object(fields) => fields.values().any(has_place),
        _ => false,
    }
}

fn filled(arguments: &Value, cursor: &str) -> Value {
    match arguments {
        Value::String(text) => Value::String(text.replace(PLACE, cursor)),
        Value::Array(items) => items.iter().map(|item| filled(item, cursor)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), filled(value, cursor)))
            .collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(value: Value) -> PollRule {
        serde_json::from_value(value).expect("a rule")
    }
    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    #[test]
    fn changed_invoices_are_read_from_the_last_change_on() {
        let rule = rule(json!({
            "items": "/invoices", "item_id": ["/Id", "/SyncToken"], "event": "invoice.changed",
            "cursor": {"kind": "greatest", "at": "/MetaData/LastUpdatedTime", "overlap_seconds": 30},
        }));
        let arguments = json!({"where": [{"field": "MetaData.LastUpdatedTime", "operator": ">", "value": "{cursor}"}]});
        assert_eq!(rule.wrong(&arguments), None);
        let start = rule.start(at("2025-06-09T18:00:30Z"));
        let asked = rule.arguments(&arguments, start.as_deref());
        assert_eq!(asked["where"][0]["value"], "2025-06-09T18:00:00.000Z");
        let answer = json!({"invoices": [
            {"Id": "1", "SyncToken": "0", "MetaData": {"LastUpdatedTime": "2025-06-09T12:00:00-07:00"}},
            {"Id": "2", "SyncToken": "3", "MetaData": {"LastUpdatedTime": "2025-06-09T18:30:00Z"}},
            {"Id": "3"},
        ]});
        let items = rule.items(&answer).expect("items");
        assert_eq!(rule.id_of(&items[1]), "2:3");
        assert!(rule.id_of(&items[2]).starts_with("sha256:"));
        let next = rule.advance(start.as_deref(), items, at("2025-06-09T20:00:00Z"));
        assert_eq!(
            next.as_deref(),
            Some("2025-06-09T12:00:00-07:00"),
            "19:00 in UTC"
        );
        assert_eq!(
            rule.advance(next.as_deref(), &[], at("2025-06-10T00:00:00Z")),
            next
        );
        assert!(rule.items(&json!({})).is_err());
    }

    #[test]
    fn new_mail_is_read_from_the_last_question_on() {
        let rule = rule(json!({
            "items": "/messages", "item_id": "/id", "cursor": {"kind": "time", "format": "unix", "overlap_seconds": 120},
        }));
        let arguments = json!({"query": "in:inbox after:{cursor}", "max_results": 100});
        assert_eq!(rule.wrong(&arguments), None);
        let cursor = rule.advance(None, &[], at("2025-06-09T18:00:00Z"));
        let asked = rule.arguments(&arguments, cursor.as_deref());
        assert_eq!(
            asked,
            json!({"query": "in:inbox after:1749491880", "max_results": 100})
        );
    }

    #[test]
    fn other_cursors() {
        let rule = rule(
            json!({"items": "", "item_id": "/id", "cursor": {"kind": "greatest", "at": "/n", "start": "5"}}),
        );
        let items = [json!({"n": 10}), json!({"n": 9})];
        let next = rule.advance(Some("5"), &items, Timestamp::default());
        assert_eq!(next.as_deref(), Some("10"), "numbers are no texts");
        assert_eq!(
            rule.arguments(&json!({"since": "{cursor}"}), next.as_deref()),
            json!({"since": "10"})
        );
        let next = rule.advance(
            Some("2025-06-09T18:00:00Z"),
            &[json!({"n": "v1"})],
            Timestamp::default(),
        );
        assert_eq!(next.as_deref(), Some("v1"));
        let answer = json!([{"id": 1}]);
        assert_eq!(rule.items(&answer).map(<[_]>::len), Ok(1));
    }

    #[test]
    fn wrong_rules_name_their_field() {
        let good = json!({"items": "/m", "item_id": "/id", "cursor": {"kind": "time"}});
        let with = |field: &str, value: Value| {
            let mut changed = good.clone();
            *changed.pointer_mut(field).expect("a field") = value;
            rule(changed)
        };
        let arguments = json!({"q": "{cursor}"});
        let name =
            |rule: PollRule, arguments: &Value| rule.wrong(arguments).map(|(field, _)| field);
        assert_eq!(name(with("/items", json!("m")), &arguments), Some("items"));
        assert_eq!(
            name(with("/item_id", json!([])), &arguments),
            Some("item_id")
        );
        assert_eq!(
            name(with("/cursor/kind", json!("greatest")), &arguments),
            Some("cursor.at")
        );
        assert_eq!(
            name(with("/cursor/kind", json!("none")), &arguments),
            Some("arguments")
        );
        assert_eq!(
            name(rule(good.clone()), &json!({"q": "x"})),
            Some("arguments")
        );
    }
}
