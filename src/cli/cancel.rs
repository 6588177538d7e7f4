//! `tenure cancel`: stops a run with everything below it.

use super::{client::segment, output::Output, progress::slow, remote::RemoteArgs};
use crate::domain::ExecutionId;
use serde_json::json;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure cancel 0198f0c4-7b1e-7abc-8def-0123456789ab --reason \"wrong customer\"

What the run has already done outside stays done; `tenure show RUN` lists it.")]
pub struct CancelArgs {
    /// Execution id of the run
    run: ExecutionId,
    /// Kept with the run
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// # Errors
/// There is no such run, or it is over.
pub async fn run(args: CancelArgs, out: Output) -> anyhow::Result<()> {
    let client = args.remote.client()?;
    let run = args.run.to_string();
    let body = match &args.reason {
        Some(reason) => json!({"reason": reason}),
        None => json!({}),
    };
    let path = format!("/v1/runs/{}/cancel", segment(&run));
    let cancelled = slow("cancelling", client.post(&path, &[], &body)).await?;
    out.thing(&cancelled, "execution_id", format!("run {run} is stopped"))?;
    Ok(())
}
