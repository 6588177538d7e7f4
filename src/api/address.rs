//! Addresses that somebody writes down and that calls go to later: held to the rule at once, so that the error names the field.

use super::{
    ApiState,
    error::{ApiError, ApiResult},
};
use serde_json::Value;

/// Fields of an integration's definition that hold addresses which are called.
const CALLED: [&str; 7] = [
    "base_url",
    "base",
    "token_url",
    "refresh_url",
    "revoke_url",
    "introspect_url",
    "url",
];
/// Parts of it that hold no addresses, whatever they look like.
const SCHEMAS: [&str; 2] = ["input", "output"];

/// # Errors
/// `invalid_field`: why the address will not be called.
pub async fn check(api: &ApiState, field: &str, url: &str) -> ApiResult<()> {
    let checked = api.core().http.check_address(url).await;
    checked.map_err(|error| ApiError::field(field, format!("`{field}` {error}")))
}

/// Every address of an integration's definition that does not depend on the account; those that do are held to the rule with each call.
///
/// # Errors
/// As [`check`].
pub async fn check_all(api: &ApiState, definition: &Value) -> ApiResult<()> {
    for (field, url) in addresses(definition) {
        check(api, &field, &url).await?;
    }
    Ok(())
}

/// (path, address), for example (`auth[0].token_url`, `https://…`).
fn addresses(definition: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), definition)];
    while let Some((place, value)) = open.pop() {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields
                    .iter()
                    .filter(|(name, _)| !SCHEMAS.contains(&&***name))
                {
                    let dot = if place.is_empty() { "" } else { "." };
                    let place = format!("{place}{dot}{name}");
                    match value {
                        Value::String(text) if CALLED.contains(&&**name) => {
                            if text.contains("://") && !text.contains('{') {
                                found.push((place, text.clone()));
                            }
                        }
                        value => open.push((place, value)),
                    }
                }
            }
            Value::Array(items) => {
                let items = items.iter().enumerate();
                open.extend(items.map(|(at, value)| (format!("{place}[{at}]"), value)));
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_called_is_found_wherever_it_stands() {
        let definition = json!({
            "base_url": "https://a.example",
            "docs": "https://docs.example",
            "auth": [{"kind": "api_key"}, {"token_url": "https://b.example/token", "authorize_url": "https://c.example"}],
            "capabilities": [{
                "input": {"properties": {"url": {"url": "https://no.example"}}},
                "request": {"base": "https://d.example", "path": "/x"},
            }],
            "verify": {"request": {"base": "https://{account.x}.example"}},
        });
        let mut found = addresses(&definition);
        found.sort();
        let expected = [
            ("auth[1].token_url", "https://b.example/token"),
            ("base_url", "https://a.example"),
            ("capabilities[0].request.base", "https://d.example"),
        ];
        assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
