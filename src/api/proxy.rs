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
    actors::proxy::{ProxyError, ProxyRequest, call},
    connect::catalog::nearest,
    domain::ExecutionId,
};
use axum::{Json, extract::State, http::HeaderMap};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

const KEY_MAX: usize = 255;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyBody {
    /// The arguments, as the capability's input schema has them.
    #[serde(alias = "params")]
    input: Value,
    /// The connection's name; absent: the org's oldest one to that integration.
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
) -> ApiResult<Json<ProxyView>> {
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
        capability: capability.clone(),
        connection: body.connection,
        arguments: body.input,
        idempotency_key: key,
    };
    let answer = call(api.core(), request)
        .await
        .map_err(|error| told(&api, &capability, error))?;
    Ok(Json(ProxyView {
        output: answer.output,
        execution_id: answer.execution,
    }))
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
        "not_durable" | "unavailable" => Problem::Unavailable,
        _ => Problem::ProviderError,
    }
}
