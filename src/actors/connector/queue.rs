//! What may leave now: the rate limiter, the breaker, the number of open calls, and the calls that wait. Pure.

use super::{
    Answer, ConnectorError,
    fair::FairQueue,
    view::{AnnouncedView, ConnectorView, LearnedView, PlaceView},
};
use crate::{
    connect::{
        Backoff, Breaker, BreakerPolicy, CallOutcome, Gcra, Learned, Quota, breaker::BreakerState,
    },
    domain::{EmployeeId, Timestamp},
    graph::Later,
    persistence::codec,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Calls of one connection that may be open at once.
const OPEN_MAX: usize = 32;
/// Employees whose place in the queue is told; the number of the others is.
const PLACES_SHOWN: usize = 100;
/// Tries of a call whose failure had surely no effect, or of a read.
const TRIES_MAX: u32 = 8;

/// The state that survives a restart. Version 2 of its snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimiterState {
    gcra: Gcra,
    breaker: BreakerState,
    learned: Option<Learned>,
}

/// Version 1, which knew nothing of what a provider teaches.
#[derive(Deserialize)]
struct LimiterStateV1 {
    gcra: Gcra,
    breaker: BreakerState,
}

impl From<LimiterStateV1> for LimiterState {
    fn from(old: LimiterStateV1) -> Self {
        Self {
            gcra: old.gcra,
            breaker: old.breaker,
            learned: None,
        }
    }
}

impl codec::Versioned for LimiterState {
    const SCHEMA_ID: [u8; 4] = *b"CONN";
    const VERSION: u16 = 2;
    fn decode_version(version: u16, body: &[u8]) -> Result<Self, codec::CodecError> {
        match version {
            1 => codec::decode_body::<LimiterStateV1>(body).map(Self::from),
            _ => codec::decode_body(body),
        }
    }
}

/// What a call that waits is about.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    pub employee: EmployeeId,
    pub cost: u32,
}

/// What to do next.
pub enum Next<T> {
    Send(T),
    /// Nothing may leave; something may after this time, or after an answer if there is none.
    Wait(Option<Duration>),
}

/// Whether a call that came back goes out once more.
#[derive(Debug, PartialEq)]
pub enum Retry {
    No,
    At(Duration),
}

pub struct Queue<T> {
    waiting: FairQueue<T>,
    bound: usize,
    open: usize,
    open_max: usize,
    gcra: Gcra,
    learned: Learned,
    breaker: Breaker,
    backoff: Backoff,
}

impl<T> Queue<T> {
    /// `concurrency`: how many calls the provider wants to have open at once, if it says.
    pub fn new(quota: Quota, concurrency: Option<u32>, bound: usize) -> Self {
        let open_max = concurrency.map_or(OPEN_MAX, |wanted| (wanted as usize).clamp(1, OPEN_MAX));
        Self {
            waiting: FairQueue::new(),
            bound,
            open: 0,
            open_max,
            gcra: Gcra::of(quota),
            learned: Learned::new(Duration::from_secs(quota.per_seconds.into())),
            breaker: Breaker::new(BreakerPolicy::default()),
            backoff: Backoff::default(),
        }
    }

    pub fn restored(
        quota: Quota,
        concurrency: Option<u32>,
        bound: usize,
        state: LimiterState,
    ) -> Self {
        let new = Self::new(quota, concurrency, bound);
        Self {
            gcra: state.gcra,
            breaker: Breaker::restored(BreakerPolicy::default(), state.breaker),
            learned: state.learned.unwrap_or(new.learned),
            ..new
        }
    }

    pub fn limiter_state(&self) -> LimiterState {
        LimiterState {
            gcra: self.gcra.clone(),
            breaker: self.breaker.state(),
            learned: Some(self.learned.clone()),
        }
    }

    /// # Errors
    /// Gives the call back if as many wait as may.
    pub fn push(&mut self, claim: Claim, call: T) -> Result<(), T> {
        if self.waiting.len() >= self.bound {
            return Err(call);
        }
        self.waiting.push(claim.employee, claim.cost, call);
        Ok(())
    }

    /// A call that was out once keeps its place before the others of its employee, but not before `not_before`.
    pub fn push_again(&mut self, claim: Claim, call: T, not_before: Timestamp) {
        let Claim { employee, cost } = claim;
        self.waiting.push_again(employee, cost, call, not_before);
    }

