//! The functions, filters and tests of texts: the engine's own, each charged before it works, and those that stand for operators.

use super::{
    escape,
    meter::{charge, charge_new_text, plain, settle, weigh, weigh_times},
    program::ONE,
};
use crate::graph::expr::amounts;
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Expression, State, filters, functions, tests,
    value::{Kwargs, Rest, Value, ValueKind},
};
use std::{collections::BTreeMap, sync::LazyLock};

// Names that no source can contain.
pub(super) const ADD: &str = "\0add";
pub(super) const MULTIPLY: &str = "\0multiply";
pub(super) const CONCAT: &str = "\0concat";
pub(super) const SLICE: &str = "\0slice";
pub(super) const ITEM: &str = "\0item";
pub(super) const IN: &str = "\0in";
pub(super) const COMPARE: &str = "\0compare";
pub(super) const WEIGH: &str = "\0weigh";
pub(super) const PLAIN: &str = "\0plain";
pub(super) const SHALLOW: &str = "\0shallow";

/// Largest number that says how wide, how deep or into how many parts something is made.
const MAX_WIDTH: usize = 1_000;
/// What an operation costs that is carried out by the engine once more.
const CALL_UNITS: u64 = 16;
/// How often sorting goes over its values at most, as a text has no more of them than its budget.
const SORTING: u64 = 20;

/// Operators that are left to the engine.
static PLAIN_ENGINE: LazyLock<Environment<'static>> = LazyLock::new(Environment::new);
type Operator = LazyLock<Option<Expression<'static, 'static>>>;
static ENGINE_ADD: Operator = LazyLock::new(|| PLAIN_ENGINE.compile_expression("a + b").ok());
static ENGINE_MULTIPLY: Operator = LazyLock::new(|| PLAIN_ENGINE.compile_expression("a * b").ok());
static ENGINE_SLICE: Operator = LazyLock::new(|| PLAIN_ENGINE.compile_expression("a[b:c:d]").ok());

/// Puts everything of ours into an environment.
pub(super) fn add_to(environment: &mut Environment<'static>) {
    environment.add_global(ONE, 1);
    operators(environment);
    for (name, inner, cost) in functions_() {
        environment.add_function(
            name,
            move |state: &mut State, args: Rest<Value>, named: Kwargs| {
                guarded(&inner, cost, state, &with_named(args, named))
            },
        );
    }
    for (name, inner, cost) in filters_() {
        environment.add_filter(
            name,
            move |state: &mut State, args: Rest<Value>, named: Kwargs| {
                guarded(&inner, cost, state, &with_named(args, named))
            },
        );
    }
    for (name, inner) in tests_() {
        environment.add_test(name, move |state: &mut State, args: Rest<Value>| {
            args.iter().try_for_each(weigh)?;
            Ok::<bool, Error>(inner.call(state, &args)?.is_true())
        });
    }
    cheap_tests(environment);
    environment.add_function("namespace", functions::namespace);
    environment.add_filter("tojson", to_json);
    environment.add_filter("money", money);
    environment.add_filter("sum_money", |list: &Value| {
        weigh_times(list, 16)?;
        let sums = amounts::sums(&plain_json(list)?).map_err(|why| refused(&why))?;
        Ok::<Value, Error>(super::convert(&sums))
    });
}

/// The arguments as the engine hands them on: those with names are the last one.
fn with_named(args: Rest<Value>, named: Kwargs) -> Vec<Value> {
    let mut all = args.0;
    if named.args().next().is_some() {
        all.push(Value::from(named));
    }
    all
}

