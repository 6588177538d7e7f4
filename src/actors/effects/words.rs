//! How what came of a call is told to the run.

use crate::{
    actors::{
        connector::{ConnectorError, connections::Connection},
        employee::StepResult,
    },
    connect::{
        BadParams, CallOutcome,
        passing::Kept,
        webhook::{HeaderName, HeaderValue},
    },
    graph::{Later, NamedWait, StepError},
    persistence::DbError,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) fn completed(output: Value) -> StepResult {
    StepResult::Completed {
        output: Arc::new(output),
        remember: Vec::new(),
    }
}

pub(super) fn unavailable(error: &DbError) -> StepResult {
    StepResult::Failed(StepError::retryable("unavailable", error.to_string()))
}

pub(super) fn bad_params(error: &BadParams) -> StepError {
    StepError::new("bad_params", format!("argument {error}"))
}

/// How a call that gave no result is told to the run.
pub(super) fn failure(outcome: &CallOutcome) -> StepError {
    match outcome {
        CallOutcome::RateLimited { retry_after, .. } => {
            let later = retry_after.map(|wait| Later {
                estimate_ms: wait.as_millis() as u64,
                place: None,
            });
            StepError::retryable("rate_limited", "the provider asks to come back later")
                .later(later)
        }
        CallOutcome::Busy { code, message, .. } => {
            StepError::retryable("provider_busy", format!("{code}: {message}"))
        }
        CallOutcome::Rejected {
            status,
            code,
            message,
        } => StepError::new(
            "provider_error",
            format!("{code} (HTTP {status}): {message}"),
        ),
        CallOutcome::Auth { code, message, .. } => StepError::new(
            "auth_error",
            format!("the account is not accepted: {code} {message}"),
        ),
        CallOutcome::Unsent { reason } => {
            StepError::retryable("provider_unreachable", reason.clone())
        }
        CallOutcome::TooLong { limit } => StepError::new(
            "output_too_large",
            format!("the answer has more than {limit} bytes"),
        ),
        CallOutcome::Blocked { reason } => StepError::new("address_blocked", reason.clone()),
        CallOutcome::Unknown { reason, .. } => {
            StepError::retryable("provider_error", reason.clone())
        }
        CallOutcome::Ok { .. } => StepError::new("provider_error", "unexpected answer"),
    }
}

/// A call that surely did not leave: it waits for a person who connects the account again, or the step fails.
pub(super) fn not_sent(connection: &Connection, error: &ConnectorError) -> StepResult {
    match error {
        ConnectorError::NeedsConsent(_) => StepResult::Parked(NamedWait {
            kind: "connection".into(),
            on: connection.integration.clone(),
            detail: format!("{} at {}: {error}", connection.name, connection.integration),
        }),
        error => StepResult::Failed(connector_failure(error)),
    }
}

pub(super) fn connector_failure(error: &ConnectorError) -> StepError {
    StepError::retryable(error.code(), error.to_string()).later(error.later())
}

/// An answer as the ledger keeps it, where the caller is to have it as it came: `{"status","headers","body"|"body_base64"}`.
pub(super) fn envelope(kept: &Kept) -> Value {
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        let value = value.to_str().ok()?;
        Some((name.as_str().to_owned(), Value::from(value)))
    };
    let headers: Map<String, Value> = kept.headers.iter().filter_map(text).collect();
    let mut envelope = json!({"status": kept.status, "headers": headers});
    match std::str::from_utf8(&kept.body) {
        Ok(text) => envelope["body"] = text.into(),
        Err(_) => envelope["body_base64"] = STANDARD.encode(&kept.body).into(),
    }
    envelope
}
