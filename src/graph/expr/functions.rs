//! The functions of expressions. Each can be written `f(x, y)` or `x.f(y)`.
//!
//! Standard CEL: `size`, `contains`, `startsWith`, `endsWith`, `matches`, `int`, `uint`, `double`, `string`, `bool`, `type`. Of the
//! usual extensions: `lowerAscii`, `upperAscii`, `trim`, `replace`, `split`, `join`, `substring`, `indexOf`. For business graphs:
//! `lower`, `upper`, `sum`, `min`, `max`, `abs`, `round(x, digits)`, `floor`, `ceil`, `keys`, `values`, `distinct`, `sort`, `reverse`,
//! `first`, `last`, `date(text, zone)`, `date_add_days(text, n)`, `days_between(from, to, zone)`; without a zone the day of a time is that of
//! its own offset. `default(value, fallback)` and `today()`, which is `run.today`, are forms, not functions.
//!
//! `mail_addresses(text)` is the list of the plain addresses in a text.
//!
//! Money, whose amounts are numbers or decimal texts: `money(amount, currency)` is the text `4,820.50 USD`, also of `{amount, currency}` and
//! of lists of them; `sum_money(list)` one sum a currency; `to_minor(amount, currency)` and `from_minor(units, currency)` count in the
//! smallest unit, `to_stripe` and `from_stripe` as Stripe does.

use super::{
    EvalError, Ir, amounts, arithmetic, dates,
    numbers::{round, sum, to_bool, to_double, to_int, to_uint},
    patterns::Pattern,
    value::Val,
};
use crate::{
    domain::mail_address,
    graph::budget::{Budget, MAX_TEXT},
};
use serde_json::Value;
use std::{cmp::Ordering, sync::Arc};

pub(super) use super::patterns::Patterns;

/// Bytes of text that cost a unit where mail addresses are looked for.
const ADDRESS_BYTES_A_UNIT: u64 = 8;
/// What reading or moving a date costs.
const DATE_UNITS: u64 = 8;

/// A function with the number of its arguments checked.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    name: &'static str,
    /// A literal pattern of `matches`, compiled with the graph.
    pattern: Option<Arc<Pattern>>,
}

