//! A provider of a certain limit that says nothing of it but 429, and refuses some calls without any reason. By seed.

use super::super::{Backoff, Bucket, Quota, RateHints};
use crate::domain::Timestamp;
use std::{collections::VecDeque, time::Duration};

const SEEDS: u64 = 10;

struct Random(u64);

impl Random {
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) as f64 / u64::MAX as f64
    }
}

/// What the provider lets through in any minute, and what happens beside that.
struct World {
    limit: usize,
    /// The catalog's word.
    quota: Quota,
    /// Which share of the calls is refused for no reason, by the minute.
    whims: fn(i64) -> f64,
    /// How many calls are wanted, by the minute.
    demand: fn(i64) -> u32,
}

#[derive(Debug, Default)]
struct Seen {
    /// Served, by the minute.
    served: Vec<u32>,
    /// Refused because of the limit.
    refused: u32,
}

impl Seen {
    fn in_minutes(&self, minutes: std::ops::Range<usize>) -> u32 {
        self.served[minutes].iter().sum()
    }
}

/// The queue's part is played by a list of wishes: each is tried as soon as the bucket lets it.
fn run(world: &World, minutes: i64, seed: u64) -> Seen {
    let mut random = Random(seed);
    let mut bucket = Bucket::of(world.quota);
    let mut provider: VecDeque<i64> = VecDeque::new();
    let mut seen = Seen::default();
    let (mut wanted, mut attempt) = (0.0, 0);
    for step in 0..minutes * 240 {
        let (millis, minute) = (step * 250, step / 240);
        let now = Timestamp::from_millis(1_000_000_000 + millis);
        if step % 240 == 0 {
            seen.served.push(0);
        }
        wanted += f64::from((world.demand)(minute)) / 240.0;
        while wanted >= 1.0 && bucket.may_pass(now, 1).is_ok() {
            bucket.pass(now, 1);
            bucket.returned();
            provider.retain(|one| millis - one < 60_000);
            let by_limit = provider.len() >= world.limit;
            let hints = RateHints::default();
            if by_limit || random.share() < (world.whims)(minute) {
                seen.refused += u32::from(by_limit);
                attempt += 1;
                let wait = Backoff::default().wait(attempt, seed);
                bucket.refused(now, 1, wait, &hints);
            } else {
                provider.push_back(millis);
                bucket.let_through(now, 1, &hints);
                seen.served[minute as usize] += 1;
                wanted -= 1.0;
                attempt = 0;
            }
        }
        // Nobody keeps wishes for ever.
        wanted = wanted.min(200.0);
    }
    seen
}

fn quota(requests: u32, burst: u32) -> Quota {
    Quota {
        requests,
        per_seconds: 60,
        burst,
    }
}

#[test]
fn refusals_at_random_leave_nearly_the_whole_limit() {
    for (share, least) in [(0.01, 94), (0.05, 84), (0.10, 70)] {
        let whims: fn(i64) -> f64 = match share {
            0.01 => |_| 0.01,
            0.05 => |_| 0.05,
            _ => |_| 0.10,
        };
        let world = World {
            limit: 50,
            quota: quota(50, 10),
            whims,
            demand: |_| 60,
        };
        for seed in 0..SEEDS {
            let seen = run(&world, 120, seed);
            let of_limit = seen.in_minutes(0..120) * 100 / (50 * 120);
            assert!(
                of_limit >= least,
                "{share} refused, seed {seed}: {of_limit} % of the limit"
            );
        }
    }
}

#[test]
fn a_handful_of_refusals_is_unlearned_within_minutes() {
    let world = World {
        limit: 50,
        quota: quota(50, 10),
        // Every second call for five minutes, at a time of little traffic; then everybody comes.
        whims: |minute| if (10..15).contains(&minute) { 0.5 } else { 0.0 },
        demand: |minute| if minute < 15 { 8 } else { 60 },
    };
    for seed in 0..SEEDS {
        let seen = run(&world, 40, seed);
        let after = seen.in_minutes(20..40);
        assert!(
            after >= 20 * 50 * 9 / 10,
            "seed {seed}: {after} of 1,000, {:?}",
            seen.served
        );
    }
}

#[test]
fn a_real_limit_below_the_catalogs_is_learned_and_costs_few_refusals() {
    for limit in [7, 30, 90] {
        let world = World {
            limit,
            quota: quota(300, 20),
            whims: |_| 0.0,
            demand: |_| 300,
        };
        for seed in 0..SEEDS {
            let seen = run(&world, 180, seed);
            let all = seen.in_minutes(0..180);
            assert!(
                u64::from(all) >= limit as u64 * 180 * 85 / 100,
                "limit {limit}, seed {seed}: {all}"
            );
            assert!(
                seen.refused <= 60,
                "limit {limit}, seed {seed}: {} refused",
                seen.refused
            );
        }
    }
}

#[test]
fn a_plan_that_grows_is_found_within_minutes() {
    // The provider refused at ten until the plan was changed.
    let mut bucket = Bucket::of(quota(100, 100));
    let at = |second: i64| Timestamp::from_millis(1_000_000_000 + second * 1_000);
    let hints = RateHints::default();
    for second in 0..2 {
        for call in 0..12 {
            bucket.pass(at(second), 1);
            bucket.returned();
            match call < 10 && second == 0 {
                true => bucket.let_through(at(second), 1, &hints),
                false => bucket.refused(at(second), 1, Duration::ZERO, &hints),
            }
        }
    }
    assert!(bucket.view(at(2)).learned.is_some());
    let mut minutes = 0;
    while bucket.view(at(2 + minutes * 60)).learned.is_some() {
        minutes += 1;
        let _ = bucket.may_pass(at(2 + minutes * 60), 1);
        assert!(minutes <= 75, "it is still believed");
    }
}
