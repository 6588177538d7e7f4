//! The engine as the rest of the program sees it: start it, tell it, stop it.

use super::{
    approvals,
    catalogs::Catalogs,
    clock::Clock,
    cluster::{self, Cluster, ClusterSetup, Joined, LifeEnd},
    commits,
    connector::ConnectorPool,
    core::{Core, Settings},
    employee::{
        Accepted, DecideMessage, EmployeeError, FinishedRun, Message, StopMessage, TriggerKey,
        TriggerMessage,
    },
    faults::Faults,
    host::HostHandle,
    hub::{self, Hub, HubParts},
    ingest,
    interest::Interest,
    journal::JournalHandle,
    lease,
    policies::Policies,
    router::{self, Event, RouteError, Routed},
    schedules, sweeper,
    timers::TimersHandle,
    versions::Versions,
    vitals::VitalsRegistry,
    wait_ends,
};
use crate::{
    actors::cluster::words::News,
    connect::{CallerConfig, Catalog, HttpCaller, Sealer, SendFence},
    domain::{ContentHash, EmployeeId, ExecutionId, OrgId, Timestamp, Trigger},
    graph::{Decision, StepId, StopKind},
    persistence::{self, ApprovalRow, Backend, Db, DbError, Fence},
};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use std::{sync::Arc, time::Duration};
use tenure_cluster::{NodeIdentity, OneNode, Placement};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

/// How long the last statement of a life may take.
const LEAVE_TIME: Duration = Duration::from_secs(2);

/// What an engine is started with.
pub struct EngineConfig {
    pub db: Db,
    pub node_id: Uuid,
    pub address: String,
    pub catalog: Arc<Catalog>,
    pub sealer: Arc<Sealer>,
    pub clock: Clock,
    pub settings: Settings,
    pub faults: Faults,
    /// Absent: this node is alone.
    pub cluster: Option<ClusterSetup>,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the database: {0}")]
    Db(#[from] DbError),
    #[error("an actor did not start: {0}")]
    Actor(#[from] ractor::SpawnErr),
    #[error("the http client: {0}")]
    Http(#[from] crate::connect::client::CallerError),
    #[error("the cluster: {0}")]
    Cluster(#[from] tenure_cluster::ClusterError),
    #[error("the cluster: the node's lease could not be renewed in time")]
    NotJoined,
    #[error(
        "the node {name} is at work on this database, and its lease lasts {lease_left:?} yet: nodes beside each other need [cluster] in \
         their configuration"
    )]
    NotAlone { name: String, lease_left: Duration },
}

/// A trigger for one employee.
pub struct TriggerRequest {
    pub trigger: Trigger,
    pub conversation: Option<String>,
    pub skill: Option<String>,
    /// A second trigger with the same key gets the first one's run.
    pub dedupe: Option<TriggerKey>,
}

/// A person's decision.
pub struct DecisionRequest {
    pub execution: ExecutionId,
    pub step: StepId,
    pub decision: Decision,
    pub arguments_hash: ContentHash,
    pub by: String,
    pub comment: Option<String>,
}

/// A running engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    core: Arc<Core>,
    root: ActorRef<NoMessage>,
}

impl Engine {
    /// Takes the node's place in the database, starts the actors, and takes up every unfinished run.
    ///
    /// # Errors
    /// If the database or an actor is not to be had; nothing is left running then.
    pub async fn start(config: EngineConfig) -> Result<Self, StartError> {
        let EngineConfig {
            db,
            node_id,
            address,
            catalog,
            sealer,
            clock,
            settings,
            faults,
            cluster,
        } = config;
        let fence =
            cluster::register(&db, node_id, &address, settings.lease, cluster.as_ref()).await?;
        let ownership = Ownership::take(&db, fence, cluster).await?;
        // On PostgreSQL every transaction that writes proves that this life of the node is in service, in the round trip of its BEGIN.
        let db = match db.backend() {
            Backend::Postgres => db.fenced(fence),
            Backend::Sqlite => db,
        };
        let vitals = VitalsRegistry::default();
        vitals.register("node", "node", None, 0);
        let (root, _) = Actor::spawn(None, NodeSupervisor, ()).await?;
        let journal = JournalHandle::spawn(root.get_cell(), db.clone(), fence, &vitals).await?;
        let vault = hub::keys::vault(&db, &clock, &sealer);
        let placement = ownership.placement();
        let http = HttpCaller::new(&CallerConfig {
            fence: SendFence::new({
                let placement = placement.clone();
                move || placement.may_act()
            }),
            addresses: settings.allow_private.clone(),
            answer_limit: settings.answer_limit,
            ..CallerConfig::default()
        })?;
        let catalogs = Catalogs::new(db.clone(), catalog.clone());
        let hub = Hub::new(HubParts {
            db: db.clone(),
            fence,
            vault: vault.clone(),
            catalogs: catalogs.clone(),
            http: http.clone(),
            clock: clock.clone(),
            apps: settings.oauth_apps.clone(),
        });
        let core = Arc::new(Core {
            clock,
            versions: Versions::new(catalog.clone()),
            evaluations: Default::default(),
            catalogs,
            policies: Policies::new(db.clone()),
            catalog,
            db,
            vitals,
            placement,
            cluster: ownership.cluster(),
            journal,
            settings,
            vault,
            hub,
            http: http.clone(),
            sealer,
            faults,
            proxied: Default::default(),
            orphans: Default::default(),
            interest: Interest::default(),
            wait_ends: Default::default(),
            host: Default::default(),
            timers: Default::default(),
            connectors: Default::default(),
            ingest: Default::default(),
        });
        let _ = core
            .connectors
            .set(ConnectorPool::spawn(root.get_cell(), core.clone(), http.clone()).await?);
        let _ = core
            .host
            .set(HostHandle::spawn(root.get_cell(), core.clone()).await?);
        let _ = core
            .timers
            .set(TimersHandle::spawn(root.get_cell(), core.clone()).await?);
        core.interest.refresh(&core).await?;
        let _ = core
            .ingest
            .set(ingest::spawn(root.get_cell(), core.clone(), http).await?);
        if let Some(cluster) = &core.cluster {
            cluster.open(&core);
        }
        sweeper::recover(&core).await?;
        schedules::spawn(root.get_cell(), core.clone()).await?;
        tokio::spawn(lease::run(core.clone(), fence));
        tokio::spawn(sweeper::run(core.clone()));
        tokio::spawn(sweeper::run_retention(core.clone()));
        commits::watch_tips(&core);
        tokio::spawn(hub::keep_house(core.clone()));
        tokio::spawn(hub::renew(core.clone()));
        tokio::spawn(hub::probe(core.clone()));
        tokio::spawn(hub::tell(core.clone()));
        tokio::spawn(stop_when_fenced(
            core.journal.fenced(),
            ownership,
            root.clone(),
        ));
        Ok(Self { core, root })
    }

    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }
    pub fn now(&self) -> Timestamp {
        self.core.clock.now()
    }

