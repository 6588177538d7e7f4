//! Ingestion: what comes from outside is proved, kept in the inbox, and given to whom it concerns.
//!
//! The order is the point. A sender is answered when its event is durable, and not before; then the event is routed, and what became of it
//! is written down. An event that is durable and was not routed when the process ended is routed by the next one, and routing twice starts
//! nothing twice, since each run is claimed under the event's name.

pub mod approvals;
mod asking;
mod backlog;
mod channels;
mod dispatch;
pub mod doors;
mod giving;
mod polling;
mod unread;
mod verdict;

pub use dispatch::Settled;
pub use doors::{Door, DoorError};
pub use verdict::Triggered;

use super::{
    append::new_append,
    cluster::{duty, words::News},
    core::Core,
    journal::JournalError,
    router::Routed,
};
use crate::{
    connect::{HttpCaller, ingest::Incoming, webhook::HeaderMap, webhook::WebhookError},
    domain::{ContentHash, InboxId, OrgId},
    persistence::{AppendOutcome, InboxChange, InboxRow, InboxVerdict, inbox_place},
    telemetry,
};
use dispatch::Dispatcher;
use doors::Doors;
use ractor::ActorCell;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Longer names of events are replaced by their hash, so that an index can hold them.
const NAME_MAX: usize = 512;
const KIND_MAX: usize = 200;
/// Refused requests of one endpoint are written down this often at most; in between they are counted.
const REFUSALS_EVERY: Duration = Duration::from_secs(1);
const MINUTE_US: i64 = 60_000_000;

/// Why an event was not taken. Its sender should send it again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IngestError {
    #[error("the node takes no new events at the moment")]
    Overloaded,
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// An event that is durable.
#[derive(Debug)]
pub struct Receipt {
    pub entry: InboxId,
    /// It had come before; nothing more follows from this delivery.
    pub duplicate: bool,
    /// Tells what became of it, unless it is a duplicate. Closes without a word if that will only be known later.
    pub settled: Option<oneshot::Receiver<Settled>>,
}

/// The way in. Cheap to clone.
#[derive(Clone)]
pub struct IngestHandle(Arc<Inner>);

struct Inner {
    core: Arc<Core>,
    dispatcher: Dispatcher,
    doors: Doors,
    refusals: Mutex<HashMap<String, Refusals>>,
}

/// Requests to an endpoint that were refused since the last time that this was written down.
struct Refusals {
    count: i64,
    written: Instant,
}

/// Starts the actors of ingestion below `parent`.
pub(super) async fn spawn(
    parent: ActorCell,
    core: Arc<Core>,
    http: HttpCaller,
) -> Result<IngestHandle, ractor::SpawnErr> {
    let dispatcher = Dispatcher::spawn(parent.clone(), core.clone(), http).await?;
    let handle = IngestHandle(Arc::new(Inner {
        doors: Doors::new(core.db.at_the_edge(), core.vault.clone()),
        core: core.clone(),
        dispatcher,
        refusals: Mutex::default(),
    }));
    asking::spawn(parent.clone(), core.clone()).await?;
    polling::spawn(parent, core, handle.clone()).await?;
    Ok(handle)
}

impl IngestHandle {
    /// The endpoint `/hooks/{source}/{endpoint}` with all that is needed to look at a request; `None`: there is none.
    ///
    /// # Errors
    /// If it cannot be read, or its secrets cannot be opened.
    pub async fn door(&self, source: &str, endpoint: &str) -> Result<Option<Arc<Door>>, DoorError> {
        self.0.doors.find(source, endpoint).await
    }

    /// An endpoint was made, changed or removed on this node.
    pub fn door_changed(&self, source: &str, endpoint: &str) {
        self.0.doors.forget(source, endpoint);
    }

    /// Takes an event; returns when it is durable. What is no echo is given to whom it concerns after that.
    ///
    /// # Errors
    /// If it did not become durable.
    pub async fn take(
        &self,
        org: OrgId,
        source: &str,
        scheme: &'static str,
        headers: &Value,
        incoming: Incoming,
    ) -> Result<Receipt, IngestError> {
        let core = &self.0.core;
        if core.journal.overloaded(org) {
            return Err(IngestError::Overloaded);
        }
        let row = self.row(org, source, scheme, headers, incoming);
        let (entry, verdict) = (row.id, row.verdict);
        let (detail, conversation) = (row.detail.clone(), row.conversation_key.clone());
        let mut append = new_append(org);
        append.inbox.push(InboxChange::Receive(Arc::new(row)));
        match core.journal.write(None, append).await? {
            AppendOutcome::Known { entry } => {
                telemetry::event_received(scheme, "duplicate");
                Ok(Receipt {
                    entry,
                    duplicate: true,
                    settled: None,
                })
            }
            _ => {
                telemetry::event_received(scheme, verdict.name());
                let settled = match verdict {
                    InboxVerdict::Pending => self.offer(org, entry, conversation).await,
                    verdict => settled(verdict, detail),
                };
                Ok(Receipt {
                    entry,
                    duplicate: false,
                    settled: Some(settled),
                })
            }
        }
    }

