//! `/v1/hooks`: endpoints that take signed webhooks (Standard Webhooks). A secret is shown once, when it is made.
//!
//! A hook of the source `github` is called at `/hooks/github/{endpoint}`. Its events have the source `hook:github/{endpoint}`;
//! subscriptions may name it `hook:github` too, and `hook:github/{name}` if the hook was given a name.

use super::{
    ApiState,
    auth::Caller,
    body::Json as JsonBody,
    error::{ApiError, ApiResult},
    query::{PageQuery, Query},
    text::{self, Path},
};
use crate::{
    actors::hub::keys::KIND_HOOK,
    connect::{
        SecretPlace,
        webhook::{check_secret, generate_secret},
    },
    domain::{HookId, OrgId, Timestamp},
    graph::spec::is_id,
    persistence::{
        DbError, HookRow, LIMIT_MAX, Page, PageRequest, Sealed, SealedTable, Tx, hook_delete,
        hook_insert, hook_list, sealed_swap,
    },
};
use axum::{Json, extract::State, http::StatusCode};
use rand::{TryRngCore, rngs::OsRng};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use serde::{Deserialize, Serialize};
use std::time::Duration;

pub const SCHEME: &str = "standard_webhooks";
/// How long the secret before is good for after a rotation.
const OVERLAP: Duration = Duration::from_secs(24 * 3_600);
/// Secrets that a hook can have at once.
const SECRETS_MAX: usize = 5;

/// A secret as it is sealed.
#[derive(Clone, Serialize, Deserialize)]
struct StoredSecret {
    secret: String,
    /// Microseconds; absent: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until_us: Option<i64>,
}

#[derive(Serialize)]
pub struct HookView {
    id: HookId,
    source: String,
    endpoint: String,
    /// Where the sender has to post to.
    path: String,
    scheme: String,
    event_type: Option<String>,
    created_at: Timestamp,
    /// Only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl From<HookRow> for HookView {
    fn from(row: HookRow) -> Self {
        Self {
            path: format!("/hooks/{}/{}", row.source, row.endpoint),
            id: row.id,
            source: row.source,
            endpoint: row.endpoint,
            scheme: row.scheme,
            event_type: row.event_type,
            created_at: row.created,
            secret: None,
        }
    }
}

