//! From the parser's tree to [`Ir`]: names are resolved and checked, macros become folds.

use super::{
    Fold, FoldKind, Ir, MAX_DEPTH, MAX_FOLDS, MAX_SOURCE, arithmetic::Operator, functions::Function,
};
use crate::graph::scope::{Names, Place};
use cel::common::ast::{CallExpr, EntryExpr, Expr as Ast, IdedExpr, LiteralValue};
use serde_json::{Number, Value};
use std::sync::LazyLock;

/// Without macros, so that `has(x.y)` and `list.map(x, …)` arrive as they were written.
static PARSER: LazyLock<cel::Env> =
    LazyLock::new(|| cel::Env::default().with_optional_support(false));

/// Most operators, brackets and dots of one expression.
const MAX_MARKS: usize = 1_000;
/// Brackets and operators up to which the caller's stack is certainly enough.
const SMALL: (usize, usize) = (3, 64);
/// Stack of a parse. The parser takes up to 200 KiB a bracket and stops at 96 of them; only what is touched costs memory.
const PARSE_STACK: usize = 64 * 1024 * 1024;

pub(super) fn compile(source: &str, names: &Names<'_>) -> Result<Ir, String> {
    if source.len() > MAX_SOURCE {
        return Err(format!(
            "the expression has {} bytes, at most {MAX_SOURCE} are allowed",
            source.len()
        ));
    }
    // Counted in texts and comments too: whatever the parser takes for a bracket is among them.
    let count = |marks: &[u8]| source.bytes().filter(|byte| marks.contains(byte)).count();
    let (brackets, marks) = (count(b"([{"), count(b"+-*/%<>=!?.[({&|"));
    if marks > MAX_MARKS {
        return Err(format!(
            "the expression has {marks} operators, at most {MAX_MARKS} are allowed"
        ));
    }
    let program = if brackets <= SMALL.0 && marks <= SMALL.1 {
        parse(source)?
    } else {
        parse_deep(source)?
    };
    Lowering {
        names,
        locals: Vec::new(),
        depth: 0,
    }
    .lower(program.expression())
}

fn parse(source: &str) -> Result<cel::Program, String> {
    PARSER
        .compile(source)
        .map_err(|errors| parse_message(source, &errors))
}

/// A hostile expression must not overflow the stack of whoever compiles it: that ends the process.
fn parse_deep(source: &str) -> Result<cel::Program, String> {
    std::thread::scope(|scope| {
        let parsing = std::thread::Builder::new()
            .stack_size(PARSE_STACK)
            .spawn_scoped(scope, || parse(source));
        let parsed = parsing
            .map_err(|error| format!("the expression cannot be checked now: {error}"))?
            .join();
        parsed.unwrap_or_else(|_| Err(format!("`{source}` cannot be parsed")))
    })
}

fn parse_message(source: &str, errors: &cel::ParseErrors) -> String {
    let first = errors.errors.first().map_or_else(
        || "syntax error".into(),
        |error| {
            let message = error.msg.lines().next().unwrap_or("syntax error");
            format!("{message} (at column {})", error.pos.1)
        },
    );
    let hint = if source.trim().is_empty() {
        "; an empty text is written ''"
    } else {
        ""
    };
    format!(
        "`{source}` is no CEL expression: {first}{hint}; a plain text is written with quotes inside, '…', or as {{\"$text\": …}}"
    )
}

struct Lowering<'n> {
    names: &'n Names<'n>,
    locals: Vec<String>,
    depth: usize,
}

