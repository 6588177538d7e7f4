//! What a subscription wants of a source's events, said without an expression: channels, keywords, senders.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Entries of each list at most.
pub const ENTRIES_MAX: usize = 100;
/// Characters of an entry at most.
pub const ENTRY_MAX: usize = 200;
/// How deep a payload without a text of its own is searched for keywords.
const DEPTH_MAX: usize = 8;

/// An event passes if each list that is not empty has an entry that fits. A single text may stand for a list of one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventFilter {
    /// The channel by its id (`C0123456789`) or, where the event tells it, by its name (`#finance`).
    #[serde(
        deserialize_with = "one_or_more",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub channel: Vec<String>,
    /// Words, one of which stands in the event's text; letters in either case, whole words only.
    #[serde(
        deserialize_with = "one_or_more",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub keyword: Vec<String>,
    /// Who sent it: a user's id, or a mail address.
    #[serde(
        deserialize_with = "one_or_more",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub sender: Vec<String>,
}

fn one_or_more<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a text or a list of texts")]
    enum Given {
        One(String),
        More(Vec<String>),
    }
    Ok(match Given::deserialize(d)? {
        Given::One(text) => vec![text],
        Given::More(texts) => texts,
    })
}

impl EventFilter {
    pub fn is_empty(&self) -> bool {
        self.channel.is_empty() && self.keyword.is_empty() && self.sender.is_empty()
    }

    /// The first thing that is wrong: the list and what would be right.
    pub fn wrong(&self) -> Option<(&'static str, String)> {
        let lists = [
            ("filter.channel", &self.channel),
            ("filter.keyword", &self.keyword),
            ("filter.sender", &self.sender),
        ];
        lists.into_iter().find_map(|(name, entries)| {
            let fits = |text: &String| {
                !text.trim().is_empty()
                    && text.chars().count() <= ENTRY_MAX
                    && !text.chars().any(char::is_control)
            };
            if entries.len() > ENTRIES_MAX {
                return Some((name, format!("must have {ENTRIES_MAX} entries at most")));
            }
            let message = format!("must be texts of 1 to {ENTRY_MAX} characters");
            (!entries.iter().all(fits)).then_some((name, message))
        })
    }

    /// Whether a channel is meant by its name.
    pub fn names_channels(&self) -> bool {
        self.channel.iter().any(|channel| channel.starts_with('#'))
    }

    /// Whether an event with this payload is wanted.
    pub fn admits(&self, payload: &Value) -> bool {
        let channel = || {
            self.channel
                .iter()
                .any(|wanted| is_channel(wanted, payload))
        };
        let keyword = || {
            let text = text_of(payload).to_lowercase();
            self.keyword
                .iter()
                .any(|word| has_word(&text, &word.trim().to_lowercase()))
        };
        let sender = || self.sender.iter().any(|wanted| is_sender(wanted, payload));
        (self.channel.is_empty() || channel())
            && (self.keyword.is_empty() || keyword())
            && (self.sender.is_empty() || sender())
    }
}

fn is_channel(wanted: &str, payload: &Value) -> bool {
    let told = |field: &str| payload.get(field).and_then(Value::as_str);
    match wanted.strip_prefix('#') {
        Some(name) => told("channel_name") == Some(name),
        None => told("channel") == Some(wanted),
    }
}

/// The payload's own text: Slack's `text`, a mail's `subject`, `snippet` and `body`. One that has none of these is all text.
fn text_of(payload: &Value) -> String {
    let own: Vec<&str> = ["text", "subject", "snippet", "body"]
        .into_iter()
        .filter_map(|field| payload.get(field)?.as_str())
        .collect();
    if !own.is_empty() {
        return own.join("\n");
    }
    let mut all = String::new();
    gather(payload, 0, &mut all);
    all
}

fn gather(value: &Value, depth: usize, all: &mut String) {
    match value {
        Value::String(text) => {
            all.push_str(text);
            all.push('\n');
        }
        Value::Array(items) if depth < DEPTH_MAX => {
            items.iter().for_each(|item| gather(item, depth + 1, all));
        }
        Value::Object(fields) if depth < DEPTH_MAX => {
            fields
                .values()
                .for_each(|item| gather(item, depth + 1, all));
        }
        _ => {}
    }
}

/// Whether `word` stands in `text` with no letter or digit against it. Both are in lower case.
fn has_word(text: &str, word: &str) -> bool {
    let open = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    !word.is_empty()
        && text.match_indices(word).any(|(start, found)| {
            open(text[..start].chars().next_back())
                && open(text[start + found.len()..].chars().next())
        })
}

/// `user` of Slack; `from` or `sender` of a mail, which may have a name around the address.
fn is_sender(wanted: &str, payload: &Value) -> bool {
    ["user", "sender", "from"]
        .into_iter()
        .filter_map(|field| payload.get(field)?.as_str())
        .any(|sender| {
            sender == wanted
                || wanted.contains('@') && address_of(sender).eq_ignore_ascii_case(wanted)
        })
}

fn address_of(sender: &str) -> &str {
    let inner = sender
        .rsplit_once('<')
        .and_then(|(_, rest)| rest.split_once('>'));
    inner.map_or(sender, |(address, _)| address).trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filter(value: Value) -> EventFilter {
        serde_json::from_value(value).expect("a filter")
    }

    #[test]
    fn each_list_must_have_an_entry_that_fits() {
        let message = json!({"channel": "C1", "channel_name": "finance", "user": "U1", "text": "Where is Invoice 1042?"});
        let mail =
            json!({"from": "Ann <Ann@Acme.test>", "subject": "Your invoice", "snippet": "…"});
        let odd = json!({"data": {"note": ["an invoice of ours"]}});
        for (wanted, payload, expected) in [
            (json!({}), &message, true),
            (json!({"channel": "C1"}), &message, true),
            (json!({"channel": ["C2", "#finance"]}), &message, true),
            (json!({"channel": "finance"}), &message, false),
            (json!({"channel": "C1"}), &mail, false),
            (json!({"keyword": "invoice"}), &message, true),
            (json!({"keyword": "INVOICE 1042"}), &message, true),
            (json!({"keyword": "voice"}), &message, false),
            (json!({"keyword": ["bill", "invoice"]}), &mail, true),
            (json!({"keyword": "ours"}), &odd, true),
            (json!({"sender": "U1"}), &message, true),
            (json!({"sender": "ann@acme.test"}), &mail, true),
            (json!({"sender": "nn@acme.test"}), &mail, false),
            (json!({"channel": "C1", "sender": "U2"}), &message, false),
            (
                json!({"channel": "C1", "sender": "U1", "keyword": "where"}),
                &message,
                true,
            ),
        ] {
            assert_eq!(
                filter(wanted.clone()).admits(payload),
                expected,
                "{wanted} {payload}"
            );
        }
    }

    #[test]
    fn wrong_lists_are_named() {
        assert_eq!(filter(json!({"channel": "C1"})).wrong(), None);
        let wrong = |value| filter(value).wrong().map(|(list, _)| list);
        assert_eq!(wrong(json!({"keyword": [" "]})), Some("filter.keyword"));
        assert_eq!(
            wrong(json!({"sender": vec!["U"; 101]})),
            Some("filter.sender")
        );
        assert!(serde_json::from_value::<EventFilter>(json!({"chanel": "C1"})).is_err());
        assert!(serde_json::from_value::<EventFilter>(json!({"channel": 5})).is_err());
    }
}
