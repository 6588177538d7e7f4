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
use tokio::{sync::Mutex, time::Instant};

/// A probe that waits longer than this would be counted as failed anyway.
const READY_TIME: Duration = Duration::from_secs(2);
/// How long what was seen is told.
const SEEN_FOR: Duration = Duration::from_secs(1);

/// The process lives.
pub async fn alive() -> Json<Value> {
    Json(json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))
}

/// It can take work: the database takes writes and nobody has taken its place.
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
    if *api.core().journal.away().borrow() {
        return not_ready("what is taken cannot be made durable: the database takes no writes");
    }
    let look = api.readiness().look(Instant::now(), || write(&api));
    match tokio::time::timeout(READY_TIME, look).await {
        Ok(Seen::Writes) => Ok(Json(json!({"status": "ready"}))),
        Ok(Seen::Refuses) => not_ready("the database cannot be written"),
        Err(_) => not_ready("the database does not answer"),
    }
}

/// Writes something, and waits until it is durable: a database that can be read may have no room left.
async fn write(api: &ApiState) -> Seen {
    let write = async {
        let db = api.db();
        let mut tx = db.begin_system("can the database be written").await?;
        persistence::node_touch(&mut tx, api.core().fence()).await?;
        tx.commit().await
    };
    match write.await {
        Ok(()) => Seen::Writes,
        Err(error) => {
            tracing::warn!(%error, "not ready");
            Seen::Refuses
        }
    }
}

/// Whether the database took a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Writes,
    Refuses,
}

/// What the last probe has seen. Probes need no key: however many come, they write once in [`SEEN_FOR`].
#[derive(Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, Seen)>>);

impl Readiness {
    /// The last thing seen if it is young, else what `look` sees; one looks at a time, and the others wait for it.
    async fn look<F: Future<Output = Seen>>(&self, now: Instant, look: impl FnOnce() -> F) -> Seen {
        let mut last = self.0.lock().await;
        if let Some((at, seen)) = *last
            && now.saturating_duration_since(at) < SEEN_FOR
        {
            return seen;
        }
        let seen = look().await;
        *last = Some((now, seen));
        seen
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn many_probes_write_once_a_second_and_see_a_change() {
        let (readiness, looks) = (Readiness::default(), AtomicUsize::new(0));
        let look = || async {
            match looks.fetch_add(1, Ordering::Relaxed) {
                0 => Seen::Refuses,
                _ => Seen::Writes,
            }
        };
        let now = Instant::now();
        let seen = futures::future::join_all((0..50).map(|_| readiness.look(now, look))).await;
        assert!(seen.iter().all(|seen| *seen == Seen::Refuses));
        assert_eq!(looks.load(Ordering::Relaxed), 1);
        assert_eq!(readiness.look(now + SEEN_FOR, look).await, Seen::Writes);
        assert_eq!(looks.load(Ordering::Relaxed), 2);
    }
}
