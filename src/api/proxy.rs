//! `POST /proxy/{capability}`: a call to an outside system through the org's connection, without ever seeing its token. JSON in, JSON out,
//! and a failure in one of a few words that are the same for all providers.
//!
//! The output is bounded (`answer_limit`). With `?stream=true`, or `Accept: application/x-ndjson`, a read is given on as it comes instead
//! ([`proxy_stream`](super::proxy_stream)). A write goes to its end even if its client leaves.

use super::{
    ApiState, attempt,
    auth::Caller,
    body::Json as JsonBody,
    error::{ApiError, ApiResult, Problem},
    proxy_stream,
    query::Query,
    text::Path,
};
use crate::{
    actors::proxy::{ProxyError, ProxyRequest, Waiting, call},
    connect::catalog::nearest,
    domain::ExecutionId,
    graph::Later,
};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// When to come back where nobody can tell.
const RETRY_SECONDS: u32 = 5;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyBody {
    /// The arguments, as the capability's input schema has them.
    #[serde(alias = "params")]
    input: Value,
    /// The connection's name or id; absent: the oldest one to that integration of the key's user, else of the org.
    connection: Option<String>,
    /// A second call with it gives the answer of the first. The header `Idempotency-Key` says the same.
    idempotency_key: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyQuery {
    /// Give on what comes as it comes: the items of a list, one JSON text a line, over all its pages; or the bytes of a file. Reads only.
    #[serde(default)]
    stream: bool,
}

#[derive(Serialize)]
pub struct ProxyView {
    output: Arc<Value>,
    /// A write's row in the ledger has it.
    execution_id: ExecutionId,
}

pub async fn forward(
    State(api): State<ApiState>,
    caller: Caller,
    Path(capability): Path<String>,
    Query(query): Query<ProxyQuery>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<ProxyBody>,
) -> ApiResult<Response> {
    let key = attempt::key_of(&headers, body.idempotency_key)?;
    let request = ProxyRequest {
        org: caller.org,
        by: caller.by(),
        role: caller.role,
        user: caller.user,
        capability: capability.clone(),
        connection: body.connection,
        arguments: body.input,
        idempotency_key: key,
    };
    if query.stream || proxy_stream::is_asked_for(&headers) {
        return proxy_stream::forward(&api, request).await;
    }
    let core = api.core().clone();
    let called = api.to_the_end(async move { call(&core, request).await });
    match called.await? {
        Ok(answer) => Ok(Json(ProxyView {
            output: answer.output,
            execution_id: answer.execution,
        })
        .into_response()),
        Err(error) => unfinished(&api, &capability, error),
    }
}

/// What is answered where there is no output.
///
/// # Errors
/// Whatever is a failure.
pub(super) fn unfinished(
    api: &ApiState,
    capability: &str,
    error: ProxyError,
) -> ApiResult<Response> {
    match error {
        ProxyError::ApprovalNeeded(waiting) => Ok(accepted(&waiting)),
        error => Err(told(api, capability, error)),
    }
}

/// No failure: the call is kept as a question, and goes through when the client comes again after it was approved.
fn accepted(waiting: &Waiting) -> Response {
    let body = json!({
        "code": "APPROVAL_REQUIRED",
        "detail": "a person has to agree first; call again with this idempotency key",
        "title": waiting.title,
        "approval_id": waiting.approval,
        "execution_id": waiting.execution,
        "idempotency_key": waiting.idempotency_key,
        "expires_at": waiting.expires,
    });
    (StatusCode::ACCEPTED, Json(body)).into_response()
}

/// The answer for a call that gave no output.
pub(super) fn told(api: &ApiState, capability: &str, error: ProxyError) -> ApiError {
    let text = error.to_string();
    match error {
        ProxyError::UnknownCapability(_) => {
            let ids = api.core().catalog.capabilities().map(|one| one.id.as_str());
            let unknown = ApiError::not_found("capability", capability);
            match nearest(capability, ids) {
                Some(meant) => unknown.with("did_you_mean", meant),
                None => unknown,
            }
        }
        ProxyError::OtherArguments => {
            ApiError::new(Problem::IdempotencyConflict, text).at("idempotency_key")
        }
        // Answered before as what it is, no failure.
        ProxyError::ApprovalNeeded(_) => ApiError::internal(text),
        ProxyError::NoAccount(_) => ApiError::new(Problem::AuthError, text),
        ProxyError::Ambiguous { effect, .. } => {
            ApiError::new(Problem::Ambiguous, text).with("effect_id", effect)
        }
        ProxyError::Failed(error) => {
            let problem = canonical(&error.code);
            let too_large = error.code == "output_too_large";
            let told = later(ApiError::new(problem, text), problem, error.later);
            let told = told.with("cause", error.code);
            match problem {
                Problem::BadParams => told.at("input"),
                _ if too_large => told.with("limit_bytes", api.core().settings.answer_limit),
                _ => told,
            }
        }
        ProxyError::NotDurable(_) => {
            ApiError::new(Problem::Unavailable, text).retry_after(RETRY_SECONDS)
        }
        ProxyError::Db(error) => error.into(),
    }
}

/// When there may be room: the header in seconds, and in the body how many go before and about how long that takes.
fn later(error: ApiError, problem: Problem, later: Option<Later>) -> ApiError {
    if !matches!(problem, Problem::RateLimit | Problem::Unavailable) {
        return error;
    }
    let Some(Later { estimate_ms, place }) = later else {
        return error.retry_after(RETRY_SECONDS);
    };
    let seconds = u32::try_from(estimate_ms.div_ceil(1_000)).unwrap_or(u32::MAX);
    let error = error
        .retry_after(seconds.max(1))
        .with("estimate_ms", estimate_ms);
    match place {
        Some(place) => error.with("place", place),
        None => error,
    }
}

/// The word for a failure that is the same for all providers.
fn canonical(code: &str) -> Problem {
    match code {
        "bad_params" => Problem::BadParams,
        "auth_error" => Problem::AuthError,
        "rate_limited" | "overloaded" => Problem::RateLimit,
        "timeout" => Problem::Timeout,
        "policy_denied" => Problem::PolicyDenied,
        "approval_denied" | "approval_stale" => Problem::ApprovalDenied,
        "approval_expired" => Problem::ApprovalExpired,
        // A token endpoint that is away says nothing of the account.
        "not_durable" | "unavailable" | "breaker_open" | "token_unavailable" => {
            Problem::Unavailable
        }
        _ => Problem::ProviderError,
    }
}
