//! What every actor of a node shares.

use super::{
    catalogs::Catalogs,
    clock::Clock,
    cluster::{Cluster, employee_entity},
    connector::ConnectorPool,
    employee::{EmployeeError, Message, Reply},
    evaluation::Evaluations,
    faults::Faults,
    host::HostHandle,
    hub::Hub,
    ingest::IngestHandle,
    interest::Interest,
    journal::JournalHandle,
    policies::Policies,
    proxy::UnderWay,
    timers::TimersHandle,
    versions::Versions,
    vitals::VitalsRegistry,
    wait_ends,
};
use crate::{
    connect::{Addresses, CallerConfig, Catalog, HttpCaller, Sealer, Vault, oauth::OperatorApps},
    domain::{EmployeeId, OrgId},
    persistence::{Db, Fence},
};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tenure_cluster::{NodeIdentity, Placement, Route};
use tokio::sync::oneshot;

/// Numbers that an operator may set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// An employee or a connector that had nothing to do for this long leaves the memory.
    pub idle_after: Duration,
    /// How far ahead timers are held in memory.
    pub timer_horizon: Duration,
    /// How often the sweeper looks for runs that nothing will wake.
    pub sweep_every: Duration,
    /// How often old runs are deleted.
    pub retention_every: Duration,
    /// A node renews its lease this often, and its lease lasts [`Settings::lease`].
    pub heartbeat: Duration,
    pub lease: Duration,
    /// Default for the whole of one action with its waits and retries, where the node sets no `timeout_ms`.
    pub action_deadline: Duration,
    /// How often it is looked for tokens that are to be renewed ahead of their end.
    pub renew_every: Duration,
    /// How often each connection is probed; zero: never.
    pub probe_every: Duration,
    /// For one request to a provider.
    pub request_timeout: Duration,
    /// Before the second look for a write that was answered with success and is not shown; twice as long before each further one.
    pub look_pause: Duration,
    /// Where browsers reach this service, without a slash at the end: redirects and links begin with it.
    pub public_url: String,
    /// The operator's own apps at providers.
    pub oauth_apps: Arc<OperatorApps>,
    /// Where calls may go beyond the public internet.
    pub allow_private: Addresses,
    /// Bytes of a provider's answer; of a longer one nothing is given, unless it is streamed.
    pub answer_limit: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            idle_after: Duration::from_secs(30),
            timer_horizon: Duration::from_secs(60),
            sweep_every: Duration::from_secs(10),
            retention_every: Duration::from_secs(3_600),
            heartbeat: Duration::from_secs(3),
            lease: Duration::from_secs(10),
            action_deadline: Duration::from_secs(300),
            renew_every: Duration::from_secs(1),
            probe_every: Duration::from_secs(900),
            request_timeout: Duration::from_secs(30),
            look_pause: Duration::from_secs(1),
            public_url: "http://127.0.0.1:7117".into(),
            oauth_apps: Arc::default(),
            allow_private: Addresses::default(),
            answer_limit: CallerConfig::default().answer_limit,
        }
    }
}

pub struct Core {
    pub clock: Clock,
    pub db: Db,
    pub vitals: VitalsRegistry,
    /// The built-in catalog, which everybody has.
    pub catalog: Arc<Catalog>,
    /// What each org has.
    pub catalogs: Catalogs,
    /// What each org lets be called.
    pub policies: Policies,
    pub versions: Versions,
    /// Where expressions and texts are evaluated that take long.
    pub evaluations: Evaluations,
    pub placement: Arc<dyn Placement>,
    /// Absent: this node is alone.
    pub cluster: Option<Arc<Cluster>>,
    pub journal: JournalHandle,
    pub settings: Settings,
    pub sealer: Arc<Sealer>,
    pub vault: Arc<Vault>,
    /// Credentials and consents.
    pub hub: Hub,
    /// The way to the outside.
    pub http: HttpCaller,
    pub faults: Faults,
    /// Calls by proxy that are under way.
    pub(super) proxied: UnderWay,
    /// One round at a time looks after those that nobody waits for.
    pub(super) orphans: Arc<tokio::sync::Mutex<()>>,
    pub(super) interest: Interest,
    /// Named waits whose end this node carries out.
    pub(super) wait_ends: wait_ends::UnderWay,
    /// Set once at the start of the node; these know the core and it knows them.
    pub(super) host: OnceLock<HostHandle>,
    pub(super) timers: OnceLock<TimersHandle>,
    pub(super) connectors: OnceLock<ConnectorPool>,
    pub(super) ingest: OnceLock<IngestHandle>,
}

impl Core {
    pub fn host(&self) -> &HostHandle {
        self.host
            .get()
            .expect("set before the first employee is woken")
    }
    pub fn timers(&self) -> &TimersHandle {
        self.timers
            .get()
            .expect("set before the first employee is woken")
    }
    pub fn connectors(&self) -> &ConnectorPool {
        self.connectors
            .get()
            .expect("set before the first employee is woken")
    }
    pub fn ingest(&self) -> &IngestHandle {
        self.ingest
            .get()
            .expect("set before the first event is taken")
    }
    pub fn identity(&self) -> NodeIdentity {
        self.placement.identity()
    }
    /// What this node proves with each durable write.
    pub fn fence(&self) -> Fence {
        let NodeIdentity {
            node_id,
            incarnation,
        } = self.identity();
        Fence {
            node_id,
            incarnation: incarnation as i64,
        }
    }
    /// Asks an employee wherever it lives. The answer is given up when this node loses touch with the database: then it is not known what
    /// becomes of what was asked, as with any answer that is lost.
    ///
    /// # Errors
    /// Why it did not do it, or that nobody can say.
    pub async fn ask<T>(
        &self,
        org: OrgId,
        employee: EmployeeId,
        message: impl FnOnce(Reply<T>) -> Message,
    ) -> Result<T, EmployeeError> {
        if !self.placement.may_act() {
            return Err(EmployeeError::Suspended);
        }
        let (reply, answer) = oneshot::channel();
        self.host().tell(org, employee, message(reply));
        let mut away = self.journal.away();
        tokio::select! {
            biased;
            answer = answer => answer.unwrap_or(Err(EmployeeError::Stopped)),
            Ok(_) = away.wait_for(|away| *away) => Err(EmployeeError::Suspended),
        }
    }

    /// The other node on which an employee lives or should live; `None`: this one.
    pub fn node_of(&self, employee: EmployeeId) -> Option<NodeIdentity> {
        match self.cluster.as_ref()?.route(employee_entity(employee)) {
            Route::Node(node) => Some(node),
            Route::Here => None,
        }
    }

    /// Under which epoch this node acts.
    pub fn epoch(&self) -> u64 {
        self.placement.identity().incarnation
    }
}
