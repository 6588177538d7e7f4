//! What `tenure serve` is told: a TOML file, then the environment (`TENURE_` and the key in capitals), which wins.
//!
//! Keys are flat but for the table `[cluster]`, so that the file and the environment say the same words; the program sees one struct a
//! concern. A key that is not known is an error that names it: a setting with a typing error must not be a setting that is silently not
//! there.

mod cluster;
mod http;

pub use cluster::{Cluster, NodeRole};
pub use http::{ForwardedHeader, Http};

use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// Variables with our prefix that are not settings of a service: they tell the verbs where the service is.
const CLIENT_VARIABLES: [&str; 4] = ["url", "key", "data", "config"];
/// Of variables that are keys of the table `[cluster]`.
const CLUSTER_PREFIX: &str = "cluster_";
/// The node's name where it needs none of its own.
const USUAL_NODE: &str = "tenure";

/// Characters that a `metrics_token` has at least.
const METRICS_TOKEN_MIN: usize = 16;

/// Everything that an operator may set, by concern.
#[derive(Clone, Debug)]
pub struct Config {
    pub database: Database,
    pub http: Http,
    pub secrets: Secrets,
    pub engine: Engine,
    /// Absent: the node is alone.
    pub cluster: Option<Cluster>,
    pub log: Log,
}

#[derive(Clone, Debug)]
pub struct Database {
    /// `sqlite:PATH` or `postgres://…`; may hold a password.
    pub url: Option<SecretString>,
    /// A replica of it, PostgreSQL only: lists of what is past are read there.
    pub read_url: Option<SecretString>,
    /// Connections for requests (PostgreSQL) or for reading (SQLite).
    pub connections: u32,
    /// Connections for the runtime itself, PostgreSQL only.
    pub engine_connections: u32,
}

/// Where the master key comes from that seals the secrets of the orgs: one of the two for `serve`, never both.
#[derive(Clone, Debug)]
pub struct Secrets {
    pub master_key: Option<SecretString>,
    pub master_key_file: Option<PathBuf>,
    /// What the operator registered at providers, for all orgs that registered nothing themselves.
    pub oauth_clients_file: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub struct Engine {
    /// Names this node in the database. A second process under the same name takes the node over and the first one stops.
    pub node_name: String,
    /// An employee that had nothing to do for this long leaves the memory.
    pub idle_after: Duration,
    /// For the whole of one action with its waits and retries, where its node sets no `timeout_ms`.
    pub action_deadline: Duration,
    /// For one request to a provider.
    pub request_timeout: Duration,
    /// How often each connection is probed.
    pub probe_every: Duration,
    /// Where calls to providers may go beyond the public internet: address ranges, parted by commas.
    pub allow_private: String,
    /// Bytes of a provider's answer that is not streamed.
    pub answer_limit: usize,
}

#[derive(Clone, Debug)]
pub struct Log {
    /// As in `RUST_LOG`, which wins.
    pub filter: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("configuration file {0} does not exist")]
    NoFile(PathBuf),
    #[error("configuration: {0}")]
    Invalid(#[source] Box<figment::Error>),
    #[error("configuration: set master_key or master_key_file, not both")]
    TwoMasterKeys,
    #[error(
        "configuration: public_url `{0}` is not the address of a service, such as https://tenure.example.com"
    )]
    PublicUrl(String),
    #[error(
        "configuration: metrics_token must have at least {METRICS_TOKEN_MIN} characters, without white space; `openssl rand -hex 32` makes one"
    )]
    MetricsToken,
    #[error("configuration: {key} {problem}")]
    Value { key: &'static str, problem: String },
    #[error("configuration: cluster.{key} {problem}")]
    Cluster { key: &'static str, problem: String },
    #[error(
        "configuration: node_name is missing: each node of a cluster has a name of its own, which its certificate is for"
    )]
    NodeName,
    #[error(
        "configuration: a cluster needs PostgreSQL as its database (database_url = postgres://…); for one node alone on SQLite, leave [cluster] out"
    )]
    ClusterDatabase,
}

/// The keys as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    database_url: Option<SecretString>,
    database_read_url: Option<SecretString>,
    database_connections: u32,
    engine_connections: u32,
    listen: SocketAddr,
    master_key: Option<SecretString>,
    master_key_file: Option<PathBuf>,
    public_url: Option<String>,
    operator_org: Option<String>,
    metrics_token: Option<SecretString>,
    oauth_clients_file: Option<PathBuf>,
    node_name: Option<cluster::Word>,
    #[serde(deserialize_with = "duration")]
    idle_after: Duration,
    #[serde(deserialize_with = "duration")]
    action_deadline: Duration,
    #[serde(deserialize_with = "duration")]
    request_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    probe_every: Duration,
    #[serde(default)]
    allow_private: String,
    answer_limit: usize,
    log: String,
    log_format: LogFormat,
    connections: usize,
    connections_per_address: usize,
    #[serde(deserialize_with = "duration")]
    header_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    keep_alive_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    stall_timeout: Duration,
    #[serde(default)]
    trusted_proxies: String,
    forwarded_header: ForwardedHeader,
    #[serde(default)]
    cors_origins: String,
    legacy_keys: bool,
    streams_per_key: usize,
    streams_per_org: usize,
    cluster: Option<cluster::Keys>,
}

