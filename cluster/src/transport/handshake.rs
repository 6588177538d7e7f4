//! What happens on a new connection before it is a link.

use super::{PeerLabel, PeerStream};
use crate::{
    NodeIdentity,
    protocol::{Hello, MAX_HELLO, ProtocolRange, Refusal, Verdict, WireError},
    tls::{ClusterName, PeerName, TlsError, TlsReloader},
};
use bytes::Bytes;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use uuid::Uuid;

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    #[error("TLS handshake failed")]
    Tls(#[source] io::Error),
    #[error("peer's certificate is of no use")]
    Certificate(#[from] TlsError),
    #[error("link broke during the handshake")]
    Broken(#[source] io::Error),
    #[error("handshake took too long")]
    Timeout,
    #[error("too many handshakes in progress")]
    Crowded,
    #[error("peer said something that is no hello")]
    Malformed(#[from] WireError),
    #[error("we refuse the peer: {0}")]
    Refused(Refusal),
    #[error("peer refuses us: {0}")]
    RefusedByPeer(Refusal),
}

/// Who may come in besides what the certificate says, for example that no later life of the node is known.
pub type Judge = dyn Fn(NodeIdentity) -> Option<Refusal> + Send + Sync;

/// What this node says of itself, and how it looks at others.
#[derive(Clone)]
pub struct Local {
    pub identity: NodeIdentity,
    pub cluster: ClusterName,
    pub protocol: ProtocolRange,
    pub build: String,
    pub tls: Arc<TlsReloader>,
    pub judge: Arc<Judge>,
    /// See [`SILENCE_LIMIT`](super::SILENCE_LIMIT).
    pub silence: Duration,
}

impl Local {
    /// The answering side.
    pub(super) async fn accept(&self, stream: TcpStream) -> Result<PeerStream, LinkError> {
        let acceptor = TlsAcceptor::from(self.tls.current().server.clone());
        let stream = acceptor.accept(stream).await.map_err(LinkError::Tls)?;
        self.greet(TlsStream::Server(stream), None).await
    }

    /// The dialling side. The peer's certificate must be this node's.
    pub(super) async fn connect(
        &self,
        stream: TcpStream,
        node_id: Uuid,
    ) -> Result<PeerStream, LinkError> {
        let peer = PeerName {
            cluster: self.cluster.clone(),
            node_id,
        };
        let connector = TlsConnector::from(self.tls.current().client.clone());
        let stream = connector
            .connect(peer.server_name()?, stream)
            .await
            .map_err(LinkError::Tls)?;
        self.greet(TlsStream::Client(stream), Some(node_id)).await
    }

    async fn greet(
        &self,
        mut stream: TlsStream<TcpStream>,
        expected: Option<Uuid>,
    ) -> Result<PeerStream, LinkError> {
        let name = certified_name(&stream)?;
        let ours = Hello {
            identity: self.identity,
            cluster: self.cluster.to_string(),
            protocol: self.protocol,
            build: self.build.clone(),
        };
        send(&mut stream, &ours.encode()).await?;
        let theirs = Hello::decode(receive(&mut stream).await?)?;
        let verdict = self.judge(&name, &theirs, expected);
        send(&mut stream, &verdict.encode()).await?;
        let protocol = match verdict {
            Verdict::Welcome { protocol } => protocol,
            Verdict::Refused(refusal) => {
                // Closing with something unread would take our verdict off the wire with it.
                let _ = receive(&mut stream).await;
                let _ = stream.shutdown().await;
                return Err(LinkError::Refused(refusal));
            }
        };
        if let Verdict::Refused(refusal) = Verdict::decode(receive(&mut stream).await?)? {
            return Err(LinkError::RefusedByPeer(refusal));
        }
        Ok(PeerStream {
            stream,
            label: PeerLabel {
                identity: theirs.identity,
                protocol,
            },
            limit: self.silence,
        })
    }

    fn judge(&self, name: &PeerName, hello: &Hello, expected: Option<Uuid>) -> Verdict {
        let who = hello.identity;
        let is_itself = name.cluster == self.cluster
            && hello.cluster == self.cluster.as_str()
            && name.node_id == who.node_id
            && expected.is_none_or(|expected| expected == who.node_id)
            && who.node_id != self.identity.node_id;
        if !is_itself {
            return Verdict::Refused(Refusal::Identity);
        }
        let Some(protocol) = self.protocol.common(hello.protocol) else {
            return Verdict::Refused(Refusal::Protocol);
        };
        match (self.judge)(who) {
            Some(refusal) => Verdict::Refused(refusal),
            None => Verdict::Welcome { protocol },
        }
    }
}

fn certified_name(stream: &TlsStream<TcpStream>) -> Result<PeerName, LinkError> {
    let (_, connection) = stream.get_ref();
    let certificate = connection.peer_certificates().and_then(<[_]>::first);
    let certificate = certificate.ok_or_else(|| TlsError::BadName("peer shows none".into()))?;
    Ok(PeerName::of_certificate(certificate)?)
}

async fn send(stream: &mut TlsStream<TcpStream>, message: &[u8]) -> Result<(), LinkError> {
    let write = async {
        stream.write_u32(message.len() as u32).await?;
        stream.write_all(message).await?;
        stream.flush().await
    };
    write.await.map_err(LinkError::Broken)
}

async fn receive(stream: &mut TlsStream<TcpStream>) -> Result<Bytes, LinkError> {
    let length = stream.read_u32().await.map_err(LinkError::Broken)? as usize;
    if length > MAX_HELLO {
        return Err(WireError::Malformed(0).into());
    }
    let mut message = vec![0; length];
    stream
        .read_exact(&mut message)
        .await
        .map_err(LinkError::Broken)?;
    Ok(message.into())
}
