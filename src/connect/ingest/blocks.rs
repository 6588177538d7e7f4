//! Questions to people as Slack shows them (Block Kit), and what a click says. A button carries the id of the approval and the hash of the
//! arguments that stand above it: a click is about these and nothing else.

use crate::{
    domain::{ApprovalId, ContentHash, Timestamp},
    graph::Markup,
};
use serde_json::{Value, json};

const APPROVE: &str = "tenure_approve";
const DENY: &str = "tenure_deny";
/// What Slack takes in a header and in a section, in characters.
const HEADER_MAX: usize = 150;
const SECTION_MAX: usize = 2_800;

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Question<'a> {
    pub id: ApprovalId,
    pub title: &'a str,
    pub arguments: &'a Value,
    pub arguments_hash: ContentHash,
    /// Name of the employee who asks.
    pub employee: &'a str,
    pub expires: Option<Timestamp>,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome<'a> {
    /// For example `approved`.
    pub status: &'a str,
    pub by: Option<&'a str>,
    pub at: Option<Timestamp>,
    pub comment: Option<&'a str>,
}

/// A message: what notifications show, and its blocks.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub text: String,
    pub blocks: Value,
}

impl Question<'_> {
    pub fn ask(&self) -> Message {
        let mut blocks = self.shown();
        let until = self
            .expires
            .map(|at| format!(" · until {at}"))
            .unwrap_or_default();
        blocks.push(context(format!(
            "Asked by *{}* · `{}`{until}",
            escaped(self.employee),
            self.id
        )));
        let value = format!("{}|{}", self.id, self.arguments_hash);
        let button = |label: &str, action: &str, style: &str| {
            json!({
                "type": "button", "action_id": action, "style": style, "value": value,
                "text": {"type": "plain_text", "text": label},
            })
        };
        blocks.push(json!({
            "type": "actions", "block_id": format!("tenure:{}", self.id),
            "elements": [button("Approve", APPROVE, "primary"), button("Deny", DENY, "danger")],
        }));
        Message {
            // A title comes from a run's data: here it would be markup.
            text: escaped(&shortened(
                &format!("Approval needed: {}", self.title),
                HEADER_MAX,
            )),
            blocks: Value::Array(blocks),
        }
    }

    /// The same without its buttons.
    pub fn answered(&self, outcome: &Outcome<'_>) -> Message {
        let mut blocks = self.shown();
        let mut said = format!("*{}*", capitalised(outcome.status));
        if let Some(by) = outcome.by {
            said += &format!(" by {}", escaped(by));
        }
        if let Some(at) = outcome.at {
            said += &format!(" · {at}");
        }
        if let Some(comment) = outcome.comment {
            said += &format!(
                "\n>{}",
                escaped(&shortened(comment, 500)).replace('\n', "\n>")
            );
        }
        blocks.push(context(said));
        Message {
            text: escaped(&shortened(
                &format!("{}: {}", capitalised(outcome.status), self.title),
                HEADER_MAX,
            )),
            blocks: Value::Array(blocks),
        }
    }

    fn shown(&self) -> Vec<Value> {
        let title = shortened(self.title, HEADER_MAX);
        let mut blocks = vec![
            json!({"type": "header", "text": {"type": "plain_text", "text": title, "emoji": false}}),
        ];
        if !self.arguments.is_null() {
            let pretty = serde_json::to_string_pretty(self.arguments).unwrap_or_default();
            let text = escaped(&pretty);
            let whole = text.chars().count() <= SECTION_MAX;
            blocks.push(json!({
                "type": "section",
                "text": {"type": "mrkdwn", "text": format!("```{}```", shortened(&text, SECTION_MAX))},
            }));
            if !whole {
                let hint = format!("Too long to be shown whole: `tenure show {}`", self.id);
                blocks.push(context(hint));
            }
        }
        blocks
    }
}

fn context(text: String) -> Value {
    json!({"type": "context", "elements": [{"type": "mrkdwn", "text": text}]})
}

/// Data as Slack shows it as it is.
pub fn escaped(text: &str) -> String {
    Markup::Mrkdwn.escape(text).into_owned()
}

