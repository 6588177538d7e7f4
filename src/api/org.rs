//! `/v1/org`: the caller's organisation and what it chose.

use super::{
    ApiState,
    auth::Caller,
    body::Json as JsonBody,
    error::{ApiError, ApiResult},
    query::{NoQuery, Query},
    text,
};
use crate::{
    domain::{KeyId, OrgId, Role, Timestamp},
    persistence::{OrgRow, org_get, org_set_settings},
};
use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Serialize)]
pub struct OrgView {
    id: OrgId,
    name: String,
    settings: Value,
    created_at: Timestamp,
    /// Who asks.
    caller: CallerView,
    /// Where the sandbox providers are, if this process started them.
    sandbox_url: Option<String>,
}

#[derive(Serialize)]
struct CallerView {
    key_id: KeyId,
    role: Role,
    user: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrgBody {
    /// Days for which finished runs are kept, 1 to 3650; null: the service's default.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<u32>")]
    retention_days: Option<Option<u32>>,
}

/// Tells null from absent.
fn given<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Option<u32>>, D::Error> {
    Deserialize::deserialize(d).map(Some)
}

pub async fn show(
    State(api): State<ApiState>,
    caller: Caller,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<OrgView>> {
    let mut tx = api.db().begin_read(caller.org).await?;
    let row = org_get(&mut tx).await?;
    Ok(Json(view(&api, caller, row.ok_or_else(gone)?)))
}

fn gone() -> ApiError {
    ApiError::internal("the org of an API key is gone")
}

fn view(api: &ApiState, caller: Caller, row: OrgRow) -> OrgView {
    OrgView {
        id: row.id,
        name: row.name,
        settings: text::json(Some(&row.settings)),
        created_at: row.created,
        caller: CallerView {
            key_id: caller.key,
            role: caller.role,
            user: caller.user,
        },
        sandbox_url: api.sandbox_url().map(str::to_owned),
    }
}

pub async fn change(
    State(api): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<OrgBody>,
) -> ApiResult<Json<OrgView>> {
    let mut tx = api.db().begin(caller.org).await?;
    let mut row = org_get(&mut tx).await?.ok_or_else(gone)?;
    let mut settings = match text::json(Some(&row.settings)) {
        Value::Object(fields) => fields,
        _ => Default::default(),
    };
    match body.retention_days {
        Some(Some(days)) if !(1..=3_650).contains(&days) => {
            return Err(ApiError::field(
                "retention_days",
                "`retention_days` must be 1 to 3650",
            ));
        }
        Some(Some(days)) => {
            settings.insert("retention_days".into(), json!(days));
        }
        Some(None) => {
            settings.remove("retention_days");
        }
        None => {}
    }
    row.settings = Value::Object(settings).to_string();
    org_set_settings(&mut tx, &row.settings).await?;
    tx.commit().await?;
    Ok(Json(view(&api, caller, row)))
}
