//! What this node does when its standing changes, and when nodes come and go.
//!
//! Suspended: the lease could not be renewed in time. Everything that lives here stops before it is over, without a word to the database;
//! it is taken up again, here under the same claims or on whichever node claims it then. Over: another node has said that this one is dead.

use super::{Cluster, LifeEnd};
use crate::{
    actors::{core::Core, sweeper},
    persistence::{DbError, node_list},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tenure_cluster::{
    NodeIdentity,
    membership::{Standing, View},
    ownership::NodeState,
};

/// How long a recovery that failed waits.
const AGAIN: Duration = Duration::from_millis(500);
const TRIES: u32 = 20;

/// Runs until this life is over.
pub(super) async fn follow(cluster: Arc<Cluster>, core: Arc<Core>) {
    let mut view = cluster.view.clone();
    let (mut standing, mut takers) = {
        let now = view.borrow_and_update();
        (now.standing, takers(&now))
    };
    while view.changed().await.is_ok() {
        let (new_standing, new_takers) = {
            let now = view.borrow_and_update();
            (now.standing, self::takers(&now))
        };
        let was = std::mem::replace(&mut standing, new_standing);
        match (was, standing) {
            (_, Standing::Ended) => {
                stop_everything(&cluster, &core);
                cluster.ended.send_replace(true);
                return;
            }
            (Standing::Acting, Standing::Suspended) => stop_everything(&cluster, &core),
            (Standing::Suspended | Standing::Joining, Standing::Acting) => {
                tokio::spawn(take_up(core.clone()));
            }
            _ => {}
        }
        let gone = takers.difference(&new_takers).count() > 0;
        takers = new_takers;
        if gone && standing == Standing::Acting {
            tokio::spawn(take_up(core.clone()));
        }
    }
}

/// The nodes that may own something.
fn takers(view: &View) -> BTreeSet<(uuid::Uuid, u64)> {
    let takes = view
        .members
        .iter()
        .filter(|member| member.state == NodeState::Alive && !member.takes.is_empty());
    let key = |identity: NodeIdentity| (identity.node_id, identity.incarnation);
    takes.map(|member| key(member.identity)).collect()
}

fn stop_everything(cluster: &Cluster, core: &Core) {
    tracing::error!(
        awake = core.host().awake(),
        "everything that lives on this node stops"
    );
    core.host().suspend();
    core.connectors().suspend();
    cluster.placement.forget_all();
}

/// Wakes whoever has work at hand and belongs here.
async fn take_up(core: Arc<Core>) {
    core.timers().look();
    for _ in 0..TRIES {
        match sweeper::recover(&core).await {
            Ok(woken) => {
                core.ingest().look_again();
                return tracing::info!(woken, "unfinished work is taken up");
            }
            Err(error) => {
                tracing::warn!(%error, "unfinished work could not be read, it is tried again");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

impl Cluster {
    /// A write was refused: this life is over, whatever the lease says.
    pub fn is_over(&self) {
        self.gate.close();
        self.ended.send_replace(true);
    }

    /// Returns when this life of the node is over, and says what follows.
    pub async fn life_end(&self, core: &Core) -> LifeEnd {
        let mut ended = self.ended.subscribe();
        if ended.wait_for(|ended| *ended).await.is_err() {
            std::future::pending::<()>().await;
        }
        // Whoever has taken this one's place has said so in the row before.
        let read = async {
            let mut tx = core
                .db
                .unfenced()
                .begin_system_read("whose life it is")
                .await?;
            node_list(&mut tx).await
        };
        let rows: Result<_, DbError> = read.await;
        let mine = rows.ok().and_then(|rows| {
            let mut rows = rows.into_iter();
            rows.find(|row| row.id == self.me.node_id)
        });
        let later = |row: &crate::persistence::NodeRow| {
            row.incarnation.unsigned_abs() > self.me.incarnation && !row.lease_left().is_zero()
        };
        match mine.as_ref().is_some_and(later) {
            true => LifeEnd::Replaced,
            false => LifeEnd::Rejoin,
        }
    }
}
