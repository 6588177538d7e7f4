//! Errors of the sandbox itself, as RFC 9457 has them.

use super::{book::Stopped, fields::BadField};
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

#[derive(Debug)]
pub(super) struct Problem {
    pub status: StatusCode,
    pub field: Option<String>,
    pub detail: String,
}

impl Problem {
    pub fn bad(field: &str, detail: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            field: Some(field.into()),
            detail: detail.into(),
        }
    }
    pub fn not_found(detail: &str) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            field: None,
            detail: detail.into(),
        }
    }
}

impl From<Stopped> for Problem {
    fn from(stopped: Stopped) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            field: None,
            detail: stopped.to_string(),
        }
    }
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            field: None,
            detail: format!("the record: {error}"),
        }
    }
}

impl From<BadField> for Problem {
    fn from(error: BadField) -> Self {
        Self::bad(&error.field, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or_default();
        let body = json!({
            "type": "about:blank", "title": title, "status": self.status.as_u16(), "detail": self.detail, "field": self.field,
        });
        let mut response = as_json(self.status, body.to_string().into_bytes());
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        response
    }
}

pub(super) fn as_json(status: StatusCode, body: Vec<u8>) -> Response {
    (
        status,
        [(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        )],
        body,
    )
        .into_response()
}

pub(super) fn shown(status: StatusCode, body: &Value) -> Response {
    as_json(status, body.to_string().into_bytes())
}

pub(super) fn list(items: Vec<Value>) -> Response {
    shown(StatusCode::OK, &json!({"items": items, "next": null}))
}

/// The JSON of an order to the sandbox.
pub(super) fn read_json(body: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(body)
        .map_err(|error| Problem::bad("body", format!("is not JSON: {error}")))
}
