//! `/v1/events` and `/v1/runs/{id}/events`: what happens, as it happens (SSE) or page by page. The id of an event is a place in the
//! journal: whoever comes back with it as `Last-Event-ID` goes on exactly there.

use super::{
    ApiState,
    auth::Caller,
    error::{ApiError, ApiResult, Problem},
    owner::may_see,
    query::{Query, page},
    runs::existing,
    text::{self, Path},
};
use crate::{
    actors::events::{EventReader, Placed},
    domain::{ExecutionId, event::PlatformEvent},
    persistence::{Cursor, StreamScope, run_get, stream_tip},
};
use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{
        IntoResponse, Response,
        sse::{Event as SseEvent, KeepAlive, Sse},
    },
};
use futures::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, watch};

const HEARTBEAT: Duration = Duration::from_secs(15);
/// Facts that a stream reads at once.
const PAGE: u32 = 100;
/// Looks at the database without a commit of this node: another node may have written, or PostgreSQL may show a commit a moment late.
const IDLE_LOOK: Duration = Duration::from_secs(1);
/// The same, shortly after a commit.
const BUSY_LOOK: Duration = Duration::from_millis(50);
const BUSY_LOOKS: u32 = 20;
const GATHER: Duration = Duration::from_millis(15);

const TYPES: [&str; 5] = [
    "runIntent",
    "agentEvent",
    "executionResult",
    "GraphDefined",
    "connection.needs_reauth",
];

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// Go on after this event; `now`: only what happens from now on. Absent: from the beginning. `Last-Event-ID` goes before it.
    after: Option<String>,
    /// Only these, separated by commas: `runIntent`, `agentEvent`, `executionResult`, `GraphDefined`,
    /// `connection.needs_reauth`.
    types: Option<String>,
    /// `sse` (default), or `json` for one page.
    format: Option<String>,
    /// Of a page.
    limit: Option<u32>,
}

#[derive(Serialize)]
struct EventPage {
    items: Vec<PlatformEvent>,
    /// Where the next page begins, also when there is nothing behind it yet.
    next: Option<String>,
}

pub async fn org(
    State(api): State<ApiState>,
    caller: Caller,
    headers: HeaderMap,
    Query(query): Query<EventsQuery>,
) -> ApiResult<Response> {
    open(&api, caller, &headers, query, StreamScope::Org).await
}

pub async fn run(
    State(api): State<ApiState>,
    caller: Caller,
    Path(run): Path<String>,
    headers: HeaderMap,
    Query(query): Query<EventsQuery>,
) -> ApiResult<Response> {
    let execution: ExecutionId = text::id("run", &run)?;
    let mut tx = api.db().begin_read(caller.org).await?;
    existing(&mut tx, execution, &run).await?;
    drop(tx);
    open(&api, caller, &headers, query, StreamScope::Run(execution)).await
}

async fn open(
    api: &ApiState,
    caller: Caller,
    headers: &HeaderMap,
    query: EventsQuery,
    scope: StreamScope,
) -> ApiResult<Response> {
    let types = wanted(query.types.as_deref())?;
    let after = place(api, &caller, headers, query.after.as_deref()).await?;
    let mut reader = EventReader::new(api.core().clone(), caller.org, scope);
    match query.format.as_deref() {
        Some("json") => {
            let limit = page(query.limit, None)?.limit();
            let (events, end) = reader.page(after, limit).await?;
            let items = events.into_iter().map(|(_, event)| event);
            let items = items.filter(|event| fits(&types, &caller, event)).collect();
            let next = (end != after).then(|| end.to_string());
            Ok(Json(EventPage { items, next }).into_response())
        }
        None | Some("sse") => {
            let permit = api.streams().clone().try_acquire_owned().map_err(|_| {
                ApiError::new(Problem::Unavailable, "too many event streams are open")
                    .retry_after(5)
            })?;
            let follower = Follower {
                api: api.clone(),
                caller,
                scope,
                reader,
                after,
                types,
                // Marked as seen before the first look: what is committed after that look is noticed.
                commits: api.core().journal.commits(),
                waiting: VecDeque::new(),
                looks: 0,
                over: false,
                _permit: permit,
            };
            let events = stream::unfold(follower, Follower::next);
            let keep_alive = KeepAlive::new().interval(HEARTBEAT).text("still here");
            Ok(Sse::new(events).keep_alive(keep_alive).into_response())
        }
        Some(other) => Err(ApiError::parameter(
            "format",
            format!("`format` is `{other}`; it must be sse or json"),
        )),
    }
}

