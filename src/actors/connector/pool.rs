//! The connector pool: supervises the connectors, which are started on first use and started again when they break down.
//!
//! Invariant: one connector a connection. Persists nothing.

use super::{
    Answer, Args, CallRequest, ConnectorError, ConnectorHandle, ConnectorView, Waiter, WaitingCall,
    app::Apps,
    connections::{Connection, Connections},
    restore,
};
use crate::{
    actors::{
        core::Core,
        mailbox::{Envelope, Mailbox, Named},
        vitals::Vitals,
    },
    connect::HttpCaller,
    domain::{ConnectionId, ExecutionId, OrgId, Timestamp},
    persistence::{ConnectionRow, DbError},
};
use dashmap::{DashMap, Entry};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};
use tokio::sync::oneshot;

const MAILBOX: usize = 10_000;

type Directory = DashMap<ConnectionId, ConnectorHandle>;

/// At which connections calls of a run are, so that the run can tell.
type Waiters = DashMap<ExecutionId, Vec<ConnectionId>>;

/// Takes the note of a call away when the call is over, or given up.
struct Noted {
    waiters: Arc<Waiters>,
    waiter: Waiter,
    connection: ConnectionId,
}

impl Noted {
    fn new(waiters: &Arc<Waiters>, waiter: Waiter, connection: ConnectionId) -> Self {
        let mut at = waiters.entry(waiter.execution).or_default();
        at.push(connection);
        Self {
            waiters: waiters.clone(),
            waiter,
            connection,
        }
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = self.waiters.entry(self.waiter.execution) {
            let at = entry.get_mut();
            if let Some(place) = at.iter().position(|one| *one == self.connection) {
                at.swap_remove(place);
            }
            if at.is_empty() {
                entry.remove();
            }
        }
    }
}

/// The way to every connector.
#[derive(Clone)]
pub struct ConnectorPool {
    connections: Arc<Connections>,
    directory: Arc<Directory>,
    waiters: Arc<Waiters>,
    mailbox: Mailbox<Message>,
}

impl ConnectorPool {
    pub async fn spawn(
        parent: ActorCell,
        core: Arc<Core>,
        http: HttpCaller,
    ) -> Result<Self, ractor::SpawnErr> {
        let vitals = core
            .vitals
            .register("node/connector_pool", "connector_pool", None, MAILBOX);
        let connections = Arc::new(Connections::new(
            core.db.clone(),
            core.catalogs.clone(),
            core.settings.oauth_apps.clone(),
        ));
        let directory = Arc::new(Directory::new());
        let pool = Pool {
            core,
            http,
            directory: directory.clone(),
            apps: Arc::default(),
        };
        let (actor, _) = Actor::spawn_linked(None, pool, vitals.clone(), parent).await?;
        Ok(Self {
            connections,
            directory,
            waiters: Arc::default(),
            mailbox: Mailbox::new(actor, vitals),
        })
    }

    /// # Errors
    /// If the database cannot be read.
    pub async fn find(
        &self,
        org: OrgId,
        integration: &str,
        name: Option<&str>,
    ) -> Result<Option<Arc<Connection>>, DbError> {
        self.connections.find(org, integration, name).await
    }

    /// Queues the call at the connection's connector and waits for its end, at most until its deadline and the request's own limit.
    ///
    /// # Errors
    /// If it surely did not leave.
    pub async fn call(
        &self,
        connection: &Arc<Connection>,
        request: CallRequest,
    ) -> Result<crate::connect::CallOutcome, ConnectorError> {
        let answer: Answer = self.connector(connection).await?.call(request, None).await;
        answer
    }

    /// As [`ConnectorPool::call`], for a step: until it ends, [`ConnectorPool::waiting_of`] tells where it stands.
    ///
    /// # Errors
    /// As there.
    pub async fn call_for(
        &self,
        waiter: Waiter,
        connection: &Arc<Connection>,
        request: CallRequest,
    ) -> Result<crate::connect::CallOutcome, ConnectorError> {
        let connector = self.connector(connection).await?;
        let _noted = Noted::new(&self.waiters, waiter, connection.id);
        connector.call(request, Some(waiter)).await
    }

    /// The calls of a run that wait for their turn here, with their places and estimates. What is under way is not among them.
    pub async fn waiting_of(&self, execution: ExecutionId) -> Vec<WaitingCall> {
        let at = self.waiters.get(&execution).map(|at| at.clone());
        let at: BTreeSet<ConnectionId> = at.into_iter().flatten().collect();
        let mut waiting = Vec::new();
        for id in at {
            let connector = self.directory.get(&id).map(|connector| connector.clone());
            if let Some(connector) = connector {
                waiting.extend(connector.waiting_of(execution).await.unwrap_or_default());
            }
        }
        waiting
    }

