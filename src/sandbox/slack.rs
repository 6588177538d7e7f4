//! Slack's Web API: messages, channels, people. Answers are 200 with `ok`, errors too.

use super::{
    call::{Answer, Call},
    seed, urlencoded,
};
use crate::domain::Timestamp;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const TEXT_LIMIT: usize = 40_000;
const PAGE_LIMIT: usize = 999;

#[derive(Debug)]
pub(super) struct Slack {
    /// By channel id, in the order of their times.
    messages: BTreeMap<String, Vec<Message>>,
    /// No two messages have the same time.
    last: i64,
}

#[derive(Debug)]
struct Message {
    micros: i64,
    /// In a thread, and so not in the channel's history.
    thread: Option<i64>,
    json: Value,
    metadata: Option<Value>,
}

/// The arguments, wherever Slack takes them from: query, form or JSON.
struct Arguments(Map<String, Value>);

impl Arguments {
    fn of(call: &Call) -> Self {
        let mut found: Map<_, _> = urlencoded::pairs(&call.query)
            .into_iter()
            .map(|(name, value)| (name, Value::String(value)))
            .collect();
        if let Value::Object(body) = &call.body {
            found.extend(body.clone());
        }
        Self(found)
    }
    fn text(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    }
    fn micros(&self, name: &str) -> Option<i64> {
        parse_ts(self.text(name)?)
    }
    fn flag(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| {
            value == &Value::Bool(true) || matches!(value.as_str(), Some("true" | "1"))
        })
    }
    fn limit(&self, default: usize) -> Option<usize> {
        let Some(given) = self.0.get("limit") else {
            return Some(default);
        };
        let number = given.as_u64().or_else(|| given.as_str()?.parse().ok())?;
        usize::try_from(number)
            .ok()
            .filter(|limit| (1..=PAGE_LIMIT + 1).contains(limit))
    }
    fn json(&self, name: &str) -> Option<Value> {
        match self.0.get(name)? {
            Value::String(text) => serde_json::from_str(text).ok(),
            other => Some(other.clone()),
        }
    }
}

impl Slack {
    pub fn new() -> Self {
        let messages = seed::CHANNELS
            .iter()
            .map(|(id, _)| ((*id).to_owned(), Vec::new()))
            .collect();
        Self { messages, last: 0 }
    }

    pub fn answer(&mut self, call: &Call) -> Answer {
        let arguments = Arguments::of(call);
        let answer = match (call.method.as_str(), call.path.as_str()) {
            ("POST", "/api/chat.postMessage") => self.post(&arguments, call.at),
            ("GET" | "POST", "/api/conversations.history") => self.history(&arguments),
            ("GET" | "POST", "/api/conversations.replies") => self.replies(&arguments),
            ("GET" | "POST", "/api/conversations.list") => list_channels(&arguments),
            ("GET" | "POST", "/api/users.lookupByEmail") => look_up(&arguments),
            ("GET" | "POST", "/api/auth.test") => {
                Ok(json!({"team": "Demo", "team_id": "T0DEMO", "user_id": seed::BOT}))
            }
            _ => Err("unknown_method"),
        };
        Answer::ok(match answer {
            Ok(mut body) => {
                body["ok"] = json!(true);
                body
            }
            Err(error) => json!({"ok": false, "error": error}),
        })
    }

