//! The functions of expressions. Each can be written `f(x, y)` or `x.f(y)`.
//!
//! Standard CEL: `size`, `contains`, `startsWith`, `endsWith`, `matches`, `int`, `uint`, `double`, `string`, `bool`, `type`. Of the
//! usual extensions: `lowerAscii`, `upperAscii`, `trim`, `replace`, `split`, `join`, `substring`, `indexOf`. For business graphs:
//! `lower`, `upper`, `sum`, `min`, `max`, `abs`, `round(x, digits)`, `floor`, `ceil`, `keys`, `values`, `distinct`, `sort`, `reverse`,
//! `first`, `last`, `date(text, zone)`, `date_add_days(text, n)`, `days_between(from, to, zone)`; without a zone the day of a time is that of
//! its own offset. `default(value, fallback)` and `today()`, which is `run.today`, are forms, not functions.

use super::{
    EvalError, Ir,
    arithmetic::Operator,
    dates,
    numbers::{round, sum, to_bool, to_double, to_int, to_uint},
    value::Val,
};
use regex::Regex;
use serde_json::Value;
use std::{cmp::Ordering, sync::Arc};

/// Size limit of a compiled pattern, in bytes; matching is linear in the text whatever the pattern is.
const MAX_PATTERN: usize = 256 * 1024;

/// A function with the number of its arguments checked.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    name: &'static str,
    /// A literal pattern of `matches`, compiled with the graph.
    pattern: Option<Arc<Regex>>,
}

/// Name, least and most arguments.
const TABLE: &[(&str, usize, usize)] = &[
    ("abs", 1, 1),
    ("bool", 1, 1),
    ("ceil", 1, 1),
    ("contains", 2, 2),
    ("date", 1, 2),
    ("date_add_days", 2, 2),
    ("days_between", 2, 3),
    ("distinct", 1, 1),
    ("double", 1, 1),
    ("endsWith", 2, 2),
    ("first", 1, 1),
    ("floor", 1, 1),
    ("indexOf", 2, 2),
    ("int", 1, 1),
    ("join", 1, 2),
    ("keys", 1, 1),
    ("last", 1, 1),
    ("lower", 1, 1),
    ("lowerAscii", 1, 1),
    ("matches", 2, 2),
    ("max", 1, 16),
    ("min", 1, 16),
    ("replace", 3, 3),
    ("reverse", 1, 1),
    ("round", 1, 2),
    ("size", 1, 1),
    ("sort", 1, 1),
    ("split", 2, 2),
    ("startsWith", 2, 2),
    ("string", 1, 1),
    ("substring", 2, 3),
    ("sum", 1, 1),
    ("trim", 1, 1),
    ("type", 1, 1),
    ("uint", 1, 1),
    ("upper", 1, 1),
    ("upperAscii", 1, 1),
    ("values", 1, 1),
];

impl Function {
    /// # Errors
    /// An unknown name, a wrong number of arguments, a pattern that is none.
    pub fn resolve(name: &str, arguments: &[Ir]) -> Result<Function, String> {
        if name == "now" {
            return Err("there is no now(), a run must see the same when it is replayed; `run.at` is when it was accepted, `run.today` its day in `run.time_zone`".into());
        }
        let (name, least, most) = *TABLE.iter().find(|entry| entry.0 == name).ok_or_else(|| {
            let known: Vec<&str> = TABLE.iter().map(|entry| entry.0).collect();
            format!(
                "there is no function `{name}`; known are {}",
                known.join(", ")
            )
        })?;
        if !(least..=most).contains(&arguments.len()) {
            let wanted = if least == most {
                format!("{least}")
            } else {
                format!("{least} to {most}")
            };
            return Err(format!(
                "{name}() takes {wanted} argument(s), not {}",
                arguments.len()
            ));
        }
        let pattern = match (name, arguments) {
            ("matches", [_, Ir::Literal(Value::String(pattern))]) => {
                Some(Arc::new(compile_pattern(pattern)?))
            }
            _ => None,
        };
        Ok(Function { name, pattern })
    }

