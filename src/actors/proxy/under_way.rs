//! Which executions by proxy are under way, and one at a time of each: two tries with one key must not both send.

use crate::{
    actors::{cluster::kind, core::Core},
    domain::ExecutionId,
};
use dashmap::DashMap;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tenure_cluster::{Entity, Placement, PlacementError};
use tokio::{
    runtime::Handle,
    sync::{Mutex, OwnedMutexGuard},
    time::sleep,
};

/// How often it is looked whether another node is done with an execution.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct UnderWay(Arc<DashMap<ExecutionId, Arc<Mutex<()>>>>);

/// The execution is under way as long as this lives.
pub struct Alone {
    all: UnderWay,
    execution: ExecutionId,
    guard: Option<OwnedMutexGuard<()>>,
}

impl UnderWay {
    /// Waits until nobody else is at this execution.
    pub async fn enter(&self, execution: ExecutionId) -> Alone {
        let lock = self.0.entry(execution).or_default().clone();
        // There before it waits: who gives up waiting leaves nothing behind either.
        let mut alone = Alone {
            all: self.clone(),
            execution,
            guard: None,
        };
        alone.guard = Some(lock.lock_owned().await);
        alone
    }

    /// Whether somebody is at this execution or waits to be.
    pub fn is_under_way(&self, execution: ExecutionId) -> bool {
        self.0.contains_key(&execution)
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.guard = None;
        // The directory has one; whoever waits has another, and takes it out when done.
        self.all
            .0
            .remove_if(&self.execution, |_, lock| Arc::strong_count(lock) == 1);
    }
}

/// No other node is at the execution as long as this lives.
pub struct Placed(Option<(Arc<dyn Placement>, Entity)>);

impl Placed {
    /// Waits until no other node is at this execution, for `patience` at most.
    ///
    /// # Errors
    /// Another one is at it still, or nobody can say.
    pub async fn claim(
        core: &Core,
        execution: ExecutionId,
        patience: Duration,
    ) -> Result<Self, PlacementError> {
        if core.cluster.is_none() {
            return Ok(Self(None));
        }
        let entity = Entity {
            kind: kind::PROXIED,
            id: execution.uuid(),
        };
        let began = Instant::now();
        loop {
            match core.placement.claim(entity).await {
                Ok(_) => return Ok(Self(Some((core.placement.clone(), entity)))),
                Err(PlacementError::OwnedBy(_)) if began.elapsed() < patience => {
                    sleep(LOOK_AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        let Some((placement, entity)) = self.0.take() else {
            return;
        };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = placement.release(entity).await {
                    tracing::debug!(%error, "a call by proxy stays claimed until this node's life is over");
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[tokio::test]
    async fn who_gives_up_waiting_leaves_nothing_behind() {
        let (all, execution) = (
            UnderWay::default(),
            ExecutionId::from_uuid(Uuid::from_u128(1)),
        );
        let first = all.enter(execution).await;
        let mut second = Box::pin(all.enter(execution));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        assert!(all.is_under_way(execution), "the second one waits");
        drop(second);
        assert!(!all.is_under_way(execution) && all.0.is_empty());
        // Given up while the first is still at it: that one takes it out.
        let first = all.enter(execution).await;
        let mut second = Box::pin(all.enter(execution));
        assert!(futures::poll!(&mut second).is_pending());
        drop(second);
        assert!(all.is_under_way(execution));
        drop(first);
        assert!(all.0.is_empty());
    }

    #[tokio::test]
    async fn one_at_a_time_and_nothing_is_left() {
        let (all, execution) = (
            UnderWay::default(),
            ExecutionId::from_uuid(Uuid::from_u128(1)),
        );
        let first = all.enter(execution).await;
        let other = ExecutionId::from_uuid(Uuid::from_u128(2));
        drop(all.enter(other).await);
        let mut second = Box::pin(all.enter(execution));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        drop(second.await);
        assert!(!all.is_under_way(execution) && all.0.is_empty());
    }
}
