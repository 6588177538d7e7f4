//! How long to wait before a call is tried again. Pure: the randomness is a parameter.

use std::time::Duration;

/// Exponential, with "equal jitter": between half of the step and all of it, so that callers spread and none comes at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    pub initial: Duration,
    pub factor: f64,
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(200),
            factor: 2.0,
            longest: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// The wait after the failure of attempt `attempt` (counted from 1); the same seed and attempt give the same wait.
    pub fn wait(&self, attempt: u32, seed: u64) -> Duration {
        let power = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let step = self.initial.as_secs_f64() * self.factor.max(1.0).powi(power);
        let step = step.min(self.longest.as_secs_f64());
        let share = mix(seed ^ u64::from(attempt)) as f64 / u64::MAX as f64;
        Duration::try_from_secs_f64(step * (0.5 + share / 2.0))
            .unwrap_or(self.longest)
            .min(self.longest)
    }
}

/// The finaliser of SplitMix64: seeds that are near give waits that are not.
fn mix(seed: u64) -> u64 {
    let mut value = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_bound_and_spread() {
        let backoff = Backoff {
            initial: Duration::from_millis(100),
            factor: 2.0,
            longest: Duration::from_secs(2),
        };
        for (attempt, most) in [
            (1, 100),
            (2, 200),
            (3, 400),
            (5, 1_600),
            (6, 2_000),
            (60, 2_000),
            (u32::MAX, 2_000),
        ] {
            let waits: Vec<_> = (0..200)
                .map(|seed| backoff.wait(attempt, seed).as_millis())
                .collect();
            assert!(
                waits.iter().all(|wait| (most / 2..=most).contains(wait)),
                "attempt {attempt}: {waits:?}"
            );
            let (least, greatest) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
            assert!(
                greatest - least > most / 4,
                "attempt {attempt} does not spread"
            );
        }
        assert_eq!(backoff.wait(3, 9), backoff.wait(3, 9));
    }
}