    /// What is known of the org's connections to an integration is read again when it is needed next.
    pub fn forget(&self, org: OrgId, integration: &str) {
        self.connections.forget(org, integration);
    }

    /// A connection was added, changed or removed: what is kept of it is wrong.
    pub fn changed(&self, org: OrgId, integration: &str, id: ConnectionId) {
        self.connections.forget(org, integration);
        if let Some((_, connector)) = self.directory.remove(&id) {
            connector
                .0
                .cell()
                .stop(Some("its connection has changed".into()));
        }
    }

    /// What a connector is doing; `None` if it has nothing to do and sleeps.
    pub async fn look(&self, id: ConnectionId) -> Option<ConnectorView> {
        let connector = self.directory.get(&id).map(|connector| connector.clone())?;
        connector.look().await
    }

    /// What is to be told of a connection's connector, whether it is awake or sleeps; a sleeping one is not woken. `None` if the catalog
    /// has its integration no more.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn view_of(
        &self,
        row: &ConnectionRow,
        now: Timestamp,
    ) -> Result<Option<ConnectorView>, DbError> {
        if let Some(view) = self.look(row.id).await {
            return Ok(Some(view));
        }
        let Some(connection) = self.connections.of_row(row.clone()).await? else {
            return Ok(None);
        };
        let kept = restore(self.connections.db(), row.id).await;
        Ok(Some(ConnectorView::asleep(connection.rules, kept, now)))
    }

    async fn connector(
        &self,
        connection: &Arc<Connection>,
    ) -> Result<ConnectorHandle, ConnectorError> {
        if let Some(connector) = self.directory.get(&connection.id) {
            return Ok(connector.clone());
        }
        let (reply, answer) = oneshot::channel();
        self.mailbox
            .offer(Message::Start {
                connection: connection.clone(),
                reply,
            })
            .map_err(|_| ConnectorError::Overloaded)?;
        answer.await.map_err(|_| ConnectorError::Stopped)
    }
}

enum Message {
    Start {
        connection: Arc<Connection>,
        reply: oneshot::Sender<ConnectorHandle>,
    },
}
impl Named for Message {
    fn name(&self) -> &'static str {
        "start"
    }
}

struct Pool {
    core: Arc<Core>,
    http: HttpCaller,
    directory: Arc<Directory>,
    apps: Arc<Apps>,
}

struct State {
    vitals: Arc<Vitals>,
    by_actor: HashMap<ActorId, ConnectionId>,
}

impl Actor for Pool {
    type Msg = Envelope<Message>;
    type State = State;
    type Arguments = Arc<Vitals>;

    async fn pre_start(
        &self,
        _: ActorRef<Self::Msg>,
        vitals: Arc<Vitals>,
    ) -> Result<State, ActorProcessingErr> {
        Ok(State {
            vitals,
            by_actor: HashMap::new(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (Message::Start { connection, reply }, _handling) = message.open(&state.vitals);
        let known = self
            .directory
            .get(&connection.id)
            .map(|connector| connector.clone());
        let connector = match known {
            Some(connector) => connector,
            None => {
                let id = connection.id;
                let args = Args {
                    core: self.core.clone(),
                    http: self.http.clone(),
                    apps: self.apps.clone(),
                    connection,
                };
                let connector = ConnectorHandle::spawn(myself.get_cell(), args).await?;
                state.by_actor.insert(connector.0.cell().get_id(), id);
                self.directory.insert(id, connector.clone());
                connector
            }
        };
        let _ = reply.send(connector);
        Ok(())
    }

    /// A connector that broke down is started again by the next call; callers in its queue are told that it stopped.
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (who, why) = match &event {
            SupervisionEvent::ActorFailed(who, why) => (who, Some(why.to_string())),
            SupervisionEvent::ActorTerminated(who, _, _) => (who, None),
            _ => return Ok(()),
        };
        let Some(id) = state.by_actor.remove(&who.get_id()) else {
            return Ok(());
        };
        if let Some((_, connector)) = self.directory.remove_if(&id, |_, connector| {
            connector.0.cell().get_id() == who.get_id()
        }) && let Some(why) = why
        {
            tracing::error!(connection = %id, why, "connector broke down");
            connector
                .0
                .vitals()
                .record_error(why, self.core.clock.now());
            connector.0.vitals().record_restart();
        }
        Ok(())
    }
}