/// What a filter or function may cost beside a walk over its arguments.
#[derive(Clone, Copy)]
enum Cost {
    /// So many walks over its arguments, with a result of no more than that.
    Walks(u64),
    Join,
    Replace,
    /// Makes lines wider, or lists longer, by a number that it is given.
    Width,
    Format,
    /// Adds up: of texts and lists, each sum is copied.
    Sum,
    /// So many walks over its arguments, and for each element over the names of attributes, filters and tests that are among them.
    Each(u64),
    Refused(&'static str),
}

fn guarded(inner: &Value, cost: Cost, state: &mut State, args: &[Value]) -> Result<Value, Error> {
    match cost {
        Cost::Walks(times) | Cost::Each(times) => {
            args.iter().try_for_each(|arg| weigh_times(arg, times))?
        }
        Cost::Refused(why) => return Err(refused(why)),
        _ => args.iter().try_for_each(weigh)?,
    }
    match cost {
        Cost::Join => {
            let count = args.first().and_then(length).unwrap_or_default();
            let between = args.iter().skip(1).filter_map(text_of).max();
            let between = between.unwrap_or_default().saturating_mul(count);
            charge_new_text(between)?;
        }
        Cost::Replace => {
            let part = |place: usize| args.get(place).and_then(Value::as_str).unwrap_or_default();
            let found = part(0).matches(part(1)).count();
            charge_new_text(found.saturating_mul(part(2).len()))?;
        }
        Cost::Width => {
            let width = args.iter().skip(1).filter_map(largest_number).max();
            let width = width.unwrap_or_default();
            if width > MAX_WIDTH {
                return Err(refused(&format!(
                    "{width} is too wide: at most {MAX_WIDTH} are possible"
                )));
            }
            let lines = args.first().map_or(0, lines_of);
            charge_new_text(lines.saturating_mul(width))?;
        }
        Cost::Format => {
            let widths = args.iter().filter_map(largest_number).max();
            let asked = args.first().and_then(Value::as_str).unwrap_or_default();
            let starred = asked.contains('*') && widths.unwrap_or_default() > MAX_WIDTH;
            if starred || longest_number(asked) > 3 {
                return Err(refused(&format!(
                    "format: a width of more than {MAX_WIDTH} is not possible"
                )));
            }
            let places = asked.matches('%').count();
            charge_new_text(places.saturating_mul(MAX_WIDTH / 8))?;
            // `%(name)s` can stand for one value many times.
            if asked.contains('(') {
                args.iter()
                    .skip(1)
                    .try_for_each(|arg| weigh_times(arg, places as u64))?;
            }
        }
        Cost::Each(_) => charge_each(args)?,
        Cost::Sum => {
            charge_each(args)?;
            let list = args.first().filter(|list| list.try_iter().is_ok());
            let holds_numbers = match list {
                Some(list) => list.try_iter()?.all(|item| item.is_number()),
                None => true,
            };
            if !holds_numbers && let Some(list) = list {
                weigh_times(list, length(list).unwrap_or_default() as u64)?;
            }
        }
        Cost::Walks(_) | Cost::Refused(_) => {}
    }
    settle(inner.call(state, args)?)
}

/// Of names that are looked at again for each element: nothing, unless they are long.
fn charge_each(args: &[Value]) -> Result<(), Error> {
    let names: usize = args.iter().skip(1).filter_map(text_of).sum();
    let count = args.first().and_then(length).unwrap_or_default();
    charge((names as u64 / 32).saturating_mul(count as u64))
}

fn refused(why: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, why.to_owned())
}

/// Elements of a list, or characters of a text: both can be joined.
fn length(value: &Value) -> Option<usize> {
    value.len().or_else(|| Some(value.try_iter().ok()?.count()))
}

fn text_of(value: &Value) -> Option<usize> {
    match value.kind() {
        ValueKind::String => value.as_str().map(str::len),
        // Keyword arguments.
        ValueKind::Map => value
            .try_iter()
            .ok()?
            .filter_map(|key| value.get_item(&key).ok()?.as_str().map(str::len))
            .max(),
        _ => None,
    }
}

fn largest_number(value: &Value) -> Option<usize> {
    match value.kind() {
        ValueKind::Number => Some(value.as_usize().unwrap_or(usize::MAX)),
        ValueKind::Map => value
            .try_iter()
            .ok()?
            .filter_map(|key| largest_number(&value.get_item(&key).ok()?))
            .max(),
        _ => None,
    }
}

