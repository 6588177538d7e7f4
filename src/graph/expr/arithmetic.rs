//! The binary operators. As in CEL, arithmetic does not mix int and double; comparisons do.

use super::{EvalError, value::Val};
use crate::graph::budget::Budget;
use std::borrow::Cow;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
}

impl Operator {
    #[cfg(test)]
    pub const ALL: [Operator; 12] = [
        Operator::Add,
        Operator::Subtract,
        Operator::Multiply,
        Operator::Divide,
        Operator::Modulo,
        Operator::Equal,
        Operator::NotEqual,
        Operator::Less,
        Operator::LessEqual,
        Operator::Greater,
        Operator::GreaterEqual,
        Operator::In,
    ];

    /// By the name that the parser gives to the call.
    pub fn parse(name: &str) -> Option<Operator> {
        Some(match name {
            "_+_" => Operator::Add,
            "_-_" => Operator::Subtract,
            "_*_" => Operator::Multiply,
            "_/_" => Operator::Divide,
            "_%_" => Operator::Modulo,
            "_==_" => Operator::Equal,
            "_!=_" => Operator::NotEqual,
            "_<_" => Operator::Less,
            "_<=_" => Operator::LessEqual,
            "_>_" => Operator::Greater,
            "_>=_" => Operator::GreaterEqual,
            "@in" => Operator::In,
            _ => return None,
        })
    }

