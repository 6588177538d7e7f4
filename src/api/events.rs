//! `/v1/events` and `/v1/runs/{id}/events`: what happens, as it happens (SSE) or page by page. The id of an event is a place in the
//! journal: whoever comes back with it as `Last-Event-ID` goes on exactly there.

use super::{
    ApiState,
    auth::{Caller, Presented},
    error::{ApiError, ApiResult},
    owner::may_see,
    query::{Query, page},
    runs::existing,
    streams::StreamPlace,
    text::{self, Path},
};
use crate::{
    actors::events::{EventReader, Placed},
    domain::{ExecutionId, event::PlatformEvent},
    persistence::{Backend, Cursor, StreamScope, run_get, stream_tip},
};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderName, header},
    response::{
        IntoResponse, Response,
        sse::{Event as SseEvent, Sse},
    },
};
use futures::stream;
use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, convert::Infallible, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

/// A stream without events says that it is there this often, and where it is.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a client should wait before it comes back; where the node stops, another one may take it at once.
const RETRY: Duration = Duration::from_secs(2);
/// Facts that a stream reads at once.
const PAGE: u32 = 100;
/// Looks shortly after a commit: PostgreSQL may show it a moment late. Later ones are ticks of their own.
const BUSY_LOOK: Duration = Duration::from_millis(50);
const BUSY_LOOKS: u32 = 4;
const GATHER: Duration = Duration::from_millis(15);
/// How often it is asked whether the key still opens this stream, at the latest.
const RIGHTS_EVERY: Duration = Duration::from_secs(4);

/// Proxies that gather answers are asked not to.
static X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

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
    /// `sse`, or `json` for one page. Absent: as the header `Accept` says, and a stream where that says neither.
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
    key: Presented,
    headers: HeaderMap,
    Query(query): Query<EventsQuery>,
) -> ApiResult<Response> {
    open(&api, (caller, key), &headers, query, StreamScope::Org).await
}

pub async fn run(
    State(api): State<ApiState>,
    caller: Caller,
    key: Presented,
    Path(run): Path<String>,
    headers: HeaderMap,
    Query(query): Query<EventsQuery>,
) -> ApiResult<Response> {
    let execution: ExecutionId = text::id("run", &run)?;
    let mut tx = api.db().begin_read(caller.org).await?;
    existing(&mut tx, execution, &run).await?;
    drop(tx);
    let scope = StreamScope::Run(execution);
    open(&api, (caller, key), &headers, query, scope).await
}

async fn open(
    api: &ApiState,
    (caller, key): (Caller, Presented),
    headers: &HeaderMap,
    query: EventsQuery,
    scope: StreamScope,
) -> ApiResult<Response> {
    let types = wanted(query.types.as_deref())?;
    let after = place(api, &caller, headers, query.after.as_deref()).await?;
    let mut reader = EventReader::new(api.core().clone(), caller.org, scope);
    let as_page = match query.format.as_deref() {
        None => prefers_json(headers),
        Some("json") => true,
        Some("sse") => false,
        Some(other) => {
            let detail = format!("`format` is `{other}`; it must be sse or json");
            return Err(ApiError::parameter("format", detail));
        }
    };
    if as_page {
        let limit = page(query.limit, None)?.limit();
        let (events, end) = reader.page(after, limit).await?;
        let items = events.into_iter().map(|(_, event)| event);
        let items = items.filter(|event| fits(&types, &caller, event)).collect();
        let next = (end != after).then(|| end.to_string());
        return Ok(Json(EventPage { items, next }).into_response());
    }
    let place = api.streams().admit(&caller)?;
    let follower = Follower::new(
        api.clone(),
        (caller, key),
        scope,
        reader,
        after,
        types,
        place,
    );
    let events = stream::unfold(follower, Follower::next);
    let headers = [(X_ACCEL_BUFFERING.clone(), "no")];
    Ok((headers, Sse::new(events)).into_response())
}

