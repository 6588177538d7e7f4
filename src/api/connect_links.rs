//! `/v1/connect-links`: links by which a person without an account here connects one of their accounts. A link is shown once, when it is
//! made, and is good once.

use super::{
    ApiState,
    auth::Caller,
    body::Json as JsonBody,
    error::{ApiError, ApiResult},
    oauth::check_scopes,
    owner::{self, OwnerKind, Wanted},
    query::{NoQuery, Query},
    text::{self, Path},
};
use crate::{
    connect::oauth::{Secret, hash_of, random_text},
    domain::{ConnectionId, LinkId, Timestamp},
    persistence::{ConnectLinkRow, connect_link_get, connect_link_insert, connection_get},
};
use axum::{Json, extract::State, http::StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const LIFETIME_DEFAULT_S: u64 = 24 * 3_600;
const LIFETIME_MAX_S: u64 = 7 * 24 * 3_600;
const LIFETIME_MIN_S: u64 = 60;

#[derive(Serialize)]
pub struct LinkView {
    id: LinkId,
    integration: String,
    connection_id: ConnectionId,
    name: String,
    owner: Option<String>,
    created_at: Timestamp,
    expires_at: Timestamp,
    /// `open`, `used` (a consent is under way), `completed` or `expired`.
    status: &'static str,
    /// That of the connection, once there is one.
    connection_status: Option<String>,
    /// Only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

fn view(row: ConnectLinkRow, now: Timestamp) -> LinkView {
    let status = match (row.completed, row.used) {
        (Some(_), _) => "completed",
        (None, Some(_)) => "used",
        (None, None) if row.expires <= now => "expired",
        (None, None) => "open",
    };
    LinkView {
        id: row.id,
        integration: row.integration,
        connection_id: row.connection_id,
        name: row.name,
        owner: row.owner_user,
        created_at: row.created,
        expires_at: row.expires,
        status,
        connection_status: None,
        url: None,
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkBody {
    /// Id in the catalog, for example `slack`.
    integration: String,
    /// One that is there already and needs a new consent.
    connection_id: Option<String>,
    /// Of a new one; absent: `default`.
    name: Option<String>,
    /// `org` or `user`; absent: the person's whose key this is, else the org's.
    owner: Option<OwnerKind>,
    /// The user to whom it is to belong, where the key is bound to no person.
    user: Option<String>,
    /// Absent: those that the catalog asks for.
    scopes: Option<Vec<String>>,
    /// 60 to 604800; absent: a day.
    expires_in_seconds: Option<u64>,
}

pub async fn create(
    State(api): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<LinkBody>,
) -> ApiResult<(StatusCode, Json<LinkView>)> {
    let integration = owner::integration(&api, caller.org, &body.integration).await?;
    check_scopes(body.scopes.as_deref())?;
    let lifetime = body.expires_in_seconds.unwrap_or(LIFETIME_DEFAULT_S);
    if !(LIFETIME_MIN_S..=LIFETIME_MAX_S).contains(&lifetime) {
        let detail = format!("`expires_in_seconds` must be {LIFETIME_MIN_S} to {LIFETIME_MAX_S}");
        return Err(ApiError::field("expires_in_seconds", detail));
    }
    let wanted = Wanted {
        integration: &integration,
        connection: body.connection_id.as_deref(),
        name: body.name.as_deref(),
        kind: body.owner,
        user: body.user.as_deref(),
    };
    let (connection, _) = owner::wanted(&api, &caller, wanted).await?;
    let (token, now) = (
        random_text().map_err(ApiError::internal)?,
        api.engine().now(),
    );
    let row = ConnectLinkRow {
        org_id: caller.org,
        id: LinkId::from_uuid(api.core().clock.uuid()),
        token_hash: hash_of(token.expose()),
        integration: integration.id.clone(),
        connection_id: connection.id,
        name: connection.name,
        owner_user: connection.owner_user,
        scopes: body
            .scopes
            .map(|scopes| serde_json::to_string(&scopes))
            .transpose()
            .map_err(ApiError::internal)?,
        created: now,
        expires: now.after(Duration::from_secs(lifetime)),
        used: None,
        completed: None,
    };
    let mut tx = api.db().begin(caller.org).await?;
    connect_link_insert(&mut tx, &row).await?;
    tx.commit().await?;
    let mut view = view(row, now);
    view.url = Some(url_of(&api, &token));
    Ok((StatusCode::CREATED, Json(view)))
}

fn url_of(api: &ApiState, token: &Secret) -> String {
    let base = &api.core().settings.public_url;
    format!("{base}/connect/{}", token.expose())
}

/// What became of a link.
pub async fn show(
    State(api): State<ApiState>,
    caller: Caller,
    Path(link): Path<String>,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<LinkView>> {
    let id: LinkId = text::id("connect link", &link)?;
    let mut tx = api.db().begin_read(caller.org).await?;
    let row = connect_link_get(&mut tx, id)
        .await?
        .filter(|row| owner::may_see(&caller, row.owner_user.as_deref()))
        .ok_or_else(|| ApiError::not_found("connect link", &link))?;
    let connection = connection_get(&mut tx, row.connection_id).await?;
    let mut view = view(row, api.engine().now());
    view.connection_status = connection.map(|row| row.status);
    Ok(Json(view))
}
