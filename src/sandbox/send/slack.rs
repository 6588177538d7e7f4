//! What Slack sends to an app.

use super::{Attempt, Delivery, Sender, sign};
use crate::{
    domain::Timestamp,
    sandbox::{
        fields::{BadField, Fields},
        seed,
        slack::{action, channel_name, user_name, write_url},
        urlencoded,
        world::World,
    },
};
use serde_json::{Value, json};
use std::time::Duration;

/// An app has to answer within this time.
const TIMEOUT_MS: u64 = 3_000;
/// Slack waits for no time, a minute and five minutes; a test has less patience.
const RETRY_DELAYS_MS: [u64; 3] = [0, 1_000, 5_000];
const LONGEST_DELAY_MS: u64 = 10 * 60 * 1_000;
const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// Where to, and as whom.
pub(super) struct Target {
    url: String,
    secret: String,
    /// Signed with this time, in seconds.
    seconds: i64,
    timeout: Duration,
    team_id: String,
    api_app_id: String,
    /// The sandbox's own address, for response URLs.
    own_url: String,
}

impl Target {
    /// The fields that all of Slack's senders have.
    pub const FIELDS: [&'static str; 6] = [
        "url",
        "signing_secret",
        "timestamp",
        "timeout_ms",
        "team_id",
        "api_app_id",
    ];

    pub fn read(fields: &Fields, at: Timestamp, own_url: &str) -> Result<Self, BadField> {
        let text = |name: &str, default: &str| {
            let given = fields.text(name)?;
            Ok::<_, BadField>(given.unwrap_or(default).to_owned())
        };
        let now = u64::try_from(at.micros() / 1_000_000).unwrap_or(0);
        let seconds = fields.whole("timestamp", 0, i64::MAX as u64)?;
        let timeout = fields.whole("timeout_ms", 1, LONGEST_DELAY_MS)?;
        Ok(Self {
            url: fields.needed("url")?.to_owned(),
            secret: fields.needed("signing_secret")?.to_owned(),
            seconds: seconds.unwrap_or(now) as i64,
            timeout: Duration::from_millis(timeout.unwrap_or(TIMEOUT_MS)),
            team_id: text("team_id", seed::TEAM_ID)?,
            api_app_id: text("api_app_id", seed::APP_ID)?,
            own_url: own_url.to_owned(),
        })
    }

    fn delivery(&self, content_type: &'static str, body: String) -> Delivery {
        let headers = vec![
            ("x-slack-request-timestamp", self.seconds.to_string()),
            (
                "x-slack-signature",
                sign::slack(&self.secret, self.seconds, &body),
            ),
            (
                "user-agent",
                "Slackbot 1.0 (+https://api.slack.com/robots)".into(),
            ),
        ];
        Delivery {
            url: self.url.clone(),
            content_type,
            headers,
            body,
            timeout: self.timeout,
        }
    }

    fn response_url(&self, channel: &str, ts: &str, at: Timestamp) -> String {
        let url = write_url(channel, ts, at, &random());
        format!("{}/slack/response/{url}", self.own_url)
    }
}

/// `POST /slack/send_event`.
pub(super) struct Event {
    event_id: String,
    body: Value,
    delays: Vec<Duration>,
    /// Sent as if so many tries had been made before.
    retry: Option<(u64, String)>,
}

impl Event {
    pub const FIELDS: [&'static str; 6] = [
        "event",
        "event_id",
        "retries",
        "retry_delays_ms",
        "retry_num",
        "retry_reason",
    ];

