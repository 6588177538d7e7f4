//! `/v1/integrations`: what the org has added to the catalog for itself. The same checks as for the built-in files.

use super::{
    ApiState, address,
    auth::Caller,
    body::JsonOrYaml,
    error::{ApiError, ApiResult, Problem},
    query::{NoQuery, Query},
    text::{self, Path},
};
use crate::{
    actors::cluster::words::News,
    connect::{CatalogError, catalog::integration_from},
    domain::Timestamp,
    persistence::{
        IntegrationRow, Page, connections_of, integration_delete, integration_get,
        integration_list, integration_put,
    },
};
use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use serde_json::Value;

/// Integrations that an org may add: they are read together and kept in memory.
const INTEGRATIONS_MAX: usize = 100;
/// Bytes of one. The largest built-in one has 30 KB.
const DEFINITION_MAX: usize = 256 * 1024;

#[derive(Serialize)]
pub struct IntegrationView {
    id: String,
    name: String,
    capabilities: Vec<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// As it was written; only where one is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    definition: Option<Value>,
}

/// What an integration holds, from its definition alone: it is shown even if the checks have become stricter since.
fn view(row: &IntegrationRow, with_definition: bool) -> IntegrationView {
    let definition = text::json(Some(&row.definition));
    let ids = definition["capabilities"].as_array().into_iter().flatten();
    let capabilities = ids.filter_map(|one| one["id"].as_str().map(str::to_owned));
    IntegrationView {
        id: row.id.clone(),
        name: definition["name"].as_str().unwrap_or_default().to_owned(),
        capabilities: capabilities.collect(),
        created_at: row.created,
        updated_at: row.updated,
        definition: with_definition.then_some(definition),
    }
}

pub async fn list(
    State(api): State<ApiState>,
    caller: Caller,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<Page<IntegrationView>>> {
    let mut tx = api.db().begin_read(caller.org).await?;
    let rows = integration_list(&mut tx).await?;
    Ok(Json(Page {
        items: rows.iter().map(|row| view(row, false)).collect(),
        next: None,
    }))
}

pub async fn show(
    State(api): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<IntegrationView>> {
    let mut tx = api.db().begin_read(caller.org).await?;
    let row = integration_get(&mut tx, &id).await?;
    let row = row.ok_or_else(|| ApiError::not_found("integration", &id))?;
    Ok(Json(view(&row, true)))
}

/// Adds an integration (201) or replaces the one of its id (200). Those who use it see the change within half a minute at most.
pub async fn put(
    State(api): State<ApiState>,
    caller: Caller,
    JsonOrYaml(definition): JsonOrYaml<Value>,
) -> ApiResult<(StatusCode, Json<IntegrationView>)> {
    let written = definition;
    let definition = written.to_string();
    if definition.len() > DEFINITION_MAX {
        let detail = format!("the integration has more than {DEFINITION_MAX} bytes");
        return Err(ApiError::new(Problem::InvalidField, detail));
    }
    let integration = integration_from("definition", &definition).map_err(refused)?;
    let core = api.core();
    if core.catalog.is_built_in(&integration.id) {
        let detail = format!(
            "`{}` is a built-in integration; give yours another id",
            integration.id
        );
        return Err(ApiError::new(Problem::AlreadyExists, detail).at("id"));
    }
    address::check_all(&api, &written).await?;
    let now = api.engine().now();
    let mut row = IntegrationRow {
        org_id: caller.org,
        id: integration.id,
        definition,
        created: now,
        updated: now,
    };
    let mut tx = api.db().begin(caller.org).await?;
    let known = integration_list(&mut tx).await?;
    let is_new = !known.iter().any(|known| known.id == row.id);
    if is_new && known.len() >= INTEGRATIONS_MAX {
        let detail = format!("an org may add {INTEGRATIONS_MAX} integrations");
        return Err(ApiError::new(Problem::InvalidField, detail));
    }
    row.created = integration_put(&mut tx, &row).await?;
    tx.commit().await?;
    changed(&api, caller, &row.id).await;
    let status = match is_new {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    Ok((status, Json(view(&row, false))))
}

/// Every mistake, with its place; what is told first stands in the sentence.
fn refused(mistakes: Vec<CatalogError>) -> ApiError {
    let first = mistakes.first().map(|one| match one.place.as_str() {
        "/" | "" => one.message.clone(),
        place => format!("{place}: {}", one.message),
    });
    let detail = match mistakes.len() {
        0 | 1 => first.unwrap_or_default(),
        more => format!("{more} mistakes, first {}", first.unwrap_or_default()),
    };
    let api = ApiError::new(Problem::InvalidField, detail);
    let api = match mistakes.first() {
        Some(one) => api.at(one.place.clone()),
        None => api,
    };
    api.with_errors(
        mistakes
            .iter()
            .map(|one| serde_json::json!({"field": one.place, "message": one.message})),
    )
}

/// Refused while there are connections to it: they would be of no use, and nobody could see why.
pub async fn delete(
    State(api): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    let mut tx = api.db().begin(caller.org).await?;
    integration_get(&mut tx, &id)
        .await?
        .ok_or_else(|| ApiError::not_found("integration", &id))?;
    if !connections_of(&mut tx, &id).await?.is_empty() {
        let detail = format!("there are connections to `{id}`; remove them first");
        return Err(ApiError::new(Problem::InUse, detail));
    }
    integration_delete(&mut tx, &id).await?;
    tx.commit().await?;
    changed(&api, caller, &id).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn changed(api: &ApiState, caller: Caller, integration: &str) {
    let (org, integration) = (caller.org, integration.to_owned());
    api.core().changed(News::Catalog { org, integration }).await;
}
