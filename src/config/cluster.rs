//! The table `[cluster]`: what a node joins others with. Absent: the node is alone.
//!
//! In the environment its keys are `TENURE_CLUSTER_` and the key in capitals; one of them alone is as good as the table.

use super::{ConfigError, duration_or_none, public_url};
use serde::{Deserialize, Deserializer};
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};
use tenure_cluster::{ownership::LeaseTerms, tls::ClusterName};

/// Weights are relative to each other: wider apart than this is a typing error.
const WEIGHTS: std::ops::RangeInclusive<u32> = 1..=10_000;
const USUAL_WEIGHT: u32 = 100;
/// Names of data centres, racks and the like.
const ZONE_MAX: usize = 100;
const USUAL_NAME: &str = "tenure";
const USUAL_GRACE: Duration = Duration::from_secs(10);

/// What a node joins its cluster with.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// In the certificates of every node.
    pub name: ClusterName,
    /// The door for other nodes. Port 0 takes any free port.
    pub listen: SocketAddr,
    /// `host:port` at which others reach the door. Absent: `listen`, which is an address then that can be connected to.
    pub advertise: Option<String>,
    /// Where people and load balancers reach this node's HTTP.
    pub url: Option<String>,
    pub ca_file: PathBuf,
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    /// Never empty, each once.
    pub roles: Vec<NodeRole>,
    /// Where it runs; may be empty.
    pub zone: String,
    pub weight: u32,
    pub terms: LeaseTerms,
    /// How long steps at work may take to end when the node gives its employees away.
    pub drain_grace: Duration,
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeRole {
    Api,
    Worker,
    Connector,
}

impl NodeRole {
    const ALL: [Self; 3] = [Self::Api, Self::Worker, Self::Connector];

    fn parse(word: &str) -> Option<Self> {
        match word {
            "api" => Some(Self::Api),
            "worker" => Some(Self::Worker),
            "connector" => Some(Self::Connector),
            _ => None,
        }
    }
}

/// The keys as they are written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Keys {
    name: Option<String>,
    listen: Option<SocketAddr>,
    advertise: Option<String>,
    url: Option<String>,
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    #[serde(deserialize_with = "words")]
    roles: Option<Vec<String>>,
    zone: Option<Word>,
    weight: Option<u32>,
    #[serde(deserialize_with = "duration_or_none")]
    lease: Option<Duration>,
    #[serde(deserialize_with = "duration_or_none")]
    renew_every: Option<Duration>,
    #[serde(deserialize_with = "duration_or_none")]
    lease_margin: Option<Duration>,
    #[serde(deserialize_with = "duration_or_none")]
    drain_grace: Option<Duration>,
}

/// A word that may look like a number: the environment's `1` comes as one.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Word {
    Text(String),
    Number(u64),
}

impl Word {
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

/// A list, or words parted by commas.
fn words<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        List(Vec<String>),
        Text(String),
    }
    let written = Option::<Written>::deserialize(d)?;
    Ok(written.map(|written| match written {
        Written::List(words) => words,
        Written::Text(text) => text.split(',').map(|word| word.trim().to_owned()).collect(),
    }))
}

fn wrong(key: &'static str, problem: impl Into<String>) -> ConfigError {
    ConfigError::Cluster {
        key,
        problem: problem.into(),
    }
}

/// # Errors
/// The key is not set.
fn needed<T>(value: Option<T>, key: &'static str, what: &str) -> Result<T, ConfigError> {
    value.ok_or_else(|| wrong(key, format!("is missing: {what}")))
}

