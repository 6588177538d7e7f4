//! Calls whose connector lives on another node: they ask for a turn there and are made here. See [`super::turns`].

use super::{
    CallRequest, ConnectorError, ConnectorPool, Waiter,
    connections::Connection,
    departure::{Answer, Fate, Known},
    exchange::{Tokens, exchange},
    token::{Kept, Lent},
    turns::{ASK_TIME, Asks, ToCaller, ToConnector, Verdict},
};
use crate::{
    actors::{
        cluster::{
            Cluster,
            words::{decode, encode, kinds},
        },
        core::Core,
    },
    connect::CallOutcome,
    domain::{ConnectionId, ExecutionId, OrgId},
};
use bytes::Bytes;
use dashmap::DashMap;
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tenure_cluster::{
    NodeIdentity, PlacementError, Route,
    gateway::DeliveryError,
    protocol::{Envelope, HandlerError},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

/// How long a connector's node is looked for after it has died: longer than a lease.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_LAST: Duration = Duration::from_millis(500);
/// How often it is looked whether the connector's node is still linked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a token endpoint may take, besides.
const RENEW_TIME: Duration = Duration::from_secs(45);

/// Where a connection's connector is.
pub(super) enum Place {
    Here,
    Node(NodeIdentity),
}

/// Calls that wait for what a connector elsewhere says, by ticket.
#[derive(Default)]
pub(super) struct Tickets(DashMap<Uuid, mpsc::Sender<ToCaller>>);

/// The credentials that were used last, of connections whose connectors are elsewhere.
#[derive(Default)]
pub(super) struct Borrowed(DashMap<ConnectionId, Arc<Kept>>);

/// So many are kept; they are read again if they are needed.
const BORROWED_MAX: usize = 10_000;

impl Borrowed {
    fn of(&self, id: ConnectionId) -> Arc<Kept> {
        if self.0.len() >= BORROWED_MAX {
            self.0.clear();
        }
        self.0.entry(id).or_default().clone()
    }

    pub(super) fn forget(&self, id: ConnectionId) {
        self.0.remove(&id);
    }
}

/// A turn that was asked for. Given up when dropped.
struct Ticket {
    id: Uuid,
    tickets: Arc<Tickets>,
    cluster: Arc<Cluster>,
    at: NodeIdentity,
    hears: mpsc::Receiver<ToCaller>,
    is_over: bool,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.tickets.0.remove(&self.id);
        if !self.is_over {
            let words = ToConnector::Cancel { ticket: self.id };
            let envelope = Envelope::new(kinds::TURN, ASK_TIME, encode(&words));
            let _ = self.cluster.gateway().tell(self.at.node_id, envelope);
        }
    }
}

/// How an asking ended.
enum Turned {
    /// With what is known of the call.
    Answered(Fate),
    /// It is not there, or cannot be reached; nothing has left.
    Away,
}

impl ConnectorPool {
    /// Where a connection's connector is, or should be.
    ///
    /// # Errors
    /// Nobody may have it now.
    pub(super) async fn place_of(&self, connection: &Connection) -> Result<Place, ConnectorError> {
        let core = self.core().ok_or(ConnectorError::Stopped)?;
        let Some(cluster) = core.cluster.clone() else {
            return Ok(Place::Here);
        };
        let entity = connection.entity();
        if core.placement.owned(entity).is_some() {
            return Ok(Place::Here);
        }
        if let Route::Node(node) = cluster.route(entity) {
            return Ok(Place::Node(node));
        }
        claimed(&core, connection).await
    }

