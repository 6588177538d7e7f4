//! Who and what there is: people, channels, conversations with one person.

use super::{
    Code,
    arguments::{Arguments, write_cursor},
};
use crate::sandbox::seed;
use serde_json::{Value, json};

/// The id of the conversation with a person.
pub(super) fn direct_channel(user: &str) -> String {
    format!("D{}", user.trim_start_matches('U'))
}

/// A channel by `#name`, name or id; a person's id stands for the conversation with them.
pub(super) fn channel_id(given: &str) -> Option<String> {
    let name = given.strip_prefix('#').unwrap_or(given);
    let channel = seed::CHANNELS
        .iter()
        .find(|(id, known)| *id == given || *known == name)
        .map(|(id, _)| (*id).to_owned());
    channel.or_else(|| {
        let direct = seed::USERS
            .iter()
            .map(|(user, ..)| (*user, direct_channel(user)));
        direct
            .into_iter()
            .find(|(user, id)| *user == given || id == given)
            .map(|(_, id)| id)
    })
}

/// A channel's name; `directmessage` for a conversation with one person.
pub(in crate::sandbox) fn channel_name(id: &str) -> &'static str {
    let channel = seed::CHANNELS.iter().find(|(known, _)| *known == id);
    channel.map_or("directmessage", |(_, name)| name)
}

pub(in crate::sandbox) fn user_name(id: &str) -> &str {
    let user = seed::USERS.iter().find(|(known, ..)| *known == id);
    user.map_or(id, |(_, name, ..)| name)
}

pub(super) fn user(id: &str) -> Option<Value> {
    users().into_iter().find(|user| user["id"] == id)
}

/// The people, then the app.
fn users() -> Vec<Value> {
    let person = |(id, name, real_name, email): &(&str, &str, &str, &str)| {
        let profile = json!({"email": email, "real_name": real_name, "display_name": name});
        json!({
            "id": id, "team_id": seed::TEAM_ID, "name": name, "real_name": real_name, "profile": profile, "is_bot": false,
            "deleted": false, "tz": "Europe/Zurich",
        })
    };
    let profile =
        json!({"real_name": "Tenure", "display_name": "tenure", "api_app_id": seed::APP_ID});
    let app = json!({
        "id": seed::BOT, "team_id": seed::TEAM_ID, "name": "tenure", "real_name": "Tenure", "profile": profile, "is_bot": true,
        "deleted": false, "tz": "Etc/UTC",
    });
    seed::USERS.iter().map(person).chain([app]).collect()
}

pub(super) fn whoami() -> Value {
    json!({
        "url": "https://demo.slack.example/", "team": "Demo", "team_id": seed::TEAM_ID, "user": "tenure",
        "user_id": seed::BOT, "bot_id": "B0TENURE",
    })
}

pub(super) fn look_up(arguments: &Arguments) -> Result<Value, Code> {
    let email = arguments.text("email").ok_or("users_not_found")?;
    let mut people = seed::USERS.iter();
    let (id, ..) = people
        .find(|(_, _, _, known)| known.eq_ignore_ascii_case(email))
        .ok_or("users_not_found")?;
    Ok(json!({"user": user(id)}))
}

pub(super) fn user_info(arguments: &Arguments) -> Result<Value, Code> {
    let found = user(arguments.text("user").unwrap_or_default());
    Ok(json!({"user": found.ok_or("user_not_found")?}))
}

pub(super) fn list_users(arguments: &Arguments) -> Result<Value, Code> {
    page(arguments, "members", users())
}

fn channels() -> Vec<Value> {
    let show = |(id, name): &(&str, &str)| {
        json!({
            "id": id, "name": name, "is_channel": true, "is_im": false, "is_private": false, "is_archived": false,
            "is_member": true, "num_members": seed::USERS.len() + 1,
        })
    };
    seed::CHANNELS.iter().map(show).collect()
}

fn direct_channels() -> Vec<Value> {
    let show = |(user, ..): &(&str, &str, &str, &str)| json!({"id": direct_channel(user), "is_im": true, "user": user, "is_archived": false});
    seed::USERS.iter().map(show).collect()
}

/// `types` is a list with commas; all channels are public.
pub(super) fn list_channels(arguments: &Arguments) -> Result<Value, Code> {
    let types = arguments.text("types").unwrap_or("public_channel");
    let (mut found, mut known) = (Vec::new(), true);
    for kind in types.split(',').map(str::trim) {
        match kind {
            "public_channel" => found.extend(channels()),
            "im" => found.extend(direct_channels()),
            "private_channel" | "mpim" => {}
            _ => known = false,
        }
    }
    if !known {
        return Err("invalid_types");
    }
    page(arguments, "channels", found)
}

pub(super) fn channel_info(arguments: &Arguments) -> Result<Value, Code> {
    let id = arguments.text("channel").unwrap_or_default();
    let mut all = channels().into_iter().chain(direct_channels());
    let found = all.find(|channel| channel["id"] == id);
    Ok(json!({"channel": found.ok_or("channel_not_found")?}))
}

pub(super) fn members(arguments: &Arguments) -> Result<Value, Code> {
    let id = arguments.text("channel").unwrap_or_default();
    let channel = channel_info(arguments)?;
    let people: Vec<_> = if channel["channel"]["is_im"] == true {
        let user = seed::USERS
            .iter()
            .map(|(user, ..)| *user)
            .find(|user| direct_channel(user) == id);
        user.into_iter().chain([seed::BOT]).collect()
    } else {
        let users = seed::USERS.iter().map(|(user, ..)| *user);
        users.chain([seed::BOT]).collect()
    };
    page(
        arguments,
        "members",
        people.into_iter().map(Value::from).collect(),
    )
}

/// The conversation with one person; there are no groups.
pub(super) fn open(arguments: &Arguments) -> Result<Value, Code> {
    let given = arguments.text("users").or(arguments.text("channel"));
    let given = given.ok_or("users_list_not_supplied")?;
    let id = channel_id(given).filter(|id| id.starts_with('D'));
    Ok(json!({"channel": {"id": id.ok_or("user_not_found")?}}))
}

fn page(arguments: &Arguments, name: &str, all: Vec<Value>) -> Result<Value, Code> {
    let limit = arguments.limit(100)?;
    let start = arguments.cursor()?.unwrap_or(0);
    let start = usize::try_from(start).map_err(|_| "invalid_cursor")?;
    let start = start.min(all.len());
    let end = (start + limit).min(all.len());
    let next = if end < all.len() {
        write_cursor(end as i64)
    } else {
        String::new()
    };
    Ok(json!({name: all[start..end], "response_metadata": {"next_cursor": next}}))
}
