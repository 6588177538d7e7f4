//! Gmail: sending, searching and reading mails.

use super::{
    call::{Answer, Call},
    mail::Mail,
    urlencoded,
    world::google_error,
};
use crate::domain::Timestamp;
use base64::{Engine, engine::general_purpose::URL_SAFE};
use serde_json::{Value, json};
use std::collections::HashMap;

const ADDRESS: &str = "clerk@demo.example";
const LONGEST_PAGE: usize = 500;

#[derive(Debug, Default)]
pub(super) struct Gmail {
    /// The oldest first; the one at n has the id n + 1.
    messages: Vec<Stored>,
    by_message_id: HashMap<String, usize>,
}

#[derive(Debug)]
struct Stored {
    thread: String,
    at: Timestamp,
    mail: Mail,
}

impl Gmail {
    pub fn answer(&mut self, call: &Call) -> Answer {
        let Some(path) = call.path.strip_prefix("/gmail/v1/users/me/messages") else {
            return google_error(
                404,
                "notFound",
                "NOT_FOUND",
                "Requested entity was not found.",
            );
        };
        match (call.method.as_str(), path) {
            ("POST", "/send") => self.send(&call.body, call.at),
            ("GET", "") => self.search(&call.query),
            ("GET", id) => self.read(id.trim_start_matches('/')),
            _ => google_error(
                404,
                "notFound",
                "NOT_FOUND",
                "Requested entity was not found.",
            ),
        }
    }

    fn send(&mut self, body: &Value, at: Timestamp) -> Answer {
        let Some(mail) = body["raw"].as_str().and_then(Mail::decode) else {
            return invalid(
                "'raw' RFC822 payload message string or uploading message via /upload/* URL required",
            );
        };
        if !["to", "cc", "bcc"]
            .iter()
            .any(|name| mail.header(name).is_some_and(|value| value.contains('@')))
        {
            return invalid("Recipient address required");
        }
        let place = self.messages.len();
        let id = format_id(place);
        let thread = body["threadId"]
            .as_str()
            .map_or_else(|| id.clone(), str::to_owned);
        if let Some(message_id) = mail.header("message-id") {
            self.by_message_id
                .insert(bare(message_id).to_owned(), place);
        }
        self.messages.push(Stored {
            thread: thread.clone(),
            at,
            mail,
        });
        Answer::ok(json!({"id": id, "threadId": thread, "labelIds": ["SENT"]}))
    }