    pub fn call<'a>(&self, arguments: Vec<Val<'a>>) -> Result<Val<'a>, EvalError> {
        let mut arguments = arguments.into_iter();
        let missing = || EvalError::wrong(format!("{}() lacks an argument", self.name));
        let first = arguments.next().ok_or_else(missing)?;
        let rest: Vec<Val<'a>> = arguments.collect();
        let second = rest.first();
        match self.name {
            "size" => Ok(Val::Int(first.size()? as i64)),
            "int" => to_int(&first),
            "uint" => to_uint(&first),
            "double" => to_double(&first).map(Val::Double),
            "string" => Ok(Val::text(first.show())),
            "bool" => to_bool(&first),
            "type" => Ok(Val::text(
                first
                    .kind()
                    .trim_start_matches("a ")
                    .trim_start_matches("an "),
            )),
            "abs" | "floor" | "ceil" => self.rounded(first),
            "round" => round(&first, second),
            "sum" => sum(&first),
            "min" => self.extreme(first, rest, Ordering::Less),
            "max" => self.extreme(first, rest, Ordering::Greater),
            "date" => {
                let zone = second.map(|zone| self.text(zone)).transpose()?;
                let day = dates::day_of(self.text(&first)?, zone)?;
                Ok(Val::text(day.to_string()))
            }
            "days_between" => {
                let zone = rest.get(1).map(|zone| self.text(zone)).transpose()?;
                let to = self.text(second.ok_or_else(missing)?)?;
                dates::days_between(self.text(&first)?, to, zone).map(Val::Int)
            }
            "date_add_days" => match second {
                Some(Val::Int(days)) => dates::add_days(self.text(&first)?, *days).map(Val::text),
                _ => Err(EvalError::wrong(
                    "date_add_days() takes a date and an integer number of days",
                )),
            },
            "join" => self.join(&first, second),
            "keys" | "values" | "distinct" | "sort" | "reverse" | "first" | "last" => {
                self.on_list(first)
            }
            "contains" if first.is_list() => {
                Operator::In.apply(second.ok_or_else(missing)?.clone(), first)
            }
            _ => self.on_text(&first, &rest),
        }
    }

    fn text<'v>(&self, value: &'v Val<'_>) -> Result<&'v str, EvalError> {
        match value {
            Val::Text(text) => Ok(text),
            other => Err(EvalError::wrong(format!(
                "{}() takes a string, not {}",
                self.name,
                other.kind()
            ))),
        }
    }

    fn number(&self, value: Option<&Val<'_>>) -> Result<usize, EvalError> {
        match value {
            Some(Val::Int(number)) => usize::try_from(*number).ok(),
            _ => None,
        }
        .ok_or_else(|| EvalError::wrong(format!("{}() takes a position from 0", self.name)))
    }

    fn on_text<'a>(&self, first: &Val<'a>, rest: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
        let text = self.text(first)?;
        let other = |place: usize| rest.get(place).map_or(Ok(""), |value| self.text(value));
        Ok(match self.name {
            "lower" => Val::text(text.to_lowercase()),
            "upper" => Val::text(text.to_uppercase()),
            "lowerAscii" => Val::text(text.to_ascii_lowercase()),
            "upperAscii" => Val::text(text.to_ascii_uppercase()),
            "trim" => Val::text(text.trim()),
            "contains" => Val::Bool(text.contains(other(0)?)),
            "startsWith" => Val::Bool(text.starts_with(other(0)?)),
            "endsWith" => Val::Bool(text.ends_with(other(0)?)),
            "matches" => Val::Bool(self.matches(text, other(0)?)?),
            "replace" => Val::text(self.replace(text, other(0)?, other(1)?)?),
            "split" => Val::list(text.split(other(0)?).map(Val::text).collect()),
            "indexOf" => Val::Int(
                text.find(other(0)?)
                    .map_or(-1, |byte| text[..byte].chars().count() as i64),
            ),
            _ => self.substring(text, rest)?,
        })
    }

    fn matches(&self, text: &str, pattern: &str) -> Result<bool, EvalError> {
        match &self.pattern {
            Some(pattern) => Ok(pattern.is_match(text)),
            None => compile_pattern(pattern)
                .map(|pattern| pattern.is_match(text))
                .map_err(EvalError::Wrong),
        }
    }

    /// The result is measured before it is made: a replacement can be long.
    fn replace(&self, text: &str, from: &str, to: &str) -> Result<String, EvalError> {
        let found = text.matches(from).count();
        if found.saturating_mul(to.len()) > 4 * 1024 * 1024 {
            return Err(EvalError::OutOfFuel);
        }
        Ok(text.replace(from, to))
    }

    fn substring<'a>(&self, text: &str, rest: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
        let length = text.chars().count();
        let start = self.number(rest.first())?;
        let end = if rest.len() > 1 {
            self.number(rest.get(1))?
        } else {
            length
        };
        if start > end || end > length {
            return Err(EvalError::wrong(format!(
                "substring({start}, {end}) of a text of {length} characters"
            )));
        }
        Ok(Val::text(
            text.chars()
                .skip(start)
                .take(end - start)
                .collect::<String>(),
        ))
    }

    fn join<'a>(&self, list: &Val<'a>, separator: Option<&Val<'a>>) -> Result<Val<'a>, EvalError> {
        let separator = separator.map_or(Ok(""), |value| self.text(value))?;
        let elements = list.elements()?;
        if elements.len().saturating_mul(separator.len()) > 4 * 1024 * 1024 {
            return Err(EvalError::OutOfFuel);
        }
        let texts = elements
            .iter()
            .map(|element| self.text(element))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Val::text(texts.join(separator)))
    }

    fn on_list<'a>(&self, value: Val<'a>) -> Result<Val<'a>, EvalError> {
        let mut elements = value.elements()?;
        let is_object = !value.is_list();
        match self.name {
            "keys" | "values" if !is_object => Err(EvalError::wrong(format!(
                "{}() takes an object, not {}",
                self.name,
                value.kind()
            ))),
            "keys" => Ok(Val::list(elements)),
            "values" => elements
                .iter()
                .map(|key| value.index(key))
                .collect::<Result<_, _>>()
                .map(Val::list),
            _ if is_object => Err(EvalError::wrong(format!(
                "{}() takes a list, not {}",
                self.name,
                value.kind()
            ))),
            "first" => elements
                .into_iter()
                .next()
                .ok_or_else(|| EvalError::Missing("the first element of an empty list".into())),
            "last" => elements
                .pop()
                .ok_or_else(|| EvalError::Missing("the last element of an empty list".into())),
            "reverse" => {
                elements.reverse();
                Ok(Val::list(elements))
            }
            "sort" => sort(elements),
            _ => distinct(elements),
        }
    }

    fn rounded<'a>(&self, value: Val<'a>) -> Result<Val<'a>, EvalError> {
        match (self.name, value) {
            ("abs", Val::Int(number)) => number.checked_abs().map(Val::Int).ok_or_else(|| {
                EvalError::wrong(format!("abs({number}) does not fit into 64 bits"))
            }),
            (_, value @ (Val::Int(_) | Val::UInt(_))) => Ok(value),
            ("abs", Val::Double(number)) => Ok(Val::Double(number.abs())),
            ("floor", Val::Double(number)) => Ok(Val::Double(number.floor())),
            (_, Val::Double(number)) => Ok(Val::Double(number.ceil())),
            (_, other) => Err(EvalError::wrong(format!(
                "{}() takes a number, not {}",
                self.name,
                other.kind()
            ))),
        }
    }

    fn extreme<'a>(
        &self,
        first: Val<'a>,
        rest: Vec<Val<'a>>,
        wanted: Ordering,
    ) -> Result<Val<'a>, EvalError> {
        let mut elements = if rest.is_empty() && first.is_list() {
            first.elements()?
        } else {
            [first].into_iter().chain(rest).collect()
        }
        .into_iter();
        let start = elements
            .next()
            .ok_or_else(|| EvalError::Missing(format!("the {} of an empty list", self.name)))?;
        elements.try_fold(start, |best, next| match next.compare(&best) {
            Some(order) if order == wanted => Ok(next),
            Some(_) => Ok(best),
            None => Err(EvalError::wrong(format!(
                "{}() cannot compare {} with {}",
                self.name,
                next.kind(),
                best.kind()
            ))),
        })
    }
}

