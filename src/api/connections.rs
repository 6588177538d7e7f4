//! `/v1/connections`: the accounts of the org and its people at integrations. Secrets go in and never come out.

use super::{
    ApiState, address,
    auth::Caller,
    body::Json as JsonBody,
    error::{ApiError, ApiResult},
    owner::{self, OwnerKind, Wanted},
    query::{NoQuery, Query, page},
    text::{self, Path},
};
use crate::{
    actors::{
        connector::{ConnectorLook, connections::CONNECTION_ACTIVE},
        hub::{credentials::seal_credential, probing::probe_now, typed::Typed},
    },
    connect::{
        Account, Integration, Quota,
        oauth::{Credential, Secret},
    },
    domain::{ConnectionId, Timestamp},
    persistence::{
        ConnectionRow, Health, Page, connection_delete, connection_list, connection_notices_close,
        connection_put, connection_status,
    },
};
use axum::{Json, extract::State, http::StatusCode};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

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
    /// The one user to whom it belongs; null: to the org.
    owner: Option<String>,
    way: String,
    /// The provider's name for the account.
    account_name: Option<String>,
    scopes: Value,
    /// When the token ends; null: never, or nobody knows.
    expires_at: Option<Timestamp>,
    /// When the token is renewed.
    refresh_due_at: Option<Timestamp>,
    /// When the credential was got or renewed last.
    refreshed_at: Option<Timestamp>,
    /// When the provider said last that it is good.
    verified_at: Option<Timestamp>,
    /// What the last probe found.
    health: HealthView,
    /// Why a person is needed, and how that person gets a link.
    #[serde(skip_serializing_if = "Option::is_none")]
    reauth: Option<Value>,
}

#[derive(Serialize)]
struct HealthView {
    /// `healthy`, `failing` or `unknown`.
    state: Health,
    /// When that was found.
    checked_at: Option<Timestamp>,
    error: Option<String>,
}

impl From<ConnectionRow> for ConnectionView {
    fn from(row: ConnectionRow) -> Self {
        let reauth = (row.status == connection_status::NEEDS_REAUTH).then(|| {
            json!({
                "since": row.reauth_since,
                "reason": row.status_reason,
                "link_from": {
                    "method": "POST",
                    "path": "/v1/connect-links",
                    "body": {"integration": row.integration, "connection_id": row.id},
                },
            })
        });
        Self {
            id: row.id,
            integration: row.integration,
            name: row.name,
            base_url: row.base_url,
            account: text::json(Some(&row.account)),
            status: row.status,
            created_at: row.created,
            updated_at: row.updated,
            owner: row.owner_user,
            way: row.way,
            account_name: row.account_name,
            scopes: text::json(Some(&row.scopes)),
            expires_at: row.expires,
            refresh_due_at: row.refresh_due,
            refreshed_at: row.refreshed,
            verified_at: row.verified,
            health: HealthView {
                state: row.health,
                checked_at: row.health_at,
                error: row.health_error,
            },
            reauth,
        }
    }
}

/// A connection with what its connector is doing.
#[derive(Serialize)]
pub struct ConnectionLook {
    #[serde(flatten)]
    connection: ConnectionView,
    may_use: MayUse,
    /// Limits, queue and breaker; null if the catalog has the integration no more. Looking wakes nobody.
    connector: Option<ConnectorLook>,
}

/// Who may use a connection.
#[derive(Serialize)]
struct MayUse {
    /// `org`: the employees of the org, and its people by proxy. `user`: this user alone.
    scope: &'static str,
    user: Option<String>,
    /// An employee's skill needs one of these, and that the org's policies allow the call.
    permissions: Vec<String>,
}

async fn look(api: &ApiState, row: ConnectionRow) -> ApiResult<ConnectionLook> {
    let core = api.core();
    let connector = core.connectors().view_of(&row, api.engine().now()).await?;
    let catalog = core.catalogs.of(row.org_id).await?;
    let capabilities = catalog.integration(&row.integration);
    let capabilities = capabilities.map(|one| one.capabilities.iter());
    let permissions: BTreeSet<&String> = capabilities
        .into_iter()
        .flatten()
        .map(|capability| &capability.permission)
        .collect();
    let may_use = MayUse {
        scope: if row.owner_user.is_some() {
            "user"
        } else {
            "org"
        },
        user: row.owner_user.clone(),
        permissions: permissions.into_iter().cloned().collect(),
    };
    Ok(ConnectionLook {
        connection: row.into(),
        may_use,
        connector,
    })
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
) -> ApiResult<Json<Page<ConnectionLook>>> {
    let request = page(query.limit, query.after.as_deref())?;
    let (integration, owners) = (query.integration.as_deref(), owner::owners(&caller));
    let mut tx = api.db().begin_read(caller.org).await?;
    let found = connection_list(&mut tx, integration, owners, &request).await?;
    drop(tx);
    let mut items = Vec::with_capacity(found.items.len());
    for row in found.items {
        items.push(look(&api, row).await?);
    }
    let next = found.next;
    Ok(Json(Page { items, next }))
}

