//! One route: what it is called, who may use it, what it takes; and the guard that stands before its handler.

use super::{
    ApiState,
    attempt::Attempt,
    auth::Caller,
    body_room::{Hold, Holder},
    error::{ApiError, Problem},
    operator,
    server::peer::{Client, Peer},
};
use crate::{
    domain::Role,
    telemetry::{self, trace},
};
use axum::{
    extract::{Request, State},
    handler::Handler,
    http::{HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter, on},
};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;
use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody: health, and what proves itself by a signature.
    Public,
    /// Whoever has an API key with this role or a higher one.
    Key(Role),
    /// Whoever has the `metrics_token` of the configuration, or an API key of the operator's org.
    Metrics,
}

/// A route and all that its description needs.
pub struct Route {
    pub method: Method,
    /// As axum and OpenAPI write it: `/v1/runs/{id}`.
    pub path: &'static str,
    pub access: Access,
    pub summary: &'static str,
    /// JSON Schema of the query parameters, an object.
    pub query: Option<Value>,
    /// JSON Schema of the body.
    pub body: Option<Value>,
    /// Whether the body may be left out.
    pub body_optional: bool,
    pub status: StatusCode,
    handler: MethodRouter<ApiState>,
}

impl Route {
    fn new<H, T>(
        (method, filter): (Method, MethodFilter),
        path: &'static str,
        access: Access,
        summary: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, ApiState>,
        T: 'static,
    {
        Self {
            method,
            path,
            access,
            summary,
            query: None,
            body: None,
            body_optional: false,
            status: StatusCode::OK,
            handler: on(filter, handler),
        }
    }

    pub fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(schema::<T>());
        self
    }
    pub fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(schema::<T>());
        self
    }
    pub fn optional_body<T: JsonSchema>(mut self) -> Self {
        self.body_optional = true;
        self.body::<T>()
    }
    /// The status of success, where it is not 200.
    pub fn answers(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The handler behind its guard.
    pub fn guarded(self, state: &ApiState) -> MethodRouter<ApiState> {
        let gate = Arc::new(Gate {
            state: state.clone(),
            path: self.path,
            access: self.access,
            outage: Outage::of(self.access, self.path),
            is_operational: is_operational(self.path),
            metrics: telemetry::RouteMetrics::new(self.method.as_str(), self.path),
        });
        self.handler.route_layer(from_fn_with_state(gate, guard))
    }
}

fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

macro_rules! methods {
    ($($name:ident $method:ident;)*) => { $(
        pub fn $name<H, T>(path: &'static str, access: Access, summary: &'static str, handler: H) -> Route
        where
            H: Handler<T, ApiState>,
            T: 'static,
        {
            Route::new((Method::$method, MethodFilter::$method), path, access, summary, handler)
        }
    )* };
}
methods! {
    get GET;
    post POST;
    put PUT;
    patch PATCH;
    delete DELETE;
}

struct Gate {
    state: ApiState,
    path: &'static str,
    access: Access,
    outage: Outage,
    /// Every node answers it, whatever its roles.
    is_operational: bool,
    metrics: telemetry::RouteMetrics,
}

/// Lets in who may, and counts.
async fn guard(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let attempt = Attempt::of(&mut request);
    let method = request.method().clone();
    let response = match gate.outage {
        Outage::Ignored => answer(&gate, request, next, &attempt).await,
        Outage::EndsRequests => {
            tokio::select! {
                response = answer(&gate, request, next, &attempt) => response,
                () = gate.state.db().outage_lasts(OUTAGE_TIME) => ApiError::database_away().into_response(),
            }
        }
        Outage::KeepsOut => {
            tokio::select! {
                () = gate.state.db().outage_is_over() => answer(&gate, request, next, &attempt).await,
                () = gate.state.db().outage_lasts(OUTAGE_TIME) => ApiError::database_away().into_response(),
            }
        }
    };
    let response = attempt.answered(&method, gate.path, response);
    gate.metrics
        .answered(response.status().as_u16(), started.elapsed());
    response
}