pub async fn list(
    State(api): State<ApiState>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> ApiResult<Json<Page<HookView>>> {
    let mut tx = api.db().begin_read(caller.org).await?;
    let found = hook_list(&mut tx, &query.request()?).await?;
    Ok(Json(found.map(HookView::from)))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HookBody {
    /// Who will call, for example `github`: letters, digits, `-` and `_`.
    source: String,
    /// A second word for subscriptions: `hook:{source}/{name}`.
    name: Option<String>,
    /// The type of its events; a JSON pointer such as `/type` says where in the payload that stands.
    event_type: Option<String>,
    /// One that the sender has already: `whsec_` and base64 of 24 to 64 bytes. Absent: one is made.
    #[schemars(with = "Option<String>")]
    secret: Option<SecretString>,
}

pub async fn create(
    State(api): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<HookBody>,
) -> ApiResult<(StatusCode, Json<HookView>)> {
    let words = [("source", Some(&body.source)), ("name", body.name.as_ref())];
    for (field, word) in words {
        if word.is_some_and(|word| !is_id(word)) {
            let detail = format!("`{field}` must have 1 to 64 letters, digits, - and _");
            return Err(ApiError::field(field, detail));
        }
    }
    text::short_if("event_type", body.event_type.as_deref(), 200)?;
    let secret = match body.secret {
        Some(secret) => {
            check_secret(&secret).map_err(|error| ApiError::field("secret", error.to_string()))?;
            secret
        }
        None => generate_secret(random()?),
    };
    let id = HookId::from_uuid(api.core().clock.uuid());
    let stored = vec![StoredSecret {
        secret: secret.expose_secret().to_owned(),
        until_us: None,
    }];
    let row = HookRow {
        org_id: caller.org,
        id,
        endpoint: endpoint(body.name.as_deref())?,
        source: body.source,
        scheme: SCHEME.into(),
        sealed_secrets: seal(&api, caller.org, id, &stored).await?,
        event_type: body.event_type,
        created: api.engine().now(),
    };
    let mut tx = api.db().begin(caller.org).await?;
    hook_insert(&mut tx, &row).await?;
    tx.commit().await?;
    let mut view = HookView::from(row);
    view.secret = Some(secret.expose_secret().to_owned());
    Ok((StatusCode::CREATED, Json(view)))
}

fn random() -> ApiResult<[u8; 32]> {
    let mut bytes = [0; 32];
    OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(ApiError::internal)?;
    Ok(bytes)
}

/// 160 random bits, after the name if there is one.
fn endpoint(name: Option<&str>) -> ApiResult<String> {
    let random: String = random()?[..20]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(match name {
        Some(name) => format!("{name}-{random}"),
        None => random,
    })
}

/// The name in an endpoint.
pub fn name_of(endpoint: &str) -> Option<&str> {
    endpoint.rsplit_once('-').map(|(name, _)| name)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateQuery {
    /// The secrets before are good no more at once, instead of in 24 hours.
    #[serde(default)]
    drop_old: bool,
}

/// Makes a new secret, which is shown once.
pub async fn rotate(
    State(api): State<ApiState>,
    caller: Caller,
    Path(hook): Path<String>,
    Query(query): Query<RotateQuery>,
) -> ApiResult<Json<HookView>> {
    let id: HookId = text::id("hook", &hook)?;
    let secret = generate_secret(random()?);
    let now = api.engine().now();
    let mut tx = api.db().begin_read(caller.org).await?;
    let row = find(&mut tx, id)
        .await?
        .ok_or_else(|| ApiError::not_found("hook", &hook))?;
    drop(tx);
    let mut stored = match query.drop_old {
        true => Vec::new(),
        false => open(&api, &row).await?,
    };
    stored.retain(|secret| secret.until_us.is_none_or(|until| until > now.micros()));
    for old in &mut stored {
        old.until_us.get_or_insert(now.after(OVERLAP).micros());
    }
    stored.insert(
        0,
        StoredSecret {
            secret: secret.expose_secret().to_owned(),
            until_us: None,
        },
    );
    stored.truncate(SECRETS_MAX);
    // Before the transaction that writes: a seal may need one of its own.
    let sealed = seal(&api, caller.org, id, &stored).await?;
    let (table, before) = (SealedTable::Hook, &row.sealed_secrets);
    let mut tx = api.db().begin(caller.org).await?;
    if !sealed_swap(&mut tx, table, id.uuid(), before, &sealed).await? {
        return Err(DbError::Stale("hook").into());
    }
    tx.commit().await?;
    let mut view = HookView::from(row);
    view.secret = Some(secret.expose_secret().to_owned());
    Ok(Json(view))
}

pub async fn delete(
    State(api): State<ApiState>,
    caller: Caller,
    Path(hook): Path<String>,
) -> ApiResult<StatusCode> {
    let id: HookId = text::id("hook", &hook)?;
    let mut tx = api.db().begin(caller.org).await?;
    hook_delete(&mut tx, id).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A hook by its id; an org has few, so its list is walked.
async fn find(tx: &mut Tx, id: HookId) -> ApiResult<Option<HookRow>> {
    let mut after: Option<String> = None;
    loop {
        let page = hook_list(tx, &PageRequest::new(Some(LIMIT_MAX), after.as_deref())?).await?;
        if let Some(row) = page.items.into_iter().find(|row| row.id == id) {
            return Ok(Some(row));
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(None),
        }
    }
}

/// The secrets that are good at `now`.
///
/// # Errors
/// If they cannot be opened: the key is another, or is not to be had.
pub async fn secrets(
    api: &ApiState,
    row: &HookRow,
    now: Timestamp,
) -> ApiResult<Vec<SecretString>> {
    let stored = open(api, row).await?;
    let good = stored
        .into_iter()
        .filter(|secret| secret.until_us.is_none_or(|until| until > now.micros()));
    Ok(good.map(|secret| secret.secret.into()).collect())
}

async fn open(api: &ApiState, row: &HookRow) -> ApiResult<Vec<StoredSecret>> {
    let id = row.id.to_string();
    let place = place(row.org_id, &id);
    let plain = api.core().vault.open(&row.sealed_secrets.0, place).await?;
    serde_json::from_slice(&plain).map_err(|_| ApiError::internal("sealed secrets cannot be read"))
}

async fn seal(
    api: &ApiState,
    org: OrgId,
    id: HookId,
    secrets: &[StoredSecret],
) -> ApiResult<Sealed> {
    let id = id.to_string();
    let plain = Zeroizing::new(serde_json::to_vec(secrets).map_err(ApiError::internal)?);
    let sealed = api.core().vault.seal(&plain, place(org, &id)).await?;
    Ok(Sealed(sealed))
}

/// A hook's secrets have no version: they are replaced by compare-and-swap of the sealed bytes.
fn place(org: OrgId, id: &str) -> SecretPlace<'_> {
    SecretPlace {
        org,
        kind: KIND_HOOK,
        id,
        version: 0,
    }
}
