//! `/v1/connections`: the org's accounts at integrations. A token goes in and never comes out.

use super::{
    ApiState,
    auth::Caller,
    body::Json as JsonBody,
    error::{ApiError, ApiResult},
    query::{NoQuery, Query, page},
    text::{self, Path},
};
use crate::{
    actors::connector::connections::CONNECTION_ACTIVE,
    connect::{Account, Catalog, Integration, Quota, SecretName, catalog::nearest},
    domain::{ConnectionId, Timestamp},
    persistence::{
        ConnectionRow, Page, Sealed, connection_delete, connection_get, connection_list,
        connection_put, connections_of,
    },
};
use axum::{Json, extract::State, http::StatusCode};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The kind under which tokens are sealed.
const SECRET_KIND: &str = "connection";
const TOKEN_MAX: usize = 16 * 1024;

#[derive(Serialize)]
pub struct ConnectionView {
    id: ConnectionId,
    integration: String,
    name: String,
    base_url: Option<String>,
    account: Value,
    status: String,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<ConnectionRow> for ConnectionView {
    fn from(row: ConnectionRow) -> Self {
        Self {
            id: row.id,
            integration: row.integration,
            name: row.name,
            base_url: row.base_url,
            account: text::json(Some(&row.account)),
            status: row.status,
            created_at: row.created,
            updated_at: row.updated,
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    integration: Option<String>,
    limit: Option<u32>,
    after: Option<String>,
}

pub async fn list(
    State(api): State<ApiState>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<Page<ConnectionView>>> {
    let request = page(query.limit, query.after.as_deref())?;
    let mut tx = api.db().begin_read(caller.org).await?;
    let found = connection_list(&mut tx, query.integration.as_deref(), &request).await?;
    Ok(Json(found.map(ConnectionView::from)))
}

pub async fn show(
    State(api): State<ApiState>,
    caller: Caller,
    Path(connection): Path<String>,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<ConnectionView>> {
    let mut tx = api.db().begin_read(caller.org).await?;
    let id = text::id("connection", &connection)?;
    let row = connection_get(&mut tx, id).await?;
    let row = row.ok_or_else(|| ApiError::not_found("connection", &connection))?;
    Ok(Json(row.into()))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionBody {
    /// Id in the catalog, for example `slack`.
    integration: String,
    /// Unique for the integration; absent: `default`. An existing one is replaced.
    name: Option<String>,
    #[schemars(with = "String")]
    token: SecretString,
    /// Where the provider is, if not where the catalog says.
    base_url: Option<String>,
    account: Option<AccountBody>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AccountBody {
    /// The same as `base_url` beside it.
    base_url: Option<String>,
    /// What the integration must know beside the token, for example `realm_id`.
    #[serde(default)]
    data: Map<String, Value>,
    /// The account's quota where it is not the integration's: `requests` in `per_seconds`, `burst` at once.
    #[schemars(with = "Option<Value>")]
    quota: Option<Quota>,
}

/// Makes a connection (201) or replaces the one of that name (200), and wakes the runs that waited for it.
pub async fn create(
    State(api): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<ConnectionBody>,
) -> ApiResult<(StatusCode, Json<ConnectionView>)> {
    let catalog = api.core().catalogs.of(caller.org).await?;
    let integration = integration(&catalog, &body.integration)?;
    let name = body.name.as_deref().unwrap_or("default");
    text::short("name", name, 100)?;
    let token = body.token.expose_secret();
    if token.is_empty() || token.len() > TOKEN_MAX || token.chars().any(char::is_control) {
        let detail = format!("`token` must have 1 to {TOKEN_MAX} bytes and no control characters");
        return Err(ApiError::field("token", detail));
    }
    let (base_url, account) = account(integration, body.base_url, body.account)?;

    let now = api.engine().now();
    let mut tx = api.db().begin(caller.org).await?;
    let known = connections_of(&mut tx, &integration.id)
        .await?
        .into_iter()
        .find(|row| row.name == name);
    let id = known.as_ref().map_or_else(
        || ConnectionId::from_uuid(api.core().clock.uuid()),
        |row| row.id,
    );
    let id_text = id.to_string();
    let secret = SecretName {
        org: caller.org,
        kind: SECRET_KIND,
        id: &id_text,
    };
    let row = ConnectionRow {
        org_id: caller.org,
        id,
        integration: integration.id.clone(),
        name: name.to_owned(),
        sealed_credential: Sealed(api.core().sealer.seal(token.as_bytes(), secret)?),
        base_url,
        account: serde_json::to_string(&account).map_err(ApiError::internal)?,
        status: CONNECTION_ACTIVE.into(),
        created: known.as_ref().map_or(now, |row| row.created),
        updated: now,
    };
    connection_put(&mut tx, &row).await?;
    tx.commit().await?;
    changed(&api, caller, &row).await;
    let status = match known {
        Some(_) => StatusCode::OK,
        None => StatusCode::CREATED,
    };
    Ok((status, Json(row.into())))
}

fn integration<'a>(catalog: &'a Catalog, id: &str) -> ApiResult<&'a Integration> {
    catalog.integration(id).ok_or_else(|| {
        let ids: Vec<&str> = catalog.integrations().map(|one| one.id.as_str()).collect();
        let hint = nearest(id, ids.iter().copied()).map(|near| format!("; do you mean `{near}`"));
        let detail = format!(
            "there is no integration `{id}`{}; the catalog has {}",
            hint.unwrap_or_default(),
            ids.join(", ")
        );
        ApiError::field("integration", detail)
    })
}

/// The base URL if it is not the catalog's, and the account.
fn account(
    integration: &Integration,
    base_url: Option<String>,
    body: Option<AccountBody>,
) -> ApiResult<(Option<String>, Account)> {
    let body = body.unwrap_or_default();
    let base_url = base_url
        .or(body.base_url)
        .map(|url| url.trim_end_matches('/').to_owned());
    if let Some(url) = &base_url {
        let parsed: Option<axum::http::Uri> = url.parse().ok();
        let scheme = parsed.as_ref().filter(|uri| uri.host().is_some());
        if !matches!(
            scheme.and_then(|uri| uri.scheme_str()),
            Some("http" | "https")
        ) {
            return Err(ApiError::field(
                "base_url",
                "`base_url` must be an http or https URL",
            ));
        }
    }
    for field in &integration.account {
        if field.is_required() && !body.data.contains_key(&field.name) {
            return Err(ApiError::field(
                format!("account.data.{}", field.name),
                format!(
                    "{} needs `account.data.{}`: {}",
                    integration.name, field.name, field.description
                ),
            ));
        }
    }
    if body
        .quota
        .is_some_and(|quota| quota.requests == 0 || quota.per_seconds == 0 || quota.burst == 0)
    {
        return Err(ApiError::field(
            "account.quota",
            "each number of the quota must be at least 1",
        ));
    }
    let account = Account {
        base_url: base_url
            .clone()
            .unwrap_or_else(|| integration.base_url.clone()),
        data: body.data,
        quota: body.quota,
    };
    Ok((base_url, account))
}

pub async fn delete(
    State(api): State<ApiState>,
    caller: Caller,
    Path(connection): Path<String>,
) -> ApiResult<StatusCode> {
    let id: ConnectionId = text::id("connection", &connection)?;
    let mut tx = api.db().begin(caller.org).await?;
    let row = connection_get(&mut tx, id)
        .await?
        .ok_or_else(|| ApiError::not_found("connection", &connection))?;
    connection_delete(&mut tx, id).await?;
    tx.commit().await?;
    changed(&api, caller, &row).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Tells the connectors; the change itself is durable, so that a failure here is only a delay.
async fn changed(api: &ApiState, caller: Caller, row: &ConnectionRow) {
    let told = api
        .engine()
        .connection_changed(caller.org, &row.integration, row.id);
    match told.await {
        Ok(0) => {}
        Ok(resumed) => tracing::info!(connection = %row.id, resumed, "runs go on"),
        Err(error) => {
            tracing::warn!(connection = %row.id, %error, "waiting runs could not be woken")
        }
    }
}
