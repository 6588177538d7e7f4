//! `tenure tell`: a direct command to an employee.

use super::{
    client::{Client, segment},
    exit::Failure,
    follow::{self, Until},
    names,
    output::{Format, Output, text_at},
    progress::slow,
    remote::RemoteArgs,
};
use crate::cli::output::note;
use serde_json::{Map, Value, json};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure tell clerk \"chase the late invoices\"
  tenure tell clerk --payload '{\"customer\":\"17\"}' --conversation customer-17 --wait
  id=$(tenure tell clerk \"chase the late invoices\" -q)

It tells what happens as it happens, and returns when the run is over or when it waits for somebody: the command that
approves is printed then. With --wait it stays until the run is over. What was told is durable before anything is
printed: stopping this command stops nothing.
With -q or --json it returns at once, with --wait when the run is over. Exit code 1 if the run failed.")]
pub struct TellArgs {
    /// Name or id
    employee: String,
    /// What to do, becomes the payload {"text": …}
    #[arg(required_unless_present = "payload", conflicts_with = "payload")]
    text: Option<String>,
    /// Payload as JSON instead of a text
    #[arg(long, value_name = "JSON", value_parser = parse_json)]
    payload: Option<Value>,
    /// Stay until the run is over, whoever it waits for
    #[arg(long)]
    wait: bool,
    /// Runs of one conversation are done in order
    #[arg(long, value_name = "KEY")]
    conversation: Option<String>,
    /// The same key twice is one run
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// # Errors
/// There is no such employee, it does not take the trigger, or the run failed.
pub async fn run(args: TellArgs, out: Output) -> anyhow::Result<()> {
    let client = args.remote.client()?;
    let employee = names::employee_id(&client, &args.employee).await?;
    let path = format!("/v1/employees/{}/triggers", segment(&employee));
    let body = Value::Object(request(&args));
    let accepted = slow("telling", client.post(&path, &[], &body)).await?;
    let execution = text_at(&accepted, "execution_id");
    if accepted["duplicate"] == true {
        note!("this was told before; its run is {execution}");
    }
    match (out.format, args.wait) {
        (Format::People, wait) => {
            let until = match wait {
                true => Until::Finished,
                false => Until::Attention,
            };
            follow::follow(&client, out, &execution, until, None).await
        }
        (_, false) => Ok(out.thing(&accepted, "execution_id", "")?),
        (_, true) => {
            let run = slow("working", finished(&client, &execution)).await?;
            out.thing(&run, "execution_id", "")?;
            follow::conclude(out, &run)
        }
    }
}

fn request(args: &TellArgs) -> Map<String, Value> {
    let payload = match (&args.payload, &args.text) {
        (Some(payload), _) => payload.clone(),
        (None, text) => json!({"text": text}),
    };
    let mut body = Map::from_iter([("payload".to_owned(), payload)]);
    for (field, value) in [
        ("conversation_key", &args.conversation),
        ("idempotency_key", &args.idempotency_key),
    ] {
        if let Some(value) = value {
            body.insert(field.into(), json!(value));
        }
    }
    body
}

/// Waits for the end in silence, for programs.
async fn finished(client: &Client, execution: &str) -> anyhow::Result<Value> {
    const EVERY: std::time::Duration = std::time::Duration::from_millis(250);
    let path = format!("/v1/runs/{}", segment(execution));
    loop {
        let run = client.get(&path, &[]).await?;
        match run["status"].as_str() {
            Some("completed" | "failed" | "cancelled") => return Ok(run),
            Some(_) => tokio::time::sleep(EVERY).await,
            None => return Err(Failure::failed("the service gave a run without a status")),
        }
    }
}

fn parse_json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))
}
