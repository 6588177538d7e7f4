//! Posting, changing and deleting messages, and reacting to them.

use super::{
    Code, Message, Slack,
    arguments::{Arguments, format_ts, parse_ts},
    find, people,
};
use crate::{domain::Timestamp, sandbox::seed};
use serde_json::{Value, json};

const TEXT_LIMIT: usize = 40_000;
const EMOJI_LIMIT: usize = 100;

impl Slack {
    pub(super) fn post(&mut self, arguments: &Arguments, at: Timestamp) -> Result<Value, Code> {
        let given = arguments.text("channel").unwrap_or_default();
        let channel = people::channel_id(given).ok_or("channel_not_found")?;
        let text = content(arguments)?;
        let ts = self.next_ts(at);
        let mut message = json!({"type": "message", "user": seed::BOT, "bot_id": "B0TENURE", "text": text, "ts": ts});
        if let Some(blocks) = arguments.json("blocks") {
            message["blocks"] = with_block_ids(blocks);
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
        self.messages.entry(channel.clone()).or_default().push(kept);
        if let Some(metadata) = metadata {
            message["metadata"] = metadata;
        }
        Ok(json!({"channel": channel, "ts": ts, "message": message}))
    }

    /// One person sees it, nobody can read it back.
    pub(super) fn post_ephemeral(
        &mut self,
        arguments: &Arguments,
        at: Timestamp,
    ) -> Result<Value, Code> {
        let given = arguments.text("channel").unwrap_or_default();
        people::channel_id(given).ok_or("channel_not_found")?;
        let user = arguments.text("user").unwrap_or_default();
        people::user(user).ok_or("user_not_in_channel")?;
        content(arguments)?;
        Ok(json!({"message_ts": self.next_ts(at)}))
    }

    pub(super) fn update(&mut self, arguments: &Arguments, at: Timestamp) -> Result<Value, Code> {
        let (channel, place) = self.find(arguments, "ts")?;
        let text = content(arguments)?;
        let blocks = arguments.json("blocks").map(with_block_ids);
        let message = self
            .messages
            .get_mut(&channel)
            .and_then(|all| all.get_mut(place))
            .ok_or("message_not_found")?;
        change(message, text, blocks, at);
        if let Some(metadata) = arguments.json("metadata").filter(Value::is_object) {
            message.metadata = Some(metadata);
        }
        let ts = &message.json["ts"];
        Ok(json!({"channel": channel, "ts": ts, "text": text, "message": message.json}))
    }

    pub(super) fn delete(&mut self, arguments: &Arguments) -> Result<Value, Code> {
        let (channel, place) = self.find(arguments, "ts")?;
        let all = self.messages.get_mut(&channel).ok_or("message_not_found")?;
        let gone = all.remove(place);
        Ok(json!({"channel": channel, "ts": gone.json["ts"]}))
    }

    pub(super) fn react(&mut self, arguments: &Arguments) -> Result<Value, Code> {
        let name = arguments.text("name").unwrap_or_default().trim_matches(':');
        if name.is_empty() || name.len() > EMOJI_LIMIT {
            return Err("invalid_name");
        }
        if !arguments.is_given("timestamp") {
            return Err("no_item_specified");
        }
        let (channel, place) = self.find(arguments, "timestamp")?;
        let message = self
            .messages
            .get_mut(&channel)
            .and_then(|all| all.get_mut(place))
            .ok_or("message_not_found")?;
        if !message.json["reactions"].is_array() {
            message.json["reactions"] = json!([]);
        }
        let reactions = message.json["reactions"]
            .as_array_mut()
            .ok_or("fatal_error")?;
        if reactions.iter().any(|reaction| reaction["name"] == name) {
            return Err("already_reacted");
        }
        reactions.push(json!({"name": name, "users": [seed::BOT], "count": 1}));
        Ok(json!({}))
    }

    /// Channel and place of the message that `name` gives the time of.
    fn find(&self, arguments: &Arguments, name: &str) -> Result<(String, usize), Code> {
        let channel = arguments.text("channel").unwrap_or_default();
        let all = self.messages.get(channel).ok_or("channel_not_found")?;
        let micros = arguments.text(name).and_then(parse_ts);
        let place = micros.and_then(|micros| find(all, micros));
        Ok((channel.to_owned(), place.ok_or("message_not_found")?))
    }

    pub(super) fn next_ts(&mut self, at: Timestamp) -> String {
        self.last = at.micros().max(self.last + 1);
        format_ts(self.last)
    }
}

/// The text of a message that has a text or blocks.
fn content(arguments: &Arguments) -> Result<&str, Code> {
    let text = arguments.text("text").unwrap_or_default();
    if text.is_empty() && !arguments.is_given("blocks") {
        return Err("no_text");
    }
    if text.chars().count() > TEXT_LIMIT {
        return Err("msg_too_long");
    }
    Ok(text)
}

/// Blocks that are not given stay; an empty list takes them away.
pub(super) fn change(message: &mut Message, text: &str, blocks: Option<Value>, at: Timestamp) {
    message.json["text"] = json!(text);
    message.json["edited"] = json!({"user": seed::BOT, "ts": format_ts(at.micros())});
    let (Some(blocks), Some(json)) = (blocks, message.json.as_object_mut()) else {
        return;
    };
    if blocks.as_array().is_some_and(Vec::is_empty) {
        json.remove("blocks");
    } else {
        json.insert("blocks".into(), blocks);
    }
}

/// Slack names the blocks that have no id.
pub(super) fn with_block_ids(mut blocks: Value) -> Value {
    let list = blocks.as_array_mut().into_iter().flatten();
    for (place, block) in list.enumerate() {
        if let Some(block) = block.as_object_mut() {
            block
                .entry("block_id")
                .or_insert_with(|| json!(format!("b{place}")));
        }
    }
    blocks
}