impl Cluster {
    /// # Errors
    /// Which key is missing or wrong, and what would be right.
    pub(super) fn from_keys(keys: Keys) -> Result<Self, ConfigError> {
        let name = keys.name.as_deref().unwrap_or(USUAL_NAME);
        let listen = needed(
            keys.listen,
            "listen",
            "where other nodes come in, such as 0.0.0.0:7118",
        )?;
        let advertise = keys.advertise.map(address).transpose()?;
        if advertise.is_none() && listen.ip().is_unspecified() {
            let why = format!(
                "is missing: nobody can connect to {listen}, so say host:port at which other nodes reach this one, such as 10.0.0.5:7118"
            );
            return Err(wrong("advertise", why));
        }
        Ok(Self {
            name: ClusterName::new(name).map_err(|error| wrong("name", error.to_string()))?,
            listen,
            advertise,
            url: keys.url.as_deref().map(url).transpose()?,
            ca_file: needed(keys.ca_file, "ca_file", "`tenure cluster ca` makes one")?,
            cert_file: needed(
                keys.cert_file,
                "cert_file",
                "`tenure cluster cert` makes one",
            )?,
            key_file: needed(keys.key_file, "key_file", "`tenure cluster cert` makes one")?,
            roles: roles(keys.roles)?,
            zone: zone(keys.zone)?,
            weight: weight(keys.weight)?,
            terms: terms(keys.lease, keys.renew_every, keys.lease_margin)?,
            drain_grace: keys.drain_grace.unwrap_or(USUAL_GRACE),
        })
    }
}

/// `host:port` that can be connected to.
fn address(text: String) -> Result<String, ConfigError> {
    let expected = |why: &str| {
        let text = format!("`{text}` {why}; expected host:port, such as 10.0.0.5:7118");
        wrong("advertise", text)
    };
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(expected("has no port"));
    };
    if !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err(expected("has no port from 1 to 65535"));
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    match bare.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => Err(expected("is an address that nobody can connect to")),
        Ok(IpAddr::V6(_)) if bare == host => Err(expected("lacks the brackets of an IPv6 address")),
        Ok(_) => Ok(text),
        Err(_) if host.is_empty() || !host.chars().all(is_name) => {
            Err(expected("has no host before the port"))
        }
        Err(_) => Ok(text),
    }
}

fn url(text: &str) -> Result<String, ConfigError> {
    public_url(text).map_err(|_| {
        let why = format!("`{text}` is not the address of a service, such as http://10.0.0.5:7117");
        wrong("url", why)
    })
}

fn roles(words: Option<Vec<String>>) -> Result<Vec<NodeRole>, ConfigError> {
    let Some(words) = words else {
        return Ok(NodeRole::ALL.into());
    };
    let mut roles = Vec::new();
    for word in words.iter().filter(|word| !word.is_empty()) {
        let role = NodeRole::parse(word).ok_or_else(|| {
            wrong(
                "roles",
                format!("`{word}` is no role; the roles are api, worker, connector"),
            )
        })?;
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    if roles.is_empty() {
        let why = "is empty: a node without a role does nothing; leave the key out for all of api, worker, connector";
        return Err(wrong("roles", why));
    }
    Ok(roles)
}

fn zone(written: Option<Word>) -> Result<String, ConfigError> {
    let zone = written.map(Word::into_text).unwrap_or_default();
    if zone.chars().count() > ZONE_MAX || zone.chars().any(char::is_control) {
        return Err(wrong(
            "zone",
            format!("is longer than {ZONE_MAX} characters or not plain text"),
        ));
    }
    Ok(zone)
}

fn weight(written: Option<u32>) -> Result<u32, ConfigError> {
    let weight = written.unwrap_or(USUAL_WEIGHT);
    if WEIGHTS.contains(&weight) {
        return Ok(weight);
    }
    let (least, most) = (WEIGHTS.start(), WEIGHTS.end());
    Err(wrong(
        "weight",
        format!("{weight} is not from {least} to {most}; usual is {USUAL_WEIGHT}"),
    ))
}

fn terms(
    lease: Option<Duration>,
    renew_every: Option<Duration>,
    margin: Option<Duration>,
) -> Result<LeaseTerms, ConfigError> {
    let usual = LeaseTerms::default();
    let terms = LeaseTerms {
        ttl: lease.unwrap_or(usual.ttl),
        margin: margin.unwrap_or(usual.margin),
        renew_every: renew_every.unwrap_or(usual.renew_every),
    };
    // Else the node would stop acting before its next renewal is due.
    let is_held = terms
        .margin
        .checked_add(terms.renew_every)
        .is_some_and(|least| least < terms.ttl);
    if is_held {
        return Ok(terms);
    }
    let why = format!(
        "{:?} is too short: it must be longer than lease_margin ({:?}) and renew_every ({:?}) together",
        terms.ttl, terms.margin, terms.renew_every
    );
    Err(wrong("lease", why))
}