fn shortened(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some(_) => {
            let kept: String = text.chars().take(max - 1).collect();
            kept + "…"
        }
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

/// A click on one of the buttons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Click {
    pub approval: ApprovalId,
    pub arguments_hash: ContentHash,
    pub approve: bool,
    /// Slack's id of who clicked.
    pub user: String,
    pub channel: Option<String>,
    /// Where something can be said to whoever clicked, for half an hour.
    pub response_url: Option<String>,
}

/// Whether an interaction, as [`super::slack`] has read it, is such a click. What is not quite one is none.
pub fn click(payload: &Value) -> Option<Click> {
    let text = |pointer: &str| payload.pointer(pointer)?.as_str();
    let approve = match text("/actions/0/action_id")? {
        APPROVE => true,
        DENY => false,
        _ => return None,
    };
    let (approval, hash) = text("/actions/0/value")?.split_once('|')?;
    Some(Click {
        approval: approval.parse().ok()?,
        arguments_hash: hash.parse().ok()?,
        approve,
        user: text("/user")?.to_owned(),
        channel: text("/channel").map(str::to_owned),
        response_url: text("/response_url").map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn question<'a>(title: &'a str, arguments: &'a Value) -> Question<'a> {
        Question {
            id: ApprovalId::from_uuid(Uuid::from_u128(7)),
            title,
            arguments,
            arguments_hash: ContentHash::of_json(arguments),
            employee: "clerk <3",
            expires: None,
        }
    }

    #[test]
    fn a_click_is_about_the_arguments_that_were_shown() {
        let arguments = json!({"to": "a@b.test"});
        let question = question("Send 3 mails?", &arguments);
        let message = question.ask();
        let buttons = message.blocks.as_array().and_then(|blocks| blocks.last());
        let buttons = buttons.expect("buttons")["elements"].clone();
        for (place, approve) in [(0, true), (1, false)] {
            let payload = json!({"user": "U1", "channel": "C1", "actions": [buttons[place]]});
            let found = click(&payload).expect("a click");
            assert_eq!((found.approval, found.approve), (question.id, approve));
            assert_eq!(found.arguments_hash, question.arguments_hash);
        }
        for none in [
            json!({"user": "U1", "actions": [{"action_id": "other", "value": "x|y"}]}),
            json!({"user": "U1", "actions": [{"action_id": APPROVE, "value": "x|y"}]}),
            json!({"actions": [buttons[0]]}),
            json!({}),
        ] {
            assert_eq!(click(&none), None, "{none}");
        }
    }

    #[test]
    fn titles_and_arguments_mean_nothing_to_slack() {
        for (title, shown) in [
            ("<!channel> now", "&lt;!channel&gt; now"),
            ("Pay Tom & Sons?", "Pay Tom &amp; Sons?"),
            (
                "<https://evil.example|bank>",
                "&lt;https://evil.example|bank&gt;",
            ),
            ("<@U1>", "&lt;@U1&gt;"),
            ("&lt;", "&amp;lt;"),
        ] {
            let arguments = json!({"said": format!("``` {title}")});
            let message = question(title, &arguments).ask();
            assert_eq!(message.text, format!("Approval needed: {shown}"));
            let section = message.blocks[1]["text"]["text"].as_str().expect("a text");
            assert!(section.contains(shown), "{section}");
            assert_eq!(section.matches("```").count(), 2, "{section}");
        }
    }

    #[test]
    fn messages_keep_within_what_slack_takes() {
        let long = json!({"text": "<x>```".repeat(2_000)});
        let title = "t".repeat(400);
        let question = question(&title, &long);
        let message = question.ask();
        let header = message.blocks[0]["text"]["text"].as_str().expect("a text");
        assert_eq!(header.chars().count(), HEADER_MAX);
        let section = message.blocks[1]["text"]["text"].as_str().expect("a text");
        assert!(section.chars().count() <= 3_000);
        assert_eq!(
            section.matches("```").count(),
            2,
            "the fence cannot be left"
        );
        assert!(message.blocks.to_string().contains("clerk &lt;3"));
        assert!(message.blocks.to_string().contains("Too long"));

        let outcome = Outcome {
            status: "approved",
            by: Some("ann@acme.test"),
            at: Some(Timestamp::from_millis(0)),
            comment: Some("fine"),
        };
        let answered = question.answered(&outcome);
        assert!(!answered.blocks.to_string().contains("\"button\""));
        assert!(
            answered
                .blocks
                .to_string()
                .contains("*Approved* by ann@acme.test")
        );
    }
}
