//! Where the time and the random numbers of the actors come from, so that a test can hold both.

use crate::domain::{ExecutionId, Timestamp};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use uuid::{ContextV7, Uuid};

/// The wall clock and everything that is drawn from it. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<Inner>);

struct Inner {
    /// Microseconds of a simulated clock; negative: the system's clock is used.
    simulated: AtomicI64,
    ids: Mutex<ContextV7>,
}

impl Clock {
    pub fn system() -> Self {
        Self(Arc::new(Inner {
            simulated: AtomicI64::new(-1),
            ids: Mutex::new(ContextV7::new()),
        }))
    }

    /// Stands still at `start` until [`Clock::advance`].
    pub fn simulated(start: Timestamp) -> Self {
        let clock = Self::system();
        clock.0.simulated.store(start.micros(), Ordering::SeqCst);
        clock
    }

    pub fn now(&self) -> Timestamp {
        match self.0.simulated.load(Ordering::SeqCst) {
            micros if micros >= 0 => Timestamp::from_micros(micros),
            _ => {
                let since = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or(Duration::ZERO);
                Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
            }
        }
    }

    /// Moves a simulated clock on. Has no effect on the system's clock.
    pub fn advance(&self, by: Duration) {
        if self.0.simulated.load(Ordering::SeqCst) >= 0 {
            self.0.simulated.fetch_add(
                i64::try_from(by.as_micros()).unwrap_or(i64::MAX),
                Ordering::SeqCst,
            );
        }
    }

    /// A UUID v7 of this time; ids of one process grow strictly, so that their order is the order of acceptance.
    pub fn uuid(&self) -> Uuid {
        let micros = u64::try_from(self.now().micros()).unwrap_or(0);
        let context = self
            .0
            .ids
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let (seconds, nanos) = (micros / 1_000_000, (micros % 1_000_000) as u32 * 1_000);
        Uuid::new_v7(uuid::Timestamp::from_unix(&*context, seconds, nanos))
    }

    pub fn execution_id(&self) -> ExecutionId {
        ExecutionId::from_uuid(self.uuid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_even_when_time_stands_still() {
        let clock = Clock::simulated(Timestamp::from_millis(1_700_000_000_000));
        let ids: Vec<_> = (0..1_000).map(|_| clock.execution_id()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
    }
}
