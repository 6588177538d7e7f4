//! What a provider has taught of its limit, beyond what the catalog says: the window that its headers announce, and how much it let
//! through before it refused. Pure.
//!
//! A refusal need not be about the rate: providers refuse at random when they are busy, and at their own expense. So one refusal teaches
//! nothing but caution (whoever holds the queue waits as it was asked to); it is a suspicion that the limit is what had passed. If more than
//! that passes within one window, the suspicion was wrong. If it is refused at about the same level again, it is a limit. A limit is held to
//! for a while and then probed: it grows by half in each step of time, and if it was wrong, it is gone within minutes. Each time that a
//! probe is refused, it is held to for twice as long, up to eight steps, so that a limit that is real costs few refusals.

use super::answer::RateHints;
use crate::domain::Timestamp;
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, time::Duration};

/// A window is counted in so many slices: what leaves it leaves a slice at a time.
const SLICES: u32 = 60;
/// Two answers mean the same window if it ends at nearly the same time; headers count whole seconds.
const SAME_WINDOW: Duration = Duration::from_secs(2);
/// By so much more a window is waited for that turned out to end later than was announced.
const MARGIN_STEP: Duration = Duration::from_secs(1);
/// A limit that no refusal confirms is believed this long at most: plans change.
const BELIEVED_FOR: Duration = Duration::from_secs(24 * 3600);
/// A step of time is a window, but not shorter or longer than this: of a limit a second, not each second is a probe, and of a limit a day it is
/// not waited for days.
const STEP_MIN: Duration = Duration::from_secs(10);
const STEP_MAX: Duration = Duration::from_secs(300);
/// A limit that was confirmed so often is held to for 2^3 steps, eight minutes for one a minute.
const CONFIRMED_MAX: u32 = 3;
/// When it has grown to so many times what it was, it is no limit any more.
const GROWTH_MAX: u64 = 16;
/// How long a suspicion waits for a second refusal, in steps.
const SUSPECTED_STEPS: u32 = 10;
/// No window is believed to be longer.
const LONGEST_WINDOW: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    window: Duration,
    /// What left lately: when the slice began, and its cost. Oldest first.
    slices: VecDeque<(Timestamp, u64)>,
    announced: Option<Announced>,
    limit: Option<Limit>,
    /// A refusal that nothing has confirmed or contradicted yet.
    #[serde(skip)]
    suspicion: Option<Suspicion>,
    /// What a whole window of the provider holds and how long one can be, as headers have told. Not kept over a restart: the first answer
    /// tells it again.
    #[serde(skip)]
    told: Option<Told>,
    /// Whether `announced` is only what is to be expected of a window of which no answer has told yet.
    #[serde(skip)]
    assumed: bool,
    /// How much later than announced a window really ended; taught by refusals. Headers count whole seconds, and clocks differ.
    #[serde(skip)]
    margin: Duration,
    #[serde(skip)]
    margin_at: Timestamp,
    /// Calls that left before the first announcement was known: that they are refused says nothing against it.
    #[serde(skip)]
    blind: usize,
    /// Calls that were on their way when a refusal set the limit or the suspicion.
    #[serde(skip)]
    unsettled: usize,
    /// What had surely passed of the window at that refusal; each of them that was let through raises it.
    #[serde(skip)]
    level: u64,
    /// The least that an answer has said is left of the announced window: the latest word of the provider, in whatever order answers come.
    #[serde(skip)]
    least: Option<Announced>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Told {
    limit: u64,
    span: Duration,
}

/// The provider's own window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Announced {
    left: u64,
    until: Timestamp,
}

/// So much passes in any stretch of one window's length.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Limit {
    per_window: u64,
    /// When a refusal said so last.
    at: Timestamp,
    /// How often a refusal has said so again. Not kept over a restart: what is kept has no names, so that a new field would be read from others' bytes.
    #[serde(skip)]
    confirmed: u32,
}

