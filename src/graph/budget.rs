//! What an evaluation may cost. It is charged before the work, in what the work costs, by expressions and texts alike.
//!
//! A unit is an operation, a value that is walked or copied, or 32 bytes of text: some 25 ns of work, or 32 bytes of memory. Counted units
//! decide, so that a replayed run goes the same way; whoever evaluates outside of a run's machine may add a limit of time by [`Budget::until`].

use super::expr::EvalError;
use serde_json::Value;
use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Units of one evaluation: an expression outside of a run, or all expressions and texts of one step's work.
pub const FUEL: u64 = 2_000_000;
/// Units of everything that a run evaluates between two facts: inputs, edges, titles. Its employee does nothing else meanwhile.
pub const FACT_FUEL: u64 = 4_000_000;
/// Units that are tried in place; what needs more is begun again where no thread of the runtime waits for it. Below half a millisecond of work.
pub const INLINE_FUEL: u64 = 20_000;
/// Longest text that an expression or a template makes, in bytes.
pub const MAX_TEXT: usize = 4 * 1024 * 1024;
/// Longest time of one evaluation on a thread of its own, in milliseconds: ten times what its units take on a slow machine.
pub const TIME_MS: u64 = 1_500;
/// Bytes of one step's output, as [`Size`] counts them.
pub const MAX_OUTPUT: u64 = 16 * 1024 * 1024;
/// Bytes that the inputs and outputs of all steps of one run hold.
pub const MAX_HELD: u64 = 128 * 1024 * 1024;
/// How deep the values of a run may nest: what is read again from the journal is refused from 128 on, and is wrapped there.
pub const MAX_NESTING: usize = 100;

/// Bytes of text that cost a unit.
const TEXT_UNIT: usize = 32;

/// What is left of it. One thread's; a clone is the same budget.
#[derive(Clone, Debug)]
pub struct Budget(Rc<Left>);

#[derive(Debug)]
struct Left {
    units: Cell<u64>,
    spent: Cell<bool>,
    stop: Option<Arc<AtomicBool>>,
}

impl Budget {
    pub fn new(units: u64) -> Self {
        Self::with(units, None)
    }

    /// Ends with [`EvalError::Stopped`] at the first charge after `stop` is set.
    pub fn until(units: u64, stop: Arc<AtomicBool>) -> Self {
        Self::with(units, Some(stop))
    }

    fn with(units: u64, stop: Option<Arc<AtomicBool>>) -> Self {
        Self(Rc::new(Left {
            units: Cell::new(units),
            spent: Cell::new(false),
            stop,
        }))
    }

    /// # Errors
    /// If there are fewer units left, or if it was stopped.
    pub fn charge(&self, units: u64) -> Result<(), EvalError> {
        let own = &*self.0;
        if let Some(stop) = &own.stop
            && stop.load(Ordering::Relaxed)
        {
            return Err(EvalError::Stopped);
        }
        match own.units.get().checked_sub(units) {
            Some(left) => {
                own.units.set(left);
                Ok(())
            }
            None => {
                own.units.set(0);
                own.spent.set(true);
                Err(EvalError::OutOfFuel)
            }
        }
    }

    /// Of `bytes` of text that are read or made.
    pub fn charge_text(&self, bytes: usize) -> Result<(), EvalError> {
        self.charge(text_units(bytes))
    }

    /// Of a text that is about to be made.
    ///
    /// # Errors
    /// Also if it is longer than a text may be.
    pub fn charge_new_text(&self, bytes: usize) -> Result<(), EvalError> {
        if bytes > MAX_TEXT {
            return Err(EvalError::TooLong);
        }
        self.charge_text(bytes)
    }

    /// Of walking or copying a whole value. Never walks further than what is left.
    pub fn charge_json(&self, value: &Value) -> Result<(), EvalError> {
        let mut left = self.left();
        let fits = walk(value, &mut left);
        self.charge(if fits { self.left() - left } else { u64::MAX })
    }

    pub fn left(&self) -> u64 {
        self.0.units.get()
    }

    /// Whether something was refused because the units were used up.
    pub fn is_spent(&self) -> bool {
        self.0.spent.get()
    }
}

pub(crate) fn text_units(bytes: usize) -> u64 {
    1 + (bytes / TEXT_UNIT) as u64
}

