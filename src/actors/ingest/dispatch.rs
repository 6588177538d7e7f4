//! The dispatcher: gives durable events to whom they concern and writes down what became of them.
//!
//! Invariants: events of one conversation are given in the order of their arrival; each event that is pending in the database is given, over
//! restarts, until somebody has decided about it; an event that is given twice starts nothing twice. Persists verdicts, through the journal.
//! At a restart it reads what is pending. When more comes than it can hold it lets go, and reads from the database in order again.

use super::{
    super::{
        append::new_append,
        core::Core,
        mailbox::{Envelope, Mailbox, Named},
        router::{Audience, Event, Routed},
        vitals::Vitals,
    },
    approvals::{self, Desk},
    channels::Channels,
    doors::aliases,
    lanes::{Lane, Lanes},
    verdict::{self, Outcome, Triggered},
};
use crate::{
    connect::{HttpCaller, ingest::blocks, webhook::Scheme},
    domain::{InboxId, OrgId, TriggerType},
    persistence::{InboxChange, InboxRow, InboxSettle, InboxVerdict, inbox_pending},
    telemetry,
};
use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use serde_json::Value;
use std::{collections::HashSet, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// Events in memory; what is beyond stays in the database until there is room.
const QUEUE_MAX: usize = 20_000;
/// Events that are being given at once, and of one org in one go: who listens is read once for all of a go.
const AT_WORK_MAX: usize = 512;
const BATCH_MAX: usize = 64;
const PAGE: u32 = 2_000;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Now and then the database is asked for events that were forgotten; those younger than this are surely at work.
const AUDIT_EVERY: u32 = 30;
const AUDIT_AGE: Duration = Duration::from_secs(30);
const AGAIN_FIRST: Duration = Duration::from_millis(500);
const AGAIN_LAST: Duration = Duration::from_secs(60);
/// Times that giving an event may break down before it is put aside.
const BREAKDOWNS_MAX: u32 = 5;

/// What became of an event.
#[derive(Debug)]
pub struct Settled {
    /// `Pending` if somebody cannot take it for the moment.
    pub verdict: InboxVerdict,
    pub detail: Option<String>,
    /// All runs that it started or resumed, those of earlier times included.
    pub triggered: Vec<Triggered>,
    pub routed: Routed,
}

/// An event in memory.
pub struct Entry {
    row: Arc<InboxRow>,
    payload: Arc<Value>,
    watcher: Option<oneshot::Sender<Settled>>,
    attempts: u32,
}

/// The way to the dispatcher.
#[derive(Clone)]
pub struct Dispatcher(Mailbox<Message>);

impl Dispatcher {
    pub async fn spawn(
        parent: ActorCell,
        core: Arc<Core>,
        http: HttpCaller,
    ) -> Result<Self, ractor::SpawnErr> {
        let vitals = core.vitals.register("node/inbox", "inbox", None, QUEUE_MAX);
        let actor = DispatcherActor {
            desk: Desk::new(core.clone(), http),
            channels: Arc::default(),
            core,
        };
        let (actor, _) = Actor::spawn_linked(None, actor, vitals.clone(), parent).await?;
        Ok(Self(Mailbox::new(actor, vitals)))
    }

    /// Hands over an event that is durable. If there is no room it is read from the database later, and the channel closes.
    pub fn offer(&self, row: Arc<InboxRow>, payload: Arc<Value>) -> oneshot::Receiver<Settled> {
        let (watcher, settled) = oneshot::channel();
        if row.verdict != InboxVerdict::Pending {
            let _ = watcher.send(Settled {
                verdict: row.verdict,
                detail: row.detail.clone(),
                triggered: Vec::new(),
                routed: Routed::default(),
            });
            return settled;
        }
        let entry = Box::new(Entry {
            row,
            payload,
            watcher: Some(watcher),
            attempts: 0,
        });
        if self.0.offer(Message::Offer(entry)).is_err() {
            // The next look finds it.
            let _ = self.0.tell(Message::Missed);
        }
        settled
    }
}

enum Message {
    Offer(Box<Entry>),
    /// An event could not be offered.
    Missed,
    Given {
        lane: Lane,
        entry: Box<Entry>,
        outcome: Outcome,
        routed: Routed,
    },
    Again {
        lane: Lane,
        entry: Box<Entry>,
    },
    /// A verdict is durable, or the database did not take it.
    Written(InboxId),
    Read(Result<Vec<InboxRow>, String>),
    Look,
}

impl Named for Message {
    fn name(&self) -> &'static str {
        match self {
            Message::Offer(_) => "offer",
            Message::Missed => "missed",
            Message::Given { .. } => "given",
            Message::Again { .. } => "again",
            Message::Written(_) => "written",
            Message::Read(_) => "read",
            Message::Look => "look",
        }
    }
}

