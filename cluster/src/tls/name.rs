//! The names in certificates.

use super::TlsError;
use rustls::pki_types::{CertificateDer, ServerName};
use std::fmt;
use uuid::Uuid;

/// Names a cluster: 1 to 40 of `a-z`, `0-9` and `-`, not at the ends, so that it is a DNS label too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClusterName(String);

impl ClusterName {
    /// # Errors
    /// `BadClusterName` if it is anything else.
    pub fn new(name: &str) -> Result<Self, TlsError> {
        let fits = (1..=40).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !name.starts_with('-')
            && !name.ends_with('-');
        if fits {
            Ok(Self(name.to_owned()))
        } else {
            Err(TlsError::BadClusterName(name.to_owned()))
        }
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A node as its certificate names it. Lives of a node share it; the incarnation is said in `Hello`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerName {
    pub cluster: ClusterName,
    pub node_id: Uuid,
}

impl PeerName {
    pub fn uri(&self) -> String {
        format!("tenure://{}/node/{}", self.cluster, self.node_id)
    }

    pub fn dns(&self) -> String {
        format!("{}.{}.node.tenure.internal", self.node_id, self.cluster)
    }

    pub(crate) fn server_name(&self) -> Result<ServerName<'static>, TlsError> {
        ServerName::try_from(self.dns())
            .map_err(|_| TlsError::BadClusterName(self.cluster.to_string()))
    }

    /// Reads who a certificate is for.
    ///
    /// # Errors
    /// `BadName` unless exactly one URI in it is a node's.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, TlsError> {
        let parsed = webpki::EndEntityCert::try_from(certificate)
            .map_err(|error| TlsError::BadName(error.to_string()))?;
        let mut names = parsed.valid_uri_names().filter_map(Self::parse);
        match (names.next(), names.next()) {
            (Some(name), None) => Ok(name),
            (None, _) => Err(TlsError::BadName("it names no node".into())),
            (Some(_), Some(_)) => Err(TlsError::BadName("it names several nodes".into())),
        }
    }

    fn parse(uri: &str) -> Option<Self> {
        let (cluster, node) = uri.strip_prefix("tenure://")?.split_once("/node/")?;
        Some(Self {
            cluster: ClusterName::new(cluster).ok()?,
            // Only the usual form: one node must not have two names.
            node_id: Uuid::try_parse(node)
                .ok()
                .filter(|id| id.to_string() == node)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_clusters() {
        for good in ["a", "prod", "eu-west-1", "0"] {
            assert!(ClusterName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "a.b", "-a", "a-", "a/b", "ä", &"a".repeat(41)] {
            assert!(ClusterName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_uri_is_read_as_it_was_written() {
        let name = PeerName {
            cluster: ClusterName::new("prod").unwrap(),
            node_id: Uuid::from_u128(7),
        };
        assert_eq!(PeerName::parse(&name.uri()), Some(name));
        for bad in [
            "tenure://prod/node/",
            "tenure:///node/00000000-0000-0000-0000-000000000007",
            "https://prod/node/00000000-0000-0000-0000-000000000007",
            "tenure://prod/node/00000000000000000000000000000007",
            "tenure://prod/node/00000000-0000-0000-0000-000000000007/x",
        ] {
            assert_eq!(PeerName::parse(bad), None, "{bad}");
        }
    }
}