/// What a key costs beside its entry, which is a unit of its own: nothing, unless it is long.
pub(crate) fn key_units(key: &str) -> u64 {
    (key.len() / TEXT_UNIT) as u64
}

/// What it costs to find a key among so many: it is compared about as often as their number has binary digits.
pub(crate) fn lookup_units(key: &str, entries: usize) -> u64 {
    key_units(key).saturating_mul(1 + u64::from(usize::BITS - entries.leading_zeros()))
}

/// Whether there were so many units left. There are none afterwards, if not.
pub(crate) fn take(left: &mut u64, units: u64) -> bool {
    let rest = left.checked_sub(units);
    *left = rest.unwrap_or_default();
    rest.is_some()
}

fn walk(value: &Value, left: &mut u64) -> bool {
    let own = match value {
        Value::String(text) => text_units(text.len()),
        Value::Array(items) => 1 + items.len() as u64 / 8,
        Value::Object(map) => 2 + map.len() as u64,
        _ => 1,
    };
    if !take(left, own) {
        return false;
    }
    match value {
        Value::Array(items) => items.iter().all(|item| walk(item, left)),
        Value::Object(map) => map
            .iter()
            .all(|(key, item)| take(left, key_units(key)) && walk(item, left)),
        _ => true,
    }
}

/// What a value holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// 32 a value, and its texts and keys.
    pub bytes: u64,
    pub depth: usize,
}

impl Size {
    pub fn of(value: &Value) -> Size {
        let mut size = Size::default();
        size.add(value, 0);
        size
    }

    fn add(&mut self, value: &Value, depth: usize) {
        self.bytes += 32;
        self.depth = self.depth.max(depth);
        match value {
            Value::String(text) => self.bytes += text.len() as u64,
            Value::Array(items) => items.iter().for_each(|item| self.add(item, depth + 1)),
            Value::Object(map) => {
                for (key, item) in map {
                    self.bytes += 32 + key.len() as u64;
                    self.add(item, depth + 1);
                }
            }
            _ => {}
        }
    }

    /// Whether a step may have this as its output; if not, the limit that it exceeds.
    ///
    /// # Errors
    /// A sentence that names the limit.
    pub fn check(self) -> Result<(), String> {
        if self.bytes > MAX_OUTPUT {
            return Err(format!(
                "it holds {} bytes, more than the {MAX_OUTPUT} that one step's output may have",
                self.bytes
            ));
        }
        check_depth(self.depth)
    }
}

/// # Errors
/// A sentence that names the limit.
pub fn check_depth(depth: usize) -> Result<(), String> {
    match depth > MAX_NESTING {
        true => Err(format!(
            "it nests {depth} levels deep, more than the {MAX_NESTING} that values of a run may have"
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_is_never_walked_further_than_what_is_left() {
        let value = json!([[1, 2], {"a": "x".repeat(64), "k".repeat(640): 1}, null]);
        let budget = Budget::new(100);
        assert_eq!(budget.charge_json(&value), Ok(()));
        let cost = 100 - budget.left();
        assert_eq!(Budget::new(cost).charge_json(&value), Ok(()));
        let short = Budget::new(cost - 1);
        assert_eq!(short.charge_json(&value), Err(EvalError::OutOfFuel));
        assert!(short.is_spent());
    }

    #[test]
    fn a_stopped_budget_ends_at_its_next_charge() {
        let stop = Arc::new(AtomicBool::new(false));
        let budget = Budget::until(10, stop.clone());
        assert_eq!(budget.charge(1), Ok(()));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(budget.charge(1), Err(EvalError::Stopped));
        assert!(!budget.is_spent(), "it was time, not units");
    }

    #[test]
    fn an_output_has_a_limit_of_bytes_and_of_depth() {
        assert_eq!(Size::of(&json!({"a": [1, "xy"]})).check(), Ok(()));
        let large = json!(vec!["x".repeat(1024 * 1024); 17]);
        let error = Size::of(&large).check().unwrap_err();
        assert!(error.contains("16777216"), "{error}");
        let deep = (0..=MAX_NESTING).fold(json!(1), |inner, _| json!([inner]));
        let error = Size::of(&deep).check().unwrap_err();
        assert!(error.contains("101 levels"), "{error}");
    }
}
