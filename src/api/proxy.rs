//! `POST /proxy/{capability}`: a call to an outside system through the org's connection, without ever seeing its token. JSON in, JSON out,
//! and a failure in one of a few words that are the same for all providers.

use super::{
    ApiState,
    auth::Caller,
    body::Json as JsonBody,
    error::{ApiError, ApiResult, Problem},
    text::{self, Path},
};
use crate::{
    actors::proxy::{ProxyError, ProxyRequest, Waiting, call},
    connect::catalog::nearest,
    domain::ExecutionId,
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

const KEY_MAX: usize = 255;

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
    headers: HeaderMap,
    JsonBody(body): JsonBody<ProxyBody>,
) -> ApiResult<Response> {
    let header = headers
        .get("idempotency-key")
        .map(|value| {
            let word = "the header `Idempotency-Key` must be visible ascii";
            let text = value.to_str().map_err(|_| word);
            text.map_err(|word| ApiError::field("idempotency_key", word))
        })
        .transpose()?;
    let key = body.idempotency_key.or_else(|| header.map(str::to_owned));
    text::short_if("idempotency_key", key.as_deref(), KEY_MAX)?;
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
    match call(api.core(), request).await {
        Ok(answer) => Ok(Json(ProxyView {
            output: answer.output,
            execution_id: answer.execution,
        })
        .into_response()),
        Err(ProxyError::ApprovalNeeded(waiting)) => Ok(accepted(&waiting)),
        Err(error) => Err(told(&api, &capability, error)),
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

fn told(api: &ApiState, capability: &str, error: ProxyError) -> ApiError {
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
            let told = ApiError::new(problem, text).with("cause", error.code);
            match problem {
                Problem::BadParams => told.at("input"),
                _ => told,
            }
        }
        ProxyError::NotDurable(_) => ApiError::new(Problem::Unavailable, text),
        ProxyError::Db(error) => error.into(),
    }
}

/// The word for a failure that is the same for all providers.
fn canonical(code: &str) -> Problem {
    match code {
        "bad_params" => Problem::BadParams,
        "auth_error" | "token_unavailable" => Problem::AuthError,
        "rate_limited" | "overloaded" => Problem::RateLimit,
        "timeout" => Problem::Timeout,
        "policy_denied" => Problem::PolicyDenied,
        "approval_denied" | "approval_stale" => Problem::ApprovalDenied,
        "approval_expired" => Problem::ApprovalExpired,
        "not_durable" | "unavailable" => Problem::Unavailable,
        _ => Problem::ProviderError,
    }
}