    pub fn take_where(&mut self, wanted: impl Fn(&T) -> bool) -> Vec<T> {
        self.waiting.take_where(wanted)
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter()
    }
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn next(&mut self, now: Timestamp) -> Next<T> {
        if self.waiting.is_empty() || self.open >= self.open_max {
            return Next::Wait(None);
        }
        let turn = match self.waiting.turn(now) {
            Ok(turn) => turn,
            Err(wait) => return Next::Wait(wait),
        };
        if let Err(wait) = self.breaker.try_pass(now) {
            // Zero: a trial is under way, its answer decides.
            return Next::Wait(Some(wait).filter(|wait| !wait.is_zero()));
        }
        let may = self.learned.may_pass(now, turn.cost);
        if let Err(wait) = may.and_then(|()| self.gcra.try_take(now, turn.cost)) {
            self.breaker.withdrawn(now);
            return Next::Wait(Some(wait));
        }
        self.learned.passed(now, turn.cost);
        self.open += 1;
        self.waiting
            .take(turn)
            .map_or(Next::Wait(None), |call| Next::Send(call))
    }

    pub fn view(&self, now: Timestamp) -> ConnectorView {
        let places = self.waiting.places().into_iter().take(PLACES_SHOWN);
        ConnectorView {
            open: self.open,
            open_max: self.open_max,
            waiting: self.waiting.len(),
            employees_waiting: self.waiting.employees(),
            places: places
                .enumerate()
                .map(|(place, one)| PlaceView {
                    employee: one.employee,
                    waiting: one.waiting,
                    place,
                    estimate_ms: self.gcra.estimate(now, one.cost_before).as_millis() as u64,
                })
                .collect(),
            breaker: self.breaker.state().word(),
            held_back_until: Some(self.gcra.blocked_until()).filter(|until| *until > now),
            learned: self.learned.limit().map(|(limit, window)| LearnedView {
                limit,
                per_seconds: window.as_secs(),
            }),
            announced: self
                .learned
                .announced()
                .filter(|(_, until)| *until > now)
                .map(|(left, until)| AnnouncedView { left, until }),
        }
    }

    /// Learns from an answer and says whether the call may go out again: a refusal for now always, a failure that surely had no effect
    /// and a read a few times, a write whose answer was lost never (that is the ledger's question).
    pub fn settle(
        &mut self,
        answer: &Answer,
        write: bool,
        tries: u32,
        (seed, cost): (u64, u32),
        now: Timestamp,
    ) -> Retry {
        self.open = self.open.saturating_sub(1);
        let pause = self.backoff.wait(tries, seed);
        match answer {
            Ok(CallOutcome::RateLimited { retry_after, rate }) => {
                self.breaker.succeeded();
                self.gcra.learn(now, rate);
                self.learned.learn(now, rate, self.open);
                self.learned.refused(now, cost, self.open);
                let wait = retry_after.unwrap_or(pause);
                self.gcra.block_until(now.after(wait));
                Retry::At(wait)
            }
            Ok(outcome) if outcome.is_provider_failure() => {
                self.breaker.failed(now);
                let harmless = !write || outcome.is_surely_not_applied();
                if harmless && tries < TRIES_MAX {
                    Retry::At(pause)
                } else {
                    Retry::No
                }
            }
            // It did not leave: neither for nor against the provider.
            Ok(CallOutcome::Blocked { .. }) => {
                self.breaker.withdrawn(now);
                Retry::No
            }
            Ok(outcome) => {
                self.breaker.succeeded();
                if let CallOutcome::Ok { rate, .. } = outcome {
                    self.gcra.learn(now, rate);
                    self.learned.learn(now, rate, self.open);
                }
                Retry::No
            }
            Err(ConnectorError::TokenLater { retry_after, .. }) => {
                self.breaker.withdrawn(now);
                match tries < TRIES_MAX {
                    true => Retry::At(retry_after.unwrap_or(pause)),
                    false => Retry::No,
                }
            }
            // It did not leave: neither for nor against the provider.
            Err(_) => {
                self.breaker.withdrawn(now);
                Retry::No
            }
        }
    }

    /// Where the next call of an employee stands, or would stand if it has none, and about how long until it leaves.
    pub fn later(&self, employee: EmployeeId, now: Timestamp) -> Later {
        let places = self.waiting.places();
        let own = places.iter().position(|one| one.employee == employee);
        let all = |cost: u64, one: &super::fair::Place| cost.max(one.cost_before + 1);
        let cost = own.map_or_else(
            || places.iter().fold(0, all),
            |place| places[place].cost_before,
        );
        Later {
            estimate_ms: self.gcra.estimate(now, cost).as_millis() as u64,
            place: Some(own.unwrap_or(places.len())),
        }
    }

    /// What the first in the queue waits for.
    pub fn reason_in_words(&self, now: Timestamp) -> String {
        match self.breaker.state() {
            BreakerState::Open { .. } => "the provider to recover (circuit breaker)".into(),
            _ if self.open >= self.open_max => {
                format!("one of {} open calls to return", self.open_max)
            }
            _ if self.gcra.blocked_until() > now => format!(
                "the provider's Retry-After, until {}",
                self.gcra.blocked_until()
            ),
            _ => "its turn in the connection's quota".into(),
        }
    }

    pub fn open(&self) -> usize {
        self.open
    }
    pub fn len(&self) -> usize {
        self.waiting.len()
    }
}
