//! The circuit breaker of one connection: after several failures in a row calls are held back for a while, then one is let
//! through to see. Pure: the time is a parameter.

use crate::domain::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerPolicy {
    /// Failures in a row that open it.
    pub threshold: u32,
    /// How long it stays open the first time; doubled each time the trial fails.
    pub cool_down: Duration,
    pub longest_cool_down: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            threshold: 5,
            cool_down: Duration::from_secs(1),
            longest_cool_down: Duration::from_secs(60),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls pass; so many failed in a row.
    Closed { failures: u32 },
    /// No call passes before `until`. `openings` counts how often in a row it opened.
    Open { until: Timestamp, openings: u32 },
    /// One call is under way to see whether the provider is back.
    HalfOpen { openings: u32 },
}

impl BreakerState {
    /// In a word, for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half_open",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: BreakerState,
}

impl Breaker {
    pub fn new(policy: BreakerPolicy) -> Self {
        Self {
            policy,
            state: BreakerState::Closed { failures: 0 },
        }
    }
    /// With a state that was kept. A trial that was under way is forgotten: the next call is the trial.
    pub fn restored(policy: BreakerPolicy, state: BreakerState) -> Self {
        let state = match state {
            BreakerState::HalfOpen { openings } => BreakerState::Open {
                until: Timestamp::default(),
                openings,
            },
            other => other,
        };
        Self { policy, state }
    }
    pub fn state(&self) -> BreakerState {
        self.state
    }

    /// Whether [`Breaker::try_pass`] would let a call through; nothing changes.
    ///
    /// # Errors
    /// As there.
    pub fn may_pass(&self, now: Timestamp) -> Result<(), Duration> {
        self.clone().try_pass(now)
    }

    /// Asks to make a call; whoever gets through reports with [`Breaker::succeeded`], [`Breaker::failed`] or
    /// [`Breaker::withdrawn`].
    ///
    /// # Errors
    /// How long to wait before asking again; zero while a trial is under way, whose end is to be waited for.
    pub fn try_pass(&mut self, now: Timestamp) -> Result<(), Duration> {
        match self.state {
            BreakerState::Closed { .. } => Ok(()),
            BreakerState::Open { until, .. } if until > now => Err(until.since(now)),
            BreakerState::Open { openings, .. } => {
                self.state = BreakerState::HalfOpen { openings };
                Ok(())
            }
            BreakerState::HalfOpen { .. } => Err(Duration::ZERO),
        }
    }

    /// The provider answered, well or with a refusal.
    pub fn succeeded(&mut self) {
        // An answer to a call from before the opening says nothing about now.
        if !matches!(self.state, BreakerState::Open { .. }) {
            self.state = BreakerState::Closed { failures: 0 };
        }
    }

    pub fn failed(&mut self, now: Timestamp) {
        self.state = match self.state {
            BreakerState::Closed { failures } if failures + 1 < self.policy.threshold => {
                BreakerState::Closed {
                    failures: failures + 1,
                }
            }
            BreakerState::Closed { .. } => self.opened(now, 1),
            BreakerState::HalfOpen { openings } => self.opened(now, openings.saturating_add(1)),
            open @ BreakerState::Open { .. } => open,
        };
    }

    /// The call did not take place after all, so it tells nothing; a trial is given back.
    pub fn withdrawn(&mut self, now: Timestamp) {
        if let BreakerState::HalfOpen { openings } = self.state {
            self.state = BreakerState::Open {
                until: now,
                openings,
            };
        }
    }

    fn opened(&self, now: Timestamp, openings: u32) -> BreakerState {
        let doubled = self
            .policy
            .cool_down
            .saturating_mul(1 << openings.saturating_sub(1).min(20));
        BreakerState::Open {
            until: now.after(doubled.min(self.policy.longest_cool_down)),
            openings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn it_opens_tries_one_and_closes() {
        let policy = BreakerPolicy {
            threshold: 2,
            ..BreakerPolicy::default()
        };
        let mut breaker = Breaker::new(policy);
        breaker.failed(at(0));
        breaker.succeeded();
        breaker.failed(at(0));
        assert_eq!(breaker.try_pass(at(0)), Ok(()), "failures in a row count");
        breaker.failed(at(0));
        assert_eq!(breaker.try_pass(at(0)), Err(Duration::from_secs(1)));
        breaker.succeeded();
        assert_eq!(
            breaker.try_pass(at(0)),
            Err(Duration::from_secs(1)),
            "an old answer does not close it"
        );
        assert_eq!(breaker.try_pass(at(1)), Ok(()), "the trial");
        assert_eq!(
            breaker.try_pass(at(1)),
            Err(Duration::ZERO),
            "one trial at a time"
        );
        breaker.failed(at(1));
        assert_eq!(
            breaker.try_pass(at(1)),
            Err(Duration::from_secs(2)),
            "twice as long"
        );
        assert_eq!(breaker.try_pass(at(3)), Ok(()));
        breaker.withdrawn(at(3));
        assert_eq!(
            breaker.try_pass(at(3)),
            Ok(()),
            "a trial that was given back"
        );
        breaker.succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed { failures: 0 });
    }

    #[test]
    fn the_cool_down_has_a_bound_and_a_restart_forgets_the_trial() {
        let mut breaker = Breaker::new(BreakerPolicy {
            threshold: 1,
            ..BreakerPolicy::default()
        });
        let mut now = at(0);
        for _ in 0..40 {
            if let Err(wait) = breaker.try_pass(now) {
                assert!(wait <= Duration::from_secs(60));
                now = now.after(wait);
                assert_eq!(breaker.try_pass(now), Ok(()));
            }
            breaker.failed(now);
        }
        let mut restored = Breaker::restored(
            BreakerPolicy::default(),
            BreakerState::HalfOpen { openings: 3 },
        );
        assert_eq!(restored.try_pass(at(0)), Ok(()));
    }
}