    fn post(&mut self, arguments: &Arguments, at: Timestamp) -> Result<Value, &'static str> {
        let channel =
            channel_id(arguments.text("channel").unwrap_or_default()).ok_or("channel_not_found")?;
        let text = arguments.text("text").unwrap_or_default();
        if text.is_empty() && arguments.0.get("blocks").is_none() {
            return Err("no_text");
        }
        if text.chars().count() > TEXT_LIMIT {
            return Err("msg_too_long");
        }
        self.last = at.micros().max(self.last + 1);
        let ts = format_ts(self.last);
        let mut message = json!({"type": "message", "user": seed::BOT, "bot_id": "B0TENURE", "text": text, "ts": ts});
        if let Some(blocks) = arguments.json("blocks") {
            message["blocks"] = blocks;
        }
        let thread = arguments.micros("thread_ts");
        if let Some(thread) = thread {
            message["thread_ts"] = json!(format_ts(thread));
        }
        let metadata = arguments.json("metadata").filter(Value::is_object);
        let kept = Message {
            micros: self.last,
            thread,
            json: message.clone(),
            metadata: metadata.clone(),
        };
        self.messages
            .entry(channel.to_owned())
            .or_default()
            .push(kept);
        if let Some(metadata) = metadata {
            message["metadata"] = metadata;
        }
        Ok(json!({"channel": channel, "ts": ts, "message": message}))
    }

    fn channel(&self, arguments: &Arguments) -> Result<&[Message], &'static str> {
        // Unlike a message, a history wants the id.
        let messages = self
            .messages
            .get(arguments.text("channel").unwrap_or_default());
        messages.map(Vec::as_slice).ok_or("channel_not_found")
    }

    /// Newest first; answers in threads are not part of it.
    fn history(&self, arguments: &Arguments) -> Result<Value, &'static str> {
        let all = self.channel(arguments)?;
        let limit = arguments.limit(100).ok_or("invalid_limit")?;
        let oldest = arguments.micros("oldest").unwrap_or(i64::MIN);
        let cursor = arguments.text("cursor").map(read_cursor).transpose()?;
        let latest = arguments
            .micros("latest")
            .unwrap_or(i64::MAX)
            .min(cursor.unwrap_or(i64::MAX));
        let inclusive = arguments.flag("inclusive");
        let before = all.partition_point(|message| {
            message.micros < latest || (inclusive && message.micros == latest)
        });
        let mut fitting = all[..before]
            .iter()
            .rev()
            .take_while(|message| {
                message.micros > oldest || (inclusive && message.micros == oldest)
            })
            .filter(|message| message.thread.is_none_or(|thread| thread == message.micros));
        let page: Vec<_> = fitting.by_ref().take(limit).collect();
        let more = fitting.next().is_some();
        let mut body =
            json!({"messages": show(&page, arguments), "has_more": more, "pin_count": 0});
        if let Some(last) = page.last().filter(|_| more) {
            body["response_metadata"] = json!({"next_cursor": write_cursor(last.micros)});
        }
        Ok(body)
    }

    /// A thread, oldest first, its first message included.
    fn replies(&self, arguments: &Arguments) -> Result<Value, &'static str> {
        let all = self.channel(arguments)?;
        let limit = arguments.limit(PAGE_LIMIT).ok_or("invalid_limit")?;
        let thread = arguments.micros("ts").ok_or("thread_not_found")?;
        let oldest = arguments.micros("oldest").unwrap_or(i64::MIN);
        let cursor = arguments
            .text("cursor")
            .map(read_cursor)
            .transpose()?
            .unwrap_or(i64::MIN);
        let mut fitting = all.iter().filter(|message| {
            (message.thread == Some(thread) && message.micros > oldest || message.micros == thread)
                && message.micros > cursor
        });
        let page: Vec<_> = fitting.by_ref().take(limit).collect();
        let more = fitting.next().is_some();
        let mut body = json!({"messages": show(&page, arguments), "has_more": more});
        if let Some(last) = page.last().filter(|_| more) {
            body["response_metadata"] = json!({"next_cursor": write_cursor(last.micros)});
        }
        Ok(body)
    }
}

fn show(page: &[&Message], arguments: &Arguments) -> Vec<Value> {
    let with_metadata = arguments.flag("include_all_metadata");
    let show = |message: &&Message| {
        let mut shown = message.json.clone();
        if let Some(metadata) = message.metadata.as_ref().filter(|_| with_metadata) {
            shown["metadata"] = metadata.clone();
        }
        shown
    };
    page.iter().map(show).collect()
}

/// A channel by `#name`, name or id.
fn channel_id(given: &str) -> Option<&'static str> {
    let name = given.strip_prefix('#').unwrap_or(given);
    seed::CHANNELS
        .iter()
        .find(|(id, known)| *id == given || *known == name)
        .map(|(id, _)| *id)
}

fn list_channels(arguments: &Arguments) -> Result<Value, &'static str> {
    let limit = arguments.limit(100).ok_or("invalid_limit")?;
    let start = arguments
        .text("cursor")
        .map(read_cursor)
        .transpose()?
        .unwrap_or(0);
    let start = usize::try_from(start)
        .map_err(|_| "invalid_cursor")?
        .min(seed::CHANNELS.len());
    let end = (start + limit).min(seed::CHANNELS.len());
    let show = |(id, name): &(&str, &str)| json!({"id": id, "name": name, "is_channel": true, "is_archived": false, "is_member": true});
    let channels: Vec<_> = seed::CHANNELS[start..end].iter().map(show).collect();
    let next = if end < seed::CHANNELS.len() {
        write_cursor(end as i64)
    } else {
        String::new()
    };
    Ok(json!({"channels": channels, "response_metadata": {"next_cursor": next}}))
}

fn look_up(arguments: &Arguments) -> Result<Value, &'static str> {
    let email = arguments.text("email").ok_or("users_not_found")?;
    let found = seed::USERS
        .iter()
        .find(|(_, _, _, known)| known.eq_ignore_ascii_case(email));
    let (id, name, real_name, email) = found.ok_or("users_not_found")?;
    let profile = json!({"email": email, "real_name": real_name, "display_name": name});
    Ok(
        json!({"user": {"id": id, "team_id": "T0DEMO", "name": name, "real_name": real_name, "profile": profile, "is_bot": false}}),
    )
}

fn format_ts(micros: i64) -> String {
    format!(
        "{}.{:06}",
        micros.div_euclid(1_000_000),
        micros.rem_euclid(1_000_000)
    )
}

fn parse_ts(text: &str) -> Option<i64> {
    let (seconds, rest) = text.split_once('.').unwrap_or((text, ""));
    let micros = format!("{rest:0<6}").get(..6)?.parse::<i64>().ok()?;
    seconds
        .parse::<i64>()
        .ok()?
        .checked_mul(1_000_000)?
        .checked_add(micros)
}

fn write_cursor(place: i64) -> String {
    STANDARD.encode(format!("next:{place}"))
}

fn read_cursor(cursor: &str) -> Result<i64, &'static str> {
    let bytes = STANDARD.decode(cursor).map_err(|_| "invalid_cursor")?;
    let text = String::from_utf8(bytes).map_err(|_| "invalid_cursor")?;
    text.strip_prefix("next:")
        .and_then(|place| place.parse().ok())
        .ok_or("invalid_cursor")
}
