//! Response URLs: what an app sends back after a click or a command. Each is good five times, for half an hour.

use super::{
    Slack,
    arguments::parse_ts,
    find, people,
    write::{change, with_block_ids},
};
use crate::{
    domain::Timestamp,
    sandbox::{
        call::{Answer, Call},
        seed,
    },
};
use serde_json::{Value, json};
use std::time::Duration;

const USES: u32 = 5;
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// What a response URL says after `/response/`. `ts` is that of the message clicked on, or `-`.
pub(in crate::sandbox) fn write_url(channel: &str, ts: &str, at: Timestamp, nonce: &str) -> String {
    format!("{channel}/{ts}/{}/{nonce}", at.micros() / 1_000)
}

impl Slack {
    pub(super) fn respond(&mut self, url: &str, call: &Call) -> Answer {
        let parts: Vec<_> = url.split('/').collect();
        let &[channel, ts, millis, _nonce] = parts.as_slice() else {
            return gone("invalid_url");
        };
        let (Ok(millis), Some(channel)) = (millis.parse(), people::channel_id(channel)) else {
            return gone("invalid_url");
        };
        if call.method != "POST" || !call.body.is_object() {
            return Answer::new(400, json!({"ok": false, "error": "invalid_payload"}));
        }
        if call.at.since(Timestamp::from_millis(millis)) > LIFETIME {
            return gone("expired_url");
        }
        let uses = self.responses.entry(url.to_owned()).or_insert(0);
        if *uses >= USES {
            return gone("used_url");
        }
        *uses += 1;
        self.carry_out(&channel, ts, &call.body, call.at);
        Answer::ok(json!("ok")).with_header("content-type", "text/plain; charset=utf-8")
    }

    /// Replaces or deletes the message, or posts one; what only one person sees is not kept.
    fn carry_out(&mut self, channel: &str, ts: &str, body: &Value, at: Timestamp) {
        let text = body["text"].as_str().unwrap_or_default();
        let blocks = body.get("blocks").cloned().map(with_block_ids);
        let is = |name: &str| body[name] == json!(true);
        let replaced = is("replace_original") || is("delete_original");
        if replaced {
            let all = self.messages.entry(channel.to_owned()).or_default();
            let Some(place) = parse_ts(ts).and_then(|micros| find(all, micros)) else {
                return;
            };
            if is("delete_original") {
                all.remove(place);
            } else {
                change(&mut all[place], text, Some(blocks.unwrap_or(json!([]))), at);
            }
        } else if body["response_type"] == "in_channel" {
            let ts = self.next_ts(at);
            let mut message = json!({"type": "message", "user": seed::BOT, "bot_id": "B0TENURE", "text": text, "ts": ts});
            if let Some(blocks) = blocks {
                message["blocks"] = blocks;
            }
            let kept = super::Message {
                micros: self.last,
                thread: None,
                json: message,
                metadata: None,
            };
            let all = self.messages.entry(channel.to_owned()).or_default();
            all.push(kept);
        }
    }
}

fn gone(error: &str) -> Answer {
    Answer::new(404, json!({"ok": false, "error": error}))
}
