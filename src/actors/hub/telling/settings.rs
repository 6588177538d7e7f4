//! Who an org wants to be told of dead grants; part of its settings.

use crate::actors::ingest::approvals::SlackSettings;
use serde::{Deserialize, Serialize};

/// Where an org takes mail, and from where it is sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MailSettings {
    /// Who is told: a mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alerts_to: Option<String>,
    /// Through which integration.
    pub via: MailVia,
    /// Name of the connection; absent: the oldest one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
}

/// What can send mail.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum MailVia {
    #[default]
    Gmail,
    Microsoft,
}

impl MailVia {
    /// The capability that sends; its arguments are `to`, `subject` and `body`.
    pub fn capability(self) -> &'static str {
        match self {
            Self::Gmail => "gmail.send",
            Self::Microsoft => "microsoft.mail.send",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TellingSettings {
    pub slack: SlackSettings,
    pub mail: Option<MailSettings>,
}

impl TellingSettings {
    /// Of an org's settings, which are a JSON object.
    pub fn of(settings: &str) -> Self {
        serde_json::from_str(settings).unwrap_or_default()
    }
}
