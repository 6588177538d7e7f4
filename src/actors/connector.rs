//! A connector: the one actor that calls the outside for one connection, inside its limits.
//!
//! Invariants: calls leave in the order in which they came, as the quota allows; a write leaves only after its `sent` is durable; what is
//! queued has a bound and a deadline. Persists the state of its rate limiter, so that a restart does not begin with a full bucket.
//!
//! One whose connection has changed, or that is given away, takes nothing more, waits for what is under way and then stops. What is under way
//! does not need it: if it breaks down or is killed, the tasks of its calls tell the callers themselves (see [`departure`]).
//!
//! One that has nothing to do for `idle_after` leaves the memory, with the credential that it holds in clear: when the state of its limiter
//! is durable it takes itself out of the pool's directory, if nothing is in its mailbox (see [`ConnectorPool`]).

pub mod app;
mod call;
pub mod connections;
mod departure;
mod elsewhere;
mod exchange;
pub mod fair;
mod pool;
mod queue;
mod rules;
mod state;
mod token;
mod turns;
mod view;

pub use call::{CallRequest, EffectTicket};
pub use departure::ConnectorError;
#[cfg(test)]
pub use pool::Breakage;
pub use pool::ConnectorPool;
pub use view::{ConnectorLook, ConnectorView, Waiter, WaitingCall};

use super::{
    append::new_append,
    core::Core,
    faults::FaultPoint,
    mailbox::{Envelope, Mailbox, Named, SendError},
    vitals::{Vitals, Waiting},
};
use crate::{
    connect::{HttpCaller, token::Live},
    domain::{ConnectionId, EmployeeId, ExecutionId, Timestamp},
    graph::Later,
    persistence::{SnapshotChange, SnapshotRow, codec, snapshot_kind},
};
use app::{Apps, Joining, Poke};
use call::Call;
use connections::Connection;
use queue::{Came, Next, Out, Queue, Retry, millis};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, ActorStatus};
use state::{LimiterState, restore};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tenure_cluster::{Claim, Entity};
use token::Kept;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

/// Calls that may wait; with a usual quota of one a second this is already more than a quarter of an hour.
const QUEUE_MAX: usize = 1_000;
const MAILBOX: usize = 4_000;
/// The limiter's state is written at most this often.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(5);
/// How long one that leaves is asked for what it knows.
const HAND_OVER_TIME: Duration = Duration::from_secs(1);
/// How a connector ends that was given away.
const MOVED_OUT: &str = "moved out";

/// The way to a connector, and what is placed with it.
#[derive(Clone)]
struct ConnectorHandle(Mailbox<Message>, Entity);

impl ConnectorHandle {
    async fn spawn(parent: ActorCell, args: Args) -> Result<Self, ractor::SpawnErr> {
        let connection = &args.connection;
        let owner = (Some(connection.org), connection.owner_user.as_deref());
        let vitals =
            (args.core.vitals).register_for(path(connection.id), "connector", owner, MAILBOX);
        let entity = connection.entity();
        let (actor, _) = Actor::spawn_linked(None, Connector(args), vitals.clone(), parent).await?;
        Ok(Self(Mailbox::new(actor, vitals), entity))
    }

    fn is_living(&self) -> bool {
        !matches!(
            self.0.cell().get_status(),
            ActorStatus::Stopping | ActorStatus::Stopped
        )
    }

    /// Queues a call. One that found nobody is given back.
    fn take(&self, call: Box<Call>) -> Result<(), NotTaken> {
        match self.0.offer(Message::Call(call)) {
            Ok(()) => Ok(()),
            Err((SendError::Stopped, Message::Call(call))) => Err(NotTaken::Gone(call)),
            Err((_, Message::Call(call))) => Err(NotTaken::Overloaded(call)),
            // What comes back is what was offered.
            Err(_) => Ok(()),
        }
    }
}

/// Why a connector has not taken a call.
enum NotTaken {
    Overloaded(Box<Call>),
    Gone(Box<Call>),
}

impl ConnectorHandle {
    /// One that has just stopped reads the newer credential when it is started again.
    fn renewed(&self, live: Arc<Live>) {
        let _ = self.0.offer(Message::Renewed(live));
    }

    fn leave(&self) {
        let _ = self.0.tell(Message::Leave);
    }

    /// What one that leaves knows of the limits, for the one that comes after it. `None` if it has gone.
    async fn hand_over(&self) -> Option<LimiterState> {
        let (reply, known) = oneshot::channel();
        self.0.tell(Message::HandOver(reply)).ok()?;
        timeout(HAND_OVER_TIME, known).await.ok()?.ok()
    }

