//! Telling employees to work: `POST /v1/employees/{id}/triggers` for one, `POST /v1/triggers` for whom it may concern.
//!
//! The first is the hot path: with a known key and the employee's id nothing is read from the database, and a run that ends while its
//! client waits is answered from memory.

use super::{
    ApiState,
    attempt::{self, OfRequest},
    auth::Caller,
    body::Json as JsonBody,
    error::{ApiError, ApiResult},
    runs::{self, RunView},
    text::{self, Path},
};
use crate::{
    actors::{
        TriggerRequest,
        employee::{Accepted, EmployeeError, TriggerKey, new_key},
        router::{Event, KeyFrom, Routed},
    },
    domain::{EmployeeId, ExecutionId, Trigger, TriggerType, event::run_id},
    persistence::run_get,
};
use axum::{
    Extension, Json,
    extract::{FromRequestParts, State},
    http::{HeaderMap, HeaderName, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// The longest wait that `Prefer` can ask for, in seconds.
const WAIT_MAX: u64 = 300;
/// How often the database is asked for the end of a run that cannot be watched.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const KEY_MAX: usize = 255;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TriggerBody {
    /// What the run works on: `trigger.payload` in expressions.
    payload: Value,
    /// Runs with the same key keep their order.
    conversation_key: Option<String>,
    /// A second trigger with the same key and payload gets the first one's run; with another payload it is refused. The header
    /// `Idempotency-Key` says the same. Where none is given one is made and told in that header, so that a trigger whose answer was lost can
    /// be sent again with it.
    idempotency_key: Option<String>,
    /// Start at this skill instead of at the entry of the graph.
    skill: Option<String>,
}

#[derive(Serialize)]
struct TriggerAnswer {
    execution_id: ExecutionId,
    run_id: String,
    duplicate: bool,
}

/// How long the client wants to wait for the end, from `Prefer: wait=SECONDS`.
pub struct Wait(Option<Duration>);

impl<S: Sync> FromRequestParts<S> for Wait {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        let values = parts.headers.get_all("prefer");
        let preferences = values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','));
        // A preference that is not understood is to be passed over (RFC 7240).
        let seconds = preferences.filter_map(wait_seconds).next();
        Ok(Self(
            seconds.map(|seconds| Duration::from_secs(seconds.min(WAIT_MAX))),
        ))
    }
}

fn wait_seconds(preference: &str) -> Option<u64> {
    let preference = preference.split(';').next()?;
    let (name, value) = preference.split_once('=')?;
    let wait = name.trim().eq_ignore_ascii_case("wait");
    wait.then(|| value.trim().trim_matches('"').parse().ok())?
}

pub async fn trigger(
    State(api): State<ApiState>,
    caller: Caller,
    Path(who): Path<String>,
    Wait(wait): Wait,
    Extension(attempt): OfRequest,
    headers: HeaderMap,
    JsonBody(body): JsonBody<TriggerBody>,
) -> ApiResult<Response> {
    text::short_if(
        "conversation_key",
        body.conversation_key.as_deref(),
        KEY_MAX,
    )?;
    let given = attempt::key_of(&headers, body.idempotency_key)?;
    let employee = text::employee_id(&api, caller.org, &who).await?;
    // Every trigger has a key, so that one whose answer is lost can be sent again.
    let source = format!("api>{employee}");
    let key = match given {
        Some(key) => TriggerKey::given(source, key).for_payload(&body.payload),
        None => TriggerKey::made(source, new_key(&api.core().clock)),
    };
    attempt.has_key(&key.key);
    let trigger = Trigger {
        kind: TriggerType::DirectCommand,
        payload: Arc::new(body.payload),
        source: "api".into(),
    };
    let request = TriggerRequest {
        trigger: trigger.clone(),
        conversation: body.conversation_key.clone(),
        skill: body.skill,
        dedupe: Some(key),
    };
    let told = |error: EmployeeError| match error {
        EmployeeError::NotFound => ApiError::not_found("employee", &who),
        error => error.into(),
    };
    let Some(wait) = wait else {
        let accepting = api.engine().trigger(caller.org, employee, request);
        let accepted = api.bounded(accepting).await?;
        return accepted_answer(&api, caller, employee, accepted.map_err(told)?).await;
    };
    let deadline = Instant::now() + wait;
    let accepting = api
        .engine()
        .trigger_and_watch(caller.org, employee, request);
    let (accepted, finished) = api.bounded(accepting).await?.map_err(told)?;
    let applied = (
        HeaderName::from_static("preference-applied"),
        format!("wait={}", wait.as_secs()),
    );
    if let Ok(Ok(run)) = tokio::time::timeout_at(deadline.into(), finished).await
        && let Some(beginning) = accepted.beginning
    {
        let view = RunView::finished(beginning, employee, body.conversation_key, trigger, run);
        return Ok(([applied], Json(view)).into_response());
    }
    match finished_by(&api, &caller, accepted.execution, deadline).await? {
        true => {
            let view = runs::read(&api, caller, accepted.execution).await?;
            Ok(([applied], Json(view)).into_response())
        }
        false => accepted_answer(&api, caller, employee, accepted).await,
    }
}

