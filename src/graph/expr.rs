//! Expressions: CEL as `cel` parses it, compiled to a small tree of our own and evaluated over borrowed JSON.
//!
//! Why not the interpreter of the crate: it wants every value converted first, iterates maps in random order (a replayed run must
//! see the same order), and has no bound on the work of an expression. Here `steps.n1.output.got + 1` walks the JSON that is there, a
//! comprehension over an object goes in key order, and every evaluation has a [`Budget`], which is charged before the work is done.
//!
//! The language is CEL with these differences: no `timestamp` and `duration` types (times are RFC 3339 text, see `date_add_days` and
//! `days_between`), no protobuf messages, no optional syntax, and the functions of [`functions`].

pub(crate) mod amounts;
mod arithmetic;
mod dates;
mod eval;
pub mod functions;
mod lower;
mod numbers;
mod patterns;
mod value;

use super::{
    budget::{Budget, FUEL, MAX_TEXT, TIME_MS},
    markup::Markup,
    scope::{Data, Names, Place},
};
use serde_json::Value;
use std::borrow::Cow;
use thiserror::Error;

/// Longest expression, in bytes.
pub const MAX_SOURCE: usize = 8 * 1024;
/// How deep operators and calls may nest, and with them the stack of an evaluation.
pub const MAX_DEPTH: usize = 96;
/// How deep comprehensions (`map`, `filter`, `all`, `exists`, `exists_one`) may nest.
pub const MAX_FOLDS: usize = 3;
/// Longest message of an error, in characters: values are quoted in them.
const MAX_MESSAGE: usize = 400;
/// Longest path or key that an error quotes, in characters.
const MAX_PATH: usize = 200;

/// The beginning of a text that may come from data, so that an error, which is stored and shown, never carries all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt(Box<str>);

impl Excerpt {
    fn of(text: &str, characters: usize) -> Self {
        Self(match text.char_indices().nth(characters) {
            Some((end, _)) => format!("{}…", &text[..end]).into(),
            None => text.into(),
        })
    }
}

impl std::fmt::Display for Excerpt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why an evaluation gave no value.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum EvalError {
    /// A field or element that is not there; what `has()` and `default()` ask about.
    #[error("{0} is not there")]
    Missing(Excerpt),
    #[error("{0}")]
    Wrong(Excerpt),
    #[error(
        "the evaluation does too much work: its limit is {FUEL} units, each a value, an operation or 32 bytes of text"
    )]
    OutOfFuel,
    #[error("the text is too long: the limit of a text is {MAX_TEXT} bytes")]
    TooLong,
    /// The value is not fit to be kept in a run.
    #[error("the value is too large: {0}")]
    TooLarge(String),
    #[error("the evaluation took too long: its limit is {TIME_MS} ms")]
    Stopped,
}

impl EvalError {
    pub(crate) fn wrong(message: impl AsRef<str>) -> Self {
        EvalError::Wrong(Excerpt::of(message.as_ref(), MAX_MESSAGE))
    }

    /// `what` is the path or the key that is not there.
    pub(crate) fn missing(what: impl AsRef<str>) -> Self {
        EvalError::Missing(Excerpt::of(what.as_ref(), MAX_PATH))
    }

    /// Whether a limit ended it: nothing in the expression makes that harmless.
    pub fn is_limit(&self) -> bool {
        matches!(
            self,
            EvalError::OutOfFuel | EvalError::TooLong | EvalError::TooLarge(_) | EvalError::Stopped
        )
    }
}

/// A checked expression. Cheap to evaluate: a literal or a plain path costs a lookup and a clone of what it names.
#[derive(Clone, Debug)]
pub struct Expr {
    source: Box<str>,
    ir: Ir,
}

/// What an expression is compiled to. Names are resolved: a path starts at a known place, a loop variable is a slot.
#[derive(Clone, Debug)]
pub(crate) enum Ir {
    Literal(Value),
    Path {
        place: Place,
        segments: Box<[Box<str>]>,
    },
    Local(usize),
    Select(Box<Ir>, Box<str>),
    Has(Box<Ir>, Box<str>),
    Index(Box<Ir>, Box<Ir>),
    Not(Box<Ir>),
    Negate(Box<Ir>),
    And(Box<Ir>, Box<Ir>),
    Or(Box<Ir>, Box<Ir>),
    Cond(Box<[Ir; 3]>),
    Binary(arithmetic::Operator, Box<Ir>, Box<Ir>),
    List(Vec<Ir>),
    Map(Vec<(Ir, Ir)>),
    Call(functions::Function, Vec<Ir>),
    /// `value`, or `fallback` if the value is missing or null.
    Default(Box<Ir>, Box<Ir>),
    Fold(Box<Fold>),
}

