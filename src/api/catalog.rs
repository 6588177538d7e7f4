//! `/v1/catalog`: the integrations that there are and what each of them can do.

use super::{
    ApiState,
    query::{NoQuery, Query},
};
use crate::{connect::Capability, persistence::Page};
use axum::{Json, extract::State};
use serde_json::{Value, json};

pub async fn list(
    State(api): State<ApiState>,
    Query(NoQuery {}): Query<NoQuery>,
) -> Json<Page<Value>> {
    let integrations = api.core().catalog.integrations();
    let items = integrations
        .map(|one| {
            let capabilities = one.capabilities.iter().map(|capability| view(capability));
            json!({
                "id": one.id,
                "name": one.name,
                "base_url": one.base_url,
                "auth": one.auth,
                "account": one.account,
                "quota": one.quota,
                "capabilities": capabilities.collect::<Vec<_>>(),
            })
        })
        .collect();
    Json(Page { items, next: None })
}

fn view(capability: &Capability) -> Value {
    json!({
        "id": capability.id,
        "title": capability.title,
        "description": capability.description,
        "permission": capability.permission,
        "permission_aliases": capability.permission_aliases,
        "risk": capability.risk,
        "write": capability.write,
        "cost": capability.cost,
        "input": capability.input,
        "output": capability.output,
        "idempotency": capability.idempotency,
        "has_probe": !capability.settle().is_zero(),
    })
}
