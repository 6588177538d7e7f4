//! `tenure replay`: gives an event of the inbox once more, to whom it concerns now.

use super::{
    client::segment,
    output::{Output, text_at},
    progress::slow,
    remote::RemoteArgs,
};
use crate::domain::InboxId;
use serde_json::json;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure inbox --verdict filtered -q | xargs -n1 tenure replay

It is routed as if it had just come: whoever listens now starts a new run, also who had it before.")]
pub struct ReplayArgs {
    /// Id of the event
    id: InboxId,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// # Errors
/// There is no such event, or it is being given already.
pub async fn run(args: ReplayArgs, out: Output) -> anyhow::Result<()> {
    let client = args.remote.client()?;
    let path = format!("/v1/inbox/{}/replay", segment(&args.id.to_string()));
    let event = slow("giving it again", client.post(&path, &[], &json!({}))).await?;
    let mut line = format!("{}: {}", args.id, text_at(&event, "verdict"));
    let detail = text_at(&event, "detail");
    if !detail.is_empty() {
        line += &format!(" ({detail})");
    }
    let replay = &event["replays"];
    let runs = event["triggered"].as_array().into_iter().flatten();
    for run in runs.filter(|run| run["replay"] == *replay) {
        line += &format!("\nrun {}", text_at(run, "execution_id"));
    }
    out.thing(&event, "id", line)?;
    Ok(())
}
