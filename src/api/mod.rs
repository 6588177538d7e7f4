//! The HTTP API: every route in one list ([`routes`]), one resource a file, every error in one table ([`error`]).
//!
//! Invariants: nothing but health and signed webhooks is answered without an API key; a request reaches only rows of its key's org, and
//! what belongs to another org is not found; what is answered as accepted is durable; every wait has an end.

mod actors;
mod address;
mod approvals;
mod attempt;
mod auth;
mod body;
mod body_room;
mod calendars;
mod catalog;
mod connect_links;
mod connect_page;
mod connections;
mod effects;
mod employees;
pub mod error;
mod events;
mod form;
mod front;
mod graphs;
mod health;
mod hooks;
mod html;
mod inbox;
mod integrations;
mod json_path;
mod json_text;
mod key_text;
pub mod keys;
mod memory;
mod nodes;
mod oauth;
mod oauth_clients;
mod openapi;
mod operator;
mod org;
mod org_keys;
mod owner;
mod people;
mod policies;
mod proxy;
mod proxy_raw;
mod proxy_stream;
mod query;
mod route;
mod routes;
mod runs;
mod schedules;
mod server;
mod sources;
mod stale;
mod streams;
mod text;
mod triggers;
mod webhook;

pub use body::BODY_MAX;
pub use front::{BadOrigin, origins};
pub use route::{Access, Route};
pub use routes::routes;
pub use server::{
    Limits, ServerSettings,
    peer::{ForwardedHeader, Networks},
};
pub use streams::StreamLimits;

use crate::{
    actors::{Core, Engine},
    hire::Planner,
    persistence::Db,
};
use auth::KeyCache;
use axum::{Router, http::HeaderValue, middleware::from_fn};
use body_room::BodyRoom;
use error::{ApiError, ApiResult, Problem};
use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::SecretString;
use std::{io, sync::Arc, time::Duration};
use streams::Streams;
use tokio::{
    net::TcpListener,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

/// How long a request waits for the actors.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// How often what was tried by whom is forgotten, and it is written which keys were used.
const TIDY_EVERY: Duration = Duration::from_secs(15);

/// What an operator may set of the API.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    pub server: ServerSettings,
    pub streams: StreamLimits,
    /// Origins whose pages may use the API from a browser; `*` alone: all. Empty: none.
    pub cors_origins: Vec<HeaderValue>,
    /// Whether API keys from before there were checksums are looked up.
    pub legacy_keys: bool,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            server: ServerSettings::default(),
            streams: StreamLimits::default(),
            cors_origins: Vec::new(),
            legacy_keys: true,
        }
    }
}

/// What the API is made of.
pub struct ApiParts {
    pub engine: Engine,
    pub planner: Arc<dyn Planner>,
    /// Renders `/metrics`; absent: there are none.
    pub metrics: Option<PrometheusHandle>,
    /// Where the sandbox providers are, if this process started them.
    pub sandbox_url: Option<String>,
    /// Name or id of the org whose admins run the service; absent: the only org's, as long as there is only one.
    pub operator_org: Option<String>,
    /// Opens `/metrics` alone; absent: only keys of the operator's org do.
    pub metrics_token: Option<SecretString>,
    pub settings: ApiSettings,
}

/// What every handler can reach. Cheap to clone.
#[derive(Clone)]
pub struct ApiState(Arc<Shared>);

struct Shared {
    parts: ApiParts,
    db: Db,
    keys: KeyCache,
    streams: Arc<Streams>,
    bodies: Arc<BodyRoom>,
    closing: CancellationToken,
    readiness: health::Readiness,
}

impl ApiState {
    pub fn new(parts: ApiParts) -> Self {
        Self(Arc::new(Shared {
            db: parts.engine.core().db.at_the_edge(),
            keys: KeyCache::new(parts.settings.legacy_keys),
            streams: Streams::new(parts.settings.streams),
            bodies: BodyRoom::new(),
            parts,
            closing: CancellationToken::new(),
            readiness: health::Readiness::default(),
        }))
    }

    /// Waits for an actor, which waits for the journal, which waits out a database that is away: a client must not wait that long.
    ///
    /// # Errors
    /// `unavailable` after thirty seconds. It is not known then whether it was done.
    async fn bounded<T>(&self, work: impl Future<Output = T>) -> ApiResult<T> {
        tokio::time::timeout(ANSWER_TIME, work).await.map_err(|_| {
            let detail = "there was no answer in time";
            ApiError::new(Problem::Unavailable, detail).retry_after(5)
        })
    }

    /// Does the work to its end, even if the client leaves meanwhile: for what must not stop half-way.
    ///
    /// # Errors
    /// `internal` if it panics.
    async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> ApiResult<T> {
        tokio::spawn(work).await.map_err(ApiError::internal)
    }

    fn readiness(&self) -> &health::Readiness {
        &self.0.readiness
    }
    fn engine(&self) -> &Engine {
        &self.0.parts.engine
    }
    /// Whether this node has the role `api`; one that is alone has all.
    fn takes_requests(&self) -> bool {
        let cluster = self.core().cluster.as_ref();
        cluster.is_none_or(|cluster| cluster.takes_requests())
    }
    fn core(&self) -> &Arc<Core> {
        self.0.parts.engine.core()
    }
    fn db(&self) -> &Db {
        &self.0.db
    }
    fn planner(&self) -> &dyn Planner {
        &*self.0.parts.planner
    }
    fn metrics(&self) -> Option<&PrometheusHandle> {
        self.0.parts.metrics.as_ref()
    }
    fn sandbox_url(&self) -> Option<&str> {
        self.0.parts.sandbox_url.as_deref()
    }
    fn operator_org(&self) -> Option<&str> {
        self.0.parts.operator_org.as_deref()
    }
    fn metrics_token(&self) -> Option<&SecretString> {
        self.0.parts.metrics_token.as_ref()
    }
    fn keys(&self) -> &KeyCache {
        &self.0.keys
    }
    fn streams(&self) -> &Arc<Streams> {
        &self.0.streams
    }
    fn bodies(&self) -> &Arc<BodyRoom> {
        &self.0.bodies
    }
    /// Cancelled when the server stops: open streams end.
    fn closing(&self) -> &CancellationToken {
        &self.0.closing
    }
}

/// All routes, each behind its guard, and behind what every request meets.
pub fn router(state: ApiState) -> Router {
    let mut router = Router::new();
    for route in routes() {
        router = router.route(route.path, route.guarded(&state));
    }
    let origins = &state.0.parts.settings.cors_origins;
    let cors = (!origins.is_empty()).then(|| front::cors(origins));
    let router = router
        .fallback(error::unknown_route)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(front::compression());
    let router = match cors {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router.layer(from_fn(front::front)).with_state(state)
}

/// Serves until `shutdown`, then lets requests end that are under way, for ten seconds at most.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    state: ApiState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let tidying = tokio::spawn(tidy(state.clone()));
    let settings = state.0.parts.settings.server.clone();
    let stopping = state.closing().clone();
    let shutdown = async move {
        shutdown.await;
        stopping.cancel();
    };
    let served = server::serve(listener, router(state.clone()), settings, shutdown).await;
    tidying.abort();
    write_uses(&state).await;
    served
}

async fn tidy(state: ApiState) {
    let mut ticks = interval(TIDY_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        state.keys().tidy();
        write_uses(&state).await;
    }
}

async fn write_uses(state: &ApiState) {
    if let Err(error) = state.keys().write_uses(state.db()).await {
        tracing::warn!(%error, "it could not be written when API keys were used; it is tried again");
    }
}
