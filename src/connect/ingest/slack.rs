//! What Slack sends to one address: events (JSON), slash commands (a form) and clicks (a form with JSON in it).
//!
//! All become a payload of one shape, flat, with what an employee needs to answer in the thread; what Slack sent in full is under `event`:
//! `{type, team_id, api_app_id, channel, channel_name?, user, text, ts, thread_ts, …, event}`. `thread_ts` is the thread to answer in: the
//! message's own, or else the message itself. Slack's verification token, a secret of the past, is taken out everywhere.
//!
//! What somebody says is one event of the kind `message`, however it is said: with a file (`file_share`), in a thread and to the channel
//! (`thread_broadcast`), with `/me` (`me_message`), or by a bot that is to be listened to. All other subtypes tell of something else, an edit, a
//! deletion, somebody who joins, a link that was unfolded: they are events of the kind that the subtype names, so that nobody who listens for
//! messages takes an edited order for a second one. A mention that is edited is sent as a mention once more, with another event's id; mentions are
//! therefore known by their message: the first one counts, be it that somebody adds the mention later.

mod text;

use super::{
    Incoming, Unreadable,
    body::{self, Media},
};
use reqwest::header::HeaderMap;
use serde_json::{Map, Value};
use std::borrow::Cow;

const MESSAGE: &str = "message";
const MENTION: &str = "app_mention";
/// Subtypes of what somebody says.
const SAID: [&str; 4] = [
    "file_share",
    "thread_broadcast",
    "me_message",
    "bot_message",
];
pub const SLASH_COMMAND: &str = "slash_command";
pub const BLOCK_ACTIONS: &str = "block_actions";

/// A request of Slack's.
#[derive(Clone, Debug, PartialEq)]
pub enum SlackRequest {
    /// Slack looks whether somebody is at the address; the text has to be sent back.
    Challenge(String),
    Event(Box<Incoming>),
    /// Its sender waits for a word.
    Command(Box<Incoming>),
    /// A click, or something else done with what was shown.
    Interaction(Box<Incoming>),
}

/// Reads an unpacked request whose signature fits. Messages of the bots and apps in `bots` (`*`: of all) are no echoes, unless they are of the
/// app itself.
///
/// # Errors
/// What it is not.
pub fn read(headers: &HeaderMap, body: &[u8], bots: &[String]) -> Result<SlackRequest, Unreadable> {
    if body::media(headers) == Media::Form {
        return read_form(body::form(headers, body)?);
    }
    let envelope = body::json(headers, body)?;
    match text(&envelope, "/type") {
        Some("url_verification") => {
            let challenge = text(&envelope, "/challenge");
            let challenge = challenge.ok_or(Unreadable::NotSlack("it has no challenge"))?;
            Ok(SlackRequest::Challenge(challenge.into()))
        }
        Some(kind) => {
            let kind = kind.to_owned();
            Ok(SlackRequest::Event(Box::new(event(envelope, &kind, bots))))
        }
        None => Err(Unreadable::NotSlack("it has no type")),
    }
}

fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value
        .pointer(pointer)?
        .as_str()
        .filter(|text| !text.is_empty())
}

/// The first of several places that has a text.
fn first<'v>(value: &'v Value, pointers: &[&str]) -> Option<&'v str> {
    pointers.iter().find_map(|pointer| text(value, pointer))
}

/// Builds payloads: what is absent is left out.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.0.insert(name.into(), value.into());
        }
    }
    fn copy(&mut self, name: &str, value: Option<&Value>) {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            self.0.insert(name.into(), value.clone());
        }
    }
}

/// A message that answers what came from Slack goes into its thread, where it names none: `call` is what a run wants to post, `cause` what
/// triggered the run. A `thread_ts` of null asks for the channel itself.
pub fn answer_in_thread(capability: &str, call: &mut Value, cause: &Value) {
    if capability != "slack.chat.post" {
        return;
    }
    let Some(call) = call.as_object_mut() else {
        return;
    };
    if call.get("thread_ts") == Some(&Value::Null) {
        call.remove("thread_ts");
        return;
    }
    let known = |name: &str| cause.get(name).and_then(Value::as_str);
    let (Some(_), Some(channel), Some(thread)) =
        (known("team_id"), known("channel"), known("thread_ts"))
    else {
        return;
    };
    let is_there = call.get("channel").and_then(Value::as_str) == Some(channel);
    if is_there && !call.contains_key("thread_ts") {
        call.insert("thread_ts".into(), thread.into());
    }
}