    /// As [`ConnectorPool::call`], by a connector on another node.
    pub(super) async fn call_elsewhere(
        &self,
        connection: &Arc<Connection>,
        request: &CallRequest,
        waiter: Option<Waiter>,
        first: NodeIdentity,
    ) -> Result<Answer, CameHome> {
        let core = self.core().ok_or(CameHome)?;
        let Some(cluster) = core.cluster.clone() else {
            return Err(CameHome);
        };
        let (began, mut node, mut pause) = (Instant::now(), first, PAUSE_FIRST);
        loop {
            let asked = Instant::now();
            self.asked_at.insert(connection.id, node);
            match self
                .ask_for_turn(&core, &cluster, connection, request, waiter, node)
                .await
            {
                Turned::Answered(fate) => match fate.known() {
                    Err(ConnectorError::Moved | ConnectorError::Stopped) => {}
                    _ => return Ok(fate.into_answer()),
                },
                Turned::Away => {}
            }
            if request.deadline <= Instant::now() {
                return Ok(refused(ConnectorError::Unreachable));
            }
            // Who has waited in a queue has not looked for the node all that time.
            if asked.elapsed() > PATIENCE {
                pause = PAUSE_FIRST;
            } else if began.elapsed() > PATIENCE && pause == PAUSE_LAST {
                return Ok(refused(ConnectorError::Unreachable));
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_LAST);
            match claimed(&core, connection).await {
                Ok(Place::Here) => {
                    self.asked_at.remove(&connection.id);
                    return Err(CameHome);
                }
                Ok(Place::Node(owner)) => node = owner,
                Err(ConnectorError::Unreachable) => {}
                Err(error) => return Ok(refused(error)),
            }
        }
    }

    async fn ask_for_turn(
        &self,
        core: &Arc<Core>,
        cluster: &Arc<Cluster>,
        connection: &Arc<Connection>,
        request: &CallRequest,
        waiter: Option<Waiter>,
        node: NodeIdentity,
    ) -> Turned {
        let id = Uuid::now_v7();
        let (sender, hears) = mpsc::channel(4);
        self.tickets.0.insert(id, sender);
        let mut ticket = Ticket {
            id,
            tickets: self.tickets.clone(),
            cluster: cluster.clone(),
            at: node,
            hears,
            is_over: false,
        };
        let left = request.deadline.saturating_duration_since(Instant::now());
        let words = ToConnector::Ask(Box::new(Asks {
            ticket: id,
            org: connection.org,
            integration: connection.integration.clone(),
            connection: connection.id,
            capability: request.request.capability.clone(),
            write: request.request.write,
            effect: request.effect.is_some(),
            cost: request.cost,
            employee: request.employee,
            waits: waiter.map(|waiter| (waiter.execution, waiter.step)),
            time_left_ms: left.as_millis() as u64,
        }));
        let envelope = Envelope::new(kinds::TURN, ASK_TIME, encode(&words));
        match cluster.gateway().ask(node.node_id, envelope).await {
            Ok(_) => {}
            Err(DeliveryError::Overloaded(_)) => {
                return Turned::Answered(held(ConnectorError::Overloaded));
            }
            Err(_) => return Turned::Away,
        }
        loop {
            let heard = tokio::select! {
                heard = ticket.hears.recv() => heard,
                () = tokio::time::sleep_until(request.deadline + ASK_TIME) => None,
                () = lost(cluster, node) => None,
            };
            let version = match heard {
                Some(ToCaller::Turn { version, .. }) => version,
                Some(ToCaller::Denied { why, .. }) => {
                    ticket.is_over = true;
                    return Turned::Answered(held(why));
                }
                None => return Turned::Away,
            };
            let lent = Lent {
                version,
                by: node,
                kept: self.borrowed.of(connection.id),
            };
            let tokens = Tokens::Lent(&lent);
            let mut fate = Fate::held();
            exchange(core, &core.http, &tokens, connection, request, &mut fate).await;
            let again = self.tell_over(cluster, node, id, fate.known()).await;
            // Whatever the other node says: what may have happened is not sent again without the ledger.
            if !again || !fate.may_go_again() {
                ticket.is_over = true;
                return Turned::Answered(fate);
            }
        }
    }

