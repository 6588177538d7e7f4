//! The dispatcher: gives durable events to whom they concern and writes down what became of them.
//!
//! Invariants: events of one conversation are given in the order in which they became durable, over restarts and hand-overs; each event that is
//! pending in the database is given, over restarts, until somebody has decided about it; an event that is given twice starts nothing twice. Persists
//! verdicts, through the journal. At a restart it reads what is pending. It holds names of events, never what they say.

use super::{
    super::{
        cluster::duty,
        core::Core,
        mailbox::{Envelope, Mailbox, Named},
        router::Routed,
        vitals::Vitals,
    },
    approvals::Desk,
    backlog::{Backlog, Lane, PAGE, Place, Turn},
    channels::Channels,
    giving::{Giving, Report, Room},
    verdict::Triggered,
};
use crate::{
    connect::HttpCaller,
    domain::{InboxId, OrgId},
    persistence::{DbError, InboxVerdict, PendingEvent, inbox_orgs_pending, inbox_pending},
    telemetry,
};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Events that were offered and not looked at yet; each is a name.
const QUEUE_MAX: usize = 20_000;
/// Lanes of one org in one go: who listens is read once for all of a go.
const BATCH_MAX: usize = 64;
const ORGS_PAGE: u32 = 1_000;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks after which the database is asked for events that were forgotten.
const AUDIT_EVERY: u32 = 30;

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

    /// Tells of an event that is durable and pending. If there is no room it is read from the database later, and the channel closes.
    pub fn offer(
        &self,
        org: OrgId,
        id: InboxId,
        conversation: Option<String>,
    ) -> oneshot::Receiver<Settled> {
        let (watcher, settled) = oneshot::channel();
        let lane = Lane::new(id, conversation);
        let offer = Offer {
            org,
            id,
            lane,
            watcher,
        };
        if self.0.offer(Message::Offer(Box::new(offer))).is_err() {
            let _ = self.0.tell(Message::Missed(org));
        }
        settled
    }

    /// There may be pending events in the database that nobody here knows of.
    pub fn look_again(&self) {
        let _ = self.0.tell(Message::Audit);
    }
}

struct Offer {
    org: OrgId,
    id: InboxId,
    lane: Lane,
    watcher: oneshot::Sender<Settled>,
}

enum Message {
    Offer(Box<Offer>),
    /// An event of the org could not be offered.
    Missed(OrgId),
    /// Which orgs have pending events is to be asked.
    Audit,
    /// What became of an event; it is being written.
    Given(OrgId, InboxId, Box<Settled>),
    Ended(OrgId, Lane, Turn),
    Wake(OrgId, Lane),
    Orgs(Result<Vec<OrgId>, String>),
    Read(OrgId, Result<Vec<PendingEvent>, String>),
    Look,
}

impl Named for Message {
    fn name(&self) -> &'static str {
        match self {
            Message::Offer(_) => "offer",
            Message::Missed(_) => "missed",
            Message::Audit => "audit",
            Message::Given(..) => "given",
            Message::Ended(..) => "ended",
            Message::Wake(..) => "wake",
            Message::Orgs(_) => "orgs",
            Message::Read(..) => "read",
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
    room: Room,
    looks: u32,
    /// Which orgs have pending events is being asked; and it has to be asked again.
    auditing: bool,
    audit_wanted: bool,
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
            room: Room::default(),
            looks: 0,
            auditing: false,
            audit_wanted: false,
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
            Message::Look => self.look(state, &own).await,
            Message::Audit => state.audit_wanted = true,
            message => self.take(message, state, &own),
        }
        if state.on_duty {
            if state.audit_wanted && !state.auditing {
                (state.audit_wanted, state.auditing) = (false, true);
                self.audit(&own);
            }
            for (org, place) in state.backlog.pages(Instant::now()) {
                self.read(org, place, &own);
            }
            self.give(state, &own);
        }
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
    fn take(&self, message: Message, state: &mut State, own: &Mailbox<Message>) {
        let State { backlog, .. } = state;
        match message {
            Message::Look | Message::Audit => {}
            Message::Offer(offer) => {
                let Offer {
                    org,
                    id,
                    lane,
                    watcher,
                } = *offer;
                backlog.offer(org, id, lane, Some(watcher));
            }
            Message::Missed(org) => backlog.missed(org),
            Message::Given(org, id, settled) => {
                if let Some(watcher) = backlog.watcher(org, id) {
                    let _ = watcher.send(*settled);
                }
            }
            Message::Ended(org, lane, turn) => {
                let wake = backlog.ended(org, lane.clone(), turn, Instant::now());
                if let Some(wait) = wake {
                    later(own, wait, Message::Wake(org, lane));
                }
            }
            Message::Wake(org, lane) => backlog.wake(org, lane),
            Message::Orgs(orgs) => {
                state.auditing = false;
                match orgs {
                    Ok(orgs) => orgs.into_iter().for_each(|org| backlog.audit(org)),
                    Err(error) => {
                        state.audit_wanted = true;
                        self.not_read(error, &state.vitals);
                    }
                }
            }
            Message::Read(org, page) => {
                let page = page.map_err(|error| self.not_read(error, &state.vitals));
                backlog.read(org, page.ok(), Instant::now());
            }
        }
    }

