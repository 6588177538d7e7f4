//! What a provider's answer means for the call, and above all: whether a write may have happened. Pure.

use super::{
    catalog::{AnswerRules, QuotaHeaders},
    template::{Scope, Template},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// Texts of providers are shown to people; longer ones are cut here.
const MESSAGE_LIMIT: usize = 500;

/// What an answer says about the provider's limits. Durations count from the answer's arrival.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RateHints {
    /// How many requests a window lets through, and how many of them are left.
    pub limit: Option<u64>,
    pub remaining: Option<u64>,
    /// Until the window starts anew.
    pub reset_after: Option<Duration>,
    /// How long the provider asks to stay away.
    pub retry_after: Option<Duration>,
}

/// How a call ended. The names say what is known of a write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CallOutcome {
    /// It happened. `output` is the result as the capability's output schema has it.
    Ok {
        status: u16,
        output: Value,
        rate: RateHints,
    },
    /// Refused for now, not applied.
    RateLimited {
        retry_after: Option<Duration>,
        rate: RateHints,
    },
    /// Refused for now for another reason than a quota, for example because the record is locked; not applied.
    Busy {
        code: String,
        message: String,
        retry_after: Option<Duration>,
    },
    /// Refused for good, not applied.
    Rejected {
        status: u16,
        code: String,
        message: String,
    },
    /// The token is not accepted, not applied: the account has to be authorised again.
    Auth {
        status: u16,
        code: String,
        message: String,
    },
    /// It surely never reached the provider.
    Unsent { reason: String },
    /// It was not sent, and will not be: its address is none that calls may go to.
    Blocked { reason: String },
    /// A read whose answer has more bytes than are read.
    TooLong { limit: usize },
    /// Nobody here can tell whether a write happened. A read may just be repeated.
    Unknown {
        reason: String,
        status: Option<u16>,
        retry_after: Option<Duration>,
    },
}

impl CallOutcome {
    /// Whether the call surely changed nothing outside.
    pub fn is_surely_not_applied(&self) -> bool {
        matches!(
            self,
            Self::RateLimited { .. }
                | Self::Busy { .. }
                | Self::Rejected { .. }
                | Self::Auth { .. }
                | Self::Unsent { .. }
                | Self::Blocked { .. }
        )
    }

    /// Whether it speaks against the provider's health, as a circuit breaker sees it.
    pub fn is_provider_failure(&self) -> bool {
        matches!(self, Self::Unsent { .. } | Self::Unknown { .. })
    }
}

/// How to read the answers of one capability.
#[derive(Debug)]
pub(crate) struct AnswerSpec {
    pub rules: AnswerRules,
    pub write: bool,
    pub output: Option<Template>,
    /// Whether a body that is no JSON is a result as well, as a text.
    pub text: bool,
    /// Codes that say that what the write wants is so already.
    pub already: Vec<String>,
    /// Codes after which nothing has happened and another try may go well.
    pub busy: Vec<String>,
    /// Where the answer tells of the quota, if not in the usual headers.
    pub quota: Option<Arc<QuotaHeaders>>,
}

impl AnswerSpec {
    /// How to read a call's answer, by the provider's rules alone.
    pub fn of(rules: AnswerRules) -> Self {
        Self {
            rules,
            write: false,
            output: None,
            text: false,
            already: Vec::new(),
            busy: Vec::new(),
            quota: None,
        }
    }

    /// The same provider's answer to a read, as it is.
    pub fn for_read(&self) -> Self {
        Self {
            quota: self.quota.clone(),
            ..Self::of(self.rules.clone())
        }
    }
}

/// What came back: the body as JSON where it is JSON, else as text.
#[derive(Debug)]
pub(crate) enum AnswerBody {
    Json(Value),
    Text(String),
}

impl AnswerSpec {
    pub fn read(&self, status: u16, body: AnswerBody, rate: RateHints) -> CallOutcome {
        let code = self.first(&self.rules.code, &body).unwrap_or_default();
        if (200..300).contains(&status) && !self.is_flagged(&body) {
            return self.read_success(status, body, rate);
        }
        let told = format!("http_{status}");
        let is_among = |codes: &[String]| codes.contains(&code) || codes.contains(&told);
        if is_among(&self.already) {
            return self.read_success(status, body, rate);
        }
        let message = self.message(status, &code, &body);
        // Some say 403 where 429 is meant, GitHub among them; then they tell of the limit as well.
        let limited = status == 403 && (rate.retry_after.is_some() || rate.remaining == Some(0));
        if status == 429 || limited || is_among(&self.rules.rate_limited) {
            return CallOutcome::RateLimited {
                retry_after: rate.retry_after,
                rate,
            };
        }
        if is_among(&self.busy) {
            return CallOutcome::Busy {
                code: if code.is_empty() { told } else { code },
                message,
                retry_after: rate.retry_after,
            };
        }
        if status == 401 || is_among(&self.rules.auth) {
            return CallOutcome::Auth {
                status,
                code,
                message,
            };
        }
        // 408: the server gave up waiting, and it may have waited after having acted.
        if status >= 500 || status == 408 || is_among(&self.rules.uncertain) {
            return CallOutcome::Unknown {
                reason: message,
                status: Some(status),
                retry_after: rate.retry_after,
            };
        }
        let code = if code.is_empty() { told } else { code };
        CallOutcome::Rejected {
            status,
            code,
            message,
        }
    }

