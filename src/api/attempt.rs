//! What is known of a request that is given up: whether anything may have come of it, and how its sender finds out.
//!
//! A request that has reached its handler may have handed something to the journal, which outlives the request: an answer that says
//! otherwise makes its sender do it twice. So each answer 503 to a request that writes says what is known (`outcome`), and a trigger has a
//! key, its sender's or one of ours, under which it can be sent again and is done once.

use super::{
    error::{ApiError, ApiResult, NOT_DONE, OUTCOME, ProblemBody, UNKNOWN},
    text,
};
use axum::{
    body::Body,
    extract::{Extension, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode},
    response::Response,
};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

/// The header in which clients give a key, and are told one of our making.
const KEY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// Characters of a key.
const KEY_MAX: usize = 255;

/// The key that a client gives a request: in its body, or in the header `Idempotency-Key` as the draft of the IETF has it.
///
/// # Errors
/// `invalid_field` if it is too long or no text, or if both are there and differ.
pub fn key_of(headers: &HeaderMap, in_body: Option<String>) -> ApiResult<Option<String>> {
    let wrong = |problem| ApiError::field("idempotency_key", problem);
    let in_header = match headers.get(KEY_HEADER) {
        None => None,
        Some(value) => match value.to_str() {
            Ok(text) => Some(text.to_owned()),
            Err(_) => return Err(wrong("the header `Idempotency-Key` must be visible ascii")),
        },
    };
    let key = match (in_body, in_header) {
        (Some(one), Some(other)) if one != other => {
            return Err(wrong("is another than the header `Idempotency-Key` says"));
        }
        (in_body, in_header) => in_body.or(in_header),
    };
    text::short_if("idempotency_key", key.as_deref(), KEY_MAX)?;
    Ok(key)
}

/// What a handler gets as `Extension<Attempt>`.
#[derive(Clone, Default)]
pub struct Attempt(Arc<Inner>);

#[derive(Default)]
struct Inner {
    is_begun: AtomicBool,
    key: OnceLock<String>,
}

/// The attempt of a request, for its handler.
pub type OfRequest = Extension<Attempt>;

impl Attempt {
    /// Makes it known to the handler.
    pub fn of(request: &mut Request) -> Self {
        let attempt = Self::default();
        request.extensions_mut().insert(attempt.clone());
        attempt
    }

    /// From here on something may come of the request.
    pub fn begins(&self) {
        self.0.is_begun.store(true, Ordering::SeqCst);
    }

    /// What is done is done once under this key, however often it is sent.
    pub fn has_key(&self, key: &str) {
        let _ = self.0.key.set(key.to_owned());
    }

    /// The answer with the key, and with what is known if it says that the service could not do it.
    pub fn answered(&self, method: &Method, path: &str, mut response: Response) -> Response {
        let key = self.0.key.get();
        if let Some(value) = key.and_then(|key| HeaderValue::from_str(key).ok()) {
            response.headers_mut().insert(KEY_HEADER, value);
        }
        let writes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        // A call to a provider has words of its own for what is known of it.
        let is_call = path.starts_with("/proxy/");
        let Some(ProblemBody(mut body)) = response.extensions_mut().remove::<ProblemBody>() else {
            return response;
        };
        if !writes || (is_call && self.0.is_begun.load(Ordering::SeqCst)) {
            return response;
        }
        if let Some(key) = key {
            body["idempotency_key"] = key.as_str().into();
        }
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            let is_known = body[OUTCOME] == NOT_DONE || !self.0.is_begun.load(Ordering::SeqCst);
            body[OUTCOME] = if is_known { NOT_DONE } else { UNKNOWN }.into();
            let detail = body["detail"].as_str().unwrap_or_default();
            let known = match (is_known, key) {
                (true, _) => "nothing was done",
                (false, Some(_)) => {
                    "it is not known whether it was done: sent again with this `idempotency_key` it is done once"
                }
                (false, None) => {
                    "it is not known whether it was done: look before it is sent again"
                }
            };
            body["detail"] = format!("{detail}; {known}").into();
        }
        *response.body_mut() = Body::from(body.to_string());
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::error::{ApiError, Problem};
    use axum::response::IntoResponse;
    use serde_json::Value;

    async fn told(attempt: &Attempt, method: Method, path: &str, error: ApiError) -> Value {
        let response = attempt.answered(&method, path, error.into_response());
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await;
        serde_json::from_slice(&body.expect("a body")).expect("json")
    }

    #[tokio::test]
    async fn an_answer_says_not_done_only_where_that_is_known() {
        let fresh = Attempt::default();
        let away = ApiError::database_away;
        let begun = Attempt::default();
        begun.begins();
        let told_of = async |attempt: &Attempt, error| {
            let body = told(attempt, Method::POST, "/v1/keys", error).await;
            (
                body[OUTCOME].clone(),
                body["detail"].as_str().expect("a text").to_owned(),
            )
        };
        assert_eq!(told_of(&fresh, away()).await.0, NOT_DONE);
        let (outcome, detail) = told_of(&begun, away()).await;
        assert_eq!(outcome, UNKNOWN);
        assert!(
            detail.contains("not known") && !detail.contains("nothing was done"),
            "{detail}"
        );
        let known = told_of(&begun, ApiError::not_for_this_node()).await;
        assert_eq!(known.0, NOT_DONE);
        let read = told(&begun, Method::GET, "/v1/keys", away()).await;
        assert_eq!(read.get(OUTCOME), None, "nothing can come of it");
        let call = told(&begun, Method::POST, "/proxy/slack.chat.post", away()).await;
        assert_eq!(call.get(OUTCOME), None, "it says so itself");
    }

    #[tokio::test]
    async fn the_key_is_told_with_every_answer_and_within_a_failure() {
        let attempt = Attempt::default();
        attempt.begins();
        attempt.has_key("trg_1");
        let path = "/v1/triggers";
        let fine = attempt.answered(&Method::POST, path, Response::new(Body::empty()));
        assert_eq!(fine.headers()["idempotency-key"], "trg_1");
        for problem in [Problem::Unavailable, Problem::Internal] {
            let error = ApiError::new(problem, "x");
            let body = told(&attempt, Method::POST, path, error).await;
            assert_eq!(body["idempotency_key"], "trg_1", "{problem:?}");
        }
    }
}
