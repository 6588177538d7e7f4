//! `/catalog`: the integrations that the org has and what each of them can do.

use super::{
    ApiState,
    auth::Caller,
    error::{ApiError, ApiResult},
    json_text::json_text,
    query::{NoQuery, Query, word},
    text::Path,
};
use crate::{
    connect::{Capability, Catalog, Integration, Risk},
    persistence::Page,
};
use axum::{
    Json,
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

const RISKS: [&str; 3] = ["low", "medium", "high"];
const AUTH_TYPES: [&str; 7] = [
    "oauth2_code",
    "oauth2_client_credentials",
    "api_key",
    "basic",
    "bearer",
    "jwt_bearer",
    "two_step",
];

/// What to show. A filter on capabilities leaves out the integrations that have none that fit.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CatalogQuery {
    /// Only this integration.
    integration: Option<String>,
    /// Only capabilities in whose id, title or description all of these words stand.
    q: Option<String>,
    /// Only capabilities of this risk: `low`, `medium` or `high`.
    risk: Option<String>,
    /// Only integrations that can be authorised this way, for example `oauth2_code`.
    auth: Option<String>,
    /// Only capabilities that change something outside, or only those that do not.
    write: Option<bool>,
    /// `false` leaves the JSON Schemas out, which are most of the answer.
    schemas: Option<bool>,
}

/// The same, checked.
struct Filter<'a> {
    integration: Option<&'a str>,
    words: Vec<String>,
    risk: Option<Risk>,
    auth: Option<&'a str>,
    write: Option<bool>,
    schemas: bool,
}

impl CatalogQuery {
    fn filter(&self) -> ApiResult<Filter<'_>> {
        let risk = |text: &str| match text {
            "low" => Some(Risk::Low),
            "medium" => Some(Risk::Medium),
            "high" => Some(Risk::High),
            _ => None,
        };
        let known = |text: &str| AUTH_TYPES.contains(&text).then_some(());
        word("auth", self.auth.as_deref(), known, &AUTH_TYPES)?;
        let q = self.q.as_deref().unwrap_or_default();
        Ok(Filter {
            integration: self.integration.as_deref(),
            words: q.split_whitespace().map(str::to_lowercase).collect(),
            risk: word("risk", self.risk.as_deref(), risk, &RISKS)?,
            auth: self.auth.as_deref(),
            write: self.write,
            schemas: self.schemas.unwrap_or(true),
        })
    }
}

impl Filter<'_> {
    fn takes_all(&self) -> bool {
        self.integration.is_none() && self.auth.is_none() && !self.asks_for_capabilities()
    }

    fn asks_for_capabilities(&self) -> bool {
        !self.words.is_empty() || self.risk.is_some() || self.write.is_some()
    }

    fn takes(&self, integration: &Integration) -> bool {
        self.integration.is_none_or(|id| integration.id == id)
            && self
                .auth
                .is_none_or(|kind| integration.auth.iter().any(|way| way.kind() == kind))
    }

    fn takes_capability(&self, capability: &Capability) -> bool {
        let text = format!(
            "{} {} {}",
            capability.id, capability.title, capability.description
        )
        .to_lowercase();
        self.words.iter().all(|word| text.contains(word))
            && self.risk.is_none_or(|risk| capability.risk == risk)
            && self.write.is_none_or(|write| capability.write == write)
    }
}

pub async fn list(
    State(api): State<ApiState>,
    caller: Caller,
    Query(query): Query<CatalogQuery>,
) -> ApiResult<Response> {
    let filter = query.filter()?;
    let catalog = api.core().catalogs.of(caller.org).await?;
    Ok(match filter.takes_all() {
        true => json_text(listing(&catalog, filter.schemas)),
        false => {
            let items = items(&catalog, catalog.integrations(), &filter);
            Json(Page { items, next: None }).into_response()
        }
    })
}

fn items<'a>(
    catalog: &Catalog,
    integrations: impl Iterator<Item = &'a Integration>,
    filter: &Filter<'_>,
) -> Vec<Value> {
    integrations
        .filter(|one| filter.takes(one))
        .filter_map(|one| {
            let fitting = one
                .capabilities
                .iter()
                .filter(|capability| filter.takes_capability(capability));
            let views: Vec<_> = fitting
                .map(|capability| capability_view(capability, filter.schemas))
                .collect();
            (!views.is_empty() || !filter.asks_for_capabilities())
                .then(|| integration_view(catalog, one, views))
        })
        .collect()
}