    /// Hands a trigger to an employee; returns when it is durable.
    ///
    /// # Errors
    /// Why it was not taken.
    pub async fn trigger(
        &self,
        org: OrgId,
        employee: EmployeeId,
        request: TriggerRequest,
    ) -> Result<Accepted, EmployeeError> {
        self.send_trigger(org, employee, request, None).await
    }

    /// The same, and a channel that gives the run when it has ended. It closes without one if the run was a duplicate or the employee
    /// broke down meanwhile: then the database knows.
    ///
    /// # Errors
    /// Why it was not taken.
    pub async fn trigger_and_watch(
        &self,
        org: OrgId,
        employee: EmployeeId,
        request: TriggerRequest,
    ) -> Result<(Accepted, oneshot::Receiver<FinishedRun>), EmployeeError> {
        let (watcher, finished) = oneshot::channel();
        let accepted = self
            .send_trigger(org, employee, request, Some(watcher))
            .await?;
        Ok((accepted, finished))
    }

    async fn send_trigger(
        &self,
        org: OrgId,
        employee: EmployeeId,
        request: TriggerRequest,
        watcher: Option<oneshot::Sender<FinishedRun>>,
    ) -> Result<Accepted, EmployeeError> {
        let TriggerRequest {
            trigger,
            conversation,
            skill,
            dedupe,
        } = request;
        self.ask(org, employee, |reply| {
            Message::Trigger(Box::new(TriggerMessage {
                trigger,
                conversation,
                skill,
                dedupe,
                reply,
                watcher,
            }))
        })
        .await
    }

    /// Hands an event to every employee, skill and waiting run that it concerns.
    ///
    /// # Errors
    /// If it could not be found out whom it concerns, or the client's key was used with another payload; nobody was told then.
    pub async fn route(&self, org: OrgId, event: Event) -> Result<Routed, RouteError> {
        router::route_of_client(&self.core, org, event).await
    }