    pub fn read(fields: &Fields, target: &Target) -> Result<Self, BadField> {
        let event = fields
            .value("event")
            .filter(|event| event["type"].is_string());
        let wrong = || BadField::new("event", "must be an object with a `type`");
        let mut event = event.cloned().ok_or_else(wrong)?;
        let given = fields.text("event_id")?.map(str::to_owned);
        let event_id = given.unwrap_or_else(|| format!("Ev{}", random().to_uppercase()));
        // A message's name is its time; the same event has the same, however often it is sent.
        let digits: u32 = event_id
            .bytes()
            .fold(0, |sum, byte| (sum * 31 + u32::from(byte)) % 1_000_000);
        let ts = format!("{}.{digits:06}", target.seconds);
        let names: &[&str] = match event["type"].as_str() {
            Some("message" | "app_mention") => &["ts", "event_ts"],
            _ => &["event_ts"],
        };
        for name in names {
            if event.get(*name).is_none() {
                event[*name] = json!(ts);
            }
        }
        let body = json!({
            "token": "sandbox-verification-token", "team_id": target.team_id, "api_app_id": target.api_app_id,
            "event": event, "type": "event_callback", "event_id": event_id, "event_time": target.seconds,
            "event_context": format!("4-{event_id}"), "is_ext_shared_channel": false,
            "authorizations": [{
                "enterprise_id": null, "team_id": target.team_id, "user_id": seed::BOT, "is_bot": true,
                "is_enterprise_install": false,
            }],
        });
        let retry = fields.whole("retry_num", 1, 3)?.map(|number| {
            let reason = fields.text("retry_reason").ok().flatten();
            (number, reason.unwrap_or("http_timeout").to_owned())
        });
        Ok(Self {
            event_id,
            body,
            delays: if fields.flag("retries")?.unwrap_or(false) {
                read_delays(fields)?
            } else {
                Vec::new()
            },
            retry,
        })
    }

    /// Sends it, again as long as it fails and there are tries left.
    pub async fn send(self, sender: &Sender, target: &Target) -> Value {
        let delivery = target.delivery(JSON, self.body.to_string());
        let headers = |number: u64, reason: &str| {
            vec![
                ("x-slack-retry-num", number.to_string()),
                ("x-slack-retry-reason", reason.to_owned()),
            ]
        };
        let first = match &self.retry {
            Some((number, reason)) => headers(*number, reason),
            None => Vec::new(),
        };
        let mut attempts = vec![sender.send(&delivery, &first).await];
        for (number, delay) in (1..).zip(self.delays) {
            let last = attempts
                .last()
                .filter(|last| !last.is_good() && !last.no_more);
            let Some(reason) = last.and_then(|last| last.error) else {
                break;
            };
            tokio::time::sleep(delay).await;
            let more = headers(number, reason);
            attempts.push(sender.send(&delivery, &more).await);
        }
        let delivered = attempts.last().is_some_and(Attempt::is_good);
        json!({"event_id": self.event_id, "delivered": delivered, "attempts": attempts})
    }
}

fn read_delays(fields: &Fields) -> Result<Vec<Duration>, BadField> {
    let wrong = || {
        let message = "must be a list of at most 3 times of at most 600000 ms";
        BadField::new("retry_delays_ms", message)
    };
    let given = match fields.value("retry_delays_ms") {
        None => RETRY_DELAYS_MS.to_vec(),
        Some(list) => serde_json::from_value(list.clone()).map_err(|_| wrong())?,
    };
    if given.len() > 3 || given.iter().any(|ms| *ms > LONGEST_DELAY_MS) {
        return Err(wrong());
    }
    Ok(given.into_iter().map(Duration::from_millis).collect())
}

/// A click that Slack would send: `POST /slack/click`.
pub(super) struct Click {
    payload: Value,
}

impl Click {
    pub const FIELDS: [&'static str; 7] = [
        "action_id",
        "value",
        "user",
        "channel",
        "ts",
        "message",
        "block_id",
    ];