impl Lowering<'_> {
    fn lower(&mut self, ast: &IdedExpr) -> Result<Ir, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!(
                "the expression nests deeper than {MAX_DEPTH} levels"
            ));
        }
        let ir = match &ast.expr {
            Ast::Literal(value) => literal(value).map(Ir::Literal),
            Ast::Ident(name) => self.variable(name),
            Ast::Select(select) if select.test => self.has(&select.operand, &select.field),
            Ast::Select(select) => self.select(&select.operand, &select.field),
            Ast::Call(call) => self.call(call),
            Ast::List(list) => list
                .elements
                .iter()
                .map(|item| self.lower(item))
                .collect::<Result<_, _>>()
                .map(Ir::List),
            Ast::Map(map) => self.map(map.entries.iter().map(|entry| &entry.expr)),
            Ast::Struct(message) => Err(format!(
                "there are no message types; `{}{{…}}` is not possible",
                message.type_name
            )),
            Ast::Comprehension(_) | Ast::Unspecified => Err("this form is not supported".into()),
        };
        self.depth -= 1;
        ir
    }

    fn variable(&self, name: &str) -> Result<Ir, String> {
        if let Some(slot) = self.locals.iter().rposition(|local| local == name) {
            return Ok(Ir::Local(slot));
        }
        match self.names.place(name) {
            Some(place) => Ok(Ir::Path {
                place,
                segments: Box::default(),
            }),
            None => Err(format!(
                "there is no variable `{name}`; known are {}",
                self.names.known()
            )),
        }
    }

    fn select(&mut self, owner: &IdedExpr, name: &str) -> Result<Ir, String> {
        let owner = self.lower(owner)?;
        self.extend(owner, name)
    }

    /// A field of a path is a longer path.
    fn extend(&self, owner: Ir, name: &str) -> Result<Ir, String> {
        match owner {
            Ir::Path {
                place: Place::Steps,
                ..
            } => Ok(Ir::Path {
                place: Place::Step(self.names.step(name, None)?),
                segments: Box::default(),
            }),
            Ir::Path {
                place: Place::Step(_),
                segments,
            } if segments.is_empty() && name != "output" => Err(format!(
                "a step has only `output`, not `{name}`: write steps.<id>.output"
            )),
            Ir::Path { place, segments } => {
                let segments = segments
                    .into_vec()
                    .into_iter()
                    .chain([Box::from(name)])
                    .collect();
                Ok(Ir::Path { place, segments })
            }
            owner => Ok(Ir::Select(Box::new(owner), name.into())),
        }
    }

    fn has(&mut self, owner: &IdedExpr, name: &str) -> Result<Ir, String> {
        let owner = self.lower(owner)?;
        // Checks the name of a step; what a step has is asked at run time.
        if let Ir::Path {
            place: Place::Steps,
            ..
        } = &owner
        {
            self.names.step(name, None)?;
        }
        Ok(Ir::Has(Box::new(owner), name.into()))
    }

    fn call(&mut self, call: &CallExpr) -> Result<Ir, String> {
        let name = call.func_name.as_str();
        if let Some(target) = &call.target
            && let Some(kind) = fold_kind(name)
        {
            return self.fold(kind, target, &call.args);
        }
        let mut operands: Vec<&IdedExpr> = call.target.as_deref().into_iter().collect();
        operands.extend(&call.args);
        match (name, operands.as_slice()) {
            ("has", [argument]) => match &argument.expr {
                Ast::Select(select) if !select.test => self.has(&select.operand, &select.field),
                _ => Err("has() takes a field, as in has(input.name)".into()),
            },
            ("today", []) => match self.variable("run") {
                Ok(run) => self.extend(run, "today"),
                Err(_) => Err("today() is the day of a run; there is none here".into()),
            },
            ("!_", [inner]) => Ok(Ir::Not(Box::new(self.lower(inner)?))),
            ("-_", [inner]) => Ok(Ir::Negate(Box::new(self.lower(inner)?))),
            ("_&&_", [left, right]) => Ok(Ir::And(
                Box::new(self.lower(left)?),
                Box::new(self.lower(right)?),
            )),
            ("_||_", [left, right]) => Ok(Ir::Or(
                Box::new(self.lower(left)?),
                Box::new(self.lower(right)?),
            )),
            ("_?_:_", [condition, yes, no]) => Ok(Ir::Cond(Box::new([
                self.lower(condition)?,
                self.lower(yes)?,
                self.lower(no)?,
            ]))),
            ("_[_]", [owner, index]) => self.index(owner, index),
            ("dyn", [inner]) => self.lower(inner),
            ("default", [value, fallback]) => Ok(Ir::Default(
                Box::new(self.lower(value)?),
                Box::new(self.lower(fallback)?),
            )),
            (_, [left, right]) if Operator::parse(name).is_some() => match Operator::parse(name) {
                Some(operator) => Ok(Ir::Binary(
                    operator,
                    Box::new(self.lower(left)?),
                    Box::new(self.lower(right)?),
                )),
                None => Err(format!("there is no operator `{name}`")),
            },
            (_, operands) => {
                let arguments = operands
                    .iter()
                    .map(|operand| self.lower(operand))
                    .collect::<Result<Vec<_>, _>>()?;
                let function = Function::resolve(name, &arguments)?;
                Ok(Ir::Call(function, arguments))
            }
        }
    }

    fn index(&mut self, owner: &IdedExpr, index: &IdedExpr) -> Result<Ir, String> {
        let (owner, index) = (self.lower(owner)?, self.lower(index)?);
        match (owner, index) {
            (owner @ Ir::Path { .. }, Ir::Literal(Value::String(name))) => {
                self.extend(owner, &name)
            }
            (owner, index) => Ok(Ir::Index(Box::new(owner), Box::new(index))),
        }
    }

    fn map<'e>(&mut self, entries: impl Iterator<Item = &'e EntryExpr>) -> Result<Ir, String> {
        entries
            .map(|entry| match entry {
                EntryExpr::MapEntry(entry) => {
                    Ok((self.lower(&entry.key)?, self.lower(&entry.value)?))
                }
                EntryExpr::StructField(_) => Err("this form is not supported".to_string()),
            })
            .collect::<Result<_, _>>()
            .map(Ir::Map)
    }

    fn fold(
        &mut self,
        kind: FoldKind,
        target: &IdedExpr,
        arguments: &[IdedExpr],
    ) -> Result<Ir, String> {
        let (variable, guard, body) =
            match (kind, arguments) {
                (_, [variable, body]) => (variable, None, body),
                (FoldKind::Map, [variable, guard, body]) => (variable, Some(guard), body),
                _ => return Err(
                    "a comprehension takes a variable and an expression, as in input.map(x, x + 1)"
                        .into(),
                ),
            };
        let Ast::Ident(variable) = &variable.expr else {
            return Err("the first argument of a comprehension is the name of its variable, as in input.map(x, x + 1)".into());
        };
        let range = self.lower(target)?;
        if self.locals.len() >= MAX_FOLDS {
            return Err(format!(
                "comprehensions nest deeper than {MAX_FOLDS} levels"
            ));
        }
        let slot = self.locals.len();
        self.locals.push(variable.clone());
        let parts = guard
            .map(|guard| self.lower(guard))
            .transpose()
            .and_then(|guard| Ok((guard, self.lower(body)?)));
        self.locals.truncate(slot);
        let (guard, body) = parts?;
        Ok(Ir::Fold(Box::new(Fold {
            kind,
            range,
            slot,
            guard,
            body,
        })))
    }
}

fn fold_kind(name: &str) -> Option<FoldKind> {
    Some(match name {
        "all" => FoldKind::All,
        "exists" => FoldKind::Exists,
        "exists_one" | "existsOne" => FoldKind::ExistsOne,
        "map" => FoldKind::Map,
        "filter" => FoldKind::Filter,
        _ => return None,
    })
}

fn literal(value: &LiteralValue) -> Result<Value, String> {
    Ok(match value {
        LiteralValue::Boolean(yes) => Value::Bool(*yes.inner()),
        LiteralValue::Int(number) => (*number.inner()).into(),
        LiteralValue::UInt(number) => (*number.inner()).into(),
        LiteralValue::Double(number) => Number::from_f64(*number.inner())
            .map(Value::Number)
            .ok_or("a number must be finite")?,
        LiteralValue::String(text) => Value::String(text.inner().to_string()),
        LiteralValue::Null => Value::Null,
        LiteralValue::Bytes(_) => return Err("there are no byte strings; write a text".into()),
    })
}
