//! What the providers know, and the errors that all of their calls can meet.

use super::{
    call::{Answer, Call, Provider},
    github::{self, GitHub},
    gmail::Gmail,
    oauth::Refusal,
    quickbooks::{self, QuickBooks},
    slack::Slack,
    stripe::{self, Stripe},
};
use chrono::NaiveDate;
use serde_json::json;

/// The state of all of them. It follows from `today` and the calls that it answered, and from nothing else.
#[derive(Debug)]
pub struct World {
    slack: Slack,
    quickbooks: QuickBooks,
    gmail: Gmail,
    github: GitHub,
    stripe: Stripe,
}

impl World {
    pub fn new(today: NaiveDate) -> Self {
        Self {
            slack: Slack::new(),
            quickbooks: QuickBooks::new(today),
            gmail: Gmail::default(),
            github: GitHub::new(),
            stripe: Stripe::new(),
        }
    }

    /// For those who click on a message.
    pub(super) fn slack(&self) -> &Slack {
        &self.slack
    }

    /// Carries a call out.
    pub fn answer(&mut self, call: &Call) -> Answer {
        match call.provider {
            Provider::Slack => self.slack.answer(call),
            Provider::Quickbooks => self.quickbooks.answer(call),
            Provider::Gmail => self.gmail.answer(call),
            Provider::Github => self.github.answer(call),
            Provider::Stripe => self.stripe.answer(call),
        }
    }
}

/// Whether a call needs no token: a Slack response URL is its own key.
pub(super) fn is_open(call: &Call) -> bool {
    call.provider == Provider::Slack && call.path.starts_with("/response/")
}

/// The answer to a call with a token that is not good, or with none.
pub(super) fn refuse_token(provider: Provider, refusal: Refusal) -> Answer {
    match provider {
        Provider::Slack => {
            let error = match refusal {
                Refusal::Missing => "not_authed",
                Refusal::Unknown => "invalid_auth",
                Refusal::Expired => "token_expired",
                Refusal::Revoked => "token_revoked",
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
        Provider::Github => github::unauthorised(refusal),
        Provider::Stripe => stripe::unauthorised(refusal),
    }
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
        Provider::Github => github::too_many(),
        Provider::Stripe => stripe::too_many(),
    };
    answer.retry_after(retry_after_seconds)
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
        Provider::Github => Answer::new(500, json!({"message": "Server Error"})),
        Provider::Stripe => stripe::broken(),
    }
}

/// What an error with status 200 says.
#[derive(Clone, Copy, Debug)]
pub(super) enum With200 {
    Error,
    Limit,
    Token,
}

/// An error that is told in the body alone.
pub(super) fn error_with_200(provider: Provider, which: With200) -> Answer {
    let answer = match (provider, which) {
        (Provider::Slack, With200::Error) => {
            Answer::ok(json!({"ok": false, "error": "restricted_action"}))
        }
        (Provider::Slack, With200::Limit) => {
            Answer::ok(json!({"ok": false, "error": "ratelimited"}))
        }
        (Provider::Slack, With200::Token) => {
            Answer::ok(json!({"ok": false, "error": "token_expired"}))
        }
        (Provider::Quickbooks, With200::Error) => quickbooks::fault(
            200,
            "ValidationFault",
            "4001",
            "Invalid query",
            "QueryValidationError: the query is not understood.",
        ),
        (Provider::Quickbooks, With200::Limit) => quickbooks::fault(
            200,
            "SERVICE",
            "003001",
            "message=ThrottleExceeded; errorCode=003001; statusCode=429",
            "The request limit was reached.",
        ),
        // As it is written where the token is refused.
        (Provider::Quickbooks, With200::Token) => Answer::ok(json!({"fault": {
            "error": [{"message": "message=AuthenticationFailed; errorCode=003200; statusCode=401", "code": "3200"}],
            "type": "AUTHENTICATION",
        }})),
        (Provider::Gmail, With200::Error) => {
            google_error(403, "forbidden", "PERMISSION_DENIED", "Forbidden")
        }
        (Provider::Gmail, With200::Limit) => too_many(provider, 1),
        (Provider::Gmail, With200::Token) => {
            google_error(401, "authError", "UNAUTHENTICATED", "Invalid Credentials")
        }
        // As GraphQL tells of them.
        (Provider::Github, which) => {
            let kind = match which {
                With200::Error => "NOT_FOUND",
                With200::Limit => "RATE_LIMITED",
                With200::Token => "INSUFFICIENT_SCOPES",
            };
            let error = json!({"type": kind, "message": "Could not be resolved."});
            Answer::ok(json!({"data": null, "errors": [error]}))
        }
        (Provider::Stripe, which) => {
            let code = match which {
                With200::Error => "resource_missing",
                With200::Limit => "rate_limit",
                With200::Token => "api_key_expired",
            };
            Answer::ok(
                json!({"error": {"code": code, "type": "invalid_request_error", "message": "No such thing."}}),
            )
        }
    };
    Answer {
        status: 200,
        ..answer
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
