//! `/v1/hooks`: endpoints that take webhooks, and how those prove who sends them. A secret is shown once, when it is made.
//!
//! A hook of the source `github` is called at `/hooks/github/{endpoint}`. Its events have the source `hook:github/{endpoint}`;
//! subscriptions may name it `hook:github` too, and `hook:github/{name}` if the hook was given a name. Which schemes there are and what can
//! be chosen of each, [`crate::connect::webhook::Options`] says.

use super::{
    ApiState,
    auth::Caller,
    body::{Json as JsonBody, OptionalJson},
    error::{ApiError, ApiResult},
    query::{PageQuery, Query},
    text::{self, Path},
};
use crate::{
    actors::{
        cluster::words::News,
        ingest::doors::{StoredSecret, open_secrets, seal_secrets},
    },
    connect::webhook::{Options, Scheme, Verifier},
    domain::{HookId, Timestamp},
    graph::spec::is_id,
    persistence::{
        DbError, HookRow, LIMIT_MAX, Page, PageRequest, SealedTable, Tx, hook_delete, hook_insert,
        hook_list, sealed_swap,
    },
};
use axum::{Json, extract::State, http::StatusCode};
use rand::{TryRngCore, rngs::OsRng};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// How long the secret before is good for after a rotation.
const OVERLAP: Duration = Duration::from_secs(24 * 3_600);
/// Secrets that a hook can have at once.
const SECRETS_MAX: usize = 5;

#[derive(Serialize)]
pub struct HookView {
    id: HookId,
    source: String,
    endpoint: String,
    /// Where the sender has to post to.
    path: String,
    scheme: String,
    /// What was chosen of the scheme.
    options: Value,
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
            options: text::json(Some(&row.options)),
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
    /// How requests prove who sends them: `standard_webhooks` (default), `slack`, `github`, `stripe`, `hmac`, `basic` or `token`.
    #[serde(default)]
    scheme: Scheme,
    /// What can be chosen of the scheme.
    #[serde(default)]
    options: Options,
    /// One that the sender has already, for example the signing secret of a Slack app; its form is the scheme's. Absent: one is made.
    #[schemars(with = "Option<String>")]
    secret: Option<SecretString>,
    /// Further secrets that are good as well, up to four: of other apps that call the same address, or of a rotation.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    more_secrets: Vec<SecretString>,
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
    let verifier = body
        .scheme
        .verifier(&body.options)
        .map_err(|error| ApiError::field(format!("options.{}", error.option), error.to_string()))?;
    if body.more_secrets.len() >= SECRETS_MAX {
        let detail = format!(
            "`more_secrets` must have {} entries at most",
            SECRETS_MAX - 1
        );
        return Err(ApiError::field("more_secrets", detail));
    }
    let brought = body.secret.iter().map(|secret| ("secret", secret));
    let more = body
        .more_secrets
        .iter()
        .map(|secret| ("more_secrets", secret));
    for (field, secret) in brought.chain(more) {
        verifier
            .check_secret(secret)
            .map_err(|error| ApiError::field(field, error.to_string()))?;
    }
    let secret = match body.secret {
        Some(secret) => secret,
        None => verifier.generate_secret(random()?),
    };
    let id = HookId::from_uuid(api.core().clock.uuid());
    let stored: Vec<StoredSecret> = [&secret]
        .into_iter()
        .chain(&body.more_secrets)
        .map(lasting)
        .collect();
    let row = HookRow {
        org_id: caller.org,
        id,
        endpoint: endpoint(body.name.as_deref())?,
        source: body.source,
        scheme: body.scheme.name().into(),
        sealed_secrets: seal_secrets(&api.core().vault, caller.org, id, &stored).await?,
        event_type: body.event_type,
        options: serde_json::to_string(&body.options).map_err(ApiError::internal)?,
        created: api.engine().now(),
    };
    let mut tx = api.db().begin(caller.org).await?;
    hook_insert(&mut tx, &row).await?;
    tx.commit().await?;
    changed(&api, &row).await;
    let mut view = HookView::from(row);
    view.secret = Some(secret.expose_secret().to_owned());
    Ok((StatusCode::CREATED, Json(view)))
}

fn lasting(secret: &SecretString) -> StoredSecret {
    StoredSecret {
        secret: secret.expose_secret().to_owned(),
        until_us: None,
    }
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

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateQuery {
    /// The secrets before are good no more at once, instead of in 24 hours.
    #[serde(default)]
    drop_old: bool,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RotateBody {
    /// The new secret, where the sender makes it. Absent: one is made.
    #[schemars(with = "Option<String>")]
    secret: Option<SecretString>,
}

/// Makes a new secret, which is shown once, or takes one.
pub async fn rotate(
    State(api): State<ApiState>,
    caller: Caller,
    Path(hook): Path<String>,
    Query(query): Query<RotateQuery>,
    OptionalJson(body): OptionalJson<RotateBody>,
) -> ApiResult<Json<HookView>> {
    let id: HookId = text::id("hook", &hook)?;
    let now = api.engine().now();
    let mut tx = api.db().begin_read(caller.org).await?;
    let row = find(&mut tx, id)
        .await?
        .ok_or_else(|| ApiError::not_found("hook", &hook))?;
    drop(tx);
    let verifier = verifier(&row)?;
    let secret = match body.secret {
        Some(secret) => secret,
        None => verifier.generate_secret(random()?),
    };
    verifier
        .check_secret(&secret)
        .map_err(|error| ApiError::field("secret", error.to_string()))?;
    let mut stored = match query.drop_old {
        true => Vec::new(),
        false => open_secrets(&api.core().vault, &row).await?,
    };
    stored.retain(|secret| secret.until_us.is_none_or(|until| until > now.micros()));
    for old in &mut stored {
        old.until_us.get_or_insert(now.after(OVERLAP).micros());
    }
    stored.insert(0, lasting(&secret));
    stored.truncate(SECRETS_MAX);
    // Before the transaction that writes: a seal may need one of its own.
    let sealed = seal_secrets(&api.core().vault, caller.org, id, &stored).await?;
    let (table, before) = (SealedTable::Hook, &row.sealed_secrets);
    let mut tx = api.db().begin(caller.org).await?;
    if !sealed_swap(&mut tx, table, id.uuid(), before, &sealed).await? {
        return Err(DbError::Stale("hook").into());
    }
    tx.commit().await?;
    changed(&api, &row).await;
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
    let row = find(&mut tx, id).await?;
    hook_delete(&mut tx, id).await?;
    tx.commit().await?;
    if let Some(row) = row {
        changed(&api, &row).await;
    }
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

fn verifier(row: &HookRow) -> ApiResult<Arc<dyn Verifier>> {
    let unreadable = || ApiError::internal(format!("hook {} cannot be read", row.id));
    let options: Options = serde_json::from_str(&row.options).map_err(|_| unreadable())?;
    let scheme = Scheme::parse(&row.scheme).ok_or_else(unreadable)?;
    scheme.verifier(&options).map_err(|_| unreadable())
}

async fn changed(api: &ApiState, row: &HookRow) {
    let (source, endpoint) = (row.source.clone(), row.endpoint.clone());
    api.core().changed(News::Door { source, endpoint }).await;
}