struct DispatcherActor {
    core: Arc<Core>,
    desk: Desk,
    channels: Arc<Channels>,
}

struct State {
    vitals: Arc<Vitals>,
    lanes: Lanes<Box<Entry>>,
    at_work: usize,
    /// Events in memory whose verdict is not durable yet.
    known: HashSet<InboxId>,
    /// There are pending events in the database that are not in memory: they go first, in order.
    behind: bool,
    /// Something arrived while it was being read, and may not have been seen.
    missed: bool,
    reading: bool,
    read_up_to: Option<InboxId>,
    /// The reading under way looks for forgotten events, and leaves young ones alone.
    auditing: bool,
    looks: u32,
}

impl Actor for DispatcherActor {
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
            lanes: Lanes::default(),
            at_work: 0,
            known: HashSet::new(),
            behind: true,
            missed: false,
            reading: false,
            read_up_to: None,
            auditing: false,
            looks: 0,
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
            Message::Offer(entry) => state.offer(entry),
            Message::Missed => state.fall_behind(),
            Message::Given {
                lane,
                entry,
                outcome,
                routed,
            } => {
                state.at_work -= 1;
                self.given(lane, *entry, outcome, routed, state, &own);
            }
            Message::Again { lane, entry } => state.lanes.put_back(lane, entry),
            Message::Written(id) => drop(state.known.remove(&id)),
            Message::Read(rows) => state.read(rows, self.core.clock.now()),
            Message::Look => {
                state.looks = state.looks.wrapping_add(1);
                if state.looks % AUDIT_EVERY == 0 && !state.behind && !state.reading {
                    state.auditing = true;
                    state.read_up_to = None;
                }
                later(&own, LOOK_EVERY, Message::Look);
            }
        }
        if state.wants_to_read() {
            self.read(state, &own);
        }
        self.give(state, &own);
        state.vitals.set_load(state.at_work, 0, state.lanes.len());
        telemetry::inbox_waiting(state.lanes.len() + state.at_work, state.behind);
        Ok(())
    }
}

fn later(own: &Mailbox<Message>, wait: Duration, message: Message) {
    let own = own.clone();
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        let _ = own.tell(message);
    });
}

impl State {
    fn offer(&mut self, entry: Box<Entry>) {
        if self.behind || self.lanes.len() >= QUEUE_MAX {
            self.fall_behind();
        } else {
            self.queue(entry);
        }
    }

    fn fall_behind(&mut self) {
        if !self.behind {
            self.behind = true;
            self.auditing = false;
            self.read_up_to = None;
        }
        self.missed = true;
    }

    fn queue(&mut self, entry: Box<Entry>) {
        if self.known.insert(entry.row.id) {
            let org = entry.row.org_id;
            let lane = match &entry.row.conversation_key {
                Some(key) => Lane::Conversation(org, key.clone()),
                None => Lane::Alone(org, entry.row.id),
            };
            self.lanes.push(lane, entry);
        }
    }

