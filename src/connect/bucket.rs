//! One limit of a provider, whoever shares it: what the catalog says of it, what the provider announces and what its refusals have taught.
//! Pure.

use super::{Gcra, Learned, Quota, RateHints};
use crate::domain::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The limit of an account, of an app or of one capability.
#[derive(Clone, Debug)]
pub struct Bucket {
    quota: Quota,
    gcra: Gcra,
    learned: Learned,
    /// Calls that were counted here and have not come back.
    open: usize,
}

/// What of it survives a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BucketState {
    pub gcra: Gcra,
    pub learned: Option<Learned>,
}

/// What it tells of itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BucketView {
    /// The catalog's word, or the connection's own.
    pub requests: u32,
    pub per_seconds: u32,
    pub burst: u32,
    /// What could leave at once.
    pub left: u32,
    /// The provider has asked to stay away until then.
    pub held_back_until: Option<Timestamp>,
    /// What refusals have taught beyond the catalog.
    pub learned: Option<LearnedView>,
    /// What the provider says is left of its window.
    pub announced: Option<AnnouncedView>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LearnedView {
    pub limit: u64,
    pub per_seconds: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnnouncedView {
    pub left: u64,
    pub until: Timestamp,
}

impl Bucket {
    pub fn of(quota: Quota) -> Self {
        Self {
            quota,
            gcra: Gcra::of(quota),
            learned: Learned::new(window(quota)),
            open: 0,
        }
    }

    pub fn restored(quota: Quota, state: Option<BucketState>) -> Self {
        let mut new = Self::of(quota);
        if let Some(state) = state {
            new.absorb(state);
        }
        new
    }

    /// Takes what another life has kept, if it saw more than this one.
    pub fn absorb(&mut self, state: BucketState) {
        if state.gcra.is_ahead_of(&self.gcra) {
            self.gcra = Gcra::restored(self.quota, &state.gcra);
            if let Some(learned) = state.learned {
                self.learned = Learned::restored(window(self.quota), learned);
            }
        }
    }

    pub fn state(&self) -> BucketState {
        BucketState {
            gcra: self.gcra.clone(),
            learned: Some(self.learned.clone()),
        }
    }

    /// Whether `cost` may leave; nothing is counted.
    ///
    /// # Errors
    /// How long to wait.
    pub fn may_pass(&mut self, now: Timestamp, cost: u32) -> Result<(), Duration> {
        let by_provider = self.learned.may_pass(now, cost);
        match (by_provider, self.gcra.may_take(now, cost)) {
            (Ok(()), Ok(())) => Ok(()),
            (by_provider, by_catalog) => Err(by_provider
                .err()
                .unwrap_or_default()
                .max(by_catalog.err().unwrap_or_default())),
        }
    }

    /// `cost` leaves. To be followed by [`Bucket::returned`].
    pub fn pass(&mut self, now: Timestamp, cost: u32) {
        // Asked before; what does not fit now was let through by whoever shares it.
        let _ = self.gcra.try_take(now, cost);
        self.learned.passed(now, cost);
        self.open += 1;
    }

    /// A call is back. One of the next three is to say what is known of it.
    pub fn returned(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    /// The provider has let a call of `cost` through.
    pub fn let_through(&mut self, now: Timestamp, cost: u32, hints: &RateHints) {
        self.gcra.learn(now, hints);
        self.learned.let_through(now, cost, self.open, hints);
    }

    /// The provider has refused a call of `cost` and wants to be left alone for `wait`.
    pub fn refused(&mut self, now: Timestamp, cost: u32, wait: Duration, hints: &RateHints) {
        self.gcra.learn(now, hints);
        self.gcra.block_until(now.after(wait));
        self.learned.refused(now, cost, self.open, hints);
    }

    /// Nobody knows what the provider thought of the call.
    pub fn lost(&mut self) {
        self.learned.settled();
    }

    /// How long a call waits that stands behind `cost_before` others, if nobody else comes.
    pub fn estimate(&self, now: Timestamp, cost_before: u64) -> Duration {
        let by_catalog = self.gcra.estimate(now, cost_before);
        by_catalog.max(self.learned.estimate(now, cost_before))
    }

    /// Until when the provider has asked to stay away, if that is not over.
    pub fn held_back_until(&self, now: Timestamp) -> Option<Timestamp> {
        Some(self.gcra.blocked_until()).filter(|until| *until > now)
    }

    pub fn view(&self, now: Timestamp) -> BucketView {
        BucketView {
            requests: self.quota.requests,
            per_seconds: self.quota.per_seconds,
            burst: self.quota.burst,
            left: self.gcra.left(now),
            held_back_until: self.held_back_until(now),
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
}

/// Over what the catalog counts this quota.
fn window(quota: Quota) -> Duration {
    Duration::from_secs(quota.per_seconds.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota {
        requests: 60,
        per_seconds: 60,
        burst: 2,
    };
    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000_000 + millis)
    }

    #[test]
    fn what_was_drained_before_a_restart_is_drained_after_it_under_todays_quota() {
        let mut bucket = Bucket::of(QUOTA);
        bucket.pass(at(0), 1);
        bucket.pass(at(0), 1);
        assert_eq!(bucket.view(at(0)).left, 0);
        let slower = Quota { burst: 1, ..QUOTA };
        let mut next = Bucket::restored(slower, Some(bucket.state()));
        assert_eq!(next.may_pass(at(0), 1), Err(Duration::from_secs(2)));
        // And a kept state that saw less changes nothing.
        next.pass(at(2_000), 1);
        next.absorb(bucket.state());
        assert_eq!(next.may_pass(at(2_000), 1), Err(Duration::from_secs(1)));
    }

    #[test]
    fn the_longest_of_all_waits_counts() {
        let mut bucket = Bucket::of(QUOTA);
        bucket.pass(at(0), 2);
        assert_eq!(bucket.may_pass(at(0), 1), Err(Duration::from_secs(1)));
        let hints = RateHints {
            remaining: Some(0),
            reset_after: Some(Duration::from_secs(20)),
            ..RateHints::default()
        };
        bucket.returned();
        bucket.let_through(at(0), 1, &hints);
        assert_eq!(bucket.may_pass(at(0), 1), Err(Duration::from_secs(20)));
        assert_eq!(bucket.estimate(at(0), 0), Duration::from_secs(20));
        bucket.refused(at(0), 1, Duration::from_secs(30), &hints);
        assert_eq!(bucket.may_pass(at(0), 1), Err(Duration::from_secs(30)));
        assert_eq!(bucket.view(at(0)).held_back_until, Some(at(30_000)));
    }
}
