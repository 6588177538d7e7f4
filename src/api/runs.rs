//! `/v1/runs`: what employees did and do. A run is read from its journal, whether or not its employee is awake.

use super::{
    ApiState,
    auth::Caller,
    body::OptionalJson,
    error::{ApiError, ApiResult},
    query::{NoQuery, PageQuery, Query, cursor, cursor_key, page, word},
    stale::Stale,
    text::{self, Path},
};
use crate::{
    actors::{
        connector::WaitingCall,
        employee::{Beginning, FinishedRun},
        events::stopped,
        inspect::{Inspected, inspect},
    },
    domain::{EmployeeId, ExecutionId, Timestamp, Trigger, event::run_id},
    graph::{Fact, Outcome, StepView},
    persistence::{
        EffectFilter, Page, RunFilter, RunRow, RunStatus, StaleRead, effect_list, run_get,
        run_journal, run_list,
    },
};
use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use std::sync::Arc;

/// A run of a list.
#[derive(Serialize)]
pub struct RunItem {
    execution_id: ExecutionId,
    run_id: String,
    employee_id: EmployeeId,
    version: u32,
    status: &'static str,
    trigger_type: &'static str,
    source: String,
    conversation_key: Option<String>,
    waiting_on: Value,
    error: Value,
    accepted_at: Timestamp,
    finished_at: Option<Timestamp>,
}

impl From<RunRow> for RunItem {
    fn from(row: RunRow) -> Self {
        let version = row.version.unsigned_abs();
        Self {
            execution_id: row.id,
            run_id: run_id(row.employee_id, version, row.accepted),
            employee_id: row.employee_id,
            version,
            status: row.status.name(),
            trigger_type: row.trigger_type.name(),
            waiting_on: waiting(&row),
            error: text::json(row.error.as_deref()),
            source: row.source,
            conversation_key: row.conversation_key,
            accepted_at: row.accepted,
            finished_at: row.finished,
        }
    }
}

/// A list, also where nothing is waited for.
fn waiting(row: &RunRow) -> Value {
    match text::json(row.waiting_on.as_deref()) {
        Value::Null => json!([]),
        list => list,
    }
}

/// One run with what came of it.
#[derive(Serialize)]
pub struct RunView {
    pub execution_id: ExecutionId,
    pub run_id: String,
    pub employee_id: EmployeeId,
    pub version: u32,
    pub status: &'static str,
    pub waiting_on: Value,
    pub result: Option<Arc<Value>>,
    pub error: Option<Value>,
    pub trigger: Trigger,
    pub conversation_key: Option<String>,
    pub accepted_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

impl RunView {
    /// A run that was watched to its end: nothing has to be read.
    pub fn finished(
        beginning: Beginning,
        employee: EmployeeId,
        conversation: Option<String>,
        trigger: Trigger,
        run: FinishedRun,
    ) -> Self {
        let (status, result, error) = told(&run.outcome);
        Self {
            execution_id: run.execution,
            run_id: beginning.run_id(employee),
            employee_id: employee,
            version: beginning.version,
            status,
            waiting_on: json!([]),
            result,
            error,
            trigger,
            conversation_key: conversation,
            accepted_at: beginning.accepted,
            finished_at: Some(run.finished),
        }
    }