/// Whether the client would rather have JSON than a stream of events. One that takes anything gets the stream.
fn prefers_json(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT).iter();
    let ranges = lines.filter_map(|line| line.to_str().ok());
    let (mut json, mut events) = (0.0_f32, 0.0_f32);
    for range in ranges.flat_map(|line| line.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts.find_map(|part| part.strip_prefix("q="));
        let quality: f32 = quality.map_or(1.0, |text| text.parse().unwrap_or(0.0));
        match &*kind {
            "application/json" => json = json.max(quality),
            "text/event-stream" => events = events.max(quality),
            _ => {}
        }
    }
    json > events
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
    key: Presented,
    scope: StreamScope,
    reader: EventReader,
    after: Cursor,
    types: Option<Arc<[&'static str]>>,
    commits: watch::Receiver<u64>,
    revocations: watch::Receiver<u64>,
    /// Ready when the stream has to end: its client goes on elsewhere.
    leaving: Pin<Box<dyn Future<Output = ()> + Send>>,
    waiting: VecDeque<Placed>,
    /// There may be something to read.
    is_behind: bool,
    /// Without anything new since the last commit.
    looks: u32,
    heartbeat: Instant,
    ask_rights: Instant,
    stage: Stage,
    _place: StreamPlace,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing was sent yet.
    New,
    Open,
    /// The last frame was sent.
    Over,
}

/// What a follower has waited for.
enum Next {
    Look,
    AskRights,
    Heartbeat,
    /// The client comes back with its place.
    Leave,
    End,
}