fn compile_pattern(pattern: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(pattern)
        .size_limit(MAX_PATTERN)
        .build()
        .map_err(|error| {
            format!(
                "`{pattern}` is no regular expression: {}",
                error.to_string().lines().last().unwrap_or_default()
            )
        })
}

fn sort(mut elements: Vec<Val<'_>>) -> Result<Val<'_>, EvalError> {
    if let Some((a, b)) = elements
        .iter()
        .zip(elements.iter().skip(1))
        .find(|(a, b)| a.compare(b).is_none())
    {
        return Err(EvalError::wrong(format!(
            "sort() cannot compare {} with {}",
            a.kind(),
            b.kind()
        )));
    }
    elements.sort_by(|a, b| a.compare(b).unwrap_or(Ordering::Equal));
    Ok(Val::list(elements))
}

fn distinct(elements: Vec<Val<'_>>) -> Result<Val<'_>, EvalError> {
    if elements.len() > 10_000 {
        return Err(EvalError::OutOfFuel);
    }
    let mut seen = std::collections::HashSet::new();
    let mut kept = Vec::new();
    for element in elements {
        // Equal values have equal keys once whole doubles are written as integers.
        let key = match &element {
            Val::Double(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
                (*number as i64).to_string()
            }
            other => other.clone().into_json()?.to_string(),
        };
        if seen.insert(key) {
            kept.push(element);
        }
    }
    Ok(Val::list(kept))
}
