//! Turns that a connector gives to callers on other nodes.
//!
//! A connector lives once, so that limits stay exact; a call leaves from the node where its caller lives, under that node's fence and with
//! that node's note in the effect ledger, so that a node that has lost its lease sends nothing, whatever it was promised. So a guest asks for
//! a turn, has it, and says how it went:
//!
//! ```text
//! caller's node            connector's node
//!   ask  ──────────────────►  queued like any other call
//!   ◄───────────────────────  have your turn, with credential version v     (or: denied, and why)
//!   note, call
//!   over ──────────────────►  settled: quota, breaker; again or not
//! ```
//!
//! What is lost on the way ends in a timeout here, which frees the place, and in a new asking there, which is harmless: nothing has left.

use super::{
    ConnectorError, ConnectorPool, Waiter, call::Call, connections::Connection, departure::Known,
    token::Kept,
};
use crate::{
    actors::{
        cluster::words::{decode, encode, kinds},
        core::Core,
    },
    connect::CallOutcome,
    domain::{ConnectionId, EmployeeId, ExecutionId, OrgId},
    graph::StepId,
};
use bytes::Bytes;
use dashmap::DashMap;
use serde::{Deserialize, Serialize};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tenure_cluster::{
    NodeIdentity,
    gateway::Gateway,
    protocol::{Envelope, HandlerError},
};
use tokio::{
    runtime::Handle,
    sync::oneshot,
    time::{Instant, timeout},
};
use uuid::Uuid;

/// One asking between the two nodes; each is answered at once.
pub(super) const ASK_TIME: Duration = Duration::from_secs(3);
/// How much longer than a request may take its guest is waited for.
const OVERTIME: Duration = Duration::from_secs(5);

/// What a caller's node says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToConnector {
    Ask(Box<Asks>),
    Over {
        ticket: Uuid,
        answer: Known,
    },
    /// Nobody waits for it any more.
    Cancel {
        ticket: Uuid,
    },
}

/// A call that wants a turn.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Asks {
    pub ticket: Uuid,
    pub org: OrgId,
    pub integration: String,
    pub connection: ConnectionId,
    pub capability: String,
    pub write: bool,
    /// Whether the ledger has a row of it.
    pub effect: bool,
    pub cost: u32,
    pub employee: EmployeeId,
    pub waits: Option<(ExecutionId, StepId)>,
    /// How long it waits at most, milliseconds.
    pub time_left_ms: u64,
}

/// What the connector's node says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToCaller {
    /// It is its turn, and this version of the credential is good.
    Turn {
        ticket: Uuid,
        version: i64,
    },
    Denied {
        ticket: Uuid,
        why: ConnectorError,
    },
}

/// Whether a call that is over goes again.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Verdict {
    pub again: bool,
}

/// A call of a caller on another node.
pub struct Guest {
    pub(super) asks: Asks,
    pub(super) deadline: Instant,
    from: NodeIdentity,
    gateway: Gateway,
    place: Arc<Place>,
    guests: Arc<Guests>,
}

/// What the messages of a guest find.
#[derive(Default)]
struct Place {
    is_gone: AtomicBool,
    /// Takes how the turn went that it has now.
    over: Mutex<Option<oneshot::Sender<Known>>>,
    /// Takes what follows.
    verdict: Mutex<Option<oneshot::Sender<Verdict>>>,
}

fn put<T>(slot: &Mutex<Option<T>>, value: Option<T>) -> Option<T> {
    std::mem::replace(
        &mut *slot.lock().unwrap_or_else(PoisonError::into_inner),
        value,
    )
}

/// Those that wait or have their turn, by ticket.
#[derive(Default)]
pub(super) struct Guests(DashMap<Uuid, Arc<Place>>);

impl Guest {
    pub(super) fn is_gone(&self) -> bool {
        self.place.is_gone.load(Ordering::Relaxed)
    }

