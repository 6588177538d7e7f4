//! What a provider's answer means for the call, and above all: whether a write may have happened. Pure.
//!
//! The status is only half of it: many providers tell of errors, limits and tokens that have ended with status 200. Where, is said in the
//! catalog ([`AnswerRules`]). An answer that tells of an error is none of success whatever its status; nor is one that lacks what the result
//! must have. A write may have happened all the same where the answer shows a part of its result beside the error, or nothing of either:
//! then nobody knows, and it is found out like that of a write whose answer was lost.

mod lacking;
mod places;

pub(crate) use places::is_pointer;

use super::{
    catalog::{AnswerRules, ErrorAt, QuotaHeaders},
    rate::wait,
    template::{Scope, Template},
};
use lacking::lacking;
use places::{is_empty, is_empty_but, places};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// Texts of providers are shown to people; longer ones are cut here.
const MESSAGE_LIMIT: usize = 500;
/// The code of a read whose answer lacks what it must have.
const INCOMPLETE: &str = "answer_incomplete";

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
    /// Pointers into the body that every answer of success has; `None` if nobody has said so.
    pub requires: Option<Vec<String>>,
    /// The JSON Schema of the result; what it requires must be there.
    pub result: Option<Arc<Value>>,
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
            requires: None,
            result: None,
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
        let is_good = (200..300).contains(&status);
        let error = self.error_in(&body);
        if is_good && error.is_none() {
            return self.read_success(status, body, rate);
        }
        let codes = self.texts(&self.rules.code, &body);
        let code = codes.first().cloned().unwrap_or_default();
        let told = format!("http_{status}");
        let is_any = |known: &[String]| {
            known.contains(&told) || codes.iter().any(|code| known.contains(code))
        };
        let is_first = |known: &[String]| known.contains(&code) || known.contains(&told);
        if is_first(&self.already) {
            return self.read_success(status, body, rate);
        }
        let rate = self.with_wait(rate, &body);
        let message = self.message(status, &code, &body, error);
        // Some of it was done: it cannot be said that nothing was.
        if is_good && self.write && self.shows_result(&body) {
            return CallOutcome::Unknown {
                reason: format!("{message}; the answer shows a part of the result as well"),
                status: Some(status),
                retry_after: None,
            };
        }
        // Some say 403 where 429 is meant, GitHub among them; then they tell of the limit as well.
        let limited = status == 403 && (rate.retry_after.is_some() || rate.remaining == Some(0));
        if status == 429 || limited || is_any(&self.rules.rate_limited) {
            return CallOutcome::RateLimited {
                retry_after: rate.retry_after,
                rate,
            };
        }
        if is_first(&self.busy) {
            return CallOutcome::Busy {
                code: if code.is_empty() { told } else { code },
                message,
                retry_after: rate.retry_after,
            };
        }
        if status == 401 || is_any(&self.rules.auth) {
            return CallOutcome::Auth {
                status,
                code,
                message,
            };
        }
        // 408: the server gave up waiting, and it may have waited after having acted.
        if status >= 500 || status == 408 || is_any(&self.rules.uncertain) {
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
        let unknown = |reason: String| CallOutcome::Unknown {
            reason,
            status: Some(status),
            retry_after: None,
        };
        let body = match body {
            AnswerBody::Json(body) => body,
            AnswerBody::Text(text) if self.text => text.into(),
            AnswerBody::Text(text) if text.trim().is_empty() => Value::Null,
            AnswerBody::Text(_) => {
                return unknown(format!("answered {status} with a body that is not JSON"));
            }
        };
        let without = |pointer: &str| {
            let message = match pointer {
                "" => {
                    format!("answered {status}, but with another kind of value than its result is")
                }
                _ => format!(
                    "answered {status}, but without `{pointer}`, which every good answer has"
                ),
            };
            match self.write {
                true => unknown(message),
                // The same answer would come again, and the provider is well.
                false => CallOutcome::Rejected {
                    status,
                    code: INCOMPLETE.into(),
                    message,
                },
            }
        };
        // An answer that says that it is so already has a shape of its own.
        let is_good = (200..300).contains(&status);
        if let Some(pointer) = self.requires.iter().flatten().find(|pointer| {
            let found = body.pointer(pointer);
            is_good && found.is_none_or(Value::is_null)
        }) {
            return without(pointer);
        }
        let output = match &self.output {
            None => body,
            Some(template) => match template.render(&Scope::new().with("body", &body)) {
                Ok(output) => output.unwrap_or_default(),
                Err(error) => return unknown(error.to_string()),
            },
        };
        if let Some(schema) = self.result.as_ref().filter(|_| is_good)
            && let Some(pointer) = lacking(schema, &output)
        {
            return without(&pointer);
        }
        CallOutcome::Ok {
            status,
            output,
            rate,
        }
    }

    /// Where the answer tells of an error, if it does, and what stands there.
    fn error_in<'a>(&'a self, body: &'a AnswerBody) -> Option<(&'a str, &'a Value)> {
        let AnswerBody::Json(body) = body else {
            return None;
        };
        let flag = self.rules.ok_flag.iter().find_map(|pointer| {
            let found = places(body, pointer).into_iter().next();
            let found = found.filter(|value| **value == Value::Bool(false))?;
            Some((pointer.as_str(), found))
        });
        flag.or_else(|| {
            self.rules.errors().find_map(|error| {
                let found = places(body, &error.at);
                let found = found.into_iter().find(|value| tells(error, value))?;
                Some((error.at.as_str(), found))
            })
        })
    }

    /// Whether a part of the result stands beside the error.
    fn shows_result(&self, body: &AnswerBody) -> bool {
        let AnswerBody::Json(body) = body else {
            return false;
        };
        let errors: Vec<&str> = self.rules.errors().map(|error| error.at.as_str()).collect();
        self.rules
            .partial
            .iter()
            .any(|pointer| !is_empty_but(body, pointer, &errors))
    }

    /// With the wait that the body asks for, where no header does.
    fn with_wait(&self, rate: RateHints, body: &AnswerBody) -> RateHints {
        let told = || {
            let seconds = self.texts(&self.rules.retry_after, body);
            let seconds: f64 = seconds.first()?.trim().parse().ok()?;
            seconds.is_finite().then(|| wait(seconds))
        };
        RateHints {
            retry_after: rate.retry_after.or_else(told),
            ..rate
        }
    }

    /// The texts and numbers at all of the pointers, those of the first pointer first.
    fn texts(&self, pointers: &[String], body: &AnswerBody) -> Vec<String> {
        let AnswerBody::Json(body) = body else {
            return Vec::new();
        };
        let found = pointers.iter().flat_map(|pointer| places(body, pointer));
        found
            .filter_map(|value| match value {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            })
            .collect()
    }

    fn message(
        &self,
        status: u16,
        code: &str,
        body: &AnswerBody,
        error: Option<(&str, &Value)>,
    ) -> String {
        let said = self.texts(&self.rules.message, body);
        let said = said.into_iter().find(|text| !text.is_empty());
        let text = match (said, error) {
            (Some(said), _) if code.is_empty() || said == code => {
                format!("answered {status}: {said}")
            }
            (Some(said), _) => format!("answered {status}: {code}: {said}"),
            (None, Some((at, value))) if code.is_empty() => {
                format!("answered {status} with an error at `{at}`: {value}")
            }
            (None, _) if code.is_empty() => format!("answered {status}"),
            (None, _) => format!("answered {status}: {code}"),
        };
        text.chars().take(MESSAGE_LIMIT).collect()
    }
}

/// Whether what stands at a place tells of an error.
fn tells(error: &ErrorAt, value: &Value) -> bool {
    let is_among = |known: &[Value]| known.iter().any(|known| is_alike(known, value));
    match (&error.is, &error.not) {
        (Some(is), _) => is_among(is),
        (None, Some(not)) => !value.is_null() && !is_among(not),
        (None, None) => !is_empty(value),
    }
}

/// Whether a value is the one that the catalog names: texts whatever their case, numbers and booleans also as texts.
fn is_alike(known: &Value, value: &Value) -> bool {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.trim().to_ascii_lowercase()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    };
    known == value || text(known).is_some_and(|known| Some(known) == text(value))
}

#[cfg(test)]
mod tests;
