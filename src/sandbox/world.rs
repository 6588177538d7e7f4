//! What the providers know, and the errors that all of their calls can meet.

use super::{
    call::{Answer, Call, Provider},
    gmail::Gmail,
    quickbooks::{self, QuickBooks},
    slack::Slack,
};
use chrono::NaiveDate;
use serde_json::json;

/// The state of all three. It follows from `today` and the calls that it answered, and from nothing else.
#[derive(Debug)]
pub struct World {
    slack: Slack,
    quickbooks: QuickBooks,
    gmail: Gmail,
}

impl World {
    pub fn new(today: NaiveDate) -> Self {
        Self {
            slack: Slack::new(),
            quickbooks: QuickBooks::new(today),
            gmail: Gmail::default(),
        }
    }

    /// Carries a call out.
    pub fn answer(&mut self, call: &Call) -> Answer {
        match call.provider {
            Provider::Slack => self.slack.answer(call),
            Provider::Quickbooks => self.quickbooks.answer(call),
            Provider::Gmail => self.gmail.answer(call),
        }
    }
}

/// The answer to a call with a wrong token or none.
pub(super) fn refuse_token(call: &Call) -> Option<Answer> {
    if call.token.as_deref() == Some(call.provider.token()) {
        return None;
    }
    Some(match call.provider {
        Provider::Slack => {
            let error = if call.token.is_some() {
                "invalid_auth"
            } else {
                "not_authed"
            };
            Answer::ok(json!({"ok": false, "error": error}))
        }
        Provider::Quickbooks => quickbooks::unauthorised(),
        Provider::Gmail => google_error(
            401,
            "authError",
            "UNAUTHENTICATED",
            "Request had invalid authentication credentials.",
        ),
    })
}

pub(super) fn too_many(provider: Provider, retry_after_seconds: u64) -> Answer {
    let answer = match provider {
        Provider::Slack => Answer::new(429, json!({"ok": false, "error": "ratelimited"})),
        Provider::Quickbooks => {
            let message = "message=ThrottleExceeded; errorCode=003001; statusCode=429";
            quickbooks::fault(
                429,
                "SERVICE",
                "003001",
                message,
                "The request limit was reached.",
            )
        }
        Provider::Gmail => google_error(
            429,
            "rateLimitExceeded",
            "RESOURCE_EXHAUSTED",
            "Quota exceeded for quota metric 'Queries'.",
        ),
    };
    Answer {
        retry_after_seconds: Some(retry_after_seconds),
        ..answer
    }
}

pub(super) fn broken(provider: Provider) -> Answer {
    match provider {
        Provider::Slack => Answer::new(500, json!({"ok": false, "error": "internal_error"})),
        Provider::Quickbooks => quickbooks::fault(
            500,
            "SystemFault",
            "10000",
            "An application error has occurred",
            "System failure",
        ),
        Provider::Gmail => google_error(
            500,
            "backendError",
            "INTERNAL",
            "Internal error encountered.",
        ),
    }
}

/// An error as Google's APIs give it.
pub(super) fn google_error(code: u16, reason: &str, status: &str, message: &str) -> Answer {
    let errors = json!([{"message": message, "domain": "global", "reason": reason}]);
    Answer::new(
        code,
        json!({"error": {"code": code, "message": message, "errors": errors, "status": status}}),
    )
}
