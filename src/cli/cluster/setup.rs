//! From the configuration's `[cluster]` to what a node joins with: its certificates, its door, its addresses.

use crate::{
    actors::cluster::{ClusterSetup, NodeRole},
    config::{self, Config, ConfigError},
    persistence::{Db, DbConfig},
};
use anyhow::Context;
use std::{net::SocketAddr, sync::Arc};
use tenure_cluster::tls::{TlsError, TlsFiles, TlsReloader};
use tokio::net::TcpListener;
use uuid::Uuid;

/// One renews and one lists.
const LEASE_CONNECTIONS: u32 = 2;

/// The same name is the same node, on whatever machine it starts.
pub fn node_id(name: &str) -> Uuid {
    Uuid::new_v5(
        &Uuid::NAMESPACE_OID,
        format!("tenure node {name}").as_bytes(),
    )
}

/// Opens the node's door. `http` is where it listens for requests; `None`: the node is alone.
///
/// # Errors
/// The database is no server, the certificates are not this node's, or the door's address is taken.
pub async fn cluster_setup(
    config: &Config,
    database: &DbConfig,
    http: SocketAddr,
) -> anyhow::Result<Option<ClusterSetup>> {
    let Some(cluster) = &config.cluster else {
        return Ok(None);
    };
    if !database.url.starts_with("postgres") {
        return Err(ConfigError::ClusterDatabase.into());
    }
    let name = &config.engine.node_name;
    let tls = certificates(cluster, name)?;
    let listener = TcpListener::bind(cluster.listen).await.with_context(|| {
        format!(
            "cannot listen on {} for other nodes (cluster.listen; another process may)",
            cluster.listen
        )
    })?;
    let few = DbConfig {
        app_connections: 1,
        engine_connections: LEASE_CONNECTIONS,
        read_url: None,
        ..database.clone()
    };
    let lease_db = Db::connect(&few)
        .await
        .context("the database could not be opened")?;
    let door = listener.local_addr()?;
    let address = cluster
        .advertise
        .clone()
        .unwrap_or_else(|| door.to_string());
    let url = cluster
        .url
        .clone()
        .unwrap_or_else(|| http_url(http, &address));
    Ok(Some(ClusterSetup {
        cluster: cluster.name.clone(),
        name: name.clone(),
        listener,
        lease_db,
        address,
        url,
        tls: Arc::new(tls),
        roles: cluster.roles.iter().copied().map(role).collect(),
        zone: cluster.zone.clone(),
        weight: cluster.weight,
        terms: cluster.terms,
        drain_grace: cluster.drain_grace,
    }))
}

fn certificates(cluster: &config::Cluster, name: &str) -> anyhow::Result<TlsReloader> {
    let files = TlsFiles {
        ca: cluster.ca_file.clone(),
        cert: cluster.cert_file.clone(),
        key: cluster.key_file.clone(),
    };
    let expected = node_id(name);
    let loaded = TlsReloader::load(files, cluster.name.clone(), expected);
    loaded.map_err(|error| {
        let is_of_another = matches!(error, TlsError::WrongName { .. });
        let error = anyhow::Error::new(error);
        if is_of_another {
            let cert = cluster.cert_file.display();
            return error.context(format!(
                "{cert} is not for the node named {name}, whose id is {expected}, of the cluster {}: node_name and cluster.name must be \
                 those that `tenure cluster cert --node` was given",
                cluster.name
            ));
        }
        error.context("cluster certificates (cluster.ca_file, cert_file, key_file)")
    })
}

/// Where this node's HTTP is: at the host that it advertises, if it listens on all of them.
fn http_url(http: SocketAddr, advertised: &str) -> String {
    if !http.ip().is_unspecified() {
        return format!("http://{http}");
    }
    let host = advertised
        .rsplit_once(':')
        .map_or(advertised, |(host, _)| host);
    format!("http://{host}:{}", http.port())
}

fn role(role: config::NodeRole) -> NodeRole {
    match role {
        config::NodeRole::Api => NodeRole::Api,
        config::NodeRole::Worker => NodeRole::Worker,
        config::NodeRole::Connector => NodeRole::Connector,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_node() {
        for (http, advertised, url) in [
            ("127.0.0.1:7117", "10.0.0.5:7118", "http://127.0.0.1:7117"),
            ("0.0.0.0:7117", "10.0.0.5:7118", "http://10.0.0.5:7117"),
            ("[::]:7117", "[fd00::5]:7118", "http://[fd00::5]:7117"),
            ("0.0.0.0:7117", "a.tenure:7118", "http://a.tenure:7117"),
        ] {
            let http = http.parse().expect("an address");
            assert_eq!(http_url(http, advertised), url);
        }
    }

    #[test]
    fn a_name_is_a_node_for_ever() {
        // Certificates are for these ids: they must not change with a release.
        assert_eq!(
            node_id("a").to_string(),
            "3bf29a3b-60d2-5953-8260-b94a8afb47ac"
        );
    }
}