/// Name, least and most arguments.
pub(super) const TABLE: &[(&str, usize, usize)] = &[
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
    ("from_minor", 2, 2),
    ("from_stripe", 2, 2),
    ("indexOf", 2, 2),
    ("int", 1, 1),
    ("join", 1, 2),
    ("keys", 1, 1),
    ("last", 1, 1),
    ("lower", 1, 1),
    ("lowerAscii", 1, 1),
    ("mail_addresses", 1, 1),
    ("matches", 2, 2),
    ("max", 1, 16),
    ("min", 1, 16),
    ("money", 1, 2),
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
    ("sum_money", 1, 1),
    ("to_minor", 2, 2),
    ("to_stripe", 2, 2),
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
                Some(Arc::new(Pattern::compile(pattern)?))
            }
            _ => None,
        };
        Ok(Function { name, pattern })
    }

    /// Charges what it does before it does it.
    pub fn call<'a>(
        &self,
        arguments: Vec<Val<'a>>,
        budget: &Budget,
        patterns: &mut Patterns,
    ) -> Result<Val<'a>, EvalError> {
        let mut arguments = arguments.into_iter();
        let missing = || EvalError::wrong(format!("{}() lacks an argument", self.name));
        let first = arguments.next().ok_or_else(missing)?;
        let rest: Vec<Val<'a>> = arguments.collect();
        let second = rest.first();
        // Reading each text once. Whatever costs more than that says so below.
        budget.charge_text(first.text_len())?;
        if let Some(others) = rest.iter().map(Val::text_len).reduce(|all, len| all + len) {
            budget.charge_text(others)?;
        }
        match self.name {
            "size" => Ok(Val::Int(first.size()? as i64)),
            "int" => to_int(&first),
            "uint" => to_uint(&first),
            "double" => to_double(&first).map(Val::Double),
            "string" => {
                let text = first.written(MAX_TEXT, budget)?;
                Ok(Val::text(text))
            }
            "bool" => to_bool(&first),
            "type" => Ok(Val::text(
                first
                    .kind()
                    .trim_start_matches("a ")
                    .trim_start_matches("an "),
            )),
            "abs" | "floor" | "ceil" => self.rounded(first),
            "round" => round(&first, second),
            "sum" => sum(&first, budget),
            "min" => self.extreme(first, rest, Ordering::Less, budget),
            "max" => self.extreme(first, rest, Ordering::Greater, budget),
            "date" | "days_between" | "date_add_days" => {
                budget.charge(DATE_UNITS)?;
                self.on_dates(&first, &rest)
            }
            "money" | "sum_money" | "to_minor" | "from_minor" | "to_stripe" | "from_stripe" => {
                amounts::call(self.name, &first, second, budget)
            }
            "join" => self.join(&first, second, budget),
            "first" | "last" if first.is_list() => self.end_of(&first, budget),
            "keys" | "values" | "distinct" | "sort" | "reverse" | "first" | "last" => {
                self.on_list(first, budget)
            }
            "contains" if first.is_list() => {
                arithmetic::contains(second.ok_or_else(missing)?, &first, budget)
            }
            _ => self.on_text(&first, &rest, budget, patterns),
        }
    }

    fn on_dates<'a>(&self, first: &Val<'a>, rest: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
        let text = self.text(first)?;
        let zone = |place: usize| rest.get(place).map(|zone| self.text(zone)).transpose();
        match (self.name, rest.first()) {
            ("date", _) => Ok(Val::text(dates::day_of(text, zone(0)?)?.to_string())),
            ("days_between", Some(to)) => {
                dates::days_between(text, self.text(to)?, zone(1)?).map(Val::Int)
            }
            (_, Some(Val::Int(days))) => dates::add_days(text, *days).map(Val::text),
            _ => Err(EvalError::wrong(
                "date_add_days() takes a date and an integer number of days",
            )),
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

    fn on_text<'a>(
        &self,
        first: &Val<'a>,
        rest: &[Val<'a>],
        budget: &Budget,
        patterns: &mut Patterns,
    ) -> Result<Val<'a>, EvalError> {
        let text = self.text(first)?;
        let other = |place: usize| rest.get(place).map_or(Ok(""), |value| self.text(value));
        Ok(match self.name {
            // A letter may become three.
            "lower" => {
                budget.charge_new_text(text.len())?;
                Val::text(text.to_lowercase())
            }
            "upper" => {
                budget.charge_new_text(text.len())?;
                Val::text(text.to_uppercase())
            }
            "lowerAscii" => Val::text(text.to_ascii_lowercase()),
            "upperAscii" => Val::text(text.to_ascii_uppercase()),
            "trim" => Val::text(text.trim()),
            "contains" => Val::Bool(text.contains(other(0)?)),
            "startsWith" => Val::Bool(text.starts_with(other(0)?)),
            "endsWith" => Val::Bool(text.ends_with(other(0)?)),
            "matches" => Val::Bool(match &self.pattern {
                Some(pattern) => pattern.matches(text, budget)?,
                None => patterns.get(other(0)?, budget)?.matches(text, budget)?,
            }),
            "replace" => Val::text(replace(text, other(0)?, other(1)?, budget)?),
            "split" => {
                let separator = other(0)?;
                budget.charge(2 * text.matches(separator).count() as u64)?;
                Val::list(text.split(separator).map(Val::text).collect())
            }
            "mail_addresses" => {
                budget.charge_new_text(text.len())?;
                // Each character is looked at several times, and hosts beyond ASCII are encoded.
                budget.charge(text.len() as u64 / ADDRESS_BYTES_A_UNIT)?;
                let all = mail_address::all_in(text);
                budget.charge(all.len() as u64)?;
                Val::list(all.into_iter().map(Val::text).collect())
            }
            "indexOf" => Val::Int(
                text.find(other(0)?)
                    .map_or(-1, |byte| text[..byte].chars().count() as i64),
            ),
            _ => {
                // It is counted, passed over and copied character by character.
                budget.charge_text(2 * text.len())?;
                self.substring(text, rest)?
            }
        })
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

    /// The result is measured before it is made.
    fn join<'a>(
        &self,
        list: &Val<'a>,
        separator: Option<&Val<'a>>,
        budget: &Budget,
    ) -> Result<Val<'a>, EvalError> {
        let separator = separator.map_or(Ok(""), |value| self.text(value))?;
        let elements = list.elements(budget)?;
        let texts = elements
            .iter()
            .map(|element| self.text(element))
            .collect::<Result<Vec<_>, _>>()?;
        let between = separator.len().saturating_mul(texts.len());
        let length: usize = texts.iter().map(|text| text.len()).sum();
        budget.charge_new_text(length.saturating_add(between))?;
        Ok(Val::text(texts.join(separator)))
    }

    fn end_of<'a>(&self, list: &Val<'a>, budget: &Budget) -> Result<Val<'a>, EvalError> {
        let size = list.size()?;
        let place = match self.name {
            "first" => Some(0),
            _ => size.checked_sub(1),
        };
        budget.charge(place.map_or(0, |place| list.nth_cost(place)))?;
        place.and_then(|place| list.nth(place)).ok_or_else(|| {
            EvalError::missing(format!("the {} element of an empty list", self.name))
        })
    }

    fn on_list<'a>(&self, value: Val<'a>, budget: &Budget) -> Result<Val<'a>, EvalError> {
        let mut elements = value.elements(budget)?;
        let is_object = !value.is_list();
        match self.name {
            "keys" | "values" if !is_object => Err(EvalError::wrong(format!(
                "{}() takes an object, not {}",
                self.name,
                value.kind()
            ))),
            "keys" => Ok(Val::list(elements)),
            "values" => {
                let mut values = Vec::with_capacity(elements.len());
                for key in &elements {
                    if let Val::Text(key) = key {
                        budget.charge(value.lookup_cost(key))?;
                    }
                    let found = value.index(key)?;
                    budget.charge(found.clone_cost())?;
                    values.push(found);
                }
                Ok(Val::list(values))
            }
            _ if is_object => Err(EvalError::wrong(format!(
                "{}() takes a list, not {}",
                self.name,
                value.kind()
            ))),
            "reverse" => {
                elements.reverse();
                Ok(Val::list(elements))
            }
            "sort" => sort(elements, budget),
            _ => distinct(elements, budget),
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
        budget: &Budget,
    ) -> Result<Val<'a>, EvalError> {
        let mut elements = if rest.is_empty() && first.is_list() {
            first.elements(budget)?
        } else {
            [first].into_iter().chain(rest).collect()
        }
        .into_iter();
        let start = elements
            .next()
            .ok_or_else(|| EvalError::missing(format!("the {} of an empty list", self.name)))?;
        elements.try_fold(start, |best, next| {
            budget.charge(next.compare_cost(&best))?;
            match next.compare(&best) {
                Some(order) if order == wanted => Ok(next),
                Some(_) => Ok(best),
                None => Err(EvalError::wrong(format!(
                    "{}() cannot compare {} with {}",
                    self.name,
                    next.kind(),
                    best.kind()
                ))),
            }
        })
    }
}

