//! The rate limit of one connection: GCRA, a token bucket that needs one number, and what the provider itself asked for.
//! Pure: the time is a parameter, and the state can be kept in a snapshot.

use super::{answer::RateHints, catalog::Quota};
use crate::domain::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// No provider is believed that asks to stay away for longer.
const LONGEST_BLOCK: Duration = Duration::from_secs(24 * 3600);

/// Lets `burst` calls through at once and one more each `interval`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gcra {
    interval_us: u64,
    burst: u32,
    /// When the bucket would be full again (the "theoretical arrival time").
    full_at: Timestamp,
    /// Nothing goes before this, because the provider said so.
    blocked_until: Timestamp,
}

impl Gcra {
    /// A full bucket. An interval of zero never limits.
    pub fn new(interval: Duration, burst: u32) -> Self {
        let interval_us = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX);
        Self {
            interval_us,
            burst: burst.max(1),
            full_at: Timestamp::default(),
            blocked_until: Timestamp::default(),
        }
    }

    pub fn of(quota: Quota) -> Self {
        Self::new(quota.interval(), quota.burst)
    }

    /// With what was kept of an earlier life, under the catalog's quota of today.
    pub fn restored(quota: Quota, kept: &Self) -> Self {
        let new = Self::of(quota);
        Self {
            full_at: kept.full_at,
            blocked_until: kept.blocked_until,
            ..new
        }
    }

    /// Whether it has seen calls or requests to stay away that `other` has not.
    pub fn is_ahead_of(&self, other: &Self) -> bool {
        (self.full_at, self.blocked_until) > (other.full_at, other.blocked_until)
    }

    /// Whether `cost` may be taken; nothing is.
    ///
    /// # Errors
    /// How long to wait until it can be.
    pub fn may_take(&self, now: Timestamp, cost: u32) -> Result<(), Duration> {
        self.clone().try_take(now, cost)
    }

    /// Takes `cost` from the bucket (a cost above the burst counts as the burst).
    ///
    /// # Errors
    /// How long to wait until it can be taken; nothing was taken.
    pub fn try_take(&mut self, now: Timestamp, cost: u32) -> Result<(), Duration> {
        if self.blocked_until > now {
            return Err(self.blocked_until.since(now));
        }
        let capacity = self.worth(self.burst);
        let after = self
            .full_at
            .max(now)
            .after(self.worth(cost.min(self.burst)));
        let missing = after.since(now).saturating_sub(capacity);
        if missing > Duration::ZERO {
            return Err(missing);
        }
        self.full_at = after;
        Ok(())
    }

    /// How long a call that stands behind `cost_before` others would wait, if nobody else came.
    pub fn estimate(&self, now: Timestamp, cost_before: u64) -> Duration {
        let ahead = Duration::from_micros(
            self.interval_us
                .saturating_mul(cost_before.saturating_add(1)),
        );
        let bucket = self
            .full_at
            .max(now)
            .since(now)
            .saturating_add(ahead)
            .saturating_sub(self.worth(self.burst));
        bucket.max(self.blocked_until.since(now))
    }

    /// Lets nothing through before `until`; never shortens a block.
    pub fn block_until(&mut self, until: Timestamp) {
        self.blocked_until = self.blocked_until.max(until);
    }

    /// Learns from an answer that arrived at `now`: `Retry-After` is obeyed, and a window with nothing left is waited for.
    pub fn learn(&mut self, now: Timestamp, hints: &RateHints) {
        let window = hints.reset_after.filter(|_| hints.remaining == Some(0));
        if let Some(wait) = hints.retry_after.max(window) {
            self.block_until(now.after(wait.min(LONGEST_BLOCK)));
        }
    }

    /// What could be taken at once at `now`, if the provider had not asked to stay away.
    pub fn left(&self, now: Timestamp) -> u32 {
        let taken = self.full_at.max(now).since(now).as_micros() as u64;
        match taken.div_ceil(self.interval_us.max(1)) {
            taken if self.interval_us > 0 => self
                .burst
                .saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX)),
            _ => self.burst,
        }
    }

    pub fn blocked_until(&self) -> Timestamp {
        self.blocked_until
    }

    fn worth(&self, cost: u32) -> Duration {
        Duration::from_micros(self.interval_us.saturating_mul(cost.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }
    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_passes_and_then_one_each_interval() {
        let mut bucket = Gcra::new(ms(100), 3);
        let steps = [
            (0, 1, Ok(())),
            (0, 1, Ok(())),
            (0, 1, Ok(())),
            (0, 1, Err(ms(100))),
            (60, 1, Err(ms(40))),
            (100, 1, Ok(())),
            (100, 1, Err(ms(100))),
            (100, 3, Err(ms(300))),
            (400, 3, Ok(())),
            (400, 1, Err(ms(100))),
            (10_000, 9, Ok(())),
            (10_000, 1, Err(ms(100))),
        ];
        for (place, (now, cost, expected)) in steps.into_iter().enumerate() {
            assert_eq!(bucket.try_take(at(now), cost), expected, "step {place}");
        }
    }

    #[test]
    fn over_any_time_no_more_than_the_quota_passes() {
        let mut bucket = Gcra::new(ms(7), 5);
        let passed = (0..10_000)
            .filter(|now| bucket.try_take(at(*now), 1).is_ok())
            .count();
        assert!((1_428..=1_434).contains(&passed), "{passed}");
    }

    #[test]
    fn the_provider_is_obeyed_and_a_block_is_never_shortened() {
        let mut bucket = Gcra::new(ms(1), 5);
        bucket.learn(
            at(0),
            &RateHints {
                retry_after: Some(ms(2_000)),
                ..RateHints::default()
            },
        );
        bucket.learn(
            at(0),
            &RateHints {
                remaining: Some(0),
                reset_after: Some(ms(500)),
                ..RateHints::default()
            },
        );
        assert_eq!(bucket.try_take(at(500), 1), Err(ms(1_500)));
        assert_eq!(bucket.try_take(at(2_000), 1), Ok(()));
        bucket.learn(
            at(2_000),
            &RateHints {
                remaining: Some(3),
                reset_after: Some(ms(500)),
                ..RateHints::default()
            },
        );
        assert_eq!(bucket.try_take(at(2_000), 1), Ok(()));
        bucket.learn(
            at(3_000),
            &RateHints {
                retry_after: Some(Duration::MAX),
                ..RateHints::default()
            },
        );
        assert_eq!(bucket.blocked_until(), at(3_000).after(LONGEST_BLOCK));
    }

    #[test]
    fn the_estimate_is_what_a_queue_then_sees() {
        let mut bucket = Gcra::new(ms(100), 2);
        assert_eq!(bucket.estimate(at(0), 1), ms(0));
        assert_eq!(bucket.estimate(at(0), 4), ms(300));
        bucket.try_take(at(0), 2).unwrap();
        assert_eq!(bucket.estimate(at(0), 0), ms(100));
        let kept: Gcra = serde_json::from_str(&serde_json::to_string(&bucket).unwrap()).unwrap();
        // Timestamps travel as milliseconds in JSON; these are whole ones.
        assert_eq!(kept, bucket);
    }
}
