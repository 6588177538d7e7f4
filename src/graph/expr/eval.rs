//! Evaluation with a budget.

use super::{EvalError, FUEL, Fold, FoldKind, Ir, value::Val};
use crate::graph::scope::Data;
use serde_json::Value;
use std::{borrow::Cow, rc::Rc};

pub(super) fn evaluate(ir: &Ir, data: &Data<'_>) -> Result<Value, EvalError> {
    let mut machine = Machine {
        data,
        locals: Vec::new(),
        fuel: FUEL,
    };
    let value = machine.eval(ir)?;
    machine.charge(value.weight())?;
    value.into_json()
}

struct Machine<'d, 'a> {
    data: &'d Data<'a>,
    locals: Vec<Val<'a>>,
    fuel: u64,
}

impl<'a> Machine<'_, 'a> {
    fn charge(&mut self, units: u64) -> Result<(), EvalError> {
        self.fuel = self.fuel.checked_sub(units).ok_or(EvalError::OutOfFuel)?;
        Ok(())
    }

    fn eval(&mut self, ir: &Ir) -> Result<Val<'a>, EvalError> {
        self.charge(1)?;
        match ir {
            Ir::Literal(value) => Ok(Val::owned(value.clone())),
            Ir::Path { place, segments } => match self.data.lookup(*place, segments)? {
                Cow::Borrowed(value) => Ok(Val::borrowed(value)),
                Cow::Owned(value) => self.made(Val::owned(value)),
            },
            Ir::Local(slot) => self
                .locals
                .get(*slot)
                .cloned()
                .ok_or_else(|| EvalError::wrong("loop variable without a loop")),
            Ir::Select(owner, name) => self.eval(owner)?.field(name),
            Ir::Has(owner, name) => self.has(owner, name),
            Ir::Index(owner, index) => {
                let owner = self.eval(owner)?;
                owner.index(&self.eval(index)?)
            }
            Ir::Not(inner) => Ok(Val::Bool(!self.eval(inner)?.bool()?)),
            Ir::Negate(inner) => negate(self.eval(inner)?),
            Ir::And(left, right) => self.logic(left, right, false),
            Ir::Or(left, right) => self.logic(left, right, true),
            Ir::Cond(parts) => {
                let [condition, yes, no] = &**parts;
                if self.eval(condition)?.bool()? {
                    self.eval(yes)
                } else {
                    self.eval(no)
                }
            }
            Ir::Binary(operator, left, right) => {
                let (left, right) = (self.eval(left)?, self.eval(right)?);
                self.charge_copy(&left)?;
                self.charge_copy(&right)?;
                operator.apply(left, right)
            }
            Ir::List(items) => Ok(Val::list(
                items
                    .iter()
                    .map(|item| self.eval(item))
                    .collect::<Result<_, _>>()?,
            )),
            Ir::Map(entries) => self.map_literal(entries),
            Ir::Call(function, arguments) => {
                let arguments = arguments
                    .iter()
                    .map(|argument| self.eval(argument))
                    .collect::<Result<Vec<_>, _>>()?;
                arguments
                    .iter()
                    .try_for_each(|argument| self.charge_copy(argument))?;
                let value = function.call(arguments)?;
                self.made(value)
            }
            Ir::Default(value, fallback) => match self.eval(value) {
                Ok(Val::Null) | Err(EvalError::Missing(_)) => self.eval(fallback),
                other => other,
            },
            Ir::Fold(fold) => self.fold(fold),
        }
    }

    /// Operators and functions may copy or walk their operands.
    fn charge_copy(&mut self, value: &Val<'a>) -> Result<(), EvalError> {
        match value {
            Val::Text(_) | Val::Array(_) | Val::List(_) | Val::Object(_) | Val::Map(_) => {
                self.charge(value.weight())
            }
            _ => Ok(()),
        }
    }

    fn made(&mut self, value: Val<'a>) -> Result<Val<'a>, EvalError> {
        self.charge_copy(&value)?;
        Ok(value)
    }

    fn has(&mut self, owner: &Ir, name: &str) -> Result<Val<'a>, EvalError> {
        match self.eval(owner).and_then(|owner| owner.field(name)) {
            Ok(_) => Ok(Val::Bool(true)),
            Err(EvalError::Missing(_)) => Ok(Val::Bool(false)),
            Err(other) => Err(other),
        }
    }

    /// `&&` and `||`: as CEL says, a side that decides makes an error of the other side harmless.
    fn logic(&mut self, left: &Ir, right: &Ir, decisive: bool) -> Result<Val<'a>, EvalError> {
        let left = self.eval(left).and_then(|value| value.bool());
        if left == Ok(decisive) {
            return Ok(Val::Bool(decisive));
        }
        if left == Err(EvalError::OutOfFuel) {
            return Err(EvalError::OutOfFuel);
        }
        let right = self.eval(right)?.bool()?;
        if right == decisive {
            Ok(Val::Bool(decisive))
        } else {
            left.map(Val::Bool)
        }
    }

    fn map_literal(&mut self, entries: &[(Ir, Ir)]) -> Result<Val<'a>, EvalError> {
        let mut map = std::collections::BTreeMap::new();
        for (key, value) in entries {
            let key = match self.eval(key)? {
                Val::Text(key) => key.into_owned(),
                other => {
                    return Err(EvalError::wrong(format!(
                        "the keys of an object are strings, not {}",
                        other.kind()
                    )));
                }
            };
            let value = self.eval(value)?;
            map.insert(key, value);
        }
        Ok(Val::Map(Rc::new(map)))
    }

    fn fold(&mut self, fold: &Fold) -> Result<Val<'a>, EvalError> {
        let elements = self.eval(&fold.range)?.elements()?;
        self.charge(elements.len() as u64)?;
        self.locals.truncate(fold.slot);
        self.locals.push(Val::Null);
        let result = self.turns(fold, elements);
        self.locals.truncate(fold.slot);
        result
    }

    fn turns(&mut self, fold: &Fold, elements: Vec<Val<'a>>) -> Result<Val<'a>, EvalError> {
        let (mut made, mut found, mut pending) = (Vec::new(), 0u32, None);
        for element in elements {
            self.locals.truncate(fold.slot + 1);
            self.locals[fold.slot] = element.clone();
            if let Some(guard) = &fold.guard
                && !self.eval(guard)?.bool()?
            {
                continue;
            }
            let value = self.eval(&fold.body);
            match (fold.kind, value) {
                (_, Err(EvalError::OutOfFuel)) => return Err(EvalError::OutOfFuel),
                (FoldKind::Map, value) => made.push(value?),
                (FoldKind::Filter, value) => made.extend(value?.bool()?.then_some(element)),
                (FoldKind::ExistsOne, value) => found += u32::from(value?.bool()?),
                (FoldKind::All | FoldKind::Exists, value) => match value
                    .and_then(|value| value.bool())
                {
                    Ok(yes) if yes == (fold.kind == FoldKind::Exists) => return Ok(Val::Bool(yes)),
                    Ok(_) => {}
                    Err(error) => pending = Some(error),
                },
            }
        }
        match (fold.kind, pending) {
            (_, Some(error)) => Err(error),
            (FoldKind::Map | FoldKind::Filter, None) => Ok(Val::list(made)),
            (FoldKind::ExistsOne, None) => Ok(Val::Bool(found == 1)),
            (kind, None) => Ok(Val::Bool(kind == FoldKind::All)),
        }
    }
}

fn negate(value: Val<'_>) -> Result<Val<'_>, EvalError> {
    match value {
        Val::Int(number) => number
            .checked_neg()
            .map(Val::Int)
            .ok_or_else(|| EvalError::wrong(format!("-({number}) does not fit into 64 bits"))),
        Val::Double(number) => Ok(Val::Double(-number)),
        other => Err(EvalError::wrong(format!("cannot negate {}", other.kind()))),
    }
}