const LISTING: (&str, &str) = (r#"{"items":["#, r#"],"next":null}"#);

/// The page with all integrations. Those that are built in are written once for everybody, so that those who ask for all of them often, and
/// read slowly, hold one text together.
fn listing(catalog: &Catalog, schemas: bool) -> Bytes {
    let filter = CatalogQuery {
        schemas: Some(schemas),
        ..CatalogQuery::default()
    };
    let Ok(filter) = filter.filter() else {
        unreachable!("it has no filter")
    };
    let text = |built_in: bool| {
        let integrations = catalog
            .integrations()
            .filter(|one| catalog.is_built_in(&one.id) == built_in);
        let items = items(catalog, integrations, &filter);
        let texts: Vec<String> = items.iter().map(ToString::to_string).collect();
        texts.join(",")
    };
    let (open, close) = LISTING;
    let built_in = catalog.built_in_listing(schemas, || {
        Bytes::from(format!("{open}{}{close}", text(true)))
    });
    let own = text(false);
    if own.is_empty() {
        return built_in;
    }
    let before = &built_in[..built_in.len() - close.len()];
    let comma = match before.len() == open.len() {
        true => "",
        false => ",",
    };
    [before, comma.as_bytes(), own.as_bytes(), close.as_bytes()]
        .concat()
        .into()
}

/// An integration or a capability, by its id.
pub async fn show(
    State(api): State<ApiState>,
    caller: Caller,
    Path(id): Path<String>,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<Value>> {
    let catalog = api.core().catalogs.of(caller.org).await?;
    if let Some(integration) = catalog.integration(&id) {
        let capabilities = integration.capabilities.iter();
        let views = capabilities
            .map(|capability| capability_view(capability, true))
            .collect();
        return Ok(Json(integration_view(&catalog, integration, views)));
    }
    match catalog.capability(&id) {
        Some(capability) => Ok(Json(capability_view(capability, true))),
        None => {
            let error = ApiError::not_found("integration or capability", &id);
            Err(match catalog.nearest(&id) {
                Some(near) => error.with("nearest", near),
                None => error,
            })
        }
    }
}

fn integration_view(catalog: &Catalog, one: &Integration, capabilities: Vec<Value>) -> Value {
    json!({
        "id": one.id,
        "name": one.name,
        "docs": one.docs,
        "base_url": one.base_url,
        "auth": one.auth,
        "account": one.account,
        "quota": one.quota,
        "limits": one.limits,
        "can_verify": one.verify.is_some(),
        "built_in": catalog.is_built_in(&one.id),
        "capabilities": capabilities,
    })
}

fn capability_view(capability: &Capability, schemas: bool) -> Value {
    let mut view = json!({
        "id": capability.id,
        "integration": capability.integration,
        "title": capability.title,
        "description": capability.description,
        "permission": capability.permission,
        "permission_aliases": capability.permission_aliases,
        "scopes": capability.scopes,
        "risk": capability.risk,
        "write": capability.write,
        "cost": capability.cost,
        "quota": capability.quota,
        "idempotency": capability.idempotency,
        "has_probe": capability.probe.is_some(),
        "pagination": capability.pagination,
        "retry": capability.retry,
    });
    if schemas {
        view["input"] = capability.input.clone();
        view["markup"] = json!(capability.markup);
        view["output"] = capability.output.clone();
    }
    view
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::catalog::integration_from;

    const OWN: &str = r#"{"id":"own","name":"Own","base_url":"https://own.example","auth":[{"type":"bearer"}],
        "quota":{"requests":1,"per_seconds":1,"burst":1}}"#;

    fn page(catalog: &Catalog, schemas: bool) -> Value {
        let query = CatalogQuery {
            schemas: Some(schemas),
            ..CatalogQuery::default()
        };
        let Ok(filter) = query.filter() else {
            panic!("no filter")
        };
        let items = items(catalog, catalog.integrations(), &filter);
        json!(Page { items, next: None })
    }

    #[test]
    fn whoever_asks_for_everything_shares_one_text() {
        let catalog = Catalog::embedded().expect("a catalog");
        let own = integration_from("own", OWN).expect("an integration");
        let with_own = catalog.with_own([own]).expect("a free id");
        for schemas in [true, false] {
            let (one, two) = (listing(&catalog, schemas), listing(&catalog, schemas));
            assert_eq!(one.as_ptr(), two.as_ptr(), "it is written once");
            for catalog in [&catalog, &with_own, &Catalog::default()] {
                let text = listing(catalog, schemas);
                let read: Value = serde_json::from_slice(&text).expect("JSON");
                assert_eq!(read, page(catalog, schemas));
            }
        }
    }
}
