//! `/v1/memory`: what employees know. A value is in the layer of an employee, of one of its skills, or of the org.

use super::{
    ApiState,
    auth::Caller,
    body::Json as JsonBody,
    error::{ApiError, ApiResult},
    query::{Query, page, word},
    runs::empty,
    text::{self, Path},
};
use crate::{
    actors::cluster::words::News,
    domain::{EmployeeId, ExecutionId, MemoryLayer, MemoryWrite, Timestamp},
    graph::spec::is_id,
    persistence::{
        MemoryChange, MemoryOwner, MemoryRow, Page, Tx, memory_history, memory_list, memory_put,
    },
};
use axum::{Json, extract::State, http::StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const LAYERS: [&str; 3] = ["employee", "skill", "org"];
const KEY_MAX: usize = 200;

#[derive(Serialize)]
pub struct MemoryView {
    layer: MemoryLayer,
    employee_id: Option<EmployeeId>,
    skill: Option<String>,
    key: String,
    value: Value,
    /// Counts the writes of this key from 1.
    version: i64,
    /// Who wrote it: `run:…`, `api:key_…`, `undo:…`.
    source: String,
    execution_id: Option<ExecutionId>,
    step: Option<String>,
    written_at: Timestamp,
}

impl From<MemoryRow> for MemoryView {
    fn from(row: MemoryRow) -> Self {
        let owner = row.owner.split('/').next().unwrap_or_default();
        Self {
            employee_id: owner.parse().ok(),
            skill: MemoryOwner::skill_of(&row.owner).map(str::to_owned),
            layer: row.layer,
            key: row.key,
            value: text::json(row.value.as_deref()),
            version: row.version,
            source: row.source,
            execution_id: row.run_id,
            step: row.step,
            written_at: row.at,
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// `employee`, `skill` or `org`; absent: all that the org knows.
    layer: Option<String>,
    /// Id or name; needed for the layers `employee` and `skill`.
    employee_id: Option<String>,
    /// Id of the skill node; needed for the layer `skill`.
    skill: Option<String>,
    limit: Option<u32>,
    after: Option<String>,
}

pub async fn list(
    State(api): State<ApiState>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<Page<MemoryView>>> {
    let request = page(query.limit, query.after.as_deref())?;
    let layer = word("layer", query.layer.as_deref(), MemoryLayer::parse, &LAYERS)?;
    // An employee without a layer means its own.
    let implied = match (&query.employee_id, &query.skill) {
        (Some(_), Some(_)) => Some(MemoryLayer::Skill),
        (Some(_), None) => Some(MemoryLayer::Employee),
        (None, Some(_)) => {
            return Err(ApiError::parameter(
                "employee_id",
                "`skill` needs `employee_id`",
            ));
        }
        (None, None) => None,
    };
    let mut tx = api.db().begin_read(caller.org).await?;
    let place = match layer.or(implied) {
        None => None,
        Some(layer) => {
            let filters = (query.employee_id.as_deref(), query.skill.as_deref());
            match place(&mut tx, layer, filters).await? {
                Some(place) => Some(place.owner),
                None => return Ok(Json(empty())),
            }
        }
    };
    let found = memory_list(&mut tx, place.as_ref(), &request).await?;
    Ok(Json(found.map(MemoryView::from)))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnerQuery {
    /// Id or name; for the layers `employee` and `skill`.
    employee_id: Option<String>,
    /// Id of the skill node; for the layer `skill`.
    skill: Option<String>,
}

/// Where a value is kept, and which employee it belongs to.
struct Place {
    owner: MemoryOwner,
    employee: Option<EmployeeId>,
    skill: Option<String>,
}

/// `None` if there is no such employee.
async fn place(
    tx: &mut Tx,
    layer: MemoryLayer,
    (employee, skill): (Option<&str>, Option<&str>),
) -> ApiResult<Option<Place>> {
    let needed = |name: &str| {
        ApiError::parameter(name, format!("the layer {} needs `{name}`", layer.name()))
    };
    let superfluous = |name: &str| {
        ApiError::parameter(name, format!("the layer {} has no `{name}`", layer.name()))
    };
    if layer == MemoryLayer::Org {
        return match (employee, skill) {
            (None, None) => Ok(Some(Place {
                owner: MemoryOwner::org(),
                employee: None,
                skill: None,
            })),
            (Some(_), _) => Err(superfluous("employee_id")),
            (None, Some(_)) => Err(superfluous("skill")),
        };
    }
    let who = employee.ok_or_else(|| needed("employee_id"))?;
    let owner = match (layer, skill) {
        (MemoryLayer::Skill, None) => return Err(needed("skill")),
        (MemoryLayer::Employee, Some(_)) => return Err(superfluous("skill")),
        (_, skill) => skill,
    };
    if owner.is_some_and(|skill| !is_id(skill)) {
        return Err(ApiError::parameter(
            "skill",
            "`skill` must be the id of a skill node",
        ));
    }
    let id = match text::employee(tx, who).await {
        Ok(row) => row.id,
        Err(error) if error.problem() == super::error::Problem::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(Place {
        owner: owner.map_or_else(
            || MemoryOwner::employee(id),
            |skill| MemoryOwner::skill(id, skill),
        ),
        employee: Some(id),
        skill: owner.map(str::to_owned),
    }))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValueBody {
    /// Anything but null; to forget a key, delete it.
    value: Value,
}

pub async fn put(
    State(api): State<ApiState>,
    caller: Caller,
    Path((layer, key)): Path<(String, String)>,
    Query(query): Query<OwnerQuery>,
    JsonBody(body): JsonBody<ValueBody>,
) -> ApiResult<Json<MemoryView>> {
    if body.value.is_null() {
        return Err(ApiError::field(
            "value",
            "`value` must not be null; DELETE forgets a key",
        ));
    }
    let view = write(&api, caller, (&layer, &key), &query, body.value).await?;
    Ok(Json(view))
}

pub async fn delete(
    State(api): State<ApiState>,
    caller: Caller,
    Path((layer, key)): Path<(String, String)>,
    Query(query): Query<OwnerQuery>,
) -> ApiResult<StatusCode> {
    write(&api, caller, (&layer, &key), &query, Value::Null).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Writes, and tells whoever is awake; null forgets.
async fn write(
    api: &ApiState,
    caller: Caller,
    (layer, key): (&str, &str),
    query: &OwnerQuery,
    value: Value,
) -> ApiResult<MemoryView> {
    let layer = MemoryLayer::parse(layer).ok_or_else(|| ApiError::not_found("layer", layer))?;
    text::short("key", key, KEY_MAX)?;
    let mut tx = api.db().begin(caller.org).await?;
    let filters = (query.employee_id.as_deref(), query.skill.as_deref());
    let Some(place) = place(&mut tx, layer, filters).await? else {
        let who = query.employee_id.as_deref().unwrap_or_default();
        return Err(ApiError::not_found("employee", who));
    };
    let change = MemoryChange {
        place: place.owner.clone(),
        key: key.to_owned(),
        value: (!value.is_null()).then(|| value.to_string()),
        run: None,
        step: None,
        source: caller.by(),
        at: api.engine().now(),
    };
    memory_put(&mut tx, &change).await?;
    let replaced = memory_history(&mut tx, &change.place, key, 1).await?;
    tx.commit().await?;
    let view = MemoryView {
        layer,
        employee_id: place.employee,
        skill: place.skill.clone(),
        key: change.key,
        value: value.clone(),
        version: replaced.first().map_or(1, |row| row.version + 1),
        source: change.source,
        execution_id: None,
        step: None,
        written_at: change.at,
    };
    let writes = vec![MemoryWrite {
        layer,
        key: key.to_owned(),
        value,
    }];
    match place.employee {
        Some(employee) => {
            let news = News::Memory {
                employee,
                writes,
                skill: place.skill,
            };
            api.core().changed(news).await;
        }
        None => {
            let org = caller.org;
            api.core().changed(News::OrgMemory { org, writes }).await;
        }
    }
    Ok(view)
}