fn lines_of(value: &Value) -> usize {
    match value.as_str() {
        Some(text) => text.matches('\n').count() + 1,
        None => 1,
    }
}

/// Digits of the longest number in a text.
fn longest_number(text: &str) -> usize {
    text.split(|letter: char| !letter.is_ascii_digit())
        .map(str::len)
        .max()
        .unwrap_or_default()
}

macro_rules! named {
    ($room:ident: $($name:literal => $function:ident $cost:expr),* $(,)?) => {
        vec![$(($name, Value::from_function($room::$function), $cost)),*]
    };
}

fn functions_() -> Vec<(&'static str, Value, Cost)> {
    // `namespace` is none of them: what it makes is an object that lives on. What it is given is weighed by the program.
    named!(functions:
        "range" => range Cost::Walks(1),
        "dict" => dict Cost::Walks(2),
        "debug" => debug Cost::Refused("a text has no debug()"),
    )
}

fn filters_() -> Vec<(&'static str, Value, Cost)> {
    use Cost::{Each, Format, Join, Replace, Sum, Walks, Width};
    named!(filters:
        "safe" => safe Walks(1), "escape" => escape Walks(6), "e" => escape Walks(6),
        "lower" => lower Walks(3), "upper" => upper Walks(3), "title" => title Walks(3),
        "capitalize" => capitalize Walks(3), "replace" => replace Replace,
        "length" => length Walks(1), "count" => length Walks(1),
        "dictsort" => dictsort Walks(SORTING), "items" => items Walks(2),
        "reverse" => reverse Walks(1), "trim" => trim Walks(1), "join" => join Join,
        "split" => split Walks(4), "lines" => lines Walks(2),
        "default" => default Walks(1), "d" => default Walks(1),
        "round" => round Walks(1), "abs" => abs Walks(1), "int" => int Walks(1),
        "float" => float Walks(1), "attr" => attr Walks(1), "first" => first Walks(1),
        "last" => last Walks(1), "min" => min Walks(2), "max" => max Walks(2),
        "sort" => sort Each(SORTING), "list" => list Walks(1), "string" => string Walks(2),
        "bool" => bool Walks(1), "batch" => batch Width, "slice" => slice Width,
        "sum" => sum Sum, "indent" => indent Width, "select" => select Each(1),
        "reject" => reject Each(1), "selectattr" => selectattr Each(1),
        "rejectattr" => rejectattr Each(1), "map" => map Each(1),
        "groupby" => groupby Each(SORTING), "unique" => unique Each(SORTING),
        "chain" => chain Walks(2), "zip" => zip Walks(2), "pprint" => pprint Walks(16),
        "format" => format Format,
    )
}

fn tests_() -> BTreeMap<&'static str, Value> {
    macro_rules! tests {
        ($($name:literal => $function:ident),* $(,)?) => {
            BTreeMap::from([$(($name, Value::from_function(tests::$function))),*])
        };
    }
    tests!(
        "divisibleby" => is_divisibleby, "startingwith" => is_startingwith,
        "endingwith" => is_endingwith, "lower" => is_lower, "upper" => is_upper,
        "sameas" => is_sameas, "eq" => is_eq, "equalto" => is_eq, "==" => is_eq,
        "ne" => is_ne, "!=" => is_ne, "lt" => is_lt, "lessthan" => is_lt, "<" => is_lt,
        "le" => is_le, "<=" => is_le, "gt" => is_gt, "greaterthan" => is_gt, ">" => is_gt,
        "ge" => is_ge, ">=" => is_ge, "in" => is_in,
    )
}