    /// Gives an event of the inbox once more; it has been put back to pending.
    pub async fn give_again(&self, row: &InboxRow) -> oneshot::Receiver<Settled> {
        let conversation = row.conversation_key.clone();
        self.offer(row.org_id, row.id, conversation).await
    }

    /// Tells the dispatcher of a durable event. One node gives the events of all; if it is another one it is told, and what becomes of the event is
    /// only known later. This is a hint: it may be late or lost, and which event is given next is read from the database.
    async fn offer(
        &self,
        org: OrgId,
        id: InboxId,
        conversation: Option<String>,
    ) -> oneshot::Receiver<Settled> {
        let core = &self.0.core;
        if core.has_duty(duty::INBOX).await {
            return self.0.dispatcher.offer(org, id, conversation);
        }
        if let Some(cluster) = &core.cluster {
            cluster.tell_who_has(duty::INBOX, News::Inbox { org, id });
        }
        oneshot::channel().1
    }

    /// There may be pending events in the database that nobody here knows of.
    pub fn look_again(&self) {
        self.0.dispatcher.look_again();
    }

    /// An event that another node has taken.
    pub async fn give_of_another(&self, org: OrgId, id: InboxId) {
        let core = &self.0.core;
        if !core.has_duty(duty::INBOX).await {
            return;
        }
        let read = async {
            let mut tx = core.db.begin_read(org).await?;
            inbox_place(&mut tx, id).await
        };
        // If it cannot be read now, it is found with the next look.
        if let Ok(Some(conversation)) = read.await {
            drop(self.0.dispatcher.offer(org, id, conversation));
        }
    }

    fn row(
        &self,
        org: OrgId,
        source: &str,
        scheme: &'static str,
        headers: &Value,
        incoming: Incoming,
    ) -> InboxRow {
        let core = &self.0.core;
        let (id, now) = (InboxId::from_uuid(core.clock.uuid()), core.clock.now());
        let verdict = match incoming.echo {
            Some(_) => InboxVerdict::OwnMessage,
            None => InboxVerdict::Pending,
        };
        InboxRow {
            org_id: org,
            id,
            source: source.to_owned(),
            scheme: scheme.to_owned(),
            external_id: incoming.external_id.map_or_else(|| id.to_string(), name),
            kind: incoming.kind.map(|kind| clean(&kind, KIND_MAX)),
            conversation_key: incoming.conversation.map(|key| clean(&key, NAME_MAX)),
            received: now,
            headers: headers.to_string(),
            payload: incoming.payload.to_string(),
            verdict,
            detail: incoming.echo.map(str::to_owned),
            triggered: "[]".into(),
            deliveries: 1,
            last: now,
            replays: 0,
        }
    }

    /// A request was refused because it did not prove who sent it. It is counted; one row of the inbox stands for all of a minute, and what
    /// the request said is not kept: whoever knows the address must not be able to fill the database.
    pub fn refused(&self, door: &Door, error: &WebhookError, headers: &HeaderMap) {
        telemetry::event_received(door.scheme.name(), InboxVerdict::BadSignature.name());
        let core = &self.0.core;
        let Some(count) = self.count_refusal(&door.source) else {
            return;
        };
        if core.journal.overloaded(door.org) {
            return;
        }
        let now = core.clock.now();
        let agent = headers
            .get("user-agent")
            .and_then(|value| value.to_str().ok())
            .map(|agent| clean(agent, KIND_MAX));
        let mut row = self.row(
            door.org,
            &door.source,
            door.scheme.name(),
            &json!({"user-agent": agent}),
            Incoming {
                external_id: Some(format!("refused:{}", now.micros().div_euclid(MINUTE_US))),
                ..Incoming::default()
            },
        );
        row.verdict = InboxVerdict::BadSignature;
        row.detail = Some(error.to_string());
        row.deliveries = count;
        let mut append = new_append(door.org);
        append.inbox.push(InboxChange::Receive(Arc::new(row)));
        core.journal.submit(None, append, Box::new(|_| {}));
    }

    /// How many refusals have to be written down now, if any.
    fn count_refusal(&self, source: &str) -> Option<i64> {
        let mut all = self
            .0
            .refusals
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Endpoints are few, since only known ones come here.
        let refusals = all.entry(source.to_owned()).or_insert(Refusals {
            count: 0,
            written: Instant::now() - REFUSALS_EVERY,
        });
        refusals.count += 1;
        if refusals.written.elapsed() < REFUSALS_EVERY {
            return None;
        }
        refusals.written = Instant::now();
        Some(std::mem::take(&mut refusals.count))
    }
}

/// What is known of an event that is given to nobody.
fn settled(verdict: InboxVerdict, detail: Option<String>) -> oneshot::Receiver<Settled> {
    let (tell, told) = oneshot::channel();
    let _ = tell.send(Settled {
        verdict,
        detail,
        triggered: Vec::new(),
        routed: Routed::default(),
    });
    told
}

/// A provider's name for an event as it is stored.
fn name(text: String) -> String {
    if text.len() <= NAME_MAX && !text.contains('\0') {
        return text;
    }
    ContentHash::of(text.as_bytes()).to_string()
}

/// Without zero characters, which PostgreSQL does not take, and not too long.
fn clean(text: &str, max: usize) -> String {
    text.chars().filter(|c| *c != '\0').take(max).collect()
}
