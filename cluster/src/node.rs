//! A node's part in the cluster: its door, its links and its gateway.

use crate::{
    NodeIdentity,
    gateway::{
        Gateway, GatewayActor, Handler, LinkWatcher, Links, Server, WindowLimits, session_name,
    },
    protocol::{MAX_ENVELOPE, PROTOCOL, ProtocolRange},
    tls::{ClusterName, TlsReloader},
    transport::{HandshakeLimits, LinkError, Local, SILENCE_LIMIT, dial, listen},
};
use ractor::{Actor, ActorRef, SpawnErr};
use ractor_cluster::{
    IncomingEncryptionMode, NodeServer, NodeServerMessage, node::NodeConnectionMode,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{net::Ipv4Addr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;

/// How often the certificate files are looked at.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(10);

/// What a node joins with.
pub struct ClusterConfig {
    pub identity: NodeIdentity,
    pub cluster: ClusterName,
    /// The build's version, shown to the others.
    pub build: String,
    pub protocol: ProtocolRange,
    pub listener: TcpListener,
    pub tls: Arc<TlsReloader>,
    pub handshakes: HandshakeLimits,
    pub window: WindowLimits,
    /// When a peer that says nothing is given up. Not below 6 s: the pings between nodes are up to 5 s apart.
    pub silence: Duration,
    /// Handlers at work at once, over all peers. Above it a message is refused as overloaded.
    pub most_handlers: usize,
}

impl ClusterConfig {
    /// With the usual limits.
    pub fn new(
        identity: NodeIdentity,
        cluster: ClusterName,
        listener: TcpListener,
        tls: Arc<TlsReloader>,
    ) -> Self {
        Self {
            identity,
            cluster,
            build: env!("CARGO_PKG_VERSION").into(),
            protocol: PROTOCOL,
            listener,
            tls,
            handshakes: HandshakeLimits::default(),
            window: WindowLimits::default(),
            silence: SILENCE_LIMIT,
            most_handlers: 8_192,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("cannot start the cluster's actors")]
    Start(#[from] SpawnErr),
    #[error("cluster's actors have stopped")]
    Stopped,
}

/// A node at work. Stops taking part when dropped. One in a process: `ractor`'s registries are the process's.
pub struct ClusterNode {
    local: Local,
    server: ActorRef<NodeServerMessage>,
    actor: ractor::ActorCell,
    gateway: Gateway,
    _tasks: JoinSet<()>,
}

impl ClusterNode {
    /// Opens the door.
    ///
    /// # Errors
    /// The actors do not start.
    pub async fn start(
        config: ClusterConfig,
        handler: Arc<dyn Handler>,
    ) -> Result<Self, ClusterError> {
        let links = Links::new(config.window);
        let served = Server::new(handler, config.most_handlers);
        // Before the first session, which tells the peer of it once and for all.
        let (actor, _) = Actor::spawn(None, GatewayActor, served.clone()).await?;
        let (server, _) = Actor::spawn(None, session_server(&config), ()).await?;
        let subscription = Box::new(LinkWatcher(links.clone()));
        let subscribed = server.cast(NodeServerMessage::SubscribeToEvents {
            id: "links".into(),
            subscription,
        });
        subscribed.map_err(|_| ClusterError::Stopped)?;

        let judge = links.clone();
        let local = Local {
            identity: config.identity,
            cluster: config.cluster,
            protocol: config.protocol,
            build: config.build,
            tls: config.tls.clone(),
            judge: Arc::new(move |newcomer| judge.judge(newcomer)),
            silence: config.silence,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(config.tls.watch(CERTIFICATES_EVERY));
        let door = server.clone();
        let welcome = move |stream| {
            let _ = door.cast(NodeServerMessage::ConnectionOpenedExternal {
                stream: Box::new(stream),
                is_server: true,
            });
        };
        tasks.spawn(listen(
            config.listener,
            local.clone(),
            config.handshakes,
            welcome,
        ));
        Ok(Self {
            gateway: Gateway::new(config.identity, links, served),
            actor: actor.get_cell(),
            local,
            server,
            _tasks: tasks,
        })
    }

    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    pub fn dialer(&self) -> Dialer {
        Dialer {
            local: self.local.clone(),
            server: self.server.clone(),
        }
    }
}

impl Drop for ClusterNode {
    fn drop(&mut self) {
        // Its sessions end with it.
        self.server.stop(None);
        self.actor.stop(None);
    }
}

/// Opens links from this node.
#[derive(Clone)]
pub struct Dialer {
    local: Local,
    server: ActorRef<NodeServerMessage>,
}

impl Dialer {
    /// Opens a link to a node at `address` (`host:port`). It stands when [`Links`] says so, shortly after.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn dial(&self, address: &str, node_id: uuid::Uuid) -> Result<(), LinkError> {
        let stream = dial(&self.local, address, node_id).await?;
        // Fails only if this node is stopping.
        let _ = self
            .server
            .cast(NodeServerMessage::ConnectionOpenedExternal {
                stream: Box::new(stream),
                is_server: false,
            });
        Ok(())
    }
}

/// The sessions' server of `ractor_cluster`. It insists on a listener of its own, which one silent client can block: that one is on a
/// free port of the loopback, and has no certificate, so that no handshake there succeeds.
fn session_server(config: &ClusterConfig) -> NodeServer {
    // Unique to this life: two nodes with the same of it take each other for themselves.
    let name = session_name(config.identity);
    NodeServer::new(
        0,
        // No secret: who gets this far has shown a certificate.
        config.cluster.to_string(),
        name.clone(),
        name,
        Some(IncomingEncryptionMode::Tls(closed_door())),
        Some(NodeConnectionMode::Isolated),
    )
    .with_listen_addr(Ipv4Addr::LOCALHOST.into())
    // What `ractor_cluster` puts around an envelope is less.
    .with_max_inbound_frame_size(MAX_ENVELOPE as u64 + 4 * 1024)
}

fn closed_door() -> TlsAcceptor {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider speaks TLS 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(NoCertificate));
    TlsAcceptor::from(Arc::new(config))
}

#[derive(Debug)]
struct NoCertificate;

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}