/// They look at the kind of a value, or at a number.
fn cheap_tests(environment: &mut Environment<'static>) {
    environment.add_test("undefined", tests::is_undefined);
    environment.add_test("defined", tests::is_defined);
    environment.add_test("none", tests::is_none);
    environment.add_test("safe", tests::is_safe);
    environment.add_test("escaped", tests::is_safe);
    environment.add_test("boolean", tests::is_boolean);
    environment.add_test("odd", tests::is_odd);
    environment.add_test("even", tests::is_even);
    environment.add_test("number", tests::is_number);
    environment.add_test("integer", tests::is_integer);
    environment.add_test("int", tests::is_integer);
    environment.add_test("float", tests::is_float);
    environment.add_test("string", tests::is_string);
    environment.add_test("sequence", tests::is_sequence);
    environment.add_test("iterable", tests::is_iterable);
    environment.add_test("mapping", tests::is_mapping);
    environment.add_test("true", tests::is_true);
    environment.add_test("false", tests::is_false);
    environment.add_test("filter", tests::is_filter);
    environment.add_test("test", tests::is_test);
}

/// In a text for a target with markup it is what a program would write; elsewhere it is safe within HTML, as the engine writes it.
fn to_json(
    state: &mut State,
    value: &Value,
    indent: Option<Value>,
    args: Kwargs,
) -> Result<Value, Error> {
    weigh_times(value, 8)?;
    let indent = match indent {
        Some(indent) => Some(indent),
        None => args.get("indent")?,
    };
    if let Some(width) = indent.as_ref().and_then(largest_number) {
        if width > 16 {
            return Err(refused("tojson: `indent` can be 16 at most"));
        }
        weigh_times(value, width as u64)?;
    }
    if matches!(state.auto_escape(), AutoEscape::Custom(_)) {
        let pretty = indent.as_ref().is_some_and(Value::is_true);
        let written = match pretty {
            true => serde_json::to_string_pretty(&plain_json(value)?),
            false => serde_json::to_string(&plain_json(value)?),
        };
        return written
            .map(Value::from)
            .map_err(|error| refused(&format!("cannot serialize to JSON: {error}")));
    }
    filters::tojson(value, indent, args)
}

/// `{{ amount | money(currency) }}`, or of `{amount, currency}` and lists of them.
fn money(amount: &Value, currency: Option<Value>) -> Result<String, Error> {
    weigh_times(amount, 16)?;
    let currency = currency.as_ref().map(plain_json).transpose()?;
    amounts::show(&plain_json(amount)?, currency.as_ref()).map_err(|why| refused(&why))
}

fn plain_json(value: &Value) -> Result<serde_json::Value, Error> {
    weigh(value)?;
    as_json(value)
}

fn as_json(value: &Value) -> Result<serde_json::Value, Error> {
    use serde_json::Value as Json;
    Ok(match value.kind() {
        ValueKind::Undefined | ValueKind::None => Json::Null,
        ValueKind::Bool => Json::Bool(value.is_true()),
        ValueKind::Number => match (value.as_i64(), u64::try_from(value.clone())) {
            (Some(int), _) => int.into(),
            (None, Ok(uint)) => uint.into(),
            (None, Err(_)) => f64::try_from(value.clone())
                .ok()
                .and_then(serde_json::Number::from_f64)
                .map_or(Json::Null, Json::Number),
        },
        ValueKind::Seq | ValueKind::Iterable => value
            .try_iter()?
            .map(|item| as_json(&item))
            .collect::<Result<_, _>>()?,
        ValueKind::Map => value
            .try_iter()?
            .map(|key| Ok((key.to_string(), as_json(&value.get_item(&key)?)?)))
            .collect::<Result<serde_json::Map<_, _>, Error>>()?
            .into(),
        _ => Json::String(value.to_string()),
    })
}

/// Errors as the engine does for what is not defined, where it is strict.
fn defined(state: &mut State, value: &Value) -> Result<(), Error> {
    match value.is_undefined() {
        true => state.format(value.clone()).map(drop),
        false => Ok(()),
    }
}

fn by_engine(operator: &Operator, operands: &[(&str, &Value)]) -> Result<Value, Error> {
    charge(CALL_UNITS)?;
    let operands = operands
        .iter()
        .map(|(name, value)| (*name, (*value).clone()));
    match &**operator {
        Some(expression) => expression.eval(Value::from_pairs(operands)),
        None => Err(refused("the operator is not there")),
    }
}