    /// Newest first.
    fn search(&self, query: &str) -> Answer {
        let pairs = urlencoded::pairs(query);
        let given = |name: &str| {
            pairs
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.as_str())
        };
        let most = given("maxResults").map_or(Some(100), |text| text.parse().ok());
        let Some(most) = most.filter(|most| (1..=LONGEST_PAGE).contains(most)) else {
            return invalid("Invalid maxResults");
        };
        let Some(end) =
            given("pageToken").map_or(Some(self.messages.len()), |text| text.parse().ok())
        else {
            return invalid("Invalid pageToken");
        };
        let terms = terms(given("q").unwrap_or_default());
        let mut found: Box<dyn Iterator<Item = usize>> = match message_id(&terms) {
            Some(id) => Box::new(self.by_message_id.get(id).copied().into_iter()),
            None => Box::new((0..end.min(self.messages.len())).rev()),
        };
        let mut page: Vec<_> = found
            .by_ref()
            .filter(|place| self.fits(*place, &terms))
            .take(most + 1)
            .collect();
        let more = page.len() > most;
        page.truncate(most);
        let mut body = json!({"resultSizeEstimate": page.len()});
        if let Some(last) = page.last() {
            let show = |place: &usize| json!({"id": format_id(*place), "threadId": self.messages[*place].thread});
            body["messages"] = page.iter().map(show).collect();
            if more {
                body["nextPageToken"] = json!(last.to_string());
            }
        }
        Answer::ok(body)
    }

    fn fits(&self, place: usize, terms: &[(String, String)]) -> bool {
        let Stored { mail, at, .. } = &self.messages[place];
        let has = |name: &str, wanted: &str| {
            mail.header(name)
                .is_some_and(|value| value.to_lowercase().contains(wanted))
        };
        terms
            .iter()
            .all(|(operator, wanted)| match operator.as_str() {
                "rfc822msgid" => mail
                    .header("message-id")
                    .is_some_and(|id| bare(id) == bare(wanted)),
                "from" => ADDRESS.contains(&wanted.to_lowercase()),
                "to" | "cc" | "bcc" | "subject" => has(operator, &wanted.to_lowercase()),
                "in" => match wanted.as_str() {
                    "inbox" => is_received(mail),
                    wanted => wanted == "sent" || wanted == "anywhere",
                },
                "after" => moment(wanted).is_some_and(|after| *at >= after),
                "before" => moment(wanted).is_some_and(|before| *at < before),
                _ => {
                    has("subject", &wanted.to_lowercase())
                        || mail.text.to_lowercase().contains(&wanted.to_lowercase())
                }
            })
    }

    fn read(&self, id: &str) -> Answer {
        let found = (0..self.messages.len()).find(|place| format_id(*place) == id);
        let Some(stored) = found.map(|place| &self.messages[place]) else {
            return google_error(
                404,
                "notFound",
                "NOT_FOUND",
                "Requested entity was not found.",
            );
        };
        let headers: Vec<_> = stored
            .mail
            .headers
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        let text = &stored.mail.text;
        let body = json!({"size": text.len(), "data": URL_SAFE.encode(text)});
        Answer::ok(json!({
            "id": id, "threadId": stored.thread, "labelIds": labels(&stored.mail), "snippet": text.chars().take(200).collect::<String>(),
            "internalDate": (stored.at.micros() / 1_000).to_string(),
            "payload": {"mimeType": "text/plain", "headers": headers, "body": body},
        }))
    }
}

/// What the account sends to itself arrives.
fn is_received(mail: &Mail) -> bool {
    let to_itself = |name: &&str| {
        mail.header(name)
            .is_some_and(|value| value.contains(ADDRESS))
    };
    ["to", "cc", "bcc"].iter().any(to_itself)
}

fn labels(mail: &Mail) -> &'static [&'static str] {
    match is_received(mail) {
        true => &["SENT", "INBOX", "UNREAD"],
        false => &["SENT"],
    }
}

/// Seconds since 1970, or a day such as `2026/01/31`.
fn moment(text: &str) -> Option<Timestamp> {
    match text.parse::<i64>() {
        Ok(seconds) => Some(Timestamp::from_millis(seconds.checked_mul(1_000)?)),
        Err(_) => Timestamp::parse(&format!("{}T00:00:00Z", text.replace('/', "-"))),
    }
}

fn invalid(message: &str) -> Answer {
    google_error(400, "invalidArgument", "INVALID_ARGUMENT", message)
}

fn format_id(place: usize) -> String {
    format!("{:016x}", 0x1900_0000_0000_0000_u64 + place as u64 + 1)
}

/// A message id without its angle brackets.
fn bare(id: &str) -> &str {
    id.trim().trim_start_matches('<').trim_end_matches('>')
}

fn message_id(terms: &[(String, String)]) -> Option<&str> {
    terms
        .iter()
        .find(|(operator, _)| operator == "rfc822msgid")
        .map(|(_, id)| bare(id))
}

/// A search as (operator, text) pairs; plain words have an empty operator. Quotes keep words together.
fn terms(query: &str) -> Vec<(String, String)> {
    let (mut terms, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for character in query.chars().chain([' ']) {
        match character {
            '"' => quoted = !quoted,
            space if space.is_whitespace() && !quoted => {
                if !word.is_empty() {
                    let word = std::mem::take(&mut word);
                    let parts = word
                        .split_once(':')
                        .map(|(operator, text)| (operator.to_lowercase(), text.to_owned()));
                    terms.push(parts.unwrap_or((String::new(), word)));
                }
            }
            other => word.push(other),
        }
    }
    terms
}
