//! `/v1/inbox`: everything that came from outside, with what became of it; and giving an event once more.

use super::{
    ApiState,
    auth::Caller,
    error::{ApiError, ApiResult, Problem},
    query::{NoQuery, Query, page},
    stale::Stale,
    text::{self, Path},
};
use crate::{
    domain::{InboxId, Timestamp},
    persistence::{
        InboxFilter, InboxReading, InboxRow, InboxVerdict, Page, StaleRead, inbox_get, inbox_list,
        inbox_reopen, inbox_reread,
    },
};
use axum::{Json, extract::State, http::StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// How long a replay waits for what becomes of the event.
const SETTLE_TIME: Duration = Duration::from_secs(10);
const TEXT_MAX: usize = 500;
const DUPLICATE: &str = "duplicate";
const REPLAYED: &str = "replayed";

#[derive(Serialize)]
pub struct InboxView {
    id: InboxId,
    source: String,
    scheme: String,
    kind: Option<String>,
    /// The sender's name for it.
    external_id: String,
    conversation_key: Option<String>,
    verdict: InboxVerdict,
    detail: Option<String>,
    /// The runs that it started or resumed.
    triggered: Value,
    received_at: Timestamp,
    /// How often it came, and when the last time.
    deliveries: i64,
    last_delivery_at: Timestamp,
    /// How often it was given again.
    replays: i64,
    headers: Value,
    /// Only when one event is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Value>,
}

fn view(row: InboxRow, whole: bool) -> InboxView {
    InboxView {
        id: row.id,
        source: row.source,
        scheme: row.scheme,
        kind: row.kind,
        external_id: row.external_id,
        conversation_key: row.conversation_key,
        verdict: row.verdict,
        detail: row.detail,
        triggered: text::json(Some(&row.triggered)),
        received_at: row.received,
        deliveries: row.deliveries,
        last_delivery_at: row.last,
        replays: row.replays,
        headers: text::json(Some(&row.headers)),
        payload: whole.then(|| text::json(Some(&row.payload))),
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// `pending`, `accepted`, `own_message`, `filtered`, `no_subscription`, `refused`, `unreadable` or `bad_signature`; or `duplicate` for what
    /// came more than once, `replayed` for what was given again.
    verdict: Option<String>,
    /// For example `hook:slack*` or `poll:mail`; `*` at the end stands for any rest.
    source: Option<String>,
    /// For example `app_mention`.
    kind: Option<String>,
    conversation_key: Option<String>,
    /// A text that stands in the payload, the headers or the external id.
    search: Option<String>,
    /// Received at this time or later, RFC 3339.
    since: Option<String>,
    /// Received before this time.
    until: Option<String>,
    limit: Option<u32>,
    after: Option<String>,
}

pub async fn list(
    State(api): State<ApiState>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> ApiResult<Stale<Json<Page<InboxView>>>> {
    let request = page(query.limit, query.after.as_deref())?;
    let filter = filter(query)?;
    let StaleRead { mut tx, replica } = api.db().begin_stale_read(caller.org).await?;
    let found = inbox_list(&mut tx, &filter, &request).await?;
    Ok(Stale(replica, Json(found.map(|row| view(row, false)))))
}

fn filter(query: ListQuery) -> ApiResult<InboxFilter> {
    let texts = [
        ("source", &query.source),
        ("kind", &query.kind),
        ("conversation_key", &query.conversation_key),
        ("search", &query.search),
    ];
    for (name, text) in texts {
        if text
            .as_deref()
            .is_some_and(|text| text.is_empty() || text.chars().count() > TEXT_MAX)
        {
            let detail = format!("`{name}` must have 1 to {TEXT_MAX} characters");
            return Err(ApiError::parameter(name, detail));
        }
    }
    let (duplicate, replayed, verdict) = match query.verdict.as_deref() {
        Some(DUPLICATE) => (true, false, None),
        Some(REPLAYED) => (false, true, None),
        Some(word) => (false, false, Some(verdict(word)?)),
        None => (false, false, None),
    };
    Ok(InboxFilter {
        verdict,
        duplicate,
        replayed,
        source: query.source,
        kind: query.kind,
        conversation_key: query.conversation_key,
        search: query.search,
        since: time("since", query.since.as_deref())?,
        until: time("until", query.until.as_deref())?,
    })
}

fn verdict(word: &str) -> ApiResult<InboxVerdict> {
    InboxVerdict::parse(word).ok_or_else(|| {
        let words: Vec<&str> = InboxVerdict::ALL
            .iter()
            .map(|one| one.name())
            .chain([DUPLICATE, REPLAYED])
            .collect();
        let detail = format!(
            "`verdict` is `{word}`; it must be one of {}",
            words.join(", ")
        );
        ApiError::parameter("verdict", detail)
    })
}

fn time(name: &str, text: Option<&str>) -> ApiResult<Option<Timestamp>> {
    text.map(|text| {
        Timestamp::parse(text).ok_or_else(|| {
            let detail =
                format!("`{name}` is `{text}`; it must be a time such as 2025-06-09T18:00:00Z");
            ApiError::parameter(name, detail)
        })
    })
    .transpose()
}

pub async fn show(
    State(api): State<ApiState>,
    caller: Caller,
    Path(entry): Path<String>,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<InboxView>> {
    Ok(Json(view(read(&api, &caller, &entry).await?, true)))
}

async fn read(api: &ApiState, caller: &Caller, entry: &str) -> ApiResult<InboxRow> {
    let id: InboxId = text::id("event", entry)?;
    let mut tx = api.db().begin_read(caller.org).await?;
    inbox_get(&mut tx, id)
        .await?
        .ok_or_else(|| ApiError::not_found("event", entry))
}

/// Gives an event to whom it concerns now, as if it had just come: runs are started again. One that could not be read is read once more.
pub async fn replay(
    State(api): State<ApiState>,
    caller: Caller,
    Path(entry): Path<String>,
) -> ApiResult<(StatusCode, Json<InboxView>)> {
    let id: InboxId = text::id("event", &entry)?;
    let mut tx = api.db().begin(caller.org).await?;
    let reopened = inbox_reopen(&mut tx, id).await?;
    tx.commit().await?;
    let row = match reopened {
        Some(row) => row,
        None => {
            let row = read(&api, &caller, &entry).await?;
            if row.verdict != InboxVerdict::Unreadable {
                return Err(not_now(&row));
            }
            let row = read_again(&api, &caller, &row).await?;
            if row.verdict != InboxVerdict::Pending {
                return Ok((StatusCode::ACCEPTED, Json(view(row, true))));
            }
            row
        }
    };
    let mut shown = row.clone();
    let settled = api.core().ingest().give_again(&row).await;
    if let Ok(Ok(settled)) = tokio::time::timeout(SETTLE_TIME, settled).await {
        // It is being written; what was decided is known already.
        shown.triggered = serde_json::to_string(&settled.triggered).map_err(ApiError::internal)?;
        shown.verdict = settled.verdict;
        shown.detail = settled.detail;
    }
    Ok((StatusCode::ACCEPTED, Json(view(shown, true))))
}

/// An event that could not be read as it stands now: pending if it can be read by now.
async fn read_again(api: &ApiState, caller: &Caller, row: &InboxRow) -> ApiResult<InboxRow> {
    let reading = api.core().ingest().read_again(row).await;
    let reading = reading.unwrap_or_else(|why| InboxReading {
        verdict: InboxVerdict::Unreadable,
        detail: Some(why),
        kind: None,
        conversation_key: None,
        payload: None,
    });
    let mut tx = api.db().begin(caller.org).await?;
    let row_now = inbox_reread(&mut tx, row.id, &reading).await?;
    tx.commit().await?;
    row_now.ok_or_else(|| not_now(row))
}

fn not_now(row: &InboxRow) -> ApiError {
    let detail = match row.verdict {
        InboxVerdict::BadSignature => "what an unproved request said was not kept",
        _ => "the event is being given already",
    };
    ApiError::new(Problem::NotReplayable, detail).with("verdict", row.verdict.name())
}
