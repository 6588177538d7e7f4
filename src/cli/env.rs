//! `tenure env`: where the service is, as variables of a shell.

use super::{
    output::{Format, Output},
    remote::RemoteArgs,
    shell::quote,
};
use serde_json::json;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  eval \"$(tenure env)\"
  curl -H \"Authorization: Bearer $KEY\" \"$URL/v1/employees\"

The lines hold an API key: they are for a shell, not for a log. SANDBOX is said where `tenure dev` of this directory is meant.")]
pub struct EnvArgs {
    #[command(flatten)]
    remote: RemoteArgs,
}

/// # Errors
/// There is no service to be found, or no key for it.
pub fn run(args: &EnvArgs, out: Output) -> anyhow::Result<()> {
    let (url, key) = args.remote.place()?;
    let sandbox = args.remote.sandbox_url();
    if out.format == Format::Json {
        out.json(&json!({"url": url, "api_key": key, "sandbox_url": sandbox}))?;
        return Ok(());
    }
    out.line(format!("export URL={}", quote(&url)))?;
    out.line(format!("export KEY={}", quote(&key)))?;
    if let Some(sandbox) = sandbox {
        out.line(format!("export SANDBOX={}", quote(&sandbox)))?;
    }
    Ok(())
}