/// Whether a run that could not be watched (a duplicate's, or its employee broke down) is finished before `deadline`.
async fn finished_by(
    api: &ApiState,
    caller: &Caller,
    execution: ExecutionId,
    deadline: Instant,
) -> ApiResult<bool> {
    loop {
        let mut tx = api.db().begin_read(caller.org).await?;
        let row = run_get(&mut tx, execution).await?;
        drop(tx);
        // A repetition outlives its run: then there is nothing to show but that it is known.
        let Some(row) = row else { return Ok(false) };
        if row.status.is_finished() {
            return Ok(true);
        }
        if Instant::now() + LOOK_EVERY >= deadline {
            return Ok(false);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = api.closing().cancelled() => return Ok(false),
        }
    }
}

async fn accepted_answer(
    api: &ApiState,
    caller: Caller,
    employee: EmployeeId,
    accepted: Accepted,
) -> ApiResult<Response> {
    let run_id = match accepted.beginning {
        Some(beginning) => beginning.run_id(employee),
        None => stored_run_id(api, caller, employee, accepted.execution).await?,
    };
    let answer = TriggerAnswer {
        execution_id: accepted.execution,
        run_id,
        duplicate: accepted.duplicate,
    };
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// The readable id of a duplicate's run. Empty if retention has deleted the run meanwhile.
async fn stored_run_id(
    api: &ApiState,
    caller: Caller,
    employee: EmployeeId,
    execution: ExecutionId,
) -> ApiResult<String> {
    let mut tx = api.db().begin_read(caller.org).await?;
    let row = run_get(&mut tx, execution).await?;
    Ok(row.map_or_else(String::new, |row| {
        run_id(employee, row.version.unsigned_abs(), row.accepted)
    }))
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum EventKind {
    #[default]
    ExternalEvent,
    InternalEvent,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteBody {
    /// Who says so, for example `crm`; subscriptions name it.
    source: String,
    /// What happened, for example `invoice.paid`.
    event: Option<String>,
    payload: Value,
    /// The same event is never taken twice. The header `Idempotency-Key` says the same. Where none is given one is made and told in the header `idempotency-key`.
    idempotency_key: Option<String>,
    #[serde(default, rename = "type")]
    kind: EventKind,
}

#[derive(Default, Serialize)]
pub struct RoutedView {
    started: Vec<StartedView>,
    /// Runs that waited for the event and go on.
    resumed: Vec<ExecutionId>,
    refused: Vec<RefusedView>,
}

#[derive(Serialize)]
struct StartedView {
    employee_id: EmployeeId,
    skill: Option<String>,
    execution_id: ExecutionId,
    run_id: String,
    duplicate: bool,
}

#[derive(Serialize)]
struct RefusedView {
    employee_id: EmployeeId,
    reason: String,
    /// It may be taken if it is sent again.
    transient: bool,
}

pub async fn route(
    State(api): State<ApiState>,
    caller: Caller,
    Extension(attempt): OfRequest,
    headers: HeaderMap,
    JsonBody(body): JsonBody<RouteBody>,
) -> ApiResult<(StatusCode, Json<RoutedView>)> {
    text::short("source", &body.source, 200)?;
    text::short_if("event", body.event.as_deref(), 200)?;
    let given = attempt::key_of(&headers, body.idempotency_key)?;
    let key_from = match given {
        Some(_) => KeyFrom::Client,
        None => KeyFrom::ThisNode,
    };
    let key = given.unwrap_or_else(|| new_key(&api.core().clock));
    attempt.has_key(&key);
    let event = Event {
        kind: match body.kind {
            EventKind::ExternalEvent => TriggerType::ExternalEvent,
            EventKind::InternalEvent => TriggerType::InternalEvent,
        },
        source: body.source,
        aliases: Vec::new(),
        event: body.event,
        payload: Arc::new(body.payload),
        key: Some(key),
        key_from,
        conversation: None,
    };
    let routed = api.bounded(api.engine().route(caller.org, event)).await??;
    let view = routed_view(&api, caller.org, routed).await?;
    Ok((StatusCode::ACCEPTED, Json(view)))
}

/// What became of an event, as clients are told.
///
/// # Errors
/// If the runs of duplicates cannot be read.
pub async fn routed_view(
    api: &ApiState,
    org: crate::domain::OrgId,
    routed: Routed,
) -> ApiResult<RoutedView> {
    let Routed {
        started,
        resumed,
        refused,
        passed_over: _,
    } = routed;
    let mut tx = None;
    let mut views = Vec::with_capacity(started.len());
    for one in started {
        let execution = one.accepted.execution;
        let run_id = match one.accepted.beginning {
            Some(beginning) => beginning.run_id(one.employee),
            None => {
                let tx = match &mut tx {
                    Some(tx) => tx,
                    empty => empty.insert(api.db().begin_read(org).await?),
                };
                run_get(tx, execution)
                    .await?
                    .map_or_else(String::new, |row| {
                        run_id(one.employee, row.version.unsigned_abs(), row.accepted)
                    })
            }
        };
        views.push(StartedView {
            employee_id: one.employee,
            skill: one.skill,
            execution_id: execution,
            run_id,
            duplicate: one.accepted.duplicate,
        });
    }
    Ok(RoutedView {
        started: views,
        resumed,
        refused: refused
            .into_iter()
            .map(|one| RefusedView {
                employee_id: one.employee,
                reason: one.reason,
                transient: one.transient,
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_read_from_preferences() {
        assert_eq!(wait_seconds(" wait=5"), Some(5));
        assert_eq!(wait_seconds("Wait = \"7\"; x=y"), Some(7));
        assert_eq!(wait_seconds("respond-async"), None);
        assert_eq!(wait_seconds("wait=soon"), None);
    }
}
