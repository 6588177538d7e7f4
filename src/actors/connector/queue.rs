//! What may leave now: the rate limiter, the breaker, the number of open calls, and the calls that wait. Pure.

use super::{Answer, ConnectorError};
use crate::{
    connect::{Backoff, Breaker, BreakerPolicy, CallOutcome, Gcra, Quota, breaker::BreakerState},
    domain::Timestamp,
    persistence::codec,
};
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, time::Duration};

/// Calls of one connection that may be open at once.
const OPEN_MAX: usize = 32;
/// Tries of a call whose failure had surely no effect, or of a read.
const TRIES_MAX: u32 = 8;

/// The state that survives a restart. Version 1 of its snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimiterState {
    gcra: Gcra,
    breaker: BreakerState,
}

impl codec::Versioned for LimiterState {
    const SCHEMA_ID: [u8; 4] = *b"CONN";
    const VERSION: u16 = 1;
    fn decode_version(_: u16, body: &[u8]) -> Result<Self, codec::CodecError> {
        codec::decode_body(body)
    }
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
    waiting: VecDeque<(Timestamp, T)>,
    bound: usize,
    open: usize,
    gcra: Gcra,
    breaker: Breaker,
    backoff: Backoff,
}

impl<T> Queue<T> {
    pub fn new(quota: Quota, bound: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            bound,
            open: 0,
            gcra: Gcra::of(quota),
            breaker: Breaker::new(BreakerPolicy::default()),
            backoff: Backoff::default(),
        }
    }

    pub fn restored(quota: Quota, bound: usize, state: LimiterState) -> Self {
        let breaker = Breaker::restored(BreakerPolicy::default(), state.breaker);
        Self {
            gcra: state.gcra,
            breaker,
            ..Self::new(quota, bound)
        }
    }

    pub fn limiter_state(&self) -> LimiterState {
        LimiterState {
            gcra: self.gcra.clone(),
            breaker: self.breaker.state(),
        }
    }

    /// # Errors
    /// Gives the call back if as many wait as may.
    pub fn push(&mut self, call: T) -> Result<(), T> {
        if self.waiting.len() >= self.bound {
            return Err(call);
        }
        self.waiting.push_back((Timestamp::default(), call));
        Ok(())
    }

    /// A call that was out once keeps its place before the others, but not before `not_before`.
    pub fn push_again(&mut self, call: T, not_before: Timestamp) {
        self.waiting.push_front((not_before, call));
    }

    pub fn drop_where(&mut self, gone: impl Fn(&T) -> bool) {
        self.waiting.retain(|(_, call)| !gone(call));
    }

    pub fn take_where(&mut self, wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let (taken, left): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(_, call)| wanted(call));
        self.waiting = left;
        taken.into_iter().map(|(_, call)| call).collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter().map(|(_, call)| call)
    }
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn next(&mut self, now: Timestamp, cost: impl Fn(&T) -> u32) -> Next<T> {
        if self.waiting.is_empty() || self.open >= OPEN_MAX {
            return Next::Wait(None);
        }
        let Some(place) = self
            .waiting
            .iter()
            .position(|(not_before, _)| *not_before <= now)
        else {
            return Next::Wait(
                self.waiting
                    .iter()
                    .map(|(not_before, _)| not_before.since(now))
                    .min(),
            );
        };
        if let Err(wait) = self.breaker.try_pass(now) {
            // Zero: a trial is under way, its answer decides.
            return Next::Wait(Some(wait).filter(|wait| !wait.is_zero()));
        }
        let cost = cost(&self.waiting[place].1);
        if let Err(wait) = self.gcra.try_take(now, cost) {
            self.breaker.withdrawn(now);
            return Next::Wait(Some(wait));
        }
        self.open += 1;
        self.waiting
            .remove(place)
            .map_or(Next::Wait(None), |(_, call)| Next::Send(call))
    }

    /// Learns from an answer and says whether the call may go out again: a refusal for now always, a failure that surely had no effect
    /// and a read a few times, a write whose answer was lost never (that is the ledger's question).
    pub fn settle(
        &mut self,
        answer: &Answer,
        write: bool,
        tries: u32,
        seed: u64,
        now: Timestamp,
    ) -> Retry {
        self.open = self.open.saturating_sub(1);
        let pause = self.backoff.wait(tries, seed);
        match answer {
            Ok(CallOutcome::RateLimited { retry_after, rate }) => {
                self.breaker.succeeded();
                self.gcra.learn(now, rate);
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
            Ok(outcome) => {
                self.breaker.succeeded();
                if let CallOutcome::Ok { rate, .. } = outcome {
                    self.gcra.learn(now, rate);
                }
                Retry::No
            }
            // It did not leave: neither for nor against the provider.
            Err(
                ConnectorError::Token(_) | ConnectorError::NotDurable | ConnectorError::Stopped,
            )
            | Err(_) => {
                self.breaker.withdrawn(now);
                Retry::No
            }
        }
    }

    /// What the first in the queue waits for.
    pub fn reason_in_words(&self, now: Timestamp) -> String {
        match self.breaker.state() {
            BreakerState::Open { .. } => "the provider to recover (circuit breaker)".into(),
            _ if self.open >= OPEN_MAX => format!("one of {OPEN_MAX} open calls to return"),
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