impl Limit {
    /// What it lets through at `now`; `None` when it is forgotten.
    fn at(&self, now: Timestamp, step: Duration) -> Option<u64> {
        let age = now.since(self.at);
        let held = step.saturating_mul(1 << self.confirmed.min(CONFIRMED_MAX));
        if age >= BELIEVED_FOR {
            return None;
        }
        let steps = age.saturating_sub(held).as_micros() / step.as_micros().max(1);
        let mut grown = self.per_window;
        for _ in 0..steps {
            grown += (grown / 2).max(1);
            if grown >= self.per_window.saturating_mul(GROWTH_MAX) {
                return None;
            }
        }
        Some(grown)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Suspicion {
    /// What had passed of the window when it was refused.
    level: u64,
    at: Timestamp,
}

impl Suspicion {
    /// Whether a refusal at another level says the same, by a fifth: windows of providers begin when they like. Its level may still rise by
    /// the calls that are on their way.
    fn fits(&self, level: u64, open: usize) -> bool {
        let level = self.level.clamp(level, level.saturating_add(open as u64));
        let (less, more) = (self.level.min(level), self.level.max(level));
        more - less <= (more / 5).max(1)
    }
}

impl Learned {
    /// `window`: over what the catalog counts this provider's quota.
    pub fn new(window: Duration) -> Self {
        Self {
            window: window.clamp(Duration::from_secs(1), LONGEST_WINDOW),
            slices: VecDeque::new(),
            announced: None,
            limit: None,
            suspicion: None,
            told: None,
            assumed: false,
            margin: Duration::ZERO,
            margin_at: Timestamp::default(),
            blind: 0,
            unsettled: 0,
            level: 0,
            least: None,
        }
    }

    /// With what was kept of an earlier life. The window is the catalog's of today.
    pub fn restored(window: Duration, kept: Self) -> Self {
        let new = Self::new(window);
        if kept.window != new.window {
            // What was counted over another stretch of time says nothing.
            return new;
        }
        kept
    }

    /// Whether `cost` may leave at `now`; nothing is counted.
    ///
    /// # Errors
    /// How long to wait.
    pub fn may_pass(&mut self, now: Timestamp, cost: u32) -> Result<(), Duration> {
        self.forget_old(now);
        if let Some(window) = self.announced
            && window.left < u64::from(cost)
        {
            return Err(window.until.since(now));
        }
        let Some(limit) = self.limit_at(now) else {
            return Ok(());
        };
        // A call that costs more than the limit goes when nothing else did.
        let allowed = limit.saturating_sub(cost.into());
        let mut passed = self.passed_in_window();
        for (began, cost) in &self.slices {
            if passed <= allowed {
                break;
            }
            passed -= cost;
            if passed <= allowed {
                return Err(began.after(self.window + self.slice()).since(now));
            }
        }
        Ok(())
    }

    /// `cost` has left.
    pub fn passed(&mut self, now: Timestamp, cost: u32) {
        match self.slices.back_mut() {
            Some((began, sum)) if now.since(*began) < self.window / SLICES => {
                *sum += u64::from(cost);
            }
            _ => self.slices.push_back((now, cost.into())),
        }
        if let Some(window) = &mut self.announced {
            window.left = window.left.saturating_sub(cost.into());
        }
    }

    /// Reads the answer to a call of `cost` that was let through and arrived at `now` while `open` other calls were on their way.
    pub fn let_through(&mut self, now: Timestamp, cost: u32, open: usize, hints: &RateHints) {
        self.forget_old(now);
        if self.unsettled > 0 {
            // More than it was thought to be, and no more than has passed: what is on its way is no part of a limit before it is let through.
            self.level += u64::from(cost);
            if let Some(limit) = &mut self.limit {
                limit.per_window = limit.per_window.max(self.level);
            }
            if let Some(suspicion) = &mut self.suspicion {
                suspicion.level = suspicion.level.max(self.level);
            }
        } else {
            self.contradict(self.surely_passed(now).saturating_sub(open as u64));
        }
        self.settled();
        self.read(now, hints, open);
    }

    /// So much was let through within one window.
    fn contradict(&mut self, passed: u64) {
        if self
            .suspicion
            .is_some_and(|suspicion| passed > suspicion.level)
        {
            self.suspicion = None;
        }
        if let Some(limit) = &mut self.limit
            && passed > limit.per_window
        {
            // Probed, and found to be more.
            if passed * 5 > limit.per_window * 6 {
                limit.confirmed = 0;
            }
            limit.per_window = passed;
        }
    }

    /// A call came back of which nobody knows whether it was let through.
    pub fn settled(&mut self) {
        self.unsettled = self.unsettled.saturating_sub(1);
        self.blind = self.blind.saturating_sub(1);
    }

    fn read(&mut self, now: Timestamp, hints: &RateHints, open: usize) {
        let (Some(remaining), Some(reset_after)) = (hints.remaining, hints.reset_after) else {
            return;
        };
        let span = reset_after.min(LONGEST_WINDOW);
        let before = self.told.unwrap_or(Told {
            limit: remaining + 1,
            span,
        });
        self.told = Some(Told {
            limit: hints.limit.unwrap_or(before.limit).max(remaining),
            span: before.span.max(span),
        });
        if self.assumed && span <= SAME_WINDOW {
            // A late answer about the window before.
            return;
        }
        if self.announced.is_none() {
            self.blind = open;
        }
        let until = now.after(span + self.margin);
        let known = self.announced.filter(|known| {
            let same =
                known.until.since(until) <= SAME_WINDOW && until.since(known.until) <= SAME_WINDOW;
            same && !self.assumed
        });
        self.assumed = false;
        // Answers overtake each other: an older one does not count what came back before it. But a window whose end moves on fills up
        // meanwhile.
        let least = self
            .least
            .filter(|least| known.is_some() && until.since(least.until) <= SAME_WINDOW);
        let least = Announced {
            left: least.map_or(remaining, |least| least.left.min(remaining)),
            until: least.map_or(until, |least| least.until),
        };
        self.least = Some(least);
        // Calls that are on their way are counted here already, and the answer may count them or not. So this much is left at least, if
        // nobody else uses the account, and `least` at most.
        let surely = least.left.saturating_sub(open as u64);
        let left = known.map_or(surely, |known| known.left.max(surely).min(least.left));
        self.announced = Some(Announced { left, until });
    }

    /// The provider has refused a call of `cost` that was counted as passed, while `open` others were on their way.
    ///
    /// Where its own headers explain that, they are enough; else what it let through of one window is what it lets through.
    pub fn refused(&mut self, now: Timestamp, cost: u32, open: usize, hints: &RateHints) {
        self.forget_old(now);
        // It used nothing up.
        self.take_back(cost);
        let (was_blind, was_unsettled) = (self.blind > 0, self.unsettled > 0);
        self.settled();
        if self.is_explained(now, was_blind, open, hints) || was_unsettled {
            return;
        }
        // Those that are on their way may still be let through.
        let known = self.surely_passed(now).saturating_sub(open as u64);
        self.lesson(now, known, open);
    }

    fn lesson(&mut self, now: Timestamp, known: u64, open: usize) {
        self.unsettled = open;
        self.level = known;
        let before = self.suspicion.filter(|before| before.fits(known, open));
        let Some(before) = before else {
            self.suspicion = Some(Suspicion {
                level: known,
                at: now,
            });
            return;
        };
        self.suspicion = None;
        let level = before.level.max(known).max(1);
        let step = self.step();
        match &mut self.limit {
            // At about the limit. Of one that was not probed the time does not change for which it is held to, or whims could keep it low for
            // ever.
            Some(limit) if level * 5 >= limit.per_window * 4 => {
                let is_probed = limit
                    .at(now, step)
                    .is_none_or(|grown| grown > limit.per_window);
                limit.per_window = level;
                if is_probed {
                    limit.confirmed = (limit.confirmed + 1).min(CONFIRMED_MAX);
                    limit.at = now;
                }
            }
            limit => {
                *limit = Some(Limit {
                    per_window: level,
                    at: now,
                    confirmed: 0,
                });
            }
        }
    }

    /// Takes a cost out of what was counted last.
    fn take_back(&mut self, cost: u32) {
        let mut left = u64::from(cost);
        for (_, counted) in self.slices.iter_mut().rev() {
            let taken = left.min(*counted);
            *counted -= taken;
            left -= taken;
        }
    }

    /// What refusals let through in one window at `now`; `None`: they have taught nothing that is believed.
    fn limit_at(&self, now: Timestamp) -> Option<u64> {
        self.limit?.at(now, self.step())
    }

    fn step(&self) -> Duration {
        self.window.clamp(STEP_MIN, STEP_MAX)
    }

    /// Whether the headers of a refusal say why it came, and what was done about it is enough.
    fn is_explained(
        &mut self,
        now: Timestamp,
        was_blind: bool,
        open: usize,
        hints: &RateHints,
    ) -> bool {
        let (Some(0), Some(reset_after)) = (hints.remaining, hints.reset_after) else {
            return false;
        };
        let (was_known, was_early) = (self.announced.is_some(), self.assumed);
        self.read(now, hints, open);
        self.assumed = false;
        self.announced = Some(Announced {
            left: 0,
            until: now.after(reset_after.min(LONGEST_WINDOW) + self.margin),
        });
        if was_early && self.margin < SAME_WINDOW {
            // The next window began later than was thought.
            self.margin += MARGIN_STEP;
            self.margin_at = now;
            return true;
        }
        !was_known || was_blind || now.since(self.margin_at) <= SAME_WINDOW
    }

    /// How long a call waits that stands behind `cost_before` others, if nobody else comes.
    pub fn estimate(&self, now: Timestamp, cost_before: u64) -> Duration {
        let needed = cost_before + 1;
        let announced = self
            .announced
            .filter(|window| window.until > now && window.left < needed);
        let by_window = announced.map_or(Duration::ZERO, |window| {
            let further = self.told.map_or(0, |told| {
                (needed - window.left).saturating_sub(1) / told.limit.max(1)
            });
            let span = self.told.map_or(Duration::ZERO, |told| told.span);
            window.until.since(now)
                + span.saturating_mul(u32::try_from(further).unwrap_or(u32::MAX))
        });
        let by_limit = self.limit_at(now).map_or(Duration::ZERO, |limit| {
            let free = limit.saturating_sub(self.passed_in_window());
            let over = u32::try_from(needed.saturating_sub(free)).unwrap_or(u32::MAX);
            let per_window = u32::try_from(limit).unwrap_or(u32::MAX);
            self.window.saturating_mul(over) / per_window.max(1)
        });
        by_window.max(by_limit)
    }

    /// What passes in one window as far as refusals have taught, and the window.
    pub fn limit(&self) -> Option<(u64, Duration)> {
        self.limit.map(|limit| (limit.per_window, self.window))
    }

    /// What the provider says is left, and until when.
    pub fn announced(&self) -> Option<(u64, Timestamp)> {
        self.announced.map(|window| (window.left, window.until))
    }

    fn slice(&self) -> Duration {
        self.window / SLICES
    }

    /// What passed within one window of the provider's, whenever that began and however long the calls were on their way; a slice less.
    fn surely_passed(&self, now: Timestamp) -> u64 {
        let within = self.window.saturating_sub(self.slice());
        let slices = self.slices.iter();
        slices
            .filter(|(began, _)| now.since(*began) <= within)
            .map(|(_, cost)| cost)
            .sum()
    }

    fn passed_in_window(&self) -> u64 {
        self.slices.iter().map(|(_, cost)| cost).sum()
    }

    fn forget_old(&mut self, now: Timestamp) {
        let kept_for = self.window + self.slice();
        while let Some((began, _)) = self.slices.front()
            && now.since(*began) >= kept_for
        {
            self.slices.pop_front();
        }
        if self.announced.is_some_and(|window| window.until <= now) {
            // A new window holds as much as the last one, until its first answer tells.
            self.announced = self.told.map(|told| Announced {
                left: told.limit,
                until: now.after(told.span),
            });
            self.assumed = self.announced.is_some();
        }
        if self.limit_at(now).is_none() {
            self.limit = None;
        }
        let longest = self.step() * SUSPECTED_STEPS;
        self.suspicion = self
            .suspicion
            .filter(|suspicion| now.since(suspicion.at) < longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000_000 + seconds * 1_000)
    }
    fn hints(remaining: u64, reset: u64) -> RateHints {
        RateHints {
            remaining: Some(remaining),
            reset_after: Some(Duration::from_secs(reset)),
            ..RateHints::default()
        }
    }

    #[test]
    fn an_announced_window_is_used_up_and_then_waited_for() {
        let mut learned = Learned::new(MINUTE);
        learned.let_through(at(0), 1, 1, &hints(3, 30));
        for _ in 0..2 {
            learned.may_pass(at(1), 1).unwrap();
            learned.passed(at(1), 1);
        }
        assert_eq!(learned.may_pass(at(1), 1), Err(Duration::from_secs(29)));
        // An answer to an older call says more than there is.
        learned.let_through(at(2), 1, 1, &hints(1, 28));
        assert_eq!(learned.may_pass(at(2), 1), Err(Duration::from_secs(28)));
        assert_eq!(learned.may_pass(at(30), 1), Ok(()));
    }

    /// A provider of 60 a minute that says nothing of it but 429.
    #[test]
    fn a_refusal_teaches_the_limit_and_few_others_follow() {
        let mut learned = Learned::new(MINUTE);
        let mut provider: VecDeque<i64> = VecDeque::new();
        let mut refusals = Vec::new();
        let mut served = 0;
        for second in 0..3_600 {
            for _ in 0..5 {
                if learned.may_pass(at(second), 1).is_err() {
                    break;
                }
                learned.passed(at(second), 1);
                provider.retain(|one| second - one < 60);
                if provider.len() < 60 {
                    provider.push_back(second);
                    served += 1;
                } else {
                    learned.refused(at(second), 1, 0, &RateHints::default());
                    refusals.push(second);
                }
            }
        }
        assert!(refusals.len() <= 20, "{refusals:?}");
        assert!(
            served > 3_400,
            "of 3,600 that it would have served: {served}"
        );
    }

    #[test]
    fn a_new_window_is_taken_to_be_like_the_last_one() {
        let mut learned = Learned::new(MINUTE);
        let first = RateHints {
            limit: Some(5),
            ..hints(0, 30)
        };
        learned.let_through(at(0), 1, 0, &first);
        assert_eq!(learned.estimate(at(0), 0), Duration::from_secs(30));
        assert_eq!(learned.estimate(at(0), 5), Duration::from_secs(60));
        for _ in 0..5 {
            learned.may_pass(at(30), 1).unwrap();
            learned.passed(at(30), 1);
        }
        assert!(learned.may_pass(at(30), 1).is_err(), "not all at once");
        // An answer from before the end is no word about the new window.
        learned.let_through(at(30), 1, 5, &hints(0, 0));
        learned.let_through(at(31), 1, 2, &hints(3, 59));
        assert!(learned.may_pass(at(31), 1).is_ok());
    }

    #[test]
    fn a_refusal_that_explains_itself_teaches_no_limit() {
        let mut learned = Learned::new(MINUTE);
        learned.passed(at(0), 1);
        learned.refused(at(0), 1, 0, &hints(0, 30));
        assert_eq!(learned.limit(), None);
        assert_eq!(learned.may_pass(at(0), 1), Err(Duration::from_secs(30)));
        // But one that comes although the announced window had room does.
        learned.let_through(at(31), 1, 0, &hints(10, 30));
        learned.passed(at(35), 1);
        learned.refused(at(35), 1, 0, &hints(0, 26));
        learned.passed(at(62), 1);
        learned.refused(at(62), 1, 0, &hints(5, 26));
        assert_eq!(learned.limit(), Some((1, MINUTE)));
    }

    #[test]
    fn a_window_that_ends_later_than_announced_is_waited_for_longer() {
        let mut learned = Learned::new(MINUTE);
        learned.let_through(at(0), 1, 0, &hints(0, 10));
        learned.may_pass(at(10), 1).unwrap();
        for _ in 0..3 {
            learned.passed(at(10), 1);
        }
        (0..3).for_each(|open| learned.refused(at(10), 1, open, &hints(0, 1)));
        assert_eq!(learned.limit(), None, "it is a matter of clocks");
        learned.let_through(at(20), 1, 0, &hints(0, 10));
        assert_eq!(learned.may_pass(at(20), 1), Err(Duration::from_secs(11)));
    }

    #[test]
    fn those_on_their_way_count_once_their_answers_are_there() {
        let mut learned = Learned::new(MINUTE);
        let silent = RateHints::default();
        (0..100).for_each(|_| learned.passed(at(0), 1));
        // Answers come in no order: sixty were let through.
        for call in 0..100 {
            let open = 99 - call;
            match (call * 7) % 100 < 60 {
                true => learned.let_through(at(1), 1, open, &silent),
                false => learned.refused(at(1), 1, open, &silent),
            }
        }
        assert_eq!(learned.limit(), None, "it may be a whim");
        learned.passed(at(2), 1);
        learned.refused(at(2), 1, 0, &silent);
        assert_eq!(learned.limit(), Some((60, MINUTE)));
    }

    #[test]
    fn an_answer_that_was_overtaken_gives_nothing_back() {
        let mut learned = Learned::new(MINUTE);
        learned.let_through(at(0), 1, 0, &hints(10, 60));
        (0..4).for_each(|_| learned.passed(at(1), 1));
        // The last of the four that arrived there comes back first.
        for (open, remaining) in [(3, 6), (2, 7), (1, 8), (0, 9)] {
            learned.let_through(at(2), 1, open, &hints(remaining, 58));
        }
        assert_eq!(learned.announced(), Some((6, at(60))));
    }

    #[test]
    fn what_is_on_its_way_makes_a_limit_no_larger_than_what_was_let_through() {
        let mut learned = Learned::new(MINUTE);
        let silent = RateHints::default();
        // Twenty-five of thirty are let through.
        (0..30).for_each(|_| learned.passed(at(0), 1));
        for call in 0..30 {
            match call % 6 {
                0 => learned.refused(at(1), 1, 29 - call, &silent),
                _ => learned.let_through(at(1), 1, 29 - call, &silent),
            }
        }
        // In the next window too; it is refused first while most of its calls are on their way.
        (0..30).for_each(|_| learned.passed(at(90), 1));
        for call in 0..30 {
            match call % 6 {
                0 => learned.refused(at(91), 1, 29 - call, &silent),
                _ => learned.let_through(at(91), 1, 29 - call, &silent),
            }
        }
        assert_eq!(learned.limit(), Some((25, MINUTE)));
    }

    #[test]
    fn a_lesson_grows_until_it_is_forgotten() {
        let mut learned = Learned::new(MINUTE);
        (0..10).for_each(|_| learned.passed(at(0), 1));
        for _ in 0..2 {
            learned.passed(at(1), 1);
            learned.refused(at(1), 1, 0, &RateHints::default());
        }
        assert_eq!(learned.limit(), Some((10, MINUTE)));
        for (minute, expected) in [(1, Some(10)), (2, Some(15)), (3, Some(22)), (5, Some(49))] {
            assert_eq!(
                learned.limit_at(at(1 + minute * 60)),
                expected,
                "minute {minute}"
            );
        }
        learned.may_pass(at(1 + 10 * 60), 1).unwrap();
        assert_eq!(learned.limit(), None);
    }
}

#[cfg(test)]
mod simulation;
