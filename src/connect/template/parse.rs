//! From JSON to a template.

use super::{Node, Piece, ROOTS, Reference, build::Builder};
use serde_json::{Map, Value};

pub(super) fn node(source: &Value) -> Result<Node, String> {
    match source {
        Value::String(written) => text(written),
        Value::Array(items) => items
            .iter()
            .map(node)
            .collect::<Result<_, _>>()
            .map(Node::Array),
        Value::Object(object) if object.contains_key("$get") => get(object),
        Value::Object(object) if object.contains_key("$each") => each(object),
        Value::Object(object) if object.contains_key("$if") => when(object),
        Value::Object(object) if object.contains_key("$build") => build(object),
        Value::Object(object) => object
            .iter()
            .map(|(name, field)| Ok((name.clone(), node(field)?)))
            .collect::<Result<_, String>>()
            .map(Node::Object),
        other => Ok(Node::Literal(other.clone())),
    }
}

fn get(object: &Map<String, Value>) -> Result<Node, String> {
    let path = object["$get"].as_str().ok_or("`$get` takes a path")?;
    only(object, "$get", &["at", "default"])?;
    let at = match object.get("at") {
        None => "",
        Some(Value::String(at)) if at.starts_with('/') => at,
        Some(_) => return Err("`at` of `$get` takes a JSON pointer".into()),
    };
    Ok(Node::Value {
        reference: reference(path)?,
        at: at.into(),
        default: object.get("default").cloned(),
    })
}

fn each(object: &Map<String, Value>) -> Result<Node, String> {
    let path = object["$each"].as_str().ok_or("`$each` takes a path")?;
    only(object, "$each", &["as"])?;
    let element = object.get("as").ok_or("`$each` wants `as`")?;
    Ok(Node::Each {
        reference: reference(path)?,
        element: Box::new(node(element)?),
    })
}

fn when(object: &Map<String, Value>) -> Result<Node, String> {
    let path = object["$if"].as_str().ok_or("`$if` takes a path")?;
    only(object, "$if", &["then"])?;
    let then = object.get("then").ok_or("`$if` wants `then`")?;
    Ok(Node::If {
        reference: reference(path)?,
        then: Box::new(node(then)?),
    })
}

fn build(object: &Map<String, Value>) -> Result<Node, String> {
    let name = object["$build"].as_str().ok_or("`$build` takes a name")?;
    only(object, "$build", &["with"])?;
    let builder = Builder::named(name).ok_or_else(|| format!("no builder is named `{name}`"))?;
    let with = object.get("with").ok_or("`$build` wants `with`")?;
    Ok(Node::Build {
        builder,
        with: Box::new(node(with)?),
    })
}

fn only(object: &Map<String, Value>, own: &str, known: &[&str]) -> Result<(), String> {
    match object
        .keys()
        .find(|key| *key != own && !known.contains(&key.as_str()))
    {
        Some(odd) => Err(format!("`{own}` knows no `{odd}`")),
        None => Ok(()),
    }
}

fn reference(path: &str) -> Result<Reference, String> {
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

fn text(source: &str) -> Result<Node, String> {
    let mut pieces = Vec::new();
    let mut fixed = String::new();
    let mut rest = source;
    while let Some(place) = rest.find(['{', '}']) {
        fixed.push_str(&rest[..place]);
        let brace = &rest[place..];
        if brace.starts_with("{{") || brace.starts_with("}}") {
            fixed.push_str(&brace[..1]);
            rest = &brace[2..];
            continue;
        }
        let end = brace.find('}').filter(|_| brace.starts_with('{'));
        let end = end.ok_or_else(|| format!("a brace without its partner in `{source}`"))?;
        if !fixed.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut fixed)));
        }
        let (path, default) = match brace[1..end].split_once('|') {
            Some((path, default)) => (path, Some(default.to_owned())),
            None => (&brace[1..end], None),
        };
        pieces.push(Piece::Value(reference(path.trim())?, default));
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
        Ok([Piece::Value(reference, default)]) => Ok(Node::Value {
            reference,
            at: String::new(),
            default: default.map(Value::String),
        }),
        Ok(one) => Ok(Node::Text(one.into())),
        Err(several) => Ok(Node::Text(several)),
    }
}
