//! Timers: everything that has to happen to a run at a time. The rows in the database are the truth; what is due soon is held in memory.
//!
//! Invariants: a durable timer fires at least once after it is due, over restarts, until its run has taken it; what fires twice is
//! ignored by the run. No row holds back another, whoever cannot take it: what stays in vain is put off. Rows are written and deleted with the
//! facts of their run; here they are only put off.

mod due;

use super::{
    core::Core,
    employee::Message as EmployeeMessage,
    mailbox::{Envelope, Mailbox, Named},
    offers,
    vitals::Vitals,
};
use crate::{
    domain::{EmployeeId, ExecutionId, OrgId, Timestamp},
    graph::TimerKey,
    persistence::TimerRow,
};
use due::Due;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

const MAILBOX: usize = 100_000;
/// A fired timer whose row is still there after this long is fired again: its employee could not take it.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
const POLL_EVERY: Duration = Duration::from_secs(5);
/// Longest nap; also the precision with which a simulated clock is followed.
const NAP_MAX: Duration = Duration::from_millis(200);

/// What a timer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerTarget {
    pub org: OrgId,
    pub employee: EmployeeId,
    pub execution: ExecutionId,
    pub timer: TimerKey,
}

#[derive(Clone)]
pub struct TimersHandle(Mailbox<Message>);

impl TimersHandle {
    pub async fn spawn(parent: ActorCell, core: Arc<Core>) -> Result<Self, ractor::SpawnErr> {
        let vitals = core.vitals.register("node/timers", "timers", None, MAILBOX);
        let (actor, _) = Actor::spawn_linked(None, Timers(core), vitals.clone(), parent).await?;
        Ok(Self(Mailbox::new(actor, vitals)))
    }

    /// Says that a timer will be due; if this is lost, a durable one is found in the database.
    pub fn set(&self, target: TimerTarget, due: Timestamp) {
        let _ = self.0.tell(Message::Set { target, due });
    }
    /// Reads what is due at once: employees have come to this node, and their timers with them.
    pub fn look(&self) {
        let _ = self.0.tell(Message::Look);
    }
    pub fn clear(&self, execution: ExecutionId, timer: TimerKey) {
        let _ = self.0.tell(Message::Clear { execution, timer });
    }
}

enum Message {
    Set {
        target: TimerTarget,
        due: Timestamp,
    },
    Clear {
        execution: ExecutionId,
        timer: TimerKey,
    },
    Read {
        due: Box<Due>,
    },
    /// The results that were left over have been offered.
    Offered,
    Tick,
    Look,
}
impl Named for Message {
    fn name(&self) -> &'static str {
        match self {
            Message::Set { .. } => "set",
            Message::Clear { .. } => "clear",
            Message::Read { .. } => "read",
            Message::Offered => "offered",
            Message::Tick => "tick",
            Message::Look => "look",
        }
    }
}

struct Timers(Arc<Core>);

type Key = (ExecutionId, TimerKey);

/// Due times in order, each key once. Pure.
#[derive(Default)]
struct Agenda {
    by_time: BTreeMap<(Timestamp, Key), TimerTarget>,
    due_of: HashMap<Key, Timestamp>,
    fired: HashMap<Key, Timestamp>,
}

impl Agenda {
    fn set(&mut self, target: TimerTarget, due: Timestamp) {
        let key = (target.execution, target.timer);
        self.clear(&key);
        self.due_of.insert(key, due);
        self.by_time.insert((due, key), target);
    }

    fn clear(&mut self, key: &Key) {
        if let Some(due) = self.due_of.remove(key) {
            self.by_time.remove(&(due, *key));
        }
    }

    /// A row that was read: it may be on the agenda, or have fired a moment ago.
    fn set_from_row(&mut self, target: TimerTarget, due: Timestamp, now: Timestamp) {
        let key = (target.execution, target.timer);
        let fired_lately = self
            .fired
            .get(&key)
            .is_some_and(|at| now.since(*at) < AGAIN_AFTER);
        if !fired_lately && !self.due_of.contains_key(&key) {
            self.set(target, due);
        }
    }

    fn take_due(&mut self, now: Timestamp) -> Vec<TimerTarget> {
        let mut due = Vec::new();
        while let Some(entry) = self.by_time.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let ((_, key), target) = entry.remove_entry();
            self.due_of.remove(&key);
            if key.1.purpose.is_durable() {
                self.fired.insert(key, now);
            }
            due.push(target);
        }
        due
    }

    fn forget_fired(&mut self, now: Timestamp) {
        self.fired.retain(|_, at| now.since(*at) < AGAIN_AFTER);
    }

    fn next(&self) -> Option<Timestamp> {
        self.by_time.first_key_value().map(|((due, _), _)| *due)
    }
}

struct State {
    vitals: Arc<Vitals>,
    agenda: Agenda,
    reading: bool,
    /// Results are being offered that were left over.
    offering: bool,
    last_read: Option<tokio::time::Instant>,
}

