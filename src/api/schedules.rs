//! `/v1/schedules`: recurring triggers and the account of every time that one was due.

use super::{
    ApiState,
    auth::Caller,
    error::{ApiError, ApiResult},
    query::{NoQuery, PageQuery, Query, cursor, cursor_key, page},
    runs::empty,
    text::{self, Path},
};
use crate::{
    actors::{
        schedules::{recurrence_of, spec_of},
        staff::SHOWN,
    },
    domain::{
        EmployeeId, ExecutionId, Misfire, Overlap, ScheduleId, Timestamp,
        recurrence::RecurrenceSpec,
    },
    persistence::{
        DbError, FireOutcome, Page, ScheduleRow, ScheduleStatus, Tx, schedule_fires, schedule_get,
        schedule_list, schedule_set_status,
    },
};
use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Serialize)]
pub struct ScheduleView {
    id: ScheduleId,
    employee_id: EmployeeId,
    name: String,
    /// `cron`, `every`, `rrule` or `working_day`, and what narrows it.
    #[serde(flatten)]
    recurrence: RecurrenceSpec,
    time_zone: String,
    overlap: Overlap,
    misfire: Misfire,
    payload: Value,
    status: ScheduleStatus,
    next_due_at: Option<Timestamp>,
    /// The next five due times, the first of them `next_due_at`; none while it is paused.
    next: Vec<Timestamp>,
    /// When it is tried again, if it was due and could not be fired.
    retry_at: Option<Timestamp>,
    last_due_at: Option<Timestamp>,
    last_execution_id: Option<ExecutionId>,
}

/// # Errors
/// The schedule cannot be read, or the database does not answer.
async fn view(tx: &mut Tx, row: ScheduleRow) -> ApiResult<ScheduleView> {
    let recurrence = spec_of(&row).map_err(ApiError::internal)?;
    let next = match (row.status, row.next_due) {
        (ScheduleStatus::Active, Some(due)) => match recurrence_of(tx, &row).await {
            Ok(recurrence) => {
                let times = recurrence.upcoming(due, SHOWN - 1);
                std::iter::once(due).chain(times).collect()
            }
            // It is shown as it is; why it is not fired stands in the log.
            Err(error) => {
                tracing::warn!(schedule = %row.id, %error, "schedule cannot be looked ahead");
                vec![due]
            }
        },
        _ => Vec::new(),
    };
    Ok(ScheduleView::new(row, recurrence, next))
}

impl ScheduleView {
    fn new(row: ScheduleRow, recurrence: RecurrenceSpec, next: Vec<Timestamp>) -> Self {
        Self {
            id: row.id,
            employee_id: row.employee_id,
            name: row.name,
            recurrence,
            time_zone: row.time_zone,
            overlap: row.overlap,
            misfire: row.misfire,
            payload: text::json(Some(&row.payload)),
            status: row.status,
            next_due_at: row.next_due,
            next,
            retry_at: row.retry,
            last_due_at: row.last_due,
            last_execution_id: row.last_run_id,
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// Id or name.
    employee_id: Option<String>,
    limit: Option<u32>,
    after: Option<String>,
}

pub async fn list(
    State(api): State<ApiState>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<Page<ScheduleView>>> {
    let request = page(query.limit, query.after.as_deref())?;
    let mut tx = api.db().begin_read(caller.org).await?;
    let Some(employee) = text::employee_filter(&mut tx, query.employee_id.as_deref()).await? else {
        return Ok(Json(empty()));
    };
    let found = schedule_list(&mut tx, employee, &request).await?;
    let mut items = Vec::with_capacity(found.items.len());
    for row in found.items {
        items.push(view(&mut tx, row).await?);
    }
    Ok(Json(Page {
        items,
        next: found.next,
    }))
}

pub async fn show(
    State(api): State<ApiState>,
    caller: Caller,
    Path(schedule): Path<String>,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<ScheduleView>> {
    shown(&api, &caller, &schedule).await
}

async fn shown(api: &ApiState, caller: &Caller, text: &str) -> ApiResult<Json<ScheduleView>> {
    let row = read(api, caller, text).await?;
    let mut tx = api.db().begin_read(caller.org).await?;
    view(&mut tx, row).await.map(Json)
}

async fn read(api: &ApiState, caller: &Caller, text: &str) -> ApiResult<ScheduleRow> {
    let id: ScheduleId = text::id("schedule", text)?;
    let mut tx = api.db().begin_read(caller.org).await?;
    schedule_get(&mut tx, id)
        .await?
        .ok_or_else(|| ApiError::not_found("schedule", text))
}

pub async fn pause(
    state: State<ApiState>,
    caller: Caller,
    path: Path<String>,
) -> ApiResult<Json<ScheduleView>> {
    set_status(state, caller, path, ScheduleStatus::Paused).await
}

/// Times that passed during the pause are not made up for.
pub async fn resume(
    state: State<ApiState>,
    caller: Caller,
    path: Path<String>,
) -> ApiResult<Json<ScheduleView>> {
    set_status(state, caller, path, ScheduleStatus::Active).await
}

async fn set_status(
    State(api): State<ApiState>,
    caller: Caller,
    Path(schedule): Path<String>,
    status: ScheduleStatus,
) -> ApiResult<Json<ScheduleView>> {
    let row = read(&api, &caller, &schedule).await?;
    // One that is active already keeps what is due, or a time could fall between two answers.
    if row.status != status {
        let next = match status {
            ScheduleStatus::Paused => None,
            ScheduleStatus::Active => {
                let mut tx = api.db().begin_read(caller.org).await?;
                let recurrence = recurrence_of(&mut tx, &row).await;
                let recurrence = recurrence.map_err(ApiError::internal)?;
                recurrence.next_after(api.engine().now())
            }
        };
        let mut tx = api.db().begin(caller.org).await?;
        schedule_set_status(&mut tx, row.id, status, next).await?;
        tx.commit().await?;
    }
    shown(&api, &caller, &schedule).await
}

#[derive(Serialize)]
pub struct FireView {
    due_at: Timestamp,
    /// How many due times it stands for, from `due_at` on: more than one only for what a long outage left behind.
    times: i64,
    outcome: FireOutcome,
    execution_id: Option<ExecutionId>,
    accounted_at: Timestamp,
}

/// The latest first.
pub async fn fires(
    State(api): State<ApiState>,
    caller: Caller,
    Path(schedule): Path<String>,
    Query(query): Query<PageQuery>,
) -> ApiResult<Json<Page<FireView>>> {
    let limit = page(query.limit, None)?.limit();
    let before = query.after.as_deref().map(time_of).transpose()?;
    let row = read(&api, &caller, &schedule).await?;
    let mut tx = api.db().begin_read(caller.org).await?;
    let mut rows = schedule_fires(&mut tx, row.id, before, limit + 1).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|row| cursor(&row.due.micros().to_be_bytes()));
    let items = rows
        .into_iter()
        .map(|row| FireView {
            due_at: row.due,
            times: row.times,
            outcome: row.outcome,
            execution_id: row.run_id,
            accounted_at: row.at,
        })
        .collect();
    Ok(Json(Page { items, next }))
}

fn time_of(cursor: &str) -> ApiResult<Timestamp> {
    <[u8; 8]>::try_from(cursor_key(cursor)?)
        .map(|bytes| Timestamp::from_micros(i64::from_be_bytes(bytes)))
        .map_err(|_| DbError::Cursor.into())
}
