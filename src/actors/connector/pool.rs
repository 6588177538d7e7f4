//! The connector pool: supervises the connectors, which are started on first use and started again when they break down.
//!
//! Invariants: one connector a connection; no call is lost between one that goes to sleep and the next. Senders hold the directory's entry
//! while they send, and a connector takes itself out only with an empty mailbox. Persists nothing.

use super::{
    Args, Call, CallRequest, ConnectorError, ConnectorHandle, ConnectorLook, ConnectorView,
    NotTaken, Waiter, WaitingCall,
    app::Apps,
    connections::{Connection, Connections},
    departure::{Answer, nobody_told},
    elsewhere::{Borrowed, Place, Tickets, refused},
    path,
    state::restore,
    turns::Guests,
};
use crate::{
    actors::{
        core::Core,
        mailbox::{Envelope, Mailbox, Named},
        vitals::{Vitals, VitalsRegistry},
    },
    connect::{HttpCaller, token::Live},
    domain::{ConnectionId, ExecutionId, OrgId, Timestamp},
    persistence::{ConnectionRow, DbError},
};
use dashmap::{DashMap, Entry};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Weak},
    time::Duration,
};
use tenure_cluster::{Entity, NodeIdentity, Route};
use tokio::sync::oneshot;

const MAILBOX: usize = 10_000;
/// How often a call that found its connector gone looks for the next one. Each has just been started, so that once is the rule.
const STARTS: usize = 3;
/// How often a call follows its connector to another node.
const MOVES: usize = 5;

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
    leaving: Arc<Directory>,
    waiters: Arc<Waiters>,
    mailbox: Mailbox<Message>,
    vitals: VitalsRegistry,
    core: Weak<Core>,
    pub(super) guests: Arc<Guests>,
    pub(super) tickets: Arc<Tickets>,
    pub(super) borrowed: Arc<Borrowed>,
    /// Where calls of connections whose connectors live elsewhere were asked for last.
    pub(super) asked_at: Arc<DashMap<ConnectionId, NodeIdentity>>,
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
        let (directory, leaving) = (Arc::new(Directory::new()), Arc::new(Directory::new()));
        let registry = core.vitals.clone();
        let weak = Arc::downgrade(&core);
        let pool = Pool {
            core,
            http,
            directory: directory.clone(),
            leaving: leaving.clone(),
            apps: Arc::default(),
        };
        let (actor, _) = Actor::spawn_linked(None, pool, vitals.clone(), parent).await?;
        Ok(Self {
            connections,
            directory,
            leaving,
            waiters: Arc::default(),
            mailbox: Mailbox::new(actor, vitals),
            vitals: registry,
            core: weak,
            guests: Arc::default(),
            tickets: Arc::default(),
            borrowed: Arc::default(),
            asked_at: Arc::default(),
        })
    }

    /// `None` only while the node ends.
    pub(super) fn core(&self) -> Option<Arc<Core>> {
        self.core.upgrade()
    }

    /// # Errors
    /// If the database cannot be read.
    pub async fn find(
        &self,
        org: OrgId,
        integration: &str,
        name: Option<&str>,
    ) -> Result<Option<Arc<Connection>>, DbError> {
        self.connections.find(org, None, integration, name).await
    }

    /// The same for somebody who may also use what belongs to one user.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn find_for(
        &self,
        org: OrgId,
        user: Option<&str>,
        integration: &str,
        wanted: Option<&str>,
    ) -> Result<Option<Arc<Connection>>, DbError> {
        self.connections.find(org, user, integration, wanted).await
    }

    /// A connection as its row is, whoever owns it; `None` if catalog and account do not fit.
    ///
    /// # Errors
    /// If the org's catalog cannot be read.
    pub async fn of_row(&self, row: &ConnectionRow) -> Result<Option<Arc<Connection>>, DbError> {
        self.connections.of_row(row).await
    }

    /// Queues the call at the connection's connector and waits for its end, at most until its deadline and the request's own limit.
    ///
    /// # Errors
    /// If it surely did not leave.
    pub async fn call(&self, connection: &Arc<Connection>, request: CallRequest) -> Answer {
        self.queue(connection, request, None).await
    }

    async fn queue(
        &self,
        connection: &Arc<Connection>,
        request: CallRequest,
        waiter: Option<Waiter>,
    ) -> Answer {
        let (request, mut connection) = (Arc::new(request), connection.clone());
        for _ in 0..MOVES {
            let node = match self.place_of(&connection).await {
                Ok(Place::Here) => {
                    let (call, answer) = Call::new(request.clone(), waiter);
                    self.enqueue(&connection, call).await;
                    // A call tells what is known of it however it is let go.
                    let answer = answer.await.unwrap_or_else(|_| Ok(nobody_told()));
                    // It is held: the next connector can have it.
                    if !matches!(&answer, Err(held) if held.is_to_go_elsewhere()) {
                        return answer;
                    }
                    match self.as_it_is_now(&connection).await {
                        Some(now) => connection = now,
                        None => return refused(ConnectorError::Stopped),
                    }
                    continue;
                }
                Ok(Place::Node(node)) => node,
                Err(why) => return refused(why),
            };
            let called = self.call_elsewhere(&connection, &request, waiter, node);
            if let Ok(answer) = called.await {
                return answer;
            }
        }
        refused(ConnectorError::Unreachable)
    }

    /// The connection of a call that was given back, if the call still fits it: what was shaped for another account, or another address,
    /// does not go with its new credential.
    async fn as_it_is_now(&self, connection: &Connection) -> Option<Arc<Connection>> {
        let (org, integration, id) = (connection.org, &connection.integration, connection.id);
        let now = self.known(org, integration, id).await.ok()??;
        (now.account == connection.account).then_some(now)
    }

    /// Queues a call at its connector here, which is started if need be. One that cannot be queued is refused.
    pub(super) async fn enqueue(&self, connection: &Arc<Connection>, mut call: Box<Call>) {
        for _ in 0..STARTS {
            match self.give(connection.id, call) {
                Ok(()) => return,
                Err(NotTaken::Overloaded(call)) => return call.refuse(ConnectorError::Overloaded),
                Err(NotTaken::Gone(back)) => call = back,
            }
            if let Err(why) = self.start(connection).await {
                return call.refuse(why);
            }
        }
        call.refuse(ConnectorError::Stopped);
    }

    fn give(&self, id: ConnectionId, call: Box<Call>) -> Result<(), NotTaken> {
        match self.directory.get(&id) {
            Some(connector) => connector.take(call),
            None => Err(NotTaken::Gone(call)),
        }
    }

    /// For the connector alone: takes it out of the directory if nothing is in its mailbox. After this nobody can reach it.
    pub(super) fn let_go(&self, connection: &Connection, actor: ActorId) -> bool {
        let gone = self.directory.remove_if(&connection.id, |id, connector| {
            let is_last = connector.0.cell().get_id() == actor && connector.0.depth() == 0;
            if is_last {
                // Before the next one can register under the same path.
                self.vitals.remove_tree(&path(*id));
            }
            is_last
        });
        if gone.is_some() {
            self.connections
                .forget(connection.org, &connection.integration);
            self.give_home(connection.entity());
        }
        gone.is_some()
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
    ) -> Answer {
        let _noted = Noted::new(&self.waiters, waiter, connection.id);
        self.queue(connection, request, Some(waiter)).await
    }

    /// The calls of a run that wait for their turn here, with their places and estimates. What is under way is not among them.
    pub async fn waiting_of(&self, execution: ExecutionId) -> Vec<WaitingCall> {
        let at = self.waiters.get(&execution).map(|at| at.clone());
        let at: BTreeSet<ConnectionId> = at.into_iter().flatten().collect();
        let mut waiting = Vec::new();
        for id in at {
            waiting.extend(match self.elsewhere(id) {
                Some(node) => self.waiting_elsewhere(node, id, execution).await,
                None => self.waiting_at(id, execution).await,
            });
        }
        waiting
    }

    pub(super) async fn waiting_at(
        &self,
        id: ConnectionId,
        execution: ExecutionId,
    ) -> Vec<WaitingCall> {
        let connector = self.directory.get(&id).map(|connector| connector.clone());
        match connector {
            Some(connector) => connector.waiting_of(execution).await.unwrap_or_default(),
            None => Vec::new(),
        }
    }

    /// At which node a connection's calls wait that were asked for from here.
    fn elsewhere(&self, id: ConnectionId) -> Option<NodeIdentity> {
        self.asked_at.get(&id).map(|node| *node)
    }

    /// What is known of the org's connections to an integration is read again when it is needed next.
    pub fn forget(&self, org: OrgId, integration: &str) {
        self.connections.forget(org, integration);
    }

    /// The connection has a newer credential: its connector, if it is awake, uses that from now on.
    pub fn renewed(&self, org: OrgId, integration: &str, id: ConnectionId, live: Arc<Live>) {
        self.connections.forget(org, integration);
        if let Some(connector) = self.directory.get(&id) {
            connector.renewed(live);
        }
    }

    /// Another node has renewed a connection's credential. A connector here reads it when it starts anew.
    pub fn renewed_elsewhere(&self, org: OrgId, integration: &str, id: ConnectionId) {
        self.connections.forget(org, integration);
        self.borrowed.forget(id);
        let (pool, integration) = (self.clone(), integration.to_owned());
        if self.directory.contains_key(&id) {
            tokio::spawn(async move {
                let Some(core) = pool.core() else { return };
                if let Ok(live) = core.hub.live(org, id).await {
                    pool.renewed(org, &integration, id, live);
                }
            });
        }
    }

    /// A connection that may be used, as it is known here.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub(super) async fn known(
        &self,
        org: OrgId,
        integration: &str,
        id: ConnectionId,
    ) -> Result<Option<Arc<Connection>>, DbError> {
        self.connections.known(org, integration, id).await
    }

    /// A connection as it is stored now, if it may be used.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn read(
        &self,
        org: OrgId,
        id: ConnectionId,
    ) -> Result<Option<Arc<Connection>>, DbError> {
        self.connections.by_id(org, id).await
    }

    /// A connector has gone to sleep: its place is given to another node if it should live there, and nothing of the same place is awake.
    fn give_home(&self, entity: Entity) {
        let Some(core) = self.core() else { return };
        let Some(cluster) = &core.cluster else { return };
        let is_awake = self.directory.iter().any(|one| one.value().1 == entity);
        if cluster.lives_better_elsewhere(entity) && !is_awake {
            let placement = core.placement.clone();
            tokio::spawn(async move {
                if let Err(error) = placement.release(entity).await {
                    tracing::debug!(%error, "a connector's place is kept");
                }
            });
        }
    }

    /// Whether a connection's connector lives here, awake or asleep. One that lives nowhere and should live here is claimed.
    pub async fn has(&self, row: &ConnectionRow) -> bool {
        let Some(core) = self.core() else {
            return false;
        };
        let Some(cluster) = &core.cluster else {
            return true;
        };
        match self.connections.of_row(row).await {
            Ok(Some(connection)) => {
                let entity = connection.entity();
                cluster.is_mine(entity) && core.placement.claim(entity).await.is_ok()
            }
            _ => false,
        }
    }

    /// Gives connectors away: all of them, or those of some entities. Calls that wait follow them; what is open is waited for, for `grace`
    /// at most.
    pub async fn move_out(&self, of: Option<&[Entity]>, grace: Duration) {
        let until = tokio::time::Instant::now() + grace;
        let Some(core) = self.core() else { return };
        let all: Vec<(ConnectionId, ConnectorHandle)> = self
            .directory
            .iter()
            .filter(|entry| of.is_none_or(|of| of.contains(&entry.value().1)))
            .map(|entry| (*entry.key(), entry.value().clone()))
            .collect();
        for (id, connector) in &all {
            self.directory.remove(id);
            connector.leave();
        }
        for (id, connector) in &all {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            if tokio::time::timeout(left, connector.has_stopped())
                .await
                .is_err()
            {
                tracing::warn!(connection = %id, "connector is stopped with calls open");
                connector.0.cell().kill();
            }
        }
        // The state of its limiter, which the next one begins with.
        core.journal.barrier().await;
    }

    /// Stops all at once: this node may not act.
    pub fn suspend(&self) {
        let all: Vec<ConnectionId> = self.directory.iter().map(|entry| *entry.key()).collect();
        for id in all {
            if let Some((_, connector)) = self.directory.remove(&id) {
                connector.0.cell().kill();
            }
        }
    }

    /// A connection was added, changed or removed: what is kept of it is wrong. Its connector takes nothing more; what waits there follows to
    /// the next one, and what is under way ends there.
    pub fn changed(&self, org: OrgId, integration: &str, id: ConnectionId) {
        self.connections.forget(org, integration);
        self.borrowed.forget(id);
        if let Some((_, connector)) = self.directory.remove(&id) {
            self.leaving.insert(id, connector.clone());
            connector.leave();
        }
    }

    /// Ends a connector's life in this way.
    #[cfg(test)]
    pub fn break_connector(&self, id: ConnectionId, how: Breakage) {
        let Some(connector) = self.directory.get(&id).map(|one| one.clone()) else {
            return;
        };
        match how {
            Breakage::Change => {
                if let Some((org, integration)) = self.connections.whose(id) {
                    self.changed(org, &integration, id);
                }
            }
            Breakage::Stop => connector.0.cell().stop(None),
            Breakage::Kill => connector.0.cell().kill(),
            Breakage::Panic => drop(connector.0.tell(super::Message::Wake)),
            Breakage::Task => {}
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
    ) -> Result<Option<ConnectorLook>, DbError> {
        if let Some(view) = self.look(row.id).await {
            return Ok(Some(ConnectorLook::Here(Box::new(view))));
        }
        let Some(connection) = self.connections.of_row(row).await? else {
            return Ok(None);
        };
        let cluster = self.core().and_then(|core| core.cluster.clone());
        if let Some(Route::Node(node)) = cluster.map(|cluster| cluster.route(connection.entity()))
            && let Some(view) = self.look_elsewhere(node, row.id).await
        {
            return Ok(Some(ConnectorLook::Elsewhere(view)));
        }
        let kept = restore(self.connections.db(), row.id).await;
        let view = ConnectorView::asleep(&connection.rules, kept, now);
        Ok(Some(ConnectorLook::Here(Box::new(view))))
    }

    /// Starts a connector, unless there is one.
    async fn start(&self, connection: &Arc<Connection>) -> Result<(), ConnectorError> {
        let (reply, started) = oneshot::channel();
        self.mailbox
            .offer(Message::Start {
                connection: connection.clone(),
                reply,
            })
            .map_err(|_| ConnectorError::Overloaded)?;
        started.await.map_err(|_| ConnectorError::Stopped)
    }
}

