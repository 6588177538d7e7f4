//! The actor: takes what peers send off its mailbox and gives it to the [`Server`]. It has no state and never waits.

use super::Server;
use bytes::Bytes;
use ractor::{
    Actor, ActorProcessingErr, ActorRef, Message, RpcReplyPort,
    message::{BoxedDowncastErr, SerializedMessage},
};
use std::sync::Arc;

/// Where every node's gateway is found. Part of the protocol.
pub(crate) const SCOPE: &str = "tenure";
pub(crate) const GROUP: &str = "gateway";

/// The only message of this process that can cross to another.
pub(crate) enum GatewayMessage {
    Ask {
        envelope: Bytes,
        reply: RpcReplyPort<Vec<u8>>,
    },
}

impl Message for GatewayMessage {
    fn serializable() -> bool {
        true
    }

    fn serialize(self) -> Result<SerializedMessage, BoxedDowncastErr> {
        let Self::Ask { envelope, reply } = self;
        Ok(SerializedMessage::Call {
            variant: String::new(),
            args: envelope.into(),
            reply,
            metadata: None,
        })
    }

    fn deserialize(message: SerializedMessage) -> Result<Self, BoxedDowncastErr> {
        match message {
            SerializedMessage::Call { args, reply, .. } => Ok(Self::Ask {
                envelope: args.into(),
                reply,
            }),
            SerializedMessage::Cast { .. } | SerializedMessage::CallReply(..) => {
                Err(BoxedDowncastErr)
            }
        }
    }
}

pub(crate) struct GatewayActor;

impl Actor for GatewayActor {
    type Msg = GatewayMessage;
    type State = Arc<Server>;
    type Arguments = Arc<Server>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        server: Arc<Server>,
    ) -> Result<Self::State, ActorProcessingErr> {
        ractor::pg::join_scoped(SCOPE.into(), GROUP.into(), vec![myself.get_cell()]);
        Ok(server)
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        message: Self::Msg,
        server: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let GatewayMessage::Ask { envelope, reply } = message;
        let server = server.clone();
        tokio::spawn(async move {
            // If the link is gone there is nobody to tell.
            let _ = reply.send(server.serve_bytes(envelope).await.into());
        });
        Ok(())
    }
}
