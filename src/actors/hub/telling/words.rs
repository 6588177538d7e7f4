//! What is said of a dead grant, without the link. Pure.

use crate::{
    connect::ingest::blocks::escaped,
    persistence::{ConnectionRow, ToldBy},
};
use serde::{Deserialize, Serialize};

/// Providers' reasons are cut, in characters.
const REASON_MAX: usize = 300;

/// A message as it is stored; its link comes at the end of `text`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Words {
    pub subject: String,
    pub text: String,
}

impl Words {
    /// Of the connection `row` to the integration that people call `name`.
    pub fn of(row: &ConnectionRow, name: &str, way: ToldBy) -> Self {
        let account = match &row.account_name {
            Some(account) => format!(" ({account})"),
            None => String::new(),
        };
        let which = match row.name.as_str() {
            "default" => String::new(),
            other => format!(" “{other}”"),
        };
        let subject = format!("{name}{account} has to be connected again");
        let reason = row.status_reason.as_deref().unwrap_or_default();
        let reason: String = one_line(reason).chars().take(REASON_MAX).collect();
        let text = format!(
            "The connection{which} to {name}{account} does not work any more: {reason}. What needs it waits, and goes on by itself once somebody has \
             connected it again with this link, which is good once:"
        );
        match way {
            ToldBy::Slack => Self {
                subject: escaped(&one_line(&subject)),
                text: escaped(&one_line(&text)),
            },
            ToldBy::Mail => Self {
                subject: one_line(&subject),
                text: one_line(&text),
            },
        }
    }
}

/// Names and reasons come from outside: no line of theirs may look like one of ours.
fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ConnectionId, OrgId, Timestamp};
    use uuid::Uuid;

    fn row() -> ConnectionRow {
        ConnectionRow {
            account_name: Some("octo <cat>".into()),
            status_reason: Some("revoked\r\nby & its owner".into()),
            ..ConnectionRow::pending(
                OrgId::from_uuid(Uuid::nil()),
                ConnectionId::from_uuid(Uuid::nil()),
                "github",
                "default",
                Timestamp::default(),
            )
        }
    }

    #[test]
    fn what_comes_from_outside_cannot_speak_for_us() {
        let slack = Words::of(&row(), "GitHub", ToldBy::Slack);
        assert_eq!(
            slack.subject,
            "GitHub (octo &lt;cat&gt;) has to be connected again"
        );
        assert!(
            slack.text.contains("revoked by &amp; its owner."),
            "{slack:?}"
        );
        let mail = Words::of(&row(), "GitHub", ToldBy::Mail);
        assert_eq!(
            mail.subject,
            "GitHub (octo <cat>) has to be connected again"
        );
        assert!(!mail.text.contains('\n'), "{mail:?}");
    }

    #[test]
    fn a_connection_with_a_name_is_named() {
        let named = ConnectionRow {
            name: "second".into(),
            account_name: None,
            ..row()
        };
        let words = Words::of(&named, "GitHub", ToldBy::Mail);
        assert!(
            words
                .text
                .starts_with("The connection “second” to GitHub does not work")
        );
    }
}
