//! Apps at the sandbox's providers, so that `tenure connect` works in a first hour without an account anywhere.

use crate::{
    cli::client::Client,
    connect::oauth::{OauthApp, OperatorApps, Overrides},
    sandbox::SandboxHandle,
};
use anyhow::Context;
use serde_json::json;

const CLIENT_ID: &str = "tenure-dev";
/// Known to everybody: it opens nothing but the sandbox.
const CLIENT_SECRET: &str = "tenure-dev-secret";

/// Registers this service at each of the sandbox's authorisation servers.
///
/// # Errors
/// The sandbox does not take them.
pub async fn register(sandbox: &SandboxHandle, public_url: &str) -> anyhow::Result<OperatorApps> {
    let url = sandbox.url();
    let client = Client::new(&url, None)?;
    let mut apps = Vec::new();
    for account in sandbox.all_accounts() {
        let integration = account.integration;
        let app = json!({
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "redirect_uris": [format!("{public_url}/oauth/callback/{integration}")],
        });
        let settings = json!({"integration": integration, "clients": [app]});
        client
            .post("/oauth/settings", &[], &settings)
            .await
            .with_context(|| format!("an app at the sandbox's {integration}"))?;
        let at = |what: &str| Some(format!("{url}/oauth/{integration}/{what}"));
        let overrides = Overrides {
            authorize_url: at("authorize"),
            token_url: at("token"),
            revoke_url: at("revoke"),
            base_url: Some(account.account.base_url),
            redirect_uris: Vec::new(),
        };
        let app = OauthApp {
            client_id: CLIENT_ID.into(),
            client_secret: Some(CLIENT_SECRET.into()),
            overrides,
        };
        apps.push((integration.to_owned(), app));
    }
    Ok(OperatorApps::new(apps))
}