    /// Tells the connector how it went. True: there will be another turn.
    async fn tell_over(
        &self,
        cluster: &Cluster,
        node: NodeIdentity,
        ticket: Uuid,
        known: &Known,
    ) -> bool {
        let words = ToConnector::Over {
            ticket,
            answer: without_output(known),
        };
        let envelope = Envelope::new(kinds::TURN, ASK_TIME, encode(&words));
        let verdict = cluster.gateway().ask(node.node_id, envelope).await.ok();
        let verdict = verdict.and_then(|body| decode::<Verdict>(&body).ok());
        verdict.is_some_and(|verdict| verdict.again)
    }

    /// What another node says about a turn, or asks of a connector here.
    pub async fn from_afar(
        &self,
        from: NodeIdentity,
        kind: &str,
        body: &[u8],
    ) -> Result<Bytes, HandlerError> {
        let core = self.core().ok_or(HandlerError::Leaving)?;
        match kind {
            kinds::TURN => self.hear_caller(&core, from, body).await,
            kinds::GRANT => {
                let words: ToCaller = decode(body)?;
                let (ToCaller::Turn { ticket, .. } | ToCaller::Denied { ticket, .. }) = &words;
                let caller = self.tickets.0.get(ticket).map(|caller| caller.clone());
                let caller = caller.ok_or(HandlerError::NotHere)?;
                caller.try_send(words).map_err(|_| HandlerError::NotHere)?;
                Ok(Bytes::new())
            }
            _ => self.answer_about(&core, decode(body)?).await,
        }
    }
}

/// The connector's place is here by now.
pub(super) struct CameHome;

/// What is known of a call that did not leave.
fn held(why: ConnectorError) -> Fate {
    let mut fate = Fate::held();
    fate.refuse(why);
    fate
}

pub(super) fn refused(why: ConnectorError) -> Answer {
    held(why).into_answer()
}

async fn claimed(core: &Core, connection: &Connection) -> Result<Place, ConnectorError> {
    match core.placement.claim(connection.entity()).await {
        Ok(_) => Ok(Place::Here),
        Err(PlacementError::OwnedBy(node)) => Ok(Place::Node(node)),
        Err(PlacementError::Fenced) => Err(ConnectorError::Stopped),
        Err(PlacementError::NotTaken | PlacementError::Unavailable(_)) => {
            let route = core
                .cluster
                .as_ref()
                .map(|cluster| cluster.route(connection.entity()));
            match route {
                Some(Route::Node(node)) => Ok(Place::Node(node)),
                _ => Err(ConnectorError::Unreachable),
            }
        }
    }
}

/// Returns when there is no link to a node.
async fn lost(cluster: &Cluster, node: NodeIdentity) {
    while cluster.is_linked(node) {
        sleep(LOOK_EVERY).await;
    }
}

fn without_output(known: &Known) -> Known {
    match known {
        Ok(CallOutcome::Ok { status, rate, .. }) => Ok(CallOutcome::Ok {
            status: *status,
            output: serde_json::Value::Null,
            rate: rate.clone(),
        }),
        other => other.clone(),
    }
}

/// What one node wants to know of another's connectors.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum About {
    Look {
        connection: ConnectionId,
    },
    WaitingOf {
        connection: ConnectionId,
        execution: ExecutionId,
    },
    WaitingOfRun {
        execution: ExecutionId,
    },
    Renew {
        org: OrgId,
        connection: ConnectionId,
        refused: i64,
    },
}

impl ConnectorPool {
    async fn answer_about(&self, core: &Arc<Core>, about: About) -> Result<Bytes, HandlerError> {
        let answer = match about {
            About::Look { connection } => encode(&self.look(connection).await),
            About::WaitingOf {
                connection,
                execution,
            } => encode(&words_of(self.waiting_at(connection, execution).await)),
            About::WaitingOfRun { execution } => {
                encode(&words_of(self.waiting_of(execution).await))
            }
            About::Renew {
                org,
                connection,
                refused,
            } => {
                let renewed = core.hub.renewed(org, connection, refused).await;
                let renewed = renewed.map_err(super::token::refused);
                if let (Ok(live), Ok(Some(row))) = (&renewed, self.read(org, connection).await) {
                    self.renewed(org, &row.integration, connection, live.clone());
                }
                encode(&renewed.map(|live| live.version))
            }
        };
        Ok(answer.into())
    }

