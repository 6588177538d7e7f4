//! `tenure rebalance`: employees go where they should be, after nodes have come or weights have changed.

use super::{
    output::{Output, field},
    remote::RemoteArgs,
};
use serde_json::Value;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure rebalance

A node that is new takes only employees that wake; this moves the others too, each when it is between two steps.")]
pub struct RebalanceArgs {
    #[command(flatten)]
    remote: RemoteArgs,
}

/// # Errors
/// The service does not answer, or is one node alone.
pub async fn run(args: RebalanceArgs, out: Output) -> anyhow::Result<()> {
    let client = args.remote.client()?;
    let moved = client.post("/v1/rebalance", &[], &Value::Null).await?;
    let columns = [
        field("NODE", "name"),
        field("GAVE AWAY", "moved"),
        field("ERROR", "error"),
    ];
    Ok(out.list(&moved, "node_id", &columns)?)
}
