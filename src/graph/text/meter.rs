//! The budget of the rendering that is going on in this thread, and walks over its values.
//!
//! The functions and filters of an environment are shared by all renderings, so what is left is found by the thread: rendering is
//! synchronous and never begins a second one within itself.

use crate::graph::{
    budget::{Budget, MAX_TEXT},
    expr::EvalError,
};
use minijinja::{
    Error, ErrorKind,
    value::{Value, ValueKind},
};
use std::cell::RefCell;

/// How deep the values of a template may nest: they are dropped, compared and printed by recursion.
const MAX_DEPTH: usize = 64;
/// Bytes that all of a rendering writes, what it captures and throws away among them.
const MAX_WRITTEN: usize = 4 * MAX_TEXT;

struct Meter {
    budget: Budget,
    written: usize,
    /// The limit that was met first.
    met: Option<EvalError>,
}

thread_local! {
    static METER: RefCell<Option<Meter>> = const { RefCell::new(None) };
}

/// While it lives, what happens in this thread is charged to a budget.
pub(super) struct Metered(());

impl Metered {
    pub fn by(budget: &Budget) -> Self {
        METER.set(Some(Meter {
            budget: budget.clone(),
            written: 0,
            met: None,
        }));
        Self(())
    }

    /// The limit that ended the rendering, if one did.
    pub fn met(&self) -> Option<EvalError> {
        METER.with_borrow_mut(|meter| meter.as_mut().and_then(|meter| meter.met.take()))
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        METER.set(None);
    }
}

fn with(act: impl FnOnce(&mut Meter) -> Result<(), EvalError>) -> Result<(), Error> {
    METER.with_borrow_mut(|meter| match meter {
        Some(meter) => act(meter).map_err(|error| {
            let told = Error::new(ErrorKind::InvalidOperation, error.to_string());
            meter.met.get_or_insert(error);
            told
        }),
        None => Ok(()),
    })
}

pub(super) fn charge(units: u64) -> Result<(), Error> {
    with(|meter| meter.budget.charge(units))
}

/// Of a text that is about to be made.
pub(super) fn charge_new_text(bytes: usize) -> Result<(), Error> {
    with(|meter| meter.budget.charge_new_text(bytes))
}

/// Of what is about to be written to the output, or to what is captured of it.
pub(super) fn charge_written(bytes: usize) -> Result<(), Error> {
    with(|meter| {
        meter.budget.charge_new_text(bytes)?;
        meter.written += bytes;
        match meter.written > MAX_WRITTEN {
            true => Err(EvalError::TooLong),
            false => Ok(()),
        }
    })
}

/// Charges a walk over all of a value, and refuses one that nests too deep.
pub(super) fn weigh(value: &Value) -> Result<(), Error> {
    weigh_times(value, 1)
}

/// The same for work that goes over the value so many times.
pub(super) fn weigh_times(value: &Value, times: u64) -> Result<(), Error> {
    walk(value, times, 0)
}

fn walk(value: &Value, times: u64, depth: usize) -> Result<(), Error> {
    if let Some(text) = value.as_str() {
        return charge(times.saturating_mul(1 + text.len() as u64 / 32));
    }
    charge(times)?;
    if depth > MAX_DEPTH {
        return with(|_| {
            Err(EvalError::TooLarge(format!(
                "values of a text may nest {MAX_DEPTH} levels deep"
            )))
        });
    }
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            for item in value.try_iter()? {
                walk(&item, times, depth + 1)?;
            }
        }
        ValueKind::Map => {
            for key in value.try_iter()? {
                walk(&key, times, depth + 1)?;
                walk(&value.get_item(&key)?, times, depth + 1)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// A result as it is kept: charged, not too deep, and no chain of lazy views, each of which would cost a stack frame.
pub(super) fn settle(value: Value) -> Result<Value, Error> {
    weigh(&value)?;
    match value.kind() {
        ValueKind::Iterable => Ok(Value::from(value.try_iter()?.collect::<Vec<Value>>())),
        _ => Ok(value),
    }
}

/// A value without live objects in it: what is assigned to a namespace must not contain the namespace.
pub(super) fn plain(value: &Value) -> Result<Value, Error> {
    weigh(value)?;
    match has_map(value)? {
        true => copy(value),
        false => settle(value.clone()),
    }
}

fn has_map(value: &Value) -> Result<bool, Error> {
    match value.kind() {
        ValueKind::Map => Ok(true),
        ValueKind::Seq | ValueKind::Iterable => {
            for item in value.try_iter()? {
                if has_map(&item)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        _ => Ok(false),
    }
}

fn copy(value: &Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => value
            .try_iter()?
            .map(|item| copy(&item))
            .collect::<Result<Vec<_>, _>>()
            .map(Value::from),
        ValueKind::Map => value
            .try_iter()?
            .map(|key| {
                let item = copy(&value.get_item(&key)?)?;
                Ok((key, item))
            })
            .collect::<Result<Vec<_>, Error>>()
            .map(Value::from_pairs),
        _ => Ok(value.clone()),
    }
}
