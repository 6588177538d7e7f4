//! Giving away what lives here: all of it on a drain, what should live elsewhere on a rebalancing; and what nodes tell of themselves.

use super::{
    Cluster, ClusterCallError, NodeStatus, kind,
    view::{ACTORS_MAX, ActorsOf},
    words::{News, decode, encode, kinds},
};
use crate::{
    actors::{core::Core, vitals::ActorView},
    domain::EmployeeId,
};
use futures::future::join_all;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tenure_cluster::{
    Entity, NodeIdentity, Placement,
    membership::DirectoryError,
    protocol::{Envelope, MAX_BODY},
};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// How long a node is waited for that is asked how it is.
const LOOK_TIME: Duration = Duration::from_secs(1);
/// How long one is waited for that is asked to do something.
const DO_TIME: Duration = Duration::from_secs(10);
const REBALANCE_TIME: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(200);
/// Employees of one hint.
const HINTS: usize = 5_000;

impl Core {
    /// Which of these employees are in memory, on whichever node.
    pub async fn awake_of(&self, employees: &[EmployeeId]) -> HashSet<EmployeeId> {
        let here = |id: &EmployeeId| self.host().is_awake(*id);
        let mut awake: HashSet<EmployeeId> = employees.iter().copied().filter(here).collect();
        if let Some(cluster) = &self.cluster
            && awake.len() < employees.len()
        {
            awake.extend(cluster.awake_elsewhere(employees).await);
        }
        awake
    }
}

impl Cluster {
    /// Gives everything away and takes nothing more; returns when nothing is left, or the grace is over and what was left has been cut off.
    pub async fn drain(self: &Arc<Self>, core: &Arc<Core>) {
        if self.draining.send_replace(true) {
            return self.is_empty().await;
        }
        tracing::info!("this node gives away what it has");
        // Nobody must look here for what is given away, so the others know first.
        loop {
            match self.membership.drain().await {
                Ok(()) => break,
                Err(DirectoryError::Fenced) => return,
                Err(DirectoryError::Unavailable(error)) => {
                    tracing::warn!(error, "cannot say that this node drains");
                    sleep(AGAIN).await;
                }
            }
        }
        self.own_row_is_draining().await;
        self.tell_others(core, &News::Look).await;
        let (employees, ()) = tokio::join!(
            core.host().move_out(Vec::new(), true, self.drain_grace),
            self.give_away_connectors(core, None),
        );
        self.release_rest().await;
        tracing::info!(
            employees = employees.unwrap_or(0),
            "this node has given away what it had"
        );
    }

    async fn is_empty(&self) {
        while self.placement.owned_count() > 0 {
            sleep(AGAIN).await;
        }
    }

    /// This node's own view has it too, so that it looks for homes elsewhere.
    async fn own_row_is_draining(&self) {
        let mut view = self.view.clone();
        let is_draining = |view: &super::View| {
            let mine = view
                .members
                .iter()
                .find(|member| member.identity == self.me);
            mine.is_none_or(|member| member.state != super::NodeState::Alive)
        };
        let _ = timeout(DO_TIME, view.wait_for(is_draining)).await;
    }

    async fn give_away_connectors(&self, core: &Core, of: Option<&[Entity]>) {
        core.connectors().move_out(of, self.drain_grace).await;
        let entities = match of {
            Some(of) => of.to_vec(),
            None => self.placement.owned_of(kind::CONNECTOR),
        };
        self.release(&entities).await;
    }

    async fn release_rest(&self) {
        for kind in [kind::DUTY, kind::CONNECTOR] {
            let entities = self.placement.owned_of(kind);
            self.release(&entities).await;
        }
    }

    async fn release(&self, entities: &[Entity]) {
        for _ in 0..10 {
            if entities.is_empty() || self.placement.release_all(entities).await.is_ok() {
                return;
            }
            sleep(AGAIN).await;
        }
    }

