//! `tenure sandbox`: Slack, QuickBooks, Gmail, GitHub and Stripe as real HTTP, for tests of one's own.

use super::{node::told_to_stop, output::Output};
use crate::{actors::Clock, sandbox::Sandbox, telemetry};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::{net::SocketAddr, path::PathBuf};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure sandbox --listen 127.0.0.1:7118
  curl 'http://127.0.0.1:7118/record?integration=gmail'

Failures, of the API or of the token endpoint (latency, status_429, status_500, hang, close_after_accept; for the API also answers with
status 200 that are none of success: error_200, limit_200, token_200 are not carried out, empty_200 and html_200 are):
  curl http://127.0.0.1:7118/faults -d '{\"integration\":\"slack\",\"kind\":\"status_429\",\"count\":2}'
  curl http://127.0.0.1:7118/faults -d '{\"integration\":\"slack\",\"target\":\"token\",\"kind\":\"latency\",\"ms\":10000}'

Limits, with the headers of slack, github, hubspot, ietf or none; GET says who was let through:
  curl http://127.0.0.1:7118/quotas -d '{\"integration\":\"github\",\"requests\":60,\"per_seconds\":60,\"headers\":\"github\"}'

OAuth, at /oauth/INTEGRATION/authorize, /token and /revoke; /oauth/log has every token request:
  curl http://127.0.0.1:7118/oauth/settings -d '{\"integration\":\"slack\",\"access_ttl_seconds\":60,\"rotate_refresh\":true,
    \"clients\":[{\"client_id\":\"app\",\"client_secret\":\"hush\",\"redirect_uris\":[\"http://127.0.0.1:7117/oauth/callback/slack\"]}]}'
  curl http://127.0.0.1:7118/oauth/expire -d '{\"integration\":\"slack\"}'
  curl http://127.0.0.1:7118/oauth/revoke_grant -d '{\"integration\":\"slack\"}'

Signed events and webhooks, sent for real (also /slack/click, /slack/command, /slack/url_verification, /stripe/deliver):
  curl http://127.0.0.1:7118/slack/send_event -d '{\"url\":\"http://127.0.0.1:7117/…\",\"signing_secret\":\"…\",\"retries\":true,
    \"event\":{\"type\":\"app_mention\",\"channel\":\"C0FINANCE\",\"user\":\"U0MAYA\",\"text\":\"hello\"}}'
  curl http://127.0.0.1:7118/github/deliver -d '{\"url\":\"…\",\"secret\":\"…\",\"event\":\"issues\",\"payload\":{\"action\":\"opened\"}}'

With --json it prints one line when it is ready: {\"sandbox_url\":…,\"accounts\":[…]}.")]
pub struct SandboxArgs {
    /// Where to listen; port 0 takes any free port
    #[arg(long, default_value = "127.0.0.1:7118", value_name = "ADDR")]
    listen: SocketAddr,
    /// Where the record of requests and the grants are kept
    #[arg(long, default_value = ".tenure-sandbox", value_name = "DIR")]
    data: PathBuf,
}

/// # Errors
/// The address is taken or the record cannot be read.
pub async fn run(args: SandboxArgs, out: Output) -> anyhow::Result<()> {
    telemetry::log::init("warn", false)?;
    let today = Clock::system().now().to_chrono().date_naive();
    let sandbox = Sandbox::start(args.listen, args.data, today).await?;
    let accounts: Vec<Value> = sandbox
        .all_accounts()
        .iter()
        .map(|at| {
            json!({"integration": at.integration, "base_url": at.account.base_url, "token": at.token.expose_secret(), "data": at.account.data})
        })
        .collect();
    if out.is_for_people() {
        out.line(format!("The sandbox is on {}", sandbox.url()))?;
        for account in &accounts {
            let text = |name: &str| account[name].as_str().unwrap_or_default().to_owned();
            out.line(format!(
                "  {:<12}{}  token {}",
                text("integration"),
                text("base_url"),
                text("token")
            ))?;
        }
    } else {
        out.json(&json!({"sandbox_url": sandbox.url(), "accounts": accounts}))?;
    }
    told_to_stop().await;
    sandbox.shutdown().await;
    Ok(())
}
