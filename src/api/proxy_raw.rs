//! `/proxy/connections/{connection}/{path}`: any request below a connection's base URL, as the client writes it, with the connection's
//! credential. Reads are given on as they come; writes are in the ledger as `INTEGRATION.raw`, and their answers are kept there.
//!
//! Through go method, path, query, body, its type and a few headers ([`RawRequest::takes_header`]); back come status, body and the headers
//! that say something of it. What the connector can mend (a token, a limit, a failure) is one of our problems, every other answer is the
//! provider's own. No redirect is followed: it is given on.

use super::{
    ApiState, attempt,
    auth::Caller,
    body::Raw,
    error::{ApiError, ApiResult, Problem},
    owner,
    proxy::{told, unfinished},
    proxy_stream::{harmless, pass},
    text::{self, Path},
};
use crate::{
    actors::proxy::{ProxyError, ProxyRequest, call_into},
    connect::{
        Integration,
        passing::{Kept, Sink},
        request::{RawRequest, is_read},
    },
    domain::ConnectionId,
};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use std::sync::Arc;

/// The name of the header that says under which execution the ledger has a write.
const EXECUTION: HeaderName = HeaderName::from_static("tenure-execution-id");

pub async fn forward(
    State(api): State<ApiState>,
    caller: Caller,
    Path((connection, _)): Path<(String, String)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    Raw(body): Raw,
) -> ApiResult<Response> {
    let id: ConnectionId = text::id("connection", &connection)?;
    let mut tx = api.db().begin_read(caller.org).await?;
    let row = owner::connection(&mut tx, &caller, &connection).await?;
    drop(tx);
    // An admin sees what belongs to somebody, and does not act as that person.
    if row.owner_user.is_some() && row.owner_user != caller.user {
        return Err(ApiError::not_found("connection", &connection));
    }
    let is_write = !is_read(method.as_str());
    let raw = RawRequest {
        method: method.to_string(),
        path: below(uri.path()),
        query: uri.query().map(str::to_owned),
        headers: through(&headers),
        content_type: header_text(&headers, &header::CONTENT_TYPE),
        body: None,
        body_base64: None,
    };
    let raw = raw.with_body(&body);
    let request = ProxyRequest {
        org: caller.org,
        by: caller.by(),
        role: caller.role,
        user: caller.user,
        capability: Integration::raw_id(&row.integration, is_write),
        connection: Some(id.to_string()),
        arguments: serde_json::to_value(raw).map_err(ApiError::internal)?,
        idempotency_key: attempt::key_of(&headers, None)?,
    };
    match is_write {
        true => write(&api, request).await,
        false => pass(&api, request, true).await,
    }
}

/// What follows the connection in the address, still encoded: what is decoded once too often may be another path.
fn below(path: &str) -> String {
    path.splitn(5, '/').nth(4).unwrap_or_default().to_owned()
}

fn header_text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn through(headers: &HeaderMap) -> Vec<(String, String)> {
    let through = headers
        .iter()
        .filter(|(name, _)| RawRequest::takes_header(name.as_str()));
    through
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
        .collect()
}

async fn write(api: &ApiState, request: ProxyRequest) -> ApiResult<Response> {
    let capability = request.capability.clone();
    let (sink, _) = Sink::new(true, 0);
    let sink = Arc::new(sink);
    let (core, answers) = (api.core().clone(), sink.clone());
    let called = api.to_the_end(async move { call_into(&core, request, Some(answers)).await });
    match called.await? {
        Ok(answer) => {
            let mut response = kept_in_ledger(&answer.output)?;
            let execution = HeaderValue::from_str(&answer.execution.to_string());
            let execution = execution.map_err(ApiError::internal)?;
            response.headers_mut().insert(EXECUTION, execution);
            Ok(response)
        }
        Err(error @ ProxyError::ApprovalNeeded(_)) => unfinished(api, &capability, error),
        Err(error) => {
            let problem = told(api, &capability, error);
            // What the provider said no to is told in its own words.
            match (problem.problem(), sink.kept()) {
                (Problem::ProviderError, Some(kept)) if kept.status < 500 => Ok(refusal(kept)),
                _ => Err(problem),
            }
        }
    }
}

fn refusal(kept: Kept) -> Response {
    let status = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::BAD_GATEWAY);
    harmless(status, kept.headers, Body::from(kept.body))
}

/// The answer as the ledger has it, the first time and every other time.
fn kept_in_ledger(envelope: &Value) -> ApiResult<Response> {
    let status = envelope["status"].as_u64().unwrap_or(200);
    let status = u16::try_from(status).ok();
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    let mut headers = HeaderMap::new();
    for (name, value) in envelope["headers"].as_object().into_iter().flatten() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(ApiError::internal)?;
        let value = HeaderValue::from_str(value.as_str().unwrap_or_default());
        headers.insert(name, value.map_err(ApiError::internal)?);
    }
    let body = match (&envelope["body"], &envelope["body_base64"]) {
        (Value::String(text), _) => Body::from(text.clone()),
        (_, Value::String(encoded)) => {
            Body::from(STANDARD.decode(encoded).map_err(ApiError::internal)?)
        }
        // A person has said that it happened, and what the provider would have answered.
        _ => Body::from(envelope.to_string()),
    };
    Ok(harmless(status.unwrap_or(StatusCode::OK), headers, body))
}