    async fn has_stopped(&self) {
        let _ = self.0.cell().wait(None).await;
    }

    async fn look(&self) -> Option<ConnectorView> {
        let (reply, view) = oneshot::channel();
        self.0.offer(Message::Look(reply)).ok()?;
        view.await.ok()
    }

    async fn waiting_of(&self, execution: ExecutionId) -> Option<Vec<WaitingCall>> {
        let (reply, waiting) = oneshot::channel();
        let message = Message::WaitingOf { execution, reply };
        self.0.offer(message).ok()?;
        waiting.await.ok()
    }
}

fn path(id: ConnectionId) -> String {
    format!("node/connector_pool/connector:{id}")
}

struct Args {
    core: Arc<Core>,
    http: HttpCaller,
    apps: Arc<Apps>,
    connection: Arc<Connection>,
    /// What the one before it knew of the limits, if that has just left.
    known: Option<LimiterState>,
}

enum Message {
    Call(Box<Call>),
    Returned {
        call: Box<Call>,
        out: Out,
    },
    /// It is given away, or its connection has changed: what waits is sent after it, what is open comes back.
    Leave,
    HandOver(oneshot::Sender<LimiterState>),
    Look(oneshot::Sender<ConnectorView>),
    WaitingOf {
        execution: ExecutionId,
        reply: oneshot::Sender<Vec<WaitingCall>>,
    },
    /// Somebody else has renewed the credential.
    Renewed(Arc<Live>),
    Wake,
    /// It may have had nothing to do for long enough.
    Idle,
    /// The state of its limiter is durable, or could not be made so.
    Saved,
}
impl Named for Message {
    fn name(&self) -> &'static str {
        match self {
            Message::Call(_) => "call",
            Message::Returned { .. } => "returned",
            Message::Leave => "leave",
            Message::HandOver(_) => "hand_over",
            Message::Look(_) => "look",
            Message::WaitingOf { .. } => "waiting_of",
            Message::Renewed(_) => "renewed",
            Message::Wake => "wake",
            Message::Idle => "idle",
            Message::Saved => "saved",
        }
    }
}

struct Connector(Args);

struct State {
    vitals: Arc<Vitals>,
    queue: Queue<Box<Call>>,
    kept: Arc<Kept>,
    wake_at: Option<Instant>,
    saved_at: Instant,
    last_work: Instant,
    /// A look at whether it is idle is on its way.
    idle_check: bool,
    /// Something has changed in the limiter since it was saved.
    unsaved: bool,
    leaving: bool,
    /// The one after it knows what it knew, and keeps it.
    handed_over: bool,
    poke: Poke,
}

impl Actor for Connector {
    type Msg = Envelope<Message>;
    type State = State;
    type Arguments = Arc<Vitals>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        vitals: Arc<Vitals>,
    ) -> Result<State, ActorProcessingErr> {
        let (rules, who) = (&self.0.connection.rules, self.0.connection.id);
        let mut kept = match &self.0.known {
            Some(known) => Some(known.clone()),
            None => restore(&self.0.core.db, who).await,
        };
        let own = Mailbox::new(myself, vitals.clone());
        let poke: Poke = Arc::new(move || drop(own.tell(Message::Wake)));
        let seat = rules.app.as_ref().map(|app| {
            let kept = kept.as_mut().map(|kept| std::mem::take(&mut kept.app));
            let joining = Joining {
                who,
                limits: &rules.app_limits(),
                concurrency: app.concurrency,
                kept: kept.unwrap_or_default(),
                poke: poke.clone(),
            };
            self.0.apps.join(&app.key, joining)
        });
        let queue = Queue::new(rules, seat, QUEUE_MAX, kept);
        Ok(State {
            vitals,
            queue,
            kept: Arc::default(),
            wake_at: None,
            saved_at: Instant::now(),
            last_work: Instant::now(),
            idle_check: false,
            unsaved: false,
            leaving: false,
            handed_over: false,
            poke,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (message, _handling) = message.open(&state.vitals);
        self.0.core.faults.reach(FaultPoint::Connector {
            connection: self.0.connection.id,
            message: message.name(),
        });
        state.queue.count_back_lost(self.now());
        match message {
            Message::Call(call) if state.leaving => call.refuse(ConnectorError::Moved),
            Message::Call(mut call) => {
                state.worked();
                let rules = &self.0.connection.rules;
                call.lane = rules.lane(call.capability(), call.write());
                if let Err(call) = state.queue.push(call.claim(), call) {
                    let later = state.queue.later(call.employee(), call.lane, self.now());
                    call.refuse(ConnectorError::Full(later));
                }
            }
            Message::Leave => {
                state.leaving = true;
                for call in state.queue.take_where(|_| true) {
                    call.refuse(ConnectorError::Moved);
                }
            }
            Message::HandOver(reply) => {
                state.handed_over = reply.send(state.queue.limiter_state()).is_ok();
            }
            Message::Returned { call, out } => {
                state.worked();
                self.returned(call, out, state);
            }
            Message::Look(reply) => drop(reply.send(state.queue.view(self.now()))),
            Message::WaitingOf { execution, reply } => {
                let _ = reply.send(self.waiting_of(execution, state));
            }
            Message::Renewed(live) => state.kept.put(&live),
            Message::Wake => state.wake_at = None,
            Message::Idle | Message::Saved if !state.leaving => {
                state.idle_check = false;
                if self.may_leave(state) && self.leave(&myself, state) {
                    return Ok(());
                }
            }
            Message::Idle | Message::Saved => state.idle_check = false,
        }
        if state.leaving {
            self.move_out_when_done(&myself, state);
            return Ok(());
        }
        self.send_what_may(&myself, state);
        state
            .vitals
            .set_load(state.queue.open(), 0, state.queue.len());
        if state.unsaved && state.saved_at.elapsed() >= SNAPSHOT_EVERY {
            self.save(state, || {});
        }
        self.check_idleness_later(&myself, state);
        Ok(())
    }

    /// One whose connection has changed comes back with what it knew.
    async fn post_stop(
        &self,
        _: ActorRef<Self::Msg>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        if state.unsaved && !state.handed_over {
            self.save(state, || {});
        }
        Ok(())
    }
}

impl State {
    fn worked(&mut self) {
        self.last_work = Instant::now();
        self.unsaved = true;
    }

    fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.queue.open() == 0
    }
}

