//! What a message says whose text is empty: it stands in its blocks, its attachments, or the names of its files. And what it says beside its
//! text: a message that somebody forwards is an attachment of what they write to it.

use super::unescaped;
use serde_json::{Map, Value, json};

/// Characters that are gathered at most; Slack's own limit for a message.
const TEXT_MAX: usize = 40_000;
/// How deep blocks are looked into.
const DEPTH_MAX: usize = 12;
const FILES_MAX: usize = 100;

/// The words of a message, a line for each part.
pub fn of(message: &Value) -> Option<String> {
    let mut lines = Vec::new();
    for part in ["blocks", "attachments"] {
        if let Some(part) = message.get(part) {
            gather(part, 0, &mut lines);
        }
    }
    let files = message.get("files").and_then(Value::as_array);
    for file in files.into_iter().flatten().take(FILES_MAX) {
        let name = ["title", "name"]
            .into_iter()
            .find_map(|field| file.get(field)?.as_str().filter(|name| !name.is_empty()));
        lines.extend(name.map(str::to_owned));
    }
    joined(&lines)
}

/// The words of the messages that somebody forwards with this one.
pub fn forwarded(message: &Value) -> Option<String> {
    let attachments = message.get("attachments").and_then(Value::as_array);
    let mut lines = Vec::new();
    for attachment in attachments.into_iter().flatten() {
        if attachment.get("is_share") == Some(&Value::Bool(true)) {
            gather(attachment, 0, &mut lines);
        }
    }
    joined(&lines)
}

fn joined(lines: &[String]) -> Option<String> {
    let text: String = lines.join("\n").chars().take(TEXT_MAX).collect();
    (!text.is_empty()).then_some(text)
}

/// Words of blocks in their order. Of a rich text the pieces of a line are joined, as they are shown.
fn gather(value: &Value, depth: usize, lines: &mut Vec<String>) {
    if depth > DEPTH_MAX {
        return;
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| gather(item, depth + 1, lines)),
        Value::Object(fields) => {
            let kind = fields.get("type").and_then(Value::as_str);
            if matches!(
                kind,
                Some("rich_text_section" | "rich_text_quote" | "rich_text_preformatted")
            ) {
                let pieces = fields.get("elements").and_then(Value::as_array);
                let line: String = pieces.into_iter().flatten().filter_map(piece).collect();
                lines.extend((!line.is_empty()).then_some(line));
                return;
            }
            // Of markup, and of attachments, which have no type, Slack's three characters come escaped.
            let written = |text: &str| match kind {
                None | Some("mrkdwn") => unescaped(text).into_owned(),
                Some(_) => text.to_owned(),
            };
            let told = |name: &str| fields.get(name).and_then(Value::as_str);
            if let (None, Some(title), Some(value)) = (kind, told("title"), told("value")) {
                lines.push(written(&format!("{title}: {value}")));
                return;
            }
            let mut said = false;
            for name in ["pretext", "title", "text", "alt_text"] {
                match fields.get(name) {
                    Some(Value::String(text)) if !text.is_empty() => {
                        said = true;
                        lines.push(written(text));
                    }
                    Some(inner @ Value::Object(_)) => {
                        said = true;
                        gather(inner, depth + 1, lines);
                    }
                    _ => {}
                }
            }
            for name in ["fields", "elements", "blocks", "accessory", "rows"] {
                if let Some(inner) = fields.get(name) {
                    said = true;
                    gather(inner, depth + 1, lines);
                }
            }
            // What an attachment says where nothing of it can be shown.
            if !said && let Some(text) = fields.get("fallback").and_then(Value::as_str) {
                lines.push(written(text));
            }
        }
        _ => {}
    }
}

/// A piece of a line of rich text, written as in a message's text.
fn piece(element: &Value) -> Option<String> {
    let told = |name: &str| element.get(name).and_then(Value::as_str);
    Some(match told("type")? {
        "text" => told("text")?.to_owned(),
        "link" => told("text").or(told("url"))?.to_owned(),
        "user" => format!("<@{}>", told("user_id")?),
        "channel" => format!("<#{}>", told("channel_id")?),
        "usergroup" => format!("<!subteam^{}>", told("usergroup_id")?),
        "broadcast" => format!("<!{}>", told("range")?),
        "emoji" => format!(":{}:", told("name")?),
        "date" => told("fallback")?.to_owned(),
        "color" => told("value")?.to_owned(),
        _ => return None,
    })
}

/// What is worth knowing of files; addresses are good with the app's own token alone.
pub fn files(files: &Value) -> Value {
    const FIELDS: [&str; 6] = ["id", "name", "title", "mimetype", "size", "url_private"];
    let files = files.as_array().into_iter().flatten().take(FILES_MAX);
    let brief = files.map(|file| {
        let known = FIELDS
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), file.get(name)?.clone())));
        Value::Object(known.collect::<Map<_, _>>())
    });
    json!(brief.collect::<Vec<_>>())
}
