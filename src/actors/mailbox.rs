//! The one mailbox type: ractor's mailboxes are unbounded and cannot be looked into, ours are bounded, counted and timed.

use super::vitals::Vitals;
use ractor::{ActorCell, ActorRef};
use std::sync::Arc;

/// A message kind that can be named in the introspection.
pub trait Named {
    fn name(&self) -> &'static str;
}

/// What travels: the message alone; the time it was queued is kept by the [`Vitals`].
pub struct Envelope<M>(M);

/// Never leaves the process: only the cluster's gateway can be reached from other nodes.
impl<M: Send + 'static> ractor::Message for Envelope<M> {}

impl<M: Named> Envelope<M> {
    /// Opens the envelope at the start of a handler; the guard counts the message as handled when it is dropped.
    pub fn open(self, vitals: &Arc<Vitals>) -> (M, Handling) {
        vitals.begin(self.0.name());
        (self.0, Handling(vitals.clone()))
    }
}

/// Lives as long as a message is in work. A panic drops it too: the message was handled, badly.
pub struct Handling(Arc<Vitals>);
impl Drop for Handling {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("mailbox is full")]
    Full,
    #[error("actor has stopped")]
    Stopped,
}

/// The sending side.
pub struct Mailbox<M: Named + Send + 'static> {
    actor: ActorRef<Envelope<M>>,
    vitals: Arc<Vitals>,
}

impl<M: Named + Send + 'static> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self {
            actor: self.actor.clone(),
            vitals: self.vitals.clone(),
        }
    }
}

impl<M: Named + Send + 'static> Mailbox<M> {
    pub fn new(actor: ActorRef<Envelope<M>>, vitals: Arc<Vitals>) -> Self {
        Self { actor, vitals }
    }

    /// Queues a message from outside; a full mailbox refuses it at once.
    ///
    /// # Errors
    /// `Full`, `Stopped`; the message is given back.
    pub fn offer(&self, message: M) -> Result<(), (SendError, M)> {
        if !self.vitals.enqueue(true) {
            return Err((SendError::Full, message));
        }
        self.push(message)
    }

    /// Queues a message that follows from work already admitted (an answer, a tick): it counts, but the bound does not refuse it,
    /// since losing it would leave a run without an owner. How many there can be is bounded by what was admitted.
    pub fn tell(&self, message: M) -> Result<(), (SendError, M)> {
        self.vitals.enqueue(false);
        self.push(message)
    }

    fn push(&self, message: M) -> Result<(), (SendError, M)> {
        self.actor.send_message(Envelope(message)).map_err(|error| {
            self.vitals.unqueue();
            match error {
                ractor::MessagingErr::SendErr(Envelope(message)) => (SendError::Stopped, message),
                // Only remote actors answer with the other kinds; a local one gives the message back.
                _ => unreachable!("a local mailbox gives a refused message back"),
            }
        })
    }

    pub fn vitals(&self) -> &Arc<Vitals> {
        &self.vitals
    }
    pub fn cell(&self) -> ActorCell {
        self.actor.get_cell()
    }
    pub fn depth(&self) -> usize {
        self.vitals.depth()
    }
}
