//! The declarative templates of the catalog: any JSON in which strings may point at values.
//!
//! - `"{input.channel}"` alone is the value itself, with its type; where it does not exist the field is left out.
//! - `"/customer/{input.id}"` is text with the value in it; where it does not exist the whole text is left out.
//! - `"{input.calendar|primary}"` is the value, or the text after the bar where there is none.
//! - `{{` and `}}` stand for braces.
//! - `{ $get: input.limit, default: 100 }` is the value, or the default; with `at: /a.b/0` what a JSON pointer below it finds.
//! - `{ $each: input.to, as: TEMPLATE }` is a list, with `{item}` in the template standing for each element; a value that is no
//!   list counts as a list of one.
//! - `{ $if: input.note, then: TEMPLATE }` is the template where the value exists, and else nothing.
//! - `{ $build: NAME, with: TEMPLATE }` hands a value to one of the [`Builder`]s, for what JSON alone cannot say.
//!
//! There are paths and no expressions: what a request contains can be read off the file, every path is checked when the
//! catalog is loaded, and nothing that a caller sends is ever evaluated.

mod build;
mod parse;

use super::request::BadParams;
use build::Builder;
use serde_json::{Map, Value};

/// The words that a path may start with.
pub const ROOTS: [&str; 10] = [
    "input",
    "account",
    "credential",
    "effect_key",
    "step",
    "since",
    "lookup",
    "cursor",
    "item",
    "body",
];

/// A path into the scope, for example `input.channel`.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    pub root: String,
    pub keys: Vec<String>,
}

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Value(Reference, Option<String>),
}

/// A parsed template.
#[derive(Clone, Debug)]
pub struct Template(Node);

#[derive(Clone, Debug)]
enum Node {
    Literal(Value),
    Value {
        reference: Reference,
        /// A JSON pointer below it, empty for the value itself.
        at: String,
        default: Option<Value>,
    },
    Each {
        reference: Reference,
        element: Box<Node>,
    },
    If {
        reference: Reference,
        then: Box<Node>,
    },
    Text(Vec<Piece>),
    Object(Vec<(String, Node)>),
    Array(Vec<Node>),
    Build {
        builder: Builder,
        with: Box<Node>,
    },
}

/// The values that a template may point at, by root.
#[derive(Clone, Copy, Default)]
pub struct Scope<'a> {
    values: [Option<&'a Value>; ROOTS.len()],
}

impl<'a> Scope<'a> {
    pub fn new() -> Self {
        Self::default()
    }
    /// `root` is one of [`ROOTS`]; any other is ignored.
    pub fn with(mut self, root: &str, value: &'a Value) -> Self {
        if let Some(place) = ROOTS.iter().position(|known| *known == root) {
            self.values[place] = Some(value);
        }
        self
    }
    /// The value at a path; `null` counts as absent.
    fn get(&self, reference: &Reference) -> Option<&'a Value> {
        let place = ROOTS.iter().position(|known| *known == reference.root)?;
        let start = self.values[place]?;
        let found = reference
            .keys
            .iter()
            .try_fold(start, |value, key| value.get(key))?;
        (!found.is_null()).then_some(found)
    }
}

impl Template {
    /// # Errors
    /// A sentence that says what is wrong, with the text that it is about.
    pub fn parse(source: &Value) -> Result<Self, String> {
        parse::node(source).map(Self)
    }

    /// The value that the template stands for; `None` where it is a value or text that does not exist in `scope`.
    ///
    /// # Errors
    /// Only from builders.
    pub fn render(&self, scope: &Scope) -> Result<Option<Value>, BadParams> {
        self.0.render(scope)
    }

    /// As [`Template::render`], as text: strings as they are, everything else as JSON.
    pub fn render_text(&self, scope: &Scope) -> Result<Option<String>, BadParams> {
        Ok(self.render(scope)?.map(|value| as_text(&value)))
    }

    /// Whether a field of the object that it gives has a default, so that it is there whatever the scope has.
    pub fn makes_up(&self, field: &str) -> bool {
        let Node::Object(fields) = &self.0 else {
            return false;
        };
        let found = fields.iter().find(|(name, _)| name == field);
        matches!(
            found,
            Some((
                _,
                Node::Value {
                    default: Some(_),
                    ..
                }
            ))
        )
    }

    /// All paths in the template.
    pub fn references(&self) -> Vec<&Reference> {
        let mut found = Vec::new();
        self.0.collect(&mut found);
        found
    }
}

impl Node {
    fn render(&self, scope: &Scope) -> Result<Option<Value>, BadParams> {
        Ok(match self {
            Node::Literal(value) => Some(value.clone()),
            Node::Value {
                reference,
                at,
                default,
            } => scope
                .get(reference)
                .and_then(|value| value.pointer(at))
                .filter(|value| !value.is_null())
                .or(default.as_ref())
                .cloned(),
            Node::Each { reference, element } => match scope.get(reference) {
                None => None,
                Some(Value::Array(items)) => Some(render_each(items, element, scope)?),
                Some(one) => Some(render_each(std::slice::from_ref(one), element, scope)?),
            },
            Node::If { reference, then } => match scope.get(reference) {
                None => None,
                Some(_) => then.render(scope)?,
            },
            Node::Text(pieces) => render_pieces(pieces, scope).map(Value::String),
            Node::Array(items) => {
                let items: Result<Vec<_>, _> =
                    items.iter().map(|item| item.render(scope)).collect();
                Some(Value::Array(items?.into_iter().flatten().collect()))
            }
            Node::Object(fields) => {
                let mut object = Map::new();
                for (name, field) in fields {
                    if let Some(value) = field.render(scope)? {
                        object.insert(name.clone(), value);
                    }
                }
                Some(Value::Object(object))
            }
            Node::Build { builder, with } => match with.render(scope)? {
                Some(Value::Object(with)) => builder.build(&with)?,
                _ => builder.build(&Map::new())?,
            },
        })
    }