    /// The same for any approval, whoever asks.
    ///
    /// # Errors
    /// If the approval is not pending any more or other arguments were meant.
    pub async fn decide_approval(
        &self,
        approval: &ApprovalRow,
        request: DecisionRequest,
    ) -> Result<Timestamp, EmployeeError> {
        approvals::decide(&self.core, approval, request).await
    }

    /// When it was decided, once that is durable.
    ///
    /// # Errors
    /// If the approval is not pending any more or other arguments were meant.
    pub async fn decide(
        &self,
        org: OrgId,
        employee: EmployeeId,
        request: DecisionRequest,
    ) -> Result<Timestamp, EmployeeError> {
        decide(&self.core, org, employee, request).await
    }

    /// Stops a run with everything below it; returns when that is durable.
    ///
    /// # Errors
    /// If the run is not open.
    pub async fn cancel(
        &self,
        org: OrgId,
        employee: EmployeeId,
        execution: ExecutionId,
        by: String,
        reason: Option<String>,
    ) -> Result<(), EmployeeError> {
        let kind = StopKind::Cancelled;
        self.ask(org, employee, |reply| {
            Message::Stop(Box::new(StopMessage {
                execution,
                kind,
                by,
                reason,
                reply,
            }))
        })
        .await
    }

    /// Ends a named wait: the step starts again.
    ///
    /// # Errors
    /// `NotPending` if it waits no more.
    pub async fn resume(
        &self,
        org: OrgId,
        employee: EmployeeId,
        execution: ExecutionId,
        step: StepId,
    ) -> Result<(), EmployeeError> {
        resume(&self.core, org, employee, execution, step).await
    }

    /// A connection came, changed or went: its connector starts anew, and the runs that waited for one go on, in the background.
    ///
    /// # Errors
    /// If it could not be noted that they are to go on; they do with the next change.
    pub async fn connection_changed(
        &self,
        org: OrgId,
        integration: &str,
        id: crate::domain::ConnectionId,
    ) -> Result<(), DbError> {
        let news = News::Connection {
            org,
            integration: integration.to_owned(),
            id,
        };
        self.core.changed(news).await;
        self.end_named_wait(org, "connection", integration).await
    }

    /// Lets the runs go on that are in a named wait for `on`: durably noted when this returns, and carried out in the background.
    ///
    /// # Errors
    /// If it could not be noted.
    pub async fn end_named_wait(&self, org: OrgId, kind: &str, on: &str) -> Result<(), DbError> {
        wait_ends::end(&self.core, org, kind, on).await
    }

    async fn ask<T>(
        &self,
        org: OrgId,
        employee: EmployeeId,
        message: impl FnOnce(oneshot::Sender<Result<T, EmployeeError>>) -> Message,
    ) -> Result<T, EmployeeError> {
        self.core.ask(org, employee, message).await
    }

    /// `None`: this node is alone.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.core.cluster.as_ref()
    }

    pub fn identity(&self) -> NodeIdentity {
        self.core.identity()
    }

    /// Gives away what lives here; returns when nothing does, or when the grace is over. Does nothing where the node is alone.
    pub async fn drain(&self) {
        if let Some(cluster) = &self.core.cluster {
            cluster.drain(&self.core).await;
        }
    }

    /// The node takes nothing new.
    pub fn is_draining(&self) -> bool {
        let cluster = self.core.cluster.as_ref();
        cluster.is_some_and(|cluster| cluster.is_draining())
    }

    /// Returns when the node begins to give away what lives there; never where it is alone.
    pub async fn drain_begins(&self) {
        if let Some(cluster) = &self.core.cluster {
            let mut draining = cluster.draining();
            if draining.wait_for(|is_draining| *is_draining).await.is_ok() {
                return;
            }
        }
        std::future::pending().await
    }

    /// Returns when this life of the node is over.
    pub async fn ended(&self) -> LifeEnd {
        match &self.core.cluster {
            Some(cluster) => cluster.life_end(&self.core).await,
            None => std::future::pending().await,
        }
    }

    /// Stops the actors. What they have not written did not happen and is done after the next start.
    pub async fn stop(&self) {
        if let Some(cluster) = &self.core.cluster {
            cluster.leave().await;
        }
        let _ = self
            .root
            .stop_children_and_wait(None, Some(std::time::Duration::from_secs(5)))
            .await;
        if self.core.cluster.is_none() {
            self.leave_alone().await;
        }
        self.root.stop(None);
    }

    /// Ends this life in the database, last of all, so that the next start need not wait for the lease, whatever its node is called. A
    /// cluster's member has done it before, when it had given everything away.
    async fn leave_alone(&self) {
        let leave = async {
            let mut tx = self.core.db.begin_system("the node leaves").await?;
            let left = persistence::node_leave(&mut tx, self.core.fence()).await?;
            tx.commit().await?;
            Ok::<_, DbError>(left)
        };
        match tokio::time::timeout(LEAVE_TIME, leave).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => tracing::warn!("another life of this node has begun"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a node of another name has to wait for the lease");
            }
            Err(_) => tracing::warn!(
                "the database does not answer: a node of another name has to wait for the lease"
            ),
        }
    }
}

