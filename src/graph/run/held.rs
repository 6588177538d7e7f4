//! How much a run evaluates and holds, and what is refused when it would be too much.
//!
//! Counted is what a restored run has in memory: the input and the output of every step, each by itself. The count follows from the state
//! alone, so that a run that is restored and one that is replayed refuse the same.

use super::{Run, start::LIMIT_EXCEEDED, state::RunState};
use crate::graph::{
    budget::{self, Budget, INLINE_FUEL, MAX_HELD, MAX_OUTPUT, Size},
    fact::{StepError, StepId},
};
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};

/// How whoever keeps a run wants expensive work to be done: it calls what it is given once, on this very thread, after it has made
/// sure that nobody waits for the thread meanwhile.
pub type Apart = fn(&mut dyn FnMut());

/// For a thread that nobody waits for.
pub fn in_place(work: &mut dyn FnMut()) {
    work();
}

/// What the run has left for its evaluations until its next fact, and what it holds.
pub(super) struct Limits {
    fuel: AtomicU64,
    /// What may still be tried in place. It says where work is done, never how it ends.
    inline: AtomicU64,
    held: u64,
}

impl Limits {
    pub fn of(state: &RunState) -> Self {
        let steps = state.steps.values();
        let held = steps.map(|step| {
            let output = step.output.as_ref().map_or(0, |output| bytes(output));
            bytes(&step.input) + output
        });
        Self {
            fuel: AtomicU64::new(budget::FACT_FUEL),
            inline: AtomicU64::new(INLINE_FUEL),
            held: held.sum(),
        }
    }

    /// Before a fact.
    pub fn renew(&mut self) {
        *self.fuel.get_mut() = budget::FACT_FUEL;
        *self.inline.get_mut() = INLINE_FUEL;
    }

    /// Does it if it is cheap. What is too expensive has cost nothing but the time, and is not tried again before the next fact.
    fn try_in_place<T>(&self, act: impl Fn(&Budget) -> T) -> Option<T> {
        let fuel = self.fuel.load(Ordering::Relaxed);
        let units = self.inline.load(Ordering::Relaxed).min(fuel);
        if units == 0 {
            return None;
        }
        let budget = Budget::new(units);
        let done = act(&budget);
        if budget.is_spent() {
            self.inline.store(0, Ordering::Relaxed);
            return None;
        }
        self.inline.store(budget.left(), Ordering::Relaxed);
        self.fuel
            .store(fuel - (units - budget.left()), Ordering::Relaxed);
        Some(done)
    }

    fn spend<T>(&self, act: impl Fn(&Budget) -> T) -> T {
        let budget = Budget::new(self.fuel.load(Ordering::Relaxed));
        let done = act(&budget);
        self.fuel.store(budget.left(), Ordering::Relaxed);
        done
    }
}

fn bytes(value: &Value) -> u64 {
    Size::of(value).bytes
}

impl Run {
    /// Evaluates within what is left until the next fact. What is expensive is begun again, [`Apart`]; where it is done changes neither its
    /// result nor what it is charged.
    pub(super) fn within<T>(&self, act: impl Fn(&Budget) -> T) -> T {
        if let Some(done) = self.limits.try_in_place(&act) {
            return done;
        }
        let mut done = None;
        (self.apart)(&mut || {
            done.get_or_insert_with(|| self.limits.spend(&act));
        });
        done.unwrap_or_else(|| self.limits.spend(&act))
    }

    /// Something that a step has from now on.
    pub(super) fn hold(&mut self, value: &Value) {
        self.limits.held += bytes(value);
    }

    /// Something that a step had.
    pub(super) fn let_go(&mut self, value: &Value) {
        self.limits.held = self.limits.held.saturating_sub(bytes(value));
    }

    /// # Errors
    /// `limit_exceeded`: the run holds too much, or the value nests too deep.
    pub(super) fn check_held(&self, value: &Value) -> Result<(), StepError> {
        let refused = |message: String| Err(StepError::new(LIMIT_EXCEEDED, message));
        if self.limits.held > MAX_HELD {
            return refused(format!(
                "the steps of the run hold {} bytes, more than the {MAX_HELD} that one run may have",
                self.limits.held
            ));
        }
        match budget::check_depth(Size::of(value).depth) {
            Ok(()) => Ok(()),
            Err(message) => refused(message),
        }
    }

    /// Whether the outputs of a `map`'s elements fit into one output.
    ///
    /// # Errors
    /// `limit_exceeded`.
    pub(super) fn fits_together(&self, map: StepId, items: usize) -> Result<(), StepError> {
        let mut all = 0;
        for item in (0u32..).take(items) {
            let id = StepId {
                item: Some(item),
                ..map
            };
            let step = self.state.steps.get(&id);
            all += step
                .and_then(|step| step.output.as_ref())
                .map_or(0, |output| bytes(output));
            if all > MAX_OUTPUT {
                return Err(StepError::new(
                    LIMIT_EXCEEDED,
                    format!(
                        "the outputs of the elements hold more than {MAX_OUTPUT} bytes together, which is all that one step's output may have"
                    ),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ExecutionId, MemoryView, Timestamp};

    /// Of a work that costs so much: whether it was granted.
    fn cost(units: u64) -> impl Fn(&Budget) -> bool {
        move |budget| budget.charge(units).is_ok()
    }

    #[test]
    fn only_what_counts_is_charged_and_nothing_is_tried_in_vain_twice() {
        let execution = ExecutionId::from_uuid(uuid::Uuid::nil());
        let (at, memory) = (Timestamp::default(), MemoryView::default());
        let mut limits = Limits::of(&RunState::new(execution, at, memory));
        let spent = |limits: &Limits| budget::FACT_FUEL - limits.fuel.load(Ordering::Relaxed);

        assert_eq!(limits.try_in_place(cost(100)), Some(true));
        assert_eq!(spent(&limits), 100);
        assert_eq!(limits.try_in_place(cost(INLINE_FUEL)), None);
        assert_eq!(spent(&limits), 100, "the try is not charged");
        assert!(limits.spend(cost(INLINE_FUEL)));
        assert_eq!(spent(&limits), 100 + INLINE_FUEL);
        assert_eq!(limits.try_in_place(cost(1)), None, "until the next fact");
        limits.renew();
        assert_eq!(limits.try_in_place(cost(INLINE_FUEL)), Some(true));
        assert_eq!(spent(&limits), INLINE_FUEL);
    }
}
