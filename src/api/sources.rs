//! `/v1/sources`: outside systems that are asked for news now and then. What is new comes to the inbox, from `poll:{name}`.

use super::{
    ApiState,
    auth::Caller,
    body::Json as JsonBody,
    error::{ApiError, ApiResult},
    query::{NoQuery, PageQuery, Query},
    text::{self, Path},
};
use crate::{
    connect::{
        Capability,
        ingest::poll::{CursorRule, PollRule, one_or_more},
        request::check_arguments,
    },
    domain::{OrgId, SourceId, Timestamp},
    graph::spec::is_id,
    persistence::{
        Page, PollSourceRow, PollStatus, poll_source_delete, poll_source_get, poll_source_insert,
        poll_source_list, poll_source_set_status,
    },
};
use axum::{Json, extract::State, http::StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const EVERY_S: std::ops::RangeInclusive<u32> = 5..=7 * 86_400;

#[derive(Serialize)]
pub struct SourceView {
    id: SourceId,
    name: String,
    kind: &'static str,
    /// As subscriptions name it.
    source: String,
    capability: String,
    connection: Option<String>,
    arguments: Value,
    #[serde(flatten)]
    rule: Value,
    every_seconds: i64,
    status: PollStatus,
    /// How far has been read.
    position: Option<String>,
    next_at: Timestamp,
    last_at: Option<Timestamp>,
    error: Option<String>,
    created_at: Timestamp,
}

impl From<PollSourceRow> for SourceView {
    fn from(row: PollSourceRow) -> Self {
        Self {
            id: row.id,
            source: format!("poll:{}", row.name),
            name: row.name,
            kind: "poll",
            capability: row.capability,
            connection: row.connection,
            arguments: text::json(Some(&row.arguments)),
            rule: text::json(Some(&row.rule)),
            every_seconds: row.every_us / 1_000_000,
            status: row.status,
            position: row.cursor,
            next_at: row.next_due,
            last_at: row.last,
            error: row.error,
            created_at: row.created,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Poll,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceBody {
    #[serde(rename = "kind")]
    _kind: Kind,
    /// Letters, digits, `-` and `_`; its events come from `poll:{name}`.
    name: String,
    /// A read of the catalog, for example `gmail.search`.
    capability: String,
    /// Name of the connection; absent: the oldest one of the integration.
    connection: Option<String>,
    /// `{cursor}` in one of their texts stands for how far has been read.
    arguments: Value,
    /// From 5 to 604800.
    every_seconds: u32,
    /// JSON pointer to the list of items in the result.
    items: String,
    /// JSON pointers, one or several, that name an item together.
    #[serde(deserialize_with = "one_or_more")]
    #[schemars(with = "Vec<String>")]
    item_id: Vec<String>,
    /// The type of its events.
    event: Option<String>,
    /// How far has been read, and how that is told.
    cursor: CursorRule,
}

pub async fn create(
    State(api): State<ApiState>,
    caller: Caller,
    JsonBody(body): JsonBody<SourceBody>,
) -> ApiResult<(StatusCode, Json<SourceView>)> {
    if !is_id(&body.name) {
        let detail = "`name` must have 1 to 64 letters, digits, - and _";
        return Err(ApiError::field("name", detail));
    }
    if !EVERY_S.contains(&body.every_seconds) {
        let detail = format!(
            "`every_seconds` must be {} to {}",
            EVERY_S.start(),
            EVERY_S.end()
        );
        return Err(ApiError::field("every_seconds", detail));
    }
    text::short_if("connection", body.connection.as_deref(), 100)?;
    text::short_if("event", body.event.as_deref(), 200)?;
    let capability = capability(&api, caller.org, &body.capability).await?;
    let now = api.engine().now();
    let (rule, cursor) = rule(&body, &capability, now)?;
    let row = PollSourceRow {
        org_id: caller.org,
        id: SourceId::from_uuid(api.core().clock.uuid()),
        name: body.name,
        capability: body.capability,
        connection: body.connection,
        arguments: body.arguments.to_string(),
        rule: serde_json::to_string(&rule).map_err(ApiError::internal)?,
        every_us: i64::from(body.every_seconds) * 1_000_000,
        status: PollStatus::Active,
        cursor,
        next_due: now,
        last: None,
        error: None,
        created: now,
    };
    let mut tx = api.db().begin(caller.org).await?;
    poll_source_insert(&mut tx, &row).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(row.into())))
}

async fn capability(api: &ApiState, org: OrgId, id: &str) -> ApiResult<std::sync::Arc<Capability>> {
    let catalog = api.core().catalogs.of(org).await?;
    let Some(capability) = catalog.capability(id) else {
        let hint = catalog
            .nearest(id)
            .map(|near| format!("; did you mean `{near}`?"))
            .unwrap_or_default();
        let detail = format!("`{id}` is not in the catalog{hint}");
        return Err(ApiError::field("capability", detail));
    };
    match capability.write {
        true => Err(ApiError::field(
            "capability",
            format!("`{id}` changes something; news are read"),
        )),
        false => Ok(capability.clone()),
    }
}

/// The rule, and where reading begins.
fn rule(
    body: &SourceBody,
    capability: &Capability,
    now: Timestamp,
) -> ApiResult<(PollRule, Option<String>)> {
    let rule = PollRule {
        items: body.items.clone(),
        item_id: body.item_id.clone(),
        event: body.event.clone(),
        cursor: body.cursor.clone(),
    };
    if let Some((field, message)) = rule.wrong(&body.arguments) {
        return Err(ApiError::field(field, format!("`{field}` {message}")));
    }
    let start = rule.start(now);
    let first = rule.arguments(&body.arguments, start.as_deref());
    check_arguments(capability, &first).map_err(|error| {
        let field = format!("arguments.{}", error.field);
        ApiError::field(field, format!("argument {error}"))
    })?;
    Ok((rule, start))
}

pub async fn list(
    State(api): State<ApiState>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> ApiResult<Json<Page<SourceView>>> {
    let mut tx = api.db().begin_read(caller.org).await?;
    let found = poll_source_list(&mut tx, &query.request()?).await?;
    Ok(Json(found.map(SourceView::from)))
}

pub async fn show(
    State(api): State<ApiState>,
    caller: Caller,
    Path(source): Path<String>,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<SourceView>> {
    let id: SourceId = text::id("source", &source)?;
    read(&api, &caller, id, &source).await
}

async fn read(
    api: &ApiState,
    caller: &Caller,
    id: SourceId,
    text: &str,
) -> ApiResult<Json<SourceView>> {
    let mut tx = api.db().begin_read(caller.org).await?;
    let row = poll_source_get(&mut tx, id).await?;
    row.map(|row| Json(row.into()))
        .ok_or_else(|| ApiError::not_found("source", text))
}

pub async fn pause(
    state: State<ApiState>,
    caller: Caller,
    path: Path<String>,
) -> ApiResult<Json<SourceView>> {
    set_status(state, caller, path, PollStatus::Paused).await
}

/// Reads on from where it stopped, at once.
pub async fn resume(
    state: State<ApiState>,
    caller: Caller,
    path: Path<String>,
) -> ApiResult<Json<SourceView>> {
    set_status(state, caller, path, PollStatus::Active).await
}

async fn set_status(
    State(api): State<ApiState>,
    caller: Caller,
    Path(source): Path<String>,
    status: PollStatus,
) -> ApiResult<Json<SourceView>> {
    let id: SourceId = text::id("source", &source)?;
    let mut tx = api.db().begin(caller.org).await?;
    poll_source_set_status(&mut tx, id, status, api.engine().now()).await?;
    tx.commit().await?;
    read(&api, &caller, id, &source).await
}

pub async fn delete(
    State(api): State<ApiState>,
    caller: Caller,
    Path(source): Path<String>,
) -> ApiResult<StatusCode> {
    let id: SourceId = text::id("source", &source)?;
    let mut tx = api.db().begin(caller.org).await?;
    poll_source_delete(&mut tx, id).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