/// The result is measured before it is made: a replacement can be long.
fn replace(text: &str, from: &str, to: &str, budget: &Budget) -> Result<String, EvalError> {
    let found = text.matches(from).count();
    budget.charge(found as u64)?;
    let grown = to.len().saturating_sub(from.len());
    budget.charge_new_text(text.len().saturating_add(found.saturating_mul(grown)))?;
    Ok(text.replace(from, to))
}

/// Each element is compared about as often as their number has binary digits.
fn charge_sorting(elements: &[Val<'_>], budget: &Budget) -> Result<(), EvalError> {
    let rounds = u64::from(usize::BITS - elements.len().leading_zeros());
    for element in elements {
        budget.charge(rounds.saturating_mul(element.compare_cost(element)))?;
    }
    Ok(())
}

fn sort<'a>(mut elements: Vec<Val<'a>>, budget: &Budget) -> Result<Val<'a>, EvalError> {
    charge_sorting(&elements, budget)?;
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

fn distinct<'a>(elements: Vec<Val<'a>>, budget: &Budget) -> Result<Val<'a>, EvalError> {
    let mut seen = std::collections::HashSet::new();
    let mut kept = Vec::new();
    for element in elements {
        // To copy it and to hash it.
        element.charge(budget)?;
        // Equal values have equal keys once whole doubles are written as integers.
        let key = match &element {
            Val::Double(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
                (*number as i64).to_string()
            }
            // As JSON, so that a text is another value than what it shows.
            Val::Text(text) => {
                budget.charge_text(text.len())?;
                format!("\"{text}")
            }
            other => other.written(usize::MAX, budget)?,
        };
        if seen.insert(key) {
            kept.push(element);
        }
    }
    Ok(Val::list(kept))
}
