//! `/v1/oauth-clients`: the apps that the org has registered at providers, in whose names its people consent. Secrets go in and never
//! come out.

use super::{
    ApiState, address,
    auth::Caller,
    body::Json as JsonBody,
    error::{ApiError, ApiResult},
    owner,
    query::{NoQuery, Query},
    text::{self, Path},
};
use crate::{
    actors::hub::apps::{open_secret, seal_secret},
    connect::oauth::{AUTH0, Overrides, Secret},
    domain::{OauthClientId, Timestamp},
    persistence::{
        OauthClientRow, Page, oauth_client_delete, oauth_client_find, oauth_client_list,
        oauth_client_put,
    },
};
use axum::{Json, extract::State, http::StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Serialize)]
pub struct ClientView {
    integration: String,
    client_id: String,
    has_secret: bool,
    /// Addresses in the place of the catalog's.
    overrides: Value,
    /// What has to be registered at the provider as redirect address.
    redirect_uri: String,
    created_at: Timestamp,
    updated_at: Timestamp,
}

fn view(api: &ApiState, row: OauthClientRow) -> ClientView {
    ClientView {
        redirect_uri: super::oauth::callback_of(api, &row.integration),
        has_secret: !row.sealed_secret.0.is_empty(),
        overrides: text::json(Some(&row.overrides)),
        integration: row.integration,
        client_id: row.client_id,
        created_at: row.created,
        updated_at: row.updated,
    }
}

pub async fn list(
    State(api): State<ApiState>,
    caller: Caller,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<Page<ClientView>>> {
    let mut tx = api.db().begin_read(caller.org).await?;
    let rows = oauth_client_list(&mut tx).await?;
    Ok(Json(Page {
        items: rows.into_iter().map(|row| view(&api, row)).collect(),
        next: None,
    }))
}

/// An app at a provider.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientBody {
    client_id: String,
    /// Absent: the one before stays; null: there is none, the app is a public client.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<String>")]
    client_secret: Option<Option<Secret>>,
    /// In the place of the catalog's, for a sandbox or another issuer.
    authorize_url: Option<String>,
    /// For refreshing too.
    token_url: Option<String>,
    revoke_url: Option<String>,
    /// Where calls go.
    base_url: Option<String>,
    /// Redirect addresses besides ours that `POST /oauth/start` may name.
    #[serde(default)]
    redirect_uris: Vec<String>,
}

/// Tells null from absent.
fn given<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Option<Secret>>, D::Error> {
    Deserialize::deserialize(d).map(Some)
}

/// Registers the org's app at an integration, or changes it.
pub async fn put(
    State(api): State<ApiState>,
    caller: Caller,
    Path(integration): Path<String>,
    JsonBody(body): JsonBody<ClientBody>,
) -> ApiResult<Json<ClientView>> {
    if integration != AUTH0 {
        owner::integration(&api, caller.org, &integration).await?;
    }
    text::short("client_id", &body.client_id, 1_000)?;
    let overrides = Overrides {
        authorize_url: body.authorize_url,
        token_url: body.token_url,
        revoke_url: body.revoke_url,
        base_url: body
            .base_url
            .map(|url| url.trim_end_matches('/').to_owned()),
        redirect_uris: body.redirect_uris,
    };
    overrides
        .check()
        .map_err(|error| ApiError::field(error.field, error.to_string()))?;
    // Browsers go to the other addresses, not this service.
    let called = [
        ("token_url", &overrides.token_url),
        ("revoke_url", &overrides.revoke_url),
        ("base_url", &overrides.base_url),
    ];
    for (field, url) in called {
        if let Some(url) = url {
            address::check(&api, field, url).await?;
        }
    }

    let (now, vault) = (api.engine().now(), &api.core().vault);
    let mut tx = api.db().begin_read(caller.org).await?;
    let known = oauth_client_find(&mut tx, &integration).await?;
    drop(tx);
    let secret = match (body.client_secret, &known) {
        (Some(secret), _) => secret,
        (None, Some(known)) => open_secret(vault, known).await?,
        (None, None) => None,
    };
    let id = known.as_ref().map_or_else(
        || OauthClientId::from_uuid(api.core().clock.uuid()),
        |known| known.id,
    );
    let version = known.as_ref().map_or(0, |known| known.secret_version) + 1;
    let row = OauthClientRow {
        org_id: caller.org,
        id,
        client_id: body.client_id,
        sealed_secret: seal_secret(vault, caller.org, id, version, secret.as_ref()).await?,
        secret_version: version,
        overrides: serde_json::to_string(&overrides).map_err(ApiError::internal)?,
        created: known.map_or(now, |known| known.created),
        updated: now,
        integration,
    };
    let mut tx = api.db().begin(caller.org).await?;
    oauth_client_put(&mut tx, &row).await?;
    tx.commit().await?;
    Ok(Json(view(&api, row)))
}

pub async fn delete(
    State(api): State<ApiState>,
    caller: Caller,
    Path(integration): Path<String>,
) -> ApiResult<StatusCode> {
    let mut tx = api.db().begin(caller.org).await?;
    oauth_client_delete(&mut tx, &integration).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
