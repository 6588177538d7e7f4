//! Value templates: JSON in which every string is an expression.
//!
//! `{"$text": "…"}` is a rendered text, `{"$value": any}` is literal JSON, numbers, booleans and null stand for themselves, objects and
//! arrays recurse.

use super::{
    expr::{EvalError, Expr},
    scope::{Data, Names},
    text::{Text, TextSet},
};
use serde_json::{Map, Value};

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

    pub fn evaluate(&self, data: &Data<'_>) -> Result<Value, EvalError> {
        Ok(match self {
            Template::Literal(value) => value.clone(),
            Template::Expr(expr) => expr.evaluate(data)?,
            Template::Text(text) => Value::String(text.render(data)?),
            Template::List(items) => items
                .iter()
                .map(|item| item.evaluate(data))
                .collect::<Result<_, _>>()?,
            Template::Object(fields) => Value::Object(
                fields
                    .iter()
                    .map(|(key, field)| Ok((key.to_string(), field.evaluate(data)?)))
                    .collect::<Result<Map<_, _>, EvalError>>()?,
            ),
        })
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
