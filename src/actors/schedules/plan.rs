//! What becomes of the times of one schedule that are due. Pure.

use crate::{
    domain::{Misfire, Overlap, Timestamp, recurrence::Due},
    persistence::FireOutcome,
};
use std::time::Duration;

/// A time that was due longer ago than this was missed: nothing ran.
const MISFIRE_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug, PartialEq)]
pub struct FirePlan {
    /// Fire once, for this time.
    pub fire: Option<Timestamp>,
    /// The others, for how many times each stands, and why not.
    pub skipped: Vec<Skipped>,
}

#[derive(Debug, PartialEq)]
pub struct Skipped {
    pub at: Timestamp,
    pub times: u64,
    pub outcome: FireOutcome,
}

/// `busy`: the schedule's last run is not finished.
pub fn plan_fire(
    due: &Due,
    now: Timestamp,
    overlap: Overlap,
    misfire: Misfire,
    busy: bool,
) -> FirePlan {
    let Some((last, earlier)) = due.last.split_last() else {
        return FirePlan {
            fire: None,
            skipped: Vec::new(),
        };
    };
    // Of several missed times one run at most is made, for the last of them.
    let passed = if misfire == Misfire::Skip {
        FireOutcome::SkippedMisfire
    } else {
        FireOutcome::Collapsed
    };
    let once = |at: &Timestamp, outcome| Skipped {
        at: *at,
        times: 1,
        outcome,
    };
    let mut skipped = Vec::with_capacity(due.last.len() + 1);
    if due.older > 0 {
        skipped.push(Skipped {
            at: due.first,
            times: due.older,
            outcome: passed,
        });
    }
    skipped.extend(earlier.iter().map(|at| once(at, passed)));
    let why_not = if now.since(*last) > MISFIRE_AFTER && misfire == Misfire::Skip {
        Some(FireOutcome::SkippedMisfire)
    } else if busy && overlap == Overlap::Skip {
        Some(FireOutcome::SkippedOverlap)
    } else {
        None
    };
    skipped.extend(why_not.map(|outcome| once(last, outcome)));
    FirePlan {
        fire: why_not.is_none().then_some(*last),
        skipped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use FireOutcome::{Collapsed, SkippedMisfire, SkippedOverlap};

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    fn due(older: u64, last: &[Timestamp]) -> Due {
        Due {
            older,
            first: at("2025-12-01T00:00:00Z"),
            last: last.to_vec(),
        }
    }

    fn skipped(plan: &FirePlan) -> Vec<(Timestamp, u64, FireOutcome)> {
        let skipped = plan.skipped.iter();
        skipped
            .map(|one| (one.at, one.times, one.outcome))
            .collect()
    }

    #[test]
    fn what_was_missed_is_fired_once_or_not_at_all_and_always_accounted_for() {
        let (a, b, now) = (
            at("2026-01-01T00:00:00Z"),
            at("2026-01-01T01:00:00Z"),
            at("2026-01-01T01:30:00Z"),
        );
        let plan =
            |due: &Due, now, misfire, busy| plan_fire(due, now, Overlap::Enqueue, misfire, busy);
        let run_once = plan(&due(0, &[a, b]), now, Misfire::RunOnce, true);
        assert_eq!(
            (run_once.fire, skipped(&run_once)),
            (Some(b), vec![(a, 1, Collapsed)])
        );
        let skip = plan(&due(0, &[a, b]), now, Misfire::Skip, false);
        assert_eq!(
            (skip.fire, skipped(&skip)),
            (None, vec![(a, 1, SkippedMisfire), (b, 1, SkippedMisfire)])
        );
        // The last one was due a moment ago: it is no misfire, whatever came before it.
        let moment = plan(&due(40, &[a, b]), b.after_ms(59_000), Misfire::Skip, false);
        let first = at("2025-12-01T00:00:00Z");
        assert_eq!(
            (moment.fire, skipped(&moment)),
            (
                Some(b),
                vec![(first, 40, SkippedMisfire), (a, 1, SkippedMisfire)]
            )
        );
    }

    #[test]
    fn an_unfinished_run_skips_or_queues_the_next() {
        let now = at("2026-01-01T01:00:00Z");
        let skip = plan_fire(&due(0, &[now]), now, Overlap::Skip, Misfire::RunOnce, true);
        assert_eq!(
            (skip.fire, skipped(&skip)),
            (None, vec![(now, 1, SkippedOverlap)])
        );
        let enqueue = plan_fire(
            &due(0, &[now]),
            now,
            Overlap::Enqueue,
            Misfire::RunOnce,
            true,
        );
        assert_eq!(enqueue.fire, Some(now));
    }
}
