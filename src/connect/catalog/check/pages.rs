//! The pagination of a capability: its names are those of arguments and of the output.

use crate::connect::catalog::Pagination;
use serde_json::Value;

pub(super) fn check(pagination: &Pagination, input: &Value, output: &Value) -> Result<(), String> {
    let argument = |name: &str| match input["properties"].get(name) {
        Some(_) => Ok(()),
        None => Err(format!("pagination: `{name}` is no argument")),
    };
    let field = |name: &str| match output["properties"].get(name) {
        Some(_) => Ok(()),
        None => Err(format!("pagination: `{name}` is no field of the output")),
    };
    field(pagination.items())?;
    argument(pagination.argument())?;
    match pagination {
        Pagination::Cursor { cursor, more, .. } => {
            field(cursor)?;
            more.as_deref().map_or(Ok(()), field)
        }
        Pagination::Offset { size, .. } | Pagination::Page { size, .. } => {
            argument(size)?;
            match input["properties"][size]["default"].as_u64() {
                Some(_) => Ok(()),
                None => Err(format!(
                    "pagination: `{size}` has no default, so that nobody knows when a page is full"
                )),
            }
        }
        Pagination::Last { last, more, .. } => {
            field(more)?;
            match last.starts_with('/') {
                true => Ok(()),
                false => Err(format!("pagination: `{last}` is no JSON pointer")),
            }
        }
    }
}
