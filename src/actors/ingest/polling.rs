//! Asks outside systems for news that do not tell it themselves.
//!
//! Invariants: the cursor of a source moves only when everything up to it is in the inbox, and what is read twice is known there by its id:
//! no item is lost and none becomes two events, over restarts. Persists cursor and next due time, which is the timer. At a restart it goes
//! on from there.

use super::{
    super::{
        cluster::duty,
        connector::CallRequest,
        core::Core,
        mailbox::{Envelope, Mailbox, Named},
        vitals::Vitals,
    },
    IngestHandle,
};
use crate::{
    connect::{
        CallOutcome, Capability,
        ingest::{Incoming, poll::PollRule},
        pages::{PageWalk, PagesError},
        shape,
    },
    domain::{EmployeeId, SourceId, Timestamp},
    persistence::{DbError, PollSourceRow, poll_source_advance, poll_sources_due},
};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use serde_json::{Value, json};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::time::Instant;

const MAILBOX: usize = 1_000;
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Sources that are read at once on this node; each waits for its connection's quota.
const AT_ONCE: usize = 32;
/// Pages of one reading. One that needs more is not moved on, since what it has not read may be what is new.
const PAGES_MAX: usize = 1_000;
/// For one page with its waiting for the quota.
const PAGE_TIME: Duration = Duration::from_secs(300);

pub(super) async fn spawn(
    parent: ActorCell,
    core: Arc<Core>,
    ingest: IngestHandle,
) -> Result<(), ractor::SpawnErr> {
    let vitals = core
        .vitals
        .register("node/polling", "polling", None, MAILBOX);
    Actor::spawn_linked(None, Polling { core, ingest }, vitals, parent)
        .await
        .map(drop)
}

enum Message {
    Look,
    Read(SourceId),
}
impl Named for Message {
    fn name(&self) -> &'static str {
        match self {
            Message::Look => "look",
            Message::Read(_) => "read",
        }
    }
}

struct Polling {
    core: Arc<Core>,
    ingest: IngestHandle,
}

struct State {
    vitals: Arc<Vitals>,
    reading: HashSet<SourceId>,
}

