//! `tenure connections`: the accounts that are connected.

use super::{
    client::segment,
    output::{Column, Format, Output, field, moment, text_at, time, yaml},
    remote::RemoteArgs,
};
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "\
Example:
  tenure connections
  tenure connections show conn_…
  tenure connections probe conn_…
  tenure connections delete conn_…

`tenure connect INTEGRATION` adds one, and mends one that needs a new consent.",
    args_conflicts_with_subcommands = true
)]
pub struct ConnectionsArgs {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Only those of this integration
    #[arg(long)]
    integration: Option<String>,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show a connection; never its secrets
    Show {
        /// The connection's id, conn_…
        id: String,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Ask the provider at once whether the account still works
    Probe {
        /// The connection's id, conn_…
        id: String,
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Remove a connection; what waits for it waits on
    Delete {
        /// The connection's id, conn_…
        id: String,
        #[command(flatten)]
        remote: RemoteArgs,
    },
}

/// # Errors
/// There is no such connection, or the service says no.
pub async fn run(args: ConnectionsArgs, out: Output) -> anyhow::Result<()> {
    match &args.verb {
        None => list(&args, out).await,
        Some(Verb::Show { id, remote }) => {
            let path = format!("/v1/connections/{}", segment(id));
            let connection = remote.client()?.get(&path, &[]).await?;
            match out.format {
                Format::People => out.line(described(&connection, out))?,
                _ => out.thing(&connection, "id", "")?,
            }
            Ok(())
        }
        Some(Verb::Probe { id, remote }) => {
            let path = format!("/v1/connections/{}/probe", segment(id));
            let connection = remote.client()?.post(&path, &[], &json!({})).await?;
            let word = |pointer: &str| connection.pointer(pointer).and_then(Value::as_str);
            let state = word("/health/state").unwrap_or("unknown");
            let text = match word("/health/error") {
                Some(error) => format!("connection {id} is {state}: {error}"),
                None => format!("connection {id} is {state}"),
            };
            out.thing(&connection, "id", text)?;
            Ok(())
        }
        Some(Verb::Delete { id, remote }) => {
            let path = format!("/v1/connections/{}", segment(id));
            remote.client()?.delete(&path).await?;
            let text = format!("connection {id} is removed");
            out.thing(&json!({"id": id, "deleted": true}), "id", text)?;
            Ok(())
        }
    }
}

/// What its connector is doing, in a few words.
fn calls(connection: &Value) -> String {
    let connector = &connection["connector"];
    let number = |name: &str| connector[name].as_u64().unwrap_or(0);
    let mut words = Vec::new();
    if number("open") > 0 {
        words.push(format!("{} open", number("open")));
    }
    if number("waiting") > 0 {
        words.push(format!("{} waiting", number("waiting")));
    }
    match text_at(connector, "breaker").as_str() {
        "" | "closed" => {}
        state => words.push(format!("breaker {}", state.replace('_', " "))),
    }
    match (words.is_empty(), connector["awake"].as_bool()) {
        (true, Some(true)) => "idle".into(),
        (true, _) => "asleep".into(),
        _ => words.join(", "),
    }
}

/// A connection as people read it: what it is, its limits, and who waits.
fn described(connection: &Value, out: Output) -> String {
    let mut plain = connection.clone();
    let connector = plain["connector"].take();
    if let Some(fields) = plain.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    let mut parts = vec![yaml(&plain)];
    let quotas = connector["quotas"].as_array();
    if let Some(quotas) = quotas.filter(|quotas| !quotas.is_empty()) {
        let limit: Column<'_> = (
            "LIMIT",
            Box::new(|quota| {
                let (requests, seconds) = (&quota["requests"], &quota["per_seconds"]);
                format!("{requests} in {seconds} s, {} at once", quota["burst"])
            }),
        );
        let announced: Column<'_> = (
            "PROVIDER SAYS",
            Box::new(|quota| match text_at(quota, "announced.left").as_str() {
                "" => "-".into(),
                left => format!(
                    "{left} left until {}",
                    moment(&text_at(quota, "announced.until"))
                ),
            }),
        );
        let learned: Column<'_> = (
            "LEARNED",
            Box::new(|quota| match text_at(quota, "learned.limit").as_str() {
                "" => "-".into(),
                most => format!("{most} in {} s", text_at(quota, "learned.per_seconds")),
            }),
        );
        let columns = [
            field("OF", "of"),
            field("CAPABILITY", "capability"),
            limit,
            field("LEFT", "left"),
            announced,
            learned,
            time("HELD BACK UNTIL", "held_back_until"),
        ];
        parts.push(out.table(quotas, &columns));
    }
    parts.push(format!("calls: {}", calls(connection)));
    let places = connector["places"].as_array();
    if let Some(places) = places.filter(|places| !places.is_empty()) {
        let columns = [
            field("EMPLOYEE", "employee"),
            field("WAITING", "waiting"),
            field("BEFORE IT", "place"),
            field("ABOUT MS", "estimate_ms"),
            field("CAPABILITY", "capability"),
        ];
        parts.push(out.table(places, &columns));
    }
    parts.join("\n\n")
}

async fn list(args: &ConnectionsArgs, out: Output) -> anyhow::Result<()> {
    let query: Vec<(&str, &str)> = args
        .integration
        .iter()
        .map(|integration| ("integration", integration.as_str()))
        .collect();
    let items = args.remote.client()?.all("/v1/connections", &query).await?;
    let columns = [
        field("ID", "id"),
        field("INTEGRATION", "integration"),
        field("NAME", "name"),
        field("STATUS", "status"),
        field("HEALTH", "health.state"),
        field("OWNER", "owner"),
        field("ACCOUNT", "account_name"),
        time("RENEWED", "refreshed_at"),
        time("TOKEN UNTIL", "expires_at"),
        ("CALLS", Box::new(calls)),
    ];
    out.list(&json!({"items": items, "next": null}), "id", &columns)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_shows_its_limits_and_who_waits() {
        let connection = json!({
            "id": "conn_1", "integration": "slack", "reauth": null,
            "connector": {
                "awake": true, "open": 2, "waiting": 7, "breaker": "half_open",
                "quotas": [
                    {"of": "account", "requests": 50, "per_seconds": 60, "burst": 20, "left": 3,
                     "held_back_until": null, "learned": {"limit": 40, "per_seconds": 60},
                     "announced": {"left": 1, "until": "2026-01-31T09:00:00.000Z"}},
                    {"of": "account", "capability": "slack.conversations.list", "requests": 20, "per_seconds": 60,
                     "burst": 10, "left": 10, "held_back_until": null, "learned": null, "announced": null},
                ],
                "places": [{"employee": "emp_1", "waiting": 7, "place": 0, "estimate_ms": 1200}],
            },
        });
        let plain = Output::PLAIN;
        let text = described(&connection, plain);
        for wanted in [
            "50 in 60 s, 20 at once",
            "1 left until 2026-01-31 09:00:00",
            "40 in 60 s",
            "slack.conversations.list",
            "calls: 2 open, 7 waiting, breaker half open",
            "emp_1",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        assert!(!text.contains("reauth"), "{text}");
        let asleep = json!({"connector": {"awake": false, "breaker": "closed"}});
        assert_eq!(calls(&asleep), "asleep");
    }
}
