//! The HTTP surface: `/{integration}/…` are the providers; the rest is for whoever tests with them.

use super::{
    book::{Book, Served},
    call::{Call, Provider},
    control,
    faults::Ending,
    oauth, problem,
    problem::Problem,
    send::{self, Sender},
    socket::Switch,
    urlencoded,
};
use crate::domain::Timestamp;
use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[derive(Clone, Debug)]
pub(super) struct Desk {
    pub book: Book,
    pub stop: CancellationToken,
    pub sender: Sender,
}

pub(super) fn router(book: Book, sender: Sender, stop: CancellationToken) -> Router {
    Router::new()
        .merge(control::router())
        .merge(oauth::http::router())
        .merge(send::http::router())
        .route("/healthz", get(|| async { "ok" }))
        .fallback(provider)
        .with_state(Desk { book, stop, sender })
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
        let detail = "known are /slack/…, /quickbooks/…, /gmail/…, /github/…, /stripe/…, /oauth/…, /record, /faults, \
                      /quotas, /healthz";
        return Problem::not_found(detail).into_response();
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
        token: text("authorization").and_then(|value| read_token(provider, value)),
        headers,
    };
    match desk.book.serve(call).await {
        Ok(served) => finish(served, &switch, &desk.stop).await,
        Err(stopped) => Problem::from(stopped).into_response(),
    }
}

/// Sends the answer, or sees to it that none is sent.
pub(super) async fn finish(served: Served, switch: &Switch, stop: &CancellationToken) -> Response {
    let Served { answer, ending } = served;
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
    let own_type = answer
        .headers
        .iter()
        .any(|(name, _)| *name == "content-type");
    let mut response = match answer.body {
        Value::Null => status.into_response(),
        Value::String(text) if own_type => (status, text).into_response(),
        body => problem::shown(status, &body),
    };
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The time in whole milliseconds, which is what the record keeps.
pub(super) fn now() -> Timestamp {
    Timestamp::from_millis(chrono::Utc::now().timestamp_millis())
}

/// The token of an `Authorization` header: `Bearer` everywhere, `token` at GitHub, the name of `Basic` at Stripe.
fn read_token(provider: Provider, header: &str) -> Option<String> {
    let (scheme, token) = header.split_once(' ')?;
    match provider {
        _ if scheme == "Bearer" => Some(token.to_owned()),
        Provider::Github if scheme == "token" => Some(token.to_owned()),
        Provider::Stripe => read_basic(header).map(|(name, _)| name),
        _ => None,
    }
}

/// Name and password of a `Basic` header.
pub(super) fn read_basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

/// JSON as it is, a form as an object, anything else as text.
pub(super) fn read_body(content_type: &str, body: &[u8]) -> Value {
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
