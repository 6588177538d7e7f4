//! Evaluation with a budget.

use super::{EvalError, Fold, FoldKind, Ir, functions::Patterns, value::Val};
use crate::graph::{
    budget::{Budget, lookup_units, text_units},
    scope::Data,
};
use serde_json::Value;
use std::{borrow::Cow, rc::Rc};

pub(super) fn evaluate(ir: &Ir, data: &Data<'_>, budget: &Budget) -> Result<Value, EvalError> {
    let mut machine = Machine {
        data,
        locals: Vec::new(),
        budget,
        patterns: Patterns::default(),
    };
    let value = machine.eval(ir)?;
    value.charge(budget)?;
    value.into_json()
}

/// An object takes its memory with its first entry.
const MAP_COST: u64 = 16;

struct Machine<'d, 'a> {
    data: &'d Data<'a>,
    locals: Vec<Val<'a>>,
    budget: &'d Budget,
    /// Patterns that were computed and compiled in this evaluation.
    patterns: Patterns,
}

impl<'a> Machine<'_, 'a> {
    fn charge(&self, units: u64) -> Result<(), EvalError> {
        self.budget.charge(units)
    }

    fn eval(&mut self, ir: &Ir) -> Result<Val<'a>, EvalError> {
        self.charge(1)?;
        match ir {
            Ir::Literal(value) => {
                self.budget.charge_json(value)?;
                Ok(Val::owned(value.clone()))
            }
            Ir::Path { place, segments } => {
                match self.data.lookup(*place, segments, self.budget)? {
                    Cow::Borrowed(value) => Ok(Val::borrowed(value)),
                    Cow::Owned(value) => Ok(Val::owned(value)),
                }
            }
            Ir::Local(slot) => match self.locals.get(*slot) {
                Some(value) => {
                    self.charge(value.clone_cost())?;
                    Ok(value.clone())
                }
                None => Err(EvalError::wrong("loop variable without a loop")),
            },
            Ir::Select(owner, name) => {
                let owner = self.eval(owner)?;
                self.charge(owner.lookup_cost(name))?;
                self.copied(owner.field(name))
            }
            Ir::Has(owner, name) => self.has(owner, name),
            Ir::Index(owner, index) => {
                let (owner, index) = (self.eval(owner)?, self.eval(index)?);
                self.charge(match &index {
                    Val::Text(key) => owner.lookup_cost(key),
                    place => place_of(place).map_or(0, |place| owner.nth_cost(place)),
                })?;
                self.copied(owner.index(&index))
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
                operator.apply(left, right, self.budget)
            }
            Ir::List(items) => {
                self.charge(items.len() as u64)?;
                let items = items.iter().map(|item| self.eval(item));
                Ok(Val::list(items.collect::<Result<_, _>>()?))
            }
            Ir::Map(entries) => self.map_literal(entries),
            Ir::Call(function, arguments) => {
                let arguments = arguments
                    .iter()
                    .map(|argument| self.eval(argument))
                    .collect::<Result<Vec<_>, _>>()?;
                function.call(arguments, self.budget, &mut self.patterns)
            }
            Ir::Default(value, fallback) => match self.eval(value) {
                Ok(Val::Null) | Err(EvalError::Missing(_)) => self.eval(fallback),
                other => other,
            },
            Ir::Fold(fold) => self.fold(fold),
        }
    }

    /// A value that was found within another one.
    fn copied(&self, found: Result<Val<'a>, EvalError>) -> Result<Val<'a>, EvalError> {
        let value = found?;
        self.charge(value.clone_cost())?;
        Ok(value)
    }

    fn has(&mut self, owner: &Ir, name: &str) -> Result<Val<'a>, EvalError> {
        let found = self.eval(owner).and_then(|owner| {
            self.charge(owner.lookup_cost(name))?;
            owner.field(name)
        });
        match found {
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
        if let Err(error) = &left
            && error.is_limit()
        {
            return left.map(Val::Bool);
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
        self.charge(MAP_COST)?;
        for (key, value) in entries {
            let key = match self.eval(key)? {
                Val::Text(key) => {
                    // A borrowed key is copied, and each is compared with those that are there.
                    self.charge(text_units(key.len()) + lookup_units(&key, map.len()))?;
                    key.into_owned()
                }
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
        let elements = self.eval(&fold.range)?.elements(self.budget)?;
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
            self.charge(element.clone_cost())?;
            self.locals[fold.slot] = element.clone();
            if let Some(guard) = &fold.guard
                && !self.eval(guard)?.bool()?
            {
                continue;
            }
            let value = self.eval(&fold.body);
            match (fold.kind, value) {
                (_, Err(error)) if error.is_limit() => return Err(error),
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

fn place_of(index: &Val<'_>) -> Option<usize> {
    match index {
        Val::Int(place) => usize::try_from(*place).ok(),
        Val::UInt(place) => usize::try_from(*place).ok(),
        _ => None,
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
