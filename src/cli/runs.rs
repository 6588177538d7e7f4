//! `tenure runs`: what was done, the newest first.

use super::{
    names,
    output::{Column, Output, field, shorten, text_at, time},
    remote::RemoteArgs,
};
use crate::cli::output::note;
use serde_json::Value;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure runs
  tenure runs --employee clerk --status waiting
  tenure runs --status failed -q | xargs -n1 tenure show")]
pub struct RunsArgs {
    /// Name or id of an employee
    #[arg(long)]
    employee: Option<String>,
    /// accepted, running, waiting, completed, failed or cancelled
    #[arg(long, value_parser = ["accepted", "running", "waiting", "completed", "failed", "cancelled"])]
    status: Option<String>,
    /// How many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    /// Go on after this cursor: `next` of the page before
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// # Errors
/// There is no such employee, or the service does not answer.
pub async fn run(args: RunsArgs, out: Output) -> anyhow::Result<()> {
    let client = args.remote.client()?;
    let employee = match &args.employee {
        Some(given) => Some(names::employee_id(&client, given).await?),
        None => None,
    };
    let limit = args.limit.to_string();
    let mut query = vec![("limit", limit.as_str())];
    for (name, value) in [
        ("employee_id", &employee),
        ("status", &args.status),
        ("after", &args.after),
    ] {
        query.extend(value.as_deref().map(|value| (name, value)));
    }
    let page = client.get("/v1/runs", &query).await?;
    if !out.is_for_people() {
        out.list(&page, "execution_id", &[])?;
        return Ok(());
    }
    if page["items"].as_array().is_none_or(Vec::is_empty) {
        out.line("no runs")?;
        return Ok(());
    }
    let names = names::employee_names(&client).await?;
    let employee: Column<'_> = (
        "EMPLOYEE",
        Box::new(|run| {
            let id = text_at(run, "employee_id");
            names.get(&id).cloned().unwrap_or(id)
        }),
    );
    let columns = [
        field("RUN", "execution_id"),
        employee,
        field("STATUS", "status"),
        time("ACCEPTED", "accepted_at"),
        ("", Box::new(remark)),
    ];
    out.list(&page, "execution_id", &columns)?;
    if let Some(next) = page["next"].as_str() {
        note!("more: --after {next}");
    }
    Ok(())
}

/// Why it failed, or what it waits for.
fn remark(run: &Value) -> String {
    const WIDTH: usize = 60;
    let error = text_at(run, "error.message");
    let waits = run
        .pointer("/waiting_on/0")
        .map(|wait| text_at(wait, "detail"));
    shorten(
        &waits.filter(|text| !text.is_empty()).unwrap_or(error),
        WIDTH,
    )
}
