//! The HTTP surface: `/{integration}/…` are the providers; `/record` and `/faults` are for whoever tests with them.

use super::{
    book::{Book, Stopped},
    call::{Answer, Call, Provider},
    faults::{Ending, Fault},
    socket::Switch,
    urlencoded,
};
use crate::domain::Timestamp;
use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, RawQuery, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Map, Value, json};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const PAGE: usize = 10_000;
const LONGEST_PAGE: usize = 100_000;

#[derive(Clone, Debug)]
struct Desk {
    book: Book,
    stop: CancellationToken,
}

pub(super) fn router(book: Book, stop: CancellationToken) -> Router {
    Router::new()
        .route("/record", get(read_record).delete(reset_record))
        .route(
            "/faults",
            post(add_fault).get(list_faults).delete(clear_faults),
        )
        .route("/healthz", get(|| async { "ok" }))
        .fallback(provider)
        .with_state(Desk { book, stop })
}

/// An error of the sandbox itself, as RFC 9457 has it.
#[derive(Debug)]
struct Problem {
    status: StatusCode,
    field: Option<String>,
    detail: String,
}

impl Problem {
    fn bad(field: &str, detail: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            field: Some(field.into()),
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

fn as_json(status: StatusCode, body: Vec<u8>) -> Response {
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

async fn provider(
    State(desk): State<Desk>,
    ConnectInfo(switch): ConnectInfo<Switch>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (first, rest) = uri.path()[1..]
        .split_once('/')
        .unwrap_or((&uri.path()[1..], ""));
    let Some(provider) = Provider::named(first) else {
        let detail = "known are /slack/…, /quickbooks/…, /gmail/…, /record, /faults, /healthz";
        return Problem {
            status: StatusCode::NOT_FOUND,
            field: None,
            detail: detail.into(),
        }
        .into_response();
    };
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let call = Call {
        provider,
        at: now(),
        method: method.as_str().to_owned(),
        path: format!("/{rest}"),
        query: uri.query().unwrap_or_default().to_owned(),
        body: read_body(text("content-type").unwrap_or_default(), &body),
        idempotency_key: text("idempotency-key").map(str::to_owned),
        token: text("authorization")
            .and_then(|value| value.strip_prefix("Bearer "))
            .map(str::to_owned),
    };
    match desk.book.serve(call).await {
        Ok(served) => finish(served.answer, served.ending, &switch, &desk.stop).await,
        Err(stopped) => Problem::from(stopped).into_response(),
    }
}

/// Sends the answer, or sees to it that none is sent.
async fn finish(
    answer: Answer,
    ending: Ending,
    switch: &Switch,
    stop: &CancellationToken,
) -> Response {
    let wait = |time: Duration| async move {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = stop.cancelled() => {}
        }
    };
    match ending {
        Ending::Answer => {}
        Ending::AnswerAfter(time) => wait(time).await,
        Ending::CloseAfter(time) => {
            wait(time).await;
            switch.cut();
        }
    }
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = as_json(status, answer.body.to_string().into_bytes());
    if let Some(seconds) = answer.retry_after_seconds {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The time in whole milliseconds, which is what the record keeps.
fn now() -> Timestamp {
    Timestamp::from_millis(chrono::Utc::now().timestamp_millis())
}

/// JSON as it is, a form as an object, anything else as text.
fn read_body(content_type: &str, body: &[u8]) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    if content_type.starts_with("application/x-www-form-urlencoded") {
        let pairs = urlencoded::pairs(&String::from_utf8_lossy(body));
        return Value::Object(
            pairs
                .into_iter()
                .map(|(name, value)| (name, Value::String(value)))
                .collect::<Map<_, _>>(),
        );
    }
    serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}

async fn read_record(
    State(desk): State<Desk>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (mut provider, mut after, mut limit) = (None, 0, PAGE);
    for (name, value) in urlencoded::pairs(&query.unwrap_or_default()) {
        match name.as_str() {
            "integration" => {
                let found = Provider::named(&value);
                provider = Some(found.ok_or_else(|| {
                    Problem::bad("integration", "must be slack, quickbooks or gmail")
                })?);
            }
            "after" => {
                after = value
                    .parse()
                    .map_err(|_| Problem::bad("after", "must be a whole number"))?
            }
            "limit" => {
                let number = value
                    .parse()
                    .ok()
                    .filter(|number| (1..=LONGEST_PAGE).contains(number));
                limit = number.ok_or_else(|| {
                    Problem::bad("limit", format!("must be from 1 to {LONGEST_PAGE}"))
                })?;
            }
            other => {
                return Err(Problem::bad(
                    other,
                    "is not known; known are integration, after, limit",
                ));
            }
        }
    }
    let page = desk.book.page(provider, after, limit).await?;
    let read = tokio::task::spawn_blocking(move || page.read())
        .await
        .map_err(std::io::Error::other)?;
    Ok(as_json(StatusCode::OK, read?))
}

async fn reset_record(State(desk): State<Desk>) -> Result<StatusCode, Problem> {
    desk.book.reset().await??;
    Ok(StatusCode::NO_CONTENT)
}

async fn add_fault(State(desk): State<Desk>, body: Bytes) -> Result<Response, Problem> {
    let body: Value = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad("body", format!("is not JSON: {error}")))?;
    let fault =
        Fault::parse(&body).map_err(|error| Problem::bad(&error.field, error.to_string()))?;
    let shown = fault.to_json();
    desk.book
        .add_fault(fault)
        .await?
        .map_err(|error| Problem::bad(&error.field, error.to_string()))?;
    Ok(as_json(StatusCode::CREATED, shown.to_string().into_bytes()))
}

async fn list_faults(State(desk): State<Desk>) -> Result<Response, Problem> {
    let items: Vec<_> = desk
        .book
        .faults()
        .await?
        .iter()
        .map(Fault::to_json)
        .collect();
    Ok(as_json(
        StatusCode::OK,
        json!({"items": items, "next": null})
            .to_string()
            .into_bytes(),
    ))
}

async fn clear_faults(State(desk): State<Desk>) -> Result<StatusCode, Problem> {
    desk.book.clear_faults().await?;
    Ok(StatusCode::NO_CONTENT)
}