    fn collect<'a>(&'a self, found: &mut Vec<&'a Reference>) {
        match self {
            Node::Literal(_) => {}
            Node::Value { reference, .. } => found.push(reference),
            Node::Text(pieces) => found.extend(pieces.iter().filter_map(|piece| match piece {
                Piece::Value(reference, _) => Some(reference),
                Piece::Text(_) => None,
            })),
            Node::Object(fields) => fields.iter().for_each(|(_, field)| field.collect(found)),
            Node::Array(items) => items.iter().for_each(|item| item.collect(found)),
            Node::Build { with, .. } => with.collect(found),
            Node::If { reference, then } => {
                found.push(reference);
                then.collect(found);
            }
            Node::Each { reference, element } => {
                found.push(reference);
                let mut inside = Vec::new();
                element.collect(&mut inside);
                // Its own word, which means nothing outside.
                found.extend(inside.into_iter().filter(|one| one.root != "item"));
            }
        }
    }
}

fn render_each(items: &[Value], element: &Node, scope: &Scope) -> Result<Value, BadParams> {
    let mut rendered = Vec::with_capacity(items.len());
    for item in items {
        rendered.extend(element.render(&scope.with("item", item))?);
    }
    Ok(Value::Array(rendered))
}

fn render_pieces(pieces: &[Piece], scope: &Scope) -> Option<String> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(fixed) => text.push_str(fixed),
            Piece::Value(reference, default) => match scope.get(reference) {
                Some(value) => text.push_str(&as_text(value)),
                None => text.push_str(default.as_deref()?),
            },
        }
    }
    Some(text)
}

pub(crate) fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(template: Value, input: Value) -> Option<Value> {
        Template::parse(&template)
            .unwrap()
            .render(&Scope::new().with("input", &input))
            .unwrap()
    }

    #[test]
    fn values_keep_their_type_and_absent_ones_are_left_out() {
        let cases = [
            (json!("{input.n}"), json!({"n": 7}), Some(json!(7))),
            (json!("{input.n}"), json!({}), None),
            (json!("{input.n}"), json!({"n": null}), None),
            (json!("n={input.n}!"), json!({"n": 7}), Some(json!("n=7!"))),
            (json!("n={input.n}!"), json!({}), None),
            (json!("n={input.n|0}!"), json!({}), Some(json!("n=0!"))),
            (json!("{input.n|0}"), json!({}), Some(json!("0"))),
            (
                json!({"a": "{input.a}", "b": "{input.b}"}),
                json!({"a": [1]}),
                Some(json!({"a": [1]})),
            ),
            (json!(["{input.a}", 2]), json!({}), Some(json!([2]))),
            (
                json!({"$get": "input.a", "default": 3}),
                json!({}),
                Some(json!(3)),
            ),
            (
                json!({"$get": "input.a.b"}),
                json!({"a": {"b": 1}}),
                Some(json!(1)),
            ),
            (
                json!({"$get": "input", "at": "/a.b/1"}),
                json!({"a.b": [1, 2]}),
                Some(json!(2)),
            ),
            (
                json!({"to": {"$each": "input.to", "as": {"address": "{item}"}}}),
                json!({"to": ["a", "b"]}),
                Some(json!({"to": [{"address": "a"}, {"address": "b"}]})),
            ),
            (
                json!({"$each": "input.to", "as": {"a": "{item.x}", "b": "{input.n}"}}),
                json!({"to": {"x": 1}, "n": 2}),
                Some(json!([{"a": 1, "b": 2}])),
            ),
            (
                json!({"$each": "input.to", "as": "{item}"}),
                json!({}),
                None,
            ),
            (
                json!({"$if": "input.to", "then": {"a": 1}}),
                json!({}),
                None,
            ),
            (
                json!({"$if": "input.to", "then": {"a": "{input.to}"}}),
                json!({"to": false}),
                Some(json!({"a": false})),
            ),
            (
                json!("{{input.n}}"),
                json!({"n": 7}),
                Some(json!("{input.n}")),
            ),
            (
                json!("{input.a}"),
                json!({"a": "{input.b}", "b": 1}),
                Some(json!("{input.b}")),
            ),
        ];
        for (template, input, expected) in cases {
            assert_eq!(render(template.clone(), input), expected, "{template}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (template, expected) in [
            (
                json!("{input.a"),
                "a brace without its partner in `{input.a`",
            ),
            (json!("a}"), "a brace without its partner in `a}`"),
            (
                json!("{nothing.a}"),
                "`nothing.a` does not start with one of",
            ),
            (json!("{input..a}"), "`input..a` has an empty part"),
            (
                json!({"$build": "x", "with": {}}),
                "no builder is named `x`",
            ),
            (
                json!({"$get": "input.a", "els": 1}),
                "`$get` knows no `els`",
            ),
            (json!({"$each": "input.a"}), "`$each` wants `as`"),
        ] {
            let found = Template::parse(&template).unwrap_err();
            assert!(found.starts_with(expected), "{found}");
        }
    }
}
