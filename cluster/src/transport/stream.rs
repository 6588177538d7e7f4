//! A link as `ractor_cluster` carries it.

use crate::NodeIdentity;
use ractor_cluster::{BoxRead, BoxWrite, ClusterBidiStream};
use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    str::FromStr,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep},
};
use tokio_rustls::TlsStream;
use uuid::Uuid;

/// A link whose other end has shown who it is. It fails once the peer says nothing or takes nothing for the limit; without that a peer
/// that hangs is never noticed.
pub struct PeerStream {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) label: PeerLabel,
    pub(super) limit: Duration,
}

impl PeerStream {
    pub fn label(&self) -> &PeerLabel {
        &self.label
    }
}

impl ClusterBidiStream for PeerStream {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        let (read, write) = tokio::io::split(self.stream);
        (
            Box::new(DeadlineReader::new(read, self.limit)),
            Box::new(DeadlineWriter::new(write, self.limit)),
        )
    }

    /// The only thing that `ractor_cluster` tells us about a session that the peer did not claim by itself.
    fn peer_label(&self) -> Option<String> {
        Some(self.label.to_string())
    }
}

/// Who is at the other end, proven by its certificate and its `Hello`. As text `<node>/<incarnation>/<protocol>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerLabel {
    pub identity: NodeIdentity,
    /// What both speak.
    pub protocol: u16,
}

impl fmt::Display for PeerLabel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NodeIdentity {
            node_id,
            incarnation,
        } = self.identity;
        write!(formatter, "{node_id}/{incarnation}/{}", self.protocol)
    }
}

impl FromStr for PeerLabel {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('/');
        let (Some(node), Some(incarnation), Some(protocol), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(());
        };
        Ok(Self {
            identity: NodeIdentity {
                node_id: Uuid::try_parse(node).map_err(|_| ())?,
                incarnation: incarnation.parse().map_err(|_| ())?,
            },
            protocol: protocol.parse().map_err(|_| ())?,
        })
    }
}

/// Fails a read once nothing has arrived for `limit`.
struct DeadlineReader<T> {
    inner: T,
    limit: Duration,
    timer: Pin<Box<Sleep>>,
}

impl<T> DeadlineReader<T> {
    fn new(inner: T, limit: Duration) -> Self {
        Self {
            inner,
            limit,
            timer: Box::pin(sleep(limit)),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for DeadlineReader<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = &mut *self;
        if let Poll::Ready(result) = Pin::new(&mut me.inner).poll_read(context, buffer) {
            me.timer.as_mut().reset(Instant::now() + me.limit);
            return Poll::Ready(result);
        }
        ready!(me.timer.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "peer is silent",
        )))
    }
}

/// Fails a write once the peer has taken nothing for `limit`.
struct DeadlineWriter<T> {
    inner: T,
    limit: Duration,
    /// Runs while a write waits.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<T> DeadlineWriter<T> {
    fn new(inner: T, limit: Duration) -> Self {
        Self {
            inner,
            limit,
            timer: None,
        }
    }

    fn judge<R>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if polled.is_ready() {
            self.timer = None;
            return polled;
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "peer takes nothing",
        )))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for DeadlineWriter<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.judge(context, polled)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(context);
        self.judge(context, polled)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(context);
        self.judge(context, polled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const LIMIT: Duration = Duration::from_millis(400);

    #[test]
    fn labels_come_back() {
        let label = PeerLabel {
            identity: NodeIdentity {
                node_id: Uuid::from_u128(9),
                incarnation: 4,
            },
            protocol: 1,
        };
        assert_eq!(label.to_string().parse(), Ok(label));
        assert!("external".parse::<PeerLabel>().is_err());
    }

    #[tokio::test]
    async fn a_silent_peer_is_noticed_and_a_slow_one_is_not() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut reader = DeadlineReader::new(ours, LIMIT);
        let talk = tokio::spawn(async move {
            for _ in 0..5 {
                sleep(LIMIT / 4).await;
                theirs.write_all(b"x").await.unwrap();
            }
            // Stays open and says nothing.
            sleep(LIMIT * 10).await;
        });
        for _ in 0..5 {
            assert_eq!(reader.read_u8().await.unwrap(), b'x');
        }
        let before = Instant::now();
        let error = reader.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(before.elapsed() >= LIMIT);
        talk.abort();
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_noticed() {
        let (ours, theirs) = tokio::io::duplex(64);
        let mut writer = DeadlineWriter::new(ours, LIMIT);
        writer.write_all(&[0; 64]).await.unwrap();
        let before = Instant::now();
        let error = writer.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(before.elapsed() >= LIMIT);
        drop(theirs);
    }
}
