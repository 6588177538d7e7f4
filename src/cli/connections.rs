//! `tenure connections`: the accounts that are connected.

use super::{
    client::segment,
    output::{Format, Output, field, time, yaml},
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
                Format::People => out.line(yaml(&connection))?,
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
        time("TOKEN UNTIL", "expires_at"),
    ];
    out.list(&json!({"items": items, "next": null}), "id", &columns)?;
    Ok(())
}