    /// Ends this life: the others need not wait for the lease.
    pub async fn leave(&self) {
        if let Err(error) = self.membership.leave().await {
            tracing::warn!(%error, "cannot say that this node leaves; its lease runs out by itself");
        }
        let others = News::Look;
        let body = bytes::Bytes::from(encode(&others));
        for node in self.others() {
            let envelope = Envelope::new(kinds::NEWS, LOOK_TIME, body.clone());
            let _ = timeout(AGAIN, self.gateway.ask(node.node_id, envelope)).await;
        }
        drop(self.node.lock().map(|mut node| node.take()));
    }

    pub(super) fn begin_to_drain(self: &Arc<Self>, core: &Arc<Core>) {
        let (cluster, core) = (self.clone(), core.clone());
        tokio::spawn(async move { cluster.drain(&core).await });
    }

    /// Employees have been released here: where they should live now, whoever has work at hand is woken.
    pub fn moved_out(self: &Arc<Self>, employees: &[EmployeeId]) {
        let mut homes: HashMap<NodeIdentity, Vec<EmployeeId>> = HashMap::new();
        for employee in employees {
            if let Some(home) = self.next_home(super::employee_entity(*employee)) {
                homes.entry(home).or_default().push(*employee);
            }
        }
        for (home, employees) in homes {
            for some in employees.chunks(HINTS) {
                let envelope = Envelope::new(kinds::WAKE, DO_TIME, encode(&some));
                // If it is lost, the next sweep there finds them.
                let _ = self.gateway.tell(home.node_id, envelope);
            }
        }
    }

    /// Another node has released these employees, which should live here.
    pub(super) fn wake_here(&self, core: &Arc<Core>, employees: Vec<EmployeeId>) {
        for employee in &employees {
            self.placement
                .forget_hint(super::employee_entity(*employee));
        }
        let core = core.clone();
        core.timers().look();
        tokio::spawn(async move {
            if let Err(error) = crate::actors::sweeper::recover_of(&core, &employees).await {
                tracing::warn!(%error, "employees that have moved here are woken by the next sweep");
            }
        });
    }

    /// Gives duties to the nodes that should have them.
    pub async fn give_duties_home(&self) {
        let duties = self.placement.owned_of(kind::DUTY).into_iter();
        let elsewhere: Vec<Entity> = duties
            .filter(|duty| self.lives_better_elsewhere(*duty))
            .collect();
        self.release(&elsewhere).await;
    }

    /// Gives away what should live on another node; how many entities that were.
    pub(super) async fn rebalance_here(self: &Arc<Self>, core: &Arc<Core>) -> usize {
        let elsewhere = |kind: &str| -> Vec<Entity> {
            let all = self.placement.owned_of(kind).into_iter();
            all.filter(|entity| self.lives_better_elsewhere(*entity))
                .collect()
        };
        let duties = elsewhere(kind::DUTY);
        self.release(&duties).await;
        let connectors = elsewhere(kind::CONNECTOR);
        self.give_away_connectors(core, Some(&connectors)).await;
        let employees: Vec<EmployeeId> = elsewhere(kind::EMPLOYEE)
            .into_iter()
            .map(|entity| EmployeeId::from_uuid(entity.id))
            .collect();
        let moved = duties.len() + connectors.len() + employees.len();
        let gone = core.host().move_out(employees, false, self.drain_grace);
        let _ = gone.await;
        moved
    }

    pub(super) fn status(&self, core: &Core) -> NodeStatus {
        NodeStatus {
            awake: core.host().awake(),
            owned: self.placement.owned_count(),
            draining: self.is_draining(),
        }
    }

    /// The actors of this node that somebody may see.
    pub fn actors_here(&self, core: &Core, of: &ActorsOf) -> Vec<ActorView> {
        let mut views = (core.vitals).views_of(of.org, &of.owners, of.with_node, ACTORS_MAX);
        for view in &mut views {
            view.node = Some(self.name.clone());
        }
        views
    }