impl Actor for Polling {
    type Msg = Envelope<Message>;
    type State = State;
    type Arguments = Arc<Vitals>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        vitals: Arc<Vitals>,
    ) -> Result<State, ActorProcessingErr> {
        let _ = Mailbox::new(myself, vitals.clone()).tell(Message::Look);
        Ok(State {
            vitals,
            reading: HashSet::new(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (message, _handling) = message.open(&state.vitals);
        let own = Mailbox::new(myself, state.vitals.clone());
        match message {
            Message::Read(source) => drop(state.reading.remove(&source)),
            Message::Look => {
                if let Err(error) = self.start_due(state, &own).await {
                    tracing::warn!(%error, "sources could not be looked at");
                    state
                        .vitals
                        .record_error(error.to_string(), self.core.clock.now());
                }
                tokio::spawn(async move {
                    tokio::time::sleep(LOOK_EVERY).await;
                    let _ = own.tell(Message::Look);
                });
            }
        }
        state.vitals.set_load(state.reading.len(), 0, 0);
        Ok(())
    }
}

impl Polling {
    async fn start_due(&self, state: &mut State, own: &Mailbox<Message>) -> Result<(), DbError> {
        let room = AT_ONCE.saturating_sub(state.reading.len());
        if room == 0 || !self.core.has_duty(duty::POLLING).await {
            return Ok(());
        }
        let now = self.core.clock.now();
        let mut tx = self
            .core
            .db
            .begin_system_read("sources that are due")
            .await?;
        // Those that are being read are due still.
        let limit = u32::try_from(AT_ONCE + state.reading.len()).unwrap_or(u32::MAX);
        let due = poll_sources_due(&mut tx, now, None, limit).await?;
        drop(tx);
        let due: Vec<_> = due
            .into_iter()
            .filter(|source| !state.reading.contains(&source.id))
            .take(room)
            .collect();
        for source in due {
            state.reading.insert(source.id);
            let (core, ingest, own) = (self.core.clone(), self.ingest.clone(), own.clone());
            tokio::spawn(async move {
                read_and_advance(&core, &ingest, &source).await;
                let _ = own.tell(Message::Read(source.id));
            });
        }
        Ok(())
    }
}

async fn read_and_advance(core: &Core, ingest: &IngestHandle, source: &PollSourceRow) {
    let asked = core.clock.now();
    let (cursor, error) = match read(core, ingest, source, asked).await {
        Ok(cursor) => (cursor, None),
        Err(error) => {
            tracing::warn!(source = %source.id, error, "source could not be read, it is tried again");
            (source.cursor.clone(), Some(error))
        }
    };
    let every = Duration::from_micros(u64::try_from(source.every_us).unwrap_or(0));
    let next_due = asked.after(every).max(core.clock.now());
    let advance = async {
        let mut tx = core.db.begin_system("a source was read").await?;
        let at = core.clock.now();
        poll_source_advance(
            &mut tx,
            source,
            cursor.as_deref(),
            next_due,
            at,
            error.as_deref(),
        )
        .await?;
        tx.commit().await
    };
    let advanced: Result<(), DbError> = advance.await;
    if let Err(error) = advanced {
        tracing::warn!(source = %source.id, %error, "a source was read and not moved on, it is read again");
        tokio::time::sleep(LOOK_EVERY * 4).await;
    }
}

/// Reads all pages and takes all items; gives the new cursor when they are durable.
async fn read(
    core: &Core,
    ingest: &IngestHandle,
    source: &PollSourceRow,
    asked: Timestamp,
) -> Result<Option<String>, String> {
    let rule: PollRule = serde_json::from_str(&source.rule).map_err(|error| error.to_string())?;
    let given: Value =
        serde_json::from_str(&source.arguments).map_err(|error| error.to_string())?;
    let capability = core
        .catalogs
        .capability(source.org_id, &source.capability)
        .await
        .map_err(|error| error.to_string())?
        .ok_or_else(|| format!("{} is not in the catalog", source.capability))?;
    let mut arguments = rule.arguments(&given, source.cursor.as_deref());
    let mut cursor = source.cursor.clone();
    let mut walk = PageWalk::new(PAGES_MAX);
    loop {
        let output = ask(core, source, &capability, &arguments).await?;
        let items = rule.items(&output)?;
        take(ingest, source, &rule, items).await?;
        cursor = rule.advance(cursor.as_deref(), items, asked);
        match walk.next(&capability, &arguments, &output) {
            Ok(Some(next)) => arguments = next,
            Ok(None) => return Ok(cursor),
            Err(error @ PagesError::TooMany { .. }) => {
                return Err(format!("{error} of news; narrow the arguments"));
            }
            // The cursor stays where it was: nobody knows what was not read.
            Err(error) => return Err(error.to_string()),
        }
    }
}

async fn ask(
    core: &Core,
    source: &PollSourceRow,
    capability: &Capability,
    arguments: &Value,
) -> Result<Value, String> {
    let connection = core
        .connectors()
        .find(
            source.org_id,
            &capability.integration,
            source.connection.as_deref(),
        )
        .await
        .map_err(|error| error.to_string())?
        .ok_or_else(|| format!("there is no connection to {}", capability.integration))?;
    let request = CallRequest {
        request: shape(capability, arguments, &connection.account, None)
            .map_err(|error| format!("argument {error}"))?,
        cost: capability.cost,
        deadline: Instant::now() + PAGE_TIME,
        // A source queues for the connection like an employee of its own.
        employee: EmployeeId::from_uuid(source.id.uuid()),
        effect: None,
    };
    match core.connectors().call(&connection, request).await {
        Ok(CallOutcome::Ok { output, .. }) => Ok(output),
        Ok(
            CallOutcome::Rejected { code, message, .. }
            | CallOutcome::Auth { code, message, .. }
            | CallOutcome::Busy { code, message, .. },
        ) => Err(format!("{code}: {message}")),
        Ok(CallOutcome::RateLimited { .. }) => Err("the provider's limit is reached".into()),
        Ok(CallOutcome::TooLong { limit }) => {
            Err(format!("the answer has more than {limit} bytes"))
        }
        Ok(
            CallOutcome::Unsent { reason }
            | CallOutcome::Blocked { reason }
            | CallOutcome::Unknown { reason, .. },
        ) => Err(reason),
        Err(error) => Err(error.to_string()),
    }
}

/// Takes the items of a page, all at once: they ride in one commit.
async fn take(
    ingest: &IngestHandle,
    source: &PollSourceRow,
    rule: &PollRule,
    items: &[Value],
) -> Result<(), String> {
    let name = format!("poll:{}", source.name);
    let headers = json!({"capability": source.capability});
    let taken = items.iter().map(|item| {
        let incoming = Incoming {
            external_id: Some(rule.id_of(item)),
            kind: rule.event.clone(),
            conversation: None,
            payload: item.clone(),
            echo: None,
        };
        ingest.take(source.org_id, &name, "poll", &headers, incoming)
    });
    for taken in futures::future::join_all(taken).await {
        taken.map_err(|error| error.to_string())?;
    }
    Ok(())
}