    fn wants_to_read(&self) -> bool {
        (self.behind || self.auditing) && !self.reading && self.lanes.len() < QUEUE_MAX / 2
    }

    /// A page of pending events, in order. A short page is the last one.
    fn read(&mut self, rows: Result<Vec<InboxRow>, String>, now: crate::domain::Timestamp) {
        self.reading = false;
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => {
                tracing::warn!(error, "pending events could not be read");
                self.vitals.record_error(error, now);
                self.auditing = false;
                return;
            }
        };
        let last = rows.last().map(|row| row.id);
        let is_last = rows.len() < PAGE as usize;
        for row in rows {
            if self.auditing && !self.behind && now.since(row.last) < AUDIT_AGE {
                continue;
            }
            self.queue(Box::new(Entry {
                payload: Arc::new(serde_json::from_str(&row.payload).unwrap_or_default()),
                row: Arc::new(row),
                watcher: None,
                attempts: 0,
            }));
        }
        match (is_last, self.missed) {
            (false, _) => self.read_up_to = last,
            (true, true) => {
                self.missed = false;
                self.read_up_to = None;
            }
            (true, false) => {
                self.behind = false;
                self.auditing = false;
                self.read_up_to = None;
            }
        }
    }
}

impl DispatcherActor {
    fn read(&self, state: &mut State, own: &Mailbox<Message>) {
        state.reading = true;
        let (core, own, after) = (self.core.clone(), own.clone(), state.read_up_to);
        tokio::spawn(async move {
            let read = async {
                let mut tx = core.db.begin_system_read("events that are pending").await?;
                inbox_pending(&mut tx, after, PAGE).await
            };
            let rows: Result<_, crate::persistence::DbError> = read.await;
            if rows.is_err() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            let _ = own.tell(Message::Read(rows.map_err(|error| error.to_string())));
        });
    }

    /// Gives what may be given now.
    fn give(&self, state: &mut State, own: &Mailbox<Message>) {
        while state.at_work < AT_WORK_MAX {
            let batch = state.lanes.take(BATCH_MAX.min(AT_WORK_MAX - state.at_work));
            let Some((lane, _)) = batch.first() else {
                return;
            };
            let org = lane.org();
            state.at_work += batch.len();
            let giving = Giving {
                core: self.core.clone(),
                desk: self.desk.clone(),
                channels: self.channels.clone(),
                org,
            };
            tokio::spawn(giving.give_all(batch, own.clone()));
        }
    }

    fn given(
        &self,
        lane: Lane,
        mut entry: Entry,
        outcome: Outcome,
        routed: Routed,
        state: &mut State,
        own: &Mailbox<Message>,
    ) {
        let row = &entry.row;
        match outcome {
            Outcome::Later(why) => {
                tracing::debug!(event = %row.id, why, "event is given again later");
                entry.attempts += 1;
                let settled = Settled {
                    verdict: InboxVerdict::Pending,
                    detail: Some(why),
                    triggered: Vec::new(),
                    routed,
                };
                tell(&mut entry.watcher, settled);
                let wait = (AGAIN_FIRST * 2u32.pow(entry.attempts.min(8) - 1)).min(AGAIN_LAST);
                // Its lane stays taken meanwhile: the next of its conversation must not pass it.
                let entry = Box::new(entry);
                later(own, wait, Message::Again { lane, entry });
            }
            Outcome::Settled { verdict, detail } => {
                telemetry::event_settled(verdict.name());
                let triggered = verdict::triggered(&row.triggered, &routed, row.replays);
                self.settle(row, verdict, detail.clone(), &triggered, own);
                let settled = Settled {
                    verdict,
                    detail,
                    triggered,
                    routed,
                };
                tell(&mut entry.watcher, settled);
                state.lanes.done(lane);
            }
        }
    }