fn event(mut envelope: Value, kind: &str, bots: &[String]) -> Incoming {
    let echo = echo(&envelope, bots);
    let inner = envelope
        .get_mut("event")
        .map(Value::take)
        .unwrap_or_default();
    let team = first(&envelope, &["/team_id", "/enterprise_id"]).unwrap_or_default();
    let app = text(&envelope, "/api_app_id").unwrap_or_default();
    // Of a channel that two workspaces share, either may be told as the one of an event; the app is installed in one.
    let home = first(
        &envelope,
        &["/context_team_id", "/authorizations/0/team_id"],
    )
    .unwrap_or(team);
    // `event_callback` wraps an event; other types, such as `app_rate_limited`, are one.
    let kind = text(&inner, "/type").unwrap_or(kind);
    let happened = match text(&inner, "/subtype") {
        Some(subtype) if kind == MESSAGE && !SAID.contains(&subtype) => subtype,
        _ => kind,
    };
    let channel = first(
        &inner,
        &["/channel", "/channel/id", "/item/channel", "/channel_id"],
    );
    let ts = first(&inner, &["/message/ts", "/ts", "/item/ts", "/message_ts"]);
    let thread = first(
        &inner,
        &[
            "/thread_ts",
            "/message/thread_ts",
            "/previous_message/thread_ts",
        ],
    )
    .or(ts);
    let external_id = match (happened, channel, ts) {
        (MENTION, Some(channel), Some(ts)) => {
            Some(format!("{app}:{home}:{MENTION}:{channel}:{ts}"))
        }
        _ => text(&envelope, "/event_id").map(|id| format!("{app}:{team}:{id}")),
    };
    let mut fields = Fields::default();
    fields.put("type", Some(kind));
    fields.put("subtype", text(&inner, "/subtype"));
    fields.put("team_id", Some(team));
    fields.put("api_app_id", Some(app));
    fields.put("event_id", text(&envelope, "/event_id"));
    fields.copy("event_time", envelope.get("event_time"));
    fields.put("channel", channel);
    fields.put("channel_type", text(&inner, "/channel_type"));
    fields.put(
        "user",
        first(&inner, &["/user", "/user/id", "/message/user", "/user_id"]),
    );
    let said = inner.get("message").unwrap_or(&inner);
    let words = first(&inner, &["/text", "/message/text"]).map(|text| {
        let forwarded = text::forwarded(said).map(|words| format!("\n{words}"));
        format!("{}{}", unescaped(text), forwarded.unwrap_or_default())
    });
    fields.put("text", words.or_else(|| text::of(said)).as_deref());
    fields.copy("files", said.get("files").map(text::files).as_ref());
    fields.put("ts", ts);
    fields.put("thread_ts", thread);
    let conversation = conversation(home, channel, thread);
    let kind = Some(happened.to_owned());
    if let Value::Object(rest) = &mut envelope {
        rest.remove("token");
    }
    // Types that wrap nothing are kept whole.
    fields.copy(
        "event",
        Some(if inner.is_null() { &envelope } else { &inner }),
    );
    Incoming {
        external_id,
        kind,
        conversation,
        payload: Value::Object(fields.0),
        echo,
    }
}

/// What somebody wrote, of which Slack sends three characters escaped; once, as `&amp;lt;` is a written `&lt;`. What Slack sent in full stays
/// as it is under `event`.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    Cow::Owned(
        text.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&"),
    )
}

fn conversation(team: &str, channel: Option<&str>, thread: Option<&str>) -> Option<String> {
    Some(format!("slack:{team}:{}:{}", channel?, thread?))
}

/// Why an event is only what this side or another bot did. Employees that answered those would answer each other for ever.
fn echo(envelope: &Value, bots: &[String]) -> Option<&'static str> {
    let inner = envelope.get("event")?;
    let app = text(envelope, "/api_app_id");
    let of_app = |place| app.is_some() && text(inner, place) == app;
    if [
        "/app_id",
        "/bot_profile/app_id",
        "/message/app_id",
        "/message/bot_profile/app_id",
    ]
    .into_iter()
    .any(of_app)
    {
        return Some("it was said by this app itself");
    }
    let user = first(inner, &["/user", "/user/id", "/message/user"]);
    let own_users = envelope
        .get("authorizations")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|one| one.get("is_bot") == Some(&Value::Bool(true)))
        .filter_map(|one| text(one, "/user_id"));
    if user.is_some() && own_users.into_iter().any(|own| Some(own) == user) {
        return Some("it was done by this app's own user");
    }
    let bot = first(
        inner,
        &[
            "/bot_id",
            "/message/bot_id",
            "/previous_message/bot_id",
            "/bot_profile/id",
        ],
    );
    let is_bot = bot.is_some()
        || text(inner, "/subtype") == Some("bot_message")
        || user == Some("USLACKBOT");
    let by = [
        bot,
        first(
            inner,
            &["/app_id", "/bot_profile/app_id", "/message/app_id"],
        ),
    ];
    let is_listed = bots
        .iter()
        .any(|known| known == "*" || by.contains(&Some(known.as_str())));
    (is_bot && !is_listed).then_some("it was said by a bot")
}

