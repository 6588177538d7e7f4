//! QuickBooks' query language, from conditions that were checked: what a caller sends is always a quoted literal in it.

use super::request::BadParams;
use serde_json::{Map, Value};

const PAGE: u64 = 1_000;

/// `select * from Invoice where … orderby … startposition … maxresults …`
///
/// # Errors
/// A value that has no literal in the query language.
pub fn invoice_query(with: &Map<String, Value>) -> Result<String, BadParams> {
    let mut conditions = Vec::new();
    if with.get("unpaid") == Some(&Value::Bool(true)) {
        conditions.push("Balance > '0'".to_owned());
    }
    for (name, column, operator) in [
        ("balance_over", "Balance", ">"),
        ("due_before", "DueDate", "<"),
        ("due_after", "DueDate", ">"),
        ("customer_id", "CustomerRef", "="),
        ("doc_number", "DocNumber", "="),
        ("changed_since", "MetaData.LastUpdatedTime", ">="),
    ] {
        if let Some(value) = with.get(name) {
            conditions.push(format!("{column} {operator} {}", literal(name, value)?));
        }
    }
    for (place, further) in with
        .get("where")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
    {
        conditions.push(condition(further, &format!("where[{place}]"))?);
    }
    let mut query = "select * from Invoice".to_owned();
    if !conditions.is_empty() {
        query.push_str(" where ");
        query.push_str(&conditions.join(" and "));
    }
    if let Some(column) = with.get("order_by").and_then(Value::as_str) {
        query.push_str(&format!(" orderby {}", word("order_by", column)?));
        query.push_str(if with.get("descending") == Some(&Value::Bool(true)) {
            " desc"
        } else {
            ""
        });
    }
    let number =
        |name: &str, default: u64| with.get(name).and_then(Value::as_u64).unwrap_or(default);
    query.push_str(&format!(
        " startposition {} maxresults {}",
        number("start_position", 1),
        number("max_results", PAGE)
    ));
    Ok(query)
}

/// The schema allows known fields and operators only; that is checked again here, where it matters.
fn condition(further: &Value, field: &str) -> Result<String, BadParams> {
    let part = |name: &str| further[name].as_str().unwrap_or_default();
    let column = word(field, part("field"))?;
    let operator = part("operator");
    if !["=", "<", ">", "<=", ">=", "LIKE", "IN"].contains(&operator) {
        return Err(BadParams::new(
            format!("{field}.operator"),
            "must be =, <, >, <=, >=, LIKE or IN",
        ));
    }
    let value_field = format!("{field}.value");
    let value = match (&further["value"], operator) {
        (Value::Array(items), "IN") if !items.is_empty() => {
            let items: Result<Vec<_>, _> = items
                .iter()
                .map(|item| literal(&value_field, item))
                .collect();
            format!("({})", items?.join(", "))
        }
        (_, "IN") => {
            return Err(BadParams::new(
                value_field,
                "must be a list with at least one value",
            ));
        }
        (value, _) => literal(&value_field, value)?,
    };
    Ok(format!("{column} {operator} {value}"))
}

/// A field, or one of a field's own: `MetaData.LastUpdatedTime`.
fn word<'a>(field: &str, text: &'a str) -> Result<&'a str, BadParams> {
    let is_name =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let fits = text.split('.').count() <= 2 && text.split('.').all(is_name);
    if fits {
        Ok(text)
    } else {
        Err(BadParams::new(field, "must be the name of a field"))
    }
}

/// A quoted literal; quotes and backslashes in it are escaped with a backslash.
fn literal(field: &str, value: &Value) -> Result<String, BadParams> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Err(BadParams::new(field, "must be a text or a number")),
    };
    if text.chars().any(char::is_control) {
        return Err(BadParams::new(field, "must not have control characters"));
    }
    Ok(format!(
        "'{}'",
        text.replace('\\', "\\\\").replace('\'', "\\'")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn query(with: Value) -> Result<String, BadParams> {
        invoice_query(with.as_object().unwrap())
    }

    #[test]
    fn conditions_become_a_query() {
        let late = json!({"balance_over": 500, "due_before": "2026-10-22", "order_by": "DueDate", "max_results": 100});
        let cases = [
            (
                json!({}),
                "select * from Invoice startposition 1 maxresults 1000",
            ),
            (
                late,
                "select * from Invoice where Balance > '500' and DueDate < '2026-10-22' orderby DueDate startposition 1 maxresults 100",
            ),
            (
                json!({"unpaid": true, "where": [{"field": "Id", "operator": "IN", "value": ["1", 2]}], "start_position": 11}),
                "select * from Invoice where Balance > '0' and Id IN ('1', '2') startposition 11 maxresults 1000",
            ),
            (
                json!({"doc_number": "O'Hara\\' or 1=1"}),
                "select * from Invoice where DocNumber = 'O\\'Hara\\\\\\' or 1=1' startposition 1 maxresults 1000",
            ),
        ];
        for (with, expected) in cases {
            assert_eq!(query(with).unwrap(), expected);
        }
    }

    #[test]
    fn changes_are_asked_for_by_their_time() {
        let asked = query(json!({
            "changed_since": "2026-01-31T09:00:00Z", "order_by": "MetaData.LastUpdatedTime",
            "where": [{"field": "MetaData.CreateTime", "operator": ">", "value": "2026-01-01"}],
        }));
        assert_eq!(
            asked.unwrap(),
            "select * from Invoice where MetaData.LastUpdatedTime >= '2026-01-31T09:00:00Z' and MetaData.CreateTime > '2026-01-01' \
             orderby MetaData.LastUpdatedTime startposition 1 maxresults 1000"
        );
        for odd in ["MetaData.", ".Id", "a.b.c", "Id desc"] {
            assert!(query(json!({"order_by": odd})).is_err(), "{odd}");
        }
    }

    #[test]
    fn what_has_no_literal_is_refused() {
        for (with, field) in [
            (json!({"customer_id": "a\nb"}), "customer_id"),
            (
                json!({"where": [{"field": "Id or 1", "operator": "=", "value": "1"}]}),
                "where[0]",
            ),
            (
                json!({"where": [{"field": "Id", "operator": "in", "value": "1"}]}),
                "where[0].operator",
            ),
            (
                json!({"where": [{"field": "Id", "operator": "IN", "value": []}]}),
                "where[0].value",
            ),
            (
                json!({"where": [{"field": "Id", "operator": "=", "value": ["1"]}]}),
                "where[0].value",
            ),
        ] {
            assert_eq!(query(with).unwrap_err().field, field);
        }
    }
}