async fn answer(gate: &Gate, mut request: Request, next: Next, attempt: &Attempt) -> Response {
    if !gate.is_operational && !gate.state.takes_requests() {
        return ApiError::not_for_this_node().into_response();
    }
    let given = request.headers().get("traceparent");
    let context = trace::of(given.and_then(|given| given.to_str().ok()));
    let answered = async {
        match admit(gate, &mut request).await {
            Ok(()) => {
                attempt.begins();
                let hold = hold(gate, &request);
                request.extensions_mut().insert(hold.clone());
                let response = next.run(request).await;
                // What came is kept by whoever answers, until there is an answer.
                drop(hold);
                response
            }
            Err(error) => error.into_response(),
        }
    };
    let mut response = trace::within(context, answered).await;
    // What is for one caller is nobody's to keep, and some of it is shown once: keys, links, secrets.
    if gate.access != Access::Public {
        let kept = response.headers_mut().entry(header::CACHE_CONTROL);
        kept.or_insert(HeaderValue::from_static("no-store"));
    }
    response
}

/// Where the request's body is counted: with its org, or with the address of whoever shows no key.
fn hold(gate: &Gate, request: &Request) -> Hold {
    let holder = match request.extensions().get::<Caller>() {
        Some(caller) => Holder::Org(caller.org),
        None => Holder::Stranger(Peer::from(from(request).0)),
    };
    gate.state.bodies().hold(holder)
}

/// The server has put it there; whoever calls the router without one is this process.
fn from(request: &Request) -> Client {
    let from = request.extensions().get().copied();
    from.unwrap_or(Client(Ipv4Addr::LOCALHOST.into()))
}

/// Probes, and what shows the nodes and their actors.
fn is_operational(path: &str) -> bool {
    ["/healthz", "/readyz", "/metrics", "/openapi.json"].contains(&path)
        || ["/v1/actors", "/v1/nodes", "/v1/rebalance"]
            .iter()
            .any(|start| path.starts_with(start))
}

/// How long a request waits for a database that is away. Those who wait for an actor wait for the journal, which waits out the outage.
const OUTAGE_TIME: Duration = Duration::from_secs(2);

/// What becomes of a request while the database is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outage {
    Ignored,
    /// It is given up, as if its client had left.
    EndsRequests,
    /// It is not begun. Once it is, a provider works for it, or there is a code of a provider that can be used only once.
    KeepsOut,
}

impl Outage {
    fn of(access: Access, path: &str) -> Self {
        match access {
            Access::Public if path.starts_with("/hooks/") => Self::EndsRequests,
            // Probes have times of their own; a page or a document may need no database.
            Access::Public | Access::Metrics => Self::Ignored,
            Access::Key(_) if path.starts_with("/proxy/") => Self::KeepsOut,
            Access::Key(_) => Self::EndsRequests,
        }
    }
}

async fn admit(gate: &Gate, request: &mut Request) -> Result<(), ApiError> {
    // PostgreSQL takes no zero byte in a text, and nothing that can be named has one.
    if request
        .uri()
        .path_and_query()
        .is_some_and(|address| address.as_str().contains("%00"))
    {
        let detail = "the address must not contain a zero byte";
        return Err(ApiError::new(Problem::InvalidParameter, detail));
    }
    let needed = match gate.access {
        Access::Public => return Ok(()),
        Access::Metrics if operator::has_metrics_token(&gate.state, request.headers()) => {
            return Ok(());
        }
        Access::Metrics => Role::Viewer,
        Access::Key(needed) => needed,
    };
    let from = from(request);
    let (state, now) = (&gate.state, gate.state.engine().now());
    let (caller, presented) = state
        .keys()
        .caller(state.db(), request.headers(), from, now)
        .await?;
    if caller.role < needed {
        return Err(ApiError::new(
            Problem::Forbidden,
            format!(
                "this needs the role {}; the API key has {}",
                needed.name(),
                caller.role.name()
            ),
        )
        .with("role", needed.name()));
    }
    if gate.access == Access::Metrics {
        operator::require(&gate.state, &caller, "the metrics are the operator's").await?;
    }
    request.extensions_mut().insert(presented);
    request.extensions_mut().insert(caller);
    Ok(())
}