/// What holds where nothing is said; keys without a default are not in it.
#[derive(Serialize)]
struct Defaults {
    database_connections: u32,
    engine_connections: u32,
    listen: &'static str,
    idle_after: &'static str,
    action_deadline: &'static str,
    request_timeout: &'static str,
    probe_every: &'static str,
    answer_limit: usize,
    log: &'static str,
    log_format: LogFormat,
    connections: usize,
    connections_per_address: usize,
    header_timeout: &'static str,
    keep_alive_timeout: &'static str,
    stall_timeout: &'static str,
    forwarded_header: ForwardedHeader,
    legacy_keys: bool,
    streams_per_key: usize,
    streams_per_org: usize,
}

const DEFAULTS: Defaults = Defaults {
    database_connections: 16,
    engine_connections: 8,
    listen: "127.0.0.1:7117",
    idle_after: "30s",
    action_deadline: "5m",
    request_timeout: "30s",
    probe_every: "15m",
    answer_limit: 2 * 1024 * 1024,
    log: "info",
    log_format: LogFormat::Text,
    connections: 20_000,
    connections_per_address: 1_000,
    header_timeout: "10s",
    keep_alive_timeout: "75s",
    stall_timeout: "30s",
    forwarded_header: ForwardedHeader::XForwardedFor,
    legacy_keys: true,
    streams_per_key: 100,
    streams_per_org: 1_000,
};

impl Config {
    /// Reads the file, if one is given, and the environment.
    ///
    /// # Errors
    /// Which key is unknown or wrong, or that the file is not there.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(DEFAULTS));
        if let Some(path) = file {
            if !path.is_file() {
                return Err(ConfigError::NoFile(path.into()));
            }
            figment = figment.merge(Toml::file_exact(path));
        }
        let mut figment = figment.merge(variables());
        for (key, text) in texts(|name| std::env::var(name).ok()) {
            figment = figment.merge(Serialized::default(key, text));
        }
        let keys: Keys = figment
            .extract()
            .map_err(|error| ConfigError::Invalid(Box::new(error)))?;
        Self::from_keys(keys)
    }

    fn from_keys(keys: Keys) -> Result<Self, ConfigError> {
        if keys.master_key.is_some() && keys.master_key_file.is_some() {
            return Err(ConfigError::TwoMasterKeys);
        }
        let cluster = keys.cluster.map(Cluster::from_keys).transpose()?;
        if keys.node_name.is_none() && cluster.is_some() {
            return Err(ConfigError::NodeName);
        }
        Ok(Self {
            database: Database {
                url: keys.database_url,
                read_url: keys.database_read_url,
                connections: not_zero("database_connections", keys.database_connections)?,
                engine_connections: not_zero("engine_connections", keys.engine_connections)?,
            },
            http: Http {
                listen: keys.listen,
                public_url: keys.public_url.as_deref().map(public_url).transpose()?,
                operator_org: keys.operator_org,
                metrics_token: keys.metrics_token.map(metrics_token).transpose()?,
                connections: not_zero("connections", keys.connections)?,
                connections_per_address: not_zero(
                    "connections_per_address",
                    keys.connections_per_address,
                )?,
                header_timeout: keys.header_timeout,
                keep_alive_timeout: keys.keep_alive_timeout,
                stall_timeout: keys.stall_timeout,
                trusted_proxies: keys.trusted_proxies,
                forwarded_header: keys.forwarded_header,
                cors_origins: keys.cors_origins,
                legacy_keys: keys.legacy_keys,
                streams_per_key: not_zero("streams_per_key", keys.streams_per_key)?,
                streams_per_org: not_zero("streams_per_org", keys.streams_per_org)?,
            },
            secrets: Secrets {
                master_key: keys.master_key,
                master_key_file: keys.master_key_file,
                oauth_clients_file: keys.oauth_clients_file,
            },
            engine: Engine {
                node_name: match keys.node_name {
                    Some(word) => node_name(word)?,
                    None => USUAL_NODE.into(),
                },
                idle_after: keys.idle_after,
                action_deadline: keys.action_deadline,
                request_timeout: keys.request_timeout,
                probe_every: keys.probe_every,
                allow_private: keys.allow_private,
                answer_limit: answer_limit(keys.answer_limit)?,
            },
            cluster,
            log: Log {
                filter: keys.log,
                format: keys.log_format,
            },
        })
    }
}