    fn inspected(run: Inspected) -> Self {
        let row = run.row;
        let version = row.version.unsigned_abs();
        let (result, error) = match run.machine.outcome() {
            Some(outcome) => {
                let (_, result, error) = told(outcome);
                (result, error)
            }
            None => (None, None),
        };
        let waiting_on = match row.status.is_finished() {
            true => json!([]),
            // The machine knows more than what was last stored, and tells the same of a run at work.
            false => json!(run.machine.waiting_on()),
        };
        let trigger = match run.facts.into_iter().next() {
            Some(Fact::Accepted { trigger, .. }) => trigger,
            _ => Trigger {
                kind: row.trigger_type,
                payload: Arc::default(),
                source: row.source,
            },
        };
        Self {
            execution_id: row.id,
            run_id: run_id(row.employee_id, version, row.accepted),
            employee_id: row.employee_id,
            version,
            status: row.status.name(),
            waiting_on,
            result,
            error,
            trigger,
            conversation_key: row.conversation_key,
            accepted_at: row.accepted,
            finished_at: row.finished,
        }
    }
}

/// Status, result and error of an outcome.
fn told(outcome: &Outcome) -> (&'static str, Option<Arc<Value>>, Option<Value>) {
    match outcome {
        Outcome::Completed { result } => ("completed", Some(result.clone()), None),
        Outcome::Failed { error } => ("failed", None, Some(json!(error))),
        Outcome::Cancelled { kind, by, reason } => {
            let message = stopped(*kind, by, reason.as_deref());
            let error = json!({"code": kind, "message": message, "by": by, "reason": reason});
            ("cancelled", None, Some(error))
        }
    }
}

/// The run as its journal has it now.
///
/// # Errors
/// `not_found`.
pub async fn read(api: &ApiState, caller: Caller, execution: ExecutionId) -> ApiResult<RunView> {
    let run = inspected(api, caller, execution).await?;
    let turns = turns(api, &run).await;
    // Only then: most runs wait for nobody's turn.
    let steps = match turns.is_empty() {
        true => Vec::new(),
        false => run.machine.steps(),
    };
    let mut view = RunView::inspected(run);
    with_turns(&mut view.waiting_on, &steps, turns);
    Ok(view)
}

async fn inspected(api: &ApiState, caller: Caller, execution: ExecutionId) -> ApiResult<Inspected> {
    inspect(api.core(), caller.org, execution)
        .await?
        .ok_or_else(|| ApiError::not_found("run", &execution.to_string()))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// Id or name.
    employee_id: Option<String>,
    /// `accepted`, `running`, `waiting`, `completed`, `failed` or `cancelled`.
    status: Option<String>,
    conversation_key: Option<String>,
    /// The trigger's source, exactly.
    source: Option<String>,
    limit: Option<u32>,
    after: Option<String>,
}

pub async fn list(
    State(api): State<ApiState>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> ApiResult<Stale<Json<Page<RunItem>>>> {
    let request = page(query.limit, query.after.as_deref())?;
    let words = RunStatus::ALL.map(RunStatus::name);
    let status = word("status", query.status.as_deref(), RunStatus::parse, &words)?;
    let StaleRead { mut tx, replica } = api.db().begin_stale_read(caller.org).await?;
    let Some(employee) = text::employee_filter(&mut tx, query.employee_id.as_deref()).await? else {
        return Ok(Stale(replica, Json(empty())));
    };
    let filter = RunFilter {
        employee,
        status,
        conversation_key: query.conversation_key,
        source: query.source,
    };
    let found = run_list(&mut tx, &filter, &request).await?;
    Ok(Stale(replica, Json(found.map(RunItem::from))))
}

/// A list in which nothing can be.
pub fn empty<T>() -> Page<T> {
    Page {
        items: Vec::new(),
        next: None,
    }
}

pub async fn show(
    State(api): State<ApiState>,
    caller: Caller,
    Path(run): Path<String>,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<RunView>> {
    Ok(Json(read(&api, caller, text::id("run", &run)?).await?))
}

/// A step, and where its call to the outside stands if it waits for its turn.
#[derive(Serialize)]
pub struct StepLook {
    #[serde(flatten)]
    step: StepView,
    #[serde(skip_serializing_if = "Option::is_none")]
    turn: Option<WaitingCall>,
}

/// The calls of a run that wait for their turn at a connection.
async fn turns(api: &ApiState, run: &Inspected) -> Vec<WaitingCall> {
    match run.row.status.is_finished() {
        true => Vec::new(),
        false => {
            let core = api.core();
            let at = core.node_of(run.row.employee_id);
            core.connectors().waiting_of_run(at, run.row.id).await
        }
    }
}

/// What a run waits for, with the calls that wait for their turn, as entries of the kind `turn`.
fn with_turns(waiting_on: &mut Value, steps: &[StepView], turns: Vec<WaitingCall>) {
    let Value::Array(entries) = waiting_on else {
        return;
    };
    for turn in turns {
        let Some(step) = steps.iter().find(|step| step.step == turn.step) else {
            continue;
        };
        let (place, wait) = (turn.place, seconds(turn.estimate_ms));
        let before = match place {
            0 => "it is the next".to_owned(),
            1 => "1 call leaves before it".to_owned(),
            more => format!("{more} calls leave before it"),
        };
        let detail = format!(
            "{} waits for {}; {before}, about {wait}",
            turn.capability, turn.reason
        );
        entries.push(json!({
            "kind": "turn", "step": step.step, "skill": step.skill, "node": step.node, "on": turn.capability,
            "since": step.started_at, "until": null, "place": place, "estimate_ms": turn.estimate_ms, "detail": detail,
        }));
    }
}

fn seconds(millis: u64) -> String {
    match millis.div_ceil(1_000) {
        long if long >= 120 => format!("{} min", long.div_ceil(60)),
        short => format!("{short} s"),
    }
}

/// The steps of micro-agents, in the order in which they started.
pub async fn steps(
    State(api): State<ApiState>,
    caller: Caller,
    Path(run): Path<String>,
    Query(query): Query<PageQuery>,
) -> ApiResult<Json<Page<StepLook>>> {
    let request = query.request()?;
    let from = number_after(query.after.as_deref())? as usize;
    let run = inspected(&api, caller, text::id("run", &run)?).await?;
    let mut turns = turns(&api, &run).await;
    let steps = run.machine.steps().into_iter().map(|step| {
        let turn = turns.iter().position(|turn| turn.step == step.step);
        StepLook {
            turn: turn.map(|place| turns.swap_remove(place)),
            step,
        }
    });
    let steps: Vec<StepLook> = steps.collect();
    let end = steps.len().min(from + request.limit() as usize);
    let next = (end < steps.len()).then(|| number_cursor(end as u32));
    let items = steps.into_iter().skip(from).take(request.limit() as usize);
    Ok(Json(Page {
        items: items.collect(),
        next,
    }))
}

#[derive(Serialize)]
pub struct JournalEntry {
    seq: u32,
    fact: Box<RawValue>,
}

/// The facts of the journal, as they are stored; their times are microseconds.
pub async fn journal(
    State(api): State<ApiState>,
    caller: Caller,
    Path(run): Path<String>,
    Query(query): Query<PageQuery>,
) -> ApiResult<Json<Page<JournalEntry>>> {
    let request = query.request()?;
    let from = number_after(query.after.as_deref())?;
    let execution: ExecutionId = text::id("run", &run)?;
    let mut tx = api.db().begin_read(caller.org).await?;
    existing(&mut tx, execution, &run).await?;
    let limit = request.limit();
    let mut facts = run_journal(&mut tx, execution, from, limit + 1).await?;
    let more = facts.len() > limit as usize;
    facts.truncate(limit as usize);
    let next = facts
        .last()
        .filter(|_| more)
        .map(|fact| number_cursor(fact.seq + 1));
    let items = facts
        .into_iter()
        .map(|fact| {
            let json = RawValue::from_string(fact.json.into()).map_err(ApiError::internal)?;
            Ok(JournalEntry {
                seq: fact.seq,
                fact: json,
            })
        })
        .collect::<ApiResult<_>>()?;
    Ok(Json(Page { items, next }))
}

pub async fn effects(
    State(api): State<ApiState>,
    caller: Caller,
    Path(run): Path<String>,
    Query(query): Query<PageQuery>,
) -> ApiResult<Json<Page<super::effects::EffectView>>> {
    let request = query.request()?;
    let execution: ExecutionId = text::id("run", &run)?;
    let mut tx = api.db().begin_read(caller.org).await?;
    existing(&mut tx, execution, &run).await?;
    let filter = EffectFilter {
        run: Some(execution),
        ..EffectFilter::default()
    };
    let found = effect_list(&mut tx, &filter, &request).await?;
    Ok(Json(found.map(Into::into)))
}

/// # Errors
/// `not_found`.
pub async fn existing(
    tx: &mut crate::persistence::Tx,
    execution: ExecutionId,
    text: &str,
) -> ApiResult<RunRow> {
    run_get(tx, execution)
        .await?
        .ok_or_else(|| ApiError::not_found("run", text))
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelBody {
    /// For people, shown with the run.
    reason: Option<String>,
}

/// Stops a run with everything below it; answered when that is durable.
pub async fn cancel(
    State(api): State<ApiState>,
    caller: Caller,
    Path(run): Path<String>,
    OptionalJson(body): OptionalJson<CancelBody>,
) -> ApiResult<Json<RunView>> {
    text::short_if("reason", body.reason.as_deref(), 1_000)?;
    let execution: ExecutionId = text::id("run", &run)?;
    let mut tx = api.db().begin_read(caller.org).await?;
    let row = existing(&mut tx, execution, &run).await?;
    drop(tx);
    let cancelling = api.engine().cancel(
        caller.org,
        row.employee_id,
        execution,
        caller.by(),
        body.reason,
    );
    api.bounded(cancelling).await??;
    Ok(Json(read(&api, caller, execution).await?))
}

/// Cursors of lists that are counted: the number of the next item.
fn number_cursor(number: u32) -> String {
    cursor(&number.to_be_bytes())
}

fn number_after(after: Option<&str>) -> ApiResult<u32> {
    let Some(text) = after else { return Ok(0) };
    <[u8; 4]>::try_from(cursor_key(text)?)
        .map(u32::from_be_bytes)
        .map_err(|_| crate::persistence::DbError::Cursor.into())
}
