//! The dispatcher: gives durable events to whom they concern and writes down what became of them.
//!
//! Invariants: events of one conversation are given in the order of their arrival; each event that is pending in the database is given, over
//! restarts, until somebody has decided about it; an event that is given twice starts nothing twice. Persists verdicts, through the journal.
//! At a restart it reads what is pending. When more comes than it can hold it lets go, and reads from the database in order again.

use super::{
    super::{
        append::new_append,
        cluster::duty,
        core::Core,
        mailbox::{Envelope, Mailbox, Named},
        router::Routed,
        vitals::Vitals,
    },
    approvals::Desk,
    backlog::{Backlog, Entry, QUEUE_MAX, ReadFrom},
    channels::Channels,
    giving::Giving,
    lanes::Lane,
    verdict::{self, Outcome, Triggered},
};
use crate::{
    connect::HttpCaller,
    domain::InboxId,
    persistence::{DbError, InboxChange, InboxRow, InboxSettle, InboxVerdict, inbox_pending},
    telemetry,
};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// Events that are being given at once, and of one org in one go: who listens is read once for all of a go.
const AT_WORK_MAX: usize = 512;
const BATCH_MAX: usize = 64;
const PAGE: u32 = 2_000;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks after which the database is asked for events that were forgotten.
const AUDIT_EVERY: u32 = 30;
const AGAIN_FIRST: Duration = Duration::from_millis(500);
const AGAIN_LAST: Duration = Duration::from_secs(60);

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

impl Dispatcher {
    /// There may be pending events in the database that nobody here knows of.
    pub fn look_again(&self) {
        let _ = self.0.tell(Message::Missed);
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
    backlog: Backlog,
    at_work: usize,
    looks: u32,
    /// Whether this node gives the events. What it has in memory when it does so no more is given by another.
    on_duty: bool,
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
            backlog: Backlog::default(),
            at_work: 0,
            looks: 0,
            on_duty: false,
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
            Message::Offer(entry) => state.backlog.offer(entry),
            Message::Missed => state.backlog.fall_behind(),
            Message::Given {
                lane,
                entry,
                outcome,
                routed,
            } => {
                state.at_work -= 1;
                self.given(lane, *entry, outcome, routed, state, &own);
            }
            Message::Again { lane, entry } => state.backlog.lanes.put_back(lane, entry),
            Message::Written(id) => state.backlog.forget(id),
            Message::Read(Ok(rows)) => {
                let is_last = rows.len() < PAGE as usize;
                state.backlog.read(rows, is_last, self.core.clock.now());
            }
            Message::Read(Err(error)) => {
                tracing::warn!(error, "pending events could not be read");
                state.backlog.not_read();
                state.vitals.record_error(error, self.core.clock.now());
            }
            Message::Look => {
                let was =
                    std::mem::replace(&mut state.on_duty, self.core.has_duty(duty::INBOX).await);
                if state.on_duty && !was {
                    state.backlog.fall_behind();
                }
                state.looks = state.looks.wrapping_add(1);
                if state.looks.is_multiple_of(AUDIT_EVERY) {
                    state.backlog.audit();
                }
                later(&own, LOOK_EVERY, Message::Look);
            }
        }
        if state.on_duty {
            if let Some(from) = state.backlog.next_read() {
                self.read(from, &own);
            }
            self.give(state, &own);
        }
        let waiting = state.backlog.lanes.len();
        state.vitals.set_load(state.at_work, 0, waiting);
        telemetry::inbox_waiting(waiting + state.at_work, state.backlog.is_behind());
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

impl DispatcherActor {
    fn read(&self, from: ReadFrom, own: &Mailbox<Message>) {
        let (core, own) = (self.core.clone(), own.clone());
        let after = match from {
            ReadFrom::Start => None,
            ReadFrom::After(entry) => Some(entry),
        };
        tokio::spawn(async move {
            let read = async {
                let mut tx = core.db.begin_system_read("events that are pending").await?;
                inbox_pending(&mut tx, after, PAGE).await
            };
            let rows: Result<_, DbError> = read.await;
            if rows.is_err() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            let _ = own.tell(Message::Read(rows.map_err(|error| error.to_string())));
        });
    }

    /// Gives what may be given now.
    fn give(&self, state: &mut State, own: &Mailbox<Message>) {
        while state.at_work < AT_WORK_MAX {
            let batch = state
                .backlog
                .lanes
                .take(BATCH_MAX.min(AT_WORK_MAX - state.at_work));
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
            let own = own.clone();
            tokio::spawn(giving.give_all(batch, move |lane, entry, outcome, routed| {
                let _ = own.tell(Message::Given {
                    lane,
                    entry,
                    outcome,
                    routed,
                });
            }));
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
                state.backlog.lanes.done(lane);
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
