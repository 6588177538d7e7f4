//! The door of a node.

use super::{
    HANDSHAKE_DEADLINE, HandshakeLimits, LinkError, Local, PeerStream,
    admission::{Admission, Ticket},
    socket,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

/// When the process has no file descriptors left, accepting fails at once again and again.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// Accepts links until it is dropped and gives each to `welcome`, which must not block. Handshakes run beside each other and beside the
/// accepting.
pub async fn listen(
    listener: TcpListener,
    local: Local,
    limits: HandshakeLimits,
    welcome: impl Fn(PeerStream) + Send + Sync + 'static,
) {
    let admission = Admission::new(limits);
    let (local, welcome) = (Arc::new(local), Arc::new(welcome));
    // Ends the handshakes in progress when the door is closed.
    let mut handshakes = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    let ticket = admission.admit(address.ip());
                    let (local, welcome) = (local.clone(), welcome.clone());
                    handshakes.spawn(async move {
                        match shake_hands(&local, stream, ticket).await {
                            Ok(link) => welcome(link),
                            // Anybody can cause this: no warning.
                            Err(error) => tracing::debug!(%address, %error, "no link"),
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept links");
                    sleep(AFTER_ERROR).await;
                }
            },
            Some(_) = handshakes.join_next() => {}
        }
    }
}

async fn shake_hands(
    local: &Local,
    stream: TcpStream,
    mut ticket: Ticket,
) -> Result<PeerStream, LinkError> {
    socket::configure(&stream).map_err(LinkError::Broken)?;
    tokio::select! {
        accepted = timeout(HANDSHAKE_DEADLINE, local.accept(stream)) => {
            accepted.unwrap_or(Err(LinkError::Timeout))
        }
        () = ticket.evicted() => Err(LinkError::Crowded),
    }
}