    pub fn symbol(self) -> &'static str {
        match self {
            Operator::Add => "+",
            Operator::Subtract => "-",
            Operator::Multiply => "*",
            Operator::Divide => "/",
            Operator::Modulo => "%",
            Operator::Equal => "==",
            Operator::NotEqual => "!=",
            Operator::Less => "<",
            Operator::LessEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterEqual => ">=",
            Operator::In => "in",
        }
    }

    /// Charges what it does before it does it.
    pub fn apply<'a>(
        self,
        left: Val<'a>,
        right: Val<'a>,
        budget: &Budget,
    ) -> Result<Val<'a>, EvalError> {
        match self {
            Operator::Equal => left.equals(&right, budget).map(Val::Bool),
            Operator::NotEqual => left.equals(&right, budget).map(|same| Val::Bool(!same)),
            Operator::Less | Operator::LessEqual | Operator::Greater | Operator::GreaterEqual => {
                budget.charge(left.compare_cost(&right))?;
                self.order(&left, &right)
            }
            Operator::In => contains(&left, &right, budget),
            Operator::Add => match (left, right) {
                (Val::Text(a), Val::Text(b)) => {
                    budget.charge_new_text(a.len() + b.len())?;
                    Ok(Val::Text(Cow::Owned(a.into_owned() + &b)))
                }
                (a, b) if a.is_list() && b.is_list() => {
                    let mut all = a.elements(budget)?;
                    all.extend(b.elements(budget)?);
                    Ok(Val::list(all))
                }
                (a, b) => self.calculate(a, b),
            },
            Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Modulo => {
                self.calculate(left, right)
            }
        }
    }

    fn order<'a>(self, left: &Val<'a>, right: &Val<'a>) -> Result<Val<'a>, EvalError> {
        let order = left.compare(right).ok_or_else(|| self.unfit(left, right))?;
        Ok(Val::Bool(match self {
            Operator::Less => order.is_lt(),
            Operator::LessEqual => order.is_le(),
            Operator::Greater => order.is_gt(),
            _ => order.is_ge(),
        }))
    }

    fn unfit(self, left: &Val<'_>, right: &Val<'_>) -> EvalError {
        let hint = match (left, right) {
            (Val::Double(_), Val::Int(_) | Val::UInt(_))
            | (Val::Int(_) | Val::UInt(_), Val::Double(_)) => {
                "; CEL does not mix them, write double(x) around the integer"
            }
            _ => "",
        };
        EvalError::wrong(format!(
            "cannot apply {} to {} and {}{hint}",
            self.symbol(),
            left.kind(),
            right.kind()
        ))
    }

    fn calculate<'a>(self, left: Val<'a>, right: Val<'a>) -> Result<Val<'a>, EvalError> {
        match (&left, &right) {
            (Val::Double(a), Val::Double(b)) => self.doubles(*a, *b),
            (Val::Int(a), Val::Int(b)) => self.ints(*a, *b),
            // A JSON number beyond i64 arrives as uint; integers of both kinds meet in the wider one.
            (Val::Int(_) | Val::UInt(_), Val::Int(_) | Val::UInt(_)) => self.uints(&left, &right),
            _ => Err(self.unfit(&left, &right)),
        }
    }

    fn doubles<'a>(self, a: f64, b: f64) -> Result<Val<'a>, EvalError> {
        let value = match self {
            Operator::Add => a + b,
            Operator::Subtract => a - b,
            Operator::Multiply => a * b,
            Operator::Divide => a / b,
            _ => return Err(self.unfit(&Val::Double(a), &Val::Double(b))),
        };
        if value.is_finite() {
            Ok(Val::Double(value))
        } else {
            Err(EvalError::wrong(format!(
                "{a} {} {b} is {value}",
                self.symbol()
            )))
        }
    }

    fn ints<'a>(self, a: i64, b: i64) -> Result<Val<'a>, EvalError> {
        if b == 0 && matches!(self, Operator::Divide | Operator::Modulo) {
            return Err(EvalError::wrong(format!("division of {a} by zero")));
        }
        match self {
            Operator::Add => a.checked_add(b),
            Operator::Subtract => a.checked_sub(b),
            Operator::Multiply => a.checked_mul(b),
            Operator::Divide => a.checked_div(b),
            _ => a.checked_rem(b),
        }
        .map(Val::Int)
        .ok_or_else(|| {
            EvalError::wrong(format!(
                "{a} {} {b} does not fit into 64 bits",
                self.symbol()
            ))
        })
    }

    fn uints<'a>(self, left: &Val<'a>, right: &Val<'a>) -> Result<Val<'a>, EvalError> {
        let wide = |value: &Val<'_>| match value {
            Val::Int(number) => i128::from(*number),
            Val::UInt(number) => i128::from(*number),
            _ => 0,
        };
        let (a, b) = (wide(left), wide(right));
        if b == 0 && matches!(self, Operator::Divide | Operator::Modulo) {
            return Err(EvalError::wrong(format!("division of {a} by zero")));
        }
        let value = match self {
            Operator::Add => a.checked_add(b),
            Operator::Subtract => a.checked_sub(b),
            Operator::Multiply => a.checked_mul(b),
            Operator::Divide => a.checked_div(b),
            _ => a.checked_rem(b),
        };
        let fitted = value.and_then(|value| {
            u64::try_from(value)
                .map(Val::UInt)
                .or_else(|_| i64::try_from(value).map(Val::Int))
                .ok()
        });
        fitted.ok_or_else(|| {
            EvalError::wrong(format!(
                "{a} {} {b} does not fit into 64 bits",
                self.symbol()
            ))
        })
    }
}

pub(super) fn contains<'a>(
    item: &Val<'a>,
    list: &Val<'a>,
    budget: &Budget,
) -> Result<Val<'a>, EvalError> {
    match list {
        Val::Object(_) | Val::Map(_) => match item {
            Val::Text(key) => {
                budget.charge_text(key.len())?;
                budget.charge(list.lookup_cost(key))?;
                Ok(Val::Bool(list.has(key)))
            }
            other => Err(EvalError::wrong(format!(
                "the keys of an object are strings, not {}",
                other.kind()
            ))),
        },
        list => {
            for element in list.elements(budget)? {
                if element.equals(item, budget)? {
                    return Ok(Val::Bool(true));
                }
            }
            Ok(Val::Bool(false))
        }
    }
}
