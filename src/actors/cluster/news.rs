//! What one node changed in the database, told to the others, which remember it otherwise until what they know grows old.
//!
//! Told at least once to every node in service, as long as it can be reached within [`PATIENCE`]; everything that is told is in the database
//! already, and harmless to hear twice.

use super::{
    Cluster, duties,
    words::{News, encode, kinds},
};
use crate::{
    actors::{core::Core, employee::Message, versions::LoadedVersion},
    persistence::{DbError, NodeState, employee_version_get, node_list},
};
use std::{sync::Arc, time::Duration};
use tenure_cluster::{NodeIdentity, Route, protocol::Envelope};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

const ASK_TIME: Duration = Duration::from_secs(3);
/// Longer than a link needs to come back.
const PATIENCE: Duration = Duration::from_secs(15);
const AGAIN: Duration = Duration::from_millis(200);
/// How long whoever made a change waits until the others know of it.
const HEARD_WITHIN: Duration = Duration::from_secs(1);
/// How often at most the others are told that there are new facts.
const COMMITS_EVERY: Duration = Duration::from_millis(20);

impl Cluster {
    /// Tells all others; returns when all have heard, or after a second: who has not heard then is told still.
    ///
    /// Who they are is asked of the database, after the change: a node that joins has its row before it reads anything, so that one which may
    /// have read what was before is told, however little this node's view knows of it yet.
    pub async fn tell_others(self: &Arc<Self>, core: &Core, news: &News) {
        let others = match self.others_in_database(core).await {
            Ok(others) => others,
            Err(error) => {
                tracing::warn!(%error, "who is in service could not be read, those are told who are known");
                self.others()
            }
        };
        self.tell(others, news).await;
    }

    async fn others_in_database(&self, core: &Core) -> Result<Vec<NodeIdentity>, DbError> {
        let mut tx = core
            .db
            .begin_system_read("who is to hear of a change")
            .await?;
        let rows = node_list(&mut tx).await?;
        let others = rows
            .into_iter()
            .filter(|row| row.state != NodeState::Dead && row.id != self.me.node_id);
        Ok(others
            .map(|row| NodeIdentity {
                node_id: row.id,
                incarnation: row.incarnation.unsigned_abs(),
            })
            .collect())
    }

    async fn tell(self: &Arc<Self>, others: Vec<NodeIdentity>, news: &News) {
        let mut telling = JoinSet::new();
        let body = bytes::Bytes::from(encode(news));
        for node in others {
            telling.spawn(self.clone().tell_one(node, body.clone()));
        }
        if telling.is_empty() {
            return;
        }
        let all = async { while telling.join_next().await.is_some() {} };
        let _ = timeout(HEARD_WITHIN, all).await;
        telling.detach_all();
    }

    /// Tells the node that has a duty, as far as it is known.
    pub fn tell_who_has(self: &Arc<Self>, duty: &str, news: News) {
        if let Route::Node(node) = self.route(duties::entity(duty)) {
            tokio::spawn(self.clone().tell_one(node, encode(&news).into()));
        }
    }

    async fn tell_one(self: Arc<Self>, node: NodeIdentity, body: bytes::Bytes) {
        let began = Instant::now();
        loop {
            let envelope = Envelope::new(kinds::NEWS, ASK_TIME, body.clone());
            match self.gateway().ask(node.node_id, envelope).await {
                Ok(_) => return,
                Err(error) if began.elapsed() > PATIENCE => {
                    return tracing::warn!(node = %node.node_id, %error, "a node could not be told of a change, it learns of it later");
                }
                Err(_) if self.is_known_to_be_over(node) => return,
                Err(_) => sleep(AGAIN).await,
            }
        }
    }

    /// Whether this life of a node has ended, as far as this node knows; one that it has not heard of may be about to join.
    fn is_known_to_be_over(&self, node: NodeIdentity) -> bool {
        let view = self.view.borrow();
        view.members.iter().any(|member| {
            let is_later = member.identity.incarnation > node.incarnation;
            member.identity.node_id == node.node_id
                && (is_later || (member.identity == node && !member.is_in_service()))
        })
    }