/// The largest answer of a provider that may be held in memory. The room is made before the answer is there, as its head says.
const ANSWER_LIMIT_MAX: usize = 1024 * 1024 * 1024;

fn wrong(key: &'static str, problem: impl Into<String>) -> ConfigError {
    let problem = problem.into();
    ConfigError::Value { key, problem }
}

fn not_zero<N: Default + PartialEq>(key: &'static str, number: N) -> Result<N, ConfigError> {
    match number == N::default() {
        true => Err(wrong(key, "must be at least 1")),
        false => Ok(number),
    }
}

fn answer_limit(bytes: usize) -> Result<usize, ConfigError> {
    match (1024..=ANSWER_LIMIT_MAX).contains(&bytes) {
        true => Ok(bytes),
        false => {
            let problem = format!("must be 1024 to {ANSWER_LIMIT_MAX} bytes");
            Err(wrong("answer_limit", problem))
        }
    }
}

fn node_name(word: cluster::Word) -> Result<String, ConfigError> {
    let name = word.into_text();
    match name.trim().is_empty() || name.chars().any(char::is_control) {
        true => Err(wrong("node_name", "must be a name")),
        false => Ok(name),
    }
}

fn variables() -> Env {
    Env::prefixed("TENURE_")
        .ignore(&CLIENT_VARIABLES)
        .map(|name| key_of(name.as_str()).into())
}

/// Keys that are texts whatever they look like: a variable is read as a number if it can be, and a master key of digits alone would be one.
const TEXTS: [&str; 9] = [
    "metrics_token",
    "master_key",
    "database_url",
    "database_read_url",
    "operator_org",
    "master_key_file",
    "oauth_clients_file",
    "trusted_proxies",
    "cors_origins",
];

fn texts(variable: impl Fn(&str) -> Option<String>) -> Vec<(&'static str, String)> {
    let of = |key: &'static str| {
        let text = variable(&format!("TENURE_{}", key.to_ascii_uppercase()))?;
        Some((key, text))
    };
    TEXTS.into_iter().filter_map(of).collect()
}

/// The key that a variable names, without its prefix: `CLUSTER_LISTEN` is `listen` of the table `cluster`.
fn key_of(variable: &str) -> String {
    let lower = variable.to_ascii_lowercase();
    match lower.strip_prefix(CLUSTER_PREFIX) {
        Some(key) => format!("cluster.{key}"),
        None => lower,
    }
}

/// What can be guessed would open what all orgs do.
fn metrics_token(token: SecretString) -> Result<SecretString, ConfigError> {
    let text = token.expose_secret();
    let is_short = text.chars().count() < METRICS_TOKEN_MIN;
    if is_short || text.contains(char::is_whitespace) {
        return Err(ConfigError::MetricsToken);
    }
    Ok(token)
}

/// An http or https address without query, brought to the form without a slash at the end.
///
/// # Errors
/// `PublicUrl`.
pub fn public_url(text: &str) -> Result<String, ConfigError> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.contains(['?', '#', ' ', '@']) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err(ConfigError::PublicUrl(text.to_owned())),
    }
}

/// Reads `250ms`, `30s`, `5m`, `2h`, `1d`; a bare number is seconds. Zero is refused: nothing here means anything without time.
///
/// # Errors
/// What was expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("`{text}` is not a duration such as 250ms, 30s, 5m, 2h or 1d");
    let text_only = text.trim();
    let digits = text_only
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text_only.len());
    let number: u64 = text_only[..digits].parse().map_err(|_| expected())?;
    let millis_each: u64 = match text_only[digits..].trim() {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(expected()),
    };
    match number.checked_mul(millis_each) {
        Some(millis) if millis > 0 => Ok(Duration::from_millis(millis)),
        _ => Err(expected()),
    }
}

/// A duration as text or as a number of seconds: the environment's `30` comes as a number.
fn duration<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    WrittenDuration::deserialize(d)?.read()
}

fn duration_or_none<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
    let written = Option::<WrittenDuration>::deserialize(d)?;
    written.map(WrittenDuration::read).transpose()
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenDuration {
    Seconds(u64),
    Text(String),
}

impl WrittenDuration {
    fn read<E: serde::de::Error>(self) -> Result<Duration, E> {
        let text = match self {
            Self::Seconds(seconds) => seconds.to_string(),
            Self::Text(text) => text,
        };
        parse_duration(&text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests;
