//! For those who run the service: `/healthz`, `/readyz`, `/metrics`.

use super::{
    ApiState,
    error::{ApiError, ApiResult, Problem},
};
use crate::persistence;
use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use std::time::Duration;

/// A probe that waits longer than this would be counted as failed anyway.
const READY_TIME: Duration = Duration::from_secs(2);

/// The process lives.
pub async fn alive() -> Json<Value> {
    Json(json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))
}

/// It can take work: the database answers and nobody has taken its place.
pub async fn ready(State(api): State<ApiState>) -> ApiResult<Json<Value>> {
    let not_ready = |why: &str| Err(ApiError::new(Problem::Unavailable, why).retry_after(2));
    if *api.core().journal.fenced().borrow() {
        return not_ready("another incarnation of this node has taken over");
    }
    if api.engine().is_draining() {
        return not_ready("the node gives away what it has");
    }
    if api.closing().is_cancelled() {
        return not_ready("the service is stopping");
    }
    let look = async {
        let mut tx = api.db().begin_system_read("is the database there").await?;
        persistence::clock(&mut tx).await
    };
    match tokio::time::timeout(READY_TIME, look).await {
        Ok(Ok(_)) => Ok(Json(json!({"status": "ready"}))),
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready");
            not_ready("the database cannot be reached")
        }
        Err(_) => not_ready("the database does not answer"),
    }
}

/// Prometheus' text format.
pub async fn metrics(State(api): State<ApiState>) -> ApiResult<Response> {
    let handle = api
        .metrics()
        .ok_or_else(|| ApiError::new(Problem::Unavailable, "this process records no metrics"))?;
    crate::telemetry::observe_process();
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    Ok((kind, handle.render()).into_response())
}
