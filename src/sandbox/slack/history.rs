//! Reading channels and threads.

use super::{
    Code, Message, Slack,
    arguments::{Arguments, PAGE_LIMIT, write_cursor},
};
use serde_json::{Value, json};

impl Slack {
    fn channel(&self, arguments: &Arguments) -> Result<&[Message], Code> {
        // Unlike a message, a history wants the id.
        let messages = self
            .messages
            .get(arguments.text("channel").unwrap_or_default());
        messages.map(Vec::as_slice).ok_or("channel_not_found")
    }

    /// Newest first; answers in threads are not part of it.
    pub(super) fn history(&self, arguments: &Arguments) -> Result<Value, Code> {
        let all = self.channel(arguments)?;
        let limit = arguments.limit(100)?;
        let oldest = arguments.micros("oldest").unwrap_or(i64::MIN);
        let cursor = arguments.cursor()?;
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
    pub(super) fn replies(&self, arguments: &Arguments) -> Result<Value, Code> {
        let all = self.channel(arguments)?;
        let limit = arguments.limit(PAGE_LIMIT)?;
        let thread = arguments.micros("ts").ok_or("thread_not_found")?;
        let oldest = arguments.micros("oldest").unwrap_or(i64::MIN);
        let cursor = arguments.cursor()?.unwrap_or(i64::MIN);
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