fn read_form(pairs: Vec<(String, String)>) -> Result<SlackRequest, Unreadable> {
    let fields: Map<String, Value> = pairs
        .into_iter()
        .filter(|(name, _)| name != "token")
        .map(|(name, value)| (name, Value::String(value)))
        .collect();
    if let Some(payload) = fields.get("payload").and_then(Value::as_str) {
        let interaction = body::json_in(payload)?;
        return match text(&interaction, "/type") {
            Some(_) => Ok(SlackRequest::Interaction(Box::new(click(interaction)))),
            None => Err(Unreadable::NotSlack("its payload has no type")),
        };
    }
    match fields.contains_key("command") {
        true => Ok(SlackRequest::Command(Box::new(command(Value::Object(
            fields,
        ))))),
        false => Err(Unreadable::NotSlack("it has neither payload nor command")),
    }
}

fn command(form: Value) -> Incoming {
    let team = first(&form, &["/team_id", "/enterprise_id"]).unwrap_or_default();
    let mut fields = Fields::default();
    fields.put("type", Some(SLASH_COMMAND));
    fields.put("team_id", Some(team));
    for (name, from) in [
        ("api_app_id", "/api_app_id"),
        ("channel", "/channel_id"),
        ("channel_name", "/channel_name"),
        ("user", "/user_id"),
        ("user_name", "/user_name"),
        ("command", "/command"),
        ("text", "/text"),
        ("response_url", "/response_url"),
        ("trigger_id", "/trigger_id"),
    ] {
        fields.put(name, text(&form, from));
    }
    let external_id = text(&form, "/trigger_id").map(|id| format!("command:{team}:{id}"));
    fields.copy("event", Some(&form));
    Incoming {
        external_id,
        kind: Some(SLASH_COMMAND.into()),
        conversation: None,
        payload: Value::Object(fields.0),
        echo: None,
    }
}

fn click(mut interaction: Value) -> Incoming {
    if let Value::Object(fields) = &mut interaction {
        fields.remove("token");
    }
    let from = &interaction;
    let team = first(from, &["/team/id", "/user/team_id", "/enterprise/id"]).unwrap_or_default();
    let kind = text(from, "/type").unwrap_or_default();
    let channel = first(from, &["/channel/id", "/container/channel_id"]);
    let ts = first(
        from,
        &["/message/ts", "/container/message_ts", "/message_ts"],
    );
    let thread = first(from, &["/message/thread_ts", "/container/thread_ts"]).or(ts);
    let mut fields = Fields::default();
    fields.put("type", Some(kind));
    fields.put("team_id", Some(team));
    fields.put("channel", channel);
    fields.put("ts", ts);
    fields.put("thread_ts", thread);
    for (name, place) in [
        ("api_app_id", "/api_app_id"),
        ("channel_name", "/channel/name"),
        ("user", "/user/id"),
        ("user_name", "/user/username"),
        ("response_url", "/response_url"),
        ("trigger_id", "/trigger_id"),
        ("text", "/actions/0/value"),
    ] {
        fields.put(name, text(from, place));
    }
    fields.put(
        "callback_id",
        first(from, &["/callback_id", "/view/callback_id"]),
    );
    fields.copy("actions", from.get("actions"));
    let name = first(from, &["/trigger_id", "/actions/0/action_ts", "/action_ts"]);
    let external_id = name.map(|name| format!("{kind}:{team}:{name}"));
    let conversation = conversation(team, channel, thread);
    let kind = Some(kind.to_owned());
    fields.copy("event", Some(from));
    Incoming {
        external_id,
        kind,
        conversation,
        payload: Value::Object(fields.0),
        echo: None,
    }
}

#[cfg(test)]
mod tests;
