//! A private certificate authority for one cluster, and the certificates of its nodes.

use super::{ClusterName, PeerName, TlsError};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;

/// Clocks of nodes may be behind the one that issued a certificate.
const BACKDATED: Duration = Duration::from_secs(300);

/// Signs for one cluster. Its certificate goes to every node, its key to none: keep it where certificates are made.
pub struct Authority {
    cluster: ClusterName,
    key: KeyPair,
}

/// A certificate and its private key, as PEM.
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    /// # Errors
    /// `Issue` if no key can be made.
    pub fn generate(cluster: ClusterName) -> Result<Self, TlsError> {
        let key = KeyPair::generate().map_err(TlsError::issue)?;
        Ok(Self { cluster, key })
    }

    /// The authority again, from its key. Nothing else of it is needed to sign.
    ///
    /// # Errors
    /// `Issue` if this is no private key in PEM.
    pub fn from_key(cluster: ClusterName, key: &str) -> Result<Self, TlsError> {
        let key = KeyPair::from_pem(key).map_err(TlsError::issue)?;
        Ok(Self { cluster, key })
    }

    /// Its own certificate and key.
    ///
    /// # Errors
    /// `Issue`.
    pub fn certify(&self, now: SystemTime, valid: Duration) -> Result<Issued, TlsError> {
        let mut params = self.params();
        validity(&mut params, now, valid);
        let certificate = params.self_signed(&self.key).map_err(TlsError::issue)?;
        Ok(Issued {
            certificate: certificate.pem(),
            key: self.key.serialize_pem(),
        })
    }

    /// A new key and certificate for a node, to serve and to dial with.
    ///
    /// # Errors
    /// `Issue`.
    pub fn issue(
        &self,
        node_id: uuid::Uuid,
        now: SystemTime,
        valid: Duration,
    ) -> Result<Issued, TlsError> {
        self.issue_for_hosts(node_id, &[], now, valid)
    }

    /// The same with host names and addresses in it, for programs that look for those; nodes look for the node's id.
    ///
    /// # Errors
    /// `Issue`, also if one of `hosts` is neither a name nor an address.
    pub fn issue_for_hosts(
        &self,
        node_id: uuid::Uuid,
        hosts: &[String],
        now: SystemTime,
        valid: Duration,
    ) -> Result<Issued, TlsError> {
        let name = PeerName {
            cluster: self.cluster.clone(),
            node_id,
        };
        let key = KeyPair::generate().map_err(TlsError::issue)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(&format!("node {node_id}"));
        params.subject_alt_names = vec![
            SanType::URI(name.uri().try_into().map_err(TlsError::issue)?),
            SanType::DnsName(name.dns().try_into().map_err(TlsError::issue)?),
        ];
        for host in hosts {
            params.subject_alt_names.push(match host.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(host.as_str().try_into().map_err(TlsError::issue)?),
            });
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        validity(&mut params, now, valid);
        let issuer = Issuer::new(self.params(), &self.key);
        let certificate = params.signed_by(&key, &issuer).map_err(TlsError::issue)?;
        Ok(Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(&format!("tenure cluster {}", self.cluster));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn validity(params: &mut CertificateParams, now: SystemTime, valid: Duration) {
    params.not_before = OffsetDateTime::from(now - BACKDATED);
    params.not_after = OffsetDateTime::from(now + valid);
}
