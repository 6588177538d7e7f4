//! What is done with a message that has arrived.

use crate::{
    NodeIdentity,
    protocol::{Envelope, HandlerError, Reply},
};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use tokio::{sync::Semaphore, time::timeout};

/// The layer above.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Answers a message. It is never cut off in the middle: if it takes longer than `envelope.time_left`, nobody waits for the answer
    /// any more, but it runs to its end.
    ///
    /// # Errors
    /// It did not do it.
    async fn handle(&self, from: NodeIdentity, envelope: Envelope) -> Result<Bytes, HandlerError>;
}

/// Runs handlers beside each other, with a bound on all of them.
pub(crate) struct Server {
    handler: Arc<dyn Handler>,
    /// One permit a handler at work.
    working: Arc<Semaphore>,
}

impl Server {
    pub(crate) fn new(handler: Arc<dyn Handler>, most_at_once: usize) -> Arc<Self> {
        Arc::new(Self {
            handler,
            working: Arc::new(Semaphore::new(most_at_once)),
        })
    }

    /// Encoded both ways.
    pub(super) async fn serve_bytes(self: Arc<Self>, message: Bytes) -> Bytes {
        let reply = match Envelope::decode(message) {
            Ok((from, envelope)) => self.serve(from, envelope).await,
            Err(error) => Reply::Refused(HandlerError::Malformed(error.to_string())),
        };
        reply.encode()
    }

    pub(super) async fn serve(self: Arc<Self>, from: NodeIdentity, envelope: Envelope) -> Reply {
        let Ok(permit) = self.working.clone().try_acquire_owned() else {
            return Reply::Refused(HandlerError::Overloaded);
        };
        if envelope.time_left.is_zero() {
            return Reply::Refused(HandlerError::TooLate);
        }
        let (time_left, answer_limit) = (envelope.time_left, envelope.answer_limit);
        let handler = self.handler.clone();
        // A task of its own: it may panic, and it may outlive the wait.
        let work = tokio::spawn(async move {
            let handled = handler.handle(from, envelope).await;
            drop(permit);
            handled
        });
        match timeout(time_left, work).await {
            Ok(Ok(Ok(body))) if body.len() > answer_limit => {
                let size = body.len();
                Reply::Unknown(format!(
                    "answer of {size} bytes is longer than {answer_limit}"
                ))
            }
            Ok(Ok(Ok(body))) => Reply::Done(body),
            Ok(Ok(Err(error))) => Reply::Refused(error),
            Ok(Err(_)) => Reply::Unknown("handler crashed".into()),
            Err(_) => Reply::Unknown("handler is not done in time".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::sleep;
    use uuid::Uuid;

    struct Example;
    #[async_trait]
    impl Handler for Example {
        async fn handle(&self, _: NodeIdentity, envelope: Envelope) -> Result<Bytes, HandlerError> {
            match envelope.kind.as_str() {
                "echo" => Ok(envelope.body),
                "sleep" => {
                    sleep(Duration::from_millis(300)).await;
                    Ok(Bytes::new())
                }
                "panic" => panic!("on purpose"),
                "large" => Ok(vec![0; envelope.answer_limit + 1].into()),
                _ => Err(HandlerError::UnknownKind),
            }
        }
    }
    const ME: NodeIdentity = NodeIdentity {
        node_id: Uuid::nil(),
        incarnation: 1,
    };

    async fn answer(kind: &str) -> Reply {
        let envelope = Envelope::new(kind, Duration::from_millis(50), "body");
        Server::new(Arc::new(Example), 1).serve(ME, envelope).await
    }

    #[tokio::test]
    async fn whatever_a_handler_does_there_is_a_reply() {
        assert_eq!(answer("echo").await, Reply::Done("body".into()));
        assert_eq!(
            answer("else").await,
            Reply::Refused(HandlerError::UnknownKind)
        );
        for unknown in ["sleep", "panic", "large"] {
            let reply = answer(unknown).await;
            assert!(matches!(reply, Reply::Unknown(_)), "{unknown}: {reply:?}");
        }
    }

    #[tokio::test]
    async fn a_full_house_says_so_at_once_also_while_nobody_waits_any_more() {
        let server = Server::new(Arc::new(Example), 1);
        let envelope = |kind, millis| Envelope::new(kind, Duration::from_millis(millis), "");
        let slow = server.clone().serve(ME, envelope("sleep", 50)).await;
        assert!(matches!(slow, Reply::Unknown(_)));
        let next = server.clone().serve(ME, envelope("echo", 5_000)).await;
        assert_eq!(next, Reply::Refused(HandlerError::Overloaded));
        sleep(Duration::from_millis(600)).await;
        let next = server.clone().serve(ME, envelope("echo", 5_000)).await;
        assert_eq!(next, Reply::Done(Bytes::new()));
        let late = server.serve(ME, envelope("echo", 0)).await;
        assert_eq!(late, Reply::Refused(HandlerError::TooLate));
    }

    #[tokio::test]
    async fn what_is_no_envelope_is_refused() {
        let server = Server::new(Arc::new(Example), 1);
        let reply = server.serve_bytes(Bytes::from_static(b"noise")).await;
        assert!(matches!(
            Reply::decode(reply),
            Ok(Reply::Refused(HandlerError::Malformed(_)))
        ));
    }
}
