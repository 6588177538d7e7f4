//! `/v1/employees/{id}/graph`: the graphs of an employee and their versions.

use super::{
    ApiState,
    auth::Caller,
    body::JsonOrYaml,
    error::{ApiError, ApiResult},
    query::{NoQuery, Query},
    text::{Path, employee},
};
use crate::{
    actors::{
        staff::{self, StaffError},
        versions::Compiled,
    },
    domain::{Concurrency, EmployeeId, EmployeeSpec, ScheduleSpec, SubscriptionSpec, Timestamp},
    persistence::{Page, employee_version_get, employee_versions},
};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

#[derive(Serialize)]
pub struct GraphView {
    employee_id: EmployeeId,
    version: i32,
    #[serde(flatten)]
    spec: Arc<EmployeeSpec>,
    created_at: Timestamp,
    created_by: String,
}

/// What is absent stays as it is in the version before.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GraphBody {
    /// The employee graph.
    graph: Value,
    /// All skill graphs that it names, by `graph_id`.
    skill_graphs: BTreeMap<String, Value>,
    #[schemars(with = "Option<Vec<Value>>")]
    schedules: Option<Vec<ScheduleSpec>>,
    #[schemars(with = "Option<Vec<Value>>")]
    subscriptions: Option<Vec<SubscriptionSpec>>,
    #[schemars(with = "Option<Value>")]
    concurrency: Option<Concurrency>,
    /// IANA name of the zone in which the employee works; absent: as before.
    time_zone: Option<String>,
    /// Only if this is the version now; the header `If-Match: "3"` says the same.
    expected_version: Option<i32>,
}

pub async fn show(
    State(api): State<ApiState>,
    caller: Caller,
    Path(who): Path<String>,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<([(header::HeaderName, String); 1], Json<GraphView>)> {
    let mut tx = api.db().begin_read(caller.org).await?;
    let row = employee(&mut tx, &who).await?;
    drop(tx);
    let view = read(&api, caller, row.id, row.version).await?;
    Ok(([(header::ETAG, format!("\"{}\"", row.version))], Json(view)))
}

async fn read(
    api: &ApiState,
    caller: Caller,
    employee: EmployeeId,
    version: i32,
) -> ApiResult<GraphView> {
    let missing = || ApiError::not_found("version", &version.to_string());
    let mut tx = api.db().begin_read(caller.org).await?;
    let row = employee_version_get(&mut tx, employee, version)
        .await?
        .ok_or_else(missing)?;
    drop(tx);
    let Compiled { spec, .. } =
        match staff::spec_of(api.engine(), caller.org, employee, version).await {
            Err(StaffError::NotFound) => return Err(missing()),
            other => other?,
        };
    Ok(GraphView {
        employee_id: employee,
        version,
        spec,
        created_at: row.created,
        created_by: row.created_by,
    })
}

pub async fn replace(
    State(api): State<ApiState>,
    caller: Caller,
    Path(who): Path<String>,
    headers: HeaderMap,
    JsonOrYaml(body): JsonOrYaml<GraphBody>,
) -> ApiResult<Json<GraphView>> {
    let expected = if_match(&headers)?.or(body.expected_version);
    let mut tx = api.db().begin_read(caller.org).await?;
    let row = employee(&mut tx, &who).await?;
    drop(tx);
    let before = staff::spec_of(api.engine(), caller.org, row.id, row.version).await?;
    let before = EmployeeSpec::clone(&before.spec);
    let spec = EmployeeSpec {
        graph: body.graph,
        skill_graphs: body.skill_graphs,
        schedules: body.schedules.unwrap_or(before.schedules),
        subscriptions: body.subscriptions.unwrap_or(before.subscriptions),
        concurrency: body.concurrency.unwrap_or(before.concurrency),
        job_description: before.job_description,
        time_zone: body.time_zone.or(before.time_zone),
    };
    // What is taken over from a version must be taken over from the version before this one.
    let expected = expected.or(Some(row.version));
    let by = caller.by();
    let version = staff::new_version(api.engine(), caller.org, &by, row.id, spec, expected).await?;
    Ok(Json(read(&api, caller, row.id, version).await?))
}

/// The version that `If-Match` names.
fn if_match(headers: &HeaderMap) -> ApiResult<Option<i32>> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let number = text.trim_matches('"').parse();
    number.map(Some).map_err(|_| {
        ApiError::parameter(
            "If-Match",
            "the header `If-Match` must be a version in quotes, such as \"3\"",
        )
    })
}

#[derive(Serialize)]
pub struct VersionView {
    version: i32,
    spec_hash: String,
    created_at: Timestamp,
    created_by: String,
}

pub async fn versions(
    State(api): State<ApiState>,
    caller: Caller,
    Path(who): Path<String>,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<Page<VersionView>>> {
    let mut tx = api.db().begin_read(caller.org).await?;
    let row = employee(&mut tx, &who).await?;
    let rows = employee_versions(&mut tx, row.id).await?;
    let items = rows
        .into_iter()
        .map(|row| VersionView {
            version: row.version,
            spec_hash: row.spec_hash.to_string(),
            created_at: row.created,
            created_by: row.created_by,
        })
        .collect();
    Ok(Json(Page { items, next: None }))
}

pub async fn version(
    State(api): State<ApiState>,
    caller: Caller,
    Path((who, version)): Path<(String, String)>,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<GraphView>> {
    let number = super::text::id("version", &version)?;
    let mut tx = api.db().begin_read(caller.org).await?;
    let row = employee(&mut tx, &who).await?;
    drop(tx);
    Ok(Json(read(&api, caller, row.id, number).await?))
}