fn wanted(types: Option<&str>) -> ApiResult<Option<Arc<[&'static str]>>> {
    let Some(text) = types else { return Ok(None) };
    let names = text.split(',').map(str::trim).map(|name| {
        TYPES
            .into_iter()
            .find(|known| *known == name)
            .ok_or_else(|| {
                ApiError::parameter(
                    "types",
                    format!(
                        "`{name}` is no type of event; there are {}",
                        TYPES.join(", ")
                    ),
                )
            })
    });
    names.collect::<ApiResult<_>>().map(Some)
}

/// Whether the caller wants it, and may see it: one user's connections are nobody else's.
fn fits(types: &Option<Arc<[&'static str]>>, caller: &Caller, event: &PlatformEvent) -> bool {
    let may_see = match event {
        PlatformEvent::ConnectionNeedsReauth(dead) => may_see(caller, dead.owner.as_deref()),
        _ => true,
    };
    may_see
        && types
            .as_ref()
            .is_none_or(|types| types.contains(&event.name()))
}

async fn place(
    api: &ApiState,
    caller: &Caller,
    headers: &HeaderMap,
    after: Option<&str>,
) -> ApiResult<Cursor> {
    let last = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok());
    let (name, text) = match (last, after) {
        (Some(text), _) => ("Last-Event-ID", text),
        (None, Some(text)) => ("after", text),
        (None, None) => return Ok(Cursor::START),
    };
    if text == "now" {
        let mut tx = api.db().begin_read(caller.org).await?;
        return Ok(stream_tip(&mut tx).await?);
    }
    text.parse().map_err(|_| {
        ApiError::parameter(
            name,
            format!("`{name}` must be the id of an event of this stream, or now"),
        )
    })
}

/// One client that follows a stream.
struct Follower {
    api: ApiState,
    caller: Caller,
    scope: StreamScope,
    reader: EventReader,
    after: Cursor,
    types: Option<Arc<[&'static str]>>,
    commits: watch::Receiver<u64>,
    waiting: VecDeque<Placed>,
    /// Without anything new since the last commit.
    looks: u32,
    over: bool,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    /// The next event that is wanted; `None` ends the stream.
    async fn next(mut self) -> Option<(Result<SseEvent, Infallible>, Self)> {
        loop {
            while let Some((cursor, event)) = self.waiting.pop_front() {
                // A run has nothing to say after this.
                self.over |= matches!(self.scope, StreamScope::Run(_))
                    && matches!(event, PlatformEvent::ExecutionResult(_));
                if !fits(&self.types, &self.caller, &event) {
                    continue;
                }
                let sse = SseEvent::default()
                    .id(cursor.to_string())
                    .event(event.name());
                match serde_json::to_string(&event) {
                    Ok(data) => return Some((Ok(sse.data(data)), self)),
                    Err(error) => tracing::warn!(%error, "event left out"),
                }
            }
            if self.over || !self.look().await {
                return None;
            }
        }
    }

    /// Reads on, or waits; false if the stream is at its end.
    async fn look(&mut self) -> bool {
        self.commits.mark_unchanged();
        match self.reader.page(self.after, PAGE).await {
            Ok((events, end)) if end != self.after => {
                self.after = end;
                self.waiting.extend(events);
                self.looks = 0;
                return true;
            }
            Ok(_) => {}
            // The client comes back with the last id that it has seen.
            Err(error) => {
                tracing::warn!(%error, "event stream ends");
                return false;
            }
        }
        !self.is_finished().await && self.wait().await
    }

    /// Whether it is a run's stream, opened behind the run's last event.
    async fn is_finished(&self) -> bool {
        let StreamScope::Run(execution) = self.scope else {
            return false;
        };
        let row = async {
            let mut tx = self.api.db().begin_read(self.caller.org).await?;
            run_get(&mut tx, execution).await
        };
        // Once its end can be seen in the row, it could be seen in the page that was empty, unless PostgreSQL shows that a moment later.
        self.looks > 2
            && matches!(row.await, Ok(row) if row.as_ref().is_none_or(|row| row.status.is_finished()))
    }

    async fn wait(&mut self) -> bool {
        let pause = if self.looks < BUSY_LOOKS {
            BUSY_LOOK
        } else {
            IDLE_LOOK
        };
        self.looks = self.looks.saturating_add(1);
        tokio::select! {
            () = self.api.closing().cancelled() => false,
            () = tokio::time::sleep(pause) => true,
            changed = self.commits.changed() => {
                self.looks = self.looks.min(3);
                // A busy node commits hundreds of times a second, mostly for others: one look for several commits.
                tokio::time::sleep(GATHER).await;
                changed.is_ok()
            }
        }
    }
}