impl Connector {
    fn now(&self) -> Timestamp {
        self.0.core.clock.now()
    }

    /// Takes from the queue what the quota, the breaker and the number of open calls allow.
    fn send_what_may(&self, myself: &ActorRef<Envelope<Message>>, state: &mut State) {
        // Who does not wait any more takes nobody's turn.
        drop(state.queue.take_where(|call| call.is_given_up()));
        let (now, instant) = (self.now(), Instant::now());
        let is_late = |call: &Call| call.deadline() <= instant;
        if state.queue.iter().any(|call| is_late(call)) {
            let whose = state.queue.iter().filter(|call| is_late(call));
            let whose: HashSet<(EmployeeId, usize)> =
                whose.map(|call| (call.employee(), call.lane)).collect();
            let places: HashMap<(EmployeeId, usize), Later> = whose
                .into_iter()
                .map(|(employee, lane)| ((employee, lane), state.queue.later(employee, lane, now)))
                .collect();
            for call in state.queue.take_where(|call| is_late(call)) {
                let reason = state.queue.reason_in_words(call.lane, now);
                let later = places[&(call.employee(), call.lane)];
                call.refuse(ConnectorError::Late { reason, later });
            }
        }
        let wait = loop {
            match state.queue.next(now) {
                Next::Send(call) => self.send(call, myself, state),
                Next::Wait(wait) => break wait,
            }
        };
        let earliest = state.queue.iter().map(|call| call.deadline()).min();
        let at = wait
            .map(|wait| instant + wait)
            .into_iter()
            .chain(earliest)
            .min();
        state
            .vitals
            .set_waiting(wait.filter(|_| !state.queue.is_empty()).map(|_| Waiting {
                on: state.queue.reason_in_words(state.queue.busiest(), now),
                since: now,
            }));
        if let Some(at) = at
            && state.wake_at.is_none_or(|known| at < known)
        {
            state.wake_at = Some(at);
            let own = Mailbox::new(myself.clone(), state.vitals.clone());
            tokio::spawn(async move {
                tokio::time::sleep_until(at).await;
                let _ = own.tell(Message::Wake);
            });
        }
    }

    fn send(&self, mut call: Box<Call>, myself: &ActorRef<Envelope<Message>>, state: &State) {
        call.attempts += 1;
        let own = Mailbox::new(myself.clone(), state.vitals.clone());
        let (core, http, connection) = (
            self.0.core.clone(),
            self.0.http.clone(),
            self.0.connection.clone(),
        );
        let kept = state.kept.clone();
        let out = state.queue.out(call.claim(), state.poke.clone());
        tokio::spawn(async move {
            call.go(&core, &http, &kept, &connection).await;
            // If the connector has gone, the call is dropped here, and tells its caller what came of it.
            let _ = own.tell(Message::Returned { call, out });
        });
    }

