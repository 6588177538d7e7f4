//! `tenure connect`: makes a connect link, opens it, and waits until the account is connected.

use super::{
    client::{Client, segment},
    exit::Failure,
    output::{Output, moment, text_at},
    remote::RemoteArgs,
};
use crate::config::parse_duration;
use serde_json::{Value, json};
use std::{io::IsTerminal, process::Stdio, time::Duration};
use tokio::time::{Instant, sleep};

const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure connect slack
  tenure connect gmail --user ann@acme.test --no-browser
  tenure connect slack --connection conn_…

It makes a link that is good once, opens it in the browser (or prints it, to be sent to whoever owns the account), and waits. The person
consents at the provider, or types a key; they need no account here.
With --json it prints two lines: the link, with its `url`, and then the connection.")]
pub struct ConnectArgs {
    /// Id in the catalog, for example slack
    integration: String,
    /// Name of the connection
    #[arg(long, conflicts_with = "connection")]
    name: Option<String>,
    /// The user to whom it belongs, instead of the org
    #[arg(long, conflicts_with = "connection")]
    user: Option<String>,
    /// A connection that is there already and needs a new consent
    #[arg(long, value_name = "ID")]
    connection: Option<String>,
    /// Print the link and do not open it
    #[arg(long)]
    no_browser: bool,
    /// Print the link and do not wait
    #[arg(long)]
    no_wait: bool,
    /// How long to wait
    #[arg(long, default_value = "15m", value_parser = parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// # Errors
/// There is no such integration, or nobody connected the account in time.
pub async fn run(args: ConnectArgs, out: Output) -> anyhow::Result<()> {
    let client = args.remote.client()?;
    let link = client
        .post("/v1/connect-links", &[], &wanted(&args))
        .await?;
    let url = text_at(&link, "url");
    match out.is_for_people() {
        true => out.line(format!("Open this link, it is good once:\n\n  {url}\n"))?,
        false => out.thing(&link, "url", "")?,
    }
    if !args.no_browser && out.is_for_people() && std::io::stdout().is_terminal() {
        open(&url);
    }
    if args.no_wait {
        return Ok(());
    }
    let connection = wait(&client, &link, args.timeout).await?;
    out.thing(&connection, "id", told(&connection))?;
    Ok(())
}

fn wanted(args: &ConnectArgs) -> Value {
    let mut body = json!({"integration": args.integration});
    for (field, value) in [
        ("name", &args.name),
        ("user", &args.user),
        ("connection_id", &args.connection),
    ] {
        if let Some(value) = value {
            body[field] = json!(value);
        }
    }
    body
}

async fn wait(client: &Client, link: &Value, patience: Duration) -> anyhow::Result<Value> {
    let path = format!("/v1/connect-links/{}", segment(&text_at(link, "id")));
    let end = Instant::now() + patience;
    loop {
        let now = client.get(&path, &[]).await?;
        match now["status"].as_str() {
            Some("completed") => {
                let id = text_at(&now, "connection_id");
                let path = format!("/v1/connections/{}", segment(&id));
                return Ok(client.get(&path, &[]).await?);
            }
            Some("expired") => return Err(Failure::failed("the link expired before it was used")),
            _ if Instant::now() >= end => {
                return Err(Failure::failed(
                    "nobody connected the account in time; the link stays good until it expires",
                ));
            }
            _ => sleep(LOOK_EVERY).await,
        }
    }
}

/// What was got, in words.
pub fn told(connection: &Value) -> String {
    let mut lines = vec![format!(
        "{} is connected{}: {}",
        text_at(connection, "integration"),
        match text_at(connection, "account_name") {
            name if name.is_empty() => String::new(),
            name => format!(" as {name}"),
        },
        text_at(connection, "id"),
    )];
    let scopes: Vec<&str> = connection["scopes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if !scopes.is_empty() {
        lines.push(format!("  may      {}", scopes.join(" ")));
    }
    let expires = text_at(connection, "expires_at");
    if !expires.is_empty() {
        let renewed = match connection["refresh_due_at"].is_null() {
            true => ", and then somebody has to connect it again",
            false => ", and is renewed by itself",
        };
        lines.push(format!("  token    until {}{renewed}", moment(&expires)));
    }
    lines.join("\n")
}

/// Asks the desktop to open it. Where there is none the person has the printed link.
fn open(url: &str) {
    let program = if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    let _ = std::process::Command::new(program)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_got_is_said() {
        let connection = json!({
            "id": "conn_1", "integration": "slack", "account_name": "Acme", "scopes": ["chat:write"],
            "expires_at": "2026-01-31T09:00:00.000Z", "refresh_due_at": "2026-01-31T08:55:00.000Z",
        });
        assert_eq!(
            told(&connection),
            "slack is connected as Acme: conn_1\n  may      chat:write\n  token    until 2026-01-31 09:00:00, and is renewed by itself"
        );
        let plain = json!({"id": "conn_1", "integration": "stripe", "account_name": null, "scopes": [], "expires_at": null});
        assert_eq!(told(&plain), "stripe is connected: conn_1");
    }
}
