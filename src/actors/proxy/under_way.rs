//! Which executions by proxy are under way, and one at a time of each: two tries with one key must not both send.

use crate::domain::ExecutionId;
use dashmap::DashMap;
use std::sync::Arc;
use tokio::sync::{Mutex, OwnedMutexGuard};

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
        let guard = Some(lock.lock_owned().await);
        Alone {
            all: self.clone(),
            execution,
            guard,
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

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