/// How a test ends a connector.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breakage {
    /// Its connection changes.
    Change,
    Stop,
    Kill,
    /// It breaks down at its next message; where it does so is the fault's.
    Panic,
    /// Not the connector but the task of the call.
    Task,
}

enum Message {
    Start {
        connection: Arc<Connection>,
        reply: oneshot::Sender<()>,
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
    /// Those whose connections have changed, until the next one is started or they have stopped.
    leaving: Arc<Directory>,
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
        // One that has stopped without leaving is on its way out: its end is seen by the supervision.
        let known = self.directory.get(&connection.id);
        let is_there = known.is_some_and(|connector| connector.is_living());
        if !is_there {
            let id = connection.id;
            let known = match self.leaving.remove(&id) {
                Some((_, before)) => before.hand_over().await,
                None => None,
            };
            let args = Args {
                core: self.core.clone(),
                http: self.http.clone(),
                apps: self.apps.clone(),
                connection,
                known,
            };
            let connector = ConnectorHandle::spawn(myself.get_cell(), args).await?;
            state.by_actor.insert(connector.0.cell().get_id(), id);
            self.directory.insert(id, connector);
        }
        let _ = reply.send(());
        Ok(())
    }

    /// A connector that broke down is started again by the next call; what waited there follows to it, and the calls that were under way end
    /// by themselves.
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
        let is_its =
            |_: &ConnectionId, one: &ConnectorHandle| one.0.cell().get_id() == who.get_id();
        self.leaving.remove_if(&id, is_its);
        if let Some((_, connector)) = self.directory.remove_if(&id, is_its)
            && let Some(why) = why
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
