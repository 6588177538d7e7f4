//! `tenure employees`: who works here.

use super::{
    output::{Output, field, time},
    remote::RemoteArgs,
};
use serde_json::json;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure employees
  tenure employees -q | xargs -n1 tenure show")]
pub struct EmployeesArgs {
    #[command(flatten)]
    remote: RemoteArgs,
}

/// # Errors
/// The service does not answer.
pub async fn run(args: EmployeesArgs, out: Output) -> anyhow::Result<()> {
    let items = args.remote.client()?.all("/v1/employees", &[]).await?;
    if items.is_empty() && out.is_for_people() {
        out.line("nobody is employed yet: tenure hire FILE")?;
        return Ok(());
    }
    let columns = [
        field("NAME", "name"),
        field("ID", "id"),
        field("VERSION", "version"),
        field("STATUS", "status"),
        time("HIRED", "created_at"),
    ];
    out.list(&json!({"items": items, "next": null}), "id", &columns)?;
    Ok(())
}
