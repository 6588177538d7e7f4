//! Conversions between types, rounding, sums.

use super::{EvalError, arithmetic::Operator, value::Val};
use crate::graph::budget::Budget;

fn unconvertible(value: &Val<'_>, to: &str) -> EvalError {
    let shown = match value {
        Val::Text(text) => format!("the string `{}`", text.chars().take(40).collect::<String>()),
        Val::Int(_) | Val::UInt(_) | Val::Double(_) => value.show(),
        other => other.kind().into(),
    };
    EvalError::wrong(format!("cannot make {to} of {shown}"))
}

pub(super) fn to_int<'a>(value: &Val<'a>) -> Result<Val<'a>, EvalError> {
    match value {
        Val::Int(number) => Some(*number),
        Val::UInt(number) => i64::try_from(*number).ok(),
        // Bounds that a double can hold: 2^63 itself is already too large.
        Val::Double(number)
            if *number > -9.223_372_036_854_775e18 && *number < 9.223_372_036_854_775e18 =>
        {
            Some(*number as i64)
        }
        Val::Text(text) => text.parse().ok(),
        _ => None,
    }
    .map(Val::Int)
    .ok_or_else(|| unconvertible(value, "an int"))
}

pub(super) fn to_uint<'a>(value: &Val<'a>) -> Result<Val<'a>, EvalError> {
    match value {
        Val::Int(number) => u64::try_from(*number).ok(),
        Val::UInt(number) => Some(*number),
        Val::Double(number) if *number >= 0.0 && *number < 1.844_674_407_370_955e19 => {
            Some(*number as u64)
        }
        Val::Text(text) => text.parse().ok(),
        _ => None,
    }
    .map(Val::UInt)
    .ok_or_else(|| unconvertible(value, "a uint"))
}

pub(super) fn to_double(value: &Val<'_>) -> Result<f64, EvalError> {
    match value {
        Val::Int(number) => Some(*number as f64),
        Val::UInt(number) => Some(*number as f64),
        Val::Double(number) => Some(*number),
        Val::Text(text) => text.parse::<f64>().ok().filter(|number| number.is_finite()),
        _ => None,
    }
    .ok_or_else(|| unconvertible(value, "a double"))
}

pub(super) fn to_bool<'a>(value: &Val<'a>) -> Result<Val<'a>, EvalError> {
    match value {
        Val::Bool(yes) => Ok(Val::Bool(*yes)),
        Val::Text(text) if text == "true" => Ok(Val::Bool(true)),
        Val::Text(text) if text == "false" => Ok(Val::Bool(false)),
        other => Err(unconvertible(other, "a boolean")),
    }
}

/// Half away from zero, decided on the shortest decimal form of the number: 2.675 to two digits is 2.68, as on paper.
pub(super) fn round<'a>(value: &Val<'a>, digits: Option<&Val<'a>>) -> Result<Val<'a>, EvalError> {
    let digits = match digits {
        None => 0,
        Some(Val::Int(digits @ 0..=15)) => *digits as i32,
        Some(_) => {
            return Err(EvalError::wrong(
                "round() takes a number of digits from 0 to 15",
            ));
        }
    };
    match value {
        Val::Int(_) | Val::UInt(_) => Ok(value.clone()),
        Val::Double(number) => {
            let shifted = format!("{number:e}");
            let (mantissa, exponent) = shifted.split_once('e').unwrap_or((&shifted, "0"));
            let exponent = exponent.parse::<i32>().unwrap_or(0);
            let whole = format!("{mantissa}e{}", exponent + digits)
                .parse::<f64>()
                .unwrap_or(f64::NAN)
                .round();
            let back = format!("{whole:e}");
            let (mantissa, exponent) = back.split_once('e').unwrap_or((&back, "0"));
            let exponent = exponent.parse::<i32>().unwrap_or(0);
            Ok(Val::Double(
                format!("{mantissa}e{}", exponent - digits)
                    .parse()
                    .unwrap_or(*number),
            ))
        }
        other => Err(EvalError::wrong(format!(
            "round() takes a number, not {}",
            other.kind()
        ))),
    }
}

/// The sum of a list of numbers: an int if all are ints, else a double. It mixes what `+` does not: amounts in JSON come as `10` and `10.5`.
pub(super) fn sum<'a>(list: &Val<'a>, budget: &Budget) -> Result<Val<'a>, EvalError> {
    let elements = list.elements(budget)?;
    if elements
        .iter()
        .any(|element| matches!(element, Val::Double(_)))
    {
        return elements
            .iter()
            .try_fold(0.0, |total, element| match element {
                Val::Text(_) => Err(unconvertible(element, "a summand")),
                number => Ok(total + to_double(number)?),
            })
            .map(Val::Double);
    }
    elements
        .into_iter()
        .try_fold(Val::Int(0), |total, element| {
            Operator::Add.apply(total, element, budget)
        })
}