    fn read_success(&self, status: u16, body: AnswerBody, rate: RateHints) -> CallOutcome {
        let body = match body {
            AnswerBody::Json(body) => body,
            AnswerBody::Text(text) if self.text => text.into(),
            AnswerBody::Text(text) if text.trim().is_empty() => Value::Null,
            AnswerBody::Text(_) => {
                let reason = format!("answered {status} with a body that is not JSON");
                return CallOutcome::Unknown {
                    reason,
                    status: Some(status),
                    retry_after: None,
                };
            }
        };
        let Some(template) = &self.output else {
            return CallOutcome::Ok {
                status,
                output: body,
                rate,
            };
        };
        match template.render(&Scope::new().with("body", &body)) {
            Ok(output) => CallOutcome::Ok {
                status,
                output: output.unwrap_or_default(),
                rate,
            },
            Err(error) => CallOutcome::Unknown {
                reason: error.to_string(),
                status: Some(status),
                retry_after: None,
            },
        }
    }

    fn is_flagged(&self, body: &AnswerBody) -> bool {
        match (&self.rules.ok_flag, body) {
            (Some(pointer), AnswerBody::Json(body)) => {
                body.pointer(pointer) == Some(&Value::Bool(false))
            }
            _ => false,
        }
    }

    fn first(&self, pointers: &[String], body: &AnswerBody) -> Option<String> {
        let AnswerBody::Json(body) = body else {
            return None;
        };
        pointers
            .iter()
            .find_map(|pointer| match body.pointer(pointer)? {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            })
    }

    fn message(&self, status: u16, code: &str, body: &AnswerBody) -> String {
        let said = self
            .first(&self.rules.message, body)
            .filter(|text| !text.is_empty());
        let text = match said {
            Some(said) if code.is_empty() || said == code => format!("answered {status}: {said}"),
            Some(said) => format!("answered {status}: {code}: {said}"),
            None if code.is_empty() => format!("answered {status}"),
            None => format!("answered {status}: {code}"),
        };
        text.chars().take(MESSAGE_LIMIT).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn slack() -> AnswerSpec {
        let rules = AnswerRules {
            ok_flag: Some("/ok".into()),
            code: vec!["/error".into()],
            message: vec!["/error".into()],
            auth: vec!["invalid_auth".into()],
            rate_limited: vec!["ratelimited".into()],
            uncertain: vec!["fatal_error".into()],
        };
        AnswerSpec {
            write: true,
            busy: vec!["lock_timeout".into(), "http_423".into()],
            ..AnswerSpec::of(rules)
        }
    }

    #[test]
    fn each_answer_says_whether_a_write_may_have_happened() {
        let cases = [
            (200, json!({"ok": true}), "ok"),
            (
                200,
                json!({"ok": false, "error": "channel_not_found"}),
                "rejected",
            ),
            (200, json!({"ok": false, "error": "invalid_auth"}), "auth"),
            (200, json!({"ok": false, "error": "ratelimited"}), "limited"),
            (200, json!({"ok": false, "error": "fatal_error"}), "unknown"),
            (301, json!({}), "rejected"),
            (400, json!({"error": "x"}), "rejected"),
            (401, json!({}), "auth"),
            (403, json!({}), "rejected"),
            (408, json!({}), "unknown"),
            (429, json!({}), "limited"),
            (409, json!({"error": "lock_timeout"}), "busy"),
            (423, json!({}), "busy"),
            (500, json!({}), "unknown"),
            (503, json!({"ok": false, "error": "ratelimited"}), "limited"),
        ];
        for (status, body, expected) in cases {
            let outcome =
                slack().read(status, AnswerBody::Json(body.clone()), RateHints::default());
            let found = match &outcome {
                CallOutcome::Ok { .. } => "ok",
                CallOutcome::RateLimited { .. } => "limited",
                CallOutcome::Busy { .. } => "busy",
                CallOutcome::Rejected { .. } => "rejected",
                CallOutcome::Auth { .. } => "auth",
                CallOutcome::Unsent { .. } | CallOutcome::Blocked { .. } => "unsent",
                CallOutcome::TooLong { .. } | CallOutcome::Unknown { .. } => "unknown",
            };
            assert_eq!(found, expected, "{status} {body}");
            assert_eq!(
                outcome.is_surely_not_applied(),
                !matches!(expected, "ok" | "unknown"),
                "{status} {body}"
            );
        }
    }

    #[test]
    fn a_page_instead_of_json_is_no_success() {
        let outcome = slack().read(200, AnswerBody::Text("<html>".into()), RateHints::default());
        assert!(matches!(
            outcome,
            CallOutcome::Unknown {
                status: Some(200),
                ..
            }
        ));
        let outcome = slack().read(204, AnswerBody::Text(String::new()), RateHints::default());
        assert!(matches!(
            outcome,
            CallOutcome::Ok {
                output: Value::Null,
                ..
            }
        ));
    }
}
