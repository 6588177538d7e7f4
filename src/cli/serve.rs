//! `tenure serve`: the service in production.

use super::{
    cluster::setup::{cluster_setup, node_id},
    database::{DatabaseArgs, db_config},
    exit::Failure,
    node::{self, Node, NodeParts},
    output::Output,
    progress::slow_logged,
    secrets::sealer,
};
use crate::{
    actors::{Clock, Settings},
    api::{ApiSettings, ForwardedHeader, Limits, Networks, ServerSettings, StreamLimits, origins},
    config::{self, Config, Http, LogFormat, public_url},
    connect::{Addresses, oauth::OperatorApps},
    persistence::{self, Backend, Db},
    telemetry,
};
use anyhow::Context;
use serde_json::json;
use std::{net::SocketAddr, sync::Arc};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  tenure migrate --config tenure.toml && tenure serve --config tenure.toml
  TENURE_DATABASE_URL=postgres://localhost/tenure TENURE_MASTER_KEY_FILE=/etc/tenure/master.key tenure serve

The file is TOML with these keys; each is also a variable: TENURE_ and its name in capitals, which goes before the file.
  database_url          sqlite:PATH or postgres://…
  database_read_url     a replica of it (PostgreSQL): lists of what is past are read there
  database_connections  for requests (16)
  engine_connections    for the runtime itself, PostgreSQL (8)
  listen                address (127.0.0.1:7117)
  master_key            32 bytes as base64 or 64 hexadecimal digits; or
  master_key_file       a file with it that only its owner may read. Either may hold several: the first seals, all of them open
  public_url            where browsers reach this service, for redirects and links (http:// and the address)
  operator_org          the org whose keys read /metrics and whose admins see, drain and rebalance the nodes (the only org, while there is one)
  metrics_token         opens /metrics and nothing else, for a scraper; keys of operator_org open it too
  oauth_clients_file    the service's own apps at providers, a TOML file that only its owner may read
  node_name             names this node in the database (tenure)
  idle_after            an employee or a connector without work sleeps after this long (30s)
  action_deadline       for an action with all its retries (5m)
  request_timeout       for one request to a provider (30s)
  probe_every           each connection is asked this often whether it still works (15m)
  allow_private         address ranges that calls may go to beyond the public internet, such as 10.0.0.0/8,127.0.0.1:8080 (none)
  answer_limit          bytes of a provider's answer that is not streamed (2097152)
  connections           open at once, fewer where the process may not open as many files (20000)
  connections_per_address  of one address, or one /64 of IPv6; at its cap the oldest idle one makes way (1000)
  header_timeout        for the head of a request (10s)
  keep_alive_timeout    a connection without a request ends after this long (75s)
  stall_timeout         so does one whose client takes nothing of its answer (30s)
  trusted_proxies       networks of your own proxies, such as 10.0.0.0/8: no cap holds them, and their clients count instead (none)
  forwarded_header      where they say for whom they ask: x-forwarded-for or forwarded (x-forwarded-for)
  cors_origins          origins whose pages may use the API in a browser, such as https://app.example.com, or * (none)
  legacy_keys           whether API keys without a checksum, made before this release, are good (true)
  streams_per_key       event streams that one API key may have open (100)
  streams_per_org       event streams that one org may have open (1000)
  log                   what is logged, as in RUST_LOG (info)
  log_format            text or json (text)

One of several nodes says [cluster] too; its keys are variables as TENURE_CLUSTER_ and the name in capitals. It needs PostgreSQL, and a node_name
of its own. `tenure cluster ca` and `tenure cluster cert` make the certificates.
  name                  of the cluster, in every certificate (tenure)
  listen                the door for other nodes, such as 0.0.0.0:7118
  advertise             host:port at which others reach the door (listen, unless that is 0.0.0.0)
  url                   where people and load balancers reach this node's HTTP (from listen, at the advertised host)
  ca_file               certificates of the authorities that are trusted
  cert_file, key_file   this node's certificate and its key, which only its owner and group may read; changed files are taken up
  roles                 what the node does: api, worker, connector (all)
  zone                  where it runs, such as a data centre (none)
  weight                its share of the employees, from 1 to 10000 (100)
  lease                 a node that is not heard of for this long is dead (10s); longer than the next two together
  renew_every           how often it is heard of (3s)
  lease_margin          it stops acting so long before (2s)
  drain_grace           for steps at work when it gives its employees away (10s)

With --json it prints one line when it is ready: {\"url\":…,\"node_id\":…}. SIGTERM gives all away to the other nodes and ends.")]
pub struct ServeArgs {
    #[command(flatten)]
    settings: DatabaseArgs,
    /// Where to listen; goes before file and environment
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where browsers reach this service; goes before file and environment
    #[arg(long, value_name = "URL", value_parser = public_url)]
    public_url: Option<String>,
    /// Address ranges that calls may go to beyond the public internet; goes before file and environment
    #[arg(long, value_name = "RANGES")]
    allow_private: Option<Addresses>,
}

