//! From one page of a result to the next. Pure.

use super::catalog::{Capability, Pagination};
use serde_json::{Map, Value};

/// The arguments of the next page, if the capability has pages and this was not the last.
pub fn next_page(capability: &Capability, arguments: &Value, output: &Value) -> Option<Value> {
    let pagination = capability.pagination.as_ref()?;
    let items = output.get(pagination.items())?.as_array()?;
    let next = match pagination {
        Pagination::Cursor { cursor, .. } => match output.get(cursor)? {
            Value::Null => return None,
            Value::String(text) if text.is_empty() => return None,
            cursor => cursor.clone(),
        },
        Pagination::Offset {
            argument,
            first,
            size,
            ..
        } => {
            is_full(capability, arguments, items, size).then_some(())?;
            (number(arguments, argument).unwrap_or(*first) + items.len() as u64).into()
        }
        Pagination::Page {
            argument,
            first,
            size,
            ..
        } => {
            is_full(capability, arguments, items, size).then_some(())?;
            (number(arguments, argument).unwrap_or(*first) + 1).into()
        }
        Pagination::Last { last, more, .. } => {
            (output.get(more)? == &Value::Bool(true)).then_some(())?;
            items.last()?.pointer(last)?.clone()
        }
    };
    let mut arguments = match arguments {
        Value::Object(arguments) => arguments.clone(),
        _ => Map::new(),
    };
    arguments.insert(pagination.argument().into(), next);
    Some(Value::Object(arguments))
}

fn number(arguments: &Value, name: &str) -> Option<u64> {
    arguments.get(name)?.as_u64()
}

fn is_full(capability: &Capability, arguments: &Value, items: &[Value], size: &str) -> bool {
    let default = || capability.input["properties"][size]["default"].as_u64();
    let wanted = number(arguments, size).or_else(default);
    !items.is_empty() && wanted.is_some_and(|wanted| items.len() as u64 >= wanted)
}