    fn returned(&self, call: Box<Call>, out: Out, state: &mut State) {
        out.came_back();
        let now = self.now();
        let capability = call.capability();
        let came = Came {
            claim: call.claim(),
            write: call.has_effect(),
            tries: call.attempts,
            retry: self.0.connection.rules.retry(capability),
            seed: call.employee().uuid().as_u64_pair().1 ^ u64::from(call.attempts),
        };
        let settled = state.queue.settle(call.known(), came, now);
        match settled {
            Retry::At(_) if call.is_given_up() => call.end(),
            Retry::At(_) if state.leaving => call.refuse(ConnectorError::Moved),
            Retry::At(wait) if Instant::now() + wait < call.deadline() => {
                call.is_to_go_again();
                let at = now.after(wait);
                state.queue.push_again(call.claim(), call, at);
            }
            _ => call.end(),
        }
    }

    /// Stops when nothing is open and the state of its limiter is durable. Its pool has taken it out of the directory.
    fn move_out_when_done(&self, myself: &ActorRef<Envelope<Message>>, state: &mut State) {
        if state.queue.open() > 0 {
            return;
        }
        if state.unsaved && !state.handed_over {
            let own = Mailbox::new(myself.clone(), state.vitals.clone());
            return self.save(state, move || drop(own.tell(Message::Saved)));
        }
        myself.stop(Some(MOVED_OUT.into()));
    }

    /// Where the calls of a run stand that wait.
    fn waiting_of(&self, execution: ExecutionId, state: &State) -> Vec<WaitingCall> {
        let now = self.now();
        let its = move |call: &Call| {
            call.waiter
                .is_some_and(|waiter| waiter.execution == execution)
        };
        let standings = state.queue.standings(move |call| its(call), now);
        let told = standings.filter_map(|(call, standing)| {
            Some(WaitingCall {
                step: call.waiter?.step,
                capability: call.capability().to_owned(),
                place: standing.place,
                estimate_ms: millis(standing.estimate),
                reason: state.queue.reason_in_words(standing.lane, now),
            })
        });
        told.collect()
    }

    fn check_idleness_later(&self, myself: &ActorRef<Envelope<Message>>, state: &mut State) {
        if state.idle_check || !state.is_idle() {
            return;
        }
        state.idle_check = true;
        let idle_after = self.0.core.settings.idle_after;
        let wait = idle_after.saturating_sub(state.last_work.elapsed());
        let own = Mailbox::new(myself.clone(), state.vitals.clone());
        tokio::spawn(async move {
            tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
            let _ = own.tell(Message::Idle);
        });
    }

    fn may_leave(&self, state: &State) -> bool {
        state.is_idle() && state.last_work.elapsed() >= self.0.core.settings.idle_after
    }

    /// Leaves, or sees to it that what it knows is durable first. True if it has left: nobody can reach it any more.
    fn leave(&self, myself: &ActorRef<Envelope<Message>>, state: &mut State) -> bool {
        if state.unsaved {
            let own = Mailbox::new(myself.clone(), state.vitals.clone());
            self.save(state, move || drop(own.tell(Message::Saved)));
            // Until then nobody need look again.
            state.idle_check = true;
            return false;
        }
        let core = &self.0.core;
        if !core
            .connectors()
            .let_go(&self.0.connection, myself.get_id())
        {
            return false;
        }
        myself.stop(Some("asleep".into()));
        true
    }

    /// Writes the limiter's state. What a crash loses is a few seconds of it.
    fn save(&self, state: &mut State, done: impl FnOnce() + Send + 'static) {
        state.saved_at = Instant::now();
        state.unsaved = false;
        let (org, id) = (self.0.connection.org, self.0.connection.id);
        let claim = self.0.core.placement.owned(self.0.connection.entity());
        let (Some(Claim { epoch }), at) = (claim, self.now()) else {
            // It lives elsewhere by now, and there it knows better.
            return done();
        };
        let Ok(body) = codec::encode(
            &state.queue.limiter_state(),
            codec::Mark {
                epoch,
                seq: at.micros().unsigned_abs(),
            },
        ) else {
            return done();
        };
        let mut append = new_append(org);
        append.snapshots.push(SnapshotChange::Put(SnapshotRow {
            org_id: org,
            kind: snapshot_kind::CONNECTOR.into(),
            entity: id.uuid(),
            epoch: epoch as i64,
            seq: at.micros(),
            body,
            at,
        }));
        self.0
            .core
            .journal
            .submit(None, append, Box::new(move |_| done()));
    }
}
