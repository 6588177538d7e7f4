//! Value templates: JSON in which every string is an expression.
//!
//! `{"$text": "…"}` is a rendered text, `{"$value": any}` is literal JSON, numbers, booleans and null stand for themselves, objects and
//! arrays recurse.

use super::{
    budget::{Budget, Size, key_units},
    expr::{EvalError, Expr},
    markup::Markup,
    scope::{Data, Names},
    text::{Text, TextSet},
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// How deep a template may nest.
const MAX_DEPTH: usize = 64;

#[derive(Clone, Debug)]
pub enum Template {
    Literal(Value),
    Expr(Expr),
    Text(Text),
    List(Box<[Template]>),
    Object(Box<[(Box<str>, Template)]>),
}

impl Template {
    /// # Errors
    /// All that is wrong, each with the JSON path inside the template (empty for its root).
    pub fn compile(
        spec: &Value,
        names: &Names<'_>,
        texts: &mut TextSet,
    ) -> Result<Template, Vec<(String, String)>> {
        let mut errors = Vec::new();
        let template = Compiler {
            names,
            texts,
            errors: &mut errors,
        }
        .compile(spec, "", 0);
        if errors.is_empty() {
            Ok(template)
        } else {
            Err(errors)
        }
    }

    /// The value as it is, all of it within one budget.
    ///
    /// # Errors
    /// What fails first in it, or that the value is too large to be kept.
    pub fn evaluate(&self, data: &Data<'_>, budget: &Budget) -> Result<Value, EvalError> {
        fit(self.part(data, budget)?)
    }

    fn part(&self, data: &Data<'_>, budget: &Budget) -> Result<Value, EvalError> {
        budget.charge(1)?;
        Ok(match self {
            Template::Literal(value) => {
                budget.charge_json(value)?;
                value.clone()
            }
            Template::Expr(expr) => expr.evaluate(data, budget)?,
            Template::Text(text) => Value::String(text.render(data, Markup::Plain, budget)?),
            Template::List(items) => items
                .iter()
                .map(|item| item.part(data, budget))
                .collect::<Result<_, _>>()?,
            Template::Object(fields) => Value::Object(
                fields
                    .iter()
                    .map(|(key, field)| {
                        budget.charge(key_units(key))?;
                        Ok((key.to_string(), field.part(data, budget)?))
                    })
                    .collect::<Result<Map<_, _>, EvalError>>()?,
            ),
        })
    }
}

impl Template {
    /// The value as its target has to get it: what the author wrote is markup, and what comes from data is escaped. In an expression the
    /// author's are its literal texts, where they stand for themselves, are joined by `+`, or chosen by `?:`; any other text is data.
    ///
    /// # Errors
    /// As [`Template::evaluate`].
    pub fn marked(
        &self,
        data: &Data<'_>,
        markup: Markup,
        budget: &Budget,
    ) -> Result<Value, EvalError> {
        fit(self.marked_part(data, markup, budget)?)
    }

    fn marked_part(
        &self,
        data: &Data<'_>,
        markup: Markup,
        budget: &Budget,
    ) -> Result<Value, EvalError> {
        budget.charge(1)?;
        Ok(match self {
            Template::Literal(_) => self.part(data, budget)?,
            Template::Expr(expr) => expr.marked(data, markup, budget)?,
            Template::Text(text) => Value::String(text.render(data, markup, budget)?),
            Template::List(items) => items
                .iter()
                .map(|item| item.marked_part(data, markup, budget))
                .collect::<Result<_, _>>()?,
            Template::Object(fields) => {
                let kind = fields.iter().find(|(key, _)| &**key == "type");
                let kind = kind.map(|(_, kind)| kind.part(data, budget)).transpose()?;
                let inner = markup.within(kind.as_ref().and_then(Value::as_str));
                Value::Object(
                    fields
                        .iter()
                        .map(|(key, field)| {
                            budget.charge(key_units(key))?;
                            let markup = if &**key == "text" { inner } else { markup };
                            Ok((key.to_string(), field.marked_part(data, markup, budget)?))
                        })
                        .collect::<Result<Map<_, _>, EvalError>>()?,
                )
            }
        })
    }

    /// The arguments among `markups`, as [`Template::marked`]; nothing for those that are not there.
    ///
    /// # Errors
    /// As [`Template::evaluate`].
    pub fn marked_arguments(
        &self,
        data: &Data<'_>,
        markups: &BTreeMap<String, Markup>,
        budget: &Budget,
    ) -> Result<Vec<(String, Value)>, EvalError> {
        let named = |name: &str| markups.get(name).copied();
        match self {
            Template::Object(fields) => fields
                .iter()
                .filter_map(|(name, field)| Some((name, field, named(name)?)))
                .map(|(name, field, markup)| {
                    Ok((name.to_string(), field.marked(data, markup, budget)?))
                })
                .collect(),
            // The author's words, all of them.
            Template::Literal(_) => Ok(Vec::new()),
            other => {
                let Value::Object(fields) = other.evaluate(data, budget)? else {
                    return Ok(Vec::new());
                };
                let marked = fields.into_iter().filter_map(|(name, value)| {
                    let markup = named(&name)?;
                    Some((name, markup.escape_all(value)))
                });
                Ok(marked.collect())
            }
        }
    }
}

/// # Errors
/// That it is too large or too deep to be kept in a run, with the limit.
fn fit(value: Value) -> Result<Value, EvalError> {
    match Size::of(&value).check() {
        Ok(()) => Ok(value),
        Err(why) => Err(EvalError::TooLarge(why)),
    }
}

struct Compiler<'c, 'n> {
    names: &'c Names<'n>,
    texts: &'c mut TextSet,
    errors: &'c mut Vec<(String, String)>,
}

impl Compiler<'_, '_> {
    fn compile(&mut self, spec: &Value, path: &str, depth: usize) -> Template {
        if depth > MAX_DEPTH {
            return self.refuse(
                path,
                format!("the template nests deeper than {MAX_DEPTH} levels"),
            );
        }
        match spec {
            Value::String(source) => match Expr::compile(source, self.names) {
                Ok(expr) => Template::Expr(expr),
                Err(message) => self.refuse(path, message),
            },
            Value::Array(items) => Template::List(
                items
                    .iter()
                    .enumerate()
                    .map(|(place, item)| self.compile(item, &format!("{path}[{place}]"), depth + 1))
                    .collect(),
            ),
            Value::Object(map) => self.object(map, path, depth),
            literal => Template::Literal(literal.clone()),
        }
    }

    fn object(&mut self, map: &Map<String, Value>, path: &str, depth: usize) -> Template {
        let special = map.keys().find(|key| key.starts_with('$'));
        match (special.map(String::as_str), map.len()) {
            (None, _) => Template::Object(
                map.iter().map(|(key, value)| (key.as_str().into(), self.compile(value, &format!("{path}.{key}"), depth + 1))).collect(),
            ),
            (Some("$value"), 1) => Template::Literal(map["$value"].clone()),
            (Some("$text"), 1) => match &map["$text"] {
                Value::String(source) => match self.texts.compile(source, self.names) {
                    Ok(text) => Template::Text(text),
                    Err(message) => self.refuse(path, message),
                },
                _ => self.refuse(path, "`$text` takes a string, the template of the text".into()),
            },
            (Some("$value" | "$text"), _) => self.refuse(path, "`$text` and `$value` stand alone in their object".into()),
            (Some(other), _) => {
                self.refuse(path, format!("`{other}` means nothing; `$text` and `$value` do, and a literal key with $ goes inside a `$value`"))
            }
        }
    }

    fn refuse(&mut self, path: &str, message: String) -> Template {
        self.errors.push((path.into(), message));
        Template::Literal(Value::Null)
    }
}