    /// Where the calls of a run stand, whichever node its employee lives on.
    pub async fn waiting_of_run(
        &self,
        at: Option<NodeIdentity>,
        execution: ExecutionId,
    ) -> Vec<super::WaitingCall> {
        match at {
            None => self.waiting_of(execution).await,
            Some(node) => {
                let about = About::WaitingOfRun { execution };
                let asked = self.ask_about(node, &about, LOOK_EVERY).await;
                from_words(asked.unwrap_or_default())
            }
        }
    }

    /// Where the calls of a run stand at a connector elsewhere.
    pub(super) async fn waiting_elsewhere(
        &self,
        node: NodeIdentity,
        connection: ConnectionId,
        execution: ExecutionId,
    ) -> Vec<super::WaitingCall> {
        let about = About::WaitingOf {
            connection,
            execution,
        };
        let asked = self.ask_about(node, &about, LOOK_EVERY).await;
        from_words(asked.unwrap_or_default())
    }

    /// What a connector elsewhere is doing; `None` if it sleeps or cannot be asked.
    pub(super) async fn look_elsewhere(
        &self,
        node: NodeIdentity,
        connection: ConnectionId,
    ) -> Option<serde_json::Value> {
        let about = About::Look { connection };
        self.ask_about::<Option<serde_json::Value>>(node, &about, LOOK_EVERY)
            .await
            .ok()?
    }

    async fn ask_about<T: serde::de::DeserializeOwned>(
        &self,
        node: NodeIdentity,
        about: &About,
        time: Duration,
    ) -> Result<T, DeliveryError> {
        let unknown = |why: &str| DeliveryError::OutcomeUnknown {
            node: node.node_id,
            why: why.into(),
        };
        let core = self.core().ok_or_else(|| unknown("node is stopping"))?;
        let cluster = core.cluster.as_ref().ok_or_else(|| unknown("no cluster"))?;
        let envelope = Envelope::new(kinds::CONNECTOR, time, encode(about));
        let asked = cluster.gateway().ask(node.node_id, envelope);
        let body = timeout(time, asked)
            .await
            .map_err(|_| unknown("no answer in time"))??;
        decode(&body).map_err(|error| unknown(&error.to_string()))
    }
}

/// Has the connector's node make a newer credential than `refused`; gives its version.
pub(super) async fn renewed(
    core: &Core,
    node: NodeIdentity,
    connection: &Connection,
    refused: i64,
) -> Result<i64, ConnectorError> {
    let about = About::Renew {
        org: connection.org,
        connection: connection.id,
        refused,
    };
    let asked = core
        .connectors()
        .ask_about::<Result<i64, ConnectorError>>(node, &about, RENEW_TIME);
    asked.await.unwrap_or_else(|error| {
        Err(ConnectorError::TokenLater {
            reason: error.to_string(),
            retry_after: None,
        })
    })
}

/// As it travels: with its step.
type Words = Vec<(crate::graph::StepId, String, usize, u64, String)>;

fn words_of(waiting: Vec<super::WaitingCall>) -> Words {
    let words = |call: super::WaitingCall| {
        (
            call.step,
            call.capability,
            call.place,
            call.estimate_ms,
            call.reason,
        )
    };
    waiting.into_iter().map(words).collect()
}

fn from_words(words: Words) -> Vec<super::WaitingCall> {
    let call = |(step, capability, place, estimate_ms, reason)| super::WaitingCall {
        step,
        capability,
        place,
        estimate_ms,
        reason,
    };
    words.into_iter().map(call).collect()
}
