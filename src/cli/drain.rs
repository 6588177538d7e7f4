//! `tenure drain`: a node gives its employees to the others, before it is stopped or looked at.

use super::{
    client::{Client, segment},
    exit::Failure,
    nodes::named,
    output::Output,
    remote::RemoteArgs,
};
use crate::cli::output::note;
use crate::config::parse_duration;
use serde_json::Value;
use std::{io::IsTerminal, time::Duration};
use tokio::time::{Instant, sleep};

const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure drain node-2 --wait

The node goes on answering requests, by asking the others; it takes employees again when it is started anew. SIGTERM does the same and
ends the process. The last node that could take employees is not drained.")]
pub struct DrainArgs {
    /// Name or id of the node
    node: String,
    /// Wait until nothing lives there any more
    #[arg(long)]
    wait: bool,
    /// How long to wait at most
    #[arg(long, default_value = "5m", value_parser = parse_duration, requires = "wait")]
    timeout: Duration,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// # Errors
/// The service does not answer, there is no such node, or it is not empty in time.
pub async fn run(args: DrainArgs, out: Output) -> anyhow::Result<()> {
    let client = args.remote.client()?;
    let path = format!("/v1/nodes/{}/drain", segment(&args.node));
    let mut begun = client.post(&path, &[], &Value::Null).await?;
    let name = begun["name"].as_str().unwrap_or(&args.node).to_owned();
    if !args.wait {
        let text =
            format!("node {name} gives away what lives there; `tenure nodes` shows how far it is");
        return Ok(out.thing(&begun, "node_id", text)?);
    }
    wait_until_empty(&client, &args.node, &name, args.timeout).await?;
    begun["owned"] = 0.into();
    Ok(out.thing(
        &begun,
        "node_id",
        format!("nothing lives on node {name} any more"),
    )?)
}

async fn wait_until_empty(
    client: &Client,
    node: &str,
    name: &str,
    timeout: Duration,
) -> anyhow::Result<()> {
    let give_up = Instant::now() + timeout;
    let mut shown = None;
    loop {
        let list = client.get("/v1/nodes", &[]).await?;
        let left = match left(&list, node) {
            Some(0) => return Ok(()),
            left => left,
        };
        if left.is_some() && left != shown && std::io::stderr().is_terminal() {
            note!("node {name}: {} left", left.unwrap_or_default());
            shown = left;
        }
        if Instant::now() > give_up {
            return Err(Failure::failed(match left {
                Some(left) => format!("after {timeout:?}, {left} still live on node {name}"),
                None => format!("after {timeout:?}, node {name} does not say what lives there"),
            }));
        }
        sleep(BETWEEN_LOOKS).await;
    }
}

/// What still lives there; `None`: it does not say.
fn left(list: &Value, node: &str) -> Option<u64> {
    match named(list, node) {
        // It has left meanwhile, with nothing.
        None => Some(0),
        Some(row) if row["state"] == "dead" => Some(0),
        Some(row) => row["status"]["owned"].as_u64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_left() {
        let list = json!({"items": [
            {"name": "a", "state": "draining", "status": {"owned": 3}},
            {"name": "b", "state": "alive", "status": null},
            {"name": "c", "state": "dead", "status": null},
        ]});
        for (node, expected) in [("a", Some(3)), ("b", None), ("c", Some(0)), ("d", Some(0))] {
            assert_eq!(left(&list, node), expected, "{node}");
        }
    }
}
