//! Values of an evaluation: borrowed from the run's JSON where they can be.

use super::EvalError;
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
    pub fn elements(&self) -> Result<Vec<Val<'a>>, EvalError> {
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

    pub fn is_list(&self) -> bool {
        matches!(self, Val::Array(_) | Val::List(_))
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
        .ok_or_else(|| EvalError::Missing(name.into()))
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
            Val::Array(items) => place.and_then(|place| items.get(place)).map(Val::borrowed),
            Val::List(items) => place.and_then(|place| items.get(place)).cloned(),
            other => {
                return Err(EvalError::wrong(format!(
                    "cannot index {} with a number",
                    other.kind()
                )));
            }
        }
        .ok_or_else(|| EvalError::Missing(format!("element {}", index.show())))
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

    /// What it costs to copy or compare it.
    pub fn weight(&self) -> u64 {
        match self {
            Val::Text(text) => 1 + text.len() as u64 / 32,
            Val::Array(items) => {
                items
                    .iter()
                    .map(|item| Val::borrowed(item).weight())
                    .sum::<u64>()
                    + 1
            }
            Val::List(items) => items.iter().map(Val::weight).sum::<u64>() + 1,
            Val::Object(map) => {
                map.values()
                    .map(|item| Val::borrowed(item).weight())
                    .sum::<u64>()
                    + 1
            }
            Val::Map(map) => map.values().map(Val::weight).sum::<u64>() + 1,
            _ => 1,
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

    pub fn equals(&self, other: &Val<'a>) -> bool {
        match (self, other) {
            (Val::Null, Val::Null) => true,
            (Val::Bool(a), Val::Bool(b)) => a == b,
            (Val::Text(a), Val::Text(b)) => a == b,
            (Val::Array(a), Val::Array(b)) if std::ptr::eq(*a, *b) => true,
            (a, b) if a.is_list() && b.is_list() => match (a.elements(), b.elements()) {
                (Ok(a), Ok(b)) => a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.equals(b)),
                _ => false,
            },
            (Val::Object(_) | Val::Map(_), Val::Object(_) | Val::Map(_)) => {
                self.same_entries(other)
            }
            (a, b) => compare_numbers(a, b) == Some(Ordering::Equal),
        }
    }

    fn same_entries(&self, other: &Val<'a>) -> bool {
        let (Ok(keys), Ok(size)) = (self.elements(), other.size()) else {
            return false;
        };
        keys.len() == size
            && keys
                .iter()
                .all(|key| match (self.index(key), other.index(key)) {
                    (Ok(a), Ok(b)) => a.equals(&b),
                    _ => false,
                })
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
