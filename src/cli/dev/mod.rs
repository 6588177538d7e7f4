//! `tenure dev`: everything in one process, for a first hour and for development.

mod apps;
mod data_dir;
pub(in crate::cli) mod demo;
mod welcome;

use super::{
    client::Client,
    node::{self, Node, NodeParts},
    output::Output,
    remote::{DEFAULT_DATA, DevFile},
};
use crate::{
    actors::{Clock, Settings, hub},
    api::ApiSettings,
    config::{parse_duration, public_url},
    connect::{Addresses, Vault},
    domain::OrgId,
    persistence::{self, Db, DbConfig},
    sandbox::{Sandbox, SandboxHandle},
    telemetry,
};
use anyhow::Context;
use data_dir::DataDir;
use secrecy::{ExposeSecret, SecretString};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use welcome::Welcome;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure dev
  tenure dev --listen 127.0.0.1:0 --data /tmp/try --json
  tenure dev --database-url postgres://localhost/tenure

With --json it prints one line when it is ready:
  {\"url\":…,\"org\":…,\"api_key\":…,\"sandbox_url\":…}
Ctrl-C stops it; what it was doing goes on at the next start.")]
pub struct DevArgs {
    /// Where to listen; port 0 takes any free port
    #[arg(long, default_value = "127.0.0.1:7117", value_name = "ADDR")]
    listen: SocketAddr,
    /// Where everything is kept
    #[arg(long, default_value = DEFAULT_DATA, value_name = "DIR")]
    data: PathBuf,
    /// A PostgreSQL database instead of the embedded one; migrated as the given role, used as the unprivileged ones
    #[arg(long, value_name = "URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Let an employee sleep when it had nothing to do for this long (seconds, or 500ms, 5m)
    #[arg(long, value_name = "SECONDS", value_parser = parse_duration)]
    idle_after: Option<Duration>,
    /// Where browsers reach this service, if not at the address that it listens on
    #[arg(long, value_name = "URL", value_parser = public_url)]
    public_url: Option<String>,
    /// Address ranges that calls may go to beyond the public internet and the sandbox, such as 10.0.0.0/8,127.0.0.1:8080
    #[arg(long, value_name = "RANGES", env = "TENURE_ALLOW_PRIVATE")]
    allow_private: Option<Addresses>,
    /// Hire no employee
    #[arg(long)]
    no_demo: bool,
}

/// # Errors
/// A part does not start, or the data directory is in use.
pub async fn run(args: DevArgs, out: Output) -> anyhow::Result<()> {
    telemetry::log::init("warn", false)?;
    let data = DataDir::open(&args.data)?;
    let listener = node::listen(args.listen).await?;
    let clock = Clock::system();
    let sandbox = start_sandbox(&data, &clock).await?;
    let db = open_database(&args, &data).await?;
    let sealer = Arc::new(data.sealer()?);
    let vault = hub::keys::vault(&db, &clock, &sealer);
    let (org, key) = furnish(&data, &db, &clock, &vault, &sandbox).await?;
    let public_url = match &args.public_url {
        Some(url) => url.clone(),
        None => node::url_of(listener.local_addr()?),
    };
    let node = Node::start(NodeParts {
        db,
        node_id: data.node_id(clock.uuid())?,
        clock,
        sealer,
        settings: Settings {
            oauth_apps: Arc::new(apps::register(&sandbox, &public_url).await?),
            ..settings(&args, &sandbox)
        },
        public_url: Some(public_url),
        listener,
        sandbox_url: Some(sandbox.url()),
        operator_org: Some(org.to_string()),
        metrics_token: None,
        api: ApiSettings::default(),
        cluster: None,
    })
    .await?;
    let dev = DevFile {
        url: node.url(),
        org: org.to_string(),
        api_key: key.expose_secret().to_owned(),
        sandbox_url: sandbox.url(),
    };
    let employee = match args.no_demo {
        true => None,
        false => Some(demo::employee(&Client::new(&dev.url, Some(key))?).await?),
    };
    data.keep_dev_file(&dev)?;
    if out.is_for_people() {
        out.line(Welcome::new(&dev, employee.as_ref(), &args.data).text(out))?;
    } else {
        out.line(serde_json::to_string(&dev)?)?;
    }
    let ended = node.run_until_told().await;
    sandbox.shutdown().await;
    ended
}

fn settings(args: &DevArgs, sandbox: &SandboxHandle) -> Settings {
    let defaults = Settings::default();
    let opened = args.allow_private.clone().unwrap_or_default();
    Settings {
        allow_private: opened.and(sandbox.address()),
        idle_after: args.idle_after.unwrap_or(defaults.idle_after),
        ..defaults
    }
}

async fn open_database(args: &DevArgs, data: &DataDir) -> anyhow::Result<Db> {
    let url = args
        .database_url
        .clone()
        .unwrap_or_else(|| data.database_url());
    persistence::migrate(&url)
        .await
        .context("the database could not be migrated")?;
    Db::connect(&DbConfig::new(url))
        .await
        .context("the database could not be opened")
}

/// On the port that it had, so that addresses stay the same; on any other if that one is taken.
async fn start_sandbox(data: &DataDir, clock: &Clock) -> anyhow::Result<SandboxHandle> {
    let today = clock.now().to_chrono().date_naive();
    let on = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let kept = data.sandbox_port();
    let sandbox = match Sandbox::start(on(kept), data.sandbox(), today).await {
        Err(crate::sandbox::SandboxError::Listen { .. }) if kept != 0 => {
            Sandbox::start(on(0), data.sandbox(), today).await?
        }
        other => other?,
    };
    let port = sandbox
        .url()
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .unwrap_or(0);
    data.keep_sandbox_port(port)?;
    Ok(sandbox)
}

/// Org, key and connections: straight into the database, before the engine takes up runs that need them.
async fn furnish(
    data: &DataDir,
    db: &Db,
    clock: &Clock,
    vault: &Vault,
    sandbox: &SandboxHandle,
) -> anyhow::Result<(OrgId, SecretString)> {
    let org = demo::org(db, clock).await?;
    let kept = data.dev_file()?.map(|dev| dev.api_key);
    let key = demo::key(db, clock, org, kept).await?;
    demo::connections(db, clock, vault, org, sandbox.accounts()).await?;
    Ok((org, key))
}
