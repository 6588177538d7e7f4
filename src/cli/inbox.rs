//! `tenure inbox`: what came from outside and what became of it; with an id, one event.

use super::{
    client::segment,
    output::{Column, Output, field, indent, shorten, text_at, time, yaml},
    remote::RemoteArgs,
};
use crate::cli::output::note;
use crate::domain::InboxId;
use serde_json::Value;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure inbox
  tenure inbox --source 'hook:slack*' --verdict filtered
  tenure inbox --search \"invoice 1042\"
  tenure inbox inb_01jz…

What was left out by mistake can be given again when the subscription is mended: tenure replay ID")]
pub struct InboxArgs {
    /// Id of an event, to see all of it
    id: Option<InboxId>,
    /// Where it came from: hook:slack*, poll:mail; * at the end stands for any rest
    #[arg(long)]
    source: Option<String>,
    /// What became of it
    #[arg(long, value_parser = ["pending", "accepted", "own_message", "filtered", "no_subscription", "refused", "unreadable", "bad_signature", "duplicate", "replayed"])]
    verdict: Option<String>,
    /// What happened, for example app_mention
    #[arg(long)]
    kind: Option<String>,
    /// A text that stands somewhere in it
    #[arg(long)]
    search: Option<String>,
    /// Received at this time or later, for example 2025-06-09T18:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Received before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
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
/// There is no such event, or the service does not answer.
pub async fn run(args: InboxArgs, out: Output) -> anyhow::Result<()> {
    let client = args.remote.client()?;
    if let Some(id) = args.id {
        let path = format!("/v1/inbox/{}", segment(&id.to_string()));
        let event = client.get(&path, &[]).await?;
        out.thing(&event, "id", shown(&event, out))?;
        return Ok(());
    }
    let limit = args.limit.to_string();
    let mut query = vec![("limit", limit.as_str())];
    for (name, value) in [
        ("source", &args.source),
        ("verdict", &args.verdict),
        ("kind", &args.kind),
        ("search", &args.search),
        ("since", &args.since),
        ("until", &args.until),
        ("after", &args.after),
    ] {
        query.extend(value.as_deref().map(|value| (name, value)));
    }
    let page = client.get("/v1/inbox", &query).await?;
    if out.is_for_people() && page["items"].as_array().is_none_or(Vec::is_empty) {
        out.line("nothing came that fits")?;
        return Ok(());
    }
    let remark: Column<'_> = ("", Box::new(remark));
    let columns = [
        field("EVENT", "id"),
        time("RECEIVED", "received_at"),
        field("SOURCE", "source"),
        field("KIND", "kind"),
        field("VERDICT", "verdict"),
        remark,
    ];
    out.list(&page, "id", &columns)?;
    if let (true, Some(next)) = (out.is_for_people(), page["next"].as_str()) {
        note!("more: --after {next}");
    }
    Ok(())
}

/// What is worth a word beside the verdict.
fn remark(event: &Value) -> String {
    const WIDTH: usize = 60;
    let mut words = Vec::new();
    let runs = event["triggered"].as_array().map_or(0, Vec::len);
    match runs {
        0 => {}
        1 => words.push("1 run".to_owned()),
        many => words.push(format!("{many} runs")),
    }
    let count = |field: &str| event[field].as_i64().unwrap_or_default();
    if count("deliveries") > 1 {
        words.push(format!("came {} times", count("deliveries")));
    }
    if count("replays") > 0 {
        words.push(format!("given again {} times", count("replays")));
    }
    let detail = text_at(event, "detail");
    if !detail.is_empty() {
        words.push(detail);
    }
    shorten(&words.join(", "), WIDTH)
}

fn shown(event: &Value, out: Output) -> String {
    let mut head = event.clone();
    let payload = head
        .as_object_mut()
        .and_then(|fields| fields.remove("payload"))
        .unwrap_or_default();
    format!(
        "{}\n{}\n{}",
        yaml(&head).trim_end(),
        out.bold("payload"),
        indent(&yaml(&payload), 2)
    )
}