    fn not_read(&self, error: String, vitals: &Vitals) {
        tracing::warn!(error, "pending events could not be read");
        vitals.record_error(error, self.core.clock.now());
    }

    async fn look(&self, state: &mut State, own: &Mailbox<Message>) {
        let was = std::mem::replace(&mut state.on_duty, self.core.has_duty(duty::INBOX).await);
        match (was, state.on_duty) {
            (true, false) => state.backlog.clear(),
            (false, true) => state.audit_wanted = true,
            _ => {}
        }
        state.looks = state.looks.wrapping_add(1);
        state.audit_wanted |= state.looks.is_multiple_of(AUDIT_EVERY);
        state.backlog.tick(Instant::now());
        let (lanes, at_work) = state.backlog.load();
        state
            .vitals
            .set_load(at_work, 0, lanes.saturating_sub(at_work));
        telemetry::inbox_waiting(lanes, state.backlog.is_behind());
        later(own, LOOK_EVERY, Message::Look);
    }

    /// Asks which orgs have pending events.
    fn audit(&self, own: &Mailbox<Message>) {
        let (core, own) = (self.core.clone(), own.clone());
        tokio::spawn(async move {
            let read = async {
                let mut found: Vec<OrgId> = Vec::new();
                loop {
                    let mut tx = core
                        .db
                        .begin_system_read("orgs with pending events")
                        .await?;
                    let after = found.last().copied();
                    let page = inbox_orgs_pending(&mut tx, after, ORGS_PAGE).await?;
                    let is_last = page.len() < ORGS_PAGE as usize;
                    found.extend(page);
                    if is_last {
                        return Ok(found);
                    }
                }
            };
            let orgs: Result<_, DbError> = read.await;
            if orgs.is_err() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            let _ = own.tell(Message::Orgs(orgs.map_err(|error| error.to_string())));
        });
    }

    fn read(&self, org: OrgId, place: Place, own: &Mailbox<Message>) {
        let (core, own) = (self.core.clone(), own.clone());
        tokio::spawn(async move {
            let read = async {
                let mut tx = core.db.begin_system_read("events that are pending").await?;
                inbox_pending(&mut tx, org, place, PAGE as u32).await
            };
            let page: Result<_, DbError> = read.await;
            if page.is_err() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            let _ = own.tell(Message::Read(org, page.map_err(|error| error.to_string())));
        });
    }

    /// Gives what may be given now.
    fn give(&self, state: &mut State, own: &Mailbox<Message>) {
        while let Some((org, lanes)) = state.backlog.take(BATCH_MAX) {
            if lanes.is_empty() {
                continue;
            }
            let giving = Giving {
                core: self.core.clone(),
                desk: self.desk.clone(),
                channels: self.channels.clone(),
                room: state.room.clone(),
                org,
            };
            let own = own.clone();
            let report = move |report| {
                let message = match report {
                    Report::Given(id, settled) => Message::Given(org, id, Box::new(settled)),
                    Report::Ended(lane, turn) => Message::Ended(org, lane, turn),
                };
                let _ = own.tell(message);
            };
            tokio::spawn(giving.give_all(lanes, report));
        }
    }
}