impl Actor for Timers {
    type Msg = Envelope<Message>;
    type State = State;
    type Arguments = Arc<Vitals>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        vitals: Arc<Vitals>,
    ) -> Result<State, ActorProcessingErr> {
        let _ = Mailbox::new(myself, vitals.clone()).tell(Message::Tick);
        Ok(State {
            vitals,
            agenda: Agenda::default(),
            reading: false,
            offering: false,
            last_read: None,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (message, _handling) = message.open(&state.vitals);
        let now = self.0.clock.now();
        match message {
            // What is due later is found in the database in time; a step's timeout is nowhere else.
            Message::Set { target, due } => {
                if !target.timer.purpose.is_durable()
                    || due <= now.after(self.0.settings.timer_horizon)
                {
                    state.agenda.set(target, due);
                }
            }
            Message::Clear { execution, timer } => state.agenda.clear(&(execution, timer)),
            Message::Read { due } => {
                state.reading = false;
                for (target, due) in due.timers {
                    state.agenda.set_from_row(target, due, now);
                }
                self.offer(due.offers, &myself, state);
            }
            Message::Offered => state.offering = false,
            Message::Look => {
                state.last_read = None;
                self.read_if_due(now, &myself, state);
            }
            Message::Tick => {
                self.fire(now, state);
                self.read_if_due(now, &myself, state);
                self.nap(now, myself, state);
            }
        }
        Ok(())
    }
}

impl Timers {
    fn fire(&self, now: Timestamp, state: &mut State) {
        for target in state.agenda.take_due(now) {
            let message = EmployeeMessage::Timer {
                execution: target.execution,
                timer: target.timer,
            };
            self.0.host().tell(target.org, target.employee, message);
        }
        state.agenda.forget_fired(now);
    }

    fn read_if_due(&self, now: Timestamp, myself: &ActorRef<Envelope<Message>>, state: &mut State) {
        if state.reading || state.last_read.is_some_and(|at| at.elapsed() < POLL_EVERY) {
            return;
        }
        state.reading = true;
        state.last_read = Some(tokio::time::Instant::now());
        let (core, own) = (
            self.0.clone(),
            Mailbox::new(myself.clone(), state.vitals.clone()),
        );
        let until = now.after(core.settings.timer_horizon);
        tokio::spawn(async move {
            let due = due::read(&core, until).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "timers could not be read");
                Due::default()
            });
            let _ = own.tell(Message::Read { due: Box::new(due) });
        });
    }

    /// Offers results that were left over, one bundle at a time: what is not in it is read again.
    fn offer(&self, rows: Vec<TimerRow>, myself: &ActorRef<Envelope<Message>>, state: &mut State) {
        if rows.is_empty() || state.offering {
            return;
        }
        state.offering = true;
        let (core, own) = (
            self.0.clone(),
            Mailbox::new(myself.clone(), state.vitals.clone()),
        );
        tokio::spawn(async move {
            // In a task of its own: if it panics, the next bundle is offered all the same.
            let offering = tokio::spawn(async move { offers::offer_again(&core, rows).await });
            match offering.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "results could not be put off"),
                Err(error) => tracing::error!(%error, "results could not be offered"),
            }
            let _ = own.tell(Message::Offered);
        });
    }

    fn nap(&self, now: Timestamp, myself: ActorRef<Envelope<Message>>, state: &State) {
        let wait = state
            .agenda
            .next()
            .map_or(NAP_MAX, |due| due.since(now))
            .clamp(Duration::from_millis(1), NAP_MAX);
        let own = Mailbox::new(myself, state.vitals.clone());
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let _ = own.tell(Message::Tick);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{StepId, TimerPurpose};
    use uuid::Uuid;

    fn target(n: u128) -> TimerTarget {
        let step = StepId {
            skill: 0,
            skill_visit: 1,
            node: 0,
            visit: 1,
            item: None,
        };
        TimerTarget {
            org: OrgId::from_uuid(Uuid::nil()),
            employee: EmployeeId::from_uuid(Uuid::nil()),
            execution: ExecutionId::from_uuid(Uuid::from_u128(n)),
            timer: TimerKey {
                step,
                attempt: 1,
                purpose: TimerPurpose::Wait,
            },
        }
    }
    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn fires_in_order_and_once_until_the_row_stays_too_long() {
        let mut agenda = Agenda::default();
        agenda.set(target(2), at(20));
        agenda.set(target(1), at(10));
        assert_eq!(agenda.take_due(at(9)), []);
        assert_eq!(agenda.take_due(at(20)), [target(1), target(2)]);
        agenda.set_from_row(target(1), at(10), at(21));
        assert_eq!(agenda.take_due(at(22)), [], "it fired a moment ago");
        agenda.forget_fired(at(60));
        agenda.set_from_row(target(1), at(10), at(60));
        assert_eq!(agenda.take_due(at(60)), [target(1)], "nobody took it");
    }

    #[test]
    fn a_cleared_timer_does_not_fire() {
        let mut agenda = Agenda::default();
        agenda.set(target(1), at(10));
        agenda.clear(&(target(1).execution, target(1).timer));
        assert_eq!(agenda.take_due(at(100)), []);
        assert_eq!(agenda.next(), None);
    }
}
