//! How much a run holds, and what is refused when it would be too much.
//!
//! Counted is what a restored run has in memory: the input and the output of every step, each by itself. The count follows from the state
//! alone, so that a run that is restored and one that is replayed refuse the same.

use super::{Run, start::LIMIT_EXCEEDED, state::RunState};
use crate::graph::{
    budget::{self, Budget, MAX_HELD, MAX_OUTPUT, Size},
    fact::{StepError, StepId},
};
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the run has left for its evaluations until its next fact, and what it holds.
pub(super) struct Limits {
    fuel: AtomicU64,
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
            held: held.sum(),
        }
    }

    /// Before a fact.
    pub fn renew(&mut self) {
        *self.fuel.get_mut() = budget::FACT_FUEL;
    }
}

fn bytes(value: &Value) -> u64 {
    Size::of(value).bytes
}

impl Run {
    /// Evaluates within what is left until the next fact.
    pub(super) fn within<T>(&self, act: impl FnOnce(&Budget) -> T) -> T {
        let budget = Budget::new(self.limits.fuel.load(Ordering::Relaxed));
        let done = act(&budget);
        self.limits.fuel.store(budget.left(), Ordering::Relaxed);
        done
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
