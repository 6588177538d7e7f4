//! What both ends of a link are configured with.

use super::{ClusterName, PeerName, TlsFiles, files::Stamp};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use uuid::Uuid;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cluster name {0:?} is not 1 to 40 of a-z, 0-9 and -")]
    BadClusterName(String),
    #[error("cannot read {}", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("key file {} can be read by others (mode {mode:o})", .path.display())]
    KeyMode { path: PathBuf, mode: u32 },
    #[error("file {} holds no {what}", .path.display())]
    Pem { path: PathBuf, what: &'static str },
    #[error("certificate is of no use here: {0}")]
    BadName(String),
    #[error(
        "certificate is for node {found} of {found_cluster}, not for {expected} of {expected_cluster}"
    )]
    WrongName {
        found: Uuid,
        found_cluster: String,
        expected: Uuid,
        expected_cluster: String,
    },
    #[error("certificates do not fit together")]
    Config(#[source] rustls::Error),
    #[error("authorities are of no use")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    #[error("cannot issue a certificate")]
    Issue(#[source] rcgen::Error),
}

impl TlsError {
    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read {
            path: path.to_owned(),
            source,
        }
    }
    pub(super) fn issue(error: rcgen::Error) -> Self {
        Self::Issue(error)
    }
}

/// Both roles of one node. TLS 1.3 only: there are no other clients than ourselves.
#[derive(Clone, Debug)]
pub struct Tls {
    pub(crate) me: PeerName,
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

impl Tls {
    /// Reads the files and sees that they are for this node.
    ///
    /// # Errors
    /// A file cannot be read, is not what it should be, or is for another node.
    pub fn load(files: &TlsFiles, cluster: &ClusterName, node_id: Uuid) -> Result<Self, TlsError> {
        Self::load_stamped(files, cluster, node_id).map(|(tls, _)| tls)
    }

    /// The stamp is taken before reading: if somebody writes meanwhile, the next look finds a difference.
    pub(super) fn load_stamped(
        files: &TlsFiles,
        cluster: &ClusterName,
        node_id: Uuid,
    ) -> Result<(Self, Stamp), TlsError> {
        let stamp = files.stamp()?;
        files.check_key_mode()?;
        let me = PeerName {
            cluster: cluster.clone(),
            node_id,
        };
        let chain = certificates(&files.cert)?;
        expect_name(&chain[0], &me)?;
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|error| pem(&files.key, "private key", error))?;
        let mut roots = RootCertStore::empty();
        for authority in certificates(&files.ca)? {
            roots.add(authority).map_err(TlsError::Config)?;
        }
        let tls = Self::new(me, Arc::new(roots), chain, key)?;
        Ok((tls, stamp))
    }

    fn new(
        me: PeerName,
        roots: Arc<RootCertStore>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build()?;
        let versions = &[&rustls::version::TLS13];
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .map_err(TlsError::Config)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(TlsError::Config)?;
        // A resumed session would not show its certificate again, which after a reload may be one that is trusted no more.
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(TlsError::Config)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(TlsError::Config)?;
        client.resumption = rustls::client::Resumption::disabled();
        Ok(Self {
            me,
            server: Arc::new(server),
            client: Arc::new(client),
        })
    }

    pub fn me(&self) -> &PeerName {
        &self.me
    }

    /// To connect to a node as this one.
    pub fn client_config(&self) -> &Arc<ClientConfig> {
        &self.client
    }
}

fn expect_name(certificate: &CertificateDer<'_>, expected: &PeerName) -> Result<(), TlsError> {
    let found = PeerName::of_certificate(certificate)?;
    if found == *expected {
        return Ok(());
    }
    Err(TlsError::WrongName {
        found: found.node_id,
        found_cluster: found.cluster.to_string(),
        expected: expected.node_id,
        expected_cluster: expected.cluster.to_string(),
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let what = "certificate";
    let found = CertificateDer::pem_file_iter(path)
        .map_err(|error| pem(path, what, error))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| pem(path, what, error))?;
    if found.is_empty() {
        return Err(TlsError::Pem {
            path: path.to_owned(),
            what,
        });
    }
    Ok(found)
}

fn pem(path: &Path, what: &'static str, error: rustls::pki_types::pem::Error) -> TlsError {
    match error {
        rustls::pki_types::pem::Error::Io(error) => TlsError::read(path, error),
        _ => TlsError::Pem {
            path: path.to_owned(),
            what,
        },
    }
}
