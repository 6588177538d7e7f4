//! The one actor of a node that other nodes can reach, and the way to theirs.
//!
//! One, because each actor that can be reached costs every peer a stand-in of its own. What is on its way to a peer is bounded in number
//! and bytes ([`WindowLimits`]); a full window refuses at once, since every queue below is unbounded. A place in the window is held
//! until the answer is there or the link is gone, even if the caller has stopped waiting: what has not been answered may still lie in
//! memory here or there.

mod actor;
mod links;
mod serve;
mod window;

pub use links::{LinkEvent, LinkInfo, Links};
pub use serve::Handler;
pub use window::WindowLimits;

pub(crate) use actor::GatewayActor;
pub(crate) use links::{LinkWatcher, session_name};
pub(crate) use serve::Server;

use crate::{
    NodeIdentity,
    protocol::{Envelope, HandlerError, Reply},
};
use actor::GatewayMessage;
use bytes::Bytes;
use ractor::{ActorRef, rpc::CallResult};
use std::{sync::Arc, time::Duration};
use tokio::{sync::oneshot, time::timeout};
use uuid::Uuid;
use window::Permit;

/// Why there is no answer. Only `OutcomeUnknown` leaves open whether something happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// No link stands. It may be about to; the database knows whether the node lives.
    #[error("node {0} is not connected")]
    NotConnected(Uuid),
    /// Too much is on its way to it already. Try later.
    #[error("too much is on its way to node {0}")]
    Overloaded(Uuid),
    #[error("message has a part of {size} bytes, {limit} are allowed")]
    TooLarge { size: usize, limit: usize },
    /// There was no time left before it was sent.
    #[error("deadline had passed before the message was sent")]
    DeadlinePassed,
    #[error("node {node} refused: {error}")]
    Refused {
        node: Uuid,
        #[source]
        error: HandlerError,
    },
    /// It was sent and may have been done.
    #[error("outcome on node {node} is unknown: {why}")]
    OutcomeUnknown { node: Uuid, why: String },
}

/// Sends messages to nodes, this one included.
#[derive(Clone)]
pub struct Gateway {
    me: NodeIdentity,
    links: Arc<Links>,
    server: Arc<Server>,
}

impl Gateway {
    pub(crate) fn new(me: NodeIdentity, links: Arc<Links>, server: Arc<Server>) -> Self {
        Self { me, links, server }
    }

    pub fn links(&self) -> &Arc<Links> {
        &self.links
    }

    /// Sends a message and waits for the answer, for as long as its `time_left` says.
    ///
    /// # Errors
    /// See [`DeliveryError`].
    pub async fn ask(&self, node: Uuid, envelope: Envelope) -> Result<Bytes, DeliveryError> {
        if envelope.time_left.is_zero() {
            return Err(DeliveryError::DeadlinePassed);
        }
        let time_left = envelope.time_left;
        let reply = if node == self.me.node_id {
            check_size(&envelope)?;
            self.server.clone().serve(self.me, envelope).await
        } else {
            let answer = self.send(node, &envelope)?;
            wait(answer, time_left).await
        };
        match reply {
            Reply::Done(body) => Ok(body),
            Reply::Refused(error) => Err(DeliveryError::Refused { node, error }),
            Reply::Unknown(why) => Err(DeliveryError::OutcomeUnknown { node, why }),
        }
    }

    /// Sends a hint: it may be lost without a word once it has left.
    ///
    /// # Errors
    /// It did not leave.
    pub fn tell(&self, node: Uuid, envelope: Envelope) -> Result<(), DeliveryError> {
        if node == self.me.node_id {
            check_size(&envelope)?;
            tokio::spawn(self.server.clone().serve(self.me, envelope));
            return Ok(());
        }
        // There is an answer all the same, an empty one: it gives the place in the window back.
        let envelope = envelope.with_answer_limit(0);
        self.send(node, &envelope).map(drop)
    }

    fn send(
        &self,
        node: Uuid,
        envelope: &Envelope,
    ) -> Result<oneshot::Receiver<Reply>, DeliveryError> {
        check_size(envelope)?;
        let link = self
            .links
            .find(node)
            .ok_or(DeliveryError::NotConnected(node))?;
        let message = envelope.encode(self.me);
        let permit = link
            .window
            .enter(message.len() + envelope.answer_limit)
            .ok_or(DeliveryError::Overloaded(node))?;
        let (sender, answer) = oneshot::channel();
        tokio::spawn(call(link.gateway, message, permit, sender));
        Ok(answer)
    }
}

fn check_size(envelope: &Envelope) -> Result<(), DeliveryError> {
    envelope
        .check_size()
        .map_err(|(size, limit)| DeliveryError::TooLarge { size, limit })
}

/// Outlives the caller: the permit is held until nothing of the call is left.
async fn call(
    gateway: ActorRef<GatewayMessage>,
    message: Bytes,
    permit: Permit,
    answer: oneshot::Sender<Reply>,
) {
    let unknown = |why: &str| Reply::Unknown(why.into());
    // No time limit here: the other side always answers, if only that it ran out of time, or the link ends.
    let called = gateway
        .call(
            |reply| GatewayMessage::Ask {
                envelope: message,
                reply,
            },
            None,
        )
        .await;
    drop(permit);
    let reply = match called {
        Ok(CallResult::Success(reply)) => {
            Reply::decode(reply.into()).unwrap_or_else(|error| Reply::Unknown(error.to_string()))
        }
        // Which of them comes when a link ends depends on what was under way.
        Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => unknown("link was lost"),
    };
    // Nobody may wait any more.
    let _ = answer.send(reply);
}

async fn wait(answer: oneshot::Receiver<Reply>, time_left: Duration) -> Reply {
    match timeout(time_left, answer).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(_)) => Reply::Unknown("node is stopping".into()),
        Err(_) => Reply::Unknown("no answer in time".into()),
    }
}