/// # Errors
/// The configuration is wrong, or a part does not start.
pub async fn run(args: ServeArgs, out: Output) -> anyhow::Result<()> {
    let mut config = args.settings.load()?;
    config.http.listen = args.listen.unwrap_or(config.http.listen);
    let allowed = config.engine.allow_private.parse();
    let allowed = allowed
        .map_err(|error| Failure::usage(format!("configuration: allow_private: {error}")))?;
    let allow_private = args.allow_private.unwrap_or(allowed);
    telemetry::log::init(&config.log.filter, config.log.format == LogFormat::Json)?;
    let mut database = db_config(&config)?;
    let sealer = Arc::new(sealer(&config.secrets)?);
    let api = api_settings(&config.http)?;
    let listener = node::listen(config.http.listen).await?;
    let address = listener.local_addr()?;
    let node_id = node_id(&config.engine.node_name);
    if let Some(cluster) = &config.cluster {
        database.idle_in_transaction = cluster.terms.ttl / 2;
    }
    let cluster = cluster_setup(&config, &database, address).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        database = database.place(),
        migrations = persistence::schema_version(Backend::of(&database.url)?),
        node = config.engine.node_name,
        %node_id,
        listen = %address,
        cluster = cluster.is_some(),
        "starting"
    );
    let db = slow_logged("opening the database", Db::connect(&database))
        .await
        .context("the database could not be opened")?;
    let parts = NodeParts {
        db,
        node_id,
        clock: Clock::system(),
        sealer,
        settings: Settings {
            allow_private,
            ..settings(&config)?
        },
        public_url: args.public_url.or(config.http.public_url),
        listener,
        sandbox_url: None,
        operator_org: config.http.operator_org,
        metrics_token: config.http.metrics_token,
        api,
        cluster,
    };
    let node = slow_logged("taking up unfinished runs", Node::start(parts)).await?;
    tracing::info!(url = node.url(), node = config.engine.node_name, "ready");
    if out.is_for_people() {
        out.line(format!("Tenure is at work on {}", node.url()))?;
    } else {
        out.json(&json!({"url": node.url(), "node_id": node_id}))?;
    }
    node.run_until_told().await
}

fn api_settings(http: &Http) -> anyhow::Result<ApiSettings> {
    let wrong = |key: &str, why: &dyn std::fmt::Display| {
        Failure::usage(format!("configuration: {key}: {why}"))
    };
    let trusted = http.trusted_proxies.parse::<Networks>();
    Ok(ApiSettings {
        server: ServerSettings {
            limits: Limits {
                connections: http.connections,
                per_address: http.connections_per_address,
                head: http.header_timeout,
                idle: http.keep_alive_timeout,
                stalled: http.stall_timeout,
            },
            trusted_proxies: trusted.map_err(|error| wrong("trusted_proxies", &error))?,
            forwarded_header: match http.forwarded_header {
                config::ForwardedHeader::XForwardedFor => ForwardedHeader::XForwardedFor,
                config::ForwardedHeader::Forwarded => ForwardedHeader::Forwarded,
            },
        },
        streams: StreamLimits {
            per_key: http.streams_per_key,
            per_org: http.streams_per_org,
        },
        cors_origins: origins(&http.cors_origins).map_err(|error| wrong("cors_origins", &error))?,
        legacy_keys: http.legacy_keys,
    })
}

fn settings(config: &Config) -> anyhow::Result<Settings> {
    let apps = match &config.secrets.oauth_clients_file {
        Some(path) => OperatorApps::from_file(path)
            .with_context(|| format!("oauth_clients_file {}", path.display()))?,
        None => OperatorApps::default(),
    };
    Ok(Settings {
        oauth_apps: Arc::new(apps),
        idle_after: config.engine.idle_after,
        action_deadline: config.engine.action_deadline,
        request_timeout: config.engine.request_timeout,
        probe_every: config.engine.probe_every,
        answer_limit: config.engine.answer_limit,
        ..Settings::default()
    })
}
