//! Which accounts an employee needs and the org does not have.

use crate::{
    actors::connector::connections::CONNECTION_ACTIVE,
    connect::Catalog,
    domain::EmployeeSpec,
    hire::MissingConnection,
    persistence::{DbError, LIMIT_MAX, Owners, PageRequest, Tx, connection_list},
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Integrations to which the org has a connection that may be used.
pub async fn connected(tx: &mut Tx) -> Result<Vec<String>, DbError> {
    let mut found = BTreeSet::new();
    let mut after: Option<String> = None;
    loop {
        let request = PageRequest::new(Some(LIMIT_MAX), after.as_deref())?;
        let page = connection_list(tx, None, Owners::OrgOnly, &request).await?;
        let usable = page
            .items
            .into_iter()
            .filter(|row| row.status == CONNECTION_ACTIVE);
        found.extend(usable.map(|row| row.integration));
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(found.into_iter().collect()),
        }
    }
}

/// The integrations that the skills use and that are not among `connected`, with the skill nodes that need them.
pub fn missing_connections(
    catalog: &Catalog,
    spec: &EmployeeSpec,
    connected: &[String],
) -> Vec<MissingConnection> {
    let mut needed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let nodes = spec.graph["nodes"].as_array().into_iter().flatten();
    for node in nodes {
        let (Some(id), Some(skill)) = (node["id"].as_str(), node["skill_graph"].as_str()) else {
            continue;
        };
        let mut integrations = BTreeSet::new();
        if let Some(graph) = spec.skill_graphs.get(skill) {
            collect(catalog, graph, &mut integrations);
        }
        for integration in integrations {
            if !connected.contains(&integration) {
                needed.entry(integration).or_default().push(id.to_owned());
            }
        }
    }
    let missing = needed.into_iter();
    missing
        .map(|(integration, needed_by)| MissingConnection {
            integration,
            needed_by,
        })
        .collect()
}

/// Integrations of the capabilities that stand in `value`: in `capability` of an action, also as the body of a `map`.
fn collect(catalog: &Catalog, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            let capability = fields.get("capability").and_then(Value::as_str);
            if let Some(facts) = capability.and_then(|id| catalog.facts(id)) {
                found.insert(facts.integration.to_owned());
            }
            fields
                .values()
                .for_each(|value| collect(catalog, value, found));
        }
        Value::Array(items) => items
            .iter()
            .for_each(|value| collect(catalog, value, found)),
        _ => {}
    }
}
