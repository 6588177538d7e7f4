//! `/v1/calendars`: which days the org works. Schedules go by them when they name one.

use super::{
    ApiState,
    auth::Caller,
    body::JsonOrYaml,
    error::{ApiError, ApiResult, Problem},
    query::{NoQuery, Query},
    text::Path,
};
use crate::{
    actors::staff::{StaffError, calendar},
    domain::{
        Timestamp,
        recurrence::{WeekDay, WorkingCalendar},
    },
    persistence::{CalendarRow, DbError, Page, calendar_get, calendar_list},
};
use axum::{Json, extract::State, http::StatusCode};
use chrono::NaiveDate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Serialize)]
pub struct CalendarView {
    name: String,
    #[serde(flatten)]
    calendar: WorkingCalendar,
    updated_at: Timestamp,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CalendarBody {
    /// The days of the week that are worked, `mon` to `sun`; absent: Monday to Friday.
    #[schemars(with = "Option<Vec<String>>")]
    week: Option<BTreeSet<WeekDay>>,
    /// Days off by date, each with its name: `{"2027-01-01": "New Year's Day"}`.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    holidays: Option<BTreeMap<NaiveDate, String>>,
}

fn view(row: CalendarRow) -> ApiResult<CalendarView> {
    Ok(CalendarView {
        calendar: serde_json::from_str(&row.body).map_err(ApiError::internal)?,
        name: row.name,
        updated_at: row.updated,
    })
}

pub async fn list(
    State(api): State<ApiState>,
    caller: Caller,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<Page<CalendarView>>> {
    let mut tx = api.db().begin_read(caller.org).await?;
    let rows = calendar_list(&mut tx).await?;
    Ok(Json(Page {
        items: rows.into_iter().map(view).collect::<ApiResult<_>>()?,
        next: None,
    }))
}

pub async fn show(
    State(api): State<ApiState>,
    caller: Caller,
    Path(name): Path<String>,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<CalendarView>> {
    let mut tx = api.db().begin_read(caller.org).await?;
    let row = calendar_get(&mut tx, &name).await?;
    view(row.ok_or_else(|| ApiError::not_found("calendar", &name))?).map(Json)
}

pub async fn put(
    State(api): State<ApiState>,
    caller: Caller,
    Path(name): Path<String>,
    JsonOrYaml(body): JsonOrYaml<CalendarBody>,
) -> ApiResult<Json<CalendarView>> {
    let calendar = WorkingCalendar {
        week: body.week.unwrap_or_else(|| WorkingCalendar::default().week),
        holidays: body.holidays.unwrap_or_default(),
    };
    let row = calendar::put(api.engine(), caller.org, &name, &calendar).await?;
    view(row).map(Json)
}

pub async fn delete(
    State(api): State<ApiState>,
    caller: Caller,
    Path(name): Path<String>,
) -> ApiResult<StatusCode> {
    match calendar::delete(api.engine(), caller.org, &name).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(StaffError::Db(DbError::NotFound(_))) => Err(ApiError::not_found("calendar", &name)),
        Err(StaffError::Field { message, .. }) => Err(ApiError::new(
            Problem::InvalidField,
            format!("calendar `{name}` {message}"),
        )
        .at("name")),
        Err(error) => Err(error.into()),
    }
}