    /// What each node in service says of itself; `None`: it does not answer within a second.
    pub async fn statuses(&self) -> Vec<(NodeIdentity, Option<NodeStatus>)> {
        let Some(core) = self.core() else {
            return Vec::new();
        };
        let asked = self.ask_all(kinds::STATUS, Vec::new(), 32 * 1024).await;
        let read = |body: bytes::Bytes| decode::<NodeStatus>(&body).ok();
        let others = asked
            .into_iter()
            .map(|(node, answer)| (node, answer.and_then(read)));
        let own = (self.me, Some(self.status(&core)));
        [own].into_iter().chain(others).collect()
    }

    /// Which of these employees are awake on other nodes, as far as those answer within a second.
    async fn awake_elsewhere(&self, employees: &[EmployeeId]) -> HashSet<EmployeeId> {
        let asked = self
            .ask_all(kinds::AWAKE, encode(&employees), 1 << 20)
            .await;
        let read = |body: bytes::Bytes| decode::<Vec<EmployeeId>>(&body).ok();
        let answers = asked
            .into_iter()
            .filter_map(|(_, answer)| answer.and_then(read));
        answers.flatten().collect()
    }

    /// The actors of the other nodes as they tell of them; `None`: it does not answer within a second.
    pub async fn actors_elsewhere(
        &self,
        of: &ActorsOf,
    ) -> Vec<(NodeIdentity, Option<Vec<ActorView>>)> {
        let asked = self.ask_all(kinds::ACTORS, encode(of), MAX_BODY).await;
        let read = |body: bytes::Bytes| decode::<Vec<ActorView>>(&body).ok();
        asked
            .into_iter()
            .map(|(node, answer)| (node, answer.and_then(read)))
            .collect()
    }

    async fn ask_all(
        &self,
        kind: &str,
        body: Vec<u8>,
        answer_limit: usize,
    ) -> Vec<(NodeIdentity, Option<bytes::Bytes>)> {
        let body = bytes::Bytes::from(body);
        let ask = |node: NodeIdentity| {
            let envelope = Envelope::new(kind, LOOK_TIME, body.clone());
            let envelope = envelope.with_answer_limit(answer_limit);
            async move { (node, self.gateway.ask(node.node_id, envelope).await.ok()) }
        };
        join_all(self.others().into_iter().map(ask)).await
    }

    /// Asks a node to give away what it has; returns when it has begun.
    ///
    /// # Errors
    /// It is not in service, or does not answer.
    pub async fn drain_node(&self, node: Uuid) -> Result<(), ClusterCallError> {
        self.ask_one(node, kinds::DRAIN, DO_TIME).await.map(drop)
    }

    /// Asks each node to give away what should live elsewhere; how many entities each gave.
    pub async fn rebalance(&self) -> Vec<(Uuid, Result<usize, ClusterCallError>)> {
        let nodes: Vec<Uuid> = [self.me]
            .into_iter()
            .chain(self.others())
            .map(|node| node.node_id)
            .collect();
        let ask = |node: Uuid| async move {
            let body = self.ask_one(node, kinds::REBALANCE, REBALANCE_TIME).await;
            let moved = body.map(|body| decode(&body).unwrap_or(0));
            (node, moved)
        };
        join_all(nodes.into_iter().map(ask)).await
    }

    async fn ask_one(
        &self,
        node: Uuid,
        kind: &str,
        time: Duration,
    ) -> Result<bytes::Bytes, ClusterCallError> {
        let is_known =
            node == self.me.node_id || self.others().iter().any(|other| other.node_id == node);
        if !is_known {
            return Err(ClusterCallError::NoSuchNode(node));
        }
        let envelope = Envelope::new(kind, time, Vec::new());
        let asked = self.gateway.ask(node, envelope).await;
        asked.map_err(|error| ClusterCallError::NoAnswer {
            node,
            why: error.to_string(),
        })
    }
}
