//! From what a person types to what the API knows.

use super::{client::Client, exit::Failure};
use crate::domain::EmployeeId;
use serde_json::Value;
use std::collections::HashMap;

/// The employee's id for its id or its name.
///
/// # Errors
/// There is none of this name; the names that there are stand in the error.
pub async fn employee_id(client: &Client, given: &str) -> anyhow::Result<String> {
    if given.parse::<EmployeeId>().is_ok() {
        return Ok(given.to_owned());
    }
    let employees = client.all("/v1/employees", &[]).await?;
    let found = employees.iter().find(|employee| employee["name"] == given);
    if let Some(id) = found.and_then(|employee| employee["id"].as_str()) {
        return Ok(id.to_owned());
    }
    Err(Failure::not_found(format!(
        "there is no employee `{given}`{}",
        known(&employees)
    )))
}

/// Names by id.
///
/// # Errors
/// The service does not answer.
pub async fn employee_names(client: &Client) -> anyhow::Result<HashMap<String, String>> {
    let employees = client.all("/v1/employees", &[]).await?;
    Ok(employees
        .iter()
        .filter_map(|employee| {
            let text = |name: &str| employee[name].as_str().map(str::to_owned);
            Some((text("id")?, text("name")?))
        })
        .collect())
}

fn known(employees: &[Value]) -> String {
    const SHOWN: usize = 10;
    let names: Vec<&str> = employees
        .iter()
        .filter_map(|employee| employee["name"].as_str())
        .take(SHOWN)
        .collect();
    match names.len() {
        0 => "; nobody is employed yet, `tenure hire FILE` changes that".into(),
        _ => format!("; there is {}", names.join(", ")),
    }
}