#[derive(Clone, Debug)]
pub(crate) struct Fold {
    pub kind: FoldKind,
    pub range: Ir,
    /// Position of the loop variable among the locals.
    pub slot: usize,
    pub guard: Option<Ir>,
    pub body: Ir,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoldKind {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
}

impl Expr {
    /// Checks that `source` parses and that its variables and functions are known.
    ///
    /// # Errors
    /// One sentence that says what is wrong and what would be right.
    pub fn compile(source: &str, names: &Names<'_>) -> Result<Expr, String> {
        Ok(Expr {
            source: source.into(),
            ir: lower::compile(source, names)?,
        })
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// # Errors
    /// A missing field, a wrong type, an overflow, a number that JSON cannot hold, or a limit of the budget.
    pub fn evaluate(&self, data: &Data<'_>, budget: &Budget) -> Result<Value, EvalError> {
        match &self.ir {
            Ir::Literal(value) => {
                budget.charge_json(value)?;
                Ok(value.clone())
            }
            Ir::Path { place, segments } => match data.lookup(*place, segments, budget)? {
                Cow::Borrowed(value) => {
                    budget.charge_json(value)?;
                    Ok(value.clone())
                }
                Cow::Owned(value) => Ok(value),
            },
            ir => eval::evaluate(ir, data, budget),
        }
    }

    /// The value as a target with markup has to get it; see [`super::template::Template::marked`].
    ///
    /// # Errors
    /// As [`Expr::evaluate`].
    pub(crate) fn marked(
        &self,
        data: &Data<'_>,
        markup: Markup,
        budget: &Budget,
    ) -> Result<Value, EvalError> {
        marked(&self.ir, data, markup, budget)
    }

    /// The value of a condition.
    ///
    /// # Errors
    /// As [`Expr::evaluate`], and if the value is not a boolean.
    pub fn test(&self, data: &Data<'_>, budget: &Budget) -> Result<bool, EvalError> {
        match self.evaluate(data, budget)? {
            Value::Bool(yes) => Ok(yes),
            other => Err(EvalError::wrong(format!(
                "`{}` is {}, not a boolean",
                self.source
                    .chars()
                    .take(MAX_MESSAGE / 2)
                    .collect::<String>(),
                kind_of(&other)
            ))),
        }
    }
}

fn marked(ir: &Ir, data: &Data<'_>, markup: Markup, budget: &Budget) -> Result<Value, EvalError> {
    let plain = |ir: &Ir| eval::evaluate(ir, data, budget);
    match ir {
        Ir::Literal(value) => {
            budget.charge_json(value)?;
            return Ok(value.clone());
        }
        Ir::Binary(arithmetic::Operator::Add, left, right) => {
            let left = marked(left, data, markup, budget)?;
            if let Value::String(left) = left
                && let Value::String(right) = marked(right, data, markup, budget)?
            {
                budget.charge_new_text(left.len() + right.len())?;
                return Ok(Value::String(left + &right));
            }
        }
        Ir::Cond(parts) => {
            let [condition, yes, no] = &**parts;
            if let Value::Bool(holds) = plain(condition)? {
                return marked(if holds { yes } else { no }, data, markup, budget);
            }
        }
        Ir::Default(value, fallback) => {
            return match plain(value) {
                Ok(Value::Null) | Err(EvalError::Missing(_)) => {
                    marked(fallback, data, markup, budget)
                }
                Ok(_) => marked(value, data, markup, budget),
                Err(error) => Err(error),
            };
        }
        _ => {}
    }
    let value = plain(ir)?;
    // What is escaped may be six times as long.
    for _ in 0..6 {
        budget.charge_json(&value)?;
    }
    Ok(markup.escape_all(value))
}

/// The name of a JSON value's type, with its article.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a double",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