    /// On the message that is given, or on the one with this `ts` in the channel, or on the channel's newest that has such a button.
    pub fn read(
        fields: &Fields,
        target: &Target,
        world: &World,
        at: Timestamp,
    ) -> Result<Self, BadField> {
        let action_id = fields.needed("action_id")?;
        let user = fields.text("user")?.unwrap_or(seed::USERS[0].0);
        let channel = fields.text("channel")?.unwrap_or(seed::CHANNELS[0].0);
        let message = match (fields.value("message"), fields.text("ts")?) {
            (Some(message), _) => message.clone(),
            (None, Some(ts)) => {
                let found = world.slack().message(channel, ts).cloned();
                found.ok_or_else(|| BadField::new("ts", "is no message of this channel"))?
            }
            (None, None) => {
                let found = world.slack().newest_with_action(channel, action_id);
                let message = "is on no message of this channel; say which with `ts` or `message`";
                found
                    .cloned()
                    .ok_or_else(|| BadField::new("action_id", message))?
            }
        };
        let found = action(&message, action_id);
        let (element, block_id) = found.map_or((json!({}), Value::Null), |(element, block)| {
            (element.clone(), block.clone())
        });
        let ts = message["ts"].as_str().unwrap_or("0000000000.000000");
        let mut clicked = json!({
            "type": element["type"].as_str().unwrap_or("button"), "action_id": action_id,
            "block_id": fields.text("block_id")?.map_or(block_id, Value::from),
            "action_ts": format!("{}.000000", target.seconds),
        });
        let value = fields
            .text("value")?
            .map_or(element["value"].clone(), Value::from);
        for (name, part) in [("value", value), ("text", element["text"].clone())] {
            if !part.is_null() {
                clicked[name] = part;
            }
        }
        let payload = json!({
            "type": "block_actions", "token": "sandbox-verification-token", "api_app_id": target.api_app_id,
            "team": {"id": target.team_id, "domain": "demo"}, "enterprise": null, "is_enterprise_install": false,
            "user": {"id": user, "username": user_name(user), "name": user_name(user), "team_id": target.team_id},
            "channel": {"id": channel, "name": channel_name(channel)},
            "container": {"type": "message", "message_ts": ts, "channel_id": channel, "is_ephemeral": false},
            "message": message, "state": {"values": {}}, "trigger_id": format!("{}.sandbox.{}", target.seconds, random()),
            "response_url": target.response_url(channel, ts, at), "actions": [clicked],
        });
        Ok(Self { payload })
    }

    pub async fn send(self, sender: &Sender, target: &Target) -> Value {
        let form = urlencoded::encode(&[("payload", &self.payload.to_string())]);
        let attempt = sender.send(&target.delivery(FORM, form), &[]).await;
        let url = &self.payload["response_url"];
        json!({"delivered": attempt.is_good(), "response_url": url, "payload": self.payload, "attempts": [attempt]})
    }
}

/// `POST /slack/command`. Slack does not try a second time.
pub(super) struct Command {
    form: Vec<(&'static str, String)>,
}

impl Command {
    pub const FIELDS: [&'static str; 4] = ["command", "text", "user", "channel"];

    pub fn read(fields: &Fields, target: &Target, at: Timestamp) -> Result<Self, BadField> {
        let command = fields.needed("command")?;
        if !command.starts_with('/') {
            return Err(BadField::new("command", "must begin with a slash"));
        }
        let user = fields.text("user")?.unwrap_or(seed::USERS[0].0);
        let channel = fields.text("channel")?.unwrap_or(seed::CHANNELS[0].0);
        let text = fields.value("text").and_then(Value::as_str);
        Ok(Self {
            form: vec![
                ("token", "sandbox-verification-token".into()),
                ("team_id", target.team_id.clone()),
                ("team_domain", "demo".into()),
                ("channel_id", channel.into()),
                ("channel_name", channel_name(channel).into()),
                ("user_id", user.into()),
                ("user_name", user_name(user).into()),
                ("command", command.into()),
                ("text", text.unwrap_or_default().into()),
                ("api_app_id", target.api_app_id.clone()),
                ("is_enterprise_install", "false".into()),
                ("response_url", target.response_url(channel, "-", at)),
                (
                    "trigger_id",
                    format!("{}.sandbox.{}", target.seconds, random()),
                ),
            ],
        })
    }

    pub async fn send(self, sender: &Sender, target: &Target) -> Value {
        let pairs: Vec<_> = self
            .form
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let delivery = target.delivery(FORM, urlencoded::encode(&pairs));
        let attempt = sender.send(&delivery, &[]).await;
        let url = pairs.iter().find(|(name, _)| *name == "response_url");
        let url = url.map(|(_, value)| *value);
        json!({"delivered": attempt.is_good(), "response_url": url, "attempts": [attempt]})
    }
}

/// `POST /slack/url_verification`: whether the receiver sends the challenge back, as text or as JSON.
pub(super) async fn verify_url(sender: &Sender, target: &Target) -> Value {
    let challenge = random();
    let body = json!({"token": "sandbox-verification-token", "challenge": challenge, "type": "url_verification"});
    let delivery = target.delivery(JSON, body.to_string());
    let attempt = sender.send(&delivery, &[]).await;
    let echoed = [&attempt.body, &attempt.body["challenge"]]
        .into_iter()
        .any(|value| value == challenge.as_str());
    json!({"verified": attempt.is_good() && echoed, "challenge": challenge, "attempts": [attempt]})
}

pub(super) fn random() -> String {
    let bytes: [u8; 8] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