/// Ends a named wait: the step starts again.
///
/// # Errors
/// `NotPending` if it waits no more.
pub(super) async fn resume(
    core: &Core,
    org: OrgId,
    employee: EmployeeId,
    execution: ExecutionId,
    step: StepId,
) -> Result<(), EmployeeError> {
    let message = |reply| Message::Resume {
        execution,
        step,
        reply,
    };
    core.ask(org, employee, message).await
}

/// Hands a person's decision to the employee that asked.
///
/// # Errors
/// If the approval is not pending any more or other arguments were meant.
pub(super) async fn decide(
    core: &Core,
    org: OrgId,
    employee: EmployeeId,
    request: DecisionRequest,
) -> Result<Timestamp, EmployeeError> {
    let DecisionRequest {
        execution,
        step,
        decision,
        arguments_hash,
        by,
        comment,
    } = request;
    let message = |reply| {
        Message::Decide(Box::new(DecideMessage {
            execution,
            step,
            decision,
            arguments_hash,
            by,
            comment,
            reply,
        }))
    };
    core.ask(org, employee, message).await
}

/// By which right something lives here.
enum Ownership {
    Alone(Arc<OneNode>),
    Shared(Joined),
}

impl Ownership {
    async fn take(
        db: &Db,
        fence: Fence,
        cluster: Option<ClusterSetup>,
    ) -> Result<Self, StartError> {
        let identity = NodeIdentity {
            node_id: fence.node_id,
            incarnation: fence.incarnation.unsigned_abs(),
        };
        Ok(match cluster {
            None => Self::Alone(Arc::new(OneNode::new(identity))),
            Some(setup) => Self::Shared(Joined::join(db, fence, setup).await?),
        })
    }

    fn placement(&self) -> Arc<dyn Placement> {
        match self {
            Self::Alone(placement) => placement.clone(),
            Self::Shared(joined) => joined.placement.clone(),
        }
    }

    fn cluster(&self) -> Option<Arc<Cluster>> {
        match self {
            Self::Alone(_) => None,
            Self::Shared(joined) => Some(joined.cluster.clone()),
        }
    }

    fn end(&self) {
        match self {
            Self::Alone(placement) => placement.fence(),
            Self::Shared(joined) => joined.cluster.is_over(),
        }
    }
}

/// This life of the node is over, and a write has said so: it must not act any more.
async fn stop_when_fenced(
    mut fenced: watch::Receiver<bool>,
    ownership: Ownership,
    root: ActorRef<NoMessage>,
) {
    if fenced.wait_for(|fenced| *fenced).await.is_ok() {
        tracing::error!("this life of the node is over, its actors are stopped");
        ownership.end();
        root.stop_children(None);
    }
}

/// The root of the tree. What stands directly below it holds no state of its own that is not in the database, and each of them is
/// needed by all the others: if one breaks down the process ends and starts again from the journal.
struct NodeSupervisor;

/// The root is told nothing. A type of its own: with `()`, which can be sent anywhere, other nodes could reach it.
enum NoMessage {}
impl ractor::Message for NoMessage {}

impl Actor for NodeSupervisor {
    type Msg = NoMessage;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<NoMessage>, _: ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<NoMessage>,
        event: SupervisionEvent,
        _: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(who, why) = event {
            tracing::error!(actor = ?who.get_id(), %why, "a pillar of the node broke down, the process ends");
            std::process::exit(70);
        }
        Ok(())
    }
}
