//! `tenure nodes`: the processes that are the service.

use super::{
    output::{Column, Format, Output, field, text_at},
    remote::RemoteArgs,
};
use crate::cli::output::note;
use serde_json::Value;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure nodes
  tenure nodes --json | jq -r '.items[] | select(.state == \"alive\") | .url'

The key must be an admin's of the org that `operator_org` of the service names; an only org need not be named.")]
pub struct NodesArgs {
    #[command(flatten)]
    remote: RemoteArgs,
}

/// # Errors
/// The service does not answer, or the key is no operator's.
pub async fn run(args: NodesArgs, out: Output) -> anyhow::Result<()> {
    let list = args.remote.client()?.get("/v1/nodes", &[]).await?;
    out.list(&list, "node_id", &columns())?;
    let missing: Vec<&str> = list["missing"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if out.format == Format::People && !missing.is_empty() {
        note!("no answer from {}", missing.join(", "));
    }
    Ok(())
}

fn columns<'a>() -> Vec<Column<'a>> {
    vec![
        field("NAME", "name"),
        field("STATE", "state"),
        field("AWAKE", "status.awake"),
        field("OWNS", "status.owned"),
        ("LEASE", Box::new(lease)),
        field("URL", "url"),
        ("ROLES", Box::new(roles)),
        field("WEIGHT", "weight"),
        field("ZONE", "zone"),
        field("BUILD", "build"),
        field("ID", "node_id"),
    ]
}

/// How long it is still good for.
fn lease(node: &Value) -> String {
    match node["lease_left_ms"].as_u64() {
        _ if node["state"] == "dead" => "-".into(),
        None | Some(0) => "over".into(),
        Some(millis) => format!("{:.1} s", millis as f64 / 1_000.0),
    }
}

fn roles(node: &Value) -> String {
    let words = node["roles"].as_array().into_iter().flatten();
    let words: Vec<&str> = words.filter_map(Value::as_str).collect();
    match words.is_empty() {
        true => "-".into(),
        false => words.join(","),
    }
}

/// The node with this name or id in the answer of `/v1/nodes`.
pub fn named<'a>(list: &'a Value, node: &str) -> Option<&'a Value> {
    let items = list["items"].as_array()?;
    items
        .iter()
        .find(|item| text_at(item, "node_id") == node || text_at(item, "name") == node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_in_a_row() {
        let list = json!({"items": [{
            "node_id": "id", "name": "a", "state": "alive", "url": "http://a", "build": "1", "zone": "", "weight": 100,
            "roles": ["api", "worker"], "lease_left_ms": 9_400, "status": {"awake": 3, "owned": 12, "draining": false},
        }]});
        let items = list["items"].as_array().expect("a list");
        let table = Output::PLAIN.table(items, &columns());
        let row = table.lines().nth(1).expect("a row");
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(
            words,
            [
                "a",
                "alive",
                "3",
                "12",
                "9.4",
                "s",
                "http://a",
                "api,worker",
                "100",
                "-",
                "1",
                "id"
            ]
        );
        assert!(named(&list, "a").is_some() && named(&list, "id").is_some());
        assert!(named(&list, "b").is_none());
    }
}