pub async fn show(
    State(api): State<ApiState>,
    caller: Caller,
    Path(connection): Path<String>,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<ConnectionLook>> {
    let mut tx = api.db().begin_read(caller.org).await?;
    let row = owner::connection(&mut tx, &caller, &connection).await?;
    drop(tx);
    Ok(Json(look(&api, row).await?))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionBody {
    /// Id in the catalog, for example `slack`.
    integration: String,
    /// Unique for the integration and the owner; absent: `default`. An existing one is replaced.
    name: Option<String>,
    /// A token that is used as it is. Either this, or `fields`.
    #[schemars(with = "Option<String>")]
    token: Option<SecretString>,
    /// Which of the integration's ways; absent: the first that asks for something to type.
    way: Option<String>,
    /// What that way asks for, for example `api_key`, or `username` and `password`.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    fields: Option<BTreeMap<String, Secret>>,
    /// `org` or `user`; absent: the person's whose key this is, else the org's.
    owner: Option<OwnerKind>,
    /// The user to whom it is to belong, where the key is bound to no person.
    user: Option<String>,
    /// Where the provider is, if not where the catalog says.
    base_url: Option<String>,
    account: Option<AccountBody>,
    /// Whether the provider is asked if the credential is right; absent: for `fields` yes, for `token` no.
    verify: Option<bool>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountBody {
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
    JsonBody(mut body): JsonBody<ConnectionBody>,
) -> ApiResult<(StatusCode, Json<ConnectionView>)> {
    let integration = owner::integration(&api, caller.org, &body.integration).await?;
    let integration = &*integration;
    let account = body.account.take().unwrap_or_default();
    let base_url = base_url(body.base_url.take().or(account.base_url))?;
    if let Some(url) = &base_url {
        address::check(&api, "base_url", url).await?;
    }
    check_quota(account.quota)?;
    let wanted = Wanted {
        integration,
        connection: None,
        name: body.name.as_deref(),
        kind: body.owner,
        user: body.user.as_deref(),
    };
    let (row, is_new) = owner::wanted(&api, &caller, wanted).await?;
    let row = match (body.token, body.fields) {
        (Some(token), None) => {
            check_token(&token)?;
            let known = known_account(integration, base_url, account.data, account.quota)?;
            put_token(&api, row, token, known).await?
        }
        (None, Some(fields)) => {
            let typed = Typed {
                row,
                is_new,
                way: body.way.as_deref(),
                fields,
                account: account.data,
                base_url,
                quota: account.quota,
                link: None,
                verify: body.verify.unwrap_or(true),
            };
            let connected = api.core().hub.connect_typed(typed);
            api.bounded(connected).await??
        }
        (None, None) => {
            let detail = "missing field `token`, or `fields` for what the integration asks for";
            return Err(ApiError::field("token", detail));
        }
        (Some(_), Some(_)) => {
            return Err(ApiError::field(
                "fields",
                "give `token` or `fields`, not both",
            ));
        }
    };
    changed(&api, &row).await;
    let status = match is_new {
        false => StatusCode::OK,
        true => StatusCode::CREATED,
    };
    Ok((status, Json(row.into())))
}

fn check_token(token: &SecretString) -> ApiResult<()> {
    let token = token.expose_secret();
    if token.is_empty() || token.len() > TOKEN_MAX || token.chars().any(char::is_control) {
        let detail = format!("`token` must have 1 to {TOKEN_MAX} bytes and no control characters");
        return Err(ApiError::field("token", detail));
    }
    Ok(())
}

fn base_url(given: Option<String>) -> ApiResult<Option<String>> {
    let Some(url) = given.map(|url| url.trim_end_matches('/').to_owned()) else {
        return Ok(None);
    };
    let parsed: Option<axum::http::Uri> = url.parse().ok();
    let scheme = parsed.as_ref().filter(|uri| uri.host().is_some());
    match scheme.and_then(|uri| uri.scheme_str()) {
        Some("http" | "https") => Ok(Some(url)),
        _ => Err(ApiError::field(
            "base_url",
            "`base_url` must be an http or https URL",
        )),
    }
}

fn check_quota(quota: Option<Quota>) -> ApiResult<()> {
    if quota.is_some_and(|quota| quota.requests == 0 || quota.per_seconds == 0 || quota.burst == 0)
    {
        return Err(ApiError::field(
            "account.quota",
            "each number of the quota must be at least 1",
        ));
    }
    Ok(())
}

/// The base URL if it is not the catalog's, and the account.
fn known_account(
    integration: &Integration,
    base_url: Option<String>,
    data: Map<String, Value>,
    quota: Option<Quota>,
) -> ApiResult<(Option<String>, Account)> {
    for field in integration
        .account
        .iter()
        .filter(|field| field.is_required())
    {
        if !data.contains_key(&field.name) {
            return Err(ApiError::field(
                format!("account.data.{}", field.name),
                format!(
                    "{} needs `account.data.{}`: {}",
                    integration.name, field.name, field.description
                ),
            ));
        }
    }
    let at = match &base_url {
        Some(url) => url.clone(),
        None => integration
            .base_url_for(None, &data)
            .map_err(|error| ApiError::field(error.field.clone(), error.to_string()))?,
    };
    let account = Account {
        base_url: at,
        data,
        quota,
    };
    Ok((base_url, account))
}

/// A token that is taken as it is, whatever ways the integration has.
async fn put_token(
    api: &ApiState,
    before: ConnectionRow,
    token: SecretString,
    (base_url, account): (Option<String>, Account),
) -> ApiResult<ConnectionRow> {
    let (now, version) = (api.engine().now(), before.credential_version + 1);
    let (org, id, vault) = (before.org_id, before.id, &api.core().vault);
    let credential = Credential::token(token, now);
    let sealed = seal_credential(vault, org, id, version, &credential).await?;
    let row = ConnectionRow {
        sealed_credential: sealed,
        credential_version: version,
        base_url,
        account: serde_json::to_string(&account).map_err(ApiError::internal)?,
        status: CONNECTION_ACTIVE.into(),
        created: before.created,
        refreshed: Some(now),
        owner_user: before.owner_user,
        ..ConnectionRow::pending(org, id, &before.integration, &before.name, now)
    };
    let mut tx = api.db().begin(org).await?;
    connection_put(&mut tx, &row).await?;
    connection_notices_close(&mut tx, id, now).await?;
    tx.commit().await?;
    Ok(row)
}

/// Asks the provider at once whether the account still works.
pub async fn probe(
    State(api): State<ApiState>,
    caller: Caller,
    Path(connection): Path<String>,
) -> ApiResult<Json<ConnectionView>> {
    let mut tx = api.db().begin_read(caller.org).await?;
    let row = owner::connection(&mut tx, &caller, &connection).await?;
    drop(tx);
    let probed = probe_now(api.core(), row);
    let row = api.bounded(probed).await??;
    Ok(Json(row.into()))
}

/// Removes a connection; the provider is told that its token is not needed any more.
pub async fn delete(
    State(api): State<ApiState>,
    caller: Caller,
    Path(connection): Path<String>,
) -> ApiResult<StatusCode> {
    let mut tx = api.db().begin(caller.org).await?;
    let row = owner::connection(&mut tx, &caller, &connection).await?;
    owner::must_change(&caller, row.owner_user.as_deref())?;
    connection_delete(&mut tx, row.id).await?;
    tx.commit().await?;
    changed(&api, &row).await;
    let core = api.core().clone();
    tokio::spawn(async move { core.hub.give_back(&row).await });
    Ok(StatusCode::NO_CONTENT)
}

/// Tells the connectors; the change itself is durable, so that a failure here is only a delay.
pub async fn changed(api: &ApiState, row: &ConnectionRow) {
    let told = api
        .engine()
        .connection_changed(row.org_id, &row.integration, row.id);
    if let Err(error) = told.await {
        tracing::warn!(connection = %row.id, %error, "waiting runs could not be woken");
    }
}
