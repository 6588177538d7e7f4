//! Values of an evaluation: borrowed from the run's JSON where they can be.

use super::EvalError;
use crate::graph::budget::{Budget, key_units, lookup_units, take, text_units};
use serde_json::{Map, Number, Value};
use std::{borrow::Cow, cmp::Ordering, collections::BTreeMap, rc::Rc};

#[derive(Clone, Debug)]
pub(crate) enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Double(f64),
    Text(Cow<'a, str>),
    /// A list or an object of the run.
    Array(&'a [Value]),
    Object(&'a Map<String, Value>),
    /// A list or an object that the expression made. Shared, so that a loop variable costs nothing.
    List(Rc<Vec<Val<'a>>>),
    Map(Rc<BTreeMap<String, Val<'a>>>),
}

impl<'a> Val<'a> {
    pub fn text(text: impl Into<String>) -> Val<'a> {
        Val::Text(Cow::Owned(text.into()))
    }
    pub fn list(items: Vec<Val<'a>>) -> Val<'a> {
        Val::List(Rc::new(items))
    }

    pub fn borrowed(value: &'a Value) -> Val<'a> {
        match value {
            Value::Null => Val::Null,
            Value::Bool(yes) => Val::Bool(*yes),
            Value::Number(number) => number_of(number),
            Value::String(text) => Val::Text(Cow::Borrowed(text)),
            Value::Array(items) => Val::Array(items),
            Value::Object(map) => Val::Object(map),
        }
    }

    pub fn owned(value: Value) -> Val<'a> {
        match value {
            Value::String(text) => Val::Text(Cow::Owned(text)),
            Value::Array(items) => Val::list(items.into_iter().map(Val::owned).collect()),
            Value::Object(map) => Val::Map(Rc::new(
                map.into_iter()
                    .map(|(key, value)| (key, Val::owned(value)))
                    .collect(),
            )),
            Value::Number(number) => number_of(&number),
            Value::Bool(yes) => Val::Bool(yes),
            Value::Null => Val::Null,
        }
    }

    /// What [`Val::field`], [`Val::index`] and [`Val::has`] cost to find a key: nothing beside the operation, unless it is long.
    pub fn lookup_cost(&self, key: &str) -> u64 {
        match self {
            Val::Object(map) => lookup_units(key, map.len()),
            Val::Map(map) => lookup_units(key, map.len()),
            _ => 0,
        }
    }

    /// What it is, with its article, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Val::Null => "null",
            Val::Bool(_) => "a boolean",
            Val::Int(_) => "an int",
            Val::UInt(_) => "a uint",
            Val::Double(_) => "a double",
            Val::Text(_) => "a string",
            Val::Array(_) | Val::List(_) => "a list",
            Val::Object(_) | Val::Map(_) => "an object",
        }
    }

    pub fn bool(&self) -> Result<bool, EvalError> {
        match self {
            Val::Bool(yes) => Ok(*yes),
            other => Err(EvalError::wrong(format!(
                "expected a boolean, found {}",
                other.kind()
            ))),
        }
    }

    /// The elements of a list, or the keys of an object in their order.
    ///
    /// # Errors
    /// It is neither, or the budget is used up; what copying them costs is charged first.
    pub fn elements(&self, budget: &Budget) -> Result<Vec<Val<'a>>, EvalError> {
        match self {
            Val::Array(items) => budget.charge(items.len() as u64)?,
            Val::Object(map) => budget.charge(map.len() as u64)?,
            Val::List(items) => charge_each(budget, items.iter().map(Val::clone_cost))?,
            Val::Map(map) => charge_each(budget, map.keys().map(|key| text_units(key.len())))?,
            _ => {}
        }
        Ok(match self {
            Val::Array(items) => items.iter().map(Val::borrowed).collect(),
            Val::List(items) => items.to_vec(),
            Val::Object(map) => map
                .keys()
                .map(|key| Val::Text(Cow::Borrowed(key.as_str())))
                .collect(),
            Val::Map(map) => map.keys().map(Val::text).collect(),
            other => {
                return Err(EvalError::wrong(format!(
                    "expected a list or an object, found {}",
                    other.kind()
                )));
            }
        })
    }

    /// One element of a list, without the others.
    pub fn nth(&self, place: usize) -> Option<Val<'a>> {
        match self {
            Val::Array(items) => items.get(place).map(Val::borrowed),
            Val::List(items) => items.get(place).cloned(),
            _ => None,
        }
    }

    /// What [`Val::nth`] costs.
    pub fn nth_cost(&self, place: usize) -> u64 {
        match self {
            Val::List(items) => items.get(place).map_or(1, Val::clone_cost),
            _ => 1,
        }
    }

    pub fn is_list(&self) -> bool {
        matches!(self, Val::Array(_) | Val::List(_))
    }

    /// Whether it is an object that has the key.
    pub fn has(&self, key: &str) -> bool {
        match self {
            Val::Object(map) => map.contains_key(key),
            Val::Map(map) => map.contains_key(key),
            _ => false,
        }
    }

    pub fn field(&self, name: &str) -> Result<Val<'a>, EvalError> {
        match self {
            Val::Object(map) => map.get(name).map(Val::borrowed),
            Val::Map(map) => map.get(name).cloned(),
            other => {
                return Err(EvalError::wrong(format!(
                    "cannot read `{name}` of {}",
                    other.kind()
                )));
            }
        }
        .ok_or_else(|| EvalError::missing(name))
    }

    pub fn index(&self, index: &Val<'a>) -> Result<Val<'a>, EvalError> {
        if let (Val::Object(_) | Val::Map(_), Val::Text(name)) = (self, index) {
            return self.field(name);
        }
        let place = match index {
            Val::Int(place) => usize::try_from(*place).ok(),
            Val::UInt(place) => usize::try_from(*place).ok(),
            other => {
                return Err(EvalError::wrong(format!(
                    "cannot index {} with {}",
                    self.kind(),
                    other.kind()
                )));
            }
        };
        match self {
            list if list.is_list() => place.and_then(|place| list.nth(place)),
            other => {
                return Err(EvalError::wrong(format!(
                    "cannot index {} with a number",
                    other.kind()
                )));
            }
        }
        .ok_or_else(|| EvalError::missing(format!("element {}", index.show())))
    }

    /// How many elements, entries or characters.
    pub fn size(&self) -> Result<usize, EvalError> {
        Ok(match self {
            Val::Text(text) => text.chars().count(),
            Val::Array(items) => items.len(),
            Val::List(items) => items.len(),
            Val::Object(map) => map.len(),
            Val::Map(map) => map.len(),
            other => return Err(EvalError::wrong(format!("{} has no size", other.kind()))),
        })
    }

    /// What it costs to have it once more: only a text that was made is copied.
    pub fn clone_cost(&self) -> u64 {
        match self {
            Val::Text(Cow::Owned(text)) => text_units(text.len()),
            _ => 1,
        }
    }

    /// Charges what it costs to walk or copy all of it, parts that are shared once for each place where they stand. Walks no further than
    /// what is left.
    ///
    /// # Errors
    /// If that is more than what is left.
    pub fn charge(&self, budget: &Budget) -> Result<(), EvalError> {
        let all = budget.left();
        let mut left = all;
        let fits = self.walk(&mut left);
        budget.charge(if fits { all - left } else { u64::MAX })
    }

    fn walk(&self, left: &mut u64) -> bool {
        let own = match self {
            Val::Text(text) => text_units(text.len()),
            Val::Array(items) => 1 + items.len() as u64 / 8,
            Val::List(items) => 1 + items.len() as u64 / 8,
            Val::Object(map) => 2 + map.len() as u64,
            Val::Map(map) => MAP_UNITS + 2 * map.len() as u64,
            _ => 1,
        };
        if !take(left, own) {
            return false;
        }
        match self {
            Val::Array(items) => items.iter().all(|item| Val::borrowed(item).walk(left)),
            Val::List(items) => items.iter().all(|item| item.walk(left)),
            Val::Object(map) => map
                .iter()
                .all(|(key, item)| take(left, key_units(key)) && Val::borrowed(item).walk(left)),
            Val::Map(map) => map
                .iter()
                .all(|(key, item)| take(left, key_units(key)) && item.walk(left)),
            _ => true,
        }
    }

    /// Bytes of its text, if it is one.
    pub fn text_len(&self) -> usize {
        match self {
            Val::Text(text) => text.len(),
            _ => 0,
        }
    }

    /// The text form of a scalar, as `string()` gives it.
    pub fn show(&self) -> String {
        match self {
            Val::Null => "null".into(),
            Val::Bool(yes) => yes.to_string(),
            Val::Int(number) => number.to_string(),
            Val::UInt(number) => number.to_string(),
            Val::Double(number) => number.to_string(),
            Val::Text(text) => text.to_string(),
            other => other
                .clone()
                .into_json()
                .map_or_else(|_| other.kind().into(), |json| json.to_string()),
        }
    }

    /// The text form of a scalar, or JSON of at most `limit` bytes; charged while it is written, as it may be six times as long as what it shows.
    ///
    /// # Errors
    /// What is left of the budget, or the limit, is not enough; a number that JSON cannot hold.
    pub fn written(&self, limit: usize, budget: &Budget) -> Result<String, EvalError> {
        if !matches!(
            self,
            Val::Array(_) | Val::Object(_) | Val::List(_) | Val::Map(_)
        ) {
            budget.charge_text(self.text_len())?;
            return Ok(self.show());
        }
        self.charge(budget)?;
        let json = self.clone().into_json()?;
        let mut written = Charged {
            text: Vec::new(),
            charged: 0,
            limit,
            budget,
            met: None,
        };
        let done = serde_json::to_writer(&mut written, &json);
        match (written.met, done) {
            (Some(limit), _) => Err(limit),
            (None, Ok(())) => String::from_utf8(written.text)
                .map_err(|_| EvalError::wrong("the value makes no text")),
            (None, Err(error)) => Err(EvalError::wrong(error.to_string())),
        }
    }

    /// # Errors
    /// NaN and the infinities, which JSON cannot hold.
    pub fn into_json(self) -> Result<Value, EvalError> {
        Ok(match self {
            Val::Null => Value::Null,
            Val::Bool(yes) => Value::Bool(yes),
            Val::Int(number) => number.into(),
            Val::UInt(number) => number.into(),
            Val::Double(number) => {
                Number::from_f64(number).map(Value::Number).ok_or_else(|| {
                    EvalError::wrong(format!("the result is {number}, which is no JSON number"))
                })?
            }
            Val::Text(text) => Value::String(text.into_owned()),
            Val::Array(items) => Value::Array(items.to_vec()),
            Val::Object(map) => Value::Object(map.clone()),
            Val::List(items) => Rc::unwrap_or_clone(items)
                .into_iter()
                .map(Val::into_json)
                .collect::<Result<Value, _>>()?,
            Val::Map(map) => Value::Object(
                Rc::unwrap_or_clone(map)
                    .into_iter()
                    .map(|(key, value)| Ok((key, value.into_json()?)))
                    .collect::<Result<_, EvalError>>()?,
            ),
        })
    }

    /// # Errors
    /// The budget is used up before it is known.
    pub fn equals(&self, other: &Val<'a>, budget: &Budget) -> Result<bool, EvalError> {
        budget.charge(1)?;
        match (self, other) {
            (Val::Null, Val::Null) => Ok(true),
            (Val::Bool(a), Val::Bool(b)) => Ok(a == b),
            (Val::Text(a), Val::Text(b)) if a.len() == b.len() => {
                budget.charge_text(a.len())?;
                Ok(a == b)
            }
            (Val::Text(_), Val::Text(_)) => Ok(false),
            (Val::Array(a), Val::Array(b)) if std::ptr::eq(*a, *b) => Ok(true),
            (a, b) if a.is_list() && b.is_list() => {
                let size = a.size()?;
                if size != b.size()? {
                    return Ok(false);
                }
                for place in 0..size {
                    budget.charge(a.nth_cost(place) + b.nth_cost(place))?;
                    let (Some(a), Some(b)) = (a.nth(place), b.nth(place)) else {
                        return Ok(false);
                    };
                    if !a.equals(&b, budget)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Val::Object(_) | Val::Map(_), Val::Object(_) | Val::Map(_)) => {
                self.same_entries(other, budget)
            }
            (a, b) => Ok(compare_numbers(a, b) == Some(Ordering::Equal)),
        }
    }

    fn same_entries(&self, other: &Val<'a>, budget: &Budget) -> Result<bool, EvalError> {
        if self.size()? != other.size()? {
            return Ok(false);
        }
        for key in self.elements(budget)? {
            if let Val::Text(key) = &key {
                budget.charge(self.lookup_cost(key) + other.lookup_cost(key))?;
            }
            let (Ok(a), Ok(b)) = (self.index(&key), other.index(&key)) else {
                return Ok(false);
            };
            budget.charge(a.clone_cost() + b.clone_cost())?;
            if !a.equals(&b, budget)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What [`Val::compare`] costs.
    pub fn compare_cost(&self, other: &Val<'a>) -> u64 {
        text_units(self.text_len().min(other.text_len()))
    }

    /// The order of two values, if they have one: numbers of any kind, texts, booleans.
    pub fn compare(&self, other: &Val<'a>) -> Option<Ordering> {
        match (self, other) {
            (Val::Text(a), Val::Text(b)) => Some(a.cmp(b)),
            (Val::Bool(a), Val::Bool(b)) => Some(a.cmp(b)),
            (a, b) => compare_numbers(a, b),
        }
    }
}

/// A text that is charged while it grows.
struct Charged<'b> {
    text: Vec<u8>,
    /// Bytes that are paid for.
    charged: usize,
    limit: usize,
    budget: &'b Budget,
    /// The limit that ended it.
    met: Option<EvalError>,
}

/// Bytes that are paid for at once.
const CHARGED_STEP: usize = 1024;

impl Charged<'_> {
    fn pay(&mut self, length: usize) -> Result<(), EvalError> {
        if length > self.limit {
            return Err(EvalError::TooLong);
        }
        while self.charged < length {
            self.budget.charge_text(CHARGED_STEP)?;
            self.charged += CHARGED_STEP;
        }
        Ok(())
    }
}

impl std::io::Write for Charged<'_> {
    fn write(&mut self, part: &[u8]) -> std::io::Result<usize> {
        if let Err(limit) = self.pay(self.text.len() + part.len()) {
            self.met = Some(limit);
            return Err(std::io::ErrorKind::Other.into());
        }
        self.text.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What an object that was made costs beside its entries: a node of a tree has room for eleven.
const MAP_UNITS: u64 = 16;

fn charge_each(budget: &Budget, costs: impl Iterator<Item = u64>) -> Result<(), EvalError> {
    let mut costs = costs;
    costs.try_for_each(|cost| budget.charge(cost))
}

fn number_of<'a>(number: &Number) -> Val<'a> {
    match (number.as_i64(), number.as_u64()) {
        (Some(int), _) => Val::Int(int),
        (None, Some(uint)) => Val::UInt(uint),
        (None, None) => Val::Double(number.as_f64().unwrap_or(f64::NAN)),
    }
}

fn compare_numbers(a: &Val<'_>, b: &Val<'_>) -> Option<Ordering> {
    let wide = |value: &Val<'_>| match value {
        Val::Int(number) => Some(i128::from(*number)),
        Val::UInt(number) => Some(i128::from(*number)),
        _ => None,
    };
    let real = |value: &Val<'_>| match value {
        Val::Int(number) => Some(*number as f64),
        Val::UInt(number) => Some(*number as f64),
        Val::Double(number) => Some(*number),
        _ => None,
    };
    match (wide(a), wide(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => real(a)?.partial_cmp(&real(b)?),
    }
}