impl Follower {
    fn new(
        api: ApiState,
        (caller, key): (Caller, Presented),
        scope: StreamScope,
        reader: EventReader,
        after: Cursor,
        types: Option<Arc<[&'static str]>>,
        place: StreamPlace,
    ) -> Self {
        let (now, org) = (Instant::now(), caller.org);
        // Not all at once, if many were opened at once.
        let first = rand::rng().random_range(0.5..1.0);
        Self {
            // Marked as seen before the first look: what is committed after that look is noticed.
            commits: api.core().journal.org_commits().follow(org),
            revocations: api.keys().revocations(),
            leaving: Box::pin(leaving(api.clone())),
            waiting: VecDeque::new(),
            is_behind: true,
            looks: 0,
            heartbeat: now + HEARTBEAT,
            ask_rights: now + RIGHTS_EVERY.mul_f64(first),
            stage: Stage::New,
            _place: place,
            api,
            caller,
            key,
            scope,
            reader,
            after,
            types,
        }
    }

    /// The next frame; `None` ends the stream.
    async fn next(mut self) -> Option<(Result<SseEvent, Infallible>, Self)> {
        if self.stage == Stage::New {
            self.stage = Stage::Open;
            let frame = self.here().retry(RETRY);
            return Some((Ok(frame), self));
        }
        loop {
            if self.stage == Stage::Over {
                return None;
            }
            if self.has_to_leave() {
                return Some(self.left());
            }
            if !self.has_rights().await {
                return None;
            }
            while let Some((cursor, event)) = self.waiting.pop_front() {
                // A run has nothing to say after this.
                let is_last = matches!(self.scope, StreamScope::Run(_))
                    && matches!(event, PlatformEvent::ExecutionResult(_));
                if is_last {
                    self.stage = Stage::Over;
                }
                if !fits(&self.types, &self.caller, &event) {
                    continue;
                }
                let sse = SseEvent::default()
                    .id(cursor.to_string())
                    .event(event.name());
                match serde_json::to_string(&event) {
                    Ok(data) => {
                        self.heartbeat = Instant::now() + HEARTBEAT;
                        return Some((Ok(sse.data(data)), self));
                    }
                    Err(error) => tracing::warn!(%error, "event left out"),
                }
            }
            if self.stage == Stage::Over {
                return None;
            }
            let next = match std::mem::take(&mut self.is_behind) {
                true => self.look().await,
                false => self.wait().await,
            };
            match next {
                Next::Look => self.is_behind = true,
                Next::AskRights => {}
                Next::Heartbeat => {
                    self.heartbeat = Instant::now() + HEARTBEAT;
                    let frame = self.here().comment("still here");
                    return Some((Ok(frame), self));
                }
                Next::Leave => return Some(self.left()),
                Next::End => return None,
            }
        }
    }

    /// A frame without an event, that says where the stream is: what was read and is not for this client need not be read again.
    fn here(&self) -> SseEvent {
        SseEvent::default().id(self.after.to_string())
    }

    /// The last frame of a stream that its client should go on with at another node.
    fn left(mut self) -> (Result<SseEvent, Infallible>, Self) {
        self.stage = Stage::Over;
        let place = match self.waiting.front() {
            // Read, and not sent: the client's own place is the last that it has seen.
            Some(_) => SseEvent::default(),
            None => self.here(),
        };
        let frame = place.retry(RETRY / 4).comment("the node stops; come back");
        (Ok(frame), self)
    }

    fn has_to_leave(&mut self) -> bool {
        futures::FutureExt::now_or_never(&mut self.leaving).is_some()
    }

    /// Asks now and then whether the key would still be let in, with no smaller a role and for the same person.
    async fn has_rights(&mut self) -> bool {
        let told = self.revocations.has_changed().unwrap_or(true);
        if !told && Instant::now() < self.ask_rights {
            return true;
        }
        self.revocations.mark_unchanged();
        self.ask_rights = Instant::now() + RIGHTS_EVERY;
        let (keys, now) = (self.api.keys(), self.api.engine().now());
        match keys.again(self.api.db(), self.key, now).await {
            Ok(now) => {
                let Caller {
                    org, role, user, ..
                } = &self.caller;
                let same = (now.org, &now.user) == (*org, user) && now.role >= *role;
                self.caller = now;
                same
            }
            // Who it is cannot be found out, or it is nobody any more; a client that may comes back with the last id that it has seen.
            Err(_) => false,
        }
    }

    /// Reads on, or waits.
    async fn look(&mut self) -> Next {
        self.commits.mark_unchanged();
        match self.reader.page(self.after, PAGE).await {
            Ok((events, end)) if end != self.after => {
                self.after = end;
                self.waiting.extend(events);
                self.looks = 0;
                return Next::Look;
            }
            Ok(_) => {}
            // The client comes back with the last id that it has seen.
            Err(error) => {
                tracing::warn!(%error, "event stream ends");
                return Next::End;
            }
        }
        if self.is_finished().await {
            return Next::End;
        }
        self.wait().await
    }

    /// Whether it is a run's stream, opened behind the run's last event.
    async fn is_finished(&mut self) -> bool {
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

    /// How often it is looked again though nothing was committed.
    fn busy_looks(&self) -> u32 {
        match (self.api.db().backend(), self.scope) {
            // What is committed there is seen at once.
            (Backend::Sqlite, StreamScope::Org) => 0,
            _ => BUSY_LOOKS,
        }
    }

    async fn wait(&mut self) -> Next {
        let looks_again = self.looks < self.busy_looks();
        self.looks = self.looks.saturating_add(1);
        let rights = self.ask_rights;
        tokio::select! {
            () = &mut self.leaving => Next::Leave,
            () = sleep(BUSY_LOOK), if looks_again => Next::Look,
            () = sleep_until(self.heartbeat) => Next::Heartbeat,
            () = sleep_until(rights) => Next::AskRights,
            changed = self.revocations.changed() => match changed {
                Ok(()) => {
                    self.revocations.mark_changed();
                    Next::AskRights
                }
                Err(_) => Next::End,
            },
            changed = self.commits.changed() => {
                self.looks = 0;
                // A busy org commits hundreds of times a second: one look for several commits.
                sleep(GATHER).await;
                if changed.is_ok() { Next::Look } else { Next::End }
            }
        }
    }
}

/// Ready when the service stops, or when the node begins to give away what lives there. Who comes to a node that does so already stays until
/// it stops.
async fn leaving(api: ApiState) {
    let is_draining = api.engine().is_draining();
    tokio::select! {
        () = api.closing().cancelled() => {}
        () = api.engine().drain_begins(), if !is_draining => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_given_to_whom_it_is_dearer() {
        for (accept, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/json, */*", true),
            ("application/json;q=0.9, text/event-stream;q=0.5", true),
            ("text/event-stream", false),
            ("text/event-stream, application/json", false),
            ("application/json;q=0.1, text/event-stream", false),
            ("*/*", false),
            ("application/*", false),
            ("text/html", false),
            ("application/json;q=0", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().expect("a value"));
            assert_eq!(prefers_json(&headers), expected, "{accept}");
        }
        assert!(!prefers_json(&HeaderMap::new()));
    }
}