    fn settle(
        &self,
        row: &InboxRow,
        verdict: InboxVerdict,
        detail: Option<String>,
        triggered: &[Triggered],
        own: &Mailbox<Message>,
    ) {
        let (id, own) = (row.id, own.clone());
        let mut append = new_append(row.org_id);
        append.inbox.push(InboxChange::Settle(InboxSettle {
            id,
            verdict,
            detail,
            triggered: serde_json::to_string(triggered).unwrap_or_else(|_| "[]".into()),
        }));
        let written = move |result: Result<_, _>| {
            if let Err(error) = result {
                tracing::error!(event = %id, %error, "what became of an event was not written, it is given again");
            }
            let _ = own.tell(Message::Written(id));
        };
        self.core.journal.submit(None, append, Box::new(written));
    }
}

fn tell(watcher: &mut Option<oneshot::Sender<Settled>>, settled: Settled) {
    if let Some(watcher) = watcher.take() {
        let _ = watcher.send(settled);
    }
}

/// What it takes to give events of one org.
struct Giving {
    core: Arc<Core>,
    desk: Desk,
    channels: Arc<Channels>,
    org: OrgId,
}

impl Giving {
    /// Gives events side by side; each reports as soon as it is through.
    async fn give_all(self, batch: Vec<(Lane, Box<Entry>)>, own: Mailbox<Message>) {
        let events: Vec<Event> = batch.iter().map(|(_, entry)| event_of(entry)).collect();
        let audience = Audience::read(&self.core, self.org, &events).await;
        let (this, audience) = (&self, &audience);
        let mut all: FuturesUnordered<_> = batch
            .into_iter()
            .zip(events)
            .map(|((lane, entry), event)| async move {
                let work = async {
                    match audience {
                        Ok(audience) => this.give(audience, &entry, event).await,
                        Err(error) => (Outcome::Later(error.to_string()), Routed::default()),
                    }
                };
                let given = AssertUnwindSafe(work).catch_unwind().await;
                let (outcome, routed) = given.unwrap_or_else(|_| broke_down(&entry));
                (lane, entry, outcome, routed)
            })
            .collect();
        while let Some((lane, entry, outcome, routed)) = all.next().await {
            let _ = own.tell(Message::Given {
                lane,
                entry,
                outcome,
                routed,
            });
        }
    }

    async fn give(
        &self,
        audience: &Audience,
        entry: &Entry,
        mut event: Event,
    ) -> (Outcome, Routed) {
        // Only what Slack has signed can decide: another sender may write whatever it likes into its events.
        let is_slack = entry.row.scheme == Scheme::Slack.name();
        if is_slack && let Some(click) = blocks::click(&entry.payload) {
            let outcome = approvals::decide(&self.desk, self.org, &click).await;
            return (outcome, Routed::default());
        }
        if is_slack && audience.names_channels() {
            event.payload = self
                .channels
                .named(&self.core, self.org, &event.payload)
                .await;
        }
        let routed = audience.tell(&self.core, &event).await;
        (verdict::outcome(&routed), routed)
    }
}

fn broke_down(entry: &Entry) -> (Outcome, Routed) {
    tracing::error!(event = %entry.row.id, "giving an event broke down");
    let detail = "giving it broke down".to_owned();
    let outcome = match entry.attempts < BREAKDOWNS_MAX {
        true => Outcome::Later(detail),
        false => Outcome::Settled {
            verdict: InboxVerdict::Refused,
            detail: Some(detail),
        },
    };
    (outcome, Routed::default())
}

fn event_of(entry: &Entry) -> Event {
    let row = &entry.row;
    Event {
        kind: TriggerType::ExternalEvent,
        source: row.source.clone(),
        aliases: aliases(&row.source),
        event: row.kind.clone(),
        payload: entry.payload.clone(),
        key: Some(match row.replays {
            0 => row.external_id.clone(),
            // Given again on purpose, it is to start runs again.
            times => format!("{}~replay-{times}", row.external_id),
        }),
        conversation: row.conversation_key.clone(),
    }
}
