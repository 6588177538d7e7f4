//! How the service is reached, and how much of it those may hold who reach it.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, time::Duration};

#[derive(Clone, Debug)]
pub struct Http {
    pub listen: SocketAddr,
    /// Where browsers reach the service: redirects and links begin with it. Absent: the address that it listens on.
    pub public_url: Option<String>,
    /// Name or id of the org whose admins run the service. Absent: the only org's, as long as there is only one.
    pub operator_org: Option<String>,
    /// Opens `/metrics` and nothing else.
    pub metrics_token: Option<SecretString>,
    /// Open at once; fewer where the process may not have as many descriptors.
    pub connections: usize,
    pub connections_per_address: usize,
    /// For the head of a request.
    pub header_timeout: Duration,
    /// A connection without a request ends after this long.
    pub keep_alive_timeout: Duration,
    /// So does one whose client takes nothing of its answer.
    pub stall_timeout: Duration,
    /// Networks of the operator's own proxies, parted by commas.
    pub trusted_proxies: String,
    pub forwarded_header: ForwardedHeader,
    /// Origins of pages that may use the API, parted by commas.
    pub cors_origins: String,
    /// Whether API keys without a checksum are looked up.
    pub legacy_keys: bool,
    pub streams_per_key: usize,
    pub streams_per_org: usize,
}

/// In which header trusted proxies say for whom they ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    XForwardedFor,
    Forwarded,
}
