//! `/v1/employees`: hire, list, show, dismiss, hold and release.

use super::{
    ApiState,
    auth::Caller,
    body::JsonOrYaml,
    error::{ApiError, ApiResult},
    query::{NoQuery, Query, page, word},
    text::{Path, employee},
};
use crate::{
    actors::staff::{self, HireRequest, Hired, StaffError},
    domain::{Concurrency, EmployeeId, EmployeeSpec, ScheduleSpec, SubscriptionSpec, Timestamp},
    hire::{JobDescription, MissingConnection, NotUnderstood, Understood},
    persistence::{EmployeeRow, EmployeeStatus, Page, employee_find, employee_list},
};
use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

/// Either `job_description` or `graph` and what belongs to it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HireBody {
    /// Needed with `graph`; with `job_description` it goes before the name that the text says.
    name: Option<String>,
    /// What the employee is to do, in words.
    job_description: Option<String>,
    /// IANA name of the zone in which the employee works: for times that the job description gives without a zone, and for what is
    /// "today" in its runs. Absent: that of its schedules if they agree, else the org's, else UTC.
    time_zone: Option<String>,
    /// The employee graph.
    graph: Option<Value>,
    /// The skill graphs that it names, by `graph_id`.
    skill_graphs: Option<BTreeMap<String, Value>>,
    #[schemars(with = "Option<Vec<Value>>")]
    schedules: Option<Vec<ScheduleSpec>>,
    #[schemars(with = "Option<Vec<Value>>")]
    subscriptions: Option<Vec<SubscriptionSpec>>,
    #[schemars(with = "Option<Value>")]
    concurrency: Option<Concurrency>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HireQuery {
    /// Show what would be hired and store nothing.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Serialize)]
struct HiredView {
    id: Option<EmployeeId>,
    name: String,
    version: i32,
    status: &'static str,
    graph: Value,
    skill_graphs: BTreeMap<String, Value>,
    schedules: Vec<ScheduleSpec>,
    subscriptions: Vec<SubscriptionSpec>,
    concurrency: Concurrency,
    understood: Vec<Understood>,
    not_understood: Vec<NotUnderstood>,
    missing_connections: Vec<MissingConnection>,
    time_zone: Option<String>,
    /// The next five due times of each schedule, by its name.
    next: BTreeMap<String, Vec<Timestamp>>,
}

impl From<Hired> for HiredView {
    fn from(hired: Hired) -> Self {
        let status = if hired.id.is_some() {
            "active"
        } else {
            "dry_run"
        };
        Self {
            id: hired.id,
            name: hired.name,
            version: hired.version,
            status,
            graph: hired.spec.graph,
            skill_graphs: hired.spec.skill_graphs,
            schedules: hired.spec.schedules,
            subscriptions: hired.spec.subscriptions,
            concurrency: hired.spec.concurrency,
            understood: hired.understood,
            not_understood: hired.not_understood,
            missing_connections: hired.missing_connections,
            time_zone: hired.spec.time_zone,
            next: hired.next,
        }
    }
}

pub async fn hire(
    State(api): State<ApiState>,
    caller: Caller,
    Query(query): Query<HireQuery>,
    JsonOrYaml(body): JsonOrYaml<HireBody>,
) -> ApiResult<Response> {
    let request = body.request()?;
    let (by, org) = (caller.by(), caller.org);
    let hired = staff::hire(
        api.engine(),
        api.planner(),
        org,
        &by,
        request,
        query.dry_run,
    )
    .await?;
    let Some(id) = hired.id else {
        return Ok(Json(HiredView::from(hired)).into_response());
    };
    let location = [(header::LOCATION, format!("/v1/employees/{id}"))];
    Ok((StatusCode::CREATED, location, Json(HiredView::from(hired))).into_response())
}

impl HireBody {
    fn request(self) -> ApiResult<HireRequest> {
        match (self.job_description, self.graph) {
            (Some(_), Some(_)) => Err(ApiError::field(
                "graph",
                "give `job_description` or `graph`, not both",
            )),
            (None, None) => Err(ApiError::field(
                "job_description",
                "give `job_description`, or `name` and `graph`",
            )),
            (Some(text), None) => {
                let graph_fields = [
                    ("skill_graphs", self.skill_graphs.is_some()),
                    ("schedules", self.schedules.is_some()),
                    ("subscriptions", self.subscriptions.is_some()),
                    ("concurrency", self.concurrency.is_some()),
                ];
                if let Some((field, _)) = graph_fields.into_iter().find(|(_, given)| *given) {
                    return Err(ApiError::field(
                        field,
                        format!(
                            "`{field}` belongs to `graph`; a job description says these things itself"
                        ),
                    ));
                }
                Ok(HireRequest::Description(JobDescription {
                    name: self.name,
                    text,
                    time_zone: self.time_zone,
                }))
            }
            (None, Some(graph)) => {
                let name = self
                    .name
                    .ok_or_else(|| ApiError::field("name", "`name` is needed with `graph`"))?;
                Ok(HireRequest::Graphs {
                    name,
                    spec: EmployeeSpec {
                        graph,
                        skill_graphs: self.skill_graphs.unwrap_or_default(),
                        schedules: self.schedules.unwrap_or_default(),
                        subscriptions: self.subscriptions.unwrap_or_default(),
                        concurrency: self.concurrency.unwrap_or_default(),
                        job_description: None,
                        time_zone: self.time_zone,
                    },
                })
            }
        }
    }
}

#[derive(Serialize)]
pub struct EmployeeView {
    id: EmployeeId,
    name: String,
    version: i32,
    status: EmployeeStatus,
    /// Whether it is in memory at the moment.
    awake: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
}

async fn view(api: &ApiState, row: EmployeeRow) -> EmployeeView {
    let awake = api.core().awake_of(&[row.id]).await;
    shown(&awake, row)
}

fn shown(awake: &HashSet<EmployeeId>, row: EmployeeRow) -> EmployeeView {
    EmployeeView {
        awake: awake.contains(&row.id),
        id: row.id,
        name: row.name,
        version: row.version,
        status: row.status,
        created_at: row.created,
        updated_at: row.updated,
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// Exactly this name.
    name: Option<String>,
    /// `active`, `quarantined` or `dismissed`; absent: all that are not dismissed.
    status: Option<String>,
    limit: Option<u32>,
    after: Option<String>,
}

pub async fn list(
    State(api): State<ApiState>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<Page<EmployeeView>>> {
    let request = page(query.limit, query.after.as_deref())?;
    let words: Vec<&str> = EmployeeStatus::ALL.iter().map(|one| one.name()).collect();
    let status = word(
        "status",
        query.status.as_deref(),
        EmployeeStatus::parse,
        &words,
    )?;
    let mut tx = api.db().begin_read(caller.org).await?;
    let found = match &query.name {
        Some(name) => Page {
            items: employee_find(&mut tx, name)
                .await?
                .into_iter()
                .filter(|row| status.is_none_or(|status| row.status == status))
                .collect(),
            next: None,
        },
        None => employee_list(&mut tx, status, &request).await?,
    };
    drop(tx);
    let ids: Vec<EmployeeId> = found.items.iter().map(|row| row.id).collect();
    let awake = api.core().awake_of(&ids).await;
    Ok(Json(found.map(|row| shown(&awake, row))))
}

#[derive(Serialize)]
pub struct EmployeeDetail {
    #[serde(flatten)]
    employee: EmployeeView,
    graph: Value,
    skill_graphs: BTreeMap<String, Value>,
    schedules: Vec<ScheduleSpec>,
    subscriptions: Vec<SubscriptionSpec>,
    concurrency: Concurrency,
    job_description: Option<String>,
    time_zone: Option<String>,
}

pub async fn show(
    State(api): State<ApiState>,
    caller: Caller,
    Path(who): Path<String>,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<EmployeeDetail>> {
    let mut tx = api.db().begin_read(caller.org).await?;
    let row = employee(&mut tx, &who).await?;
    drop(tx);
    let compiled = staff::spec_of(api.engine(), caller.org, row.id, row.version).await?;
    let spec = EmployeeSpec::clone(&compiled.spec);
    Ok(Json(EmployeeDetail {
        employee: view(&api, row).await,
        graph: spec.graph,
        skill_graphs: spec.skill_graphs,
        schedules: spec.schedules,
        subscriptions: spec.subscriptions,
        concurrency: spec.concurrency,
        job_description: spec.job_description,
        time_zone: spec.time_zone,
    }))
}

pub async fn dismiss(
    state: State<ApiState>,
    caller: Caller,
    path: Path<String>,
) -> ApiResult<Json<EmployeeView>> {
    set_status(state, caller, path, EmployeeStatus::Dismissed).await
}

pub async fn hold(
    state: State<ApiState>,
    caller: Caller,
    path: Path<String>,
) -> ApiResult<Json<EmployeeView>> {
    set_status(state, caller, path, EmployeeStatus::Quarantined).await
}

pub async fn release(
    state: State<ApiState>,
    caller: Caller,
    path: Path<String>,
) -> ApiResult<Json<EmployeeView>> {
    set_status(state, caller, path, EmployeeStatus::Active).await
}

async fn set_status(
    State(api): State<ApiState>,
    caller: Caller,
    Path(who): Path<String>,
    status: EmployeeStatus,
) -> ApiResult<Json<EmployeeView>> {
    let id = super::text::employee_id(&api, caller.org, &who).await?;
    let row = staff::set_status(api.engine(), caller.org, id, status)
        .await
        .map_err(|error| named(error, &who))?;
    Ok(Json(view(&api, row).await))
}

/// The error with what the client called the employee.
fn named(error: StaffError, who: &str) -> ApiError {
    match error {
        StaffError::NotFound => ApiError::not_found("employee", who),
        error => error.into(),
    }
}