    /// Gives the turn and waits until it is over. What the answer says of the call, its output left out.
    pub(super) async fn have_turn(
        &self,
        core: &Arc<Core>,
        kept: &Kept,
        connection: &Arc<Connection>,
    ) -> Known {
        let live = kept.live(core, connection).await?;
        let (over, ended) = oneshot::channel();
        put(&self.place.over, Some(over));
        let words = ToCaller::Turn {
            ticket: self.asks.ticket,
            version: live.version,
        };
        let envelope = Envelope::new(kinds::GRANT, ASK_TIME, encode(&words));
        let taken = self.gateway.ask(self.from.node_id, envelope).await;
        // What is not known to have been taken may have been: it is waited for all the same.
        if matches!(&taken, Err(error) if !is_unknown(error)) {
            self.place.is_gone.store(true, Ordering::Relaxed);
            return Err(ConnectorError::Stopped);
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        let time = left.min(core.settings.request_timeout * 2) + OVERTIME;
        match timeout(time, ended).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ConnectorError::Stopped),
            Err(_) => Ok(CallOutcome::Unknown {
                reason: "its node did not tell how it ended".into(),
                status: None,
                retry_after: None,
            }),
        }
    }

    /// Answers the node that has told how its turn went.
    pub(super) fn hears(&self, again: bool) {
        if let Some(verdict) = put(&self.place.verdict, None) {
            let _ = verdict.send(Verdict { again });
        }
    }

    pub(super) fn end(&mut self, known: &Known) {
        match (put(&self.place.verdict, None), known) {
            (Some(verdict), _) => drop(verdict.send(Verdict { again: false })),
            (None, Err(why)) => self.deny(why.clone()),
            (None, Ok(_)) => {}
        }
    }

    fn deny(&self, why: ConnectorError) {
        if self.is_gone() {
            return;
        }
        let words = ToCaller::Denied {
            ticket: self.asks.ticket,
            why,
        };
        let envelope = Envelope::new(kinds::GRANT, ASK_TIME, encode(&words));
        let (gateway, node) = (self.gateway.clone(), self.from.node_id);
        if let Ok(runtime) = Handle::try_current() {
            // If it is lost, the caller's patience ends it.
            runtime.spawn(async move { gateway.ask(node, envelope).await });
        }
    }
}

/// However it ends: nothing of it is left.
impl Drop for Guest {
    fn drop(&mut self) {
        self.guests.0.remove(&self.asks.ticket);
        put(&self.place.over, None);
        put(&self.place.verdict, None);
    }
}

fn is_unknown(error: &tenure_cluster::gateway::DeliveryError) -> bool {
    matches!(
        error,
        tenure_cluster::gateway::DeliveryError::OutcomeUnknown { .. }
    )
}

impl ConnectorPool {
    /// What a caller's node says to a connector here.
    pub(super) async fn hear_caller(
        &self,
        core: &Arc<Core>,
        from: NodeIdentity,
        body: &[u8],
    ) -> Result<Bytes, HandlerError> {
        match decode(body)? {
            ToConnector::Ask(asks) => self.take_guest(core, from, *asks).await,
            ToConnector::Over { ticket, answer } => {
                let place = self.guests.0.get(&ticket).map(|place| place.clone());
                let place = place.ok_or(HandlerError::NotHere)?;
                let over = put(&place.over, None).ok_or(HandlerError::NotHere)?;
                let (sender, verdict) = oneshot::channel();
                put(&place.verdict, Some(sender));
                let _ = over.send(answer);
                let verdict = verdict.await.unwrap_or(Verdict { again: false });
                Ok(encode(&verdict).into())
            }
            ToConnector::Cancel { ticket } => {
                if let Some((_, place)) = self.guests.0.remove(&ticket) {
                    place.is_gone.store(true, Ordering::Relaxed);
                    put(&place.over, None);
                }
                Ok(Bytes::new())
            }
        }
    }

    async fn take_guest(
        &self,
        core: &Arc<Core>,
        from: NodeIdentity,
        asks: Asks,
    ) -> Result<Bytes, HandlerError> {
        let cluster = core.cluster.as_ref().ok_or(HandlerError::NotHere)?;
        let connection = self.known(asks.org, &asks.integration, asks.connection);
        let connection = match connection.await {
            // It may have been made a moment ago.
            Ok(None) => self.read(asks.org, asks.connection).await,
            known => known,
        };
        let Ok(Some(connection)) = connection else {
            return Err(HandlerError::NotHere);
        };
        if core.placement.claim(connection.entity()).await.is_err() {
            return Err(HandlerError::NotHere);
        }
        let place = Arc::new(Place::default());
        self.guests.0.insert(asks.ticket, place.clone());
        let waiter = asks
            .waits
            .map(|(execution, step)| Waiter { execution, step });
        let guest = Guest {
            deadline: Instant::now() + Duration::from_millis(asks.time_left_ms),
            from,
            gateway: cluster.gateway().clone(),
            place,
            guests: self.guests.clone(),
            asks,
        };
        let call = Call::of_guest(guest, waiter);
        self.enqueue(&connection, call).await;
        Ok(Bytes::new())
    }
}