    /// Tells the others that there are new facts, for those who read along there.
    pub(super) async fn tell_of_commits(self: Arc<Self>, core: Arc<Core>) {
        let mut commits = core.journal.own_commits();
        core.journal.org_commits().tell_others();
        while commits.changed().await.is_ok() {
            // Empty, as older releases send it: of whomever.
            let orgs = core.journal.org_commits().take_untold();
            let body = match orgs.is_empty() {
                true => bytes::Bytes::new(),
                false => encode(&orgs).into(),
            };
            for node in self.others() {
                let envelope = Envelope::new(kinds::COMMITS, ASK_TIME, body.clone());
                // Only a hint: who reads along looks by itself, too.
                let _ = self.gateway().tell(node.node_id, envelope);
            }
            sleep(COMMITS_EVERY).await;
        }
    }
}

impl Core {
    /// Something was changed in the database: here it holds from now on, and the others are told.
    pub async fn changed(self: &Arc<Self>, news: News) {
        hear(self, news.clone()).await;
        self.tell_others(&news).await;
    }

    /// The others are told of what is known here already.
    pub async fn tell_others(&self, news: &News) {
        if let Some(cluster) = &self.cluster {
            cluster.tell_others(self, news).await;
        }
    }

    /// The same, by somebody who does not wait and for whom those are enough who are known: for what happens often, and is a hint.
    pub fn let_others_know(&self, news: News) {
        if let Some(cluster) = self.cluster.clone() {
            tokio::spawn(async move { cluster.tell(cluster.others(), &news).await });
        }
    }
}

/// Another node has changed something.
pub(super) async fn hear(core: &Arc<Core>, news: News) {
    match news {
        News::Version {
            org,
            employee,
            version,
        } => hear_version(core, org, employee, version).await,
        News::Reread { org, employee } => core.host().reread_here(org, employee).await,
        News::Memory {
            employee,
            writes,
            skill,
        } => core
            .host()
            .tell_if_awake(employee, Message::Remember(writes, skill)),
        News::OrgMemory { org, writes } => core
            .host()
            .tell_awake_of(org, || Message::Remember(writes.clone(), None)),
        News::Policies { org } => core.policies.forget(org),
        News::Catalog { org, integration } => {
            core.catalogs.forget(org);
            core.connectors().forget(org, &integration);
        }
        News::Connection {
            org,
            integration,
            id,
        } => core.connectors().changed(org, &integration, id),
        News::Credential {
            org,
            integration,
            id,
        } => core.connectors().renewed_elsewhere(org, &integration, id),
        News::Door { source, endpoint } => core.ingest().door_changed(&source, &endpoint),
        News::Interest { org, pattern } => core.interest.add(org, &pattern),
        News::Inbox { org, id } => core.ingest().give_of_another(org, id).await,
        News::Look => {
            if let Some(cluster) = &core.cluster {
                cluster.look();
            }
        }
    }
}

async fn hear_version(
    core: &Arc<Core>,
    org: crate::domain::OrgId,
    employee: crate::domain::EmployeeId,
    version: i32,
) {
    if !core.host().is_awake_or_read(employee) {
        return;
    }
    let read = async {
        let mut tx = core.db.begin_read(org).await?;
        let row = employee_version_get(&mut tx, employee, version).await?;
        let Some(row) = row else { return Ok(None) };
        if let Some(known) = core.versions.get(row.spec_hash) {
            return Ok(Some(known));
        }
        let text = crate::persistence::blob_get(&mut tx, row.spec_hash).await?;
        Ok::<_, crate::persistence::DbError>(
            text.and_then(|text| core.versions.load(row.spec_hash, &text).ok()),
        )
    };
    match read.await {
        Ok(Some(compiled)) => {
            let loaded = LoadedVersion::new(version, &compiled);
            core.host()
                .tell_if_awake(employee, Message::NewVersion(loaded));
        }
        // It is read anew with everything, which costs more and is never wrong.
        Ok(None) | Err(_) => core.host().reread_here(org, employee).await,
    }
}
