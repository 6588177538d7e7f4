//! `/v1/org/keys`: the data keys that seal the org's secrets. The keys themselves are shown to nobody.

use super::{
    ApiState,
    auth::Caller,
    error::ApiResult,
    query::{NoQuery, Query},
};
use crate::{
    actors::hub::keys::{Rotated, rotate_org},
    domain::Timestamp,
    persistence::{OrgKeyRow, Page, org_key_list},
};
use axum::{Json, extract::State};
use serde::Serialize;

#[derive(Serialize)]
pub struct OrgKeyView {
    version: i64,
    /// The master key that wraps it.
    master_id: String,
    created_at: Timestamp,
    /// Since when it only opens.
    retired_at: Option<Timestamp>,
}

impl From<OrgKeyRow> for OrgKeyView {
    fn from(row: OrgKeyRow) -> Self {
        Self {
            version: row.version,
            master_id: row.master_id,
            created_at: row.created,
            retired_at: row.retired,
        }
    }
}

pub async fn list(
    State(api): State<ApiState>,
    caller: Caller,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<Page<OrgKeyView>>> {
    let mut tx = api.db().begin_read(caller.org).await?;
    let keys = org_key_list(&mut tx).await?;
    Ok(Json(Page {
        items: keys.into_iter().map(OrgKeyView::from).collect(),
        next: None,
    }))
}

/// Makes a new data key and seals everything anew.
pub async fn rotate(State(api): State<ApiState>, caller: Caller) -> ApiResult<Json<Rotated>> {
    let (core, org, now) = (api.core().clone(), caller.org, api.engine().now());
    let work = async move { rotate_org(&core.db, &core.vault, org, now).await };
    Ok(Json(api.to_the_end(work).await??))
}
