//! `tenure approve`: what waits for a person, and the person's answer, which is bound to exactly what was shown.

use super::{
    client::{Client, segment},
    exit::Failure,
    follow::{self, Until},
    names,
    output::{Output, field, indent, shorten, text_at, time, yaml},
    progress::slow,
    remote::RemoteArgs,
    shell,
};
use crate::domain::{ApprovalId, ExecutionId, Timestamp};
use serde_json::{Map, Value, json};
use std::io::{IsTerminal, Write};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure approve
  tenure approve clerk
  tenure approve apr_01jz… --comment \"go on\"
  tenure approve apr_01jz… --deny --comment \"not this week\"

Without a name it lists what waits. It shows the exact arguments and decides about those: if they have changed since,
the decision is refused (exit code 4). Then it tells what happens next.")]
pub struct ApproveArgs {
    /// Id of an approval; or an employee or a run that waits for one
    target: Option<String>,
    /// Say no
    #[arg(long, requires = "target")]
    deny: bool,
    /// Kept with the decision
    #[arg(long, requires = "target")]
    comment: Option<String>,
    /// Do not ask again on a terminal
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// # Errors
/// Nothing or too much waits, the arguments have changed, or the run fails afterwards.
pub async fn run(args: ApproveArgs, out: Output) -> anyhow::Result<()> {
    let client = args.remote.client()?;
    let Some(target) = &args.target else {
        return list(&client, out).await;
    };
    let approval = find(&client, target).await?;
    if out.is_for_people() {
        out.line(shown(&approval, out))?;
    }
    let is_named = target.parse::<ApprovalId>().is_ok();
    if out.is_for_people() && !is_named && !args.yes && !confirmed(args.deny)? {
        return Err(Failure::failed("nothing was decided"));
    }
    let id = text_at(&approval, "id");
    let path = format!("/v1/approvals/{}/decision", segment(&id));
    let body = decision(&approval, args.deny, args.comment.as_deref());
    let decided = slow("deciding", client.post(&path, &[], &body)).await?;
    let word = if args.deny { "denied" } else { "approved" };
    out.thing(&decided, "id", out.bold(word))?;
    if out.is_for_people() && decided["asked_by"].is_null() {
        let execution = text_at(&approval, "execution_id");
        let since = Timestamp::parse(&text_at(&decided, "decided_at"));
        return follow::follow(&client, out, &execution, Until::Attention, since).await;
    }
    Ok(())
}

async fn list(client: &Client, out: Output) -> anyhow::Result<()> {
    let items = client
        .all("/v1/approvals", &[("status", "pending")])
        .await?;
    if !out.is_for_people() {
        out.list(&json!({"items": items, "next": null}), "id", &[])?;
        return Ok(());
    }
    if items.is_empty() {
        out.line("nothing waits for approval")?;
        return Ok(());
    }
    out.line(table(&items, out))?;
    out.line(format!(
        "\nDecide: {} approve ID [--deny]",
        shell::program()
    ))?;
    Ok(())
}

fn table(items: &[Value], out: Output) -> String {
    const WIDTH: usize = 70;
    let columns = [
        field("ID", "id"),
        time("ASKED", "asked_at"),
        time("EXPIRES", "expires_at"),
        (
            "QUESTION",
            Box::new(|item: &Value| shorten(&text_at(item, "title"), WIDTH)) as Box<_>,
        ),
    ];
    out.table(items, &columns)
}

/// The one approval that is meant.
async fn find(client: &Client, target: &str) -> anyhow::Result<Value> {
    if target.parse::<ApprovalId>().is_ok() {
        let path = format!("/v1/approvals/{}", segment(target));
        return Ok(client.get(&path, &[]).await?);
    }
    let of_whom = match target.parse::<ExecutionId>() {
        Ok(run) => ("execution_id", run.to_string()),
        Err(_) => ("employee_id", names::employee_id(client, target).await?),
    };
    let query = [("status", "pending"), (of_whom.0, of_whom.1.as_str())];
    let mut pending = client.all("/v1/approvals", &query).await?;
    match (pending.pop(), pending.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => Err(Failure::not_found(format!(
            "nothing of {target} waits for approval"
        ))),
        (Some(last), false) => {
            pending.push(last);
            let ids: Vec<String> = pending.iter().map(|item| text_at(item, "id")).collect();
            Err(Failure::usage(format!(
                "{} approvals of {target} wait, name one: {}",
                ids.len(),
                ids.join(", ")
            )))
        }
    }
}

fn shown(approval: &Value, out: Output) -> String {
    format!(
        "{}\n{}",
        out.bold(&text_at(approval, "title")),
        indent(&yaml(&approval["arguments"]), 2)
    )
}

/// Asks on a terminal; where there is nobody to ask, the command line has said it.
fn confirmed(deny: bool) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(true);
    }
    let verb = if deny { "Deny" } else { "Approve" };
    let mut terminal = std::io::stderr();
    write!(terminal, "{verb} this? [y/N] ")?;
    terminal.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn decision(approval: &Value, deny: bool, comment: Option<&str>) -> Value {
    let mut body = Map::new();
    let word = if deny { "deny" } else { "approve" };
    body.insert("decision".into(), json!(word));
    body.insert("arguments_hash".into(), approval["arguments_hash"].clone());
    if let Some(comment) = comment {
        body.insert("comment".into(), json!(comment));
    }
    Value::Object(body)
}
