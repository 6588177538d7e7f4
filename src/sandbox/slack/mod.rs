//! Slack's Web API: messages, channels, people. Answers are 200 with `ok`, errors too.

mod arguments;
mod history;
mod people;
mod response;
mod write;

use super::{
    call::{Answer, Call},
    seed,
};
use arguments::{Arguments, parse_ts};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

pub(super) use people::{channel_name, user_name};
pub(super) use response::write_url;

/// What stands in `error`.
type Code = &'static str;

#[derive(Debug)]
pub(super) struct Slack {
    /// By channel id, in the order of their times.
    messages: BTreeMap<String, Vec<Message>>,
    /// No two messages have the same time.
    last: i64,
    /// How often each response URL was used.
    responses: HashMap<String, u32>,
}

#[derive(Debug)]
struct Message {
    micros: i64,
    /// In a thread, and so not in the channel's history.
    thread: Option<i64>,
    json: Value,
    metadata: Option<Value>,
}

impl Slack {
    pub fn new() -> Self {
        let channels = seed::CHANNELS.iter().map(|(id, _)| (*id).to_owned());
        let direct = seed::USERS
            .iter()
            .map(|(id, ..)| people::direct_channel(id));
        Self {
            messages: channels.chain(direct).map(|id| (id, Vec::new())).collect(),
            last: 0,
            responses: HashMap::new(),
        }
    }

    pub fn answer(&mut self, call: &Call) -> Answer {
        if let Some(url) = call.path.strip_prefix("/response/") {
            return self.respond(url, call);
        }
        let arguments = Arguments::of(call);
        let Some(method) = call.path.strip_prefix("/api/") else {
            return failed("unknown_method");
        };
        let answer = match (call.method.as_str(), method) {
            ("POST", "chat.postMessage") => self.post(&arguments, call.at),
            ("POST", "chat.postEphemeral") => self.post_ephemeral(&arguments, call.at),
            ("POST", "chat.update") => self.update(&arguments, call.at),
            ("POST", "chat.delete") => self.delete(&arguments),
            ("POST", "reactions.add") => self.react(&arguments),
            ("GET" | "POST", "conversations.history") => self.history(&arguments),
            ("GET" | "POST", "conversations.replies") => self.replies(&arguments),
            ("GET" | "POST", "conversations.list") => people::list_channels(&arguments),
            ("GET" | "POST", "conversations.info") => people::channel_info(&arguments),
            ("GET" | "POST", "conversations.members") => people::members(&arguments),
            ("POST", "conversations.open") => people::open(&arguments),
            ("GET" | "POST", "users.lookupByEmail") => people::look_up(&arguments),
            ("GET" | "POST", "users.info") => people::user_info(&arguments),
            ("GET" | "POST", "users.list") => people::list_users(&arguments),
            ("GET" | "POST", "auth.test") => Ok(people::whoami()),
            _ => Err("unknown_method"),
        };
        match answer {
            Ok(mut body) => {
                body["ok"] = json!(true);
                Answer::ok(body)
            }
            Err(error) => failed(error),
        }
    }

    /// A message as it was posted, by the channel's id and its `ts`.
    pub fn message(&self, channel: &str, ts: &str) -> Option<&Value> {
        let micros = parse_ts(ts)?;
        let all = self.messages.get(channel)?;
        Some(&all[find(all, micros)?].json)
    }

    /// The newest message of a channel that has a button or the like with this `action_id`.
    pub fn newest_with_action(&self, channel: &str, action_id: &str) -> Option<&Value> {
        let all = self.messages.get(channel)?.iter().rev();
        all.map(|message| &message.json)
            .find(|json| action(json, action_id).is_some())
    }
}

/// The element with an `action_id` among a message's blocks, with its block's id.
pub(super) fn action<'a>(message: &'a Value, action_id: &str) -> Option<(&'a Value, &'a Value)> {
    let blocks = message["blocks"].as_array()?;
    blocks.iter().find_map(|block| {
        let many = block["elements"].as_array().into_iter().flatten();
        let mut elements = many.chain(block.get("accessory"));
        let element = elements.find(|element| element["action_id"] == action_id)?;
        Some((element, &block["block_id"]))
    })
}

fn find(all: &[Message], micros: i64) -> Option<usize> {
    all.binary_search_by_key(&micros, |message| message.micros)
        .ok()
}

fn failed(error: Code) -> Answer {
    Answer::ok(json!({"ok": false, "error": error}))
}
