//! The declarative templates of the catalog: any JSON in which strings may point at values.
//!
//! - `"{input.channel}"` alone is the value itself, with its type; where it does not exist the field is left out.
//! - `"/customer/{input.id}"` is text with the value in it; where it does not exist the whole text is left out.
//! - `{{` and `}}` stand for braces.
//! - `{ $get: input.limit, default: 100 }` is the value, or the default.
//! - `{ $build: NAME, with: TEMPLATE }` hands a value to one of the [`Builder`]s, for what JSON alone cannot say.
//!
//! There are paths and no expressions: what a request contains can be read off the file, every path is checked when the
//! catalog is loaded, and nothing that a caller sends is ever evaluated.

use super::{quickbooks, request::BadParams, rfc822};
use serde_json::{Map, Value};

/// The words that a path may start with.
pub const ROOTS: [&str; 9] = [
    "input",
    "account",
    "credential",
    "effect_key",
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
    Value(Reference),
}

/// What turns a value into one that JSON templates cannot describe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Builder {
    /// A mail as base64url of RFC 822 text: [`rfc822::build`].
    Rfc822,
    /// A query over invoices: [`quickbooks::invoice_query`].
    QuickbooksInvoiceQuery,
}

impl Builder {
    fn named(name: &str) -> Option<Self> {
        match name {
            "rfc822" => Some(Self::Rfc822),
            "quickbooks_invoice_query" => Some(Self::QuickbooksInvoiceQuery),
            _ => None,
        }
    }
    fn build(self, with: &Map<String, Value>) -> Result<String, BadParams> {
        match self {
            Self::Rfc822 => rfc822::build(with),
            Self::QuickbooksInvoiceQuery => quickbooks::invoice_query(with),
        }
    }
}

/// A parsed template.
#[derive(Clone, Debug)]
pub struct Template(Node);

#[derive(Clone, Debug)]
enum Node {
    Literal(Value),
    Value {
        reference: Reference,
        default: Option<Value>,
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
        parse_node(source).map(Self)
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
            Node::Value { reference, default } => {
                scope.get(reference).or(default.as_ref()).cloned()
            }
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
                Some(Value::Object(with)) => Some(Value::String(builder.build(&with)?)),
                _ => Some(Value::String(builder.build(&Map::new())?)),
            },
        })
    }

    fn collect<'a>(&'a self, found: &mut Vec<&'a Reference>) {
        match self {
            Node::Literal(_) => {}
            Node::Value { reference, .. } => found.push(reference),
            Node::Text(pieces) => found.extend(pieces.iter().filter_map(|piece| match piece {
                Piece::Value(reference) => Some(reference),
                Piece::Text(_) => None,
            })),
            Node::Object(fields) => fields.iter().for_each(|(_, field)| field.collect(found)),
            Node::Array(items) => items.iter().for_each(|item| item.collect(found)),
            Node::Build { with, .. } => with.collect(found),
        }
    }
}

fn render_pieces(pieces: &[Piece], scope: &Scope) -> Option<String> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(fixed) => text.push_str(fixed),
            Piece::Value(reference) => text.push_str(&as_text(scope.get(reference)?)),
        }
    }
    Some(text)
}

fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn parse_node(source: &Value) -> Result<Node, String> {
    match source {
        Value::String(text) => parse_text(text),
        Value::Array(items) => items
            .iter()
            .map(parse_node)
            .collect::<Result<_, _>>()
            .map(Node::Array),
        Value::Object(object) if object.contains_key("$get") => parse_get(object),
        Value::Object(object) if object.contains_key("$build") => parse_build(object),
        Value::Object(object) => object
            .iter()
            .map(|(name, field)| Ok((name.clone(), parse_node(field)?)))
            .collect::<Result<_, String>>()
            .map(Node::Object),
        other => Ok(Node::Literal(other.clone())),
    }
}

fn parse_get(object: &Map<String, Value>) -> Result<Node, String> {
    let path = object["$get"].as_str().ok_or("`$get` takes a path")?;
    if let Some(odd) = object
        .keys()
        .find(|key| !["$get", "default"].contains(&key.as_str()))
    {
        return Err(format!("`$get` knows no `{odd}`"));
    }
    Ok(Node::Value {
        reference: parse_reference(path)?,
        default: object.get("default").cloned(),
    })
}

fn parse_build(object: &Map<String, Value>) -> Result<Node, String> {
    let name = object["$build"].as_str().ok_or("`$build` takes a name")?;
    let builder = Builder::named(name).ok_or_else(|| format!("no builder is named `{name}`"))?;
    let with = object.get("with").ok_or("`$build` wants `with`")?;
    Ok(Node::Build {
        builder,
        with: Box::new(parse_node(with)?),
    })
}

fn parse_reference(path: &str) -> Result<Reference, String> {
    let mut words = path.split('.').map(str::to_owned);
    let root = words.next().unwrap_or_default();
    if !ROOTS.contains(&root.as_str()) {
        return Err(format!(
            "`{path}` does not start with one of {}",
            ROOTS.join(", ")
        ));
    }
    let keys: Vec<_> = words.collect();
    if keys.iter().any(String::is_empty) {
        return Err(format!("`{path}` has an empty part"));
    }
    Ok(Reference { root, keys })
}

fn parse_text(text: &str) -> Result<Node, String> {
    let mut pieces = Vec::new();
    let mut fixed = String::new();
    let mut rest = text;
    while let Some(place) = rest.find(['{', '}']) {
        fixed.push_str(&rest[..place]);
        let brace = &rest[place..];
        if brace.starts_with("{{") || brace.starts_with("}}") {
            fixed.push_str(&brace[..1]);
            rest = &brace[2..];
            continue;
        }
        let end = brace.find('}').filter(|_| brace.starts_with('{'));
        let end = end.ok_or_else(|| format!("a brace without its partner in `{text}`"))?;
        if !fixed.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut fixed)));
        }
        pieces.push(Piece::Value(parse_reference(brace[1..end].trim())?));
        rest = &brace[end + 1..];
    }
    fixed.push_str(rest);
    if pieces.is_empty() {
        return Ok(Node::Literal(Value::String(fixed)));
    }
    if !fixed.is_empty() {
        pieces.push(Piece::Text(fixed));
    }
    match <[Piece; 1]>::try_from(pieces) {
        Ok([Piece::Value(reference)]) => Ok(Node::Value {
            reference,
            default: None,
        }),
        Ok(one) => Ok(Node::Text(one.into())),
        Err(several) => Ok(Node::Text(several)),
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
        ] {
            let found = Template::parse(&template).unwrap_err();
            assert!(found.starts_with(expected), "{found}");
        }
    }
}
