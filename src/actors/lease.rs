//! Renews the lease of a node that is alone; in a cluster `tenure_cluster` does. It does nothing else, so that nothing else that the node has to
//! do, however long it takes, keeps it from renewing.

use super::{core::Core, vitals::Waiting};
use crate::persistence::{self, DbError, Fence};
use std::sync::Arc;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Runs until the process ends.
pub async fn run(core: Arc<Core>, fence: Fence) {
    if core.cluster.is_some() {
        return;
    }
    let vitals = core.vitals.register("node/lease", "lease", None, 1);
    let mut heartbeat = interval(core.settings.heartbeat);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut renewed = Instant::now();
    loop {
        heartbeat.tick().await;
        match renew(&core, fence).await {
            Ok(()) => {
                renewed = Instant::now();
                vitals.set_waiting(Some(Waiting {
                    on: "the next renewal".into(),
                    since: core.clock.now(),
                }));
            }
            Err(error) => {
                vitals.record_error(error.to_string(), core.clock.now());
                tracing::warn!(%error, since_renewal_ms = renewed.elapsed().as_millis() as u64, "the lease was not renewed");
            }
        }
    }
}

async fn renew(core: &Core, fence: Fence) -> Result<(), DbError> {
    let mut tx = core.db.begin_system("renew the lease").await?;
    persistence::node_heartbeat(&mut tx, fence, core.settings.lease).await?;
    tx.commit().await
}