fn operators(environment: &mut Environment<'static>) {
    environment.add_function(ADD, add);
    environment.add_function(MULTIPLY, multiply);
    environment.add_function(CONCAT, concat);
    environment.add_function(
        SLICE,
        |state: &mut State, list: &Value, from: &Value, to: &Value, step: &Value| {
            defined(state, list)?;
            weigh(list)?;
            let operands = [("a", list), ("b", from), ("c", to), ("d", step)];
            settle(by_engine(&ENGINE_SLICE, &operands)?)
        },
    );
    environment.add_function(ITEM, |state: &mut State, owner: &Value, key: &Value| {
        defined(state, owner)?;
        weigh(key)?;
        // Its characters are counted to find one.
        if let Some(text) = owner.as_str() {
            charge_new_text(text.len())?;
        }
        owner.get_item(key)
    });
    environment.add_function(IN, |state: &mut State, item: &Value, list: &Value| {
        defined(state, list)?;
        defined(state, item)?;
        weigh(item)?;
        weigh(list)?;
        tests::is_in(state, item, list)
    });
    environment.add_function(COMPARE, compare);
    environment.add_function(WEIGH, |value: &Value| weigh(value).map(|()| value.clone()));
    environment.add_function(SHALLOW, |value: &Value| {
        weigh(value).map(|()| value.clone())
    });
    environment.add_function(PLAIN, |value: &Value| plain(value));
}

fn compare(state: &mut State, a: &Value, b: &Value, how: &str) -> Result<bool, Error> {
    defined(state, a)?;
    defined(state, b)?;
    weigh(a)?;
    weigh(b)?;
    Ok(match how {
        "==" => a == b,
        "!=" => a != b,
        ">" => a > b,
        ">=" => a >= b,
        "<" => a < b,
        _ => a <= b,
    })
}

/// Two texts one after the other. If one of them is markup, what is not is escaped, and the whole is markup.
fn concat(state: &mut State, a: &Value, b: &Value) -> Result<Value, Error> {
    defined(state, a)?;
    defined(state, b)?;
    weigh(a)?;
    weigh(b)?;
    let is_markup = a.is_safe() || b.is_safe();
    if is_markup && !matches!(state.auto_escape(), AutoEscape::None) {
        let text = escape::text_of(state, a)? + &escape::text_of(state, b)?;
        charge_new_text(text.len())?;
        return Ok(Value::from_safe_string(text));
    }
    let (a, b) = (escape::plain_text(a)?, escape::plain_text(b)?);
    charge_new_text(a.len() + b.len())?;
    Ok(Value::from(a.into_owned() + &b))
}

fn add(state: &mut State, a: &Value, b: &Value) -> Result<Value, Error> {
    if a.is_number() && b.is_number() {
        return by_engine(&ENGINE_ADD, &[("a", a), ("b", b)]);
    }
    if a.as_str().is_some() && b.as_str().is_some() {
        return concat(state, a, b);
    }
    defined(state, a)?;
    defined(state, b)?;
    weigh(a)?;
    weigh(b)?;
    settle(by_engine(&ENGINE_ADD, &[("a", a), ("b", b)])?)
}

/// A product, or a text or list so many times.
fn multiply(state: &mut State, a: &Value, b: &Value) -> Result<Value, Error> {
    defined(state, a)?;
    defined(state, b)?;
    for (many, times) in [(a, b), (b, a)] {
        let times = times.as_usize().unwrap_or_default();
        if let Some(text) = many.as_str() {
            charge_new_text(text.len().saturating_mul(times))?;
        } else if matches!(many.kind(), ValueKind::Seq | ValueKind::Iterable) {
            weigh_times(many, 1 + times as u64)?;
        }
    }
    settle(by_engine(&ENGINE_MULTIPLY, &[("a", a), ("b", b)])?)
}
